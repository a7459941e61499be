//! What the tasks of one shard share: the worker's things, the shard's identity, its tenure, its account of problems.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use penstock_core::backoff::Backoff;
use penstock_core::coordinator::api::{GapReason, StreamIndex};
use penstock_core::ids::LeaseKey;
use penstock_core::random::Random;
use penstock_core::time::Now;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::tenure::Tenure;
use crate::budget::MemoryBudget;
use crate::clock::Clock;
use crate::gate::SinkGate;
use crate::metrics::{AbandonReason, Metrics};
use crate::ports::{GapLedger, SeamError, ShardIdentity, ShardSource, StreamDescription};
use crate::settings::WorkerSettings;
use crate::status::{Board, ShardCell};

/// What all tasks of a worker share.
pub(crate) struct WorkerContext {
    pub(crate) settings: WorkerSettings,
    pub(crate) clock: Clock,
    /// In the order of their [`StreamIndex`].
    pub(crate) streams: Vec<Arc<Stream>>,
    /// Where gaps are recorded.
    pub(crate) ledger: Arc<dyn GapLedger>,
    pub(crate) budget: MemoryBudget,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: Arc<Board>,
    pub(crate) gate: SinkGate,
    /// Bounds the fetches under way.
    pub(crate) fetches: Semaphore,
    /// One replay at a time: each is held in memory whole.
    pub(crate) replays: Semaphore,
    pub(crate) gaps: GapLog,
    /// The grace period is over: what is cut off from here on was not delivered in time.
    pub(crate) out_of_grace: AtomicBool,
}

/// One of the streams of a worker.
pub(crate) struct Stream {
    pub(crate) index: StreamIndex,
    pub(crate) source: Arc<dyn ShardSource>,
    /// As it was at the start.
    pub(crate) description: StreamDescription,
}

impl Stream {
    pub(crate) fn new(index: StreamIndex, source: Arc<dyn ShardSource>, description: StreamDescription) -> Self {
        Self { index, source, description }
    }

    /// Makes sure that the stream was not created again under its name.
    pub(crate) async fn is_the_same(&self) -> Result<(), SeamError> {
        self.source.describe().await?.is_of(self.description.created)
    }
}

/// The gaps that were told, so that a shard that starts again does not tell of the same one again.
#[derive(Debug, Default)]
pub(crate) struct GapLog(Mutex<BTreeSet<(LeaseKey, GapReason, String)>>);

impl WorkerContext {
    /// Why the records of a shard are given up that was cut off.
    pub(crate) fn cut_reason(&self) -> AbandonReason {
        if self.out_of_grace.load(Ordering::Relaxed) { AbandonReason::GracePeriod } else { AbandonReason::LeaseLost }
    }

    /// Says that records may be missing: a line in the log and a count, once per gap.
    pub(crate) fn gap(&self, lease: &LeaseKey, reason: GapReason, range: &str) {
        let new = {
            let mut told = self.gaps.0.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert((lease.clone(), reason, range.to_owned()))
        };
        if new {
            self.metrics.gap(reason.as_str());
            tracing::error!(
                shard = %lease, reason = reason.as_str(), range,
                "records may be missing by someone else's doing"
            );
        }
    }

    /// A stream of random numbers of its own for each purpose, so that a run repeats whatever else happens.
    pub(crate) fn random(&self, purpose: &str, salt: u64) -> Random {
        let named = fnv(purpose.as_bytes()) ^ fnv(self.settings.worker.as_str().as_bytes()).rotate_left(17);
        Random::seeded(self.settings.seed ^ named ^ salt.rotate_left(41)).fork()
    }
}

/// FNV-1a: spreads names over seeds, nothing more.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What the tasks of one shard share.
pub(crate) struct ShardContext {
    pub(crate) worker: Arc<WorkerContext>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) identity: ShardIdentity,
    pub(crate) tenure: Arc<Tenure>,
    pub(crate) cell: Arc<ShardCell>,
    /// Stop fetching, settle what was read.
    pub(crate) drain: CancellationToken,
    /// Stop at once: the lease is lost, or the grace period is over.
    pub(crate) cut: CancellationToken,
}

impl ShardContext {
    /// A fetch was answered with so many bytes of payload. The first of a tenure ends the silence of the shard.
    pub(crate) fn answered(&self, now: Now, behind: Duration, bytes: u64) {
        if let Some(silence) = self.cell.answered(now, behind, bytes) {
            self.worker.metrics.handoff_gap.record(silence.as_secs_f64());
        }
    }

    /// Counts, shows and logs a failed call to the stream, the `failures`th in a row. `again` is when it is tried again.
    pub(crate) fn read_failed(&self, error: &SeamError, failures: u32, again: Duration) {
        self.cell.read_problem(error.to_string());
        self.tell(error, failures, again);
    }

    /// The same of a call to the sink.
    pub(crate) fn call_failed(&self, error: &SeamError, failures: u32, again: Duration) {
        self.cell.problem(error.to_string());
        self.tell(error, failures, again);
    }

    fn tell(&self, error: &SeamError, failures: u32, again: Duration) {
        self.worker.metrics.call_failed(error.operation, error.class.as_str());
        // Ever more rarely: many shards may meet the same trouble for hours.
        if failures.is_power_of_two() {
            let (stream, shard, class) = (&self.identity.stream, &self.identity.shard, error.class.as_str());
            tracing::warn!(%stream, %shard, class, error = %chain(error), failures, ?again, "a call failed");
        }
    }
}

/// An error with its causes, for one line in the log. What lies behind an error of a seam is left out: its message says it already,
/// in words for an operator.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut current = error;
    while !current.is::<SeamError>()
        && let Some(cause) = current.source()
    {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        current = cause;
    }
    text
}

/// A schedule of delays whose numbers are constants of the program.
pub(crate) fn backoff(base: Duration, cap: Duration) -> Backoff {
    Backoff::try_new(base, cap, 2).expect("the numbers are constants: a positive base not above the cap")
}
