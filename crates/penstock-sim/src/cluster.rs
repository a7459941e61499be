//! The workers of a run: started, killed, frozen, drained; each the real engine over seams behind a network of its own.
//!
//! How they are looked at from outside stands in `look`.

mod look;

use std::sync::Arc;
use std::time::Duration;

use penstock_core::ids::{ApplicationName, WorkerId};
use penstock_core::random::Random;
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{SetAside, SinkPort};
use penstock_engine::settings::{KeyForm, Ordering, Pack, WorkerSettings};
use penstock_engine::start::StartError;
use penstock_engine::status::StatusHandle;
use penstock_engine::worker::{Exit, Ports, StreamSource, Worker};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calls::{CallRules, LinkedCalls, LinkedSetAside};
use crate::gap_ledger::SimulatedGapLedger;
use crate::kcl::KclWorker;
use crate::lease_table::SimulatedLeaseTable;
use crate::leases::{LinkedGaps, LinkedLeases};
use crate::network::{Link, Outage, Seam};
use crate::objects::LinkedObjects;
use crate::operator::Operator;
use crate::plan::{Action, Plan, SinkKind, Slot};
use crate::source::LinkedSource;
use crate::world::{EPOCH, World};

/// The failover time of all runs.
pub const FAILOVER: Duration = Duration::from_secs(10);

/// No run trims what arrived later than this.
pub const LEAST_RETENTION: Duration = Duration::from_secs(1);

/// The workers of a run.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    world: Arc<World>,
    table: Arc<SimulatedLeaseTable>,
    gaps: Arc<SimulatedGapLedger>,
    clock: Clock,
    began: Instant,
    random: Random,
    members: Vec<Member>,
    kcl: KclWorker,
    operator: Operator,
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

impl Cluster {
    /// No workers yet.
    #[must_use]
    pub fn new(plan: Plan, world: Arc<World>, random: Random) -> Self {
        let table = Arc::new(SimulatedLeaseTable::new());
        let gaps = Arc::new(SimulatedGapLedger::new());
        Self {
            plan,
            operator: Operator::new(Arc::clone(&world), Arc::clone(&table), Arc::clone(&gaps)),
            world,
            table,
            gaps,
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
            Action::Deafen(slot, seam, lasts) => {
                if let Some(member) = self.member(slot) {
                    self.world.note(&member.link.name, format_args!("hears nothing of {seam:?} for {lasts:?}"));
                    member.link.deafen(seam, Instant::now() + lasts);
                }
            }
            Action::Outage(seam, how, lasts) => self.outage(seam, how, lasts),
            Action::Touch => self.operator.touch(&mut self.random),
            Action::Tool(tool) => self.operator.tool(tool, &mut self.random),
            Action::Erase => self.operator.erase(&mut self.random),
            Action::Damage => self.operator.damage(&mut self.random),
            Action::Repair => self.operator.repair(),
            Action::KclTakes => self.kcl.take(&self.world, &self.table, &mut self.random),
            Action::KclCheckpoints => self.kcl.checkpoint(&self.world, &self.table, &mut self.random),
            Action::KclPrepares => self.kcl.prepare(&self.world, &self.table),
            Action::KclLeaves => self.kcl.leave(&self.world, &self.table),
            Action::KclSyncs => self.kcl.sync(&self.world, &self.table, self.plan.initial),
            Action::KclCleans => self.kcl.clean(&self.world, &self.table),
            Action::Kcl3HandsOver => self.kcl.hand_over(&self.world, &self.table, &mut self.random),
            Action::Kcl3Assigns => self.kcl.assign(&self.world, &self.table),
            Action::Split | Action::Merge | Action::Reshard(_) | Action::Recreate(_) => {}
            Action::Trim(kept) => self.trim(kept),
        }
    }

    fn outage(&self, seam: Seam, how: Outage, lasts: Duration) {
        self.world.with(|state| {
            state.note("", format_args!("{seam:?} fails for everybody ({how:?}) for {lasts:?}"));
            let until = state.now + lasts;
            state.outages.push((seam, how, until));
        });
    }

    fn trim(&self, kept: Duration) {
        let rows = self.table.rows();
        self.world.with(|state| {
            state.note("", format_args!("what is older than {kept:?} is trimmed"));
            let until = UnixMillis(state.wall().0 - i64::try_from(kept.as_millis()).expect("a run lasts minutes"));
            state.streams.trim(until, kept);
            let found = state.ledger.on_trim(&state.streams, until, &rows);
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
                self.plan.outside,
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
        let source = |stream: usize| StreamSource {
            name: self.world.with(|state| state.streams.describe(stream).name),
            source: Arc::new(LinkedSource::new(Arc::clone(link), stream, self.plan.largest_page)),
            initial_position: self.plan.initial,
        };
        Ports {
            sources: (0..self.plan.streams).map(source).collect(),
            gaps: Arc::new(LinkedGaps::new(Arc::clone(link), Arc::clone(&self.gaps))),
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
}

fn settings(plan: &Plan, worker: &WorkerId, seed: u64) -> WorkerSettings {
    let mut settings = WorkerSettings::new(ApplicationName::new("simulated"), worker.clone(), seed);
    settings.leases.failover_time = FAILOVER;
    settings.leases.max_steals_per_cycle = plan.max_steals;
    settings.leases.keys = if plan.streams > 1 { KeyForm::Multi } else { KeyForm::Single };
    settings.source.fetch_interval = Duration::from_millis(400);
    settings.source.idle_interval = plan.idle_interval;
    settings.source.outside_hash_range = plan.outside;
    settings.source.least_retention = LEAST_RETENTION;
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
