//! One file for each way in which things go wrong; each runs the real engine over simulated seams, with many seeds.

use std::time::Duration;

use penstock_sim::plan::Plan;
use penstock_sim::seeds;

mod kill;

/// Runs a scenario for its seeds.
fn scenario(test: &str, plan: impl Fn(u64) -> Plan + Sync) {
    seeds::all(test, seeds::count(500) / 25, plan);
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
