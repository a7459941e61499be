//! A worker of the KCL takes leases, checkpoints in between and leaves: what it passed is its own, and what had been announced
//! before it came is carried out as it was announced, or dropped if it went past it.

use penstock_core::coordinator::api::InitialPosition;
use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario, with_faults};

/// Puts take seconds, so that intents are open when the KCL comes.
fn slow_puts(seed: u64) -> Plan {
    with_faults(seed, |faults| faults.sink.delay = 4_000)
}

fn visited(plan: Plan) -> Plan {
    let offset = 131 * (plan.seed % 47);
    (0..4).fold(plan, |plan, round| {
        let at = 7_000 + 9_000 * round + offset;
        let plan = plan.at(at, Action::KclTakes).at(at + 100 + offset % 2_700, Action::KclCheckpoints);
        plan.at(at + 3_000, Action::KclCheckpoints).at(at + 3_100, Action::KclLeaves)
    })
}

#[test]
fn a_kcl_worker_checkpoints_in_between() {
    scenario("a_kcl_worker_checkpoints_in_between", |seed| visited(slow_puts(seed)));
}

#[test]
fn a_kcl_worker_checkpoints_in_between_by_calls() {
    scenario("a_kcl_worker_checkpoints_in_between_by_calls", |seed| visited(by_calls(slow_puts(seed))));
}

#[test]
fn a_kcl_worker_comes_to_an_intent_of_the_dead_and_dies() {
    scenario("a_kcl_worker_comes_to_an_intent_of_the_dead_and_dies", |seed| {
        let at = 9_000 + 137 * (seed % 211);
        let plan = slow_puts(seed).at(at, Action::Kill(0)).at(at + 200, Action::KclTakes);
        plan.at(at + 2_000, Action::KclCheckpoints).at(at + 4_000, Action::Start(0))
    });
}

#[test]
fn a_kcl_worker_syncs_and_cleans_up_beside_us() {
    scenario("a_kcl_worker_syncs_and_cleans_up_beside_us", |seed| {
        let at = 8_000 + 97 * (seed % 61);
        let plan = visited(Plan::quiet(seed)).at(at, Action::Split).at(at + 50, Action::KclSyncs);
        let plan = plan.at(at + 4_000, Action::Merge).at(at + 4_020, Action::KclSyncs);
        (0..5).fold(plan, |plan, round| plan.at(at + 6_000 + 3_000 * round, Action::KclCleans))
    });
}

/// Somebody deletes a row, and a leader of the KCL makes it again before or after we do.
fn remade(plan: Plan) -> Plan {
    let seed = plan.seed;
    (0..3).fold(plan, |plan, round| {
        let at = 8_000 + 11_000 * round + 137 * (seed % 61);
        plan.at(at, Action::Erase).at(at + 149 * (seed % 41), Action::KclSyncs)
    })
}

#[test]
fn a_leader_of_the_kcl_makes_rows_again() {
    scenario("a_leader_of_the_kcl_makes_rows_again", |seed| remade(Plan::quiet(seed)));
}

#[test]
fn a_leader_of_the_kcl_makes_rows_again_by_calls() {
    scenario("a_leader_of_the_kcl_makes_rows_again_by_calls", |seed| remade(by_calls(Plan::quiet(seed))));
}

#[test]
fn a_leader_of_the_kcl_makes_rows_again_while_the_ledger_cannot_be_written() {
    scenario("a_leader_of_the_kcl_makes_rows_again_while_the_ledger_cannot_be_written", |seed| {
        remade(with_faults(seed, |faults| faults.gaps.refused = 700))
    });
}

/// A leader of the KCL makes the first rows, at the tip, and we come to them.
fn adopted(mut plan: Plan) -> Plan {
    plan.initial = InitialPosition::Latest;
    plan.workers = 0;
    let at = 3_000 + 97 * (plan.seed % 61);
    let plan = plan.at(at, Action::KclSyncs).at(at + 1_000, Action::Start(0)).at(at + 1_300, Action::Start(1));
    remade(plan.at(at + 4_000, Action::Kill(0)).at(at + 9_000, Action::Start(0)))
}

#[test]
fn we_come_to_rows_of_the_kcl_at_the_tip() {
    scenario("we_come_to_rows_of_the_kcl_at_the_tip", |seed| adopted(Plan::quiet(seed)));
}

#[test]
fn we_come_to_rows_of_the_kcl_at_the_tip_while_the_ledger_cannot_be_written() {
    scenario("we_come_to_rows_of_the_kcl_at_the_tip_while_the_ledger_cannot_be_written", |seed| {
        adopted(with_faults(seed, |faults| faults.gaps.refused = 700))
    });
}

#[test]
fn a_kcl_worker_leaves_a_pending_checkpoint() {
    scenario("a_kcl_worker_leaves_a_pending_checkpoint", |seed| {
        let at = 9_000 + 137 * (seed % 97);
        let plan = Plan::quiet(seed).at(at, Action::KclTakes).at(at + 800, Action::KclCheckpoints);
        plan.at(at + 900, Action::KclPrepares).at(at + 900 + 100 * (seed % 30), Action::KclLeaves)
    });
}

#[test]
fn a_leader_of_the_kcl_3_hands_a_lease_over() {
    scenario("a_leader_of_the_kcl_3_hands_a_lease_over", |seed| {
        let at = 9_000 + 137 * (seed % 97);
        let plan = if seed.is_multiple_of(2) { slow_puts(seed) } else { by_calls(slow_puts(seed)) };
        plan.at(at, Action::Kcl3HandsOver).at(at + 500 + 400 * (seed % 31), Action::Kcl3Assigns)
    });
}

#[test]
fn a_leader_of_the_kcl_3_begins_to_hand_a_lease_over_and_dies() {
    scenario("a_leader_of_the_kcl_3_begins_to_hand_a_lease_over_and_dies", |seed| {
        Plan::quiet(seed).at(9_000 + 137 * (seed % 97), Action::Kcl3HandsOver)
    });
}
