//! Who assigns the leases by the KCL's own record: looked at before the start, and again while the worker runs.
//!
//! Among workers that take for themselves one more can join; beside a leader that assigns, nobody may take.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::coordinator::api::LeaseMode;
use penstock_core::random::Random;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::ports::{KclVersion, LeaseTable, SeamError};
use crate::shard::context::chain;
use crate::told::Told;

/// Between two looks, give or take a tenth.
const INTERVAL: Duration = Duration::from_secs(60);

/// What the record means for this worker.
pub(crate) enum Verdict {
    /// It may work.
    GoOn,
    /// It may not. Why, and what to do.
    Refused(String),
    /// It could not be read.
    Unknown(SeamError),
}

/// Reads the record.
pub(crate) async fn look(table: &dyn LeaseTable, limit: Duration) -> Result<KclVersion, SeamError> {
    match tokio::time::timeout(limit, table.kcl_version()).await {
        Ok(version) => version,
        Err(_) => Err(SeamError::timed_out("kcl version", "the coordinator state table", limit)),
    }
}

pub(crate) fn judge(version: Result<KclVersion, SeamError>, mode: LeaseMode) -> Verdict {
    match (version, mode) {
        (Ok(KclVersion::Unrecorded | KclVersion::Peers(_)), _) => Verdict::GoOn,
        (Ok(KclVersion::Leader(state)), LeaseMode::Exclusive) => {
            tracing::info!(state, "a KCL 3 leader assigned the leases; in exclusive mode that is past");
            Verdict::GoOn
        }
        (Ok(KclVersion::Leader(state)), LeaseMode::Peer) => Verdict::Refused(format!(
            "a KCL 3 leader assigns the leases of this table (Migration3.0 is {state}), and workers that take leases for \
             themselves cannot join it: stop the KCL 3 workers and set leases.mode = \"exclusive\", or roll the KCL back to \
             its 2.x protocol with its migration tool"
        )),
        (Err(error), _) => Verdict::Unknown(error),
    }
}

/// Looks again and again. Owned by the worker.
pub(crate) struct KclWatch {
    pub(crate) table: Arc<dyn LeaseTable>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) time_out: Duration,
    pub(crate) random: Random,
}

impl KclWatch {
    /// Ends when the worker may not go on, with the reason.
    pub(crate) async fn run(mut self) -> String {
        let mut told = Told::default();
        loop {
            let jitter = self.random.below(u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX) / 5);
            self.clock.sleep(INTERVAL * 9 / 10 + Duration::from_millis(jitter)).await;
            match judge(look(self.table.as_ref(), self.time_out).await, LeaseMode::Peer) {
                Verdict::GoOn => {}
                Verdict::Refused(problem) => return problem,
                Verdict::Unknown(error) => {
                    self.metrics.call_failed(error.operation, error.class.as_str());
                    if told.is_news(&error, self.clock.now().instant) {
                        tracing::warn!(error = %chain(&error), "it cannot be told whether a KCL 3 leader assigns the leases");
                    }
                }
            }
        }
    }
}
