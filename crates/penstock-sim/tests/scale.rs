//! What one worker costs that holds 5,000 leases of shards with nothing to read: the CPU time of a simulated minute, with the real
//! engine. For people to look at: `make sim-scale`.

use std::io::Write as _;
use std::time::Duration;

use penstock_sim::plan::Plan;
use penstock_sim::{run, seeds};

const SHARDS: usize = 5_000;

/// One worker and nothing to read until `until`.
fn idle(until: Duration, idle_interval: Duration) -> Plan {
    let mut plan = Plan::quiet(1);
    plan.workers = 1;
    plan.shards = SHARDS;
    plan.records = 0;
    plan.write_until = until;
    plan.idle_interval = idle_interval;
    plan.memory_budget = 16 << 30;
    plan
}

/// The CPU time of the second of two minutes in which the leases are held: what starting and ending costs is in both runs.
fn minute(idle_interval: Duration) -> Duration {
    let minutes = [2_u64, 3].map(|minutes| {
        let before = seeds::cpu_time().expect("the system tells the CPU time");
        let run = run::run(&idle(Duration::from_secs(60 * minutes), idle_interval));
        assert!(run.outcome.is_ok(), "{:?}", run.outcome);
        seeds::cpu_time().expect("it did before").saturating_sub(before)
    });
    minutes[1].saturating_sub(minutes[0])
}

#[test]
#[ignore = "takes a minute, and tells rather than checks"]
fn five_thousand_idle_shards_for_a_minute() {
    let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / 60.0;
    let leases = minute(Duration::from_secs(3_600));
    let all = minute(Duration::from_secs(5));
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{SHARDS} leases, no fetches: {:.2} s of CPU a minute, {:.1} % of a core",
        leases.as_secs_f64(),
        share(leases)
    )
    .unwrap();
    writeln!(out, "with a fetch of each shard every 5 s: {:.2} s, {:.1} % of a core", all.as_secs_f64(), share(all))
        .unwrap();
    writeln!(out, "(the simulated table, stream and network are in both)").unwrap();
}
