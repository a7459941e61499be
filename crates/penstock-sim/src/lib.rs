//! The proving ground: simulated seams with faults, seeds and invariants. Never shipped.
//!
//! One seed makes one world, on tokio's paused time: the real engine over a simulated stream, lease table and sink. Every effect
//! is checked against the invariants of the protocol, and a run repeats exactly.

pub mod calls;
pub mod cluster;
pub mod conformance;
pub mod gap_ledger;
pub mod generate;
pub mod kcl;
pub mod lease_table;
pub mod leases;
pub mod ledger;
pub mod network;
pub mod objects;
pub mod operator;
pub mod plan;
pub mod run;
pub mod seeds;
pub mod source;
pub mod stream;
pub mod world;
