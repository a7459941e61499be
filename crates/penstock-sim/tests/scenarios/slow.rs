//! The sink takes its time: seconds for each put and call. Leases are kept meanwhile, and nothing piles up.

use penstock_sim::plan::Action;

use super::{by_calls, scenario, with_faults};

#[test]
fn a_slow_sink_keeps_no_lease_from_being_renewed() {
    scenario("a_slow_sink_keeps_no_lease_from_being_renewed", |seed| {
        with_faults(seed, |faults| faults.sink.delay = 12_000)
    });
}

#[test]
fn slow_calls_time_out_and_are_sent_again() {
    scenario("slow_calls_time_out_and_are_sent_again", |seed| {
        by_calls(with_faults(seed, |faults| faults.sink.delay = 6_000))
    });
}

#[test]
fn a_worker_with_a_slow_sink_is_killed() {
    scenario("a_worker_with_a_slow_sink_is_killed", |seed| {
        with_faults(seed, |faults| faults.sink.delay = 8_000).at(9_000 + 173 * (seed % 97), Action::Kill(0))
    });
}
