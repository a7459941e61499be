//! A service fails for everybody: throttled, gone, hanging. No delivery begins under a lease that cannot be proven, and all goes on
//! once the service is back.

use std::time::Duration;

use penstock_sim::network::{Outage, Seam};
use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario};

fn failing(plan: Plan, seam: Seam, how: Outage) -> Plan {
    let at = 8_000 + 173 * (plan.seed % 101);
    let lasts = Duration::from_millis(1_000 + 500 * (plan.seed % 41));
    plan.at(at, Action::Outage(seam, how, lasts))
}

#[test]
fn the_lease_table_throttles_everybody() {
    scenario("the_lease_table_throttles_everybody", |seed| failing(Plan::quiet(seed), Seam::Table, Outage::Throttled));
}

#[test]
fn the_lease_table_is_gone_for_a_while() {
    scenario("the_lease_table_is_gone_for_a_while", |seed| failing(Plan::quiet(seed), Seam::Table, Outage::Gone));
}

#[test]
fn every_call_to_the_lease_table_hangs() {
    scenario("every_call_to_the_lease_table_hangs", |seed| failing(Plan::quiet(seed), Seam::Table, Outage::Hangs));
}

#[test]
fn every_call_to_the_lease_table_hangs_by_calls() {
    scenario("every_call_to_the_lease_table_hangs_by_calls", |seed| {
        failing(by_calls(Plan::quiet(seed)), Seam::Table, Outage::Hangs)
    });
}

#[test]
fn the_lease_table_takes_everything_and_answers_nothing() {
    scenario("the_lease_table_takes_everything_and_answers_nothing", |seed| {
        failing(Plan::quiet(seed), Seam::Table, Outage::HangsAfterEffect)
    });
}

#[test]
fn the_sink_takes_everything_and_answers_nothing() {
    scenario("the_sink_takes_everything_and_answers_nothing", |seed| {
        failing(Plan::quiet(seed), Seam::Sink, Outage::HangsAfterEffect)
    });
}

#[test]
fn the_stream_hangs() {
    scenario("the_stream_hangs", |seed| failing(Plan::quiet(seed), Seam::Source, Outage::Hangs));
}
