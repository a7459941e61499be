//! Small seams for tests of the engine: a table, a stream and sinks in memory, each with faults to hand out in order.

mod sinks;
mod stream;
mod table;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::chunk::{ChunkBuilder, UserRecord, UserRecords};
use penstock_core::coordinator::api::{HeldLease, StreamIndex};
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::ids::{
    ApplicationName, HashRange, LeaseCounter, LeaseKey, LeaseToken, ShardId, StreamName, WorkerId,
};
use penstock_core::intent::{Compression, Content, Destination, Encoding, Intent, IntentObject, OutsideHashRange};
use penstock_core::lease::{CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::{Instant, UnixMillis};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::budget::MemoryBudget;
use crate::clock::Clock;
use crate::deadline::DeliveryDeadline;
use crate::gate::{SinkFacts, SinkGate};
use crate::metrics::Metrics;
use crate::ports::*;
use crate::settings::WorkerSettings;
use crate::shard::context::{ShardContext, Stream, WorkerContext};
use crate::shard::tenure::{KeeperMessage, Tenure};
use crate::status::{Board, ShardCell};

pub(crate) use self::sinks::*;
pub(crate) use self::stream::*;
pub(crate) use self::table::*;

pub(crate) const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// A list of faults, handed out one by one; none left means success.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<VecDeque<ErrorClass>>);

impl Faults {
    pub(crate) fn add(&self, class: ErrorClass, times: usize) {
        self.lock().extend(std::iter::repeat_n(class, times));
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ErrorClass>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, operation: &'static str) -> Result<(), SeamError> {
        self.lock().pop_front().map_or(Ok(()), |class| Err(SeamError::new(operation, "fake", class, "as told")))
    }
}

pub(crate) fn settings(worker: &str) -> WorkerSettings {
    let mut settings = WorkerSettings::new(ApplicationName::new("test"), WorkerId::new(worker), 7);
    settings.objects.buffer_interval = Duration::from_secs(5);
    settings.calls.linger = Duration::from_millis(200);
    settings
}

// === One shard without a worker ===

/// The context of a shard that is held until the end of time, with the keeper's end of its mailbox.
pub(crate) fn shard(
    stream: &Arc<FakeStream>,
    checkpoint: Position,
) -> (Arc<ShardContext>, mpsc::Receiver<KeeperMessage>) {
    shard_with(stream, checkpoint, Arc::default())
}

/// The same with a gap ledger of the caller's.
pub(crate) fn shard_with(
    stream: &Arc<FakeStream>,
    checkpoint: Position,
    ledger: Arc<FakeGaps>,
) -> (Arc<ShardContext>, mpsc::Receiver<KeeperMessage>) {
    let clock = Clock::simulated(START);
    let settings = settings("w-1");
    let metrics = Arc::new(Metrics::register());
    let budget = MemoryBudget::new(settings.memory_budget, clock.clone(), metrics.memory_used.clone()).unwrap();
    let board =
        Board::new(&settings, &[StreamName::new("clicks")], clock.clone(), Arc::clone(&metrics), budget.clone());
    let key = LeaseKey::new("shardId-000000000000");
    let worker = Arc::new(WorkerContext {
        clock,
        streams: vec![Arc::new(Stream::new(StreamIndex(0), stream.clone(), stream.description()))],
        ledger,
        budget,
        metrics,
        board,
        gate: SinkGate::open(SinkFacts { target: None }),
        fetches: Semaphore::new(1),
        replays: Semaphore::new(1),
        out_of_grace: AtomicBool::new(false),
        settings,
    });
    let row = LeaseRow::new(key.clone(), LeaseCounter(1), checkpoint.clone());
    let until = Instant::from_nanos(u64::MAX);
    let (keeper, mailbox) = mpsc::channel(8);
    let cut = CancellationToken::new();
    let ctx = ShardContext {
        identity: ShardIdentity { stream: StreamName::new("clicks"), lease: key.clone(), shard: key.shard_id() },
        tenure: Arc::new(Tenure::new(
            HeldLease { token: LeaseToken::forged(1), row, until, stream: StreamIndex(0), silent_since: None },
            DeliveryDeadline::new(until),
            keeper,
        )),
        cell: ShardCell::new(key, StreamName::new("clicks"), checkpoint, None, worker.clock.now().instant),
        stream: Arc::clone(&worker.streams[0]),
        drain: cut.child_token(),
        close_early: cut.child_token(),
        cut,
        worker,
    };
    (Arc::new(ctx), mailbox)
}
