//! A worker ends without a goodbye; another takes its shards over and settles what it had announced.

use penstock_sim::plan::{Action, Plan};

#[test]
fn nothing_goes_wrong() {
    super::scenario("nothing_goes_wrong", Plan::quiet);
}

#[test]
fn a_killed_worker_is_followed_by_the_others() {
    super::scenario("a_killed_worker_is_followed_by_the_others", |seed| {
        Plan::quiet(seed).at(12_000 + 137 * (seed % 97), Action::Kill(0))
    });
}

#[test]
fn all_workers_are_killed_and_start_again() {
    super::scenario("all_workers_are_killed_and_start_again", |seed| {
        let at = 9_000 + 211 * (seed % 89);
        let plan = Plan::quiet(seed).at(at, Action::Kill(0)).at(at + 300, Action::Kill(1));
        plan.at(at + 2_000, Action::Start(0)).at(at + 4_000, Action::Start(1))
    });
}
