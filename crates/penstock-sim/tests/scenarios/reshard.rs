//! Shards are split and merged while records flow: children wait for the end of all their parents.

use penstock_sim::plan::{Action, Plan};
use penstock_sim::seeds;

use super::{by_calls, scenario, with_faults};

fn split(seed: u64) -> Plan {
    Plan::quiet(seed).at(9_000 + 97 * (seed % 61), Action::Split).at(20_000 + 131 * (seed % 71), Action::Split)
}

fn merge(seed: u64) -> Plan {
    Plan::quiet(seed).at(9_000 + 97 * (seed % 61), Action::Merge).at(20_000 + 131 * (seed % 71), Action::Merge)
}

#[test]
fn shards_are_split() {
    scenario("shards_are_split", split);
}

#[test]
fn shards_are_split_by_calls() {
    scenario("shards_are_split_by_calls", |seed| by_calls(split(seed)));
}

#[test]
fn shards_are_merged() {
    scenario("shards_are_merged", merge);
}

#[test]
fn shards_are_merged_by_calls() {
    scenario("shards_are_merged_by_calls", |seed| by_calls(merge(seed)));
}

#[test]
fn children_are_split_and_merged_before_anybody_reads_them() {
    scenario("children_are_split_and_merged_before_anybody_reads_them", |seed| {
        let at = 8_000 + 97 * (seed % 61);
        let plan = Plan::quiet(seed).at(at, Action::Split).at(at + 150, Action::Merge).at(at + 300, Action::Split);
        plan.at(at + 450, Action::Merge)
    });
}

#[test]
fn the_reader_of_a_parent_is_killed_at_its_end() {
    scenario("the_reader_of_a_parent_is_killed_at_its_end", |seed| {
        let mut plan = with_faults(seed, |faults| {
            faults.table.reply_lost = 100;
            faults.table.late = 50;
            faults.latest = 20_000;
        });
        plan.shards = 2;
        let at = 9_000 + 97 * (seed % 61);
        let plan = plan.at(at, Action::Split).at(at, Action::Merge).at(at + 300 + 37 * (seed % 53), Action::Kill(0));
        plan.at(at + 6_000, Action::Start(0)).at(at + 6_000, Action::Split)
    });
}

/// Every three seconds more shards, then fewer, and now and then a worker is killed.
fn resharded(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.workers = 3;
    plan.shards = 1;
    plan.records = 400;
    plan.write_until = std::time::Duration::from_secs(70);
    plan.max_steals = 4;
    let counts = [2, 4, 8, 16, 32, 64, 40, 20, 10, 5, 3];
    let plan = counts
        .iter()
        .zip(0..)
        .fold(plan, |plan, (count, round)| plan.at(4_000 + 3_000 * round + 61 * (seed % 37), Action::Reshard(*count)));
    (0..3).fold(plan, |plan, slot| {
        let at = 9_000 + 9_000 * slot as u64 + 131 * (seed % 59);
        plan.at(at, Action::Kill(slot)).at(at + 2_000, Action::Start(slot))
    })
}

#[test]
fn one_shard_becomes_sixty_four_and_then_three() {
    seeds::all("one_shard_becomes_sixty_four_and_then_three", seeds::count(75) / 25, resharded);
}

#[test]
fn one_shard_becomes_sixty_four_and_then_three_by_calls() {
    let test = "one_shard_becomes_sixty_four_and_then_three_by_calls";
    seeds::all(test, seeds::count(75) / 25, |seed| by_calls(resharded(seed)));
}
