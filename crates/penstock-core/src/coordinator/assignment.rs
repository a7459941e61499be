//! Which leases to take, and which to ask their holders for: pure functions over the rows as they were observed.
//!
//! The rule is the KCL's of 2.x without its greed: free leases are taken up to the fair share and no further, however old
//! they are; only if none is free is a live one asked for, and never to turn one imbalance into another. Completed leases need
//! no owner: they neither count nor are they taken. Where the throughput of all leases is known, loads are evened out too.

mod fair_share;
mod fleet;
mod load;

use std::collections::BTreeMap;

use self::fleet::Fleet;
use crate::ids::{LeaseKey, WorkerId};
use crate::lease::LeaseRow;
use crate::position::Position;
use crate::random::Random;

/// One lease of the table, as this worker sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease<'a> {
    pub(super) row: &'a LeaseRow,
    /// Whether the row has looked the same for longer than the failover time, be it owned or not.
    pub(super) expired: bool,
    /// Whether it has looked the same for longer than three.
    pub(super) very_old: bool,
    /// Whether this worker holds it, or has a take under way.
    pub(super) mine: bool,
    /// Whether this worker gave it up a while ago and must neither take it nor ask for it.
    pub(super) barred: bool,
    /// Whether it changed hands a while ago, so that nobody asks for it.
    pub(super) resting: bool,
    /// Whether this worker has asked its holder for it and waits.
    pub(super) asked: bool,
}

impl<'a> Lease<'a> {
    /// Whether the lease counts: completed ones do not.
    pub(super) fn is_open(&self) -> bool {
        self.row.checkpoint != Position::ShardEnd
    }

    /// The owner, if there is one that keeps the lease alive. A row that names us although we do not hold the lease is no
    /// more than an outcome that we never heard of.
    pub(super) fn live_owner<'b>(&'b self, me: &'b WorkerId) -> Option<&'b WorkerId> {
        if self.mine {
            return Some(me);
        }
        self.row.owner.as_ref().filter(|owner| !self.expired && *owner != me)
    }

    /// The open leases that each live worker has, `me` always among them. What is on its way counts for the next owner.
    pub(super) fn count_by_worker<'b>(leases: &'b [Lease<'b>], me: &'b WorkerId) -> BTreeMap<&'b WorkerId, usize> {
        Fleet::of(leases, me).workers.iter().map(|worker| (worker.id, worker.count)).collect()
    }

    /// What is read through it, in millionths of a KiB per second, if that is known.
    fn load(&self) -> Option<i128> {
        self.row.throughput.map(|throughput| i128::from(throughput.micros()))
    }

    /// The worker that its last holder released it for.
    fn released_for(&self) -> Option<&'a WorkerId> {
        self.row.granted_to().or(self.row.wanted.as_ref()).filter(|_| self.row.owner.is_none())
    }

    /// Whether its holder may be asked for it. During a handoff of the KCL 3 it may not.
    fn may_move(&self) -> bool {
        !self.resting && self.row.checkpoint_owner.is_none()
    }
}

/// How much one worker may have, and how fast it may ask for more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most leases that a worker holds.
    pub(super) max_leases: Option<usize>,
    /// The most live leases that it asks for in one cycle.
    pub(super) max_moves: usize,
}

impl Limits {
    /// Whether so many workers with these limits cannot hold so many leases.
    pub(super) fn are_too_small(self, workers: usize, open: usize) -> bool {
        self.max_leases.is_some_and(|most| workers.saturating_mul(most) < open)
    }
}

/// What to do in this cycle.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Leases to take: they have no live owner.
    pub(super) take: Vec<LeaseKey>,
    /// Live leases to ask their holders for.
    pub(super) want: Vec<LeaseKey>,
}

/// Chooses what `me` takes of `leases`, and if nothing is free, what it asks for.
pub(super) fn choose(leases: &[Lease<'_>], me: &WorkerId, limits: Limits, random: &mut Random) -> Choice {
    let fleet = Fleet::of(leases, me);
    let keys = |leases: Vec<&Lease<'_>>| leases.into_iter().map(|lease| lease.row.key.clone()).collect();
    let take = fair_share::free(&fleet, limits, random);
    if !take.is_empty() || fleet.has_free() {
        return Choice { take: keys(take), want: Vec::new() };
    }
    let mut want = fair_share::moves(&fleet, limits, random);
    if want.is_empty() {
        want.extend(load::relief(&fleet, limits, random));
    }
    Choice { take: Vec::new(), want: keys(want) }
}

#[cfg(test)]
mod tests;
