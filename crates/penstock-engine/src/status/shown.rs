//! What is shown of a worker: plain values, as they were at one moment.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::coordinator::api::LeaseStatus;
use penstock_core::gap::GapEntry;
use penstock_core::ids::{LeaseKey, ShardId, StreamName, WorkerId};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;

use super::ErrorStatus;
use crate::metrics::Totals;

/// Open gaps that are shown at most.
pub const SHOWN_GAPS: usize = 100;

/// Everything a worker knows of itself at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its owner string.
    pub worker: WorkerId,
    /// Its streams, in the order of their [`StreamIndex`](penstock_core::coordinator::api::StreamIndex).
    pub streams: Vec<StreamStatus>,
    /// The wall clock as this was taken.
    pub taken_at: UnixMillis,
    /// The wall clock when the worker was made.
    pub started_at: UnixMillis,
    /// How long ago that was.
    pub uptime: Duration,
    /// Whether the lease table was scanned once.
    pub started: bool,
    /// How long ago it was scanned last; `None` before the first time.
    pub scan_age: Option<Duration>,
    /// Whether it is ending.
    pub draining: bool,
    /// How long ago the lease keeper's loop moved; `None` before it began.
    pub keeper_idle: Option<Duration>,
    /// All leases of the table, as the coordinator sees them. Shared, so that thousands of them cost nothing to look at.
    pub leases: Arc<[LeaseStatus]>,
    /// Leases without a live owner.
    pub unowned: usize,
    /// Workers with a live lease.
    pub workers: usize,
    /// The shards that are held.
    pub shards: Vec<ShardStatus>,
    /// Whether the sink is there.
    pub sink: SinkStatus,
    /// Since when it has been like that, on the wall clock.
    pub sink_since: UnixMillis,
    /// What the last failed call to the lease table said, until one succeeds.
    pub lease_problem: Option<String>,
    /// Open entries of the gap ledger, the oldest first, at most [`SHOWN_GAPS`].
    pub gaps: Vec<GapEntry>,
    /// The failures of late, by kind, the latest first.
    pub errors: Vec<ErrorStatus>,
    /// All open entries of the gap ledger, those not shown included.
    pub open_gaps: usize,
    /// Why the gap ledger cannot be read or written, until it can.
    pub gap_problem: Option<String>,
    /// Leases that this worker gave up and leaves alone for a while, with the reason.
    pub given_up: Vec<(LeaseKey, String)>,
    /// The largest lag over held shards.
    pub lag: Duration,
    /// Bytes of the budget that are taken.
    pub memory_used: u64,
    /// The budget.
    pub memory_budget: u64,
    /// The sum of all records.
    pub totals: Totals,
}

/// A stream of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    /// Its name.
    pub name: StreamName,
    /// Why nothing of it is taken or read although the table is well: it is gone or was created again.
    pub problem: Option<String>,
}

/// Whether the sink is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkStatus {
    /// It was not asked yet.
    Unknown,
    /// It answered; deliveries go on.
    Ready,
    /// It does not answer as it should; nothing is delivered. What is wrong.
    Down(String),
}

/// What a held shard is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardPhase {
    /// It waits for the sink to answer.
    WaitingForSink,
    /// It carries out an intent that was found.
    Replaying,
    /// It reads and delivers.
    Running,
    /// It failed and waits to start again.
    Failed,
    /// A record can neither be delivered nor set aside.
    Halted,
    /// It settles what was read, because the worker ends.
    Draining,
    /// It settles what was read, because another worker is to have it.
    HandingOver,
}

impl ShardPhase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::WaitingForSink,
        Self::Replaying,
        Self::Running,
        Self::Failed,
        Self::Halted,
        Self::Draining,
        Self::HandingOver,
    ];

    /// The phase as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForSink => "waiting_for_sink",
            Self::Replaying => "replaying",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Halted => "halted",
            Self::Draining => "draining",
            Self::HandingOver => "handing_over",
        }
    }
}

/// One held shard.
#[derive(Debug, Clone)]
pub struct ShardStatus {
    /// Its lease.
    pub lease: LeaseKey,
    /// Its stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// What it is about.
    pub phase: ShardPhase,
    /// The checkpoint that is known to be stored.
    pub checkpoint: Position,
    /// The last user record that was read.
    pub position: Option<RecordPosition>,
    /// How far behind the tip, counted on since the last answer.
    pub lag: Duration,
    /// How far behind the tip by the last answer; `None` before one.
    pub behind: Option<Duration>,
    /// Payload bytes that were read in this tenure.
    pub read_bytes: u64,
    /// How long the lease is held.
    pub held_for: Duration,
    /// Bytes of the open batch.
    pub open_bytes: u64,
    /// User records of the open batch.
    pub open_records: u64,
    /// User records that are not settled.
    pub in_flight: u64,
    /// The age of the oldest of them.
    pub oldest_unsettled: Duration,
    /// What went wrong last, until things go right again.
    pub problem: Option<String>,
    /// How often it started again within this tenure.
    pub restarts: u32,
}
