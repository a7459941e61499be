//! Answers do not arrive: the effect came about, and the worker does not know.

use super::{by_calls, scenario, with_faults};

#[test]
fn replies_of_the_lease_table_are_lost() {
    scenario("replies_of_the_lease_table_are_lost", |seed| with_faults(seed, |faults| faults.table.reply_lost = 250));
}

#[test]
fn replies_of_the_sink_are_lost() {
    scenario("replies_of_the_sink_are_lost", |seed| with_faults(seed, |faults| faults.sink.reply_lost = 300));
}

#[test]
fn replies_of_the_sink_are_lost_by_calls() {
    scenario("replies_of_the_sink_are_lost_by_calls", |seed| {
        by_calls(with_faults(seed, |faults| faults.sink.reply_lost = 300))
    });
}

#[test]
fn replies_of_the_stream_are_lost() {
    scenario("replies_of_the_stream_are_lost", |seed| with_faults(seed, |faults| faults.source.reply_lost = 150));
}

#[test]
fn requests_are_lost() {
    scenario("requests_are_lost", |seed| {
        with_faults(seed, |faults| {
            faults.table.request_lost = 150;
            faults.sink.request_lost = 200;
            faults.source.request_lost = 50;
        })
    });
}
