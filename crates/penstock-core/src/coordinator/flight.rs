//! A write of a held lease that is under way, and what its answer means.
//!
//! A rejected write is our own success only if an earlier sending of the same bytes made the row what it is: then it is what
//! the write leaves, but for what others may add without the counter.

use std::time::Duration;

use bytes::Bytes;

use super::api::{Answer, LossReason, WriteId};
use crate::ids::WorkerId;
use crate::lease::{LeaseRow, LeaseWrite};
use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// A write under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: WriteId,
    pub(super) write: LeaseWrite,
    pub(super) purpose: Purpose,
    pub(super) first_sent: Instant,
    /// The bytes read that its throughput stands for; `None` if it records none.
    pub(super) read: Option<u64>,
    /// Whether the outcome of an earlier sending is unknown: it may have been applied, or will be.
    pub(super) uncertain: bool,
    /// When to send it again; `None` while an answer is due.
    pub(super) resend_at: Option<Instant>,
}

/// What a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Keeping the lease; carries progress.
    Renewal,
    /// The open request of the shard.
    Request,
    /// The first half of a shard's end.
    Children,
    /// The second half.
    End,
    /// Giving the lease back, or to another worker.
    Release,
}

/// What the answer to a write means.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The write is stored; the lease is proved.
    Stored(Stored),
    /// Nothing is decided yet.
    Open,
    /// A mutant only: an intent of unknown outcome is given up and the batch cut anew.
    Recut,
    /// The lease is no longer ours.
    Lost {
        reason: LossReason,
        /// Who has it.
        to: Option<WorkerId>,
    },
}

/// What a stored write has brought.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// The answer that the shard waits for.
    pub(super) answer: Option<Answer>,
    /// Whether the checkpoint moved.
    pub(super) checkpointed: bool,
    /// Set if the lease is no longer held, in order.
    pub(super) finished: Option<Finished>,
}

/// How a lease was left in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finished {
    /// The shard's end is stored.
    Ended,
    /// It was released.
    Released {
        /// How long not to take it again.
        cool_down: Option<CoolDown>,
        /// Who is to have it.
        to: Option<WorkerId>,
    },
}

/// How long a lease is left to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoolDown {
    pub(super) lasts: Duration,
    /// What this worker could not carry out: without it in the row, there is nothing to wait for.
    pub(super) intent: Option<Bytes>,
}

impl Flight {
    /// Whether this write, although it was rejected, is what made the row as it was found.
    pub(super) fn is_own_success(&self, before: &LeaseRow, found: &LeaseRow, me: &WorkerId) -> bool {
        let naive = mutant::is(Mutant::KclConflictRule);
        if naive && found.owner.as_ref() == Some(me) && found.counter == self.write.change.counter {
            return true;
        }
        self.uncertain && is_equal_but_for_additions(self.write.change.apply(before), before, found)
    }
}

/// Whether `found` is `expected`, attribute for attribute, but for what others write without touching the counter: a wish, and
/// what the KCL adds to a row that lacks it (a hash range; the children). Both additions are facts about the shard and the
/// same whoever writes them, and whoever moves the counter is seen by the counter or by another attribute. What was there
/// before, or what the write itself adds, is compared.
fn is_equal_but_for_additions(mut expected: LeaseRow, before: &LeaseRow, found: &LeaseRow) -> bool {
    expected.wanted.clone_from(&found.wanted);
    if before.hash_range.is_none() && expected.hash_range.is_none() {
        expected.hash_range = found.hash_range;
    }
    if before.children.is_empty() && expected.children.is_empty() {
        expected.children.clone_from(&found.children);
    }
    expected == *found
}

/// What a rejected write that is not our own success means.
pub(super) fn loss(found: Option<LeaseRow>, me: &WorkerId) -> Verdict {
    match found {
        None => Verdict::Lost { reason: LossReason::Deleted, to: None },
        Some(LeaseRow { owner: Some(owner), .. }) if owner != *me => {
            Verdict::Lost { reason: LossReason::Taken, to: Some(owner) }
        }
        Some(_) => Verdict::Lost { reason: LossReason::Changed, to: None },
    }
}
