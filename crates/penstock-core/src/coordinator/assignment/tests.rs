//! Single choices, drawn as pictures of the table. How whole fleets settle is in `fleets`.

mod fleets;
mod noise;
mod world;

use super::*;
use crate::ids::LeaseCounter;
use crate::throughput::Throughput;

#[derive(Debug, Clone)]
struct Drawn {
    row: LeaseRow,
    expired: bool,
    very_old: bool,
    mine: bool,
    barred: bool,
    resting: bool,
    asked: bool,
}

impl Drawn {
    fn lease(&self) -> Lease<'_> {
        let Self { row, expired, very_old, mine, barred, resting, asked } = self;
        let [expired, very_old, mine] = [*expired, *very_old, *mine];
        Lease { row, expired, very_old, mine, barred: *barred, resting: *resting, asked: *asked }
    }
}

#[derive(Debug, Clone)]
struct Table {
    leases: Vec<Drawn>,
    limits: Limits,
    seed: u64,
}

impl Table {
    /// One lease per character: `.` unowned, `,` unowned for very long, a letter its owner (`m` is us and holds it), upper case:
    /// expired.
    fn new(picture: &str) -> Self {
        let leases = picture.chars().enumerate().map(|(index, owner)| {
            let key = LeaseKey::new(&format!("shardId-{index:012}"));
            let mut row = LeaseRow::new(key, LeaseCounter(1), Position::TrimHorizon);
            row.owner = owner.is_alphabetic().then(|| worker(owner.to_ascii_lowercase()));
            row.taken_by.clone_from(&row.owner);
            let expired = owner.is_uppercase() || owner == ',';
            let (very_old, mine) = (owner == ',', owner == 'm');
            Drawn { row, expired, very_old, mine, barred: false, resting: false, asked: false }
        });
        let limits = Limits { max_leases: None, max_moves: 1 };
        Self { leases: leases.collect(), limits, seed: 1 }
    }

    /// The same with a throughput for each lease, in the order of the picture.
    fn with_load(picture: &str, loads: &[u64]) -> Self {
        let mut table = Self::new(picture);
        assert_eq!(table.leases.len(), loads.len());
        for (lease, load) in table.leases.iter_mut().zip(loads) {
            lease.row.throughput = Some(Throughput::from_micros(load.saturating_mul(1_000_000)));
        }
        table
    }

    fn with_limits(mut self, max_leases: impl Into<Option<usize>>, max_moves: usize) -> Self {
        self.limits = Limits { max_leases: max_leases.into(), max_moves };
        self
    }

    /// Changes one lease.
    fn but(mut self, index: usize, change: impl FnOnce(&mut Drawn)) -> Self {
        change(&mut self.leases[index]);
        self
    }

    fn leases(&self) -> Vec<Lease<'_>> {
        self.leases.iter().map(Drawn::lease).collect()
    }

    fn choose(&self) -> Choice {
        choose(&self.leases(), &worker('m'), self.limits, &mut Random::seeded(self.seed))
    }

    fn take(&self) -> Vec<usize> {
        self.indices(self.choose().take)
    }

    fn want(&self) -> Vec<usize> {
        self.indices(self.choose().want)
    }

    fn indices(&self, keys: Vec<LeaseKey>) -> Vec<usize> {
        keys.iter().map(|key| self.leases.iter().position(|lease| lease.row.key == *key).unwrap()).collect()
    }

    /// How many are taken and how many are asked for.
    fn counts(&self) -> (usize, usize) {
        let Choice { take, want } = self.choose();
        (take.len(), want.len())
    }

    /// Everything that is asked for over many seeds.
    fn ever_wanted(&self) -> Vec<usize> {
        let wanted = (0..200).flat_map(|seed| Self { seed, ..self.clone() }.want());
        wanted.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    fn held_by(&self, name: char) -> usize {
        let (leases, me) = (self.leases(), worker('m'));
        Lease::count_by_worker(&leases, &me).get(&worker(name)).copied().unwrap_or(0)
    }
}

fn worker(name: char) -> WorkerId {
    WorkerId::new(&name.to_string())
}

// === free leases ===

#[test]
fn unowned_and_expired_leases_are_taken_up_to_the_fair_share() {
    assert_eq!(Table::new("....").counts(), (4, 0));
    assert_eq!(Table::new("AAAA").counts(), (4, 0));
    assert_eq!(Table::new("....a").counts(), (3, 0), "five leases, two workers");
    assert_eq!(Table::new("..aabb").counts(), (2, 0));
    assert_eq!(Table::new("..aamm").counts(), (1, 0));
    assert_eq!(Table::new("..ammm").counts(), (0, 0));
}

#[test]
fn very_old_leases_are_taken_up_to_one_more_than_the_fair_share() {
    assert_eq!(Table::new(",,,,,,aa").counts(), (5, 0), "eight leases, two workers");
    assert_eq!(Table::new(",,,,,,,,,a").counts(), (6, 0), "whoever comes first leaves the other its share");
    assert_eq!(Table::new(",.......aa").counts(), (5, 0), "the one more must be very old itself");
}

#[test]
fn very_old_leases_come_first() {
    let table = Table::new("..........,,,aaaaaaaaa");
    for seed in 0..50 {
        let mut taken = Table { seed, ..table.clone() }.take();
        assert_eq!(taken.len(), 11);
        taken.truncate(3);
        taken.sort_unstable();
        assert_eq!(taken, [10, 11, 12]);
    }
}

#[test]
fn what_nobody_takes_for_very_long_is_taken_one_at_a_time() {
    assert_eq!(Table::new(",,,aammmmm").counts(), (1, 0), "the other may hold no more than two");
    assert_eq!(Table::new(",,,aammmmm").with_limits(5, 1).counts(), (0, 0));
}

#[test]
fn completed_leases_neither_count_nor_are_they_taken() {
    let mut table = Table::new("....");
    for lease in &mut table.leases[..3] {
        lease.row.checkpoint = Position::ShardEnd;
    }
    assert_eq!(table.take(), [3]);
    let mut table = Table::new("aaa");
    for lease in &mut table.leases {
        lease.row.checkpoint = Position::ShardEnd;
    }
    assert_eq!((table.counts(), table.held_by('a')), ((0, 0), 0));
}

#[test]
fn the_most_leases_that_a_worker_may_hold_bound_what_it_takes() {
    assert_eq!(Table::new("....m").with_limits(3, 1).counts(), (2, 0));
    assert_eq!(Table::new("....m").with_limits(1, 1).counts(), (0, 0));
    assert_eq!(Table::new("....mm").with_limits(1, 1).counts(), (0, 0), "a limit that was lowered");
}

#[test]
fn a_row_that_names_us_and_is_not_held_is_taken_first() {
    let table = Table::new("...b").but(2, |lease| lease.row.owner = Some(worker('m')));
    let taken = table.take();
    assert_eq!((taken.len(), taken[0]), (2, 2));
}

#[test]
fn a_barred_lease_is_left_alone() {
    assert_eq!(Table::new("..").but(0, |lease| lease.barred = true).take(), [1]);
}

#[test]
fn nothing_is_asked_for_while_something_is_free() {
    assert_eq!(Table::new("aaaaaa.").counts(), (1, 0));
    assert_eq!(Table::new("aaaaaaaaa.mm").with_limits(3, 9).counts(), (1, 0));
    assert_eq!(Table::new("aaaaaaaaaab.mmmmmm").ever_wanted(), [] as [usize; 0], "also where it is left to others");
}

#[test]
fn what_was_released_for_another_worker_is_left_to_it_for_a_failover_time() {
    for wish in [
        |lease: &mut Drawn| lease.row.granted = Some(worker('a')),
        |lease: &mut Drawn| lease.row.wanted = Some(worker('a')),
    ] {
        let table = Table::new("..amm").but(0, wish);
        assert_eq!((table.take(), table.held_by('a')), (vec![1], 2));
        let table = table.but(1, |lease| lease.row.checkpoint = Position::ShardEnd);
        let early = table.clone().but(3, |lease| lease.row.checkpoint = Position::ShardEnd);
        assert_eq!((early.counts(), early.held_by('a')), ((0, 0), 2));
        let late = early.but(0, |lease| lease.expired = true);
        assert_eq!((late.counts(), late.held_by('a')), ((1, 0), 1));
    }
}

#[test]
fn what_was_released_for_us_is_taken_beyond_the_fair_share() {
    let table = Table::new(".amm").but(0, |lease| lease.row.granted = Some(worker('m')));
    assert_eq!((table.take(), table.held_by('m')), (vec![0], 3));
    assert_eq!(table.clone().with_limits(2, 1).counts(), (0, 0));
    assert_eq!(table.but(0, |lease| lease.barred = true).counts(), (0, 0), "but not if we gave it up");
}

#[test]
fn a_grant_outweighs_a_wish() {
    let table = Table::new(".abm").but(0, |lease| {
        (lease.row.wanted, lease.row.granted) = (Some(worker('m')), Some(worker('a')));
    });
    assert_eq!((table.counts(), table.held_by('a')), ((0, 0), 2));
}

#[test]
fn a_worker_that_holds_nothing_yet_is_known_by_what_is_handed_over_to_it() {
    let table = Table::new(".a").but(0, |lease| lease.row.granted = Some(worker('n')));
    assert_eq!((table.counts(), table.held_by('n')), ((0, 0), 1));
    let table = Table::new("aaaa").but(0, |lease| lease.row.granted = Some(worker('n')));
    assert_eq!((table.counts(), table.held_by('n'), table.held_by('a')), ((0, 1), 1, 3));
}

#[test]
fn a_wish_alone_does_not_prove_that_its_worker_lives() {
    let table = Table::new("aaam").but(0, |lease| lease.row.wanted = Some(worker('n')));
    assert_eq!((table.held_by('n'), table.held_by('a')), (0, 3));
}

#[test]
fn promises_of_a_fleet_that_is_gone_bind_nobody() {
    let table = Table::new("..").but(0, |lease| lease.row.granted = Some(worker('a')));
    assert_eq!(table.counts(), (2, 0));
    let table = table.but(1, |lease| lease.row.granted = Some(worker('m')));
    assert_eq!(table.take(), [1], "whoever released this for us was at work a moment ago");
}

// === even counts ===

#[test]
fn a_worker_below_its_share_asks_for_one_lease_of_the_most_loaded() {
    let table = Table::new("aaabbbb");
    assert_eq!(table.counts(), (0, 1));
    assert_eq!(table.ever_wanted(), [3, 4, 5, 6], "b has most");
}

#[test]
fn the_moves_of_a_cycle_are_bounded_by_the_setting_and_by_the_surplus() {
    let table = Table::new("aaaaaaaaaam");
    assert_eq!(table.clone().with_limits(None, 3).counts(), (0, 3));
    assert_eq!(table.clone().with_limits(None, 9).counts(), (0, 4));
    assert_eq!(table.clone().with_limits(None, 0).counts(), (0, 0));
    assert_eq!(table.clone().with_limits(3, 9).counts(), (0, 2));
    assert_eq!(Table::new("aaaaaabbbbbbmmm").with_limits(None, 9).counts(), (0, 1), "five is the share");
}

#[test]
fn a_worker_that_holds_nothing_asks_for_one_lease_and_waits_for_it() {
    let table = Table::new("aaaaaaaa").with_limits(None, 9);
    assert_eq!(table.counts(), (0, 1));
    assert_eq!(table.but(0, |lease| lease.asked = true).counts(), (0, 0));
}

#[test]
fn nothing_is_asked_for_where_the_difference_is_within_one() {
    assert_eq!(Table::new("aam").counts(), (0, 0));
    assert_eq!(Table::new("aabbm").counts(), (0, 0), "three workers share five leases");
    assert_eq!(Table::new("a").counts(), (0, 0));
}

#[test]
fn a_worker_at_its_share_gives_one_to_a_worker_two_below() {
    assert_eq!(Table::new("aabb").counts(), (0, 1), "four leases, three workers: two, two and none");
}

#[test]
fn a_lease_that_was_asked_for_counts_already() {
    let table = Table::new("aam").but(0, |lease| lease.asked = true);
    assert_eq!((table.counts(), table.held_by('m'), table.held_by('a')), ((0, 0), 2, 1));
    let table = Table::new("aaaaaaaaam").but(0, |lease| lease.asked = true).with_limits(None, 9);
    assert_eq!(table.counts(), (0, 3));
    assert!(!table.want().contains(&0));
    assert_eq!(table.with_limits(1, 9).counts(), (0, 0), "and against the most that we may hold");
}

#[test]
fn a_lease_on_its_way_to_another_counts_there_and_is_not_asked_for() {
    for wish in [
        |lease: &mut Drawn| lease.row.granted = Some(worker('b')),
        |lease: &mut Drawn| lease.row.wanted = Some(worker('b')),
    ] {
        let table = Table::new("aaabmm").but(0, wish);
        assert_eq!((table.counts(), table.held_by('a'), table.held_by('b')), ((0, 0), 2, 2));
        let table = Table::new("aaaab").but(0, wish);
        assert_eq!(table.ever_wanted(), [1, 2, 3]);
        let table = Table::new("mmmb").but(0, wish);
        assert_eq!((table.held_by('m'), table.held_by('b')), (2, 2), "ours as well");
    }
}

#[test]
fn resting_and_barred_leases_and_those_of_a_handoff_of_the_kcl_are_not_asked_for() {
    let table = Table::new("aaaa")
        .but(0, |lease| lease.resting = true)
        .but(1, |lease| lease.barred = true)
        .but(2, |lease| lease.row.checkpoint_owner = Some(worker('b')));
    assert_eq!(table.ever_wanted(), [3]);
}

#[test]
fn the_wish_of_a_worker_that_does_not_live_is_overwritten_last() {
    let table = Table::new("aaaa").but(1, |lease| lease.row.wanted = Some(worker('n')));
    assert_eq!(table.ever_wanted(), [0, 2, 3]);
    let mut table = Table::new("aa");
    table.leases.iter_mut().for_each(|lease| lease.row.wanted = Some(worker('n')));
    assert_eq!(table.ever_wanted(), [0, 1]);
}

#[test]
fn of_several_workers_that_could_ask_only_as_many_do_as_there_is_to_give() {
    // Four have two each and z four: one lease goes to the first of them.
    let picture = "bbddmmxxzzzz";
    assert_eq!(
        Table::new(picture).with_limits(None, 9).ever_wanted(),
        [8, 9, 10, 11],
        "if the others leave it for long"
    );
    let moved = Table::new(picture).but(0, |lease| lease.resting = true);
    assert_eq!(moved.ever_wanted(), [], "b and d come before m");
    let with_load = |loads: &[u64]| Table::with_load("mmppzzzz", loads).but(2, |lease| lease.resting = true);
    assert_eq!(with_load(&[9, 9, 1, 1, 5, 5, 5, 5]).ever_wanted(), [], "p has less to read and comes before m");
    assert_eq!(with_load(&[1, 1, 9, 9, 5, 5, 5, 5]).want().len(), 1);
    let moved = Table::new("mmppqqxxzzzz").but(2, |lease| lease.resting = true);
    assert_eq!(moved.want().len(), 1);
}

#[test]
fn a_worker_at_its_share_asks_for_more_where_the_limits_of_others_leave_it_to_it() {
    // Five each; a can hold no more than one, and nothing has moved for long.
    let table = Table::new("abbbbbbbbbmmmmm");
    assert_eq!(table.ever_wanted().len(), 9);
    assert_eq!(table.but(0, |lease| lease.resting = true).ever_wanted(), []);
}

#[test]
fn limits_are_too_small_where_all_workers_together_cannot_hold_all_leases() {
    let limits = |max_leases| Limits { max_leases, max_moves: 1 };
    assert!(limits(Some(3)).are_too_small(2, 7));
    assert!(!limits(Some(3)).are_too_small(2, 6));
    assert!(!limits(None).are_too_small(1, 5_000));
    assert!(!limits(Some(usize::MAX)).are_too_small(2, 5_000));
}

// === even loads ===

#[test]
fn the_lease_that_best_evens_out_the_load_moves() {
    assert_eq!(Table::with_load("aaaam", &[50, 20, 12, 1, 11]).want(), [0], "83 and 11: a difference of 72");
    assert_eq!(Table::with_load("aaaam", &[70, 20, 8, 1, 61]).want(), [1], "99 and 61: a difference of 38");
    assert_eq!(Table::with_load("aaaam", &[9, 7, 5, 8, 99]).want(), [2], "the lightest, where we have more");
}

#[test]
fn several_leases_that_move_at_once_even_out_together() {
    let table = Table::with_load("aaaaaaaam", &[40, 4, 4, 4, 4, 2, 3, 1, 0]).with_limits(None, 9);
    let mut wanted = table.want();
    wanted.sort_unstable();
    assert_eq!(wanted, [0, 5, 7], "40 is more than enough, the rest as light as can be");
}

#[test]
fn of_several_that_have_most_the_one_is_asked_whose_lease_evens_out_best() {
    let table = Table::with_load("aaabbbm", &[10, 20, 30, 55, 56, 57, 50]);
    assert_eq!(table.ever_wanted(), [5], "b has 168 to our 50: 57 gains more than any of a, which has 60");
}

#[test]
fn where_one_throughput_is_unknown_the_lease_is_chosen_at_random() {
    let table = Table::with_load("aaaam", &[50, 20, 12, 1, 11]).but(4, |lease| lease.row.throughput = None);
    assert_eq!(table.ever_wanted(), [0, 1, 2, 3]);
    let table = Table::with_load("aaaam", &[0; 5]);
    assert_eq!(table.ever_wanted(), [0, 1, 2, 3], "nothing is read at all");
}

#[test]
fn a_completed_lease_without_throughput_does_not_matter() {
    let table = Table::with_load("aaaamm", &[50, 20, 12, 1, 11, 0]).but(5, |lease| {
        lease.row.checkpoint = Position::ShardEnd;
        lease.row.throughput = None;
    });
    assert_eq!(table.ever_wanted(), [0]);
}

#[test]
fn a_single_move_evens_out_the_load_where_the_other_has_one_lease_more() {
    assert_eq!(Table::with_load("aaamm", &[50, 30, 20, 5, 5]).want(), [0], "100 and 10 become 50 and 60");
    let table = Table::with_load("aaamm", &[200, 200, 200, 120, 280]);
    assert_eq!(table.ever_wanted(), [] as [usize; 0], "nothing would come back: 200 for 120 is not to be had");
    assert_eq!(Table::with_load("aaammm", &[1, 1, 98, 1, 1, 1]).want(), [] as [usize; 0], "only one of 98 would help");
}

#[test]
fn a_swap_begins_with_the_lease_that_is_asked_for() {
    let (theirs, ours) = ([60, 40, 30], [10, 5, 2]);
    let table = Table::with_load("aaammm", &[theirs, ours].concat());
    assert_eq!(table.ever_wanted(), [0], "60 for 5 leaves 75 and 72");
    let table = Table::with_load("aaammmm", &[&theirs[..], &ours, &[1]].concat());
    assert_eq!(table.ever_wanted(), [0], "also where we have one more: 60 for 5 again");
}

#[test]
fn the_more_loaded_worker_begins_nothing() {
    assert_eq!(Table::with_load("aamm", &[10, 5, 60, 40]).want(), [] as [usize; 0]);
}

#[test]
fn a_gain_of_a_quarter_of_the_mean_is_too_little() {
    // The mean is 100. From 125 and 75 to 100 and 100, then from 126 and 74.
    assert_eq!(Table::with_load("aamm", &[75, 50, 50, 25]).want(), [] as [usize; 0]);
    assert_eq!(Table::with_load("aamm", &[76, 50, 50, 24]).want(), [0], "76 for 50");
}

#[test]
fn a_trickle_moves_nothing() {
    assert_eq!(Table::with_load("aamm", &[16, 16, 0, 0]).want(), [] as [usize; 0], "16 off");
    assert_eq!(Table::with_load("aamm", &[18, 17, 0, 0]).want(), [0], "17 off, 18 and 17 are left");
}

#[test]
fn loads_are_evened_out_only_where_everything_else_is_at_rest() {
    let table = || Table::with_load("aaammmbbb", &[60, 40, 30, 10, 5, 2, 30, 30, 30]);
    assert_eq!(table().ever_wanted(), [0]);
    assert_eq!(table().but(6, |lease| lease.row.granted = Some(worker('a'))).counts(), (0, 0), "on its way");
    assert_eq!(table().but(6, |lease| lease.row.owner = None).counts(), (0, 0), "free, and we have our share");
    let moving = Table::with_load("aaammmbbbb", &[60, 40, 30, 10, 5, 2, 30, 30, 30, 30]);
    assert_eq!(moving.but(6, |lease| lease.row.granted = Some(worker('a'))).counts(), (0, 0), "on its way, and even");
    let uneven = Table::with_load("aaaammmcc", &[60, 60, 60, 60, 1, 1, 1, 30, 30]);
    assert_eq!(uneven.ever_wanted(), [] as [usize; 0], "c has two fewer than a");
    assert_eq!(table().with_limits(3, 1).counts(), (0, 0), "a swap begins with one lease more");
    assert_eq!(table().with_limits(None, 0).counts(), (0, 0));
    let rest = |table: Table, index| table.but(index, |lease| lease.resting = true);
    assert_eq!(rest(table(), 0).ever_wanted(), [1], "40 for 2 is next");
    let all_rest = rest(rest(rest(table(), 3), 4), 5);
    assert_eq!(all_rest.counts(), (0, 0), "nothing of ours could go back");
}

#[test]
fn throughputs_beyond_measure_do_no_harm() {
    let most = u64::MAX;
    assert_eq!(Table::with_load("aaam", &[most, most, most, 0]).counts(), (0, 1));
    assert_eq!(Table::with_load("aamm", &[most, most, 0, 1]).counts(), (0, 1));
}
