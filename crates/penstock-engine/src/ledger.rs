//! The gap ledger as the worker shows it: what is open in it, read now and then, and again soon after an entry was written.
//!
//! The ledger that shards and the keeper write to is wrapped: whoever writes, the page follows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::random::Random;
use penstock_core::time::UnixMillis;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::ports::{GapLedger, SeamError, TableProblem};
use crate::shard::context::chain;
use crate::status::Board;
use crate::told::Told;

/// Between two looks, give or take a tenth: operators acknowledge, and other workers notice gaps.
const INTERVAL: Duration = Duration::from_secs(300);
/// Between two looks at least, however many entries are written: a stream that was trimmed has one for each shard.
const LEAST_INTERVAL: Duration = Duration::from_secs(10);

/// A ledger that tells when an entry was written.
pub(crate) struct ToldLedger {
    inner: Arc<dyn GapLedger>,
    written: Arc<Notify>,
}

/// Reads the ledger. Owned by the worker.
pub(crate) struct LedgerWatch {
    ledger: Arc<dyn GapLedger>,
    /// Nobody else waits for it.
    written: Arc<Notify>,
    board: Arc<Board>,
    clock: Clock,
    time_out: Duration,
    random: Random,
}

impl ToldLedger {
    /// The ledger to write to, and what follows it.
    pub(crate) fn new(
        inner: Arc<dyn GapLedger>,
        board: Arc<Board>,
        time_out: Duration,
        random: Random,
    ) -> (Self, LedgerWatch) {
        let written = Arc::new(Notify::new());
        let clock = board.clock.clone();
        let watch =
            LedgerWatch { ledger: Arc::clone(&inner), written: Arc::clone(&written), board, clock, time_out, random };
        (Self { inner, written }, watch)
    }
}

#[async_trait]
impl GapLedger for ToldLedger {
    async fn prepare(&self) -> Result<(), TableProblem> {
        self.inner.prepare().await
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        self.inner.record(entry).await?;
        self.written.notify_one();
        Ok(())
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        self.inner.entries().await
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        self.inner.acknowledge(id, at).await
    }
}

impl LedgerWatch {
    /// Reads until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut told = Told::default();
        loop {
            self.look(&mut told).await;
            self.clock.sleep(LEAST_INTERVAL).await;
            let jitter = self.random.below(u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX) / 5);
            let pause = INTERVAL * 9 / 10 + Duration::from_millis(jitter);
            tokio::select! {
                // Biased, so that a simulation repeats; both lead to the same.
                biased;
                () = self.written.notified() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    async fn look(&self, told: &mut Told) {
        let read = match tokio::time::timeout(self.time_out, self.ledger.entries()).await {
            Ok(read) => read,
            Err(_) => Err(SeamError::timed_out("read gaps", "the gap ledger", self.time_out)),
        };
        match read {
            Ok((entries, unreadable)) => {
                let open: Vec<GapEntry> = entries.into_iter().filter(GapEntry::is_open).collect();
                self.board.metrics.gaps_open(|reason| open.iter().filter(|entry| entry.reason == reason).count());
                self.board.gaps_are(open);
                if let Some(first) = unreadable.first() {
                    tracing::warn!(entries = unreadable.len(), first, "entries of the gap ledger cannot be read");
                }
            }
            Err(error) => {
                self.board.failed(&error, None);
                self.board.gap_problem(error.to_string());
                if told.is_news(&error, self.clock.now().instant) {
                    tracing::warn!(error = %chain(&error), "the gap ledger cannot be read");
                }
            }
        }
    }
}
