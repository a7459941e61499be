//! Carries out an intent that was found in the row: the first thing that is done for a lease, whoever left it.
//!
//! The records are read again, encoded with the recorded settings and held against the recorded digests before anything is put.
//! What cannot be rebuilt is left to somebody else: this worker puts nothing and gives the lease up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use penstock_core::aggregate::{Deaggregation, DropReason, Fate};
use penstock_core::chunk::Chunk;
use penstock_core::coordinator::api::{Commit, ShardRequest};
use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::intent::{Content, Destination, Intent, IntentObject, codec};
use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::time::UnixMillis;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::intake::Intake;
use super::put::{NotPut, Patience, Putter};
use super::{ShardError, Stopped};
use crate::budget::Permit;
use crate::metrics::Account;
use crate::metrics::catalogue::REPLAY;
use crate::ports::{ErrorClass, ObjectSink, ObjectWriter, PreparedObject, SeamError, SetAsideReason, WriterError};
use crate::shard::context::{ShardContext, chain};
use crate::shard::pulse::{Part, Wait};
use crate::shard::reader::{CHUNKS_IN_CHANNEL, Reader, ReaderItem};
use crate::shard::resume::ReadFrom;

/// How long a lease is left alone whose intent this worker cannot carry out.
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(60);
/// Without a record for so long, somebody else may try: other replays wait behind this one. What only an operator can mend is not
/// waited for at all.
const READ_STALL: Duration = Duration::from_secs(120);
/// How often records are looked for that are not there, and how long after each other: from their absence follows that they are
/// given up, and one answer alone may be an old one.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Attempts to put an object of somebody else's intent, over about a minute; then somebody else may try.
const ATTEMPTS: u32 = 8;

/// Settles the open intent of `row`, `encoded`.
pub(crate) async fn settle(
    ctx: &Arc<ShardContext>,
    sink: Option<&Arc<dyn ObjectSink>>,
    row: &LeaseRow,
    encoded: &Bytes,
) -> Result<(), Stopped> {
    let intent = match codec::decode(encoded) {
        Ok(intent) if intent.lease == row.key => intent,
        Ok(intent) => return Err(Stopped::GiveUp(format!("the intent in the row is of the lease {}", intent.lease))),
        Err(error) => return Err(Stopped::GiveUp(format!("the intent in the row cannot be read: {error}"))),
    };
    if row.checkpoint >= Position::After(intent.last.clone()) {
        tracing::info!(stream = %ctx.identity.stream, shard = %ctx.identity.shard, last = %intent.last, "the checkpoint has passed the intent, which is dropped");
        ctx.request(Part::Pipeline, ShardRequest::DropIntent { intent: encoded.clone() }).await?;
        return Ok(());
    }
    let Some(sink) = sink else {
        return Err(Stopped::GiveUp("an intent of objects is open, and the sink of this worker takes none".to_owned()));
    };
    loop {
        ctx.pulse().waits(Part::Pipeline, Wait::Replays);
        let alone = ctx.worker.replays.acquire().await.expect("the semaphore of replays is never closed");
        ctx.pulse().waits(Part::Pipeline, Wait::Working);
        tracing::info!(
            stream = %ctx.identity.stream, shard = %ctx.identity.shard, first = %intent.first, last = %intent.last, objects = intent.objects.len(),
            to = %intent.destination, "carrying out the intent that was found"
        );
        let mut replay = Replay::new(ctx, sink, intent.clone())?;
        let settled = replay.run(row, encoded).await;
        if matches!(settled, Err(Stopped::Lost)) {
            replay.account.abandon_as(ctx.worker.cut_reason());
        }
        let Replayed::Unrecorded(gap) = settled? else { return Ok(()) };
        // It is waited for with empty hands, since others need the memory and their turn. Then all is looked at again: more may
        // be gone.
        drop((replay, alone));
        ctx.record_gap(Part::Pipeline, &gap).await;
    }
}

/// How far a replay came.
enum Replayed {
    /// The intent is settled.
    Settled,
    /// All but its commit is done: this stands before it, and the ledger does not take it now.
    Unrecorded(GapEntry),
}

struct Replay {
    ctx: Arc<ShardContext>,
    sink: Arc<dyn ObjectSink>,
    intent: Intent,
    writer: Box<dyn ObjectWriter>,
    account: Account,
    permit: Option<Permit>,
    tally: Tally,
}

/// What was read of the intent.
#[derive(Default)]
struct Tally {
    records: u64,
    bytes: u64,
    set_aside: u64,
    dropped: BTreeMap<DropReason, u64>,
    arrival: Option<UnixMillis>,
    /// The first record that was read of it.
    first: Option<SequenceNumber>,
    /// Its first record is not there any more.
    trimmed: bool,
}

/// Whether more of the intent may come.
#[derive(PartialEq, Eq)]
enum Reading {
    More,
    Done,
}

impl Replay {
    fn new(ctx: &Arc<ShardContext>, sink: &Arc<dyn ObjectSink>, intent: Intent) -> Result<Self, Stopped> {
        let writer = sink.writer(&ctx.identity, &intent.encoding).map_err(cannot_rebuild)?;
        Ok(Self {
            ctx: Arc::clone(ctx),
            sink: Arc::clone(sink),
            intent,
            writer,
            account: Account::open(Arc::clone(&ctx.worker.metrics)),
            permit: None,
            tally: Tally::default(),
        })
    }

    async fn run(&mut self, row: &LeaseRow, encoded: &Bytes) -> Result<Replayed, Stopped> {
        self.read().await?;
        let objects = self.rebuild().map_err(cannot_rebuild)?;
        let put = self.put_all(&objects).await?;
        if let Some(end) = self.lacking(&objects, &put).await {
            let range = GapRange { after: self.intent.from.clone(), end };
            let gap = self.ctx.gap(GapReason::Trimmed, range);
            // Ledger, then commit.
            if self.ctx.try_record_gap(&gap).await.is_err() {
                return Ok(Replayed::Unrecorded(gap));
            }
        }
        self.commit(row, encoded).await?;
        self.settle_account();
        Ok(Replayed::Settled)
    }

    // === Reading ===

    async fn read(&mut self) -> Result<(), Stopped> {
        for _ in 1..LOOKS {
            self.look().await?;
            // That a later record stands in their place is proof enough.
            if self.tally.records > 0 || self.tally.trimmed {
                return Ok(());
            }
            tracing::warn!(stream = %self.ctx.identity.stream, shard = %self.ctx.identity.shard, first = %self.intent.first, "the records of the intent are not there");
            tokio::select! {
                // Biased: a lease that is lost is not waited with.
                biased;
                () = self.ctx.cut.cancelled() => return Err(Stopped::Lost),
                () = self.ctx.worker.clock.sleep(LOOK_AGAIN) => {}
            }
        }
        self.look().await?;
        self.tally.trimmed |= self.tally.records == 0;
        Ok(())
    }

    /// Reads the records once, as far as they are there.
    async fn look(&mut self) -> Result<(), Stopped> {
        let (out, mut items) = mpsc::channel(CHUNKS_IN_CHANNEL);
        let reader = Reader::new(Arc::clone(&self.ctx), ReadFrom::intent(&self.intent.first), out);
        // Ends with this function.
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run());
        loop {
            self.ctx.pulse().waits(Part::Pipeline, Wait::Records);
            let item = tokio::select! {
                // Biased: a lease that is lost must not wait for a backlog of chunks.
                biased;
                () = self.ctx.cut.cancelled() => return Err(Stopped::Lost),
                item = items.recv() => item,
                () = self.ctx.worker.clock.sleep(READ_STALL) => {
                    return Err(self.unreadable(&self.stalled()));
                }
            };
            self.ctx.pulse().waits(Part::Pipeline, Wait::Working);
            match item {
                Some(ReaderItem::Chunk { chunk, permit }) => {
                    if self.take(chunk, permit).await? == Reading::Done {
                        return Ok(());
                    }
                }
                Some(ReaderItem::NothingThere | ReaderItem::End { .. }) => return Ok(()),
                // What is left is gone, and what was read of it by now: whoever begins again finds the first record missing.
                Some(ReaderItem::AtTip(_)) => return Err(self.unreadable("some were trimmed while they were read")),
                Some(ReaderItem::Blocked(problem)) => return Err(self.unreadable(&problem)),
                None => return Err(ShardError::Gone("reader").into()),
            }
        }
    }

    /// Nobody knows whether the records are there: they are neither given up nor waited for with the turn in hand.
    fn unreadable(&self, why: &str) -> Stopped {
        let Intent { lease, first, last, .. } = &self.intent;
        Stopped::GiveUp(format!(
            "the records of the intent, {first} to {last}, cannot be read: {why}; if that cannot be mended, `penstock leases \
             abandon-intent {lease}` gives them up"
        ))
    }

    fn stalled(&self) -> String {
        let last = self.ctx.cell.problem_with_reading().map(|problem| format!(", the last problem was: {problem}"));
        format!("none came within {READ_STALL:?}{}", last.unwrap_or_default())
    }

    async fn take(&mut self, chunk: Chunk, permit: Permit) -> Result<Reading, Stopped> {
        let settings = Deaggregation::from(&self.intent.encoding);
        let begins_at = before(&self.intent);
        let Some(mut intake) = Intake::new(&self.ctx, &settings, chunk, permit, &begins_at) else {
            return Ok(Reading::More);
        };
        if self.tally.records == 0 && intake.taken.records.get(intake.next()).compare(&self.intent.first).is_gt() {
            self.tally.trimmed = true;
        }
        let beyond = intake.taken.records.get(intake.taken.records.len() - 1).compare(&self.intent.last).is_ge();
        if intake.cut_behind(&self.intent.last) {
            let first = intake.taken.records.get(intake.next()).position().sequence;
            self.tally.first.get_or_insert(first);
            self.account.fetched(intake.left() as u64, intake.bytes_left());
            self.append(&mut intake).await?;
        }
        Ok(if beyond { Reading::Done } else { Reading::More })
    }

    async fn append(&mut self, intake: &mut Intake) -> Result<(), Stopped> {
        loop {
            let slice = intake.slice(u64::MAX, u64::MAX, self.intent.encoding.delimiter.len());
            self.hold(slice.encoded_at_most).await;
            let records = &intake.taken.records;
            for (run, fate) in intake.taken.runs(slice.range.clone()) {
                match fate {
                    Fate::Deliver => {
                        self.writer.append(records, run);
                    }
                    Fate::SetAside => {
                        self.tally.set_aside += run.len() as u64;
                        for index in run {
                            self.writer.set_aside(&records.get(index), &SetAsideReason::OutsideHashRange);
                        }
                    }
                    Fate::Drop(reason) => *self.tally.dropped.entry(reason).or_default() += run.len() as u64,
                }
            }
            let admission = intake.admission(&slice.range);
            self.tally.records += admission.records;
            self.tally.bytes += slice.range.clone().map(|index| records.get(index).data.len() as u64).sum::<u64>();
            self.tally.arrival = Some(admission.arrival);
            if let Some(held) = &mut self.permit {
                held.shrink_to(self.writer.memory());
            }
            if intake.advance(&slice) {
                return Ok(());
            }
            // Encoding takes time, and a long chunk has many slices: others come first, the leases above all.
            tokio::task::yield_now().await;
        }
    }

    /// An intent is rebuilt whole: beyond half of what there is for filling, it is held without a permit. The other half lets the
    /// shards go on whose chunks hold the memory that this one needs to read.
    async fn hold(&mut self, bytes: u64) {
        let budget = &self.ctx.worker.budget;
        let held = self.permit.as_ref().map_or(0, Permit::bytes);
        let room = budget.replay_limit().saturating_sub(held);
        self.ctx.pulse().waits(Part::Pipeline, Wait::Memory);
        let permit = budget.acquire_fill(bytes.min(room).min(budget.slice_limit())).await;
        self.ctx.pulse().waits(Part::Pipeline, Wait::Working);
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none @ None => *none = Some(permit),
        }
    }

    // === Putting ===

    fn rebuild(&mut self) -> Result<Vec<PreparedObject>, WriterError> {
        if !self.tally.trimmed {
            return self.writer.rebuild(&self.intent);
        }
        let dropped: u64 = self.tally.dropped.values().sum();
        if self.tally.records == dropped {
            return Ok(Vec::new());
        }
        self.writer.rebuild_partial(&self.intent)
    }

    async fn put_all(&mut self, objects: &[PreparedObject]) -> Result<Placed, Stopped> {
        let mut putter = Putter::new(Arc::clone(&self.ctx), Part::Pipeline, Arc::clone(&self.sink));
        let mut placed = Placed { to: self.intent.destination.clone(), ours: BTreeSet::new() };
        for object in objects {
            let mut put = putter.put(&placed.to, object, Patience::Attempts(ATTEMPTS)).await;
            if let Err(NotPut::Unreachable(error)) = put {
                placed.to = self.other_destination(&placed.to, &error).await?;
                put = putter.put(&placed.to, object, Patience::Attempts(ATTEMPTS)).await;
            }
            match put {
                Ok(_) => {
                    self.ctx.worker.metrics.object_put(REPLAY, object.len());
                    placed.ours.insert(object.key.clone());
                }
                // The key decides: what stands there is the whole object, or what could be read of it earlier.
                Err(NotPut::Refused(_)) if self.tally.trimmed => {}
                Err(NotPut::Refused(error) | NotPut::Unreachable(error)) => {
                    return Err(Stopped::GiveUp(format!("the objects of the intent cannot be put: {}", chain(&error))));
                }
            }
        }
        Ok(placed)
    }

    // === What is missing ===

    /// Of an intent whose first records were trimmed: up to where the objects that stand under its keys lack something. `None` if
    /// they lack nothing, whoever put them.
    async fn lacking(&mut self, objects: &[PreparedObject], placed: &Placed) -> Option<GapEnd> {
        if !self.tally.trimmed {
            return None;
        }
        let mut end = None;
        for object in &self.intent.objects.clone() {
            let ours = objects.iter().find(|ours| ours.key == object.key && placed.ours.contains(&ours.key));
            let lacks = match (ours, self.tally.first.clone()) {
                (Some(ours), _) if ours.sha256 == object.sha256 => None,
                (Some(_), Some(first)) => Some(GapEnd::Before(first)),
                // Nothing, or something that is not of our making, of which nobody tells what it lacks: its whole range.
                _ if self.is_whole(&placed.to, object).await => None,
                _ => Some(GapEnd::Through(object.last.clone())),
            };
            end = farther(end, lacks);
        }
        end
    }

    /// Whether the whole object stands under its key. What cannot be told counts as missing.
    async fn is_whole(&mut self, to: &Destination, object: &IntentObject) -> bool {
        for _ in 0..LOOKS {
            self.ctx.pulse().waits(Part::Pipeline, Wait::Put);
            let limit = self.ctx.worker.settings.time_outs.probe;
            let asked = tokio::time::timeout(limit, self.sink.digest_of(to, &object.key)).await;
            match asked.unwrap_or_else(|_| Err(SeamError::timed_out("HeadObject", object.key.clone(), limit))) {
                Ok(digest) => return digest == Some(object.sha256),
                Err(error) if error.class == ErrorClass::Rejected => return false,
                Err(error) => self.ctx.call_failed(&error, 1, LOOK_AGAIN),
            }
            self.ctx.worker.clock.sleep(LOOK_AGAIN).await;
        }
        false
    }

    /// The configured destination, if the recorded one provably does not exist.
    async fn other_destination(&mut self, recorded: &Destination, error: &SeamError) -> Result<Destination, Stopped> {
        let configured = self.sink.destination();
        let limit = self.ctx.worker.settings.time_outs.probe;
        let probed = tokio::time::timeout(limit, self.sink.probe(recorded)).await;
        if configured != *recorded && matches!(probed, Ok(Ok(false))) {
            tracing::warn!(
                stream = %self.ctx.identity.stream, shard = %self.ctx.identity.shard, %recorded, %configured,
                "the destination in the intent does not exist, its objects go to the configured one"
            );
            return Ok(configured);
        }
        Err(Stopped::GiveUp(format!("the sink of the intent, {recorded}, cannot be reached: {}", chain(error))))
    }

    // === Committing ===

    async fn commit(&mut self, row: &LeaseRow, encoded: &Bytes) -> Result<(), Stopped> {
        let commit = Commit {
            from: row.checkpoint.clone(),
            after: self.intent.last.clone(),
            // When arrived what could not be read nobody knows: what came before a later time would be taken for settled.
            arrival: self.tally.arrival.or(row.arrival).unwrap_or(self.ctx.stream.description.created),
            chain: Some(self.intent.last.clone()),
            intent: Some(encoded.clone()),
            next: None,
        };
        self.ctx.request(Part::Pipeline, ShardRequest::Commit(commit)).await?;
        Ok(())
    }

    fn settle_account(&mut self) {
        let Tally { records, bytes, set_aside, ref dropped, .. } = self.tally;
        let delivered = records - set_aside - dropped.values().sum::<u64>();
        self.account.delivered(delivered, bytes);
        self.account.set_aside(SetAsideReason::OutsideHashRange.as_str(), set_aside);
        for (reason, count) in dropped {
            self.account.dropped(reason.as_str(), *count);
        }
        debug_assert!(
            self.tally.trimmed || delivered == delivered_by(&self.intent),
            "{delivered} delivered of {}",
            delivered_by(&self.intent)
        );
    }
}

/// Where the objects of an intent were put.
struct Placed {
    to: Destination,
    /// The keys under which what was rebuilt stands now.
    ours: BTreeSet<String>,
}

/// The farther of two ends of one range.
fn farther(one: Option<GapEnd>, other: Option<GapEnd>) -> Option<GapEnd> {
    let reach = |end: &GapEnd| match end {
        GapEnd::Before(next) => (Some(next.clone()), None),
        GapEnd::Through(last) => (Some(last.sequence.clone()), Some(last.subsequence)),
        GapEnd::Unknown | GapEnd::Until(_) => (None, None),
    };
    one.into_iter().chain(other).max_by_key(reach)
}

fn delivered_by(intent: &Intent) -> u64 {
    intent.objects.iter().filter(|object| object.content == Content::Records).map(|object| object.records).sum()
}

/// The position that the first user record of an intent follows upon, as far as its record goes.
fn before(intent: &Intent) -> Position {
    let first = &intent.first;
    match first.subsequence.checked_sub(1) {
        Some(subsequence) => Position::After(RecordPosition { sequence: first.sequence.clone(), subsequence }),
        None => Position::TrimHorizon,
    }
}

fn cannot_rebuild(error: WriterError) -> Stopped {
    Stopped::GiveUp(chain(&error))
}
