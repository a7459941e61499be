//! A lease table, a stream, some workers with simple shards, and a clock that jumps from event to event.
//!
//! Each worker's requests reach the table after a delay, perhaps after the worker has given them up; each answer takes a
//! delay, or is lost. The invariants are asserted where they could break: at the table and at each command.

mod strangers;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use penstock_core::coordinator::Coordinator;
use penstock_core::coordinator::api::{
    Answer, Command, Commit, CoordinatorSettings, Event, HeldLease, InitialPosition, LeaseMode, Progress, ShardRequest,
    StopReason, StreamIndex, StreamSettings, WriteId, WriteResult,
};
use penstock_core::gap::{GapEntry, GapReason};
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, LeaseToken, ShardId, StreamName, WorkerId};
use penstock_core::lease::{CreateOutcome, Field, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::random::Random;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::{Instant, Now, UnixMillis};
use strangers::{Known, Strangers};

const FAILOVER: Duration = Duration::from_secs(10);
const FAULTY: Duration = Duration::from_secs(120);
/// How long a client waits for an answer.
const TIMEOUT: u64 = 1_000;
/// The records that a shard gets before it is full.
const RECORDS: u64 = 400;

/// What a world is like.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) shards: u32,
    pub(crate) fault_percent: u64,
    pub(crate) reshards: usize,
    /// How many rows somebody deletes; every second one is made again by a leader of the KCL.
    pub(crate) erasures: usize,
    /// Whether shards record intents (an object sink) or only progress.
    pub(crate) intents: bool,
    pub(crate) steals: bool,
    pub(crate) pauses: bool,
    pub(crate) kills: bool,
    /// Whether workers that are replaced end in order, naming heirs, rather than being killed.
    pub(crate) drains: bool,
    /// Whether the first worker never sees a wish, as one that is none of ours.
    pub(crate) deaf: bool,
}

pub(crate) struct World {
    plan: Plan,
    random: Random,
    now: Instant,
    queue: BTreeMap<(Instant, u64), Item>,
    queued: u64,
    faults: bool,
    table: BTreeMap<LeaseKey, LeaseRow>,
    /// The take by which each owned row was taken last.
    tenures: BTreeMap<LeaseKey, Tenure>,
    /// Since when the wish in a row has stood there, and whose it is.
    wishes: BTreeMap<LeaseKey, (WorkerId, Instant)>,
    /// Wishes that stood for two renewals without an answer before another worker put its own in their place.
    outdone: BTreeSet<(LeaseKey, WorkerId)>,
    /// Since when shards are not read although they were and have settled, and the longest that one was not.
    unread: BTreeMap<LeaseKey, Instant>,
    pub(crate) longest_silence: Duration,
    /// How often leases changed hands.
    pub(crate) moves: usize,
    /// Tenures that were ended by force: their workers may believe in them for a renewal interval more.
    robbed: Vec<Tenure>,
    /// How often a lease was taken by force.
    pub(crate) forced: usize,
    /// Shards whose end was stored once.
    ended: BTreeSet<ShardId>,
    shards: BTreeMap<ShardId, ShardListing>,
    /// What was put: disjoint ranges for each shard.
    objects: BTreeMap<LeaseKey, BTreeSet<(u64, u64)>>,
    workers: Vec<Worker>,
    strangers: Strangers,
    /// Every command of every worker, if asked for: writing it all down costs more than all the rest.
    pub(crate) trace: Option<Vec<String>>,
}

/// One tenure: the worker and its take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tenure(usize, WriteId);

struct Worker {
    coordinator: Coordinator,
    alive: bool,
    paused_until: Instant,
    tick_at: Option<Instant>,
    takes: BTreeMap<LeaseKey, WriteId>,
    running: BTreeMap<LeaseToken, Running>,
    drained: bool,
    leaving: bool,
    knows: Known,
}

/// The tasks of one shard.
#[derive(Debug)]
struct Running {
    key: LeaseKey,
    tenure: Option<Tenure>,
    until: Instant,
    checkpoint: Position,
    /// The intent that is open, with the end of its range.
    intent: Option<Bytes>,
    waiting: Option<Waiting>,
    settled: u64,
    /// Until when what was read is told.
    read_until: Instant,
    draining: bool,
}

#[derive(Debug)]
enum Waiting {
    Intend(Bytes),
    Commit(Option<Bytes>),
    Other,
}

enum Item {
    Deliver(usize, Box<Event>),
    Tick(usize),
    /// A step of a shard's tasks.
    Step(usize, LeaseToken),
    Stopped(usize, LeaseToken),
    Arrive(usize, Box<Request>, bool),
    Reshard,
    Trim(ShardId),
    Pause(usize),
    Kill(usize),
    Erase(u64),
    Remake(LeaseKey),
}

#[derive(Clone)]
enum Request {
    /// The first half of a scan, and the second with what the first gave.
    Scan(Instant, Option<Vec<LeaseRow>>),
    List,
    Want(LeaseWant),
    Gap(GapEntry),
    Create(LeaseRow),
    Write(WriteId, LeaseWrite, Option<Tenure>),
    Delete(LeaseKey, LeaseCounter),
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = Self {
            random: Random::seeded(plan.seed),
            now: Instant::from_nanos(0),
            queue: BTreeMap::new(),
            queued: 0,
            faults: true,
            table: BTreeMap::new(),
            tenures: BTreeMap::new(),
            wishes: BTreeMap::new(),
            outdone: BTreeSet::new(),
            unread: BTreeMap::new(),
            longest_silence: Duration::ZERO,
            moves: 0,
            robbed: Vec::new(),
            forced: 0,
            ended: BTreeSet::new(),
            shards: (0..plan.shards)
                .map(|number| listing(number, &[]))
                .map(|shard| (shard.id.clone(), shard))
                .collect(),
            objects: BTreeMap::new(),
            workers: Vec::new(),
            strangers: Strangers::default(),
            trace: None,
            plan,
        };
        for index in 0..world.plan.workers {
            world.start_worker();
            let at = world.below(FAULTY.as_millis() as u64);
            if world.plan.kills && index > 0 {
                world.schedule(at, Item::Kill(index));
            }
            if world.plan.pauses {
                let at = world.below(FAULTY.as_millis() as u64);
                world.schedule(at, Item::Pause(index));
            }
        }
        for _ in 0..world.plan.reshards {
            let at = world.below(FAULTY.as_millis() as u64);
            world.schedule(at, Item::Reshard);
        }
        for number in 0..world.plan.erasures {
            let at = world.below(FAULTY.as_millis() as u64);
            world.schedule(at, Item::Erase(number as u64));
        }
        world
    }

    /// Replaces the first workers one after the other, as a rolling deploy does.
    pub(crate) fn deploy(&mut self) {
        for index in 0..self.plan.workers {
            self.schedule(30_000 * (index as u64 + 1), Item::Kill(index));
        }
        self.run_until(self.now.after(FAULTY));
    }

    pub(crate) fn run_with_faults(&mut self) {
        self.run_until(self.now.after(FAULTY));
    }

    /// No more faults, and time enough for everything to come to rest.
    pub(crate) fn settle(&mut self) {
        self.faults = false;
        self.run_until(self.now.after(Duration::from_secs(220)));
        // A shard that ends makes leases move, and one that moves is read by nobody for a moment.
        let moving = |world: &Self| (world.moves, world.ended.len(), world.living_wishes());
        for _ in 0..10 {
            let before = moving(self);
            self.run_until(self.now.after(Duration::from_secs(40)));
            if moving(self) == before && self.living_wishes() == 0 {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", moving(self));
    }

    /// The wishes of workers that live; nobody answers those of others if the holder cannot see them.
    fn living_wishes(&self) -> usize {
        let is_alive = |wanted: &WorkerId| self.alive().any(|index| worker_id(index) == *wanted);
        // One that came too late for a shard that ended stays in its row.
        let open = self.wishes.iter().filter(|(key, _)| !self.ended.contains(&key.shard_id()));
        open.filter(|(_, (wanted, _))| is_alive(wanted)).count()
    }

    /// Every open shard is read by one worker, and no worker has two more than another.
    pub(crate) fn check_shares(&self) {
        let mut held: BTreeMap<usize, usize> = self.alive().map(|index| (index, 0)).collect();
        for shard in self.shards.keys().filter(|shard| !self.ended.contains(*shard)) {
            let key = LeaseKey::single_stream(shard);
            let readers: Vec<usize> = self.alive().filter(|index| self.workers[*index].reads(&key)).collect();
            let waits = self.shards[shard].parents.iter().any(|parent| !self.ended.contains(parent));
            assert!(readers.len() == usize::from(!waits), "{shard} is read by {readers:?}");
            let owner = self.table.get(&key).and_then(|row| row.owner.clone()).expect("owned");
            let owner = self.alive().find(|index| worker_id(*index) == owner).expect("by a living worker");
            *held.entry(owner).or_default() += 1;
        }
        if self.plan.steals {
            let (least, most) = (held.values().min(), held.values().max());
            assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{held:?}");
        }
    }

    /// All workers drain, and leave nothing owned.
    pub(crate) fn drain(&mut self) {
        for index in self.alive().collect::<Vec<_>>() {
            self.deliver(index, Event::DrainRequested);
        }
        self.run_until(self.now.after(Duration::from_secs(30)));
        assert!(self.workers.iter().all(|worker| worker.drained || !worker.alive));
        // A lease may have been assigned to a worker that ended before it looked.
        let held = self.table.keys().filter(|key| self.tenures.contains_key(*key));
        assert_eq!(held.count(), 0);
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        (0..self.workers.len()).filter(|index| self.workers[*index].alive)
    }

    fn start_worker(&mut self) {
        let index = self.workers.len();
        let settings = CoordinatorSettings {
            worker: worker_id(index),
            failover_time: FAILOVER,
            max_leases: None,
            max_steals_per_cycle: usize::from(self.plan.steals),
            streams: vec![StreamSettings {
                name: StreamName::new("orders"),
                id: None,
                created: UnixMillis(1),
                initial_position: InitialPosition::TrimHorizon,
            }],
            mode: LeaseMode::Peer,
            longest_linger: if self.plan.drains { Duration::from_secs(6) } else { Duration::ZERO },
            seed: self.random.next_u64(),
        };
        self.workers.push(Worker {
            coordinator: Coordinator::new(settings),
            alive: true,
            paused_until: self.now,
            tick_at: None,
            takes: BTreeMap::new(),
            running: BTreeMap::new(),
            drained: false,
            leaving: false,
            knows: Known::default(),
        });
        let delay = self.below(3_000);
        self.schedule(delay, Item::Deliver(index, Box::new(Event::Tick)));
    }

    // === The clock ===

    fn wall(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + (self.now.as_nanos() / 1_000_000) as i64)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.faults && self.below(100) < percent
    }

    fn schedule(&mut self, millis: u64, item: Item) {
        self.schedule_at(self.now.after(Duration::from_millis(millis)), item);
    }

    fn schedule_at(&mut self, at: Instant, item: Item) {
        self.queued += 1;
        self.queue.insert((at, self.queued), item);
    }

    fn run_until(&mut self, end: Instant) {
        let mut steps = 0;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), item) = entry.remove_entry();
            self.now = at;
            self.happen(item);
            steps += 1;
            assert!(steps < 300_000, "time does not move on");
        }
        self.now = end;
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(index, _) | Item::Tick(index) | Item::Step(index, _) | Item::Stopped(index, _)
                if !self.workers[index].alive => {}
            Item::Deliver(index, _) | Item::Tick(index) | Item::Step(index, _) | Item::Stopped(index, _)
                if self.workers[index].paused_until > self.now =>
            {
                self.schedule_at(self.workers[index].paused_until, item);
            }
            Item::Deliver(index, event) => self.deliver(index, *event),
            Item::Tick(index) => {
                self.workers[index].tick_at = None;
                self.deliver(index, Event::Tick);
            }
            Item::Step(index, token) => self.step(index, token),
            Item::Stopped(index, token) => {
                if let Some(running) = self.workers[index].running.remove(&token) {
                    self.unread.insert(running.key, self.now);
                }
                self.deliver(index, Event::ShardStopped { token });
            }
            Item::Arrive(index, request, answered) => self.arrive(index, *request, answered),
            Item::Reshard => self.reshard(),
            Item::Trim(shard) => drop(self.shards.remove(&shard)),
            Item::Erase(number) => self.erase(number),
            Item::Remake(key) => self.remake(&key),
            Item::Pause(index) => {
                let pause = Duration::from_millis(self.below(40_000));
                self.workers[index].paused_until = self.now.after(pause);
            }
            Item::Kill(index) => {
                if self.plan.drains {
                    self.workers[index].leaving = true;
                    self.deliver(index, Event::DrainRequested);
                } else {
                    self.workers[index].alive = false;
                }
                self.start_worker();
            }
        }
    }

    // === The workers ===

    fn deliver(&mut self, index: usize, event: Event) {
        let wall = self.wall();
        if let Event::LeasesScanned { scan: Some(scan), .. } = &event {
            self.workers[index].knows.look(&scan.rows);
        }
        self.workers[index].coordinator.handle(event, Now { instant: self.now, wall });
        while let Some(command) = self.workers[index].coordinator.poll() {
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{:?} {index} {command:?}", self.now));
            }
            self.carry_out(index, command);
        }
        let worker = &mut self.workers[index];
        if let Some(due) = worker.coordinator.next_deadline()
            && worker.tick_at.is_none_or(|at| due < at)
        {
            let at = due.max(self.now);
            worker.tick_at = Some(at);
            self.schedule_at(at, Item::Tick(index));
        }
    }

    fn carry_out(&mut self, index: usize, command: Command) {
        match command {
            Command::ScanLeases => self.send(index, Request::Scan(self.now, None)),
            Command::ListShards(_) => self.send(index, Request::List),
            Command::WantLease(want) => self.send(index, Request::Want(want)),
            Command::RecordGap(entry) => self.send(index, Request::Gap(entry)),
            Command::CreateLease(row) => self.send(index, Request::Create(row)),
            Command::DeleteLease { key, counter } => self.send(index, Request::Delete(key, counter)),
            Command::WriteLease { id, write } => {
                let worker = &mut self.workers[index];
                let tenure = if is_take(index, &write) {
                    worker.takes.insert(write.key.clone(), id);
                    None
                } else {
                    worker.takes.get(&write.key).map(|take| Tenure(index, *take))
                };
                self.send(index, Request::Write(id, write, tenure));
            }
            Command::StartShard(held) => self.start_shard(index, held),
            Command::StopShard { token, why, .. } => self.stop_shard(index, token, why),
            Command::Extend { token, until } => {
                if let Some(running) = self.workers[index].running.get_mut(&token) {
                    running.until = until;
                }
            }
            Command::Answer { token, answer } => self.answered(index, token, answer),
            Command::Report(_) => {}
            Command::Drained => {
                self.workers[index].drained = true;
                self.workers[index].alive &= !self.workers[index].leaving;
            }
        }
    }

    fn start_shard(&mut self, index: usize, held: HeldLease) {
        self.check_told(index, &held.row);
        let HeldLease { token, row, until, .. } = held;
        for parent in &row.parents {
            assert!(self.ended.contains(parent), "{} starts before {parent} has ended", row.key);
        }
        let tenure = self.workers[index].takes.get(&row.key).map(|take| Tenure(index, *take));
        let running = Running {
            key: row.key,
            tenure,
            until,
            checkpoint: row.checkpoint,
            intent: row.intent,
            waiting: None,
            settled: 0,
            read_until: self.now,
            draining: false,
        };
        if let Some(since) = self.unread.remove(&running.key) {
            self.longest_silence = self.longest_silence.max(self.now.since(since));
        }
        self.workers[index].running.insert(token, running);
        self.schedule(10, Item::Step(index, token));
    }

    fn stop_shard(&mut self, index: usize, token: LeaseToken, why: StopReason) {
        match why {
            // It stops at once; that it has is heard of later.
            StopReason::Lost(_) | StopReason::Ended => drop(self.workers[index].running.remove(&token)),
            StopReason::Drain | StopReason::HandOver => {
                if let Some(running) = self.workers[index].running.get_mut(&token) {
                    running.draining = true;
                }
                return;
            }
        }
        let delay = self.below(2_000);
        self.schedule(delay, Item::Stopped(index, token));
    }

    /// A shard's tasks do the next thing: what an engine does, and at the worst moments.
    fn step(&mut self, index: usize, token: LeaseToken) {
        let (dice, delay) = (self.below(100), self.below(1_500));
        let Some(running) = self.workers[index].running.get_mut(&token) else { return };
        let full = running.position() >= RECORDS;
        if running.waiting.is_none() && running.draining && running.intent.is_none() {
            return self.schedule(delay / 4, Item::Stopped(index, token));
        }
        self.schedule(delay, Item::Step(index, token));
        let Some(running) = self.workers[index].running.get_mut(&token).filter(|running| running.waiting.is_none())
        else {
            return;
        };
        let shard = running.key.shard_id();
        let closed = self.shards.get(&shard).is_none_or(|shard| !shard.is_open());
        if running.intent.is_none() && closed && (full || dice < 20) {
            running.waiting = Some(Waiting::Other);
            let children = self.children(&shard);
            return self.deliver(index, Event::ShardRequested { token, request: ShardRequest::EndShard { children } });
        }
        if dice == 99 && self.faults {
            running.waiting = Some(Waiting::Other);
            let request = ShardRequest::GiveUp { cool_down: Duration::from_millis(delay) };
            return self.deliver(index, Event::ShardRequested { token, request });
        }
        if self.plan.intents {
            let request = running.next_request(dice);
            self.deliver(index, Event::ShardRequested { token, request });
        } else {
            running.settled = running.settled.max(running.position()) + dice % 3;
            let settled = (running.settled > 0).then(|| (at(running.settled), UnixMillis(1)));
            let progress = Progress { settled, lag: Some(dice), read: Some(running.read(self.now)), urgent: dice < 10 };
            self.deliver(index, Event::ShardProgressed { token, progress });
        }
    }

    fn answered(&mut self, index: usize, token: LeaseToken, answer: Answer) {
        let Some(running) = self.workers[index].running.get_mut(&token) else { return };
        let waiting = running.waiting.take();
        let Answer::Done { checkpoint } = answer else { return };
        running.checkpoint = checkpoint;
        match waiting {
            Some(Waiting::Intend(intent)) => {
                running.intent = Some(intent.clone());
                let key = running.key.clone();
                self.put(&key, &intent);
            }
            Some(Waiting::Commit(next)) => {
                running.intent.clone_from(&next);
                let key = running.key.clone();
                if let Some(next) = next {
                    self.put(&key, &next);
                }
            }
            // The end of the shard is told by `StopShard`; after giving up the tasks end by themselves.
            Some(Waiting::Other) | None => {
                self.workers[index].running.remove(&token);
            }
        }
    }

    /// An object is put, or put again: it must be the same or lie beside all others.
    fn put(&mut self, key: &LeaseKey, intent: &Bytes) {
        let (from, last) = decode(intent);
        let objects = self.objects.entry(key.clone()).or_default();
        let overlap =
            objects.iter().find(|(start, end)| (*start, *end) != (from, last) && from < *end && *start < last);
        // What was read before its row was deleted is read again.
        let again = self.strangers.was_erased(key);
        assert!(overlap.is_none() || again, "{key}: ({from}, {last}] stands twice, beside {overlap:?}");
        objects.insert((from, last));
    }

    fn children(&self, shard: &ShardId) -> Vec<ChildShard> {
        let children = self.shards.values().filter(|child| child.parents.contains(shard));
        children
            .map(|child| ChildShard {
                id: child.id.clone(),
                parents: child.parents.clone(),
                hash_range: child.hash_range,
            })
            .collect()
    }
}

impl Worker {
    fn reads(&self, key: &LeaseKey) -> bool {
        self.running.values().any(|running| running.key == *key)
    }
}

impl Running {
    fn position(&self) -> u64 {
        self.checkpoint.record().map_or(0, |position| position.sequence.as_str().parse().expect("small numbers"))
    }

    /// The bytes read since this was asked last: each shard has a rate of its own, which stays.
    fn read(&mut self, now: Instant) -> u64 {
        let millis = now.since(std::mem::replace(&mut self.read_until, now)).as_millis() as u64;
        millis * (20 + u64::from(number(&self.key.shard_id())) % 4 * 15)
    }

    /// Intend, commit, intend, commit, at times both in one. Every batch is cut anew, as long as chance will have it.
    fn next_request(&mut self, dice: u64) -> ShardRequest {
        let from = self.checkpoint.clone();
        let Some(intent) = self.intent.clone() else {
            let intent = encode(self.position(), self.position() + 1 + dice % 5);
            self.waiting = Some(Waiting::Intend(intent.clone()));
            return ShardRequest::Intend { from, intent };
        };
        let (_, last) = decode(&intent);
        let next = (dice < 50 && !self.draining).then(|| encode(last, last + 1 + dice % 7));
        self.waiting = Some(Waiting::Commit(next.clone()));
        let (after, chain) = (at(last), Some(at(last)));
        ShardRequest::Commit(Commit { from, after, arrival: UnixMillis(1), chain, intent: Some(intent), next })
    }
}

/// What a worker hears of a request that came to nothing, or of which nothing is known.
fn failure(request: &Request, refused: bool) -> Event {
    match request {
        Request::Scan(started, _) => Event::LeasesScanned { started: *started, scan: None },
        Request::List => Event::ShardsListed { stream: StreamIndex::default(), shards: None },
        Request::Want(want) => Event::LeaseWanted { key: want.key.clone(), stands: None },
        Request::Gap(entry) => Event::GapRecorded { id: entry.id(), stored: false },
        Request::Create(row) => Event::LeaseCreated { key: row.key.clone(), outcome: None },
        Request::Write(id, ..) => {
            let result = if refused { WriteResult::NotApplied } else { WriteResult::Unknown };
            Event::LeaseWritten { id: *id, result }
        }
        Request::Delete(key, _) => Event::LeaseDeleted { key: key.clone(), gone: None },
    }
}

/// Whether a write of this worker makes it the owner; one that names another hands the lease over.
fn is_take(index: usize, write: &LeaseWrite) -> bool {
    matches!(&write.change.owner, Field::Set(owner) if *owner == worker_id(index))
}

fn encode(from: u64, last: u64) -> Bytes {
    Bytes::from(format!("{from} {last}"))
}

fn decode(intent: &Bytes) -> (u64, u64) {
    let text = std::str::from_utf8(intent).expect("written by encode");
    let (from, last) = text.split_once(' ').expect("written by encode");
    (from.parse().expect("digits"), last.parse().expect("digits"))
}

fn worker_id(index: usize) -> WorkerId {
    WorkerId::new(&format!("worker-{index}"))
}

fn shard_id(number: u32) -> ShardId {
    ShardId::new(&format!("shardId-{number:012}"))
}

fn number(shard: &ShardId) -> u32 {
    shard.as_str().trim_start_matches("shardId-").parse().expect("digits")
}

fn pivot() -> LeaseKey {
    LeaseKey::single_stream(&shard_id(3))
}

fn at(sequence: u64) -> RecordPosition {
    let sequence = SequenceNumber::parse(&sequence.to_string()).expect("digits");
    RecordPosition { sequence, subsequence: 0 }
}

fn listing(number: u32, parents: &[u32]) -> ShardListing {
    ShardListing {
        id: shard_id(number),
        parents: parents.iter().map(|parent| shard_id(*parent)).collect(),
        hash_range: HashRange::ALL,
        starting_sequence: SequenceNumber::parse(&(number + 1).to_string()).expect("digits"),
        ending_sequence: None,
    }
}
