//! Who owns which shard, and what may be checkpointed: the lease coordinator of one worker, a pure state machine.
//!
//! The shell hands in what happened ([`api::Event`]) with the time, drains what there is to do ([`api::Command`]) after every
//! event, and sends [`api::Event::Tick`] when `next_deadline` has come. Nothing waits in here, reads a clock, draws randomness
//! but from its seed, or depends on the order of a hash. The protocol's rules stand where they act: conditions in `writes`,
//! unknown outcomes and proofs in `held`, parents in `hierarchy`, ages in `observation`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{LeaseKey, WorkerId};
use crate::random::Random;
use crate::time::{Instant, Now, UnixMillis};

pub mod api;
mod assignment;
mod audit;
mod coverage;
mod exclusive;
mod flight;
mod handover;
mod held;
mod hierarchy;
mod holding;
mod holdings;
mod leader;
mod leaving;
mod ledger;
mod meter;
mod observation;
mod streams;
mod sync;
mod taking;
mod timing;
mod wishes;
mod writes;

use api::{Command, CoordinatorSettings, Event, LeaseStatus, WriteId};
use exclusive::ForeignWatch;
use held::Stage;
use holdings::Holdings;
use ledger::Ledger;
use observation::Table;
use streams::Streams;
use taking::Take;
use timing::Timing;
use wishes::Wish;

/// The lease coordinator of one worker on one lease table.
#[derive(Debug)]
pub struct Coordinator {
    settings: CoordinatorSettings,
    timing: Timing,
    random: Random,
    commands: VecDeque<Command>,
    table: Table,
    streams: Streams,
    scan: Recurring,
    held: Holdings,
    takes: BTreeMap<LeaseKey, Take>,
    /// The row of each write that is under way.
    writes: BTreeMap<WriteId, LeaseKey>,
    /// Leases that are left to others.
    cooling: BTreeMap<LeaseKey, Cooling>,
    /// Leases of others that this worker has asked for.
    wishes: BTreeMap<LeaseKey, Wish>,
    /// Leases that were refused to us, not to be asked for before an instant.
    refused: BTreeMap<LeaseKey, Instant>,
    /// Leases that we asked for by a call of unknown outcome, and until when it may still reach the table.
    doubtful: BTreeMap<LeaseKey, Instant>,
    /// When leases changed hands last, as far as it matters.
    moved: BTreeMap<LeaseKey, Instant>,
    /// When this worker may ask for leases again.
    want_again: Instant,
    /// Leases that are or may soon be free for us, and since when.
    expected: BTreeMap<LeaseKey, Instant>,
    /// When a scan last showed that another worker had released a lease.
    released: Option<Instant>,
    /// When this worker last gave a lease to another.
    gave: Option<Instant>,
    /// Who asked this worker for a lease, and when last, of those that were not seen to have one: they live all the same.
    askers: BTreeMap<WorkerId, Instant>,
    /// How long the last scan took.
    scan_took: Duration,
    /// Workers, most leases of each and open leases, as they were last found too small.
    caps_too_small: Option<(usize, usize, usize)>,
    /// Who else is at the table, in exclusive mode.
    foreign: ForeignWatch,
    /// Until when this worker, as it ends, goes on reading.
    linger_until: Option<Instant>,
    /// The wall clock at the event that is being handled; written for people, decides nothing.
    wall: UnixMillis,
    /// The shards that cannot end before a row stands.
    births: BTreeMap<LeaseKey, BTreeSet<LeaseKey>>,
    creating: BTreeSet<LeaseKey>,
    /// Rows that are created once the gap ledger holds why.
    ledger: Ledger,
    deleting: BTreeSet<LeaseKey>,
    unowned: usize,
    last_id: u64,
    mode: Mode,
}

/// A lease not to be taken for a while.
#[derive(Debug)]
struct Cooling {
    until: Instant,
    /// The intent that this worker could not carry out. Once the row holds it no longer, the while is over.
    intent: Option<Bytes>,
}

/// What this worker strives for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Holding its share.
    Working,
    /// Holding nothing: the table has rows in the other form of key.
    OtherKeyForm,
    /// Holding nothing: in exclusive mode, somebody else is at the table.
    ForeignWorker,
    /// Releasing everything in order to end.
    Draining,
    /// Everything is released, and the shell was told.
    Drained,
}

/// Something that is asked for at intervals, once at a time.
#[derive(Debug, Default)]
struct Recurring {
    /// When it is asked for next.
    due: Instant,
    /// When the one under way was asked for.
    begun: Option<Instant>,
    /// Whether another one is wanted that begins after the one under way.
    again: bool,
}

impl Recurring {
    /// Wants one that begins from `now` on.
    fn want(&mut self, now: Instant) {
        self.again |= self.begun.is_some();
        self.due = self.due.min(now);
    }

    /// Whether to ask for it now.
    const fn is_due(&self, now: Instant) -> bool {
        self.begun.is_none() && self.due.as_nanos() <= now.as_nanos()
    }

    /// It ended; the next is due at `next`, or at once if one is wanted.
    fn on_end(&mut self, now: Instant, next: Instant) {
        self.begun = None;
        self.due = if std::mem::take(&mut self.again) { now } else { next };
    }

    fn deadline(&self) -> Option<Instant> {
        self.begun.is_none().then_some(self.due)
    }
}

impl Coordinator {
    /// A coordinator that holds nothing and knows nothing. Its first deadline is at once.
    #[must_use]
    pub fn new(settings: CoordinatorSettings) -> Self {
        Self {
            timing: Timing::new(settings.failover_time),
            random: Random::seeded(settings.seed),
            streams: Streams::new(&settings.streams),
            settings,
            commands: VecDeque::new(),
            table: Table::default(),
            scan: Recurring::default(),
            held: Holdings::default(),
            takes: BTreeMap::new(),
            writes: BTreeMap::new(),
            cooling: BTreeMap::new(),
            wishes: BTreeMap::new(),
            refused: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            moved: BTreeMap::new(),
            want_again: Instant::default(),
            expected: BTreeMap::new(),
            released: None,
            gave: None,
            askers: BTreeMap::new(),
            scan_took: Duration::ZERO,
            caps_too_small: None,
            foreign: ForeignWatch::default(),
            linger_until: None,
            wall: UnixMillis::default(),
            births: BTreeMap::new(),
            creating: BTreeSet::new(),
            ledger: Ledger::default(),
            deleting: BTreeSet::new(),
            unowned: 0,
            last_id: 0,
            mode: Mode::Working,
        }
    }

    /// Takes in one event. Whatever is to be done stands in the queue afterwards.
    pub fn handle(&mut self, event: Event, now: Now) {
        // First of all: what has run out by now is lost, whatever the event says.
        self.wall = now.wall;
        self.expire(now.instant);
        match event {
            Event::Tick => {}
            Event::LeasesScanned { started, scan } => self.on_scanned(started, scan, now),
            Event::ShardsListed { stream, shards } => self.on_listed(stream, shards, now),
            Event::LeaseWanted { key, stands } => self.on_wanted(&key, stands, now.instant),
            Event::GapRecorded { id, stored } => self.on_gap_recorded(id, stored, now.instant),
            Event::LeaseCreated { key, outcome } => self.on_created(&key, outcome, now.instant),
            Event::LeaseWritten { id, result } => self.on_written(id, result, now),
            Event::LeaseDeleted { key, gone } => self.on_deleted(&key, gone),
            Event::ShardRequested { token, request } => self.on_request(token, request, now),
            Event::ShardProgressed { token, progress } => self.on_progress(token, progress),
            Event::ShardStopped { token } => self.on_stopped(token),
            Event::DrainRequested => self.on_drain_requested(now),
        }
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Event::Tick`] is due; `None` once everything is released.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let scan = self.scan.deadline().filter(|_| !self.is_draining() || self.is_lingering());
        let recurring = [self.listing_deadline(), self.ledger.deadline()];
        let recurring = recurring.into_iter().flatten().filter(|_| !self.is_draining());
        recurring.chain(scan).chain(self.held.next_deadline()).chain(self.linger_until).min()
    }

    /// The number of leases held, those that wait for their parents included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The number of open leases without a live owner, as of the last scan.
    #[must_use]
    pub const fn unowned(&self) -> usize {
        self.unowned
    }

    /// Every lease of the table as last seen, in the order of the keys.
    #[must_use]
    pub fn statuses(&self) -> Vec<LeaseStatus> {
        self.table.rows().map(|row| self.status(row)).collect()
    }

    fn status(&self, row: &crate::lease::LeaseRow) -> LeaseStatus {
        let held = self.held.get(&row.key);
        let waits = held.is_some_and(|held| held.stage == Stage::Waiting);
        let waits_for_ledger = waits && self.ledger.owes(&row.key);
        LeaseStatus {
            key: row.key.clone(),
            stream: self.streams.index_of(&row.key).unwrap_or_default(),
            owner: row.owner.clone(),
            checkpoint: row.checkpoint.clone(),
            held: held.is_some(),
            waits_for_parents: waits && !waits_for_ledger,
            waits_for_ledger,
            intent_open: row.intent.is_some(),
            hash_range: row.hash_range,
            parents: row.parents.iter().cloned().collect(),
            arrival: row.arrival,
            lag: row.lag,
            throughput: row.throughput,
            wanted: row.granted_to().or(row.wanted.as_ref()).cloned(),
        }
    }

    /// Starts whatever is due.
    fn advance(&mut self, now: Now) {
        self.end_linger(now.instant);
        if !self.is_draining() || self.is_lingering() {
            self.scan_if_due(now.instant);
        }
        if !self.is_draining() {
            self.list_if_due(now.instant);
            self.record_if_due(now.instant);
        }
        self.advance_held(now.instant);
        self.end_drain();
    }

    const fn me(&self) -> &WorkerId {
        &self.settings.worker
    }

    fn is_draining(&self) -> bool {
        matches!(self.mode, Mode::Draining | Mode::Drained)
    }

    /// A number that this coordinator has not used yet.
    const fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
