//! What goes into the coordinator and what comes out of it: events, commands, settings. Plain data.

use std::time::Duration;

use bytes::Bytes;

use crate::gap::{GapEntry, GapId};
use crate::ids::{HashRange, LeaseCounter, LeaseKey, LeaseToken, ShardId, StreamId, StreamName, WorkerId};
use crate::lease::{CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};
use crate::position::{Position, RecordPosition};
use crate::shard::{ChildShard, ShardListing};
use crate::throughput::Throughput;
use crate::time::{Instant, UnixMillis};

pub use crate::gap::GapReason;

/// What a coordinator is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorSettings {
    /// This worker's owner string.
    pub worker: WorkerId,
    /// How long a counter may stand still until the lease is expired; the same for every worker on the table.
    pub failover_time: Duration,
    /// The most leases that this worker holds; `None` for no limit.
    pub max_leases: Option<usize>,
    /// The most leases that are asked for or stolen in one cycle.
    pub max_steals_per_cycle: usize,
    /// The streams; rows of others are left alone. At least one.
    pub streams: Vec<StreamSettings>,
    /// Who else may be on the table.
    pub mode: LeaseMode,
    /// How long a worker that ends goes on reading after it has said so, while others live to take over. Zero: not at all.
    pub longest_linger: Duration,
    /// Feeds all jitter and shuffling.
    pub seed: u64,
}

/// Who else may be on the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaseMode {
    /// Workers of the KCL's 2x protocol.
    #[default]
    Peer,
    /// Only penstock: nothing is taken before no foreign counter has moved for three failover times, and the worker stops when
    /// one does.
    Exclusive,
}

/// What a coordinator is told of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Its name.
    pub name: StreamName,
    /// What the keys of its leases begin with; `None` where the table serves this stream alone.
    pub id: Option<StreamId>,
    /// When it was created.
    pub created: UnixMillis,
    /// Where its shards start that were never checkpointed.
    pub initial_position: InitialPosition,
}

/// One of the streams of [`CoordinatorSettings::streams`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamIndex(pub usize);

/// Where shards start that nobody has read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialPosition {
    /// At the oldest record.
    TrimHorizon,
    /// At the tip, as it is when the lease row is created.
    Latest,
    /// At a time.
    Timestamp(UnixMillis),
}

/// Tells one write from all others of this coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The deadline of `next_deadline` came.
    Tick,
    /// A scan that was begun at `started` ended.
    LeasesScanned {
        /// When it was begun.
        started: Instant,
        /// What it gave; `None` if it failed.
        scan: Option<Scan>,
    },
    /// A listing ended.
    ShardsListed {
        /// The stream.
        stream: StreamIndex,
        /// What it gave; `None` if it failed.
        shards: Option<Vec<ShardListing>>,
    },
    /// A wish ended.
    LeaseWanted {
        /// The row.
        key: LeaseKey,
        /// Whether the wish stands in the row now; `None` if the call failed, with the effect unknown.
        stands: Option<bool>,
    },
    /// Writing an entry of the gap ledger ended.
    GapRecorded {
        /// The entry.
        id: GapId,
        /// Whether the ledger holds it for certain.
        stored: bool,
    },
    /// A create ended; `None` if it failed, with the effect unknown.
    LeaseCreated {
        /// The row.
        key: LeaseKey,
        /// How it ended.
        outcome: Option<CreateOutcome>,
    },
    /// A conditional write ended.
    LeaseWritten {
        /// The write.
        id: WriteId,
        /// How it ended.
        result: WriteResult,
    },
    /// A delete ended; the value tells whether the row is gone, `None` if it failed.
    LeaseDeleted {
        /// The row.
        key: LeaseKey,
        /// How it ended.
        gone: Option<bool>,
    },
    /// A shard asks for something that its lease row must record. At most one request of a tenure is open.
    ShardRequested {
        /// The tenure.
        token: LeaseToken,
        /// What it asks for.
        request: ShardRequest,
    },
    /// What a shard has settled so far, and how far it is behind; the latest wins and rides on the next write.
    ShardProgressed {
        /// The tenure.
        token: LeaseToken,
        /// The progress.
        progress: Progress,
    },
    /// A shard's tasks have ended, whether they were stopped or ended by themselves. Its lease may be released now.
    ShardStopped {
        /// The tenure.
        token: LeaseToken,
    },
    /// The worker ends: take nothing more, stop all shards, release their leases.
    DrainRequested,
}

/// How a conditional write ended.
#[derive(Debug, Clone)]
pub enum WriteResult {
    /// The table answered.
    Answered(WriteOutcome),
    /// Certainly not applied (throttled, denied): may be sent again, or something else instead.
    NotApplied,
    /// Perhaps applied: the same bytes again, and nothing else.
    Unknown,
}

/// What a shard asks its lease row to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardRequest {
    /// Record an intent. Condition: counter, owner, `checkpoint` = `from`, no intent open.
    Intend {
        /// The row's checkpoint as the batch was cut.
        from: Position,
        /// The encoded intent.
        intent: Bytes,
    },
    /// Record that all up to `after` is settled.
    Commit(Commit),
    /// Record that all that arrived up to a time is settled; the checkpoint stays, which may well be none of a record.
    SettleUntil {
        /// The row's checkpoint. Condition: counter, owner, this, no intent open.
        from: Position,
        /// The time.
        until: UnixMillis,
    },
    /// Settle an intent without moving the checkpoint: it was passed by somebody else's checkpoint already.
    DropIntent {
        /// The encoded intent.
        intent: Bytes,
    },
    /// The shard was read to its end and everything is settled: create the children's rows, write `childShardIds`, then
    /// `SHARD_END`, in this order.
    EndShard {
        /// The children that the last response named; empty if the shard expired.
        children: Vec<ChildShard>,
    },
    /// This worker cannot go on with the shard: release the lease and do not take it again before `cool_down` has passed, or, if
    /// an intent is open now, the row holds it no longer.
    GiveUp {
        /// How long to stay away.
        cool_down: Duration,
    },
}

/// A checkpoint of an object sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The row's checkpoint as the batch was cut; part of the condition.
    pub from: Position,
    /// The end of the batch.
    pub after: RecordPosition,
    /// The arrival time of the record at `after`.
    pub arrival: UnixMillis,
    /// The end of the chain of objects, if this batch left one.
    pub chain: Option<RecordPosition>,
    /// The open intent, exactly; `None` for a batch without objects, whose condition is that no intent is open.
    pub intent: Option<Bytes>,
    /// The next intent, whose `from` is this `after`, recorded by the same write.
    pub next: Option<Bytes>,
}

/// What a shard has settled (call sinks) and how far it is behind (all).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The watermark and the arrival time of its record; `None` leaves the checkpoint alone.
    pub settled: Option<(RecordPosition, UnixMillis)>,
    /// Milliseconds behind the tip.
    pub lag: Option<u64>,
    /// Bytes that were read since the last time this was told; `None` if this says nothing of them.
    pub read: Option<u64>,
    /// Write now rather than with the next renewal (a drain).
    pub urgent: bool,
}

/// What the shell has to do. Drained after every event, in order.
#[derive(Debug, Clone)]
pub enum Command {
    /// Scan the lease table.
    ScanLeases,
    /// List the shards of a stream.
    ListShards(StreamIndex),
    /// Ask the holder of a lease for it.
    WantLease(LeaseWant),
    /// Write an entry of the gap ledger.
    RecordGap(GapEntry),
    /// Create a row.
    CreateLease(LeaseRow),
    /// Write a row conditionally. At most one write per row is under way.
    WriteLease {
        /// Comes back with the result. A write that is sent again keeps its id and its bytes.
        id: WriteId,
        /// The write.
        write: LeaseWrite,
    },
    /// Delete a completed row.
    DeleteLease {
        /// The row.
        key: LeaseKey,
        /// Its counter.
        counter: LeaseCounter,
    },
    /// Start reading a shard whose lease is held and whose parents are done.
    StartShard(HeldLease),
    /// Stop a shard's tasks; `ShardStopped` follows from the shell.
    StopShard {
        /// The lease.
        key: LeaseKey,
        /// The tenure.
        token: LeaseToken,
        /// Why, and so how.
        why: StopReason,
    },
    /// A lease was proved again: until then, and no longer, its shard may begin deliveries.
    Extend {
        /// The tenure.
        token: LeaseToken,
        /// The local deadline.
        until: Instant,
    },
    /// The answer to a shard's request.
    Answer {
        /// The tenure.
        token: LeaseToken,
        /// The answer.
        answer: Answer,
    },
    /// Something that an operator or a metric should hear of.
    Report(Report),
    /// Everything is released; the worker can end. Follows `DrainRequested` once.
    Drained,
}

/// Proof that this worker holds a lease; handed out by the coordinator alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// The tenure.
    pub token: LeaseToken,
    /// The row as this worker's last write left it.
    pub row: LeaseRow,
    /// The local deadline: no delivery begins that cannot end before.
    pub until: Instant,
    /// The stream that the shard belongs to.
    pub stream: StreamIndex,
    /// Since when nobody has read the shard, as far as can be told; `None` if nobody read it before.
    pub silent_since: Option<Silence>,
}

/// Since when a shard was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Its last owner handed it over and wrote this time of its own wall clock.
    Left(UnixMillis),
    /// Its last owner was not heard of since this worker saw its row change last.
    Unheard(Instant),
}

/// The answer to a shard's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded. The checkpoint of the row is now this.
    Done {
        /// The row's checkpoint.
        checkpoint: Position,
    },
    /// The lease is lost: nothing may be put or recorded for it any more.
    Lost,
}

/// Why a shard is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// The lease is lost: stop at once, deliver and record nothing more.
    Lost(LossReason),
    /// The worker ends: stop fetching, settle what was read, then stop.
    Drain,
    /// Another worker is to have the shard: stop fetching, settle what was read, then stop.
    HandOver,
    /// The shard's end is recorded.
    Ended,
}

/// How a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// Another worker took it.
    Taken,
    /// No write of ours succeeded within the failover time.
    Expired,
    /// Its row is gone.
    Deleted,
    /// Its row was changed by someone who is not a worker (a tool).
    Changed,
}

impl LossReason {
    /// The reason as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Changed => "changed",
        }
    }
}

/// Something that an operator or a metric should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A lease became ours.
    Taken {
        /// The lease.
        key: LeaseKey,
        /// Who had it before.
        from: Option<WorkerId>,
        /// Whether it was live, and so stolen.
        stolen: bool,
    },
    /// A lease is no longer ours.
    Lost {
        /// The lease.
        key: LeaseKey,
        /// How.
        reason: LossReason,
        /// Who has it, if somebody.
        to: Option<WorkerId>,
    },
    /// A lease was released in order.
    Released {
        /// The lease.
        key: LeaseKey,
        /// Who is to have it, if that is settled.
        to: Option<WorkerId>,
    },
    /// The holder of a lease was asked for it.
    Wanted {
        /// The lease.
        key: LeaseKey,
        /// Its holder.
        of: WorkerId,
    },
    /// The sum of all workers' `max_leases`, if they are all alike, cannot hold all leases.
    CapsTooSmall {
        /// Workers with a live lease.
        workers: usize,
        /// The most leases of each.
        max_leases: usize,
        /// Open leases of the table.
        leases: usize,
    },
    /// A checkpoint was stored.
    Checkpointed {
        /// The lease.
        key: LeaseKey,
    },
    /// A shard's end was stored.
    Ended {
        /// The lease.
        key: LeaseKey,
    },
    /// What the last scan showed.
    Scanned {
        /// Leases of the table that are not at `SHARD_END`.
        leases: usize,
        /// Those without a live owner, and those whose row cannot be read.
        unowned: usize,
        /// Workers that own a live lease, this one included.
        workers: usize,
    },
    /// In exclusive mode, before anything is taken: a worker that is not penstock's is alive, and waited for.
    WaitsForForeign {
        /// The lease.
        key: LeaseKey,
        /// Its owner.
        owner: WorkerId,
    },
    /// In exclusive mode: a worker that is not penstock's is at a row. Everything is released and nothing taken any more.
    ForeignWorker {
        /// The lease.
        key: LeaseKey,
        /// Its owner.
        owner: WorkerId,
    },
    /// A row cannot be read.
    UnreadableRow {
        /// Its key.
        key: LeaseKey,
        /// What is wrong with it.
        problem: String,
    },
    /// A row has the other form of key: the table serves one stream where this worker serves several, or the other way round.
    /// Told once; everything is released and nothing taken any more.
    OtherKeyForm {
        /// The key.
        found: LeaseKey,
    },
    /// No open lease covers these hash keys, although their rows were looked for several times: records may go unread.
    HashRangeHole {
        /// The stream.
        stream: StreamIndex,
        /// The first hash key that is not covered.
        from: u128,
        /// The last one.
        to: u128,
    },
    /// The rows belong to a stream of the same name that was created at another time: nothing of it is taken.
    StreamRecreated {
        /// The stream.
        index: StreamIndex,
        /// The creation time in the rows.
        rows: UnixMillis,
        /// The creation time of the stream as it is.
        stream: UnixMillis,
    },
}

/// A line of the coordinator's picture, for `/api/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The lease.
    pub key: LeaseKey,
    /// Its stream.
    pub stream: StreamIndex,
    /// Its owner, as last seen.
    pub owner: Option<WorkerId>,
    /// Its checkpoint, as last seen.
    pub checkpoint: Position,
    /// Whether this worker holds it.
    pub held: bool,
    /// Whether it waits for its parents.
    pub waits_for_parents: bool,
    /// Whether it waits until the gap ledger holds what goes before its start.
    pub waits_for_ledger: bool,
    /// Whether an intent is open.
    pub intent_open: bool,
    /// What the shard covers.
    pub hash_range: Option<HashRange>,
    /// Its parents.
    pub parents: Vec<ShardId>,
    /// The arrival time of the checkpointed record.
    pub arrival: Option<UnixMillis>,
    /// Milliseconds behind the tip, as its holder wrote last.
    pub lag: Option<u64>,
    /// What is read through it, as its holder wrote last.
    pub throughput: Option<Throughput>,
    /// Who asks for it, or is about to have it.
    pub wanted: Option<WorkerId>,
}
