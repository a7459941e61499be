//! How whole fleets settle: random fleets, every order of events, until nothing moves any more.
//!
//! The fleets are the same in every run. By hand, `PROPTEST_RNG_SEED` gives others, and `PROPTEST_CASES` is four times their number.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::world::World;
use super::*;

pub(super) const NO_LIMITS: Limits = Limits { max_leases: None, max_moves: 1 };

/// So many leases spread over so many workers within one.
pub(super) fn even(leases: usize, workers: usize) -> Vec<usize> {
    (0..workers).map(|worker| leases / workers + usize::from(worker < leases % workers)).collect()
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

/// Settles, and checks that counts are even after few moves.
fn assert_settles(world: World, racing: bool) -> Result<(), TestCaseError> {
    let (before, least) = (world.counts(), world.least_moves());
    let world = world.settle(racing);
    let counts = world.counts();
    prop_assert!(spread(&counts) <= 1 && world.unheld() == 0, "{before:?} became {counts:?}");
    // All leases of a lone worker may be on their way at the same time, if as many newcomers ask for one each. Then nobody is at
    // work, nobody knows of the others, and who looks at that moment takes all: moves are as many as that happens.
    let newcomers = before.iter().filter(|count| **count == 0).count();
    let somebody_is_at_work = before.len() > newcomers + 1 || before.iter().sum::<usize>() > newcomers;
    let most = least + counts.len();
    prop_assert!(
        world.moves <= most || !somebody_is_at_work,
        "{} moves from {before:?}, {least} would do",
        world.moves
    );
    Ok(())
}

fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let rng_seed = match usual.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        chosen @ RngSeed::Fixed(_) => chosen,
    };
    ProptestConfig { cases: usual.cases / 4, rng_seed, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn after_workers_join_counts_are_even_by_few_moves(
        (leases, workers, joined) in (0..60_usize, 1..7_usize, 1..4_usize),
        max_moves in 1..4_usize,
        racing: bool,
        seed: u64,
    ) {
        let mut counts = even(leases, workers);
        counts.extend(vec![0; joined]);
        assert_settles(World::new(&counts, 0, Limits { max_leases: None, max_moves }, seed), racing)?;
    }

    #[test]
    fn after_workers_leave_counts_are_even_by_few_moves(
        (leases, workers, left) in (0..60_usize, 1..6_usize, 1..3_usize),
        released: bool,
        racing: bool,
        seed: u64,
    ) {
        let mut world = World::new(&even(leases, workers + left), 0, NO_LIMITS, seed);
        world.leave(left, released);
        assert_settles(world, racing)?;
    }

    #[test]
    fn any_distribution_becomes_even_by_few_moves(
        // Who holds nothing is not known to the others, which take what is free.
        counts in prop::collection::vec(1..14_usize, 1..8),
        free in 0..12_usize,
        max_moves in 1..6_usize,
        racing: bool,
        seed: u64,
    ) {
        assert_settles(World::new(&counts, free, Limits { max_leases: None, max_moves }, seed), racing)?;
    }

    #[test]
    fn with_limits_counts_are_as_even_as_these_allow(
        (counts, caps) in (1..6_usize).prop_flat_map(|workers| {
            let caps = prop::collection::vec(1..12_usize, workers);
            (Just(workers), caps).prop_flat_map(|(workers, caps)| {
                (prop::collection::vec(0..12_usize, workers), Just(caps))
            })
        }),
        free in 0..12_usize,
        seed: u64,
    ) {
        let counts: Vec<usize> = counts.iter().zip(&caps).map(|(count, cap)| *count.min(cap)).collect();
        let world = World::new(&counts, free, NO_LIMITS, seed).with_caps(&caps).settle(false);
        let after = world.counts();
        let most = after.iter().max().unwrap();
        for (count, cap) in after.iter().zip(&caps) {
            prop_assert!(count + 1 >= *most || count == cap, "{counts:?} became {after:?} within {caps:?}");
            prop_assert!(world.unheld() == 0 || count == cap, "{counts:?} became {after:?} within {caps:?}");
        }
    }

    #[test]
    fn with_constant_throughputs_every_fleet_comes_to_rest(
        counts in prop::collection::vec(0..10_usize, 1..7),
        heavy in 1..40_u64,
        racing: bool,
        seed: u64,
    ) {
        // A few leases are much heavier than the others.
        let load = |random: &mut Random| match random.below(4) {
            0 => random.below(100 * heavy),
            _ => random.below(100),
        };
        let world = World::new(&counts, 0, NO_LIMITS, seed).with_loads(load).settle(racing);
        prop_assert!(spread(&world.counts()) <= 1, "{:?}", world.counts());
    }
}

#[test]
fn loads_become_even_and_not_only_counts() {
    for seed in 0..20 {
        // Every worker has its share; the first has what is heavy.
        let mut left = 10;
        let load = |_: &mut Random| {
            left -= i32::from(left > 0);
            if left > 0 { 100 } else { 1 }
        };
        let world = World::new(&[10, 10, 10], 0, NO_LIMITS, seed).with_loads(load).settle(seed % 2 == 0);
        let (least, most) = (*world.loads().iter().min().unwrap(), *world.loads().iter().max().unwrap());
        assert!(most - least <= 100, "{:?}", world.loads());
    }
}

#[test]
fn a_large_fleet_evens_out_too() {
    let mut counts = even(200, 16);
    counts.extend([0; 4]);
    assert_settles(World::new(&counts, 0, NO_LIMITS, 1), true).unwrap();
}

#[test]
fn five_thousand_leases_are_chosen_from_as_a_few_are() {
    // All differ in load, and as many as are missing may move: with anything quadratic this test takes minutes.
    for seed in 0..5 {
        let mut counts = even(5_000, 20);
        (counts[0], counts[1]) = (counts[0] - 100, counts[1] + 100);
        let limits = Limits { max_leases: None, max_moves: 5_000 };
        let world = World::new(&counts, 0, limits, seed).with_loads(|random| random.below(1_000_000));
        assert_eq!(world.wanted(0), 100);
        let even = World::new(&even(5_000, 20), 0, limits, seed).with_loads(|random| random.below(1_000_000));
        assert!((0..20).all(|worker| even.wanted(worker) <= 1));
    }
}
