//! The calls that the coordinator asks for: each with a time-out, each ending in exactly one event, even if it panics.
//!
//! What an error says of the effect of a write is decided here, from its class and nothing else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use penstock_core::coordinator::api::{Event, StreamIndex, WriteId, WriteResult};
use penstock_core::gap::GapEntry;
use penstock_core::ids::{LeaseCounter, LeaseKey};
use penstock_core::lease::{LeaseRow, LeaseWant, LeaseWrite};
use penstock_core::time::{Instant, UnixMillis};

use crate::ports::{ErrorClass, GapLedger, LeaseTable, SeamError, ShardSource};
use crate::settings::TimeOuts;

/// A call that ended.
pub(crate) struct Finished {
    /// What the coordinator is told.
    pub(crate) event: Event,
    /// What went wrong, if something did.
    pub(crate) error: Option<SeamError>,
}

/// Makes the calls.
#[derive(Clone)]
pub(crate) struct Calls {
    table: Arc<dyn LeaseTable>,
    gaps: Arc<dyn GapLedger>,
    source: Arc<dyn ShardSource>,
    stream_created: UnixMillis,
    time_outs: TimeOuts,
}

impl Calls {
    pub(crate) fn new(
        table: Arc<dyn LeaseTable>,
        gaps: Arc<dyn GapLedger>,
        source: Arc<dyn ShardSource>,
        stream_created: UnixMillis,
        time_outs: TimeOuts,
    ) -> Self {
        Self { table, gaps, source, stream_created, time_outs }
    }

    pub(super) fn scan(&self, started: Instant) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let call = bounded("scan", "leases", self.time_outs.scan, async move { table.scan().await });
        call.map(move |result| {
            let (scan, error) = split(result);
            Finished { event: Event::LeasesScanned { started, scan }, error }
        })
        .boxed()
    }

    pub(super) fn list_shards(&self, stream: StreamIndex) -> BoxFuture<'static, Finished> {
        let source = Arc::clone(&self.source);
        let created = self.stream_created;
        let call = bounded("ListShards", "stream", self.time_outs.scan, async move {
            let shards = source.list_shards().await?;
            // Asked after it: no lease is made for a shard of a stream that was created again under the name.
            source.describe().await?.is_of(created)?;
            Ok(shards)
        });
        call.map(move |result| {
            let (shards, error) = split(result);
            Finished { event: Event::ShardsListed { stream, shards }, error }
        })
        .boxed()
    }

    pub(super) fn create(&self, row: LeaseRow) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let key = row.key.clone();
        let call = bounded("create", key.as_str(), self.time_outs.lease, async move { table.create(&row).await });
        call.map(move |result| {
            let (outcome, error) = split(result);
            Finished { event: Event::LeaseCreated { key, outcome }, error }
        })
        .boxed()
    }

    pub(super) fn write(&self, id: WriteId, write: LeaseWrite) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let key = write.key.clone();
        let call = bounded("write", key.as_str(), self.time_outs.lease, async move { table.write(&write).await });
        call.map(move |result| match result {
            Ok(outcome) => {
                Finished { event: Event::LeaseWritten { id, result: WriteResult::Answered(outcome) }, error: None }
            }
            Err(error) => {
                Finished { event: Event::LeaseWritten { id, result: effect_of(error.class) }, error: Some(error) }
            }
        })
        .boxed()
    }

    pub(super) fn want(&self, want: LeaseWant) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let key = want.key.clone();
        let call = bounded("want", key.as_str(), self.time_outs.lease, async move { table.want(&want).await });
        call.map(move |result| {
            let (stands, error) = split(result);
            Finished { event: Event::LeaseWanted { key, stands }, error }
        })
        .boxed()
    }

    pub(super) fn record_gap(&self, entry: GapEntry) -> BoxFuture<'static, Finished> {
        let gaps = Arc::clone(&self.gaps);
        let id = entry.id();
        let subject = entry.lease.to_string();
        let call = bounded("record gap", &subject, self.time_outs.lease, async move { gaps.record(&entry).await });
        call.map(move |result| {
            let (stored, error) = split(result);
            Finished { event: Event::GapRecorded { id, stored: stored.is_some() }, error }
        })
        .boxed()
    }

    pub(super) fn delete(&self, key: LeaseKey, counter: LeaseCounter) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let row = key.clone();
        let call =
            bounded("delete", key.as_str(), self.time_outs.lease, async move { table.delete(&row, counter).await });
        call.map(move |result| {
            let (gone, error) = split(result);
            Finished { event: Event::LeaseDeleted { key, gone }, error }
        })
        .boxed()
    }
}

/// What a failed write may have done.
const fn effect_of(class: ErrorClass) -> WriteResult {
    match class {
        ErrorClass::Throttled | ErrorClass::Denied | ErrorClass::Rejected | ErrorClass::NotFound => {
            WriteResult::NotApplied
        }
        ErrorClass::Transient | ErrorClass::Expired | ErrorClass::Fatal => WriteResult::Unknown,
    }
}

/// Whether a first scan that fails like this ends the start: what time alone does not mend.
pub(super) const fn ends_the_start(error: &SeamError) -> bool {
    match error.class {
        ErrorClass::Denied | ErrorClass::Rejected | ErrorClass::NotFound | ErrorClass::Fatal => true,
        ErrorClass::Throttled | ErrorClass::Transient | ErrorClass::Expired => false,
    }
}

fn split<T>(result: Result<T, SeamError>) -> (Option<T>, Option<SeamError>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    }
}

/// The call with its time-out. A panic in it is an answer that cannot be read: the effect is unknown.
fn bounded<T: Send + 'static>(
    operation: &'static str,
    subject: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, SeamError>> + Send + 'static,
) -> impl Future<Output = Result<T, SeamError>> + Send + 'static {
    let subject = subject.to_owned();
    async move {
        match tokio::time::timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SeamError::new(operation, subject, ErrorClass::Fatal, "the call panicked")),
            Err(_) => Err(SeamError::timed_out(operation, subject, limit)),
        }
    }
}
