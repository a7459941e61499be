//! Delivers a shard by calls: hands slices of chunks to the worker's packer and keeps the checkpoint tracker.
//!
//! Records settle in any order; the checkpoint follows the longest settled prefix, call by call. What the sink will never take is set aside
//! before it counts as settled; without a place for it the shard halts there.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use penstock_core::aggregate::{Deaggregated, Deaggregation, Fate};
use penstock_core::checkpoint::{CheckpointTracker, Ticket};
use penstock_core::coordinator::api::{Progress, ShardRequest};
use penstock_core::lease::LeaseRow;
use penstock_core::packing::RunId;
use penstock_core::position::{Position, RecordPosition};
use penstock_core::shard::ChildShard;
use penstock_core::time::{Instant, UnixMillis};
use tokio::sync::{mpsc, oneshot};

use super::aside::SetAsider;
use super::intake::{Intake, Slice};
use super::prefix::Prefix;
use super::{Delivered, ShardError, Stopped};
use crate::budget::Permit;
use crate::metrics::Account;
use crate::packer::{Load, LoadOutcome, LoadProgress, PackerHandle, PackerMessage};
use crate::ports::{SetAside, SetAsideReason};
use crate::shard::context::ShardContext;
use crate::shard::pulse::{Part, Wait};
use crate::shard::reader::ReaderItem;
use crate::shard::resume::settled_until;

/// Where calls go, and what they cannot take.
#[derive(Clone)]
pub(crate) struct CallRoute {
    /// The worker's packer.
    pub(crate) packer: PackerHandle,
    /// Where records go that the sink cannot take.
    pub(crate) set_aside: Option<Arc<dyn SetAside>>,
}

/// Delivers one shard by calls.
pub(crate) struct CallDeliverer {
    ctx: Arc<ShardContext>,
    route: CallRoute,
    run: RunId,
    deaggregation: Deaggregation,
    tracker: CheckpointTracker,
    items: mpsc::Receiver<ReaderItem>,
    source: Source,
    intake: Option<Arriving>,
    loads: FuturesUnordered<BoxFuture<'static, LandedLoad>>,
    /// To the packer and back: what calls have delivered of loads.
    progress: (mpsc::UnboundedSender<LoadProgress>, mpsc::UnboundedReceiver<LoadProgress>),
    prefix: Prefix,
    asides: FuturesUnordered<BoxFuture<'static, Result<SetAsideDone, Stopped>>>,
    reported: Option<RecordPosition>,
    /// When it was reported last; before that, when the run began.
    reported_at: Instant,
    /// All that arrived up to then is settled, as far as the row says.
    settled_until: Option<UnixMillis>,
    /// Whether the packer was told that somebody waits for everything.
    flushed: bool,
    /// A record can neither be delivered nor set aside: nothing behind it is delivered. To start again would only repeat what
    /// was sent, so the shard stays as it is until its configuration, and so the process, is another one.
    halted: bool,
    account: Account,
}

enum Source {
    Open,
    Ended(Vec<ChildShard>),
    Closed,
}

/// A chunk of which slices are handed on.
struct Arriving {
    intake: Intake,
    chunk: Arc<Deaggregated>,
}

/// A slice of which the packer is done.
struct LandedLoad {
    ticket: Ticket,
    chunk: Arc<Deaggregated>,
    outcome: Option<LoadOutcome>,
}

/// Records that were set aside.
struct SetAsideDone {
    ticket: Ticket,
    counts: Vec<(&'static str, u64)>,
    indices: Vec<usize>,
}

enum Event {
    Cut,
    Landed(LandedLoad),
    Progressed(LoadProgress),
    SetAside(Result<SetAsideDone, Stopped>),
    Room(Permit, mpsc::OwnedPermit<PackerMessage>, Slice),
    PackerGone,
    Drain,
    Flush(mpsc::OwnedPermit<PackerMessage>),
    Item(Option<ReaderItem>),
}

impl CallDeliverer {
    pub(crate) fn new(
        ctx: Arc<ShardContext>,
        route: CallRoute,
        row: &LeaseRow,
        items: mpsc::Receiver<ReaderItem>,
    ) -> Self {
        let source = &ctx.worker.settings.source;
        Self {
            deaggregation: Deaggregation {
                enabled: source.deaggregate,
                outside_hash_range: source.outside_hash_range,
                hash_range: row.hash_range,
            },
            run: route.packer.register(),
            tracker: CheckpointTracker::new(row.checkpoint.clone()),
            items,
            source: Source::Open,
            intake: None,
            loads: FuturesUnordered::new(),
            progress: mpsc::unbounded_channel(),
            prefix: Prefix::default(),
            asides: FuturesUnordered::new(),
            reported: None,
            reported_at: ctx.worker.clock.now().instant,
            settled_until: settled_until(row),
            flushed: false,
            halted: false,
            account: Account::open(Arc::clone(&ctx.worker.metrics)),
            ctx,
            route,
        }
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
            self.report().await?;
            self.show();
            if let Some(delivered) = self.finish_if_done().await? {
                return Ok(delivered);
            }
            let event = self.next().await;
            self.ctx.pulse().waits(Part::Deliverer, Wait::Working);
            match event {
                Event::Cut => return Err(Stopped::Lost),
                Event::Landed(landed) => self.on_landed(landed)?,
                Event::Progressed(progress) => self.on_progress(&progress)?,
                Event::SetAside(done) => self.on_set_aside(done?)?,
                Event::Room(permit, mailbox, slice) => self.hand_on(permit, mailbox, &slice)?,
                Event::Drain => self.source = Source::Closed,
                Event::PackerGone => return Err(ShardError::Gone("packer").into()),
                Event::Flush(mailbox) => {
                    mailbox.send(PackerMessage::Flush);
                    self.flushed = true;
                }
                Event::Item(item) => self.on_item(item).await?,
            }
        }
    }

    async fn next(&mut self) -> Event {
        let slice = self.intake.as_ref().map(|arriving| arriving.intake.slice(u64::MAX, u64::MAX, self.delimiter()));
        let is_open = matches!(self.source, Source::Open);
        let wants_item = self.intake.is_none() && is_open && !self.halted;
        let wants_flush = self.intake.is_none() && !is_open && !self.flushed && !self.loads.is_empty();
        self.ctx.pulse().waits(
            Part::Deliverer,
            match &slice {
                Some(_) => Wait::Memory,
                None if self.halted => Wait::Halted,
                None if wants_item => Wait::Records,
                None => Wait::Sink,
            },
        );
        let (ctx, packer) = (&self.ctx, &self.route.packer);
        tokio::select! {
            // Biased: chunks come as long as there is a backlog and would starve what settles them and gives memory back.
            biased;
            () = ctx.cut.cancelled() => Event::Cut,
            Some(progress) = self.progress.1.recv() => Event::Progressed(progress),
            Some(landed) = self.loads.next(), if !self.loads.is_empty() => Event::Landed(landed),
            Some(done) = self.asides.next(), if !self.asides.is_empty() => Event::SetAside(done),
            () = ctx.drain.cancelled(), if self.halted && is_open => Event::Drain,
            room = room(ctx, packer, slice) => match room {
                Some((permit, mailbox, slice)) => Event::Room(permit, mailbox, slice),
                None => Event::PackerGone,
            },
            mailbox = packer.reserve(), if wants_flush => mailbox.map_or(Event::PackerGone, Event::Flush),
            item = self.items.recv(), if wants_item => Event::Item(item),
        }
    }

    fn delimiter(&self) -> usize {
        self.ctx.worker.settings.calls.delimiter.len()
    }

    // === Handing on ===

    async fn on_item(&mut self, item: Option<ReaderItem>) -> Result<(), Stopped> {
        match item {
            Some(ReaderItem::Chunk { chunk, permit }) => {
                let taken = Intake::new(&self.ctx, &self.deaggregation, chunk, permit, self.tracker.end());
                if let Some(intake) = taken {
                    self.account.fetched(intake.left() as u64, intake.bytes_left());
                    self.intake = Some(Arriving { chunk: Arc::clone(&intake.taken), intake });
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

    fn hand_on(
        &mut self,
        permit: Permit,
        mailbox: mpsc::OwnedPermit<PackerMessage>,
        slice: &Slice,
    ) -> Result<(), Stopped> {
        let Some(Arriving { intake, chunk }) = &mut self.intake else { return Ok(()) };
        let now = self.ctx.worker.clock.now().instant;
        let ticket = self.tracker.admit(intake.admission(&slice.range), now)?;
        let chunk = Arc::clone(chunk);
        self.prefix.admit(ticket, &chunk, slice.range.clone());
        if intake.advance(slice) {
            self.intake = None;
        }
        self.settle_exceptions(ticket, &chunk, slice)?;
        if self.halted {
            return Ok(());
        }
        let (reply, outcome) = oneshot::channel();
        mailbox.send(PackerMessage::Load(Load {
            run: self.run,
            chunk: Arc::clone(&chunk),
            range: slice.range.clone(),
            deadline: self.ctx.tenure.deadline.clone(),
            permit,
            ticket,
            progress: self.progress.0.clone(),
            reply,
        }));
        self.loads.push(Box::pin(async move { LandedLoad { ticket, chunk, outcome: outcome.await.ok() } }));
        Ok(())
    }

    /// Settles what is not to be delivered: what is dropped at once, what is set aside once it stands there.
    fn settle_exceptions(&mut self, ticket: Ticket, chunk: &Arc<Deaggregated>, slice: &Slice) -> Result<(), Stopped> {
        let mut aside = Vec::new();
        for (run, fate) in chunk.runs(slice.range.clone()) {
            match fate {
                Fate::Deliver => {}
                Fate::SetAside => aside.extend(run.map(|index| (index, SetAsideReason::OutsideHashRange))),
                Fate::Drop(reason) => {
                    let count = run.len() as u64;
                    self.account.dropped(reason.as_str(), count);
                    self.tracker.settle_records(ticket, count)?;
                    self.prefix.settle(ticket, run);
                }
            }
        }
        self.set_aside(ticket, chunk, aside)
    }

    fn set_aside(
        &mut self,
        ticket: Ticket,
        chunk: &Arc<Deaggregated>,
        records: Vec<(usize, SetAsideReason)>,
    ) -> Result<(), Stopped> {
        let Some((_, reason)) = records.first() else { return Ok(()) };
        let Some(place) = &self.route.set_aside else {
            let index = records[0].0;
            self.halt(&chunk.records.get(index).position(), reason);
            return Ok(());
        };
        let indices: Vec<usize> = records.iter().map(|(index, _)| *index).collect();
        let asider = SetAsider::new(Arc::clone(&self.ctx), Arc::clone(place), chunk, records);
        self.asides.push(Box::pin(async move {
            let counts = asider.run().await;
            Ok(SetAsideDone { ticket, counts, indices })
        }));
        Ok(())
    }

    /// Gives back what is not handed on, so that other shards have the memory.
    fn halt(&mut self, at: &RecordPosition, reason: &SetAsideReason) {
        let problem = format!(
            "halted at {at}: {reason}, and no place to set it aside is configured: set sink.set_aside_bucket or sink.set_aside_path"
        );
        tracing::error!(stream = %self.ctx.identity.stream, shard = %self.ctx.identity.shard, problem, "the shard is halted");
        self.ctx.cell.halted(problem);
        self.halted = true;
        self.intake = None;
        // Never to its end: only a drain ends it.
        self.source = Source::Open;
        self.items.close();
        while self.items.try_recv().is_ok() {}
    }

    // === Settling ===

    fn on_landed(&mut self, landed: LandedLoad) -> Result<(), Stopped> {
        let LandedLoad { ticket, chunk, outcome } = landed;
        let Some(outcome) = outcome else { return Err(ShardError::Gone("packer").into()) };
        // All of it was told before its outcome was.
        while let Ok(progress) = self.progress.1.try_recv() {
            self.on_progress(&progress)?;
        }
        self.set_aside(ticket, &chunk, outcome.refused)
    }

    /// The sink has some records of a load.
    fn on_progress(&mut self, progress: &LoadProgress) -> Result<(), Stopped> {
        let LoadProgress { ticket, delivered, bytes } = progress;
        let records = delivered.iter().map(|range| range.len() as u64).sum();
        self.account.delivered(records, *bytes);
        self.tracker.settle_records(*ticket, records)?;
        for range in delivered {
            self.prefix.settle(*ticket, range.start as usize..range.end as usize);
        }
        Ok(())
    }

    fn on_set_aside(&mut self, done: SetAsideDone) -> Result<(), Stopped> {
        for (reason, count) in done.counts {
            self.account.set_aside(reason, count);
            self.tracker.settle_records(done.ticket, count)?;
        }
        for index in done.indices {
            self.prefix.settle(done.ticket, index..index + 1);
        }
        Ok(())
    }

    /// Has what is settled stored at once: only what is in calls whose outcome is unknown, or whose checkpoint is, is sent again
    /// by a successor. That costs a write for each call that settles something of this shard, and fewer where a write takes
    /// longer than a call: one is under way per row, and the next one carries the latest.
    async fn report(&mut self) -> Result<(), Stopped> {
        let Some(settled) = self.prefix.mark() else { return Ok(()) };
        if self.reported.as_ref() == Some(&settled.0) {
            return Ok(());
        }
        let settled = settled.clone();
        let now = self.ctx.worker.clock.now().instant;
        let lag = u64::try_from(self.ctx.cell.lag(now).as_millis()).ok();
        self.reported = Some(settled.0.clone());
        self.reported_at = now;
        self.settled_until = Some(settled.1);
        self.ctx.cell.note(|facts| facts.checkpoint = Position::After(settled.0.clone()));
        let progress = Progress { settled: Some(settled), lag, read: None, urgent: true };
        self.ctx.pulse().waits(Part::Deliverer, Wait::Lease);
        tokio::select! {
            // Biased: nothing is recorded for a shard that is cut off.
            biased;
            () = self.ctx.cut.cancelled() => Err(Stopped::Lost),
            told = self.ctx.tenure.progress(progress) => told.map_err(Stopped::from),
        }
    }

    /// Everything that arrived up to `until` was handed on. If it is also settled, and the row says so for a much earlier time
    /// only, the row is told: who reads the shard next need not take its silence for a loss.
    async fn on_tip(&mut self, until: UnixMillis) -> Result<(), Stopped> {
        let now = self.ctx.worker.clock.now().instant;
        // What was reported rides on a write that is certainly stored by then, or the lease is lost: the row stands there.
        let stored = now.since(self.reported_at) > self.ctx.worker.settings.leases.failover_time * 2;
        if !stored || self.halted || self.intake.is_some() || !self.tracker.is_settled() {
            return Ok(());
        }
        if let Some(request) = self.ctx.settled_until(self.tracker.end(), self.settled_until, until) {
            self.ctx.request(Part::Deliverer, request).await?;
            self.settled_until = Some(until);
        }
        Ok(())
    }

    // === Ending ===

    async fn finish_if_done(&mut self) -> Result<Option<Delivered>, Stopped> {
        let settled = self.tracker.is_settled() || (self.halted && self.loads.is_empty() && self.asides.is_empty());
        if self.intake.is_some() || !settled {
            return Ok(None);
        }
        match &self.source {
            Source::Open => Ok(None),
            // What was reported is stored by the release of the lease at the latest.
            Source::Closed => Ok(Some(Delivered::Drained)),
            Source::Ended(children) => {
                let children = children.clone();
                self.ctx.request(Part::Deliverer, ShardRequest::EndShard { children }).await?;
                Ok(Some(Delivered::Ended))
            }
        }
    }

    fn show(&self) {
        let (in_flight, oldest) = (self.account.in_flight(), self.oldest_unsettled());
        self.ctx.cell.note(|facts| {
            facts.position = self.tracker.end().record().cloned();
            facts.in_flight = in_flight;
            facts.oldest_unsettled = oldest;
        });
    }

    /// In wall time, from when it was admitted.
    fn oldest_unsettled(&self) -> Option<UnixMillis> {
        let now = self.ctx.worker.clock.now();
        let age = now.instant.since(self.tracker.oldest_unsettled()?);
        Some(UnixMillis(now.wall.0 - i64::try_from(age.as_millis()).unwrap_or(0)))
    }
}

/// Waits for the memory of a slice and of its copy in calls, and for room in the packer's mailbox. `None` if the packer is gone.
async fn room(
    ctx: &ShardContext,
    packer: &PackerHandle,
    slice: Option<Slice>,
) -> Option<(Permit, mpsc::OwnedPermit<PackerMessage>, Slice)> {
    let Some(slice) = slice else { return std::future::pending().await };
    let budget = &ctx.worker.budget;
    let bytes = (slice.encoded_at_most + slice.memory).min(budget.slice_limit());
    let permit = match budget.try_acquire_fill(bytes) {
        Some(permit) => permit,
        None => budget.acquire_fill(bytes).await,
    };
    let mailbox = packer.reserve().await?;
    Some((permit, mailbox, slice))
}
