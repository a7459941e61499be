//! Random worlds with every kind of fault mixed: as many seeds as a budget of CPU time allows, and those that once failed.

use penstock_sim::generate::any_world;
use penstock_sim::{run, seeds};

/// The least that the budget of `make test` has to be enough for.
const LEAST: u64 = 2_000;

#[test]
fn every_world_keeps_every_invariant() {
    let test = "every_world_keeps_every_invariant";
    match seeds::cpu_budget() {
        Some(budget) => seeds::budgeted(test, budget, LEAST, any_world),
        // Without optimisation a taste of it; `make test` and `make sim` run the many.
        None => seeds::all(test, seeds::count(20), any_world),
    }
}

#[test]
fn a_run_repeats_byte_for_byte() {
    for seed in [0, 1, 2, 3, 5, 9, 13, 21] {
        let (one, other) = (run::run(&any_world(seed)), run::run(&any_world(seed)));
        let pairs = one.trace.text().lines().zip(other.trace.text().lines());
        let differs = pairs.enumerate().find(|(_, (one, other))| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert!(one.trace == other.trace, "seed {seed}: one trace is longer");
        assert!(one.trace.text().lines().count() > 100, "seed {seed}: a trace tells what happens");
    }
}

/// Seeds that failed once: of the generator as it stands, so a change of it takes them out of here.
const FAILED_ONCE: &[u64] = &[299, 1641, 10666, 24482, 33282, 44717, 52810, 54488, 84864];

#[test]
fn worlds_that_once_failed() {
    for seed in FAILED_ONCE {
        let run = run::run(&any_world(*seed));
        assert!(run.outcome.is_ok(), "seed {seed}: {:?}", run.outcome);
    }
}
