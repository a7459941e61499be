//! Shards start at the tip or at a time: it is pinned when the row is created, so whoever dies before a first commit takes no
//! record with it.

use std::time::Duration;

use penstock_core::coordinator::api::InitialPosition;
use penstock_core::time::UnixMillis;
use penstock_sim::plan::{Action, Plan};
use penstock_sim::world::EPOCH;

use super::{by_calls, scenario, with_faults};

/// Records flow before the first worker comes, and all of them die before or about their first commit.
fn died_early(mut plan: Plan, initial: InitialPosition) -> Plan {
    plan.initial = initial;
    plan.workers = 0;
    plan.buffer_size = 400;
    plan.buffer_interval = Duration::from_secs(6);
    let at = 8_000 + 137 * (plan.seed % 61);
    let plan = plan.at(5_000, Action::Start(0)).at(5_400, Action::Start(1));
    let plan = plan.at(at, Action::Kill(0)).at(at + 100, Action::Kill(1));
    let plan = plan.at(at + 3_000, Action::Start(0)).at(at + 5_000, Action::Start(1));
    // Where creates are late, the rows may come after the split: a start at the tip leaves such a parent out.
    if plan.faults.until.is_zero() { plan.at(at + 12_000, Action::Split) } else { plan }
}

#[test]
fn the_tip_is_pinned() {
    scenario("the_tip_is_pinned", |seed| died_early(Plan::quiet(seed), InitialPosition::Latest));
}

#[test]
fn the_tip_is_pinned_by_calls() {
    scenario("the_tip_is_pinned_by_calls", |seed| died_early(by_calls(Plan::quiet(seed)), InitialPosition::Latest));
}

#[test]
fn the_tip_is_pinned_though_creates_are_lost_and_late() {
    scenario("the_tip_is_pinned_though_creates_are_lost_and_late", |seed| {
        let plan = with_faults(seed, |faults| {
            faults.table.late = 150;
            faults.table.reply_lost = 150;
            faults.latest = 15_000;
        });
        died_early(plan, InitialPosition::Latest)
    });
}

#[test]
fn a_start_time_is_kept() {
    scenario("a_start_time_is_kept", |seed| {
        died_early(Plan::quiet(seed), InitialPosition::Timestamp(UnixMillis(EPOCH.0 + 3_500)))
    });
}
