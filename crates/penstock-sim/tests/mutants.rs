//! Breaks one rule of the protocol after the other and shows that an invariant notices; built with `--cfg penstock_mutants`.
//!
//! What a rule is good for has to notice, not a check of the rule itself: those are switched off here.
#![cfg(penstock_mutants)]

use std::fmt::Write as _;
use std::io::Write as _;

use penstock_core::mutant::{self, Mutant};
use penstock_sim::generate::any_world;
use penstock_sim::plan::{Plan, SinkKind};
use penstock_sim::seeds;

/// A rule whose loss this many worlds do not notice counts as not needed.
const BOUND: u64 = 4_000;

fn world(seed: u64) -> Plan {
    let mut plan = any_world(seed);
    plan.sink = SinkKind::Objects;
    plan.check_rules = false;
    plan
}

#[test]
fn each_rule_that_is_broken_is_noticed() {
    let mut table = format!("{:<24} {:>6}  broken invariant\n", "broken rule", "seed");
    let mut unnoticed = Vec::new();
    let mut highest = 0;
    for mutant in Mutant::ALL {
        mutant::set(Some(mutant));
        let name = format!("{mutant:?}");
        match seeds::first_failure(BOUND, &world) {
            Some((seed, run)) => {
                highest = highest.max(seed);
                let violation = run.outcome.expect_err("it is a failure");
                writeln!(table, "{name:<24} {seed:>6}  {violation}").unwrap();
            }
            None => {
                writeln!(table, "{name:<24} {:>6}  none in {BOUND} worlds", "-").unwrap();
                unnoticed.push(name);
            }
        }
    }
    mutant::set(None);
    let healthy = seeds::first_failure(highest + 1, &world).map(|(seed, run)| (seed, run.outcome));
    writeln!(table, "{:<24} {:>6}  none, with the same seeds", "none", format!("0-{highest}")).unwrap();
    std::io::stdout().write_all(table.as_bytes()).unwrap();
    assert_eq!(unnoticed, Vec::<String>::new());
    assert!(healthy.is_none(), "without a broken rule: {healthy:?}");
}
