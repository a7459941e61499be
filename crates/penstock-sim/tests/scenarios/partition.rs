//! A worker is cut off from one seam while it reaches the others.

use std::time::Duration;

use penstock_sim::network::Seam;
use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario};

fn cut(seed: u64, seam: Seam) -> Plan {
    let at = 8_000 + 173 * (seed % 101);
    Plan::quiet(seed).at(at, Action::Cut(0, seam, Duration::from_millis(2_000 + 500 * (seed % 41))))
}

#[test]
fn a_worker_cannot_reach_the_lease_table() {
    scenario("a_worker_cannot_reach_the_lease_table", |seed| cut(seed, Seam::Table));
}

#[test]
fn a_worker_cannot_reach_the_lease_table_by_calls() {
    scenario("a_worker_cannot_reach_the_lease_table_by_calls", |seed| by_calls(cut(seed, Seam::Table)));
}

#[test]
fn a_worker_does_not_hear_the_lease_table() {
    scenario("a_worker_does_not_hear_the_lease_table", |seed| {
        let at = 8_000 + 173 * (seed % 101);
        let lasts = Duration::from_millis(2_000 + 500 * (seed % 41));
        by_calls(Plan::quiet(seed)).at(at, Action::Deafen(0, Seam::Table, lasts))
    });
}

#[test]
fn a_worker_cannot_reach_the_sink() {
    scenario("a_worker_cannot_reach_the_sink", |seed| cut(seed, Seam::Sink));
}

#[test]
fn a_worker_cannot_reach_the_stream() {
    scenario("a_worker_cannot_reach_the_stream", |seed| cut(seed, Seam::Source));
}
