//! One file for each way in which things go wrong; each runs the real engine over simulated seams, with many seeds.

use penstock_sim::network::Faults;
use penstock_sim::plan::{Plan, SinkKind};
use penstock_sim::seeds;

mod deploy;
mod drain;
mod kcl;
mod kill;
mod late;
mod latest;
mod lost;
mod operator;
mod outage;
mod partial;
mod partition;
mod reshard;
mod settings;
mod slow;
mod stranger;
mod streams;
mod throttle;
mod trim;
mod zombie;

/// Runs a scenario for its seeds.
fn scenario(test: &str, plan: impl Fn(u64) -> Plan + Sync) {
    seeds::all(test, seeds::count(250) / 25, plan);
}

/// Until when things go wrong in these scenarios.
const WILD: std::time::Duration = std::time::Duration::from_secs(45);

/// A quiet world but for what goes wrong on the way.
fn with_faults(seed: u64, change: impl FnOnce(&mut Faults)) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.faults.until = WILD;
    for rates in [&mut plan.faults.source, &mut plan.faults.table, &mut plan.faults.sink, &mut plan.faults.gaps] {
        rates.delay = 50;
    }
    change(&mut plan.faults);
    plan
}

/// The same world with a sink of calls.
fn by_calls(mut plan: Plan) -> Plan {
    let packable = [None, Some(true), Some(false)][usize::try_from(plan.seed % 3).expect("below three")];
    plan.sink = SinkKind::Calls { packable, poison: plan.seed.is_multiple_of(4) };
    plan
}
