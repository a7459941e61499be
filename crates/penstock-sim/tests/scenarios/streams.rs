//! One application reads two streams; one of them is deleted and created again, and the other goes on.

use std::time::Duration;

use penstock_sim::network::{Outage, Seam};
use penstock_sim::plan::{Action, Plan};
use penstock_sim::run::Settled;
use penstock_sim::seeds;
use penstock_sim::world::Violation;

use super::{by_calls, scenario};

fn two(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.streams = 2;
    plan.shards = 2;
    plan
}

#[test]
fn two_streams_are_read() {
    scenario("two_streams_are_read", two);
}

#[test]
fn two_streams_are_split_and_merged_while_a_worker_is_killed() {
    scenario("two_streams_are_split_and_merged_while_a_worker_is_killed", |seed| {
        let at = 8_000 + 97 * (seed % 61);
        let plan =
            by_calls(two(seed)).at(at, Action::Split).at(at + 3_000, Action::Merge).at(at + 6_000, Action::Split);
        plan.at(at + 400 + 37 * (seed % 53), Action::Kill(0)).at(at + 9_000, Action::Start(0))
    });
}

#[test]
fn a_stream_is_created_again_and_the_other_goes_on() {
    scenario("a_stream_is_created_again_and_the_other_goes_on", |seed| {
        two(seed).at(9_000 + 137 * (seed % 97), Action::Recreate(1))
    });
}

#[test]
fn a_stream_is_created_again_and_is_never_read_with_old_checkpoints() {
    scenario("a_stream_is_created_again_and_is_never_read_with_old_checkpoints", |seed| {
        Plan::quiet(seed).at(9_000 + 137 * (seed % 97), Action::Recreate(0))
    });
}

/// Workers die while the sink takes nothing, and leave intents of both streams; the worker that finds them can read only one.
fn left_with_intents(seed: u64) -> Plan {
    let mut plan = two(seed);
    // Whatever the survivor holds, the dead held shards of both.
    (plan.shards, plan.workers) = (4, 3);
    let at = 12_000 + 137 * (seed % 61);
    let plan = plan.at(at, Action::Outage(Seam::Sink, Outage::Throttled, Duration::from_secs(8)));
    plan.at(at + 6_000, Action::Kill(0)).at(at + 6_000, Action::Kill(1)).at(at + 6_500, Action::Recreate(0))
}

/// Nothing is waited for but the leases of the dead, which expire while records are still being written.
fn settled_late(settled: &Settled) -> Result<(), Violation> {
    if settled.at < Duration::from_secs(60) {
        return Ok(());
    }
    Err(Violation {
        invariant: "no replay waits behind one that cannot be read",
        seen: format!("settled at {:?}", settled.at),
    })
}

#[test]
fn intents_of_a_stream_that_is_gone_hold_no_others_up() {
    let test = "intents_of_a_stream_that_is_gone_hold_no_others_up";
    seeds::checked(test, seeds::count(250) / 25, left_with_intents, settled_late);
}
