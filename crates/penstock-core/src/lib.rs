//! The decisions of penstock: leases, positions, batches, intents, keys.
//!
//! Pure: no clock, no environment, no IO, no threads, no randomness but a seed that was handed in, and only ordered maps.
//! Whatever time a function needs is an argument ([`time::Now`]).

pub mod aggregate;
pub mod backoff;
pub mod batch;
pub mod checkpoint;
pub mod chunk;
pub mod coordinator;
pub mod gap;
pub mod ids;
pub mod intent;
pub mod lease;
pub mod mutant;
pub mod object_key;
pub mod packing;
pub mod position;
pub mod prefix;
pub mod random;
pub mod shard;
pub mod throughput;
pub mod time;
