//! Fleets whose throughputs are never still: how often leases change hands for that.
//!
//! A round is a scan of each worker, half a failover time; what moved rests for four. With a failover time of 10 s a thousand
//! rounds are 83 minutes.

use super::fleets::{NO_LIMITS, even};
use super::world::World;
use super::*;

const ROUNDS: usize = 500;
/// How long a lease rests that has moved.
const REST: usize = 4;

/// A few leases are much heavier than the others, or all are alike.
fn load(alike: bool) -> impl FnMut(&mut Random) -> u64 {
    move |random| match random.below(4) {
        _ if alike => 500,
        0 => random.below(4_000),
        _ => random.below(1_000),
    }
}

/// The moves of each round.
fn moves(world: &mut World, racing: bool, mut before: impl FnMut(&mut World, usize)) -> Vec<usize> {
    let run = |round| {
        before(world, round);
        let moves = world.moves;
        world.round(racing);
        world.moves - moves
    };
    (0..ROUNDS).map(run).collect()
}

/// The most moves within the time that a lease rests.
fn most_at_once(moves: &[usize]) -> usize {
    moves.windows(REST).map(|window| window.iter().sum()).max().unwrap_or(0)
}

#[test]
fn throughputs_that_fluctuate_move_few_leases_and_seldom() {
    let (mut all, mut rounds) = (0, 0);
    // Counts that cannot be equal are the hardest: which worker has one lease more is for the loads to say.
    for (leases, workers) in [(2, 2), (3, 2), (4, 2), (7, 3), (12, 4), (20, 4)] {
        for (seed, alike) in (0..4).flat_map(|seed| [(seed, true), (seed, false)]) {
            let settled = World::new(&even(leases, workers), 0, NO_LIMITS, seed).with_loads(load(alike)).settle(true);
            let moves = moves(&mut settled.with_noise(), seed % 2 == 0, |_, _| {});
            let total = moves.iter().sum::<usize>();
            let what = format!("{leases} leases, {workers} workers, seed {seed}, {alike}: {total} moves");
            assert!(total <= ROUNDS / 50, "{what}");
            assert!(most_at_once(&moves) <= workers, "more than a swap of each pair at once: {what}");
            (all, rounds) = (all + total, rounds + ROUNDS);
        }
    }
    assert!(all <= rounds / 400, "{all} moves in {rounds} rounds");
}

#[test]
fn throughputs_that_drift_are_followed_by_few_moves() {
    for (leases, workers) in [(6, 2), (12, 3), (20, 4)] {
        let share = leases / workers;
        // What the first worker has grows to three times as much, what the last has becomes a third.
        let mean = |index: usize, round: usize| match index / share {
            0 => 500 + 1_000 * round / ROUNDS,
            last if last + 1 == workers => 500 - 333 * round / ROUNDS,
            _ => 500,
        };
        for seed in 0..4 {
            let mut world = World::new(&even(leases, workers), 0, NO_LIMITS, seed).with_loads(load(true)).with_noise();
            let moves = moves(&mut world, seed % 2 == 0, |world, round| world.drift(|index| mean(index, round) as u64));
            let (total, loads) = (moves.iter().sum::<usize>(), world.loads());
            let what = format!("{leases} leases, {workers} workers, seed {seed}: {total} moves, {loads:?}");
            assert!(total <= 2 * workers && most_at_once(&moves) <= workers, "{what}");
            // Twice as much as that where nothing moves.
            let most = loads.iter().max().unwrap() * workers as u64;
            assert!(most * 2 <= loads.iter().sum::<u64>() * 3, "{what}");
        }
    }
}
