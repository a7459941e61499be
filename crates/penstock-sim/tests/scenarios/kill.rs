//! A worker ends without a goodbye; another takes its shards over and settles what it had announced.

use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario};

/// The moment moves over everything that a worker can be in the middle of.
fn moment(seed: u64) -> u64 {
    9_000 + 137 * (seed % 211)
}

fn one_killed(seed: u64) -> Plan {
    Plan::quiet(seed).at(moment(seed), Action::Kill(0))
}

fn all_killed(seed: u64) -> Plan {
    let at = moment(seed);
    let plan = Plan::quiet(seed).at(at, Action::Kill(0)).at(at + 300, Action::Kill(1));
    plan.at(at + 2_000, Action::Start(0)).at(at + 4_000, Action::Start(1))
}

#[test]
fn nothing_goes_wrong() {
    scenario("nothing_goes_wrong", Plan::quiet);
}

#[test]
fn a_killed_worker_is_followed_by_the_others() {
    scenario("a_killed_worker_is_followed_by_the_others", one_killed);
}

#[test]
fn a_killed_worker_is_followed_by_the_others_by_calls() {
    scenario("a_killed_worker_is_followed_by_the_others_by_calls", |seed| by_calls(one_killed(seed)));
}

#[test]
fn all_workers_are_killed_and_start_again() {
    scenario("all_workers_are_killed_and_start_again", all_killed);
}

#[test]
fn a_worker_is_killed_over_and_over() {
    scenario("a_worker_is_killed_over_and_over", |seed| {
        (0..6).fold(Plan::quiet(seed), |plan, round| {
            let at = 4_000 + 6_000 * round + 71 * (seed % 83);
            plan.at(at, Action::Kill(0)).at(at + 700, Action::Start(0))
        })
    });
}
