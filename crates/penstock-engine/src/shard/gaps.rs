//! The gap ledger as a shard meets it: an entry is stored before anything is handed on, committed or ended that passes it.
//!
//! A shard whose entry cannot be written waits, with nothing in its hands that others need; whoever stops it ends the wait.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use penstock_core::gap::{GapEntry, GapId, GapRange, GapReason};
use penstock_core::mutant::{self, Mutant};

use super::context::{ShardContext, backoff};
use super::pulse::{Part, Wait};
use crate::ports::SeamError;

/// The entries that a tenure has stored, over all its runs: each is written, counted and told once.
///
/// An entry that is written again is open again, which must not befall one that an operator looked at while the shard was started
/// again. The next tenure does not know what this one noticed, and if it finds something missing, that may be something else.
#[derive(Debug, Default)]
pub(crate) struct GapLog(Mutex<BTreeSet<GapId>>);

impl GapLog {
    fn holds(&self, id: GapId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Whether it is new.
    fn add(&self, id: GapId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }
}

impl ShardContext {
    /// An entry for this shard.
    pub(crate) fn gap(&self, reason: GapReason, range: GapRange) -> GapEntry {
        GapEntry {
            stream: self.identity.stream.clone(),
            stream_created: self.stream.description.created,
            lease: self.identity.lease.clone(),
            range,
            reason,
            noticed: self.worker.clock.now().wall,
            by: self.worker.settings.worker.clone(),
            acknowledged: None,
        }
    }

    /// Tries once to store an entry. An entry that this tenure has stored before is not written again.
    pub(crate) async fn try_record_gap(&self, entry: &GapEntry) -> Result<(), SeamError> {
        let worker = &self.worker;
        if self.tenure.gaps.holds(entry.id()) {
            return Ok(());
        }
        if mutant::is(Mutant::LedgerAfterCommit) {
            return Ok(());
        }
        let limit = worker.settings.time_outs.lease;
        match tokio::time::timeout(limit, worker.ledger.record(entry)).await {
            Ok(stored) => stored?,
            Err(_) => return Err(SeamError::timed_out("record gap", self.identity.lease.to_string(), limit)),
        }
        if self.tenure.gaps.add(entry.id()) {
            worker.metrics.gap(entry.reason.as_str());
            tracing::error!(
                stream = %entry.stream, shard = %entry.lease.shard_id(), reason = entry.reason.as_str(), range = %entry.range,
                gap = %entry.id(), "records may be missing by someone else's doing; the gap is in the ledger"
            );
        }
        Ok(())
    }

    /// Stores an entry, however long it takes. For whoever holds no memory and nothing else that other shards wait for.
    ///
    /// Cancel-safe: an entry that is written twice is one.
    pub(crate) async fn record_gap(&self, part: Part, entry: &GapEntry) {
        let pauses = backoff(Duration::from_millis(500), Duration::from_secs(30));
        let mut random = self.worker.random(self.identity.shard.as_str(), self.tenure.seed() ^ 0x6761_7000);
        let mut failures = 0_u32;
        self.pulse().waits(part, Wait::Ledger);
        while let Err(error) = self.try_record_gap(entry).await {
            let pause = pauses.delay(failures, &mut random);
            failures = failures.saturating_add(1);
            self.ledger_failed(&error, entry, failures, pause);
            self.worker.clock.sleep(pause).await;
        }
        if failures > 0 {
            self.cell.note(|facts| facts.problem = None);
        }
        self.pulse().waits(part, Wait::Working);
    }

    fn ledger_failed(&self, error: &SeamError, entry: &GapEntry, failures: u32, again: Duration) {
        let range = &entry.range;
        self.cell.problem(format!("waits until the gap {range} stands in the ledger: {error}"));
        self.tell(error, failures, again, "a gap cannot be recorded, and the shard waits for the ledger");
    }
}
