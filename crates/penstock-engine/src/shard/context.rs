//! What the tasks of one shard share: the worker's things, the shard's identity, its tenure, its account of problems.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penstock_core::backoff::Backoff;
use penstock_core::coordinator::api::{ShardRequest, StreamIndex};
use penstock_core::position::Position;
use penstock_core::random::Random;
use penstock_core::time::{Instant, Now, UnixMillis};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::look::Looks;
use super::pulse::{Part, Pulse, Wait};
use super::tenure::{LeaseLost, Tenure, wait_of};
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
    /// The grace period is over: what is cut off from here on was not delivered in time.
    pub(crate) out_of_grace: AtomicBool,
}

/// One of the streams of a worker.
pub(crate) struct Stream {
    pub(crate) index: StreamIndex,
    pub(crate) source: Arc<dyn ShardSource>,
    /// As it was at the start.
    pub(crate) description: StreamDescription,
    looks: Looks,
}

impl Stream {
    pub(crate) fn new(index: StreamIndex, source: Arc<dyn ShardSource>, description: StreamDescription) -> Self {
        Self { index, source, description, looks: Looks::default() }
    }

    /// What the service says of the stream, asked at `at` or later, once for all who ask.
    pub(crate) async fn described_since(
        &self,
        at: Instant,
        clock: &Clock,
        limit: Duration,
    ) -> Result<StreamDescription, SeamError> {
        self.looks.since(at, clock, self.source.as_ref(), limit).await
    }

    /// Makes sure that the stream was not created again under its name.
    pub(crate) async fn is_the_same(&self) -> Result<(), SeamError> {
        self.source.describe().await?.is_of(self.description.created)
    }
}

impl WorkerContext {
    /// Why the records of a shard are given up that was cut off.
    pub(crate) fn cut_reason(&self) -> AbandonReason {
        if self.out_of_grace.load(Ordering::Relaxed) { AbandonReason::GracePeriod } else { AbandonReason::LeaseLost }
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
    /// The shard is about to change hands: put what is open now and read on, so that little is left to be put when nobody reads.
    pub(crate) close_early: CancellationToken,
    /// Stop at once: the lease is lost, or the grace period is over.
    pub(crate) cut: CancellationToken,
}

impl ShardContext {
    /// What the shard's parts wait for.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.tenure.pulse
    }

    /// Asks for something to be recorded in the row and waits until it is, or until the shard is cut off.
    pub(crate) async fn request(&self, part: Part, request: ShardRequest) -> Result<(), LeaseLost> {
        self.pulse().waits(part, wait_of(&request));
        let recorded = tokio::select! {
            // Biased: nothing is recorded for a shard that is cut off.
            biased;
            () = self.cut.cancelled() => Err(LeaseLost),
            recorded = self.tenure.request(request) => recorded,
        };
        self.pulse().waits(part, Wait::Working);
        recorded
    }

    /// What tells the row, whose checkpoint is `at`, that all that arrived up to `until` is settled, if it says so for a much
    /// earlier time, or for none. The checkpoint stays where it is, which is nowhere in a shard that nothing was ever written to.
    pub(crate) fn settled_until(
        &self,
        at: &Position,
        known: Option<UnixMillis>,
        until: UnixMillis,
    ) -> Option<ShardRequest> {
        // Often enough that a worker that is gone for long still leaves a time within the retention, which may have become the
        // least since the start; and rare as a write.
        let worth = (self.worker.settings.source.least_retention / 4).max(Duration::from_secs(60));
        if known.is_some_and(|known| until.since(known) < worth) {
            return None;
        }
        Some(ShardRequest::SettleUntil { from: at.clone(), until })
    }

    /// A fetch was answered with so many bytes of payload. The first of a tenure ends the silence of the shard.
    pub(crate) fn answered(&self, now: Now, behind: Duration, bytes: u64) {
        self.worker.metrics.fetches.increment(1);
        if let Some(silence) = self.cell.answered(now, behind, bytes) {
            self.worker.metrics.handoff_gap.record(silence.as_secs_f64());
        }
    }

    /// Counts, shows and logs a failed call to the stream, the `failures`th in a row. `again` is when it is tried again.
    pub(crate) fn read_failed(&self, error: &SeamError, failures: u32, again: Duration) {
        self.cell.read_problem(error.to_string());
        self.tell(error, failures, again, "a call failed");
    }

    /// The same of a call to the sink.
    pub(crate) fn call_failed(&self, error: &SeamError, failures: u32, again: Duration) {
        self.cell.problem(error.to_string());
        self.tell(error, failures, again, "a call failed");
    }

    /// Counts a failed call, and logs it ever more rarely: many shards may meet the same trouble for hours.
    pub(super) fn tell(&self, error: &SeamError, failures: u32, again: Duration, what: &str) {
        self.worker.board.failed(error, Some(&self.identity.lease));
        if failures.is_power_of_two() {
            let (stream, shard, class) = (&self.identity.stream, &self.identity.shard, error.class.as_str());
            tracing::warn!(%stream, %shard, class, error = %chain(error), failures, ?again, "{what}");
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
