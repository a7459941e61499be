//! Runs plans by their seeds, on all processors, and tells of the first that fails how to run it alone.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::Plan;
use crate::run::{self, Run};

/// How many lines of a failing run are shown.
const TAIL: usize = 80;

/// The number of seeds: `PENSTOCK_SIM_SEEDS`, or `default`.
#[must_use]
pub fn count(default: u64) -> u64 {
    number("PENSTOCK_SIM_SEEDS").unwrap_or(default)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `plan` for the seeds below `count`, or for `PENSTOCK_SIM_SEED` alone, with its whole trace.
///
/// # Panics
/// With the seed, the invariant and the end of the trace of the lowest seed that breaks one.
pub fn all(test: &str, count: u64, plan: impl Fn(u64) -> Plan + Sync) {
    if let Some(seed) = number("PENSTOCK_SIM_SEED") {
        let run = run::run(&plan(seed));
        let told = write!(std::io::stdout(), "{:#?}\n{}", plan(seed), run.trace.text());
        told.expect("the trace can be shown");
        if let Err(violation) = &run.outcome {
            panic!("seed {seed}: {violation}");
        }
        return;
    }
    if let Some((seed, run)) = first_failure(count, &plan) {
        let Err(violation) = &run.outcome else { return };
        panic!(
            "{}\n\nseed {seed} of {test}: {violation}\nalone: PENSTOCK_SIM_SEED={seed} cargo test -p penstock-sim {test} -- --nocapture",
            run.trace.tail(TAIL)
        );
    }
}

/// The lowest seed below `count` that breaks an invariant, and its run.
#[must_use]
pub fn first_failure(count: u64, plan: &(impl Fn(u64) -> Plan + Sync)) -> Option<(u64, Run)> {
    let next = AtomicU64::new(0);
    let failed: Mutex<Option<(u64, Run)>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            let run = run::run(&plan(seed));
            if run.outcome.is_err() {
                // Seeds are handed out in order, so none below the lowest failure is left untried.
                next.fetch_max(count, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                    *failed = Some((seed, run));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}
