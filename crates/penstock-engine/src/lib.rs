//! Motion: the tasks, channels and limits that carry out what core decides, and the seams to the outside.
//!
//! No AWS, no command line, no global state, no reading of configuration. The way in is [`worker::Worker`].

pub mod budget;
pub mod clock;
mod deadline;
#[cfg(test)]
mod fakes;
mod gate;
mod kcl_watch;
mod lease_keeper;
mod ledger;
pub mod metrics;
mod packer;
pub mod ports;
pub mod settings;
mod shard;
pub mod start;
pub mod status;
mod told;
pub mod worker;
