//! Operators and their tools write the table while workers are at it: a position is skipped only if the ledger knows, a deleted row
//! is told, and a bad row costs its shard and nothing else.

use penstock_sim::network::{Faults, Rates};
use penstock_sim::plan::{Action, Plan, Tool};

use super::{by_calls, scenario, with_faults};

/// Puts take seconds, so that intents are open.
fn slow_puts(seed: u64) -> Plan {
    with_faults(seed, |faults| faults.sink.delay = 4_000)
}

fn often(plan: Plan, action: Action) -> Plan {
    let seed = plan.seed;
    (0..8).fold(plan, |plan, round| plan.at(6_000 + 4_300 * round + 97 * (seed % 41), action))
}

#[test]
fn leases_are_released_by_force() {
    scenario("leases_are_released_by_force", |seed| often(slow_puts(seed), Action::Tool(Tool::Release)));
}

#[test]
fn leases_are_released_by_force_by_calls() {
    scenario("leases_are_released_by_force_by_calls", |seed| {
        often(by_calls(slow_puts(seed)), Action::Tool(Tool::Release))
    });
}

#[test]
fn positions_are_set() {
    scenario("positions_are_set", |seed| often(Plan::quiet(seed), Action::Tool(Tool::SetPosition)));
}

#[test]
fn intents_are_abandoned() {
    scenario("intents_are_abandoned", |seed| often(slow_puts(seed), Action::Tool(Tool::AbandonIntent)));
}

#[test]
fn intents_are_abandoned_while_answers_are_lost() {
    scenario("intents_are_abandoned_while_answers_are_lost", |seed| {
        let plan = with_faults(seed, |faults| {
            faults.sink.delay = 4_000;
            faults.table.reply_lost = 200;
        });
        often(plan, Action::Tool(Tool::AbandonIntent))
    });
}

#[test]
fn a_row_is_deleted() {
    scenario("a_row_is_deleted", |seed| Plan::quiet(seed).at(9_000 + 137 * (seed % 97), Action::Erase));
}

#[test]
fn a_row_is_deleted_by_calls() {
    scenario("a_row_is_deleted_by_calls", |seed| {
        by_calls(Plan::quiet(seed)).at(9_000 + 137 * (seed % 97), Action::Erase)
    });
}

#[test]
fn a_row_is_deleted_while_writes_are_late() {
    scenario("a_row_is_deleted_while_writes_are_late", |seed| {
        let plan = with_faults(seed, |faults| {
            faults.table = Rates { late: 200, reply_lost: 50, delay: 200, ..Rates::default() };
            faults.latest = 30_000;
        });
        let at = 9_000 + 137 * (seed % 97);
        plan.at(at, Action::Erase).at(at + 9_000, Action::Kill(0)).at(at + 12_000, Action::Start(0))
    });
}

#[test]
fn the_ledger_cannot_be_written_for_a_while() {
    scenario("the_ledger_cannot_be_written_for_a_while", |seed| {
        let plan = with_faults(seed, |faults: &mut Faults| faults.gaps.refused = 700);
        plan.at(9_000 + 137 * (seed % 97), Action::Erase)
    });
}

#[test]
fn a_row_that_cannot_be_read_costs_its_shard_alone() {
    scenario("a_row_that_cannot_be_read_costs_its_shard_alone", |seed| {
        let at = 8_000 + 137 * (seed % 97);
        Plan::quiet(seed).at(at, Action::Damage).at(at + 1_000 + 211 * (seed % 89), Action::Repair)
    });
}
