//! Which leases to take: a pure function over the rows as they were observed.
//!
//! The rule is the KCL's of 2.x without its greed: free leases are taken up to the fair share and no further, however old
//! they are; only if none is free is a live one stolen, and never to turn one imbalance into another. Completed leases need
//! no owner: they neither count nor are they taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{LeaseKey, WorkerId};
use crate::lease::LeaseRow;
use crate::position::Position;
use crate::random::Random;

/// One lease of the table, as this worker sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease<'a> {
    pub(super) row: &'a LeaseRow,
    /// Whether the row has looked the same for longer than the failover time.
    pub(super) expired: bool,
    /// Whether this worker holds it, or has a take under way.
    pub(super) mine: bool,
    /// Whether this worker must not take it for the time being.
    pub(super) barred: bool,
}

impl Lease<'_> {
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

    /// The open leases that each live worker has, `me` always among them.
    pub(super) fn count_by_worker<'b>(leases: &'b [Lease<'b>], me: &'b WorkerId) -> BTreeMap<&'b WorkerId, usize> {
        let mut counts = BTreeMap::from([(me, 0)]);
        for owner in leases.iter().filter(|lease| lease.is_open()).filter_map(|lease| lease.live_owner(me)) {
            *counts.entry(owner).or_default() += 1;
        }
        counts
    }
}

/// How much one worker may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_leases: Option<usize>,
    pub(super) max_steals: usize,
}

/// What to take in this cycle.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Leases without a live owner.
    pub(super) free: Vec<LeaseKey>,
    /// Live leases of the most loaded worker.
    pub(super) steals: Vec<LeaseKey>,
}

/// Chooses what `me` takes of `leases`.
pub(super) fn choose(leases: &[Lease<'_>], me: &WorkerId, limits: Limits, random: &mut Random) -> Choice {
    let open = leases.iter().filter(|lease| lease.is_open()).count();
    let counts = Lease::count_by_worker(leases, me);
    let share = open.div_ceil(counts.len());
    let held = counts.get(me).copied().unwrap_or(0);
    let need = share.min(limits.max_leases.unwrap_or(usize::MAX)).saturating_sub(held);
    if need == 0 {
        return Choice::default();
    }
    let free = free(leases, me, random);
    if !free.is_empty() {
        return Choice { free: free.into_iter().take(need).collect(), steals: Vec::new() };
    }
    Choice { free, steals: steals(leases, me, &counts, share, need.min(limits.max_steals), random) }
}

/// What can be taken without harm, in random order; what already names us comes first.
fn free(leases: &[Lease<'_>], me: &WorkerId, random: &mut Random) -> Vec<LeaseKey> {
    let free = leases.iter().filter(|lease| lease.is_open() && !lease.barred && lease.live_owner(me).is_none());
    let (mut ours, mut others): (Vec<&Lease<'_>>, Vec<&Lease<'_>>) =
        free.partition(|lease| lease.row.owner.as_ref() == Some(me));
    random.shuffle(&mut ours);
    random.shuffle(&mut others);
    ours.into_iter().chain(others).map(|lease| lease.row.key.clone()).collect()
}

/// Leases of the most loaded worker, if it has at least two more than we do.
fn steals(
    leases: &[Lease<'_>],
    me: &WorkerId,
    counts: &BTreeMap<&WorkerId, usize>,
    share: usize,
    at_most: usize,
    random: &mut Random,
) -> Vec<LeaseKey> {
    let held = counts.get(me).copied().unwrap_or(0);
    let Some((victim, load)) = most_loaded(counts, me, random) else { return Vec::new() };
    if load < held + 2 {
        return Vec::new();
    }
    // Above its share the surplus; a worker at its share still gives one to a worker that is two below it.
    let surplus = load.saturating_sub(share).max(1);
    let mut theirs: Vec<LeaseKey> = leases
        .iter()
        .filter(|lease| lease.is_open() && !lease.barred && lease.live_owner(me) == Some(victim))
        .map(|lease| lease.row.key.clone())
        .collect();
    random.shuffle(&mut theirs);
    theirs.truncate(surplus.min(at_most));
    theirs
}

/// The most loaded other worker and its load; one of several at random, so that thieves spread.
fn most_loaded<'a>(
    counts: &BTreeMap<&'a WorkerId, usize>,
    me: &WorkerId,
    random: &mut Random,
) -> Option<(&'a WorkerId, usize)> {
    let others: BTreeSet<(usize, &WorkerId)> =
        counts.iter().filter(|(worker, _)| **worker != me).map(|(worker, load)| (*load, *worker)).collect();
    let (load, _) = *others.last()?;
    let mut candidates: Vec<&WorkerId> =
        others.into_iter().filter(|(theirs, _)| *theirs == load).map(|(_, worker)| worker).collect();
    random.shuffle(&mut candidates);
    candidates.first().map(|worker| (*worker, load))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaseCounter;

    struct Fleet {
        rows: Vec<(LeaseRow, bool, bool, bool)>,
        limits: Limits,
    }

    impl Fleet {
        /// One lease per character: `.` unowned, a letter its owner (`m` is us and holds it), upper case: expired.
        fn new(picture: &str) -> Self {
            let rows = picture.chars().enumerate().map(|(index, owner)| {
                let key = LeaseKey::new(&format!("shardId-{index:012}"));
                let mut row = LeaseRow::new(key, LeaseCounter(1), Position::TrimHorizon);
                row.owner = owner.is_alphabetic().then(|| WorkerId::new(&owner.to_lowercase().to_string()));
                (row, owner.is_uppercase(), owner == 'm', false)
            });
            Self { rows: rows.collect(), limits: Limits { max_leases: None, max_steals: 1 } }
        }

        fn choose(&self) -> Choice {
            let leases: Vec<Lease<'_>> = self
                .rows
                .iter()
                .map(|(row, expired, mine, barred)| Lease { row, expired: *expired, mine: *mine, barred: *barred })
                .collect();
            choose(&leases, &WorkerId::new("m"), self.limits, &mut Random::seeded(1))
        }

        /// How many are taken for free and how many are stolen.
        fn counts(&self) -> (usize, usize) {
            let choice = self.choose();
            (choice.free.len(), choice.steals.len())
        }
    }

    #[test]
    fn unowned_and_expired_leases_are_taken_up_to_the_fair_share() {
        assert_eq!(Fleet::new("....").counts(), (4, 0));
        assert_eq!(Fleet::new("AAAA").counts(), (4, 0));
        assert_eq!(Fleet::new("....a").counts(), (3, 0), "five leases, two workers");
        assert_eq!(Fleet::new("..aabb").counts(), (2, 0));
        assert_eq!(Fleet::new("..aamm").counts(), (1, 0));
        assert_eq!(Fleet::new("..ammm").counts(), (0, 0));
    }

    #[test]
    fn completed_leases_neither_count_nor_are_they_taken() {
        let mut fleet = Fleet::new("....");
        for (row, ..) in &mut fleet.rows[..3] {
            row.checkpoint = Position::ShardEnd;
        }
        assert_eq!(fleet.choose().free, [fleet.rows[3].0.key.clone()]);
    }

    #[test]
    fn the_most_leases_that_a_worker_may_hold_bound_what_it_takes() {
        let mut fleet = Fleet::new("....m");
        fleet.limits.max_leases = Some(3);
        assert_eq!(fleet.counts(), (2, 0));
    }

    #[test]
    fn a_row_that_names_us_and_is_not_held_is_taken_first() {
        let mut fleet = Fleet::new("...b");
        fleet.rows[2].0.owner = Some(WorkerId::new("m"));
        let choice = fleet.choose();
        assert_eq!((choice.free.len(), &choice.free[0]), (2, &fleet.rows[2].0.key));
    }

    #[test]
    fn a_barred_lease_is_left_alone() {
        let mut fleet = Fleet::new("..");
        fleet.rows[0].3 = true;
        assert_eq!(fleet.choose().free, [fleet.rows[1].0.key.clone()]);
    }

    #[test]
    fn nothing_is_stolen_while_something_is_free() {
        assert_eq!(Fleet::new("aaaaaa.").counts(), (1, 0));
    }

    #[test]
    fn a_worker_below_its_share_steals_one_lease_of_the_most_loaded() {
        let fleet = Fleet::new("aaabbbb");
        let choice = fleet.choose();
        assert_eq!((choice.free.len(), choice.steals.len()), (0, 1));
        assert!(fleet.rows[3..].iter().any(|(row, ..)| row.key == choice.steals[0]), "b has most");
    }

    #[test]
    fn the_steals_of_a_cycle_are_bounded_by_the_setting_and_by_the_surplus() {
        let mut fleet = Fleet::new("aaaaaaaa");
        fleet.limits.max_steals = 3;
        assert_eq!(fleet.counts(), (0, 3));
        fleet.limits.max_steals = 9;
        assert_eq!(fleet.counts(), (0, 4));
        fleet.limits.max_steals = 0;
        assert_eq!(fleet.counts(), (0, 0));
    }

    #[test]
    fn nothing_is_stolen_where_the_difference_is_within_one() {
        assert_eq!(Fleet::new("aam").counts(), (0, 0));
        assert_eq!(Fleet::new("aabbm").counts(), (0, 0), "three workers share five leases");
        assert_eq!(Fleet::new("a").counts(), (0, 0));
    }

    #[test]
    fn a_worker_at_its_share_gives_one_to_a_worker_two_below() {
        assert_eq!(Fleet::new("aabb").counts(), (0, 1), "four leases, three workers: two, two and none");
    }

    #[test]
    fn any_distribution_evens_out_within_one_by_single_steals() {
        for picture in ["aaaaaaaaaa", "aaaaaaabbbc", "aabbccddee", "abbbbbbbbbbbbb"] {
            let names = ["a", "b", "c", "d", "e", "m"].map(WorkerId::new);
            let mut rows = Fleet::new(picture).rows;
            for round in 0..200 {
                let me = &names[round % names.len()];
                let leases: Vec<Lease<'_>> = rows
                    .iter()
                    .map(|(row, ..)| Lease { row, expired: false, mine: row.owner.as_ref() == Some(me), barred: false })
                    .collect();
                let limits = Limits { max_leases: None, max_steals: 1 };
                let stolen = choose(&leases, me, limits, &mut Random::seeded(round as u64)).steals;
                for (row, ..) in rows.iter_mut().filter(|(row, ..)| stolen.contains(&row.key)) {
                    row.owner = Some(me.clone());
                }
            }
            let load = |name| rows.iter().filter(|(row, ..)| row.owner.as_ref() == Some(name)).count();
            let loads: Vec<usize> = names.iter().map(load).collect();
            assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{picture}: {loads:?}");
        }
    }
}
