//! Calls of which some entries fail: only those are sent again.

use penstock_sim::plan::Action;

use super::{by_calls, scenario, with_faults};

#[test]
fn only_failed_entries_are_sent_again() {
    scenario("only_failed_entries_are_sent_again", |seed| {
        let mut plan = by_calls(with_faults(seed, |faults| faults.entries_failed = 400));
        plan.ordered_calls = seed.is_multiple_of(2);
        plan
    });
}

#[test]
fn a_worker_is_killed_amid_partial_failures() {
    scenario("a_worker_is_killed_amid_partial_failures", |seed| {
        by_calls(with_faults(seed, |faults| faults.entries_failed = 400)).at(9_000 + 173 * (seed % 97), Action::Kill(0))
    });
}
