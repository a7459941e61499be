//! Kinesis, DynamoDB and Firehose behind the engine's seams. The only crate that names an `aws-sdk-*` crate.
//!
//! Translates, classifies, returns: no policy, no retries, and no task that outlives a call.

pub mod clients;
pub mod credentials;
pub mod error;
pub mod firehose;
pub mod gap_table;
mod kcl_version;
pub mod kinesis;
pub mod lease_item;
pub mod lease_table;
pub mod limits;
pub mod probe;
pub mod producer;
mod table;
