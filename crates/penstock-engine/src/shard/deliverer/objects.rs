//! Delivers a shard into objects: one batch fills while at most one flies.
//!
//! The loop picks among a chunk, room for its next slice, the age of the open batch, a plea for memory, and the outcome of the
//! batch in flight. Each calls the batcher or the writer, which do not wait; the checkpoint moves with a batch's commit alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use penstock_core::aggregate::{Deaggregation, DropReason, Fate};
use penstock_core::batch::{BatchLimits, Batcher, SealReason};
use penstock_core::coordinator::api::ShardRequest;
use penstock_core::intent::{Encoding, IntentId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::random::Random;
use penstock_core::shard::ChildShard;
use penstock_core::time::{Instant, UnixMillis};
use tokio::sync::mpsc;

use super::flight::{Batch, fly};
use super::intake::{Intake, Slice};
use super::{Delivered, ShardError, Stopped};
use crate::budget::{OpenSlot, Permit};
use crate::metrics::Account;
use crate::ports::{ObjectSink, ObjectWriter, SealRequest, SetAsideReason};
use crate::shard::context::ShardContext;
use crate::shard::pulse::{Part, Wait};
use crate::shard::reader::ReaderItem;
use crate::shard::resume::settled_until;

/// The user records of a batch at most: bounds what a replay has to read.
const MAX_BATCH_RECORDS: u64 = 5_000_000;

/// Delivers one shard into objects.
pub(crate) struct ObjectDeliverer {
    ctx: Arc<ShardContext>,
    sink: Arc<dyn ObjectSink>,
    writer: Box<dyn ObjectWriter>,
    deaggregation: Deaggregation,
    delimiter: usize,
    batcher: Batcher,
    items: mpsc::Receiver<ReaderItem>,
    source: Source,
    intake: Option<Intake>,
    /// Everything up to here was appended.
    appended: Position,
    open: Open,
    flight: Option<BoxFuture<'static, Result<Box<Batch>, Stopped>>>,
    /// The user records in flight, and the arrival time of the first.
    flying: Option<UnixMillis>,
    /// Since when the open batch is full and waits for the one in flight.
    blocked: Option<Instant>,
    slot: OpenSlot,
    /// Whether the open batch was closed because the shard is about to change hands.
    closed_early: bool,
    /// All that arrived up to then is settled, as far as the row says.
    settled_until: Option<UnixMillis>,
    account: Account,
    random: Random,
}

/// What the reader still has to say.
enum Source {
    /// More.
    Open,
    /// Nothing: the shard is at its end.
    Ended(Vec<ChildShard>),
    /// Nothing: it was stopped.
    Closed,
}

/// What the open batch holds beside the writer.
#[derive(Default)]
struct Open {
    permit: Option<Permit>,
    dropped: BTreeMap<DropReason, u64>,
    oldest: Option<UnixMillis>,
}

enum Event {
    Cut,
    Flown(Result<Box<Batch>, Stopped>),
    Pressed,
    CloseEarly,
    Room(Permit, Slice),
    Item(Option<ReaderItem>),
    Aged,
}

impl ObjectDeliverer {
    pub(crate) fn new(
        ctx: Arc<ShardContext>,
        sink: Arc<dyn ObjectSink>,
        row: &LeaseRow,
        items: mpsc::Receiver<ReaderItem>,
    ) -> Result<Self, ShardError> {
        let encoding = Encoding { hash_range: row.hash_range, ..sink.encoding() };
        let writer = sink.writer(&ctx.identity, &encoding)?;
        let settings = &ctx.worker.settings.objects;
        let limits =
            BatchLimits { size: settings.buffer_size, interval: settings.buffer_interval, records: MAX_BATCH_RECORDS };
        let seed = ctx.tenure.seed();
        Ok(Self {
            deaggregation: Deaggregation::from(&encoding),
            delimiter: encoding.delimiter.len(),
            batcher: Batcher::new(limits, row.checkpoint.clone(), row.chain.clone()),
            source: Source::Open,
            intake: None,
            appended: row.checkpoint.clone(),
            open: Open::default(),
            flight: None,
            flying: None,
            blocked: None,
            settled_until: settled_until(row),
            slot: ctx.worker.budget.open_slot(),
            closed_early: false,
            account: Account::open(Arc::clone(&ctx.worker.metrics)),
            random: ctx.worker.random(ctx.identity.shard.as_str(), seed ^ 0x7365_616c),
            ctx,
            sink,
            writer,
            items,
        })
    }

    /// Delivers until the shard ends, is drained or is stopped.
    pub(crate) async fn run(mut self) -> Result<Delivered, Stopped> {
        let ended = self.deliver().await;
        if matches!(ended, Err(Stopped::Lost)) {
            self.account.abandon_as(self.ctx.worker.cut_reason());
        }
        ended
    }

    async fn deliver(&mut self) -> Result<Delivered, Stopped> {
        loop {
            self.seal_if_due()?;
            self.show();
            if let Some(delivered) = self.finish_if_done().await? {
                return Ok(delivered);
            }
            let event = self.next().await;
            self.ctx.pulse().waits(Part::Deliverer, Wait::Working);
            match event {
                Event::Cut => return Err(Stopped::Lost),
                Event::Flown(landed) => {
                    self.ctx.pulse().waits(Part::Flight, Wait::Idle);
                    self.on_landed(landed?);
                }
                Event::Pressed => self.batcher.request_seal(SealReason::Memory),
                Event::CloseEarly => {
                    self.closed_early = true;
                    self.batcher.request_seal(SealReason::Drain);
                }
                Event::Room(permit, slice) => {
                    self.append(permit, &slice)?;
                    // Encoding takes time, and a long chunk has room for many slices: others come first, the leases above all.
                    tokio::task::yield_now().await;
                }
                Event::Item(item) => self.on_item(item).await?,
                // Whether a batch is due is looked at before every wait.
                Event::Aged => {}
            }
        }
    }

    async fn next(&mut self) -> Event {
        let slice = self.next_slice();
        let age = if self.flight.is_none() { self.batcher.next_deadline() } else { None };
        let wants_item = self.intake.is_none() && matches!(self.source, Source::Open);
        let ctx = &self.ctx;
        ctx.pulse().waits(
            Part::Deliverer,
            match &slice {
                Some(_) => Wait::Memory,
                None if wants_item => Wait::Records,
                None => Wait::Flight,
            },
        );
        tokio::select! {
            // Biased: chunks come as long as there is a backlog and would starve what ends or settles. They come last but for
            // the age, which is also looked at before every wait.
            biased;
            () = ctx.cut.cancelled() => Event::Cut,
            landed = landing(&mut self.flight) => Event::Flown(landed),
            () = self.slot.pressed() => Event::Pressed,
            () = ctx.close_early.cancelled(), if !self.closed_early => Event::CloseEarly,
            (permit, slice) = room(ctx, slice) => Event::Room(permit, slice),
            item = self.items.recv(), if wants_item => Event::Item(item),
            () = ctx.worker.clock.sleep_until_some(age) => Event::Aged,
        }
    }

    // === Filling ===

    fn next_slice(&self) -> Option<Slice> {
        let intake = self.intake.as_ref().filter(|_| !self.batcher.is_full())?;
        // Not in ever smaller slices towards the end, since a compressor shows late what it took.
        let least = self.ctx.worker.settings.objects.buffer_size / 64;
        let bytes = self.batcher.room_for_bytes().max(least);
        Some(intake.slice(self.batcher.room_for_records(), bytes, self.delimiter))
    }

    async fn on_item(&mut self, item: Option<ReaderItem>) -> Result<(), Stopped> {
        match item {
            Some(ReaderItem::Chunk { chunk, permit }) => {
                self.intake = Intake::new(&self.ctx, &self.deaggregation, chunk, permit, &self.appended);
                if let Some(intake) = &self.intake {
                    self.account.fetched(intake.left() as u64, intake.bytes_left());
                }
            }
            // What is blocked is waited for, and told by the reader.
            Some(ReaderItem::NothingThere | ReaderItem::Blocked(_)) => {}
            Some(ReaderItem::AtTip(until)) => self.on_tip(until).await?,
            Some(ReaderItem::End { children }) => self.source = Source::Ended(children),
            None if self.ctx.drain.is_cancelled() => self.source = Source::Closed,
            None => return Err(ShardError::Gone("reader").into()),
        }
        Ok(())
    }

    /// Everything that arrived up to `until` was handed on. If it is also settled, and the row says so for a much earlier time
    /// only, the row is told: who reads the shard next need not take its silence for a loss.
    async fn on_tip(&mut self, until: UnixMillis) -> Result<(), Stopped> {
        let settled = self.flight.is_none() && self.intake.is_none() && self.batcher.open_records() == 0;
        if !settled {
            return Ok(());
        }
        if let Some(request) = self.ctx.settled_until(&self.appended, self.settled_until, until) {
            self.ctx.request(Part::Deliverer, request).await?;
            self.settled_until = Some(until);
        }
        Ok(())
    }

    fn append(&mut self, permit: Permit, slice: &Slice) -> Result<(), Stopped> {
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let admission = intake.admission(&slice.range);
        let records = &intake.taken.records;
        let oldest = records.get(slice.range.start).arrival;
        let mut encoded = self.batcher.open_bytes();
        for (run, fate) in intake.taken.runs(slice.range.clone()) {
            match fate {
                Fate::Deliver => encoded = self.writer.append(records, run),
                Fate::SetAside => {
                    for index in run {
                        encoded = self.writer.set_aside(&records.get(index), &SetAsideReason::OutsideHashRange);
                    }
                }
                Fate::Drop(reason) => *self.open.dropped.entry(reason).or_default() += run.len() as u64,
            }
        }
        self.appended = Position::After(admission.last.clone());
        self.batcher.append(admission, encoded, self.ctx.worker.clock.now().instant)?;
        self.open.oldest.get_or_insert(oldest);
        self.open.hold(permit, self.writer.memory());
        if intake.advance(slice) {
            self.intake = None;
        }
        if self.flight.is_none() {
            self.slot.set(self.writer.memory().max(1));
        }
        Ok(())
    }

    // === Sealing ===

    fn seal_if_due(&mut self) -> Result<(), Stopped> {
        let now = self.ctx.worker.clock.now().instant;
        if self.flight.is_some() {
            if self.batcher.is_full() {
                self.blocked.get_or_insert(now);
            }
            return Ok(());
        }
        let used_up = self.intake.is_none() && self.batcher.open_records() > 0;
        let reason = match &self.source {
            Source::Ended(_) if used_up => Some(SealReason::ShardEnd),
            Source::Closed if used_up => Some(SealReason::Drain),
            _ => self.batcher.due(now),
        };
        reason.map_or(Ok(()), |reason| self.seal(reason))
    }

    fn seal(&mut self, reason: SealReason) -> Result<(), Stopped> {
        let range = self.batcher.seal(reason).ok_or(ShardError::NothingToSeal(reason))?;
        let request = SealRequest {
            id: intent_id(&mut self.random),
            from: range.from.clone(),
            first: range.first.clone(),
            last: range.last.clone(),
            chain: range.chain.clone(),
            time: self.ctx.worker.clock.now().wall,
        };
        let sealed = self.writer.seal(&request).map_err(ShardError::from)?;
        if !sealed.objects.is_empty() {
            self.batcher.left_objects(&range);
        }
        let Open { mut permit, dropped, oldest } = std::mem::take(&mut self.open);
        if let Some(permit) = &mut permit {
            permit.shrink_to(sealed.objects.iter().map(crate::ports::PreparedObject::len).sum());
        }
        tracing::debug!(
            shard = %self.ctx.identity.shard, closed_by = reason.as_str(), records = range.records, last = %range.last, "sealed"
        );
        self.flying = oldest;
        self.slot.set(0);
        let batch = Box::new(Batch { range, sealed, dropped, permit });
        self.flight = Some(Box::pin(fly(Arc::clone(&self.ctx), Arc::clone(&self.sink), batch)));
        Ok(())
    }

    fn on_landed(&mut self, batch: Box<Batch>) {
        let Batch { range, sealed, dropped, permit } = *batch;
        drop(permit);
        self.account.delivered(sealed.delivered, sealed.delivered_bytes);
        for (reason, count) in sealed.set_aside {
            self.account.set_aside(reason.as_str(), count);
        }
        for (reason, count) in dropped {
            self.account.dropped(reason.as_str(), count);
        }
        let now = self.ctx.worker.clock.now().instant;
        if let Some(since) = self.blocked.take() {
            let millis = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            self.ctx.worker.metrics.sink_wait.increment(millis);
        }
        self.flying = None;
        self.settled_until = Some(range.arrival);
        if self.batcher.open_records() > 0 {
            self.slot.set(self.writer.memory().max(1));
        }
        self.ctx.cell.note(|facts| {
            facts.checkpoint = Position::After(range.last);
            facts.problem = None;
        });
    }

    // === Ending ===

    async fn finish_if_done(&mut self) -> Result<Option<Delivered>, Stopped> {
        let settled = self.flight.is_none() && self.intake.is_none() && self.batcher.open_records() == 0;
        if !settled {
            return Ok(None);
        }
        match &self.source {
            Source::Open => Ok(None),
            Source::Closed => Ok(Some(Delivered::Drained)),
            Source::Ended(children) => {
                let end = ShardRequest::EndShard { children: children.clone() };
                self.ctx.request(Part::Deliverer, end).await?;
                Ok(Some(Delivered::Ended))
            }
        }
    }

    fn show(&self) {
        let oldest = self.flying.or(self.open.oldest).or_else(|| {
            let intake = self.intake.as_ref()?;
            Some(intake.taken.records.get(intake.next()).arrival)
        });
        self.ctx.cell.note(|facts| {
            facts.position = self.appended.record().cloned();
            facts.open_bytes = self.batcher.open_bytes();
            facts.open_records = self.batcher.open_records();
            facts.in_flight = self.account.in_flight();
            facts.oldest_unsettled = oldest;
        });
    }
}

impl Open {
    /// Holds `permit` beside what is held, as far as `memory` needs it.
    fn hold(&mut self, permit: Permit, memory: u64) {
        match &mut self.permit {
            Some(held) => held.merge(permit),
            held @ None => *held = Some(permit),
        }
        if let Some(held) = &mut self.permit {
            held.shrink_to(memory);
        }
    }
}

async fn landing(flight: &mut Option<BoxFuture<'static, Result<Box<Batch>, Stopped>>>) -> Result<Box<Batch>, Stopped> {
    let Some(flying) = flight else { return std::future::pending().await };
    let landed = flying.await;
    *flight = None;
    landed
}

async fn room(ctx: &ShardContext, slice: Option<Slice>) -> (Permit, Slice) {
    let Some(slice) = slice else { return std::future::pending().await };
    let budget = &ctx.worker.budget;
    let bytes = slice.encoded_at_most.min(budget.slice_limit());
    let permit = match budget.try_acquire_fill(bytes) {
        Some(permit) => permit,
        None => budget.acquire_fill(bytes).await,
    };
    (permit, slice)
}

/// Distinct with the seed, which is random in production.
fn intent_id(random: &mut Random) -> IntentId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random.next_u64().to_be_bytes());
    id[8..].copy_from_slice(&random.next_u64().to_be_bytes());
    IntentId(id)
}
