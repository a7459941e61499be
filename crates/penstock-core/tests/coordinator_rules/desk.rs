//! One coordinator at a desk: a lease table and a stream in memory, a clock that the test moves, and a fate for each write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use penstock_core::coordinator::Coordinator;
use penstock_core::coordinator::api::{
    Answer, Command, Commit, CoordinatorSettings, Event, HeldLease, InitialPosition, LeaseMode, Progress, Report,
    ShardRequest, StopReason, StreamIndex, StreamSettings, WriteId, WriteResult,
};
use penstock_core::gap::GapEntry;
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, LeaseToken, ShardId, StreamName, WorkerId};
use penstock_core::lease::{CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::{Instant, Now, UnixMillis};

pub(crate) const FAILOVER: Duration = Duration::from_secs(10);
pub(crate) const CREATED: UnixMillis = UnixMillis(1_600_000_000_000);
const EPOCH: i64 = 1_700_000_000_000;

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is not carried out, and there is no answer.
    Lost,
    /// It is refused before it is tried.
    NotApplied,
    /// Nothing is heard of it, for ever.
    Silent,
}

/// A coordinator and its world.
pub(crate) struct Desk {
    pub(crate) coordinator: Coordinator,
    pub(crate) table: BTreeMap<LeaseKey, LeaseRow>,
    pub(crate) shards: Vec<ShardListing>,
    pub(crate) now: Now,
    /// The fates of the writes to come; then every one is answered.
    pub(crate) fates: VecDeque<Fate>,
    /// The outcomes of creates to come: false for one that is lost. Then every one is answered.
    pub(crate) creates: VecDeque<bool>,
    /// Every write that was sent.
    pub(crate) writes: Vec<(WriteId, LeaseWrite)>,
    /// Every row that was to be created, in order.
    pub(crate) created: Vec<LeaseRow>,
    /// Every wish that was sent.
    pub(crate) wants: Vec<LeaseWant>,
    /// Every entry for the gap ledger.
    pub(crate) gaps: Vec<GapEntry>,
    /// Whether the ledger stores nothing.
    pub(crate) ledger_full: bool,
    /// The shards of streams that have others than `shards`.
    pub(crate) shards_of: BTreeMap<StreamIndex, Vec<ShardListing>>,
    /// What was listed, and when.
    pub(crate) listed: Vec<(StreamIndex, Instant)>,
    /// Whether listings are not answered; then their answers are kept.
    pub(crate) mute: bool,
    pub(crate) unheard: Vec<Event>,
    /// Every command that is not about the table or the stream.
    pub(crate) told: Vec<Command>,
    pub(crate) scans: usize,
    pub(crate) listings: usize,
    /// Whether scans and listings fail.
    pub(crate) blind: bool,
    /// Whether wishes fail.
    pub(crate) deaf: bool,
}

pub(crate) fn settings() -> CoordinatorSettings {
    CoordinatorSettings {
        worker: me(),
        failover_time: FAILOVER,
        max_leases: None,
        max_steals_per_cycle: 1,
        streams: vec![stream(InitialPosition::TrimHorizon)],
        mode: LeaseMode::Peer,
        longest_linger: Duration::ZERO,
        seed: 7,
    }
}

pub(crate) fn stream(initial_position: InitialPosition) -> StreamSettings {
    StreamSettings { name: StreamName::new("orders"), id: None, created: CREATED, initial_position }
}

/// Settings under which shards without a position start there.
pub(crate) fn starting_at(initial_position: InitialPosition) -> CoordinatorSettings {
    CoordinatorSettings { streams: vec![stream(initial_position)], ..settings() }
}

impl Desk {
    pub(crate) fn new(settings: CoordinatorSettings) -> Self {
        Self {
            coordinator: Coordinator::new(settings),
            table: BTreeMap::new(),
            shards: Vec::new(),
            now: Now { instant: Instant::from_nanos(1_000_000_000), wall: UnixMillis(EPOCH) },
            fates: VecDeque::new(),
            creates: VecDeque::new(),
            writes: Vec::new(),
            created: Vec::new(),
            wants: Vec::new(),
            gaps: Vec::new(),
            ledger_full: false,
            shards_of: BTreeMap::new(),
            listed: Vec::new(),
            mute: false,
            unheard: Vec::new(),
            told: Vec::new(),
            scans: 0,
            listings: 0,
            blind: false,
            deaf: false,
        }
    }

    /// A desk with one open shard whose lease is held and running.
    pub(crate) fn holding_one() -> (Self, HeldLease) {
        let mut desk = Self::new(settings());
        desk.shards = vec![shard(0, &[])];
        desk.run_for(Duration::from_secs(1));
        let held = desk.started(0).expect("the only shard is started");
        desk.told.clear();
        desk.writes.clear();
        (desk, held)
    }

    /// The same, but the lease changed hands: another worker handed it over a moment ago.
    pub(crate) fn handed_one() -> (Self, HeldLease) {
        let mut desk = Self::new(settings());
        desk.shards = vec![shard(0, &[])];
        desk.put(LeaseRow { left: Some(CREATED), ..row(0, &[], Position::TrimHorizon) });
        desk.run_for(Duration::from_secs(1));
        let held = desk.started(0).expect("the only shard is started");
        desk.told.clear();
        desk.writes.clear();
        (desk, held)
    }

    pub(crate) fn put(&mut self, row: LeaseRow) {
        self.table.insert(row.key.clone(), row);
    }

    pub(crate) fn row(&self, shard: u32) -> &LeaseRow {
        &self.table[&key(shard)]
    }

    pub(crate) fn row_mut(&mut self, shard: u32) -> &mut LeaseRow {
        self.table.get_mut(&key(shard)).expect("there is such a row")
    }

    /// Another worker takes a lease.
    pub(crate) fn taken_by(&mut self, shard: u32, worker: &str) {
        let row = self.row_mut(shard);
        row.owner = Some(WorkerId::new(worker));
        row.taken_by = row.owner.clone();
        row.counter = row.counter.next();
    }

    pub(crate) fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.coordinator.handle(event, self.now);
            while let Some(command) = self.coordinator.poll() {
                events.extend(self.carry_out(command));
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::ScanLeases => {
                self.scans += 1;
                let scan = Scan { rows: self.table.values().cloned().collect(), unreadable: Vec::new() };
                Some(Event::LeasesScanned { started: self.now.instant, scan: (!self.blind).then_some(scan) })
            }
            Command::ListShards(stream) => {
                self.listings += 1;
                self.listed.push((stream, self.now.instant));
                let shards = self.shards_of.get(&stream).unwrap_or(&self.shards).clone();
                let answer = Event::ShardsListed { stream, shards: (!self.blind).then_some(shards) };
                if self.mute {
                    self.unheard.push(answer);
                    return None;
                }
                Some(answer)
            }
            Command::WantLease(want) => Some(self.want(want)),
            Command::RecordGap(entry) => {
                let id = entry.id();
                self.gaps.push(entry);
                Some(Event::GapRecorded { id, stored: !self.ledger_full })
            }
            Command::CreateLease(row) => Some(self.create(row)),
            Command::WriteLease { id, write } => self.write(id, write),
            Command::DeleteLease { key, counter } => {
                let deletable = |row: &LeaseRow| row.counter == counter && row.checkpoint == Position::ShardEnd;
                let gone = self.table.get(&key).is_none_or(deletable);
                if gone {
                    self.table.remove(&key);
                }
                Some(Event::LeaseDeleted { key, gone: Some(gone) })
            }
            told => {
                self.told.push(told);
                None
            }
        }
    }

    fn create(&mut self, row: LeaseRow) -> Event {
        let key = row.key.clone();
        self.created.push(row.clone());
        if !self.creates.pop_front().unwrap_or(true) {
            return Event::LeaseCreated { key, outcome: None };
        }
        let outcome = if self.table.contains_key(&key) { CreateOutcome::Exists } else { CreateOutcome::Created };
        self.table.entry(key.clone()).or_insert(row);
        Event::LeaseCreated { key, outcome: Some(outcome) }
    }

    /// A wish reaches the table, or not.
    fn want(&mut self, want: LeaseWant) -> Event {
        self.wants.push(want.clone());
        let key = want.key.clone();
        if self.deaf {
            return Event::LeaseWanted { key, stands: None };
        }
        let stands = match self.table.get_mut(&key) {
            Some(row) if want.holds(row) => {
                row.wanted = Some(want.wanted);
                true
            }
            Some(_) | None => false,
        };
        Event::LeaseWanted { key, stands: Some(stands) }
    }

    fn write(&mut self, id: WriteId, write: LeaseWrite) -> Option<Event> {
        self.writes.push((id, write.clone()));
        let result = match self.fates.pop_front().unwrap_or(Fate::Answered) {
            Fate::Answered => WriteResult::Answered(self.apply(&write)),
            Fate::AnswerLost => {
                self.apply(&write);
                WriteResult::Unknown
            }
            Fate::Lost => WriteResult::Unknown,
            Fate::NotApplied => WriteResult::NotApplied,
            Fate::Silent => return None,
        };
        Some(Event::LeaseWritten { id, result })
    }

    /// The writes of one row.
    pub(crate) fn writes_of(&self, shard: u32) -> Vec<LeaseWrite> {
        self.writes.iter().map(|(_, write)| write).filter(|write| write.key == key(shard)).cloned().collect()
    }

    /// Carries a write out.
    pub(crate) fn apply(&mut self, write: &LeaseWrite) -> WriteOutcome {
        match self.table.get_mut(&write.key) {
            Some(row) if write.expect.holds(row) => {
                *row = write.change.apply(row);
                WriteOutcome::Applied(Box::new(row.clone()))
            }
            found => WriteOutcome::Conflict(found.map(|row| Box::new(row.clone()))),
        }
    }

    /// Lets time pass, ticking whenever the coordinator asks for it.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now.instant.after(duration);
        let mut ticks = 0;
        while let Some(due) = self.coordinator.next_deadline().filter(|due| *due <= end) {
            self.advance_to(due);
            self.handle(Event::Tick);
            ticks += 1;
            assert!(ticks < 20_000, "the deadline {due:?} does not move");
        }
        self.advance_to(end);
    }

    /// Lets time pass without the coordinator noticing: the process is paused.
    pub(crate) fn pause_for(&mut self, duration: Duration) {
        let end = self.now.instant.after(duration);
        self.advance_to(end);
    }

    fn advance_to(&mut self, instant: Instant) {
        let passed = instant.since(self.now.instant);
        self.now.instant = self.now.instant.after(passed);
        self.now.wall.0 += i64::try_from(passed.as_millis()).expect("tests are short");
    }

    /// The latest start of a shard.
    pub(crate) fn started(&self, shard: u32) -> Option<HeldLease> {
        self.started_under(&key(shard))
    }

    /// The latest start of the shard whose lease has this key.
    pub(crate) fn started_under(&self, key: &LeaseKey) -> Option<HeldLease> {
        self.told.iter().rev().find_map(|command| match command {
            Command::StartShard(held) if held.row.key == *key => Some(held.clone()),
            _ => None,
        })
    }

    /// How a tenure was stopped last.
    pub(crate) fn stopped(&self, token: LeaseToken) -> Option<StopReason> {
        self.told.iter().rev().find_map(|command| match command {
            Command::StopShard { token: stopped, why, .. } if *stopped == token => Some(*why),
            _ => None,
        })
    }

    /// The answers to a tenure's requests.
    pub(crate) fn answers(&self, token: LeaseToken) -> Vec<Answer> {
        let answer = |command: &Command| match command {
            Command::Answer { token: asked, answer } if *asked == token => Some(answer.clone()),
            _ => None,
        };
        self.told.iter().filter_map(answer).collect()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        let report = |command: &Command| match command {
            Command::Report(report) => Some(report.clone()),
            _ => None,
        };
        self.told.iter().filter_map(report).filter(|report| !matches!(report, Report::Scanned { .. })).collect()
    }

    pub(crate) fn request(&mut self, token: LeaseToken, request: ShardRequest) {
        self.handle(Event::ShardRequested { token, request });
    }

    pub(crate) fn drained(&self) -> bool {
        self.told.iter().any(|command| matches!(command, Command::Drained))
    }

    /// The local deadline that a tenure was told last.
    pub(crate) fn extended_until(&self, token: LeaseToken) -> Option<Instant> {
        self.told.iter().rev().find_map(|command| match command {
            Command::Extend { token: extended, until } if *extended == token => Some(*until),
            _ => None,
        })
    }
}

pub(crate) fn me() -> WorkerId {
    WorkerId::new("me-01234567")
}

pub(crate) fn id(shard: u32) -> ShardId {
    ShardId::new(&format!("shardId-{shard:012}"))
}

pub(crate) fn key(shard: u32) -> LeaseKey {
    LeaseKey::single_stream(&id(shard))
}

pub(crate) fn ids(shards: &[u32]) -> BTreeSet<ShardId> {
    shards.iter().map(|shard| id(*shard)).collect()
}

/// Every shard covers everything, so that any of them is enough for a stream that is whole.
pub(crate) const RANGE: HashRange = HashRange::ALL;

/// A part of it, another one for each number.
pub(crate) fn range(number: u32) -> HashRange {
    HashRange { start: u128::from(number) * 1000, end: u128::from(number) * 1000 + 999 }
}

/// An open shard.
pub(crate) fn shard(number: u32, parents: &[u32]) -> ShardListing {
    ShardListing {
        id: id(number),
        parents: ids(parents),
        hash_range: RANGE,
        starting_sequence: SequenceNumber::parse(&format!("{}", number + 1)).expect("digits"),
        ending_sequence: None,
    }
}

/// A closed shard.
pub(crate) fn closed(number: u32, parents: &[u32]) -> ShardListing {
    ShardListing { ending_sequence: Some(SequenceNumber::parse("999").expect("digits")), ..shard(number, parents) }
}

pub(crate) fn child(number: u32, parents: &[u32]) -> ChildShard {
    ChildShard { id: id(number), parents: ids(parents), hash_range: RANGE }
}

pub(crate) fn row(number: u32, parents: &[u32], checkpoint: Position) -> LeaseRow {
    let mut row = LeaseRow::new(key(number), LeaseCounter(100), checkpoint);
    row.parents = ids(parents);
    row.hash_range = Some(RANGE);
    row.stream_created = Some(CREATED);
    row
}

/// A row that `owner` has, a worker of ours.
pub(crate) fn owned(number: u32, owner: &str) -> LeaseRow {
    let owner = Some(WorkerId::new(owner));
    LeaseRow { owner: owner.clone(), taken_by: owner, ..row(number, &[], Position::TrimHorizon) }
}

pub(crate) fn at(sequence: u64) -> RecordPosition {
    RecordPosition { sequence: SequenceNumber::parse(&sequence.to_string()).expect("digits"), subsequence: 0 }
}

/// What a shard has settled.
pub(crate) fn settled(sequence: u64, urgent: bool) -> Progress {
    Progress { settled: Some((at(sequence), UnixMillis(4))), urgent, ..Progress::default() }
}

pub(crate) fn intend(from: Position, intent: &'static str) -> ShardRequest {
    ShardRequest::Intend { from, intent: Bytes::from_static(intent.as_bytes()) }
}

/// A commit of everything after `from` up to `after`, which settles `intent`.
pub(crate) fn commit(from: Position, after: u64, intent: Option<&'static str>) -> Commit {
    Commit {
        from,
        after: at(after),
        arrival: UnixMillis(EPOCH),
        chain: intent.map(|_| at(after)),
        intent: intent.map(|intent| Bytes::from_static(intent.as_bytes())),
        next: None,
    }
}
