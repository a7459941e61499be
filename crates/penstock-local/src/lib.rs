//! Without AWS: SQLite leases, and local Kinesis and Firehose endpoints with the services' limits.

pub mod clock;
pub mod faults;
mod firehose;
pub mod gap_ledger;
mod kinesis;
pub mod lease_table;
mod limits;
pub mod server;
mod sqlite;
mod wire;
