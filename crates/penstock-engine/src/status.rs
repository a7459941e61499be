//! What a worker shows of itself: a cheap snapshot for probes, pages and gauges.
//!
//! Components write what they know into small shared cells; nobody waits for anybody, and nothing is decided here.

mod cell;
mod errors;
mod gauges;
mod shown;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_core::coordinator::api::{LeaseStatus, StreamIndex};
use penstock_core::gap::GapEntry;
use penstock_core::ids::{LeaseKey, LeaseToken, StreamName, WorkerId};
use penstock_core::time::{Instant, Now, UnixMillis};

use crate::budget::MemoryBudget;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::ports::{ErrorClass, SeamError};
use crate::settings::WorkerSettings;

pub(crate) use self::cell::ShardCell;
pub use self::errors::ErrorStatus;
use self::errors::Errors;
pub use self::shown::{SHOWN_GAPS, ShardPhase, ShardStatus, SinkStatus, Status, StreamStatus};

/// How long it is believed that the stream is gone: a reader looks once a minute, and one that was stopped does not look again.
const LOOK_HOLDS: Duration = Duration::from_secs(180);

/// Looks at a worker from outside. Clones look at the same one, also after it has ended.
#[derive(Debug, Clone)]
pub struct StatusHandle {
    board: Arc<Board>,
}

// === The board ===

/// Where components write. One per worker.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) worker: WorkerId,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: MemoryBudget,
    per_shard_metrics: bool,
    started: Now,
    keeper_moved: AtomicU64,
    draining: AtomicBool,
    facts: Mutex<Facts>,
    errors: Mutex<Errors>,
    shards: Mutex<BTreeMap<LeaseToken, Arc<ShardCell>>>,
}

#[derive(Debug)]
struct Facts {
    streams: Vec<StreamFacts>,
    started: bool,
    /// Shared, so that whoever looks copies it without keeping others waiting.
    leases: Arc<[LeaseStatus]>,
    /// When the table was scanned last.
    scanned: Option<Instant>,
    unowned: usize,
    workers: usize,
    sink: SinkStatus,
    /// Since when the sink has been like that.
    sink_since: UnixMillis,
    lease_problem: Option<String>,
    gaps: Arc<[GapEntry]>,
    open_gaps: usize,
    gap_problem: Option<String>,
    /// The held leases whose shards wait for the gap ledger, and since when: nothing is read of them, as of one without an answer.
    waiting: BTreeMap<LeaseKey, Instant>,
    /// No more than there are leases: an entry ends with its time, or when somebody has taken the lease.
    given_up: BTreeMap<LeaseKey, GivenUp>,
}

#[derive(Debug)]
struct StreamFacts {
    name: StreamName,
    /// The leases are of a stream that was created at another time. For good.
    leases_of_another: Option<String>,
    /// The stream was not there, or was another one, when somebody looked last, and when that was.
    missed: Option<(String, Instant)>,
}

impl StreamFacts {
    fn problem(&self, now: Instant) -> Option<&str> {
        let missed = self.missed.as_ref().filter(|(_, at)| now.since(*at) <= LOOK_HOLDS);
        self.leases_of_another.as_deref().or(missed.map(|(problem, _)| problem.as_str()))
    }
}

#[derive(Debug)]
struct GivenUp {
    reason: String,
    until: Instant,
}

impl Facts {
    fn given_up(&self, now: Instant) -> impl Iterator<Item = (&LeaseKey, &str)> {
        let lasting = self.given_up.iter().filter(move |(_, given_up)| now < given_up.until);
        lasting.map(|(key, given_up)| (key, given_up.reason.as_str()))
    }
}

impl Board {
    pub(crate) fn new(
        settings: &WorkerSettings,
        streams: &[StreamName],
        clock: Clock,
        metrics: Arc<Metrics>,
        budget: MemoryBudget,
    ) -> Arc<Self> {
        let stream = |name: &StreamName| StreamFacts { name: name.clone(), leases_of_another: None, missed: None };
        let started = clock.now();
        let facts = Facts {
            streams: streams.iter().map(stream).collect(),
            started: false,
            leases: Arc::default(),
            scanned: None,
            unowned: 0,
            workers: 0,
            sink: SinkStatus::Unknown,
            sink_since: started.wall,
            lease_problem: None,
            gaps: Arc::default(),
            open_gaps: 0,
            gap_problem: None,
            waiting: BTreeMap::new(),
            given_up: BTreeMap::new(),
        };
        Arc::new(Self {
            worker: settings.worker.clone(),
            per_shard_metrics: settings.per_shard_metrics,
            started,
            clock,
            metrics,
            budget,
            keeper_moved: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            facts: Mutex::new(facts),
            errors: Mutex::default(),
            shards: Mutex::default(),
        })
    }

    pub(crate) fn handle(self: &Arc<Self>) -> StatusHandle {
        StatusHandle { board: Arc::clone(self) }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<LeaseToken, Arc<ShardCell>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keeper_moved(&self, now: Instant) {
        // 0 stands for "never"; the clock's zero was long before this process or is one nanosecond off.
        self.keeper_moved.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    pub(crate) fn drain_began(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The name of a stream.
    pub(crate) fn stream(&self, stream: StreamIndex) -> StreamName {
        let facts = self.facts();
        facts.streams.get(stream.0).map_or_else(|| StreamName::new("?"), |stream| stream.name.clone())
    }

    /// The name of a lease's stream: in the key where there are several, and else there is one.
    pub(crate) fn stream_of(&self, key: &LeaseKey) -> StreamName {
        let in_key = key.stream_id().and_then(|id| id.parts().map(|(_, name, _)| name));
        in_key.unwrap_or_else(|| self.stream(StreamIndex(0)))
    }

    /// The number of streams.
    pub(crate) fn streams(&self) -> usize {
        self.facts().streams.len()
    }

    pub(crate) fn scanned(&self, unowned: usize, workers: usize) {
        let now = self.clock.now().instant;
        let mut facts = self.facts();
        facts.started = true;
        facts.scanned = Some(now);
        facts.unowned = unowned;
        facts.workers = workers;
        facts.lease_problem = None;
    }

    pub(crate) fn leases_are(&self, leases: Vec<LeaseStatus>) {
        let now = self.clock.now().instant;
        let mut facts = self.facts();
        let waiting = leases.iter().filter(|lease| lease.waits_for_ledger).map(|lease| &lease.key);
        facts.waiting = waiting.map(|key| (key.clone(), *facts.waiting.get(key).unwrap_or(&now))).collect();
        for lease in &leases {
            if lease.owner.as_ref().is_some_and(|owner| *owner != self.worker) {
                facts.given_up.remove(&lease.key);
            }
        }
        facts.leases = leases.into();
    }

    /// The lease was given up and is not taken again by this worker for `cool_down`.
    pub(crate) fn lease_given_up(&self, key: LeaseKey, reason: String, cool_down: Duration) {
        let now = self.clock.now().instant;
        let mut facts = self.facts();
        facts.given_up.retain(|_, given_up| now < given_up.until);
        facts.given_up.insert(key, GivenUp { reason, until: now.after(cool_down) });
    }

    pub(crate) fn lease_taken(&self, key: &LeaseKey) {
        self.facts().given_up.remove(key);
    }

    pub(crate) fn lease_problem(&self, problem: Option<String>) {
        self.facts().lease_problem = problem;
    }

    /// `true` if it was not known yet.
    pub(crate) fn leases_of_another_stream(&self, stream: StreamIndex, problem: String) -> bool {
        let mut facts = self.facts();
        let Some(stream) = facts.streams.get_mut(stream.0) else { return false };
        let known = stream.leases_of_another.as_ref() == Some(&problem);
        stream.leases_of_another = Some(problem);
        !known
    }

    /// The ledger was read: its open entries.
    pub(crate) fn gaps_are(&self, open: Vec<GapEntry>) {
        let mut facts = self.facts();
        facts.open_gaps = open.len();
        facts.gaps = open.into_iter().take(SHOWN_GAPS).collect();
        facts.gap_problem = None;
    }

    pub(crate) fn gap_problem(&self, problem: String) {
        self.facts().gap_problem = Some(problem);
    }

    /// Somebody looked whether the stream is there and still the same. Other errors say nothing of it.
    pub(crate) fn stream_looked_at(&self, stream: StreamIndex, error: Option<&SeamError>) {
        let missed = match error {
            None => None,
            Some(error) if error.class == ErrorClass::NotFound => Some((error.to_string(), self.clock.now().instant)),
            Some(_) => return,
        };
        if let Some(stream) = self.facts().streams.get_mut(stream.0) {
            stream.missed = missed;
        }
    }

    /// `true` if it is up where it was down, or the other way round.
    pub(crate) fn sink_is(&self, sink: SinkStatus) -> bool {
        let now = self.clock.now().wall;
        let mut facts = self.facts();
        let changed = std::mem::discriminant(&facts.sink) != std::mem::discriminant(&sink);
        if changed {
            facts.sink_since = now;
        }
        facts.sink = sink;
        changed
    }

    /// The sink takes what it refused before.
    pub(crate) fn sink_answers_again(&self) {
        if self.sink_is(SinkStatus::Ready) {
            tracing::info!(worker = %self.worker, "the sink takes what it is sent again");
        }
    }

    /// A call failed, perhaps for a lease: counted, and shown among the last errors. Told to the log elsewhere.
    pub(crate) fn failed(&self, error: &SeamError, lease: Option<&LeaseKey>) {
        self.metrics.call_failed(error.operation, error.class.as_str());
        self.trouble((error.operation, error.class.as_str()), error.to_string(), lease);
    }

    /// Something other than a call failed: shown among the last errors.
    pub(crate) fn trouble(&self, kind: (&'static str, &'static str), message: String, lease: Option<&LeaseKey>) {
        let now = self.clock.now().wall;
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).note(kind, message, lease, now);
    }

    pub(crate) fn shard_started(&self, token: LeaseToken, cell: Arc<ShardCell>) {
        self.shards().insert(token, cell);
    }

    pub(crate) fn shard_stopped(&self, token: LeaseToken) {
        self.shards().remove(&token);
    }

    fn shard_statuses(&self, now: Now) -> Vec<ShardStatus> {
        self.shards().values().map(|cell| cell.snapshot(now)).collect()
    }

    /// How far this worker is behind: the most of the shards that it reads, and of those that it would read but for the ledger.
    fn lag(&self, shards: &[ShardStatus], now: Instant) -> Duration {
        let waiting = self.facts().waiting.values().min().map(|since| now.since(*since));
        shards.iter().map(|shard| shard.lag).chain(waiting).max().unwrap_or_default()
    }
}

// === Looking at it ===

impl StatusHandle {
    /// Everything, as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Status {
        let now = self.board.clock.now();
        let shards = self.board.shard_statuses(now);
        let lag = self.board.lag(&shards, now.instant);
        let errors = self.board.errors.lock().unwrap_or_else(PoisonError::into_inner).latest();
        let moved = self.board.keeper_moved.load(Ordering::Relaxed);
        let facts = self.board.facts();
        let stream = |stream: &StreamFacts| StreamStatus {
            name: stream.name.clone(),
            problem: stream.problem(now.instant).map(str::to_owned),
        };
        let gaps = Arc::clone(&facts.gaps);
        let status = Status {
            worker: self.board.worker.clone(),
            streams: facts.streams.iter().map(stream).collect(),
            taken_at: now.wall,
            started_at: self.board.started.wall,
            uptime: now.instant.since(self.board.started.instant),
            started: facts.started,
            scan_age: facts.scanned.map(|scanned| now.instant.since(scanned)),
            draining: self.board.draining.load(Ordering::Relaxed),
            keeper_idle: (moved != 0).then(|| now.instant.since(Instant::from_nanos(moved))),
            leases: Arc::clone(&facts.leases),
            unowned: facts.unowned,
            workers: facts.workers,
            lag,
            shards,
            sink: facts.sink.clone(),
            sink_since: facts.sink_since,
            lease_problem: facts.lease_problem.clone(),
            gaps: Vec::new(),
            errors,
            open_gaps: facts.open_gaps,
            gap_problem: facts.gap_problem.clone(),
            given_up: facts.given_up(now.instant).map(|(key, reason)| (key.clone(), reason.to_owned())).collect(),
            memory_used: self.board.budget.used(),
            memory_budget: self.board.budget.budget(),
            totals: self.board.metrics.totals(),
        };
        // Copied while nobody waits for it.
        drop(facts);
        Status { gaps: gaps.to_vec(), ..status }
    }

    /// Whether the lease keeper's loop moved within `limit`, or has not begun yet. A slow sink does not matter here.
    #[must_use]
    pub fn is_live(&self, limit: Duration) -> bool {
        let moved = self.board.keeper_moved.load(Ordering::Relaxed);
        moved == 0 || self.board.clock.now().instant.since(Instant::from_nanos(moved)) <= limit
    }

    /// Whether the last scan showed another worker with a live lease.
    pub(crate) fn has_others(&self) -> bool {
        self.board.facts().workers > 1
    }

    /// What keeps the worker from being ready; empty if nothing does.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        let now = self.board.clock.now().instant;
        let facts = self.board.facts();
        let mut obstacles = Vec::new();
        if !facts.started {
            obstacles.push("leases: the first scan of the lease table is not done".to_owned());
        }
        obstacles.extend(facts.lease_problem.iter().map(|problem| format!("leases: {problem}")));
        obstacles.extend(facts.given_up(now).map(|(key, reason)| format!("leases: {key} was given up: {reason}")));
        for stream in &facts.streams {
            obstacles.extend(stream.problem(now).map(|problem| format!("stream {}: {problem}", stream.name)));
        }
        match &facts.sink {
            SinkStatus::Unknown => obstacles.push("sink: not asked yet".to_owned()),
            SinkStatus::Ready => {}
            SinkStatus::Down(problem) => obstacles.push(format!("sink: {problem}")),
        }
        if self.board.draining.load(Ordering::Relaxed) {
            obstacles.push("worker: it is ending".to_owned());
        }
        obstacles
    }
}
