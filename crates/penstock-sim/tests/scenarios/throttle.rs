//! Everything is refused for pace, most of the time: nothing had an effect, and all of it passes in the end.

use super::{by_calls, scenario, with_faults};

#[test]
fn a_throttled_sink_and_stream_only_cost_time() {
    scenario("a_throttled_sink_and_stream_only_cost_time", |seed| {
        with_faults(seed, |faults| {
            faults.sink.throttled = 600;
            faults.source.throttled = 400;
        })
    });
}

#[test]
fn throttled_calls_only_cost_time() {
    scenario("throttled_calls_only_cost_time", |seed| {
        by_calls(with_faults(seed, |faults| faults.sink.throttled = 600))
    });
}

#[test]
fn a_throttled_lease_table_costs_leases_and_no_records() {
    scenario("a_throttled_lease_table_costs_leases_and_no_records", |seed| {
        with_faults(seed, |faults| {
            faults.table.throttled = 500;
            faults.table.refused = 150;
        })
    });
}
