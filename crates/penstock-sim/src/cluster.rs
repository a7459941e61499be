//! The workers of a run: started, killed, frozen, drained; each the real engine over seams behind a network of its own.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::ids::{ApplicationName, LeaseKey, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::random::Random;
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{SetAside, SinkPort};
use penstock_engine::settings::{Ordering, Pack, WorkerSettings};
use penstock_engine::start::StartError;
use penstock_engine::status::StatusHandle;
use penstock_engine::worker::{Exit, Ports, Worker};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calls::{CallRules, LinkedCalls, LinkedSetAside};
use crate::kcl::KclWorker;
use crate::lease_table::SimulatedLeaseTable;
use crate::leases::LinkedLeases;
use crate::network::Link;
use crate::objects::LinkedObjects;
use crate::plan::{Action, Plan, SinkKind, Slot};
use crate::source::LinkedSource;
use crate::world::{EPOCH, World};

/// The failover time of all runs.
pub const FAILOVER: Duration = Duration::from_secs(10);

/// The sum of design.md section 9.
const ADDS_UP: &str = "fetched = delivered + set aside + dropped + abandoned + in flight";
const WITHIN_BUDGET: &str = "memory stays within the budget";
const STAYS_UP: &str = "nothing external ends a worker";
const DRAINS: &str = "a drained worker settles what it read and gives its leases back";

/// The workers of a run.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    world: Arc<World>,
    table: Arc<SimulatedLeaseTable>,
    clock: Clock,
    began: Instant,
    random: Random,
    members: Vec<Member>,
    kcl: KclWorker,
    started: u64,
}

#[derive(Debug)]
struct Member {
    slot: Slot,
    worker: WorkerId,
    link: Arc<Link>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<Exit, StartError>>,
    status: StatusHandle,
}

impl Member {
    /// How many of these rows are this worker's, by the row and by its own belief.
    fn held(&self, rows: &[&LeaseRow]) -> usize {
        let believed = self.status.snapshot().leases;
        let believes = |row: &LeaseRow| believed.iter().any(|lease| lease.held && lease.key == row.key);
        rows.iter().filter(|row| row.owner.as_ref() == Some(&self.worker) && believes(row)).count()
    }
}

impl Cluster {
    /// No workers yet.
    #[must_use]
    pub fn new(plan: Plan, world: Arc<World>, random: Random) -> Self {
        Self {
            plan,
            world,
            table: Arc::new(SimulatedLeaseTable::new()),
            clock: Clock::simulated(EPOCH),
            began: Instant::now(),
            random,
            members: Vec::new(),
            kcl: KclWorker::default(),
            started: 0,
        }
    }

    /// The time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    // === What happens to workers ===

    /// Carries out what happens to workers; what happens to the stream is left to the caller.
    pub async fn act(&mut self, action: Action) {
        match action {
            Action::Start(slot) => self.start(slot),
            Action::Kill(slot) => self.kill(slot).await,
            Action::Freeze(slot) => self.frozen(slot, true),
            Action::Thaw(slot) => self.frozen(slot, false),
            Action::Cut(slot, seam, lasts) => {
                if let Some(member) = self.member(slot) {
                    self.world.note(&member.link.name, format_args!("is cut off from {seam:?} for {lasts:?}"));
                    member.link.cut(seam, Instant::now() + lasts);
                }
            }
            Action::Drain(slot) => {
                if let Some(member) = self.member(slot) {
                    self.world.note(&member.link.name, format_args!("is told to end"));
                    member.shutdown.cancel();
                }
            }
            Action::Touch => self.touch(),
            Action::KclTakes => self.kcl.take(&self.world, &self.table, &mut self.random),
            Action::KclCheckpoints => self.kcl.checkpoint(&self.world, &self.table, &mut self.random),
            Action::KclLeaves => self.kcl.leave(&self.world, &self.table),
            Action::Split | Action::Merge => {}
            Action::Trim(kept) => self.trim(kept),
        }
    }

    fn touch(&mut self) {
        let mut rows = self.table.rows();
        rows.retain(|row| row.owner.is_some());
        let chosen = usize::try_from(self.random.below(rows.len() as u64)).unwrap_or(0);
        if let Some(row) = rows.get(chosen) {
            self.world.note("?", format_args!("a stranger adds one to the counter {} of {}", row.counter, row.key));
            self.world.with(|state| state.ledger.on_touch(&row.key));
            self.table.edit(&row.key, |row| row.counter = row.counter.next());
        }
    }

    fn trim(&self, kept: Duration) {
        let rows = self.table.rows();
        self.world.with(|state| {
            state.note("", format_args!("what is older than {kept:?} is trimmed"));
            let until = UnixMillis(state.wall().0 - i64::try_from(kept.as_millis()).expect("a run lasts minutes"));
            state.stream.trim(until, kept);
            let found = state.ledger.on_trim(&state.stream, until, &rows);
            state.check(found);
        });
    }

    fn member(&self, slot: Slot) -> Option<&Member> {
        self.members.iter().find(|member| member.slot == slot)
    }

    fn start(&mut self, slot: Slot) {
        if self.member(slot).is_some() {
            return;
        }
        self.started += 1;
        let name = format!("w{slot}.{}", self.started);
        self.world.note(&name, format_args!("starts"));
        let worker = WorkerId::new(&name);
        let link = Link::new(name, Arc::clone(&self.world), self.plan.faults, self.began, self.random.fork());
        let settings = settings(&self.plan, &worker, self.random.next_u64());
        let ports = self.ports(slot, &link, &settings);
        let made = Worker::new(settings, ports, self.clock.clone()).expect("the budget is at least the least need");
        let status = made.status();
        link.watch(made.status());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(made.run(shutdown.clone()));
        self.members.push(Member { slot, worker, link, shutdown, task, status });
    }

    /// What the worker in `slot` that starts now ends each line of an object with.
    fn delimiter(&self, slot: Slot) -> &'static [u8] {
        let differs = slot % 2 == 1 || self.started > self.plan.workers as u64;
        if self.plan.mixed_settings && differs { b"\r\n" } else { b"\n" }
    }

    fn ports(&self, slot: Slot, link: &Arc<Link>, settings: &WorkerSettings) -> Ports {
        let worker = settings.worker.clone();
        let sink = match self.plan.sink {
            SinkKind::Objects => SinkPort::Objects(Arc::new(LinkedObjects::new(
                Arc::clone(link),
                worker.clone(),
                settings.application.clone(),
                self.delimiter(slot),
            ))),
            SinkKind::Calls { packable, poison } => {
                let ordered = self.plan.ordered_calls;
                SinkPort::Calls(Arc::new(LinkedCalls::new(
                    Arc::clone(link),
                    worker.clone(),
                    CallRules { packable, poison, ordered },
                )))
            }
        };
        let set_aside: Arc<dyn SetAside> = Arc::new(LinkedSetAside::new(Arc::clone(link)));
        Ports {
            source: Arc::new(LinkedSource::new(Arc::clone(link), self.plan.largest_page)),
            leases: Arc::new(LinkedLeases::new(Arc::clone(link), worker, Arc::clone(&self.table))),
            sink,
            set_aside: Some(set_aside),
        }
    }

    async fn kill(&mut self, slot: Slot) {
        let Some(index) = self.members.iter().position(|member| member.slot == slot) else { return };
        let member = self.members.remove(index);
        self.world.note(&member.link.name, format_args!("is killed"));
        member.task.abort();
        // Once it is gone nothing more comes from it; what is on the way stays so.
        let _aborted = member.task.await;
        member.link.freeze(false);
    }

    fn frozen(&self, slot: Slot, frozen: bool) {
        if let Some(member) = self.member(slot) {
            self.world.note(&member.link.name, format_args!("{}", if frozen { "freezes" } else { "thaws" }));
            member.link.freeze(frozen);
        }
    }

    /// Nothing keeps any worker from its seams any more, and there is at least one.
    pub async fn calm(&mut self) {
        for member in &self.members {
            member.link.freeze(false);
        }
        self.look().await;
        if self.members.iter().all(|member| member.shutdown.is_cancelled()) {
            let free = (0..).find(|slot| self.member(*slot).is_none()).expect("slots never end");
            self.start(free);
        }
    }

    // === Looking at workers ===

    /// Checks every worker from outside, and takes away those that ended.
    pub async fn look(&mut self) {
        for member in &self.members {
            self.world.with(|state| check(member, state));
        }
        let mut at = 0;
        while at < self.members.len() {
            if !self.members[at].task.is_finished() {
                at += 1;
                continue;
            }
            let member = self.members.remove(at);
            let ended = (&mut { member.task }).await;
            self.world.with(|state| match ended {
                Ok(Ok(Exit::Clean | Exit::Undelivered { .. })) if member.shutdown.is_cancelled() => {
                    state.note(&member.link.name, format_args!("ended"));
                }
                // Somebody has to start it again, as with any process that cannot reach what it needs at its start.
                Ok(Err(error)) => state.note(&member.link.name, format_args!("could not start: {error}")),
                ended => state.broke(STAYS_UP, format!("{} ended: {ended:?}", member.worker)),
            });
            if !member.shutdown.is_cancelled() {
                self.start(member.slot);
            }
        }
    }

    /// Whether every record is settled, every closed shard ended, and the leases balanced; or what is not.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        let missing = self.world.with(|state| {
            let missing: Vec<u64> = state.ledger.missing(&state.stream).take(5).collect();
            (!missing.is_empty()).then(|| {
                let settled = state.ledger.settled();
                format!("{settled} of {} records are settled; {missing:?} are missing", state.stream.written())
            })
        });
        missing
            .or_else(|| self.unended())
            .or_else(|| self.open_intent())
            .or_else(|| self.in_flight())
            .or_else(|| self.unbalanced())
    }

    fn unended(&self) -> Option<String> {
        self.world.with(|state| {
            let mut closed = state.stream.shards().iter().filter(|shard| shard.is_closed());
            let open = closed.find(|shard| {
                let row = self.table.row(&LeaseKey::single_stream(&shard.id));
                row.is_none_or(|row| row.checkpoint != Position::ShardEnd)
            });
            open.map(|shard| format!("{} is closed and not ended", shard.id))
        })
    }

    fn open_intent(&self) -> Option<String> {
        let open = self.table.rows().into_iter().find(|row| row.intent.is_some());
        open.map(|row| format!("the intent of {} is still open", row.key))
    }

    fn in_flight(&self) -> Option<String> {
        let waiting = self.members.iter().find(|member| member.status.snapshot().totals.in_flight > 0);
        waiting.map(|member| format!("{} does not know of all its records what became of them", member.worker))
    }

    fn unbalanced(&self) -> Option<String> {
        let rows = self.table.rows();
        let open: Vec<&LeaseRow> = rows.iter().filter(|row| row.checkpoint != Position::ShardEnd).collect();
        let live = self.members.iter().filter(|member| !member.shutdown.is_cancelled());
        let loads: Vec<usize> = live.map(|member| member.held(&open)).collect();
        let held = loads.iter().sum::<usize>();
        let spread = loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0);
        (held != open.len() || spread > 1).then(|| format!("of {} leases the workers hold {loads:?}", open.len()))
    }

    /// Drains all workers at once and checks how they end.
    pub async fn drain(&mut self) {
        for member in &self.members {
            member.shutdown.cancel();
        }
        for member in std::mem::take(&mut self.members) {
            let ended = member.task.await;
            let totals = member.status.snapshot().totals;
            self.world.with(|state| {
                if !matches!(ended, Ok(Ok(Exit::Clean))) || totals.in_flight != 0 || !totals.add_up() {
                    state.broke(DRAINS, format!("{}: {ended:?}, {totals:?}", member.worker));
                }
            });
        }
        let kept =
            self.table.rows().into_iter().find(|row| row.checkpoint != Position::ShardEnd && row.owner.is_some());
        if let Some(row) = kept {
            self.world.with(|state| state.broke(DRAINS, format!("{} still belongs to {:?}", row.key, row.owner)));
        }
    }
}

fn check(member: &Member, state: &mut crate::world::State) {
    let status = member.status.snapshot();
    if !status.totals.add_up() {
        state.broke(ADDS_UP, format!("{}: {:?}", member.worker, status.totals));
    }
    if status.memory_used > status.memory_budget {
        state.broke(WITHIN_BUDGET, format!("{}: {} of {}", member.worker, status.memory_used, status.memory_budget));
    }
}

fn settings(plan: &Plan, worker: &WorkerId, seed: u64) -> WorkerSettings {
    let mut settings = WorkerSettings::new(ApplicationName::new("simulated"), worker.clone(), seed);
    settings.leases.failover_time = FAILOVER;
    settings.leases.initial_position = plan.initial;
    settings.source.fetch_interval = Duration::from_millis(400);
    // A put that nobody answers is tried again within the run.
    settings.time_outs.put = Duration::from_secs(15);
    settings.objects.buffer_size = plan.buffer_size;
    settings.objects.buffer_interval = plan.buffer_interval;
    settings.memory_budget = plan.memory_budget;
    settings.calls.pack = Pack::Auto;
    settings.calls.pack_size = 100;
    settings.calls.ordering = if plan.ordered_calls { Ordering::PerShard } else { Ordering::Relaxed };
    settings
}
