//! Settings that touch bytes differ between workers: an intent is carried out with the recorded ones, whoever does it.

use penstock_core::intent::OutsideHashRange;
use penstock_sim::plan::{Action, Plan};

use super::{scenario, with_faults};

/// Puts take seconds, so that intents are open when their worker dies.
fn mixed(seed: u64) -> Plan {
    let mut plan = with_faults(seed, |faults| {
        faults.sink.delay = 3_000;
        faults.sink.reply_lost = 100;
    });
    plan.mixed_settings = true;
    plan
}

#[test]
fn a_worker_with_other_settings_carries_an_intent_out() {
    scenario("a_worker_with_other_settings_carries_an_intent_out", |seed| {
        mixed(seed).at(9_000 + 137 * (seed % 211), Action::Kill(0))
    });
}

#[test]
fn all_workers_come_back_with_other_settings() {
    scenario("all_workers_come_back_with_other_settings", |seed| {
        let at = 9_000 + 137 * (seed % 211);
        let plan = mixed(seed).at(at, Action::Kill(0)).at(at, Action::Kill(1));
        plan.at(at + 2_000, Action::Start(0)).at(at + 4_000, Action::Start(1))
    });
}

#[test]
fn a_zombie_with_other_settings_wakes() {
    scenario("a_zombie_with_other_settings_wakes", |seed| {
        let at = 9_000 + 137 * (seed % 211);
        mixed(seed).at(at, Action::Freeze(0)).at(at + 11_000 + 149 * (seed % 67), Action::Thaw(0))
    });
}

/// Most aggregates hold records that are dropped, and many nothing else that is read.
fn dropping(seed: u64) -> Plan {
    let mut plan = with_faults(seed, |faults| faults.sink.delay = 2_000);
    plan.strays = 900;
    plan.outside = OutsideHashRange::Drop;
    plan.buffer_interval = std::time::Duration::from_secs(1);
    plan
}

#[test]
fn batches_without_objects_leave_no_hole() {
    scenario("batches_without_objects_leave_no_hole", |seed| {
        let at = 9_000 + 137 * (seed % 211);
        dropping(seed).at(at, Action::Kill(0)).at(at + 4_000, Action::Start(0)).at(at + 9_000, Action::Kill(1))
    });
}

#[test]
fn records_outside_their_shard_are_set_aside() {
    scenario("records_outside_their_shard_are_set_aside", |seed| {
        let mut plan = dropping(seed).at(9_000 + 137 * (seed % 211), Action::Kill(0));
        plan.outside = OutsideHashRange::SetAside;
        plan
    });
}
