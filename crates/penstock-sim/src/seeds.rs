//! Runs plans by their seeds, on all processors, and tells of the first that fails how to run it alone.
//!
//! Seeds are handed out in order from zero, so that a failure repeats wherever it is run.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::plan::Plan;
use crate::run::{self, Run, Settled};
use crate::world::Violation;

/// How many lines of a failing run are shown.
const TAIL: usize = 80;

/// The number of seeds: `PENSTOCK_SIM_SEEDS`, or `default`.
#[must_use]
pub fn count(default: u64) -> u64 {
    number("PENSTOCK_SIM_SEEDS").unwrap_or(default)
}

/// The CPU time that random worlds may use, in seconds: `PENSTOCK_SIM_CPU`.
#[must_use]
pub fn cpu_budget() -> Option<Duration> {
    number("PENSTOCK_SIM_CPU").map(Duration::from_secs)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `plan` for the seeds below `count`, or for `PENSTOCK_SIM_SEED` alone, with its whole trace.
///
/// # Panics
/// With the seed, the invariant and the end of the trace of the lowest seed that breaks one.
pub fn all(test: &str, count: u64, plan: impl Fn(u64) -> Plan + Sync) {
    checked(test, count, plan, |_| Ok(()));
}

/// The same, with something that has to hold of what each run came to beside the invariants.
///
/// # Panics
/// As [`all`] does.
pub fn checked(
    test: &str,
    count: u64,
    plan: impl Fn(u64) -> Plan + Sync,
    holds: impl Fn(&Settled) -> Result<(), Violation> + Sync,
) {
    let one = |seed| judged(run::run(&plan(seed)), &holds);
    if let Some(seed) = number("PENSTOCK_SIM_SEED") {
        let run = one(seed);
        let told = write!(std::io::stdout(), "{:#?}\n{}", plan(seed), run.trace.text());
        told.expect("the trace can be shown");
        if let Err(violation) = &run.outcome {
            panic!("seed {seed}: {violation}");
        }
        return;
    }
    let Sweep { failed, .. } = sweep(&one, |seed| seed < count);
    fail(test, failed);
}

fn judged(mut run: Run, holds: &impl Fn(&Settled) -> Result<(), Violation>) -> Run {
    run.outcome = run.outcome.and_then(|settled| holds(&settled).map(|()| settled));
    run
}

/// Runs `plan` for the seeds from zero on, until this process has used `budget` of CPU time. At least `least` must fit in.
///
/// # Panics
/// As [`all`] does, and if fewer than `least` were run.
pub fn budgeted(test: &str, budget: Duration, least: u64, plan: impl Fn(u64) -> Plan + Sync) {
    let (began, started) = (cpu_time(), std::time::Instant::now());
    let threads = u32::try_from(threads()).unwrap_or(1);
    // Where nobody tells the CPU time, all threads are taken to be busy.
    let used = || match (cpu_time(), began) {
        (Some(now), Some(began)) => now.saturating_sub(began),
        _ => started.elapsed() * threads,
    };
    let Sweep { ran, failed } = sweep(&|seed| run::run(&plan(seed)), |_| used() < budget);
    let (cpu, wall) = (used().as_secs(), started.elapsed().as_secs());
    writeln!(std::io::stdout(), "{test}: {ran} seeds in {cpu} s of CPU time, {wall} s by the clock")
        .expect("the count can be shown");
    fail(test, failed);
    assert!(ran >= least, "{ran} seeds of {test} ran in {cpu} s of CPU time, at least {least} are asked for");
}

fn fail(test: &str, failed: Option<(u64, Run)>) {
    if let Some((seed, Run { outcome: Err(violation), trace })) = failed {
        panic!(
            "{}\n\nseed {seed} of {test}: {violation}\nalone: PENSTOCK_SIM_SEED={seed} cargo test -p penstock-sim {test} -- --nocapture",
            trace.tail(TAIL)
        );
    }
}

/// The CPU time of this process, where the system tells it.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    /// `USER_HZ`, which Linux fixes for what it shows here.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name of the program, which may hold anything: the 14th and 15th field of all.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The lowest seed below `count` that breaks an invariant, and its run.
#[must_use]
pub fn first_failure(count: u64, plan: &(impl Fn(u64) -> Plan + Sync)) -> Option<(u64, Run)> {
    sweep(&|seed| run::run(&plan(seed)), |seed| seed < count).failed
}

/// How many seeds ran, and the lowest that failed.
struct Sweep {
    ran: u64,
    failed: Option<(u64, Run)>,
}

fn sweep(one: &(impl Fn(u64) -> Run + Sync), goes_on: impl Fn(u64) -> bool + Sync) -> Sweep {
    let (next, ran, lowest) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let failed: Mutex<Option<(u64, Run)>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            // Seeds are handed out in order, so none below the lowest failure is left untried.
            if seed > lowest.load(Ordering::Relaxed) || !goes_on(seed) {
                return;
            }
            let run = one(seed);
            ran.fetch_add(1, Ordering::Relaxed);
            if run.outcome.is_err() {
                lowest.fetch_min(seed, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                    *failed = Some((seed, run));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(work);
        }
    });
    Sweep { ran: ran.into_inner(), failed: failed.into_inner().unwrap_or_else(PoisonError::into_inner) }
}
