//! The seams: what the engine asks of a source, a lease table and a sink. Each has a real and a simulated implementation.
//!
//! An implementation translates, classifies and returns. It does not retry, pace, log or keep tasks: that is written once,
//! in the engine. Every call carries a time-out of the engine's; dropping a call's future must be safe at any await.

mod error;
mod gaps;
mod leases;
mod sink;
mod source;

pub use crate::deadline::DeliveryPermit;
pub use error::{ErrorClass, SeamError};
pub use gaps::GapLedger;
pub use leases::{KclVersion, LeaseTable, TableProblem};
pub use sink::{
    CallLimits, CallSink, CallTarget, EntryOutcome, ObjectSink, ObjectWriter, PreparedObject, Put, SealRequest,
    SealedBatch, SetAside, SetAsideBatch, SetAsideReason, SetAsideRecord, ShardIdentity, SinkPort, WriterError,
};
pub use source::{Fetched, OpenAt, ShardIterator, ShardSource, StreamDescription};
