//! Nobody reads for longer than the stream keeps records: what is gone is told before any checkpoint passes it, and of an intent
//! that was open what is left is put.

use std::time::Duration;

use penstock_sim::network::Seam;
use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario, with_faults};

/// All workers are killed; what is trimmed ends about the time of their death, before it or after.
fn trimmed(plan: Plan) -> Plan {
    let seed = plan.seed;
    let at = 14_000 + 137 * (seed % 61);
    let kept = Duration::from_millis(9_000 + 293 * (seed % 23));
    let plan = plan.at(at, Action::Kill(0)).at(at, Action::Kill(1)).at(at + 11_000, Action::Trim(kept));
    plan.at(at + 11_500, Action::Start(0)).at(at + 12_500, Action::Start(1))
}

#[test]
fn records_are_trimmed_under_checkpoints() {
    scenario("records_are_trimmed_under_checkpoints", |seed| trimmed(Plan::quiet(seed)));
}

#[test]
fn records_are_trimmed_under_checkpoints_by_calls() {
    scenario("records_are_trimmed_under_checkpoints_by_calls", |seed| trimmed(by_calls(Plan::quiet(seed))));
}

#[test]
fn records_are_trimmed_under_open_intents() {
    scenario("records_are_trimmed_under_open_intents", |seed| {
        trimmed(with_faults(seed, |faults| {
            faults.sink.delay = 6_000;
            faults.sink.request_lost = 300;
        }))
    });
}

/// A worker cannot read for a while, and the retention, or a shorter one, ends under what it has not read.
fn overtaken(plan: Plan) -> Plan {
    let seed = plan.seed;
    let at = 9_000 + 137 * (seed % 61);
    let plan = plan.at(at, Action::Cut(0, Seam::Source, Duration::from_millis(6_000 + 97 * (seed % 41))));
    let kept = Duration::from_millis(1_000 + 293 * (seed % 13));
    plan.at(at + 5_000 + 61 * (seed % 29), Action::Trim(kept))
}

#[test]
fn records_are_trimmed_under_a_reader_that_is_held_up() {
    scenario("records_are_trimmed_under_a_reader_that_is_held_up", |seed| overtaken(Plan::quiet(seed)));
}

#[test]
fn records_are_trimmed_under_a_reader_that_is_held_up_by_calls() {
    scenario("records_are_trimmed_under_a_reader_that_is_held_up_by_calls", |seed| {
        overtaken(by_calls(Plan::quiet(seed)))
    });
}

/// A shard is split, its last reader dies, and the service forgets it before anybody comes back.
fn expired(plan: Plan) -> Plan {
    let seed = plan.seed;
    let at = 8_000 + 137 * (seed % 61);
    let plan = plan.at(at, Action::Split).at(at + 50, Action::Merge).at(at + 60, Action::Split);
    let dies = at + 100 + 61 * (seed % 43);
    let plan = plan.at(dies, Action::Kill(0)).at(dies, Action::Kill(1));
    let plan = plan.at(dies + 12_000, Action::Trim(Duration::from_millis(9_000 + 293 * (seed % 9))));
    plan.at(dies + 12_500, Action::Start(0)).at(dies + 13_500, Action::Start(1))
}

#[test]
fn shards_expire_before_they_are_read() {
    scenario("shards_expire_before_they_are_read", |seed| expired(Plan::quiet(seed)));
}

#[test]
fn shards_expire_before_they_are_read_by_calls() {
    scenario("shards_expire_before_they_are_read_by_calls", |seed| expired(by_calls(Plan::quiet(seed))));
}

#[test]
fn shards_expire_and_the_ledger_is_hard_to_reach() {
    scenario("shards_expire_and_the_ledger_is_hard_to_reach", |seed| {
        expired(with_faults(seed, |faults| {
            faults.gaps.refused = 500;
            faults.gaps.reply_lost = 200;
        }))
    });
}
