//! A worker is told to end: it settles what it read, gives its leases back, and the others go on.

use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario, with_faults};

fn drained(plan: Plan) -> Plan {
    let at = 8_000 + 173 * (plan.seed % 101);
    plan.at(at, Action::Drain(0)).at(at + 26_000, Action::Start(0))
}

#[test]
fn a_drained_worker_leaves_nothing_behind() {
    scenario("a_drained_worker_leaves_nothing_behind", |seed| drained(Plan::quiet(seed)));
}

#[test]
fn a_drained_worker_leaves_nothing_behind_by_calls() {
    scenario("a_drained_worker_leaves_nothing_behind_by_calls", |seed| drained(by_calls(Plan::quiet(seed))));
}

#[test]
fn a_drain_meets_a_sink_that_does_not_answer() {
    scenario("a_drain_meets_a_sink_that_does_not_answer", |seed| {
        drained(with_faults(seed, |faults| faults.sink.request_lost = 700))
    });
}

#[test]
fn workers_are_redeployed_one_after_the_other() {
    scenario("workers_are_redeployed_one_after_the_other", |seed| {
        let at = 6_000 + 89 * (seed % 41);
        let plan = Plan::quiet(seed).at(at, Action::Start(2)).at(at + 500, Action::Drain(0));
        plan.at(at + 9_000, Action::Start(3)).at(at + 9_500, Action::Drain(1))
    });
}
