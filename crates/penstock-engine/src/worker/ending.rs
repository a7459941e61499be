//! The end of a worker: one grace period bounds it all, from the word to end to the last lease that is given back.
//!
//! Shards go on until the coordinator stops them: it may wait a little for others to take over. Where shards do not end in time they
//! are cut off, early enough to give their leases back in order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use penstock_core::time::Instant;

use super::running::{Running, Shard};
use super::{Exit, UndeliveredShard};

/// The part of the grace period that is kept for giving leases back, where shards do not end in time; a fifth at most.
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// How far the end of the worker has come.
pub(super) enum Drain {
    No,
    /// Shards settle what was read, until then.
    Settling {
        cut_at: Instant,
        end_at: Instant,
    },
    /// Shards were cut off; leases are given back, until then.
    Releasing {
        end_at: Instant,
        undelivered: Vec<UndeliveredShard>,
    },
}

impl Drain {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Settling { cut_at, .. } => Some(*cut_at),
            Self::Releasing { end_at, .. } => Some(*end_at),
        }
    }
}

impl Running {
    /// Ends the worker in order, for a reason of its own.
    pub(super) fn refuse(&mut self, problem: String) {
        if self.shutdown.is_cancelled() {
            return;
        }
        tracing::error!(worker = %self.ctx.settings.worker, problem, "the worker may not go on and ends");
        self.refused = Some(problem);
        self.shutdown.cancel();
    }

    pub(super) fn on_shutdown(&mut self) {
        let grace = self.ctx.settings.grace_period;
        let now = self.ctx.clock.now().instant;
        let end_at = now.after(grace);
        self.ctx.board.drain_began();
        // Where others are, shards are read on until those know; alone, they stop at once and put everything then.
        if self.ctx.board.handle().has_others() {
            self.shards.values().for_each(Shard::close_early);
        }
        self.drain = Drain::Settling { cut_at: end_at.before(RELEASE_TIME.min(grace / 5)), end_at };
        tracing::info!(worker = %self.ctx.settings.worker, grace = ?grace, shards = self.shards.len(), "worker drains");
    }

    pub(super) fn on_deadline(&mut self) -> Option<Exit> {
        match std::mem::replace(&mut self.drain, Drain::No) {
            Drain::No => None,
            Drain::Settling { cut_at: _, end_at } => {
                let undelivered = self.cut_all();
                self.drain = Drain::Releasing { end_at, undelivered };
                None
            }
            Drain::Releasing { end_at: _, undelivered } => {
                tracing::warn!(worker = %self.ctx.settings.worker, "the grace period is over, leases are left to expire");
                Some(self.exit(undelivered))
            }
        }
    }

    fn cut_all(&self) -> Vec<UndeliveredShard> {
        self.ctx.out_of_grace.store(true, Ordering::Relaxed);
        let now = self.ctx.clock.now();
        let cut = self.shards.values().map(|shard| {
            let status = shard.cell.snapshot(now);
            tracing::error!(
                stream = %status.stream, shard = %status.shard, checkpoint = %status.checkpoint, records = status.in_flight,
                oldest = ?status.oldest_unsettled, problem = status.problem,
                "not delivered within the grace period; it is read again from the checkpoint"
            );
            shard.cut.cancel();
            UndeliveredShard {
                stream: status.stream,
                shard: status.shard,
                checkpoint: status.checkpoint,
                records: status.in_flight,
            }
        });
        cut.collect()
    }

    pub(super) fn on_keeper_ended(&mut self, ended: Result<(), String>) -> Exit {
        if let Err(problem) = ended {
            tracing::error!(worker = %self.ctx.settings.worker, problem, "the lease keeper failed, the worker ends");
            return Exit::Failed { problem };
        }
        tracing::debug!(worker = %self.ctx.settings.worker, "worker ends, all leases are given back");
        match std::mem::replace(&mut self.drain, Drain::No) {
            Drain::No | Drain::Settling { .. } => self.exit(Vec::new()),
            Drain::Releasing { end_at: _, undelivered } => self.exit(undelivered),
        }
    }

    fn exit(&mut self, undelivered: Vec<UndeliveredShard>) -> Exit {
        match self.refused.take() {
            Some(problem) => Exit::Refused { problem },
            None if undelivered.is_empty() => Exit::Clean,
            None => Exit::Undelivered { shards: undelivered },
        }
    }
}
