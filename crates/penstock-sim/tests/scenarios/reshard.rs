//! Shards are split and merged while records flow: children wait for the end of all their parents.

use penstock_sim::plan::{Action, Plan};

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
