//! Breaks one rule of the protocol after the other and shows that an invariant notices; built with `--cfg penstock_mutants`.
//!
//! What a rule is good for has to notice, not a check of the rule itself: those are switched off here.
#![cfg(penstock_mutants)]

use std::io::Write as _;

use penstock_core::mutant::{self, Mutant};
use penstock_sim::generate::any_world;
use penstock_sim::plan::{Plan, SinkKind};
use penstock_sim::seeds;

/// A rule whose loss this many worlds do not notice counts as not needed.
const BOUND: u64 = 2_000;

fn world(seed: u64) -> Plan {
    let mut plan = any_world(seed);
    plan.sink = SinkKind::Objects;
    plan.check_rules = false;
    plan
}

/// A line of the table, at once: finding the seed for all of them takes a while.
fn tell(rule: &str, seeds: &str, what: &str) {
    writeln!(std::io::stdout(), "{rule:<24} {seeds:>6}  {what}").unwrap();
}

#[test]
fn each_rule_that_is_broken_is_noticed() {
    tell("broken rule", "seed", "broken invariant");
    let mut unnoticed = Vec::new();
    let mut highest = 0;
    for mutant in Mutant::ALL {
        mutant::set(Some(mutant));
        let name = format!("{mutant:?}");
        match seeds::first_failure(BOUND, &world) {
            Some((seed, run)) => {
                highest = highest.max(seed);
                tell(&name, &seed.to_string(), &run.outcome.expect_err("it is a failure").to_string());
            }
            None => {
                tell(&name, "-", &format!("none in {BOUND} worlds"));
                unnoticed.push(name);
            }
        }
    }
    mutant::set(None);
    highest = highest.max(49);
    let healthy = seeds::first_failure(highest + 1, &world).map(|(seed, run)| (seed, run.outcome));
    assert!(healthy.is_none(), "without a broken rule: {healthy:?}");
    tell("none", &format!("0-{highest}"), "none");
    assert_eq!(unnoticed, Vec::<String>::new());
}
