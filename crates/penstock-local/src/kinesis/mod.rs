//! The local Kinesis: streams and shards with the service's limits, in memory.
//! `stream` and below are pure state that is handed the time; `service` and the operations decode, validate, ask the
//! state and encode. Nothing here knows HTTP, and nothing outlives the process.

mod hash;
mod listing;
mod manage;
mod put;
mod read;
mod reshard;
mod sequence;
mod service;
mod shard;
mod stream;
mod streams;
mod token;

pub(crate) use service::KinesisService;
pub(crate) use streams::Settings;
