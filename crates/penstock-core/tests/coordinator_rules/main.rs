//! The rules of the lease coordinator, one worker at a time: each test is a sentence about what it does.

mod desk;
mod drain;
mod exclusive;
mod handover;
mod hierarchy;
mod holding;
mod ledger;
mod strangers;
mod streams;
mod sync;
mod taking;
