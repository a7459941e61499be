//! A fleet is deployed anew, one worker after the other, under load: nothing is repeated, no shard is silent for long, and no lease
//! moves more often than it must.

use std::time::Duration;

use penstock_sim::plan::{Action, Plan, SinkKind};
use penstock_sim::run::Settled;
use penstock_sim::seeds;
use penstock_sim::world::Violation;

use super::scenario;

/// How long nobody may read an open shard at a clean hand-over.
const SILENCE: Duration = Duration::from_secs(3);

/// Each of three workers ends and starts again, half a second later, when the one before has settled in.
fn deployed(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.workers = 3;
    plan.shards = 6;
    plan.records = 400;
    plan.write_until = Duration::from_secs(75);
    (0..3_u32).fold(plan, |plan, slot| {
        let at = 25_000 + 15_000 * u64::from(slot) + 89 * (seed % 41);
        let slot = usize::try_from(slot).expect("small");
        plan.at(at, Action::Drain(slot)).at(at + 500, Action::Start(slot))
    })
}

fn calls(mut plan: Plan) -> Plan {
    plan.sink = SinkKind::Calls { packable: Some(true), poison: false };
    plan
}

fn silent_for_long(settled: &Settled) -> Result<(), Violation> {
    if settled.silence < SILENCE {
        return Ok(());
    }
    Err(Violation { invariant: "no shard is silent for long at a deploy", seen: format!("{:?}", settled.silence) })
}

fn repeated(settled: &Settled) -> Result<(), Violation> {
    if settled.repeats == 0 {
        return Ok(());
    }
    Err(Violation { invariant: "a clean deploy repeats nothing", seen: format!("{} repeats", settled.repeats) })
}

#[test]
fn a_rolling_deploy_keeps_every_shard_read() {
    let test = "a_rolling_deploy_keeps_every_shard_read";
    seeds::checked(test, seeds::count(250) / 25, deployed, silent_for_long);
}

#[test]
fn a_rolling_deploy_repeats_nothing() {
    let test = "a_rolling_deploy_repeats_nothing";
    seeds::checked(
        test,
        seeds::count(250) / 25,
        |seed| calls(deployed(seed)),
        |settled| repeated(settled).and_then(|()| silent_for_long(settled)),
    );
}

#[test]
fn all_workers_are_deployed_at_once() {
    scenario("all_workers_are_deployed_at_once", |seed| {
        let plan = deployed(seed);
        (0..3).fold(plan, |plan, slot| plan.at(20_000 + 100 * seed % 700, Action::Drain(slot)))
    });
}

// === Moves ===

/// From here on the fleet has shared the leases out.
const SHARED: Duration = Duration::from_secs(70);

/// Three workers and twelve leases, nothing to read: where nothing is read, a lease is worth as much as any other.
fn fleet(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.workers = 3;
    plan.shards = 12;
    plan.records = 1;
    plan.write_until = Duration::from_secs(130);
    plan
}

/// At most so many leases move once the fleet has shared them out.
fn moves_at_most(most: usize) -> impl Fn(&Settled) -> Result<(), Violation> {
    move |settled| {
        let moves: Vec<_> = settled.moves.iter().filter(|moved| moved.at >= SHARED && moved.at < settled.at).collect();
        if moves.len() <= most {
            return Ok(());
        }
        let seen = format!("{} leases moved, {most} are enough: {moves:?}", moves.len());
        Err(Violation { invariant: "no lease moves more often than it must", seen })
    }
}

#[test]
fn a_worker_that_joins_gets_its_share_and_nothing_else_moves() {
    let test = "a_worker_that_joins_gets_its_share_and_nothing_else_moves";
    // Twelve leases of three workers: the fourth is to have three; and one more for each worker.
    let plan = |seed| fleet(seed).at(SHARED.as_millis() as u64 + 37 * (seed % 29), Action::Start(3));
    seeds::checked(test, seeds::count(250) / 25, plan, moves_at_most(3 + 4));
}

#[test]
fn a_worker_that_leaves_is_followed_by_the_others_and_nothing_else_moves() {
    let test = "a_worker_that_leaves_is_followed_by_the_others_and_nothing_else_moves";
    let plan = |seed| fleet(seed).at(SHARED.as_millis() as u64 + 37 * (seed % 29), Action::Drain(2));
    seeds::checked(test, seeds::count(250) / 25, plan, moves_at_most(4 + 2));
}

#[test]
fn a_fleet_at_rest_moves_nothing() {
    let test = "a_fleet_at_rest_moves_nothing";
    seeds::checked(test, seeds::count(250) / 25, fleet, moves_at_most(0));
}
