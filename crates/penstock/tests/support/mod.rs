//! What the end-to-end tests share: the real program as processes, records that prove themselves, and reading sinks back.
//!
//! What a test sets up and reads back goes by the bare protocols of the stand-ins, not through the code under test. A test
//! waits for conditions, each with a bound, and never for a moment.

#![expect(dead_code, unused_imports, reason = "each test file uses its own part")]

mod admin;
mod aws;
mod job;
mod objects;
mod process;
mod proof;
mod store;
mod teller;
mod watch;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use admin::{Page, get};
pub(crate) use aws::{Account, Shard, Stream, delete_bucket, firehose_to_bucket, lease_rows};
pub(crate) use job::{Job, Services};
pub(crate) use objects::{Finished, Place, Reader};
pub(crate) use process::{Local, Output, Worker, penstock, run};
pub(crate) use proof::{Proof, Verdict};
pub(crate) use store::{Store, dynamodb};
pub(crate) use teller::{Teller, Told};
pub(crate) use watch::{Move, Watch};

/// The bound of a wait for something that should take seconds; the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Waits for a condition.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}

/// Waits until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
