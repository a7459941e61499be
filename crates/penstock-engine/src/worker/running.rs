//! The loop of a running worker: it starts and stops shards as the keeper says, and learns how every task ended.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt;
use penstock_core::coordinator::Coordinator;
use penstock_core::coordinator::api::{HeldLease, InitialPosition, LeaseMode, Progress, StopReason};
use penstock_core::ids::{LeaseKey, LeaseToken};
use penstock_core::random::Random;
use penstock_core::time::Instant;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::build::{coordinator_settings, lease_time_outs, shard_sink};
use super::ending::Drain;
use super::{Exit, Ports, Worker};
use crate::deadline::DeliveryDeadline;
use crate::gate::SinkProbe;
use crate::kcl_watch::KclWatch;
use crate::lease_keeper::{FirstScan, KeeperParts, LeaseCalls, LeaseKeeper, MAILBOX, SHARD_COMMANDS, ShardCommand};
use crate::ledger::ToldLedger;
use crate::ports::ShardIdentity;
use crate::settings::WorkerSettings;
use crate::shard::context::{ShardContext, Stream, WorkerContext};
use crate::shard::pipeline::{self, ShardSink, TenureEnd, panic_text};
use crate::shard::tenure::{KeeperMessage, Tenure};
use crate::start::StartError;
use crate::status::{ShardCell, ShardPhase};

/// Between two words to the keeper of what a shard has read, at most; otherwise as often as its lease is renewed.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// Shards that the keeper is told of at once; with more of them the words are spread over the interval.
const TOLD_AT_ONCE: usize = 64;

pub(super) struct Running {
    pub(super) ctx: Arc<WorkerContext>,
    sink: ShardSink,
    keeper: mpsc::Sender<KeeperMessage>,
    commands: mpsc::Receiver<ShardCommand>,
    first_scan: Option<oneshot::Receiver<FirstScan>>,
    /// Ends this worker; also cancelled when the world wants it to end.
    pub(super) shutdown: CancellationToken,
    /// Why the worker ends by its own doing.
    pub(super) refused: Option<String>,
    /// The keeper alone: the worker ends when it does.
    keeper_task: JoinSet<()>,
    /// What serves all shards: the probe of the sink, the packer of calls, what looks at the table and the ledger.
    services: JoinSet<Service>,
    pipelines: JoinSet<(LeaseToken, Option<TenureEnd>)>,
    pub(super) shards: BTreeMap<LeaseToken, Shard>,
    pub(super) drain: Drain,
    tell_at: Instant,
    /// The shard that the keeper was told of last.
    told: Option<LeaseToken>,
}

pub(super) struct Shard {
    pub(super) key: LeaseKey,
    pub(super) cell: Arc<ShardCell>,
    drain: CancellationToken,
    close_early: CancellationToken,
    pub(super) cut: CancellationToken,
}

/// How a task that serves all shards ended.
pub(super) enum Service {
    /// Its work is done.
    Done,
    /// It found that the worker may not go on.
    Refused(String),
}

enum Wake {
    Shutdown,
    Deadline,
    Keeper(Result<(), String>),
    First(FirstScan),
    Command(ShardCommand),
    Ended(LeaseToken, Option<TenureEnd>),
    Service(Result<Service, String>),
    Tell,
}

impl Running {
    pub(super) fn new(worker: Worker, streams: Vec<Arc<Stream>>, shutdown: &CancellationToken) -> Self {
        let Worker { settings, ports, clock, metrics, budget, board } = worker;
        let Ports { sources, leases, gaps, sink, set_aside } = ports;
        let seeded = |purpose: u64| Random::seeded(settings.seed ^ purpose);
        let (probe, gate) = SinkProbe::new(
            sink.clone(),
            clock.clone(),
            settings.time_outs.probe,
            Arc::clone(&board),
            seeded(0x7072_6f62_6500),
        );
        let (ledger, ledger_watch) =
            ToldLedger::new(gaps, Arc::clone(&board), settings.time_outs.scan, seeded(0x6761_7073_0000));
        let kcl_watch = (settings.leases.mode == LeaseMode::Peer).then(|| KclWatch {
            table: Arc::clone(&leases),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            time_out: settings.time_outs.lease,
            random: seeded(0x6b63_6c00_0000),
        });
        let ctx = Arc::new(WorkerContext {
            fetches: Semaphore::new(settings.source.max_fetches_in_flight.get()),
            settings,
            clock,
            streams,
            ledger: Arc::new(ledger),
            budget,
            metrics,
            board,
            gate,
            replays: Semaphore::new(1),
            out_of_grace: AtomicBool::new(false),
        });
        let mut services = JoinSet::new();
        services.spawn(probe.run().map(|()| Service::Done));
        services.spawn(ledger_watch.run().map(|()| Service::Done));
        if let Some(watch) = kcl_watch {
            services.spawn(watch.run().map(Service::Refused));
        }
        let sink = shard_sink(&ctx, sink, set_aside, &mut services);
        let starts: Vec<InitialPosition> = sources.iter().map(|source| source.initial_position).collect();
        let shutdown = shutdown.child_token();
        let (keeper, mailbox) = mpsc::channel(MAILBOX);
        let (to_worker, commands) = mpsc::channel(SHARD_COMMANDS);
        let (first_scan, first_scanned) = oneshot::channel();
        let lease_keeper = LeaseKeeper::new(KeeperParts {
            coordinator: Coordinator::new(coordinator_settings(&ctx.settings, &ctx.streams, &starts)),
            clock: ctx.clock.clone(),
            board: Arc::clone(&ctx.board),
            calls: LeaseCalls::new(&ctx, leases, lease_time_outs(&ctx.settings)),
            mailbox,
            worker: to_worker,
            first_scan,
            shutdown: shutdown.clone(),
        });
        let mut keeper_task = JoinSet::new();
        keeper_task.spawn(lease_keeper.run());
        Self {
            tell_at: ctx.clock.now().instant.after(telling_interval(&ctx.settings)),
            told: None,
            ctx,
            sink,
            keeper,
            commands,
            first_scan: Some(first_scanned),
            shutdown,
            refused: None,
            keeper_task,
            services,
            pipelines: JoinSet::new(),
            shards: BTreeMap::new(),
            drain: Drain::No,
        }
    }

    pub(super) async fn run(mut self) -> Result<Exit, StartError> {
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
                Wake::Command(ShardCommand::Refuse { problem }) | Wake::Service(Ok(Service::Refused(problem))) => {
                    self.refuse(problem);
                }
                Wake::Service(Ok(Service::Done)) => {}
                Wake::Service(Err(problem)) => {
                    tracing::error!(worker = %self.ctx.settings.worker, problem, "a task of the worker failed, the worker ends");
                    return Ok(Exit::Failed { problem });
                }
                Wake::Tell => self.tell_progress(),
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let deadline = self.drain.deadline();
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
            () = self.ctx.clock.sleep_until(self.tell_at) => Wake::Tell,
        }
    }

    fn on_first_scan(&mut self, first: FirstScan) -> Result<(), StartError> {
        match first {
            FirstScan::Done => Ok(()),
            FirstScan::Failed(error) => Err(StartError::Leases(error)),
            FirstScan::Refused(problem) => Err(StartError::Refused(problem)),
            FirstScan::Recreated { stream, rows, created } => {
                Err(StartError::StreamRecreated { stream, rows, created })
            }
        }
    }

    /// Tells the keeper how far some shards are behind and what was read of them, each about once in an interval.
    fn tell_progress(&mut self) {
        let now = self.ctx.clock.now().instant;
        let parts = self.shards.len().div_ceil(TOLD_AT_ONCE).max(1);
        let pause = telling_interval(&self.ctx.settings) / u32::try_from(parts).unwrap_or(u32::MAX);
        self.tell_at = now.after(pause);
        self.ctx.board.handle().refresh_gauges();
        let first = self.told.map_or(Bound::Unbounded, Bound::Excluded);
        let turns = self.shards.range((first, Bound::Unbounded)).chain(&self.shards);
        for (token, shard) in turns.take(self.shards.len().div_ceil(parts)) {
            let lag = u64::try_from(shard.cell.lag(now).as_millis()).ok();
            let read = shard.cell.take_untold();
            let progress = Progress { settled: None, lag, read: Some(read), urgent: false };
            if self.keeper.try_send(KeeperMessage::Progress { token: *token, progress }).is_err() {
                // The keeper is busy: from here on the next time.
                shard.cell.not_told(read);
                break;
            }
            self.told = Some(*token);
        }
    }

    // === Shards ===

    fn start_shard(&mut self, held: HeldLease, deadline: DeliveryDeadline) {
        let (token, key) = (held.token, held.row.key.clone());
        let now = self.ctx.clock.now().instant;
        let stream = Arc::clone(&self.ctx.streams[held.stream.0]);
        let name = stream.description.name.clone();
        let checkpoint = held.row.checkpoint.clone();
        let cell = ShardCell::new(key.clone(), name.clone(), checkpoint, held.silent_since, now);
        let cut = CancellationToken::new();
        let (drain, close_early) = (cut.child_token(), cut.child_token());
        let ctx = Arc::new(ShardContext {
            identity: ShardIdentity { stream: name, lease: key.clone(), shard: key.shard_id() },
            worker: Arc::clone(&self.ctx),
            stream,
            tenure: Arc::new(Tenure::new(held, deadline, self.keeper.clone())),
            cell: Arc::clone(&cell),
            drain: drain.clone(),
            close_early: close_early.clone(),
            cut: cut.clone(),
        });
        let sink = self.sink.clone();
        self.pipelines.spawn(async move {
            let ended = AssertUnwindSafe(pipeline::run(ctx, sink)).catch_unwind().await;
            (token, ended.ok())
        });
        self.ctx.board.shard_started(token, Arc::clone(&cell));
        self.shards.insert(token, Shard { key, cell, drain, close_early, cut });
    }

    fn stop_shard(&mut self, key: &LeaseKey, token: LeaseToken, why: StopReason) {
        let Some(shard) = self.shards.get(&token) else { return };
        tracing::debug!(shard = %key, why = ?why, "shard is stopped");
        match why {
            StopReason::Lost(_) => shard.cut.cancel(),
            StopReason::Drain => shard.drain(ShardPhase::Draining),
            StopReason::HandOver => shard.drain(ShardPhase::HandingOver),
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
}

impl Shard {
    /// Puts what is open and reads on, for what follows to be quick.
    pub(super) fn close_early(&self) {
        self.close_early.cancel();
    }

    /// Stops fetching, settles what was read.
    fn drain(&self, phase: ShardPhase) {
        self.cell.note(|facts| facts.phase = phase);
        self.drain.cancel();
    }
}

fn telling_interval(settings: &WorkerSettings) -> Duration {
    (settings.leases.failover_time / 3).clamp(Duration::from_millis(100), LONGEST_SILENCE)
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
