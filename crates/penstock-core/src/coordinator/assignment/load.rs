//! Even loads, where the throughput of every open lease is known.
//!
//! A lease of throughput x that moves from a worker with load V to one with load A leaves the difference V - A - 2x: the best
//! one has a throughput near half the difference.

use std::collections::BTreeSet;

use super::fleet::{Fleet, Having};
use super::{Lease, Limits};
use crate::random::Random;

/// Of `candidates`, up to `at_most` leases of one holder: that of the lease whose move to `own` lowers the sum of the squares of
/// the two loads most (or raises it least), and of its leases this one and those that then even out best.
pub(super) fn evening<'a>(
    own: Having<'_>,
    candidates: &[(Having<'a>, &'a Lease<'a>)],
    at_most: usize,
) -> Vec<&'a Lease<'a>> {
    let gain = |holder: &Having<'_>, lease: &Lease<'_>| {
        let load = lease.load().unwrap_or_default();
        load.saturating_mul(holder.load - own.load - load)
    };
    // The last of the equal ones: the order of the candidates is random.
    let Some((victim, _)) = candidates.iter().max_by_key(|(holder, lease)| gain(holder, lease)) else {
        return Vec::new();
    };
    let theirs: Vec<&Lease<'a>> =
        candidates.iter().filter(|(holder, _)| holder.id == victim.id).map(|(_, lease)| *lease).collect();
    let mut left: BTreeSet<(i128, usize)> =
        theirs.iter().enumerate().map(|(index, lease)| (lease.load().unwrap_or_default(), index)).collect();
    let mut difference = victim.load - own.load;
    let mut chosen = Vec::new();
    while let Some(best) = nearest(&left, difference).filter(|_| chosen.len() < at_most) {
        left.remove(&best);
        difference -= 2 * best.0;
        chosen.push(theirs[best.1]);
    }
    chosen
}

/// What a move has to take off the more loaded worker, in millionths of a KiB per second: 16 KiB per second, a sixty-fourth of what
/// one shard can be given. Below it nobody gains, and a trickle is all noise.
const LEAST_RELIEF: i128 = 16_000_000;

/// The entry whose doubled load is nearest to `difference`.
fn nearest(loads: &BTreeSet<(i128, usize)>, difference: i128) -> Option<(i128, usize)> {
    let half = difference / 2;
    let below = loads.range(..(half, 0)).next_back();
    let above = loads.range((half, 0)..).next();
    below.into_iter().chain(above).min_by_key(|(load, _)| (difference - 2 * load).abs()).copied()
}

/// A lease to ask a more loaded worker for although the counts are even, because that lowers the larger of the two loads by more
/// than a quarter of the mean load: throughputs are never quite still, and a move for less would be taken back soon.
///
/// If that worker has one lease more than we do, the lease just moves. Otherwise it is the first half of a swap: afterwards
/// the other worker has two fewer than we do, and [evens that out](super::fair_share::moves) with the lease of ours that suits
/// best.
///
/// # Why the fleet comes to rest
///
/// Take throughputs as constant, and the sum of the squares of the workers' loads at the times when all counts are within one.
/// A move that lowers the larger of two loads by d, their sum being what it was, lowers the sum of the squares by at least 2d²,
/// and d is more than a quarter of the mean, so that there are finitely many. A swap is such a move, as planned here. It may end
/// otherwise: nobody begins another while counts differ by two or a lease is on its way, so the next to act is a worker that
/// lacks a lease, the other of the two or one that has as few leases and no more load; and it
/// [chooses among all](evening) that have most, of which we are one, what lowers the sum of the squares most. Its choice lowers
/// it at least as much as the lease that was planned. Moves that even out counts are finite too: each lowers the sum of the
/// squares of the counts, which a swap leaves as it was.
pub(super) fn relief<'a>(fleet: &Fleet<'a>, limits: Limits, random: &mut Random) -> Option<&'a Lease<'a>> {
    let counts = || fleet.workers.iter().map(|worker| worker.count);
    let is_even = counts().max() <= counts().min().map(|least| least + 1);
    if !is_even || !fleet.is_settled() || !fleet.is_load_known() || fleet.pace(limits).min(fleet.room(limits)) == 0 {
        return None;
    }
    let own = fleet.own();
    let mut ours: Vec<i128> = fleet.own_movable().filter_map(Lease::load).collect();
    ours.sort_unstable();
    let mut askable: Vec<(Having<'a>, &Lease<'a>)> =
        fleet.askable().filter(|(holder, _)| holder.load > own.load).collect();
    random.shuffle(&mut askable);
    askable.sort_by_key(|(holder, lease)| (holder.id, lease.load()));
    let best = askable
        .chunk_by(|(one, _), (other, _)| one.id == other.id)
        .filter_map(|theirs| best_of(own, &ours, theirs))
        .max_by_key(|(lowered, _)| *lowered);
    let total: i128 = fleet.workers.iter().map(|worker| worker.load).sum();
    // `lowered` is twice what the larger load becomes less, the mean the total over the workers.
    let enough = |lowered: i128| lowered > 2 * LEAST_RELIEF && lowered * 2 * fleet.workers.len() as i128 > total;
    best.filter(|(lowered, _)| enough(*lowered)).map(|(_, lease)| lease)
}

/// The lease of one more loaded worker that is best to ask for, and twice what the larger load becomes less. Both `ours` and
/// `theirs` are in the order of their loads.
fn best_of<'a>(
    own: Having<'_>,
    ours: &[i128],
    theirs: &[(Having<'a>, &'a Lease<'a>)],
) -> Option<(i128, &'a Lease<'a>)> {
    let holder = theirs.first()?.0;
    let difference = holder.load - own.load;
    // One lease more than we have: nothing comes back.
    let back = if holder.count > own.count { &[0][..] } else { ours };
    let mut from = 0;
    let lowered = theirs.iter().filter_map(|(_, lease)| {
        let load = lease.load()?;
        let left = |back: i128| (difference - 2 * (load - back)).abs();
        // The heavier the lease that comes, the heavier the one that best goes back.
        while from + 1 < back.len() && left(back[from + 1]) <= left(back[from]) {
            from += 1;
        }
        Some((difference - left(*back.get(from)?), *lease))
    });
    lowered.max_by_key(|(lowered, _)| *lowered)
}
