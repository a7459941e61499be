//! Breaks one rule of the protocol after the other and shows that an invariant notices: `make sim-mutants`.
//!
//! What a rule is good for has to notice, not a check of the rule itself: those are switched off here. Random worlds are tried
//! first; a rule that matters only where several things meet has worlds that were made for it.

use std::io::Write as _;
use std::time::Duration;

use penstock_core::coordinator::api::InitialPosition;
use penstock_core::mutant::{self, Mutant};
use penstock_sim::generate::any_world;
use penstock_sim::network::Seam;
use penstock_sim::plan::{Action, Plan, SinkKind, Tool};
use penstock_sim::seeds;

/// A rule whose loss this many worlds do not notice counts as not needed.
const BOUND: u64 = 1_000;
/// As many random worlds are tried where there are others that were made for the rule.
const FEW: u64 = 300;

/// A line of the table, at once: finding the seed for all of them takes a while.
fn tell(rule: &str, worlds: &str, seed: &str, what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{rule:<24} {worlds:<8} {seed:>6}  {what}").expect("the terminal is there");
}

// === Worlds ===

fn random(seed: u64) -> Plan {
    Plan { check_rules: false, ..any_world(seed) }
}

fn quiet(seed: u64) -> Plan {
    let mut plan = Plan { check_rules: false, ..Plan::quiet(seed) };
    plan.faults.until = Duration::from_secs(60);
    plan
}

fn by_calls(mut plan: Plan) -> Plan {
    plan.sink = SinkKind::Calls { packable: Some(true), poison: false };
    plan
}

/// A worker hears late that an intent of long ago is stored, and is cut off from the lease table at once; what it puts is refused
/// again and again. Many others look at the leases, so that somebody takes them as soon as they are expired.
fn slow_answers(seed: u64) -> Plan {
    let mut plan = quiet(seed);
    (plan.workers, plan.shards, plan.records) = (6, 12, 800);
    plan.buffer_interval = Duration::from_secs(1);
    plan.faults.sink.refused = 800;
    let deaf = 5_000 + 100 * (seed % 45);
    (0..2).fold(plan, |plan, slot| {
        let at = 14_000 + 173 * (seed % 61) + 20_000 * slot as u64;
        let plan = plan.at(at, Action::Deafen(slot, Seam::Table, Duration::from_millis(deaf)));
        plan.at(at + deaf + 200 + 100 * (seed % 27), Action::Cut(slot, Seam::Table, Duration::from_secs(12)))
    })
}

/// Workers are cut off from the lease table, and from nothing else.
fn cut_off(seed: u64) -> Plan {
    by_calls(quiet(seed)).at(8_000 + 173 * (seed % 101), Action::Cut(0, Seam::Table, Duration::from_secs(20)))
}

/// Shards are split and merged at once, and the rows of some of them come late.
fn resharded(seed: u64) -> Plan {
    let mut plan = quiet(seed);
    plan.faults.table.refused = 200;
    plan.faults.table.late = 100;
    plan.faults.latest = 10_000;
    (0..4).fold(plan, |plan, round| {
        let at = 6_000 + 9_000 * round + 97 * (seed % 61);
        plan.at(at, Action::Split)
            .at(at + 30, Action::Merge)
            .at(at + 3_000, Action::Kill(0))
            .at(at + 4_000, Action::Start(0))
    })
}

/// Shards end while their children have nothing to read.
fn split_and_silent(seed: u64) -> Plan {
    let mut plan = quiet(seed);
    plan.write_until = Duration::from_secs(10);
    plan.faults.table.late = 150;
    plan.faults.latest = 40_000;
    plan.at(9_000 + 97 * (seed % 61), Action::Split).at(12_000, Action::Merge).at(60_000, Action::Split)
}

/// All workers die before or about their first commit, while records arrive.
fn died_early(seed: u64) -> Plan {
    let mut plan = quiet(seed);
    plan.initial = InitialPosition::Latest;
    plan.buffer_size = 400;
    let at = 5_000 + 137 * (seed % 61);
    let plan = plan.at(at, Action::Kill(0)).at(at + 100, Action::Kill(1));
    plan.at(at + 3_000, Action::Start(0)).at(at + 5_000, Action::Start(1))
}

/// Leases are released by a tool while renewals get lost.
fn released(seed: u64) -> Plan {
    let mut plan = by_calls(quiet(seed));
    plan.faults.table.request_lost = 400;
    (0..30).fold(plan, |plan, round| plan.at(5_000 + 1_500 * round + 131 * (seed % 11), Action::Tool(Tool::Release)))
}

/// Nobody reads while the retention ends.
fn trimmed(seed: u64) -> Plan {
    let at = 14_000 + 137 * (seed % 61);
    let plan = quiet(seed).at(at, Action::Kill(0)).at(at, Action::Kill(1));
    let plan = plan.at(at + 11_000, Action::Trim(Duration::from_millis(9_000 + 293 * (seed % 23))));
    plan.at(at + 11_500, Action::Start(0)).at(at + 12_500, Action::Start(1))
}

/// Rows are deleted, a leader of the KCL makes them again, and the gap ledger is hard to write.
fn remade(seed: u64) -> Plan {
    let mut plan = quiet(seed);
    plan.faults.gaps.refused = 800;
    (0..3).fold(plan, |plan, round| {
        let at = 8_000 + 11_000 * round + 137 * (seed % 61);
        plan.at(at, Action::Erase).at(at + 149 * (seed % 41), Action::KclSyncs)
    })
}

/// The worlds that are made for a rule.
fn directed(mutant: Mutant) -> Option<fn(u64) -> Plan> {
    match mutant {
        Mutant::StampAfterWrite => Some(slow_answers),
        Mutant::ExpiredIsRenewed => Some(cut_off),
        Mutant::AbsentParentIsDone => Some(resharded),
        Mutant::ParentDeletedEarly => Some(split_and_silent),
        Mutant::LatestNotPinned => Some(died_early),
        Mutant::ToolKeepsOwner => Some(released),
        Mutant::LedgerAfterCommit => Some(trimmed),
        Mutant::StartBeforeLedger => Some(remade),
        Mutant::CounterNotChecked
        | Mutant::NoIntent
        | Mutant::CommitBeforePut
        | Mutant::RecutAfterUnknownIntent
        | Mutant::KclConflictRule
        | Mutant::RejectedTakeIsSuccess
        | Mutant::RenewalBesideUnknown
        | Mutant::KeyNotInIntent
        | Mutant::SubsequenceNotCommitted => None,
    }
}

// === Trials ===

type Worlds = (&'static str, fn(u64) -> Plan);

/// The first world that notices: of which kind, its seed, and what it notices.
fn noticed(mutant: Mutant) -> Option<(Worlds, u64, String)> {
    let kinds = [Some(("random", random as fn(u64) -> Plan)), directed(mutant).map(|worlds| ("directed", worlds))];
    kinds.into_iter().flatten().find_map(|worlds| {
        let bound = if worlds.0 == "random" && directed(mutant).is_some() { FEW } else { BOUND };
        let (seed, run) = seeds::first_failure(bound, &worlds.1)?;
        Some((worlds, seed, run.outcome.expect_err("it is a failure").to_string()))
    })
}

#[test]
fn each_rule_that_is_broken_is_noticed() {
    tell("broken rule", "worlds", "seed", "broken invariant");
    let (mut unnoticed, mut seen) = (Vec::new(), Vec::new());
    for mutant in Mutant::ALL {
        mutant::set(Some(mutant));
        let name = format!("{mutant:?}");
        match noticed(mutant) {
            Some((worlds, seed, what)) => {
                seen.push((worlds, seed));
                tell(&name, worlds.0, &seed.to_string(), &what);
            }
            None => {
                tell(&name, "-", "-", "nothing in any world");
                unnoticed.push(name);
            }
        }
    }
    mutant::set(None);
    for ((kind, worlds), seed) in seen {
        let healthy = seeds::first_failure(seed + 1, &worlds).map(|(seed, run)| (seed, run.outcome));
        assert!(healthy.is_none(), "without a broken rule, {kind}: {healthy:?}");
    }
    tell("none", "all", "all", "nothing");
    assert_eq!(unnoticed, Vec::<String>::new());
}
