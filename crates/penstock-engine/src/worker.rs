//! One running worker: the owner of every task, from the first look at the stream to the last release of a lease.
//!
//! The tree: the worker owns the lease keeper, the probe of the sink, the packer of calls, and a pipeline for each held lease; a
//! pipeline owns its reader and deliverer. Dropping the future of [`Worker::run`] ends them all at once, as a crash would.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use penstock_core::coordinator::Coordinator;
use penstock_core::coordinator::api::{CoordinatorSettings, HeldLease, Progress, StopReason, StreamSettings};
use penstock_core::ids::{LeaseKey, LeaseToken, ShardId};
use penstock_core::position::Position;
use penstock_core::random::Random;
use penstock_core::time::Instant;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::budget::{BudgetTooSmall, MemoryBudget};
use crate::clock::Clock;
use crate::gate::SinkProbe;
use crate::lease_keeper::{FirstScan, KeeperParts, LeaseCalls, LeaseKeeper, MAILBOX, SHARD_COMMANDS, ShardCommand};
use crate::metrics::Metrics;
use crate::packer::{Packer, PackerParts};
use crate::ports::{GapLedger, LeaseTable, SetAside, ShardIdentity, ShardSource, SinkPort, StreamDescription};
use crate::settings::{TimeOuts, WorkerSettings};
use crate::shard::context::{GapLog, ShardContext, WorkerContext};
use crate::shard::deliverer::calls::CallRoute;
use crate::shard::pipeline::{self, ShardSink, TenureEnd, panic_text};
use crate::shard::tenure::{DeliveryDeadline, KeeperMessage, Tenure};
use crate::start::{StartError, Starter};
use crate::status::{Board, ShardCell, ShardPhase, StatusHandle};

/// How often gauges are brought up to date that change with time alone.
const GAUGES: Duration = Duration::from_secs(5);
/// The part of the grace period that is kept for giving leases back, where shards do not end in time; a fifth at most.
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// What a worker works with.
pub struct Ports {
    /// The stream.
    pub source: Arc<dyn ShardSource>,
    /// The lease table.
    pub leases: Arc<dyn LeaseTable>,
    /// The gap ledger beside it.
    pub gaps: Arc<dyn GapLedger>,
    /// The sink.
    pub sink: SinkPort,
    /// Where a call sink's records go that it cannot take; `None` halts the shard at such a record.
    pub set_aside: Option<Arc<dyn SetAside>>,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// All that was read is settled.
    Clean,
    /// The grace period ran out before that.
    Undelivered {
        /// The shards that had not ended.
        shards: Vec<UndeliveredShard>,
    },
    /// A task that serves all shards failed, which is a fault of the program: nothing can go on without it.
    Failed {
        /// What it said.
        problem: String,
    },
}

/// A shard that had not ended when the grace period did. What was read of it is read again from its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeliveredShard {
    /// The shard.
    pub shard: ShardId,
    /// Its checkpoint.
    pub checkpoint: Position,
    /// User records that were read and not settled.
    pub records: u64,
}

/// A worker that has not started.
pub struct Worker {
    settings: WorkerSettings,
    ports: Ports,
    clock: Clock,
    metrics: Arc<Metrics>,
    budget: MemoryBudget,
    board: Arc<Board>,
}

impl Worker {
    /// A worker with its metrics registered at the recorder of this thread.
    ///
    /// # Errors
    /// If the memory budget cannot hold what the least working process needs.
    pub fn new(settings: WorkerSettings, ports: Ports, clock: Clock) -> Result<Self, BudgetTooSmall> {
        let metrics = Arc::new(Metrics::register());
        let budget = MemoryBudget::new(settings.memory_budget, clock.clone(), metrics.memory_used.clone())?;
        let board = Board::new(&settings, clock.clone(), Arc::clone(&metrics), budget.clone());
        Ok(Self { settings, ports, clock, metrics, budget, board })
    }

    /// Looks at this worker from outside, also while it runs and after it has ended.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.board.handle()
    }

    /// Works until `shutdown` is cancelled and everything is drained, or the grace period is over. Dropping the future is like a
    /// crash: every task ends where it is.
    ///
    /// # Errors
    /// What is wrong at the start. Once started, nothing external ends a worker.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Exit, StartError> {
        tokio::select! {
            // Biased: whoever is told to end before the start has nothing to drain.
            biased;
            () = shutdown.cancelled() => Ok(Exit::Clean),
            stream = self.start() => {
                let running = Running::new(self, stream?, shutdown);
                running.run().await
            }
        }
    }

    async fn start(&self) -> Result<StreamDescription, StartError> {
        let mut starter = Starter {
            clock: self.clock.clone(),
            time_outs: self.settings.time_outs.clone(),
            random: Random::seeded(self.settings.seed ^ 0x7374_6172_7400),
        };
        let stream = starter.describe(self.ports.source.as_ref()).await?;
        self.board.stream_is(stream.name.clone());
        starter.prepare(self.ports.leases.as_ref()).await?;
        tracing::info!(worker = %self.settings.worker, stream = %stream.name, created = %stream.created, "worker starts");
        Ok(stream)
    }
}

// === The running worker ===

struct Running {
    ctx: Arc<WorkerContext>,
    sink: ShardSink,
    keeper: mpsc::Sender<KeeperMessage>,
    commands: mpsc::Receiver<ShardCommand>,
    first_scan: Option<oneshot::Receiver<FirstScan>>,
    shutdown: CancellationToken,
    /// The keeper alone: the worker ends when it does.
    keeper_task: JoinSet<()>,
    /// What serves all shards: the probe of the sink, the packer of calls.
    services: JoinSet<()>,
    pipelines: JoinSet<(LeaseToken, Option<TenureEnd>)>,
    shards: BTreeMap<LeaseToken, Shard>,
    drain: Drain,
    gauges_at: Instant,
}

struct Shard {
    key: LeaseKey,
    cell: Arc<ShardCell>,
    drain: CancellationToken,
    cut: CancellationToken,
}

/// How far the end of the worker has come.
enum Drain {
    No,
    /// Shards settle what was read, until then.
    Settling {
        cut_at: Instant,
        end_at: Instant,
    },
    /// Shards were cut off; leases are given back, until then.
    Releasing {
        end_at: Instant,
        undelivered: Vec<UndeliveredShard>,
    },
}

enum Wake {
    Shutdown,
    Deadline,
    Keeper(Result<(), String>),
    First(FirstScan),
    Command(ShardCommand),
    Ended(LeaseToken, Option<TenureEnd>),
    Service(Result<(), String>),
    Gauges,
}

impl Running {
    fn new(worker: Worker, stream: StreamDescription, shutdown: CancellationToken) -> Self {
        let Worker { settings, ports, clock, metrics, budget, board } = worker;
        let Ports { source, leases, gaps, sink, set_aside } = ports;
        let random = Random::seeded(settings.seed ^ 0x7072_6f62_6500);
        let (probe, gate) =
            SinkProbe::new(sink.clone(), clock.clone(), settings.time_outs.probe, Arc::clone(&board), random);
        let ctx = Arc::new(WorkerContext {
            fetches: Semaphore::new(settings.source.max_fetches_in_flight.get()),
            settings,
            clock,
            source,
            stream,
            budget,
            metrics,
            board,
            gate,
            replays: Semaphore::new(1),
            gaps: GapLog::default(),
            out_of_grace: AtomicBool::new(false),
        });
        let mut services = JoinSet::new();
        services.spawn(probe.run());
        let sink = shard_sink(&ctx, sink, set_aside, &mut services);
        let (keeper, mailbox) = mpsc::channel(MAILBOX);
        let (to_worker, commands) = mpsc::channel(SHARD_COMMANDS);
        let (first_scan, first_scanned) = oneshot::channel();
        let lease_keeper = LeaseKeeper::new(KeeperParts {
            coordinator: Coordinator::new(coordinator_settings(&ctx.settings, &ctx.stream)),
            clock: ctx.clock.clone(),
            board: Arc::clone(&ctx.board),
            calls: LeaseCalls::new(
                leases,
                gaps,
                Arc::clone(&ctx.source),
                ctx.stream.created,
                lease_time_outs(&ctx.settings),
            ),
            mailbox,
            worker: to_worker,
            first_scan,
            shutdown: shutdown.clone(),
        });
        let mut keeper_task = JoinSet::new();
        keeper_task.spawn(lease_keeper.run());
        Self {
            gauges_at: ctx.clock.now().instant.after(GAUGES),
            ctx,
            sink,
            keeper,
            commands,
            first_scan: Some(first_scanned),
            shutdown,
            keeper_task,
            services,
            pipelines: JoinSet::new(),
            shards: BTreeMap::new(),
            drain: Drain::No,
        }
    }

    async fn run(mut self) -> Result<Exit, StartError> {
        loop {
            match self.wake().await {
                Wake::Shutdown => self.on_shutdown(),
                Wake::Deadline => {
                    if let Some(exit) = self.on_deadline() {
                        return Ok(exit);
                    }
                }
                Wake::Keeper(ended) => return Ok(self.on_keeper_ended(ended)),
                Wake::First(first) => self.on_first_scan(first)?,
                Wake::Command(ShardCommand::Start { held, deadline }) => self.start_shard(*held, deadline),
                Wake::Command(ShardCommand::Stop { key, token, why }) => self.stop_shard(&key, token, why),
                Wake::Ended(token, end) => self.on_shard_ended(token, end).await,
                Wake::Service(Ok(())) => {}
                Wake::Service(Err(problem)) => {
                    tracing::error!(worker = %self.ctx.settings.worker, problem, "a task of the worker failed, the worker ends");
                    return Ok(Exit::Failed { problem });
                }
                Wake::Gauges => self.on_gauges(),
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let deadline = match &self.drain {
            Drain::No => None,
            Drain::Settling { cut_at, .. } => Some(*cut_at),
            Drain::Releasing { end_at, .. } => Some(*end_at),
        };
        let draining = deadline.is_some();
        tokio::select! {
            // Biased: what ends things first, so that a stream of commands and endings never delays the end of the worker. None
            // of the sources below is ever ready for long: each event is handled at once.
            biased;
            () = self.shutdown.cancelled(), if !draining => Wake::Shutdown,
            () = self.ctx.clock.sleep_until_some(deadline) => Wake::Deadline,
            first = wait_for(&mut self.first_scan) => Wake::First(first),
            Some(command) = self.commands.recv() => Wake::Command(command),
            Some(ended) = self.pipelines.join_next() => match ended {
                Ok((token, end)) => Wake::Ended(token, end),
                Err(error) => Wake::Service(Err(panic_text(error))),
            },
            // After the commands: the keeper leaves none behind.
            Some(ended) = self.keeper_task.join_next() => Wake::Keeper(ended.map_err(panic_text)),
            Some(ended) = self.services.join_next() => Wake::Service(ended.map_err(panic_text)),
            () = self.ctx.clock.sleep_until(self.gauges_at) => Wake::Gauges,
        }
    }

    fn on_first_scan(&mut self, first: FirstScan) -> Result<(), StartError> {
        match first {
            FirstScan::Done => Ok(()),
            FirstScan::Failed(error) => Err(StartError::Leases(error)),
            FirstScan::Recreated { rows, stream } => {
                Err(StartError::StreamRecreated { stream: self.ctx.stream.name.to_string(), rows, created: stream })
            }
        }
    }

    fn on_gauges(&mut self) {
        let now = self.ctx.clock.now().instant;
        self.gauges_at = now.after(GAUGES);
        self.ctx.board.handle().refresh_gauges();
        for (token, shard) in &self.shards {
            let lag = u64::try_from(shard.cell.lag(now).as_millis()).ok();
            let progress = Progress { settled: None, lag, read: None, urgent: false };
            // For people to see in the row; a keeper that is busy can do without.
            let _busy = self.keeper.try_send(KeeperMessage::Progress { token: *token, progress });
        }
    }

    // === Shards ===

    fn start_shard(&mut self, held: HeldLease, deadline: DeliveryDeadline) {
        let (token, key) = (held.token, held.row.key.clone());
        let now = self.ctx.clock.now().instant;
        let cell = ShardCell::new(key.clone(), held.row.checkpoint.clone(), now);
        let cut = CancellationToken::new();
        let drain = cut.child_token();
        let ctx = Arc::new(ShardContext {
            identity: ShardIdentity { stream: self.ctx.stream.name.clone(), lease: key.clone(), shard: key.shard_id() },
            worker: Arc::clone(&self.ctx),
            tenure: Arc::new(Tenure::new(held, deadline, self.keeper.clone())),
            cell: Arc::clone(&cell),
            drain: drain.clone(),
            cut: cut.clone(),
        });
        let sink = self.sink.clone();
        self.pipelines.spawn(async move {
            let ended = AssertUnwindSafe(pipeline::run(ctx, sink)).catch_unwind().await;
            (token, ended.ok())
        });
        self.ctx.board.shard_started(token, Arc::clone(&cell));
        self.shards.insert(token, Shard { key, cell, drain, cut });
    }

    fn stop_shard(&mut self, key: &LeaseKey, token: LeaseToken, why: StopReason) {
        let Some(shard) = self.shards.get(&token) else { return };
        tracing::debug!(shard = %key, why = ?why, "shard is stopped");
        match why {
            StopReason::Lost(_) => shard.cut.cancel(),
            StopReason::Drain | StopReason::HandOver => {
                shard.cell.note(|facts| facts.phase = ShardPhase::Draining);
                shard.drain.cancel();
            }
            // Its tasks have ended, or are about to.
            StopReason::Ended => {}
        }
    }

    async fn on_shard_ended(&mut self, token: LeaseToken, end: Option<TenureEnd>) {
        if let Some(shard) = self.shards.remove(&token) {
            match end {
                Some(end) => tracing::debug!(shard = %shard.key, end = ?end, "shard stopped"),
                None => tracing::error!(shard = %shard.key, "the tasks of the shard panicked"),
            }
        }
        self.ctx.board.shard_stopped(token);
        // If the keeper is gone, the worker ends with it.
        let _keeper_gone = self.keeper.send(KeeperMessage::Stopped { token }).await;
    }

    // === The end ===

    fn on_shutdown(&mut self) {
        let grace = self.ctx.settings.grace_period;
        let now = self.ctx.clock.now().instant;
        let end_at = now.after(grace);
        self.ctx.board.drain_began();
        self.drain = Drain::Settling { cut_at: end_at.before(RELEASE_TIME.min(grace / 5)), end_at };
        tracing::info!(worker = %self.ctx.settings.worker, grace = ?grace, shards = self.shards.len(), "worker drains");
    }

    fn on_deadline(&mut self) -> Option<Exit> {
        match std::mem::replace(&mut self.drain, Drain::No) {
            Drain::No => None,
            Drain::Settling { cut_at: _, end_at } => {
                let undelivered = self.cut_all();
                self.drain = Drain::Releasing { end_at, undelivered };
                None
            }
            Drain::Releasing { end_at: _, undelivered } => {
                tracing::warn!(worker = %self.ctx.settings.worker, "the grace period is over, leases are left to expire");
                Some(exit(undelivered))
            }
        }
    }

    fn cut_all(&self) -> Vec<UndeliveredShard> {
        self.ctx.out_of_grace.store(true, Ordering::Relaxed);
        let now = self.ctx.clock.now();
        let cut = self.shards.values().map(|shard| {
            let status = shard.cell.snapshot(now);
            tracing::error!(
                shard = %shard.key, checkpoint = %status.checkpoint, records = status.in_flight,
                oldest = ?status.oldest_unsettled, problem = status.problem,
                "not delivered within the grace period; it is read again from the checkpoint"
            );
            shard.cut.cancel();
            UndeliveredShard { shard: shard.key.shard_id(), checkpoint: status.checkpoint, records: status.in_flight }
        });
        cut.collect()
    }

    fn on_keeper_ended(&mut self, ended: Result<(), String>) -> Exit {
        if let Err(problem) = ended {
            tracing::error!(worker = %self.ctx.settings.worker, problem, "the lease keeper failed, the worker ends");
            return Exit::Failed { problem };
        }
        tracing::info!(worker = %self.ctx.settings.worker, "worker ends, all leases are given back");
        match std::mem::replace(&mut self.drain, Drain::No) {
            Drain::No | Drain::Settling { .. } => Exit::Clean,
            Drain::Releasing { end_at: _, undelivered } => exit(undelivered),
        }
    }
}

fn exit(undelivered: Vec<UndeliveredShard>) -> Exit {
    if undelivered.is_empty() { Exit::Clean } else { Exit::Undelivered { shards: undelivered } }
}

/// What shards deliver into; for a call sink with its packer, which serves all of them.
fn shard_sink(
    ctx: &Arc<WorkerContext>,
    sink: SinkPort,
    set_aside: Option<Arc<dyn SetAside>>,
    services: &mut JoinSet<()>,
) -> ShardSink {
    let sink = match sink {
        SinkPort::Objects(sink) => return ShardSink::Objects(sink),
        SinkPort::Calls(sink) => sink,
    };
    let (packer, handle) = Packer::new(PackerParts {
        sink,
        settings: ctx.settings.calls.clone(),
        time_out: ctx.settings.time_outs.call,
        clock: ctx.clock.clone(),
        gate: ctx.gate.clone(),
        board: Arc::clone(&ctx.board),
        metrics: Arc::clone(&ctx.metrics),
        random: Random::seeded(ctx.settings.seed ^ 0x7061_636b_0000),
    });
    services.spawn(packer.run());
    ShardSink::Calls(CallRoute { packer: handle, set_aside })
}

fn coordinator_settings(settings: &WorkerSettings, stream: &StreamDescription) -> CoordinatorSettings {
    let leases = &settings.leases;
    CoordinatorSettings {
        worker: settings.worker.clone(),
        failover_time: leases.failover_time,
        max_leases: leases.max_leases,
        max_steals_per_cycle: leases.max_steals_per_cycle,
        streams: vec![StreamSettings {
            name: stream.name.clone(),
            id: None,
            created: stream.created,
            initial_position: leases.initial_position,
        }],
        mode: penstock_core::coordinator::api::LeaseMode::Peer,
        longest_linger: std::time::Duration::ZERO,
        seed: settings.seed,
    }
}

/// A lease must survive a write that hangs: it is sent again well before the lease could expire.
fn lease_time_outs(settings: &WorkerSettings) -> TimeOuts {
    let lease = settings.time_outs.lease.min(settings.leases.failover_time / 4);
    TimeOuts { lease, ..settings.time_outs.clone() }
}

/// The first look at the leases, once.
async fn wait_for(first: &mut Option<oneshot::Receiver<FirstScan>>) -> FirstScan {
    let Some(waiting) = first else { return std::future::pending().await };
    let scanned = waiting.await;
    *first = None;
    match scanned {
        Ok(scanned) => scanned,
        // The keeper is gone; its own end is what counts.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
