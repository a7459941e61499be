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
use penstock_core::time::Instant;

use crate::clock::Clock;
use crate::ports::{ErrorClass, GapLedger, LeaseTable, SeamError};
use crate::settings::TimeOuts;
use crate::shard::context::{Stream, WorkerContext};

/// A call that ended.
pub(crate) struct Finished {
    /// What the coordinator is told.
    pub(crate) event: Event,
    /// What went wrong, if something did.
    pub(crate) error: Option<SeamError>,
}

/// A call that the coordinator asked for.
#[derive(Debug)]
pub(super) enum Call {
    Scan,
    ListShards(StreamIndex),
    Create(LeaseRow),
    Write(WriteId, LeaseWrite),
    Want(LeaseWant),
    RecordGap(GapEntry),
    Delete(LeaseKey, LeaseCounter),
}

/// Makes the calls.
#[derive(Clone)]
pub(crate) struct Calls {
    table: Arc<dyn LeaseTable>,
    gaps: Arc<dyn GapLedger>,
    streams: Vec<Arc<Stream>>,
    clock: Clock,
    time_outs: TimeOuts,
}

impl Calls {
    pub(crate) fn new(worker: &WorkerContext, table: Arc<dyn LeaseTable>, time_outs: TimeOuts) -> Self {
        let gaps = Arc::clone(&worker.ledger);
        Self { table, gaps, streams: worker.streams.clone(), clock: worker.clock.clone(), time_outs }
    }

    /// Begins a call. Nothing of it happens before it is polled, but a scan counts from here.
    pub(super) fn begin(&self, call: Call) -> BoxFuture<'static, Finished> {
        match call {
            Call::Scan => self.scan(self.clock.now().instant),
            Call::ListShards(stream) => self.list_shards(stream),
            Call::Create(row) => self.create(row),
            Call::Write(id, write) => self.write(id, write),
            Call::Want(want) => self.want(want),
            Call::RecordGap(entry) => self.record_gap(entry),
            Call::Delete(key, counter) => self.delete(key, counter),
        }
    }

    fn scan(&self, started: Instant) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let call = bounded("scan", "leases", self.time_outs.scan, async move { table.scan().await });
        call.map(move |result| {
            let (scan, error) = split(result);
            Finished { event: Event::LeasesScanned { started, scan }, error }
        })
        .boxed()
    }

    fn list_shards(&self, stream: StreamIndex) -> BoxFuture<'static, Finished> {
        let of = Arc::clone(&self.streams[stream.0]);
        let name = of.description.name.clone();
        let call = bounded("ListShards", name.as_str(), self.time_outs.scan, async move {
            let shards = of.source.list_shards().await?;
            // Asked after it: no lease is made for a shard of a stream that was created again under the name.
            of.is_the_same().await?;
            Ok(shards)
        });
        call.map(move |result| {
            let (shards, error) = split(result);
            Finished { event: Event::ShardsListed { stream, shards }, error }
        })
        .boxed()
    }

    fn create(&self, row: LeaseRow) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let key = row.key.clone();
        let call = bounded("create", key.as_str(), self.time_outs.lease, async move { table.create(&row).await });
        call.map(move |result| {
            let (outcome, error) = split(result);
            Finished { event: Event::LeaseCreated { key, outcome }, error }
        })
        .boxed()
    }

    fn write(&self, id: WriteId, write: LeaseWrite) -> BoxFuture<'static, Finished> {
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

    fn want(&self, want: LeaseWant) -> BoxFuture<'static, Finished> {
        let table = Arc::clone(&self.table);
        let key = want.key.clone();
        let call = bounded("want", key.as_str(), self.time_outs.lease, async move { table.want(&want).await });
        call.map(move |result| {
            let (stands, error) = split(result);
            Finished { event: Event::LeaseWanted { key, stands }, error }
        })
        .boxed()
    }

    fn record_gap(&self, entry: GapEntry) -> BoxFuture<'static, Finished> {
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

    fn delete(&self, key: LeaseKey, counter: LeaseCounter) -> BoxFuture<'static, Finished> {
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
