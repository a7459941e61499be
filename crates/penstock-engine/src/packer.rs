//! Fills and sends the calls of a call sink: one task per worker, shared by all shards.
//!
//! A shard hands in a load (a slice of a chunk) and learns once what became of all of it. Nobody waits for a shard here, and a
//! shard that is gone is noticed before the next call. After a failure calls go one at a time, with a pause that all share.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use penstock_core::aggregate::{Deaggregated, Fate};
use penstock_core::backoff::Backoff;
use penstock_core::checkpoint::Ticket;
use penstock_core::packing::{CallPacker, PackedCall, PackingSettings, Piece, RecordToPack, RunId};
use penstock_core::random::Random;
use penstock_core::time::Instant;
use tokio::sync::{mpsc, oneshot};

use crate::budget::Permit;
use crate::clock::Clock;
use crate::deadline::DeliveryDeadline;
use crate::gate::SinkGate;
use crate::metrics::Metrics;
use crate::metrics::catalogue::PARTIAL;
use crate::ports::{CallSink, DeliveryPermit, EntryOutcome, ErrorClass, SeamError, SetAsideReason};
use crate::settings::{CallSettings, Ordering as CallOrdering, Pack};
use crate::shard::context::{backoff, chain};
use crate::status::{Board, SinkStatus};

/// Loads that wait for the packer; whoever finds the mailbox full waits.
const MAILBOX: usize = 16;
/// A call that could not take at least this long before a lease's local deadline is not begun.
const SHORTEST_CALL: Duration = Duration::from_millis(250);
/// Until the deadlines of the leases in a call are looked at again.
const DEADLINE_NAP: Duration = Duration::from_millis(100);
/// Between attempts that only an operator can make succeed.
const OPERATOR_PAUSE: Duration = Duration::from_secs(30);

/// Some records of a chunk for the packer.
#[derive(Debug)]
pub(crate) struct Load {
    /// The run of the shard that they belong to, from [`PackerHandle::register`].
    pub(crate) run: RunId,
    /// The chunk.
    pub(crate) chunk: Arc<Deaggregated>,
    /// The user records; those that are not simply to be delivered are passed over.
    pub(crate) range: Range<usize>,
    /// Until when a call with them may go on.
    pub(crate) deadline: DeliveryDeadline,
    /// The memory of the records and of their copy in the entries.
    pub(crate) permit: Permit,
    /// What the shard knows the load by.
    pub(crate) ticket: Ticket,
    /// Where it goes what a call has delivered of the load, as soon as the call is answered. Holds no more than there are records
    /// in flight.
    pub(crate) progress: mpsc::UnboundedSender<LoadProgress>,
    /// Where the outcome goes. Closed when the shard is gone.
    pub(crate) reply: oneshot::Sender<LoadOutcome>,
}

/// What the sink has taken of a load by one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadProgress {
    /// The load.
    pub(crate) ticket: Ticket,
    /// The user records, by their index in the chunk.
    pub(crate) delivered: Vec<Range<u32>>,
    /// Their bytes, delimiters included.
    pub(crate) bytes: u64,
}

/// What became of a load, all of it.
#[derive(Debug, Default)]
pub(crate) struct LoadOutcome {
    /// The user records that the sink has.
    pub(crate) delivered: u64,
    /// Their bytes, delimiters included.
    pub(crate) delivered_bytes: u64,
    /// The user records that it will never take, by their index in the chunk.
    pub(crate) refused: Vec<(usize, SetAsideReason)>,
}

/// What shards tell the packer.
#[derive(Debug)]
pub(crate) enum PackerMessage {
    /// Records to deliver.
    Load(Load),
    /// Somebody waits for the outcome of everything: do not wait to fill calls.
    Flush,
}

/// The way to the packer. Clones lead to the same one.
#[derive(Debug, Clone)]
pub(crate) struct PackerHandle {
    sender: mpsc::Sender<PackerMessage>,
    runs: Arc<AtomicU64>,
}

impl PackerHandle {
    /// A number for one run of a shard: what an earlier run left in calls must not be taken for that of a later one.
    pub(crate) fn register(&self) -> RunId {
        RunId(self.runs.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits for room in the mailbox. Cancel-safe. `None` if the packer is gone.
    pub(crate) async fn reserve(&self) -> Option<mpsc::OwnedPermit<PackerMessage>> {
        self.sender.clone().reserve_owned().await.ok()
    }
}

/// The packer's task.
pub(crate) struct Packer {
    parts: PackerParts,
    mailbox: mpsc::Receiver<PackerMessage>,
    calls: FuturesUnordered<BoxFuture<'static, EndedCall>>,
    loads: BTreeMap<u64, OpenLoad>,
    next_load: u64,
    failures: u32,
    /// No call begins before.
    held_until: Instant,
    pauses: Backoff,
}

/// What a packer is made of.
pub(crate) struct PackerParts {
    pub(crate) sink: Arc<dyn CallSink>,
    pub(crate) settings: CallSettings,
    pub(crate) time_out: Duration,
    pub(crate) clock: Clock,
    pub(crate) gate: SinkGate,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) random: Random,
}

struct OpenLoad {
    run: RunId,
    /// What is delivered and not yet told.
    fresh: LoadProgress,
    progress: mpsc::UnboundedSender<LoadProgress>,
    deadline: DeliveryDeadline,
    unsettled: u64,
    outcome: LoadOutcome,
    reply: oneshot::Sender<LoadOutcome>,
    _permit: Permit,
}

struct EndedCall {
    call: PackedCall<u64>,
    outcome: Result<Vec<EntryOutcome>, SeamError>,
    took: Duration,
}

enum Wake {
    Ended(EndedCall),
    Timer,
    Message(PackerMessage),
    Gone,
}

impl Packer {
    pub(crate) fn new(parts: PackerParts) -> (Self, PackerHandle) {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let packer = Self {
            parts,
            mailbox,
            calls: FuturesUnordered::new(),
            loads: BTreeMap::new(),
            next_load: 0,
            failures: 0,
            held_until: Instant::default(),
            pauses: backoff(Duration::from_millis(300), Duration::from_secs(15)),
        };
        (packer, PackerHandle { sender, runs: Arc::default() })
    }

    /// Packs and sends until nobody hands in anything any more.
    pub(crate) async fn run(mut self) {
        let Some(facts) = self.parts.gate.opened().await else { return };
        let packable = facts.target.and_then(|target| target.packable);
        let mut packer = CallPacker::new(self.packing(packable));
        loop {
            self.begin_calls(&mut packer);
            match self.wake(&packer).await {
                Wake::Ended(ended) => self.on_ended(&mut packer, ended),
                Wake::Timer => {}
                Wake::Message(PackerMessage::Load(load)) => self.on_load(&mut packer, load),
                Wake::Message(PackerMessage::Flush) => packer.flush(),
                Wake::Gone => return,
            }
        }
    }

    fn packing(&self, packable: Option<bool>) -> PackingSettings {
        let limits = self.parts.sink.limits();
        let settings = &self.parts.settings;
        let pack = match settings.pack {
            Pack::Auto => packable == Some(true),
            Pack::True => true,
            Pack::False => false,
        };
        tracing::info!(pack, "records are packed into calls");
        PackingSettings {
            delimiter: settings.delimiter.clone(),
            pack_size: pack.then(|| settings.pack_size.min(limits.max_entry_bytes)),
            linger: settings.linger,
            ordered: settings.ordering == CallOrdering::PerShard,
            max_entries: limits.max_entries,
            max_call_bytes: limits.max_call_bytes,
            max_entry_bytes: limits.max_entry_bytes,
        }
    }

    async fn wake(&mut self, packer: &CallPacker<u64>) -> Wake {
        let timer = if self.calls.len() < self.most_calls() {
            packer.next_deadline().map(|due| due.max(self.held_until))
        } else {
            None
        };
        tokio::select! {
            // Biased: loads come as long as there is memory and would starve the outcomes that give memory back.
            biased;
            Some(ended) = self.calls.next(), if !self.calls.is_empty() => Wake::Ended(ended),
            () = self.parts.clock.sleep_until_some(timer) => Wake::Timer,
            message = self.mailbox.recv() => message.map_or(Wake::Gone, Wake::Message),
        }
    }

    /// After a failure one call at a time shows whether the sink has recovered.
    fn most_calls(&self) -> usize {
        if self.failures > 0 { 1 } else { self.parts.settings.max_calls_in_flight.get() }
    }

    // === Packing ===

    fn on_load(&mut self, packer: &mut CallPacker<u64>, load: Load) {
        let Load { run, chunk, range, deadline, permit, ticket, progress, reply } = load;
        let source = self.next_load;
        self.next_load += 1;
        let now = self.parts.clock.now().instant;
        let mut open = OpenLoad {
            run,
            fresh: LoadProgress { ticket, delivered: Vec::new(), bytes: 0 },
            progress,
            deadline,
            unsettled: 0,
            outcome: LoadOutcome::default(),
            reply,
            _permit: permit,
        };
        let deliver = chunk.runs(range).filter(|(_, fate)| *fate == Fate::Deliver).flat_map(|(indices, _)| indices);
        for index in deliver {
            let record = RecordToPack {
                run,
                source,
                index: u32::try_from(index).expect("a chunk has fewer than 2^32 user records"),
                data: chunk.records.get(index).data,
            };
            match packer.push(&record, now) {
                Ok(()) => open.unsettled += 1,
                Err(too_large) => {
                    let reason = SetAsideReason::TooLarge { bytes: too_large.bytes, limit: too_large.limit };
                    open.outcome.refused.push((index, reason));
                }
            }
        }
        self.loads.insert(source, open);
        self.close_if_settled(source);
    }

    /// Tells a shard what a call has delivered of its load.
    fn tell_progress(&mut self, source: u64) {
        let Some(load) = self.loads.get_mut(&source).filter(|load| !load.fresh.delivered.is_empty()) else { return };
        let next = LoadProgress { ticket: load.fresh.ticket, delivered: Vec::new(), bytes: 0 };
        // A shard that is gone reads its records again.
        let _shard_gone = load.progress.send(std::mem::replace(&mut load.fresh, next));
    }

    fn close_if_settled(&mut self, source: u64) {
        if self.loads.get(&source).is_some_and(|load| load.unsettled == 0)
            && let Some(load) = self.loads.remove(&source)
        {
            // A shard that is gone reads its records again.
            let _shard_gone = load.reply.send(load.outcome);
        }
    }

    // === Sending ===

    fn begin_calls(&mut self, packer: &mut CallPacker<u64>) {
        loop {
            let now = self.parts.clock.now().instant;
            if self.calls.len() >= self.most_calls() || now < self.held_until {
                return;
            }
            let Some(call) = packer.take_call(now) else { return };
            let gone = self.runs_gone(&call);
            if !gone.is_empty() {
                self.forget(packer, call, &gone);
                continue;
            }
            let deadlines = self.loads_of(&call).map(|load| &load.deadline);
            let Some(permit) = DeliveryDeadline::permit_for_all(deadlines, now, SHORTEST_CALL) else {
                // Either a lease is about to be proved again or about to be lost; the next moment tells.
                self.put_back(packer, call);
                self.held_until = now.after(DEADLINE_NAP);
                return;
            };
            let time_out = permit.until().since(now).min(self.parts.time_out);
            self.calls.push(send(Arc::clone(&self.parts.sink), permit, call, time_out, self.parts.clock.clone()));
        }
    }

    fn loads_of<'a>(&'a self, call: &'a PackedCall<u64>) -> impl Iterator<Item = &'a OpenLoad> {
        let pieces = call.entries.iter().flat_map(|entry| &entry.pieces);
        pieces.filter_map(|piece| self.loads.get(&piece.source))
    }

    fn runs_gone(&self, call: &PackedCall<u64>) -> BTreeSet<RunId> {
        self.loads_of(call).filter(|load| load.reply.is_closed()).map(|load| load.run).collect()
    }

    /// Takes the records of shards that are gone out of everything that is not sent yet.
    fn forget(&mut self, packer: &mut CallPacker<u64>, call: PackedCall<u64>, gone: &BTreeSet<RunId>) {
        for run in gone {
            packer.abandon(*run);
            self.loads.retain(|_, load| load.run != *run);
        }
        self.put_back(packer, call);
    }

    fn put_back(&mut self, packer: &mut CallPacker<u64>, call: PackedCall<u64>) {
        let ended = packer.end_call(call, |_| true);
        self.drop_pieces(&ended.abandoned);
    }

    // === Outcomes ===

    fn on_ended(&mut self, packer: &mut CallPacker<u64>, ended: EndedCall) {
        let EndedCall { call, outcome, took } = ended;
        let outcome = outcome.and_then(|outcomes| {
            if outcomes.len() == call.entries.len() {
                return Ok(outcomes);
            }
            let message = format!("{} outcomes for {} entries", outcomes.len(), call.entries.len());
            Err(SeamError::new("PutRecordBatch", "the sink", ErrorClass::Fatal, message))
        });
        match outcome {
            Ok(outcomes) => {
                self.parts.metrics.sink_call.record(took.as_secs_f64());
                self.on_answered(packer, call, &outcomes);
            }
            Err(error) => {
                self.on_call_failed(&error);
                self.put_back(packer, call);
            }
        }
    }

    fn on_answered(&mut self, packer: &mut CallPacker<u64>, call: PackedCall<u64>, outcomes: &[EntryOutcome]) {
        self.count_bill(&call, outcomes);
        let failed = |index: usize| matches!(outcomes[index], EntryOutcome::Failed { .. });
        let ended = packer.end_call(call, failed);
        self.drop_pieces(&ended.abandoned);
        for (index, entry) in &ended.finished {
            let refusal = match &outcomes[*index] {
                EntryOutcome::Rejected { code, message } => {
                    Some(SetAsideReason::Rejected { code: code.clone(), message: message.clone() })
                }
                EntryOutcome::Delivered | EntryOutcome::Failed { .. } => None,
            };
            for piece in &entry.pieces {
                self.settle(piece, refusal.as_ref());
            }
        }
        let sources: BTreeSet<u64> =
            ended.finished.iter().flat_map(|(_, entry)| entry.pieces.iter().map(|piece| piece.source)).collect();
        for source in sources {
            self.tell_progress(source);
            self.close_if_settled(source);
        }
        let failed: Vec<&EntryOutcome> =
            outcomes.iter().filter(|outcome| matches!(outcome, EntryOutcome::Failed { .. })).collect();
        match failed.first() {
            Some(EntryOutcome::Failed { class, code, message }) => {
                if *class == ErrorClass::Throttled {
                    self.parts.metrics.throttled("PutRecordBatch");
                }
                self.parts.metrics.call_failed("PutRecordBatch", PARTIAL);
                let pause = self.hold_back();
                tracing::debug!(code, message, entries = failed.len(), again = ?pause, "some entries were not taken");
            }
            Some(_) | None => self.on_success(),
        }
    }

    fn count_bill(&self, call: &PackedCall<u64>, outcomes: &[EntryOutcome]) {
        let Some(step) = self.parts.sink.limits().billed_step else { return };
        let taken = call.entries.iter().zip(outcomes).filter(|(_, outcome)| **outcome == EntryOutcome::Delivered);
        self.parts.metrics.billed(step, taken.map(|(entry, _)| entry.body.len() as u64));
    }

    fn settle(&mut self, piece: &Piece<u64>, refusal: Option<&SetAsideReason>) {
        let Some(load) = self.loads.get_mut(&piece.source) else { return };
        let records = piece.records.len() as u64;
        load.unsettled = load.unsettled.saturating_sub(records);
        match refusal {
            None => {
                load.outcome.delivered += records;
                load.outcome.delivered_bytes += piece.bytes as u64;
                load.fresh.bytes += piece.bytes as u64;
                match load.fresh.delivered.last_mut() {
                    Some(last) if last.end == piece.records.start => last.end = piece.records.end,
                    Some(_) | None => load.fresh.delivered.push(piece.records.clone()),
                }
            }
            Some(reason) => {
                load.outcome.refused.extend(piece.records.clone().map(|index| (index as usize, reason.clone())));
            }
        }
    }

    fn drop_pieces(&mut self, pieces: &[Piece<u64>]) {
        for piece in pieces {
            self.loads.remove(&piece.source);
        }
    }

    fn on_success(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            self.parts.board.sink_answers_again();
        }
    }

    fn on_call_failed(&mut self, error: &SeamError) {
        self.parts.board.failed(error, None);
        let class = error.class.as_str();
        match error.class {
            ErrorClass::Throttled => {
                let pause = self.hold_back();
                tracing::debug!(class, error = %chain(error), again = ?pause, "the sink throttles");
            }
            ErrorClass::Transient | ErrorClass::Expired | ErrorClass::Fatal => {
                let pause = self.hold_back();
                tracing::warn!(class, error = %chain(error), again = ?pause, "a delivery call failed, its records may arrive twice");
            }
            // Not the records but the sink is wrong: they wait for an operator.
            ErrorClass::NotFound | ErrorClass::Denied | ErrorClass::Rejected => {
                self.hold_back();
                self.held_until = self.parts.clock.now().instant.after(OPERATOR_PAUSE);
                self.parts.board.sink_is(SinkStatus::Down(error.to_string()));
                tracing::error!(class, error = %chain(error), again = ?OPERATOR_PAUSE, "the sink takes no calls until this is mended");
            }
        }
    }

    fn hold_back(&mut self) -> Duration {
        // Half of it for certain: a throttled sink needs a pause, and jitter could give none.
        let ceiling = self.pauses.ceiling(self.failures);
        let pause = ceiling / 2 + self.pauses.delay(self.failures, &mut self.parts.random) / 2;
        self.failures = self.failures.saturating_add(1);
        self.held_until = self.parts.clock.now().instant.after(pause);
        pause
    }
}

fn send(
    sink: Arc<dyn CallSink>,
    permit: DeliveryPermit,
    call: PackedCall<u64>,
    time_out: Duration,
    clock: Clock,
) -> BoxFuture<'static, EndedCall> {
    Box::pin(async move {
        let began = clock.now().instant;
        let bodies: Vec<Bytes> = call.entries.iter().map(|entry| entry.body.clone()).collect();
        let outcome = match tokio::time::timeout(time_out, sink.call(permit, &bodies, time_out)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SeamError::timed_out("PutRecordBatch", "the sink", time_out)),
        };
        EndedCall { call, outcome, took: clock.now().instant.since(began) }
    })
}

#[cfg(test)]
mod tests;
