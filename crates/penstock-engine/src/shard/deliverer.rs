//! Delivers what a reader hands on: into objects with a recorded intent, or by calls.

mod aside;
pub(crate) mod calls;
mod flight;
mod intake;
pub(crate) mod objects;
mod prefix;
pub(crate) mod put;
pub(crate) mod replay;

use std::time::Duration;

use penstock_core::batch::SealReason;
use penstock_core::checkpoint::{OutOfOrder, SettledTwice};
use penstock_core::intent::codec::IntentTooLarge;

use super::pulse::Wait;
use super::resume::NoStart;
use super::tenure::LeaseLost;
use crate::ports::{SeamError, WriterError};

/// How a run of a shard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Its end is recorded.
    Ended,
    /// All that was read is settled, and nothing more is read.
    Drained,
}

/// Why a run of a shard ended before its time.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The lease is lost.
    Lost,
    /// This worker cannot go on with the shard.
    GiveUp(String),
    /// Something failed; the shard starts again from its checkpoint.
    Failed(ShardError),
}

/// What makes a shard start again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardError {
    /// A row that cannot be started from.
    #[error(transparent)]
    NoStart(#[from] NoStart),
    /// A writer could not close a batch.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// The intent does not fit the row.
    #[error(transparent)]
    Intent(#[from] IntentTooLarge),
    /// Records came in the wrong order.
    #[error(transparent)]
    Order(#[from] OutOfOrder),
    /// More was settled than there was.
    #[error(transparent)]
    Settled(#[from] SettledTwice),
    /// The sink refuses an object for good: another one stands under its key.
    #[error("an object cannot be put")]
    Refused(#[source] SeamError),
    /// A part of the pipeline is gone.
    #[error("the {0} ended by itself")]
    Gone(&'static str),
    /// A part of the pipeline panicked.
    #[error("the {0} panicked: {1}")]
    Panicked(&'static str, String),
    /// A part of the pipeline does not move, beyond all its time-outs.
    #[error("no progress for {1:?}: it waits for {what}", what = .0.as_str())]
    StandsStill(Wait, Duration),
    /// A batch was sealed that is not there.
    #[error("there was no batch to seal ({0})")]
    NothingToSeal(SealReason),
}

impl From<LeaseLost> for Stopped {
    fn from(LeaseLost: LeaseLost) -> Self {
        Self::Lost
    }
}

impl<E: Into<ShardError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
