//! The shell of the lease coordinator: one task that carries events in and commands out. It has no `if` about leases.
//!
//! It waits for nothing but its own events: calls run beside each other within the task, what the worker has to do is queued, so a
//! slow sink or a full channel never keeps a lease from being renewed.

mod calls;
mod lanes;
mod reports;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use penstock_core::coordinator::Coordinator;
use penstock_core::coordinator::api::{Answer, Command, Event, HeldLease, StopReason};
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::ids::StreamName;
use penstock_core::ids::{LeaseKey, LeaseToken};
use penstock_core::time::{Instant, UnixMillis};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::calls::{Call, Calls, Finished};
use self::lanes::Lanes;
use self::reports::Consequence;
use crate::clock::Clock;
use crate::deadline::DeliveryDeadline;
use crate::metrics::count_as_f64;
use crate::ports::SeamError;
use crate::shard::tenure::KeeperMessage;
use crate::status::Board;
use crate::told::Told;

/// Messages that wait for the keeper: each shard has one request and one progress under way at most, and whoever finds the mailbox
/// full waits.
pub(crate) const MAILBOX: usize = 256;
/// Commands that wait for the worker beside those in the keeper's own queue.
pub(crate) const SHARD_COMMANDS: usize = 16;
/// The keeper looks at its clock at least this often, so that a probe can tell that it lives, and a suspend is noticed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What the worker has to do about a shard.
#[derive(Debug)]
pub(crate) enum ShardCommand {
    /// Start its pipeline.
    Start {
        /// The lease.
        held: Box<HeldLease>,
        /// Until when deliveries may begin.
        deadline: DeliveryDeadline,
    },
    /// Stop it.
    Stop {
        /// The lease.
        key: LeaseKey,
        /// The tenure.
        token: LeaseToken,
        /// Why.
        why: StopReason,
    },
    /// End the worker in order: what was found at the leases does not allow it to be there.
    Refuse {
        /// What was found.
        problem: String,
    },
}

/// How the first look at the leases ended.
#[derive(Debug)]
pub(crate) enum FirstScan {
    /// The table was scanned.
    Done,
    /// It could not be.
    Failed(SeamError),
    /// What it showed does not allow the worker to be there.
    Refused(String),
    /// The rows belong to a stream that was created at another time, and there is no other stream.
    Recreated {
        /// The stream.
        stream: StreamName,
        /// The creation time in the rows.
        rows: UnixMillis,
        /// The creation time of the stream as it is.
        created: UnixMillis,
    },
}

/// What the keeper keeps for a tenure.
struct Seat {
    deadline: DeliveryDeadline,
    reply: Option<oneshot::Sender<Answer>>,
}

/// The lease keeper's task.
pub(crate) struct LeaseKeeper {
    coordinator: Coordinator,
    clock: Clock,
    board: Arc<Board>,
    calls: Lanes,
    mailbox: mpsc::Receiver<KeeperMessage>,
    worker: mpsc::Sender<ShardCommand>,
    /// At most a start and two stops for each lease: the worker takes them faster than leases change hands.
    outbox: VecDeque<ShardCommand>,
    seats: BTreeMap<LeaseToken, Seat>,
    first_scan: Option<oneshot::Sender<FirstScan>>,
    shutdown: CancellationToken,
    draining: bool,
    drained: bool,
    shown: Instant,
    /// Whether something happened to a lease since the leases were shown.
    changed: bool,
    /// The gaps that the coordinator has asked to be recorded, until they are.
    gaps: BTreeMap<GapId, GapEntry>,
    /// The failed calls that were logged.
    told: Told,
}

/// What a keeper is made of.
pub(crate) struct KeeperParts {
    pub(crate) coordinator: Coordinator,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<Board>,
    pub(crate) calls: Calls,
    pub(crate) mailbox: mpsc::Receiver<KeeperMessage>,
    pub(crate) worker: mpsc::Sender<ShardCommand>,
    pub(crate) first_scan: oneshot::Sender<FirstScan>,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) use self::calls::Calls as LeaseCalls;

enum Wake {
    Drain,
    Timer,
    Finished(Finished),
    Room,
    Message(KeeperMessage),
    WorkerGone,
}

impl LeaseKeeper {
    pub(crate) fn new(parts: KeeperParts) -> Self {
        let KeeperParts { coordinator, clock, board, calls, mailbox, worker, first_scan, shutdown } = parts;
        Self {
            coordinator,
            clock,
            board,
            calls: Lanes::new(calls),
            mailbox,
            worker,
            outbox: VecDeque::new(),
            seats: BTreeMap::new(),
            first_scan: Some(first_scan),
            shutdown,
            draining: false,
            drained: false,
            shown: Instant::default(),
            changed: false,
            gaps: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// Runs until everything is released after a shutdown, or until the worker is gone.
    pub(crate) async fn run(mut self) {
        self.handle(Event::Tick);
        while !(self.drained && self.outbox.is_empty()) {
            match self.wake().await {
                Wake::Drain => {
                    self.draining = true;
                    self.handle(Event::DrainRequested);
                }
                Wake::Timer => self.on_timer(),
                Wake::Finished(finished) => self.on_finished(finished),
                Wake::Room => self.send_one(),
                Wake::Message(message) => self.on_message(message),
                Wake::WorkerGone => return,
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let heartbeat = self.clock.now().instant.after(HEARTBEAT);
        let deadline = self.coordinator.next_deadline().map_or(heartbeat, |deadline| deadline.min(heartbeat));
        tokio::select! {
            // Biased: the mailbox can be full at all times and would starve the timer, on which the leases hang, and the
            // outcomes of writes, without which nothing moves. So it comes last.
            biased;
            () = self.shutdown.cancelled(), if !self.draining => Wake::Drain,
            () = self.clock.sleep_until(deadline) => Wake::Timer,
            Some(finished) = self.calls.next(), if !self.calls.is_empty() => Wake::Finished(finished),
            room = self.worker.reserve(), if !self.outbox.is_empty() => match room {
                Ok(_) => Wake::Room,
                Err(_) => Wake::WorkerGone,
            },
            message = self.mailbox.recv() => message.map_or(Wake::WorkerGone, Wake::Message),
        }
    }

    fn on_timer(&mut self) {
        let now = self.clock.now().instant;
        self.board.keeper_moved(now);
        if self.coordinator.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.handle(Event::Tick);
        }
        if self.changed && now.since(self.shown) >= HEARTBEAT {
            self.shown = now;
            self.changed = false;
            self.board.leases_are(self.coordinator.statuses());
        }
    }

    fn on_finished(&mut self, finished: Finished) {
        let Finished { event, error } = finished;
        let scanned = matches!(event, Event::LeasesScanned { .. });
        if let Event::ShardsListed { stream, .. } = &event {
            self.board.stream_looked_at(*stream, error.as_ref());
        }
        if let Event::GapRecorded { id, stored: true } = &event
            && let Some(entry) = self.gaps.remove(id)
        {
            reports::gap_stored(&self.board, &entry);
        }
        self.handle(event);
        if let Some(error) = error {
            reports::call_failed(&self.board, &mut self.told, &error, scanned);
            if scanned && let Some(first) = self.first_scan.take_if(|_| calls::ends_the_start(&error)) {
                let _nobody_waits = first.send(FirstScan::Failed(error));
            }
        }
    }

    fn on_message(&mut self, message: KeeperMessage) {
        match message {
            KeeperMessage::Request(request) => {
                let (token, request, reply) = request.into_parts();
                // A tenure that is over answers by dropping `reply`.
                if let Some(seat) = self.seats.get_mut(&token) {
                    seat.reply = Some(reply);
                    self.handle(Event::ShardRequested { token, request });
                }
            }
            KeeperMessage::Progress { token, progress } => self.handle(Event::ShardProgressed { token, progress }),
            KeeperMessage::Stopped { token } => {
                self.seats.remove(&token);
                self.handle(Event::ShardStopped { token });
            }
        }
    }

    fn send_one(&mut self) {
        if let (Ok(room), Some(command)) = (self.worker.try_reserve(), self.outbox.pop_front()) {
            room.send(command);
        }
    }

    /// Tells the coordinator, and starts whatever it asks for.
    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        self.board.keeper_moved(now.instant);
        self.changed |= !matches!(event, Event::Tick | Event::ShardProgressed { .. });
        self.coordinator.handle(event, now);
        while let Some(command) = self.coordinator.poll() {
            self.carry_out(command);
        }
        self.board.metrics.leases_held.set(count_as_f64(self.coordinator.held() as u64));
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::ScanLeases => self.calls.push(Call::Scan),
            Command::ListShards(stream) => self.calls.push(Call::ListShards(stream)),
            Command::CreateLease(row) => self.calls.push(Call::Create(row)),
            Command::WriteLease { id, write } => self.calls.push(Call::Write(id, write)),
            Command::WantLease(want) => self.calls.push(Call::Want(want)),
            Command::RecordGap(entry) => {
                self.gaps.insert(entry.id(), entry.clone());
                self.calls.push(Call::RecordGap(entry));
            }
            Command::DeleteLease { key, counter } => self.calls.push(Call::Delete(key, counter)),
            Command::StartShard(held) => {
                let deadline = DeliveryDeadline::of(&held);
                self.seats.insert(held.token, Seat { deadline: deadline.clone(), reply: None });
                self.outbox.push_back(ShardCommand::Start { held: Box::new(held), deadline });
            }
            Command::StopShard { key, token, why } => self.stop(key, token, why),
            Command::Extend { token, until } => {
                if let Some(seat) = self.seats.get(&token) {
                    seat.deadline.extend(until);
                }
            }
            Command::Answer { token, answer } => {
                if let Some(reply) = self.seats.get_mut(&token).and_then(|seat| seat.reply.take()) {
                    // A shard that failed meanwhile keeps the receiver; one that is gone needs no answer.
                    let _gone = reply.send(answer);
                }
            }
            Command::Report(report) => match reports::tell(&self.board, report) {
                Some(Consequence::First(first)) => self.first(first),
                Some(Consequence::Refuse(problem)) => match self.first_scan.take() {
                    Some(waiting) => drop(waiting.send(FirstScan::Refused(problem))),
                    None => self.outbox.push_back(ShardCommand::Refuse { problem }),
                },
                None => {}
            },
            Command::Drained => self.drained = true,
        }
    }

    /// Whoever waits for the first look at the leases has it.
    fn first(&mut self, first: FirstScan) {
        if let Some(waiting) = self.first_scan.take() {
            let _nobody_waits = waiting.send(first);
        }
    }

    fn stop(&mut self, key: LeaseKey, token: LeaseToken, why: StopReason) {
        // At once, before the worker hears of it: what is on its way to the sink looks at the deadline.
        if let (StopReason::Lost(_), Some(seat)) = (why, self.seats.get_mut(&token)) {
            seat.deadline.end();
            seat.reply = None;
        }
        self.outbox.push_back(ShardCommand::Stop { key, token, why });
    }
}
