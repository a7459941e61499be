//! A lease table, a stream, some workers with simple shards, and a clock that jumps from event to event.
//!
//! Here: what a world consists of, its phases, and its clock; `workers`, `tasks`, `table` and `strangers` say what acts in it.
//! Each worker's requests reach the table after a delay, perhaps after the worker has given them up; each answer takes a
//! delay, or is lost. The invariants are asserted where they could break: at the table and at each command.

mod strangers;
mod table;
mod tasks;
mod workers;

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
use tasks::{Running, Waiting};
use workers::Worker;

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
    /// Every event and command of every worker and what strangers do, if asked for: writing it all down costs more than all the
    /// rest.
    pub(crate) trace: Option<Vec<String>>,
}

/// One tenure: the worker and its take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tenure(usize, WriteId);

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

    /// Writes down what happens, if asked for.
    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:?} {}", self.now, what()));
        }
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        (0..self.workers.len()).filter(|index| self.workers[*index].alive)
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
                self.note(|| format!("{index} pauses for {pause:?}"));
                self.workers[index].paused_until = self.now.after(pause);
            }
            Item::Kill(index) => {
                self.note(|| format!("{index} is replaced"));
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
}

/// Whether a write of this worker makes it the owner; one that names another hands the lease over.
fn is_take(index: usize, write: &LeaseWrite) -> bool {
    matches!(&write.change.owner, Field::Set(owner) if *owner == worker_id(index))
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
