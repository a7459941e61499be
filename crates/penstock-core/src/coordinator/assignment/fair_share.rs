//! Even counts: which free leases to take, and which live ones to ask for because their holder has more than we do.
//!
//! Nothing here may turn one imbalance into another: a lease that moves to even out counts moves from a worker that has at
//! least two more than its next owner.

use super::fleet::{Fleet, Having, Standing};
use super::{Lease, Limits, load};
use crate::random::Random;

/// The leases to take: all that was released for us, and of the free ones what the fair share leaves room for, first those
/// that name us, then the very old.
///
/// Of the very old ones it is one more. A worker that has its share takes one of them at each scan: what nobody takes for so
/// long is beyond what the others may hold, and must not lie unread for ever.
pub(super) fn free<'a>(fleet: &Fleet<'a>, limits: Limits, random: &mut Random) -> Vec<&'a Lease<'a>> {
    let standing = |wanted: fn(Standing) -> bool| {
        fleet.leases.iter().filter(move |(lease, standing)| wanted(*standing) && !lease.barred)
    };
    let mut free: Vec<_> = standing(|standing| matches!(standing, Standing::Free { .. })).collect();
    random.shuffle(&mut free);
    free.sort_by_key(|(lease, standing)| (*standing != Standing::Free { ours: true }, !lease.very_old));
    // What was promised counts for us already.
    let need = fleet.fair_share().saturating_sub(fleet.own().count).min(free.len());
    let one_more = free.split_off(need).into_iter().find(|(lease, _)| lease.very_old);
    let promised = standing(|standing| standing == Standing::Promised);
    promised.chain(free).chain(one_more).map(|(lease, _)| *lease).take(fleet.room(limits)).collect()
}

/// The live leases to ask for: some of the most loaded worker's, if it has at least two more than we do.
pub(super) fn moves<'a>(fleet: &Fleet<'a>, limits: Limits, random: &mut Random) -> Vec<&'a Lease<'a>> {
    let most = fleet.others().map(|other| other.count).max().unwrap_or(0);
    if most < fleet.own().count + 2 {
        return Vec::new();
    }
    let at_most = due(fleet, random).min(part(fleet, most)).min(fleet.pace(limits)).min(fleet.room(limits));
    if at_most == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<(Having<'a>, &Lease<'a>)> =
        fleet.askable().filter(|(holder, _)| holder.count == most).collect();
    random.shuffle(&mut candidates);
    if fleet.is_load_known() {
        return load::evening(fleet.own(), &candidates, at_most);
    }
    // A wish of somebody who does not live is overwritten only where there is nothing else to ask for.
    candidates.sort_by_key(|(_, lease)| lease.row.wanted.is_some());
    let Some((victim, _)) = candidates.first().copied() else { return Vec::new() };
    let theirs = candidates.into_iter().filter(|(holder, _)| holder.id == victim.id);
    theirs.map(|(_, lease)| lease).take(at_most).collect()
}

/// How many leases of a worker that has `most` are ours to ask for.
///
/// Above its share it gives the surplus, to all that lack leases in the proportion in which they do: they ask at the same time.
/// A worker at its share still gives one to a worker that is two below it.
fn part(fleet: &Fleet<'_>, most: usize) -> usize {
    let surplus = most.saturating_sub(fleet.fair_share());
    let missing = fleet.missing().max(1);
    (surplus * fleet.floor().saturating_sub(fleet.own().count)).div_ceil(missing).max(1)
}

/// How many leases are ours to ask for.
///
/// Below the share rounded down it is all that is missing. What is left over then goes to workers that have just that, one to
/// each. All of them see the same imbalance at the same time: so that no more of them ask than there is to give, the least
/// loaded do, in the order of their ids where the load does not tell. The load comes first because of
/// [the way a swap ends](load::relief).
fn due<'a>(fleet: &Fleet<'a>, random: &mut Random) -> usize {
    let (own, floor, share) = (fleet.own(), fleet.floor(), fleet.fair_share());
    if own.count < floor {
        return floor - own.count;
    }
    let surplus: usize = fleet.workers.iter().map(|worker| worker.count.saturating_sub(share)).sum();
    let is_known = fleet.is_load_known();
    let rank = |worker: &Having<'a>| (if is_known { worker.load } else { 0 }, worker.id);
    let own_rank = rank(&own);
    let ahead = fleet.workers.iter().filter(|worker| worker.count == floor && rank(worker) < own_rank).count();
    if own.count == floor && ahead < surplus.saturating_sub(fleet.missing()) {
        return 1;
    }
    // Whoever is before us could have asked. Where nothing moves nevertheless, its limit keeps it from doing so, and one of
    // the others may.
    usize::from(fleet.is_quiet() && random.below(fleet.workers.len() as u64) == 0)
}
