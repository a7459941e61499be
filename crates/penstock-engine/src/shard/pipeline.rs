//! One tenure of a shard: settle the intent that was found, then read and deliver; after a failure again, alone, with a pause.
//!
//! The lease is kept meanwhile, and each run starts from what its row is known to hold. Reader and deliverer are tasks of the
//! pipeline: a panic of either is a failure like any other.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::coordinator::api::ShardRequest;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::context::{ShardContext, backoff, chain};
use super::deliverer::calls::{CallDeliverer, CallRoute};
use super::deliverer::objects::ObjectDeliverer;
use super::deliverer::{Delivered, ShardError, Stopped, replay};
use super::pulse::{Part as Place, Verdict, Wait, Watchdog};
use super::reader::{CHUNKS_IN_CHANNEL, Reader};
use super::resume::ReadFrom;
use crate::ports::ObjectSink;
use crate::status::ShardPhase;

/// A run that lasted this long was well: the next pause is a short one again.
const WELL: Duration = Duration::from_secs(60);

/// A task that is told to end does so at its next step, which is near.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// What a shard delivers into.
#[derive(Clone)]
pub(crate) enum ShardSink {
    /// Objects.
    Objects(Arc<dyn ObjectSink>),
    /// Calls.
    Calls(CallRoute),
}

/// How a tenure ended, as far as the shard is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TenureEnd {
    /// The shard's end is recorded.
    Ended,
    /// All that was read is settled.
    Drained,
    /// The lease is lost, or the tasks were cut off.
    Cut,
    /// This worker cannot go on with the shard.
    GaveUp,
}

/// Runs a shard until its tenure ends.
pub(crate) async fn run(ctx: Arc<ShardContext>, sink: ShardSink) -> TenureEnd {
    let pauses = backoff(Duration::from_secs(1), Duration::from_secs(60));
    let mut random = ctx.worker.random(ctx.identity.shard.as_str(), ctx.tenure.seed() ^ 0x7275_6e00);
    let mut failures = 0_u32;
    loop {
        let began = ctx.worker.clock.now().instant;
        let ended = run_once(&ctx, &sink).await;
        ctx.pulse().rest();
        let error = match ended {
            Ok(Delivered::Ended) => return TenureEnd::Ended,
            Ok(Delivered::Drained) => return TenureEnd::Drained,
            Err(Stopped::Lost) => return TenureEnd::Cut,
            Err(Stopped::GiveUp(reason)) => return give_up(&ctx, &reason).await,
            Err(Stopped::Failed(error)) => error,
        };
        if ctx.worker.clock.now().instant.since(began) >= WELL {
            failures = 0;
        }
        let pause = pauses.ceiling(failures) / 2 + pauses.delay(failures, &mut random) / 2;
        failures = failures.saturating_add(1);
        tracing::error!(
            stream = %ctx.identity.stream, shard = %ctx.identity.shard, error = %chain(&error), again = ?pause,
            "the shard failed and starts again from its checkpoint"
        );
        ctx.cell.note(|facts| {
            facts.phase = ShardPhase::Failed;
            facts.problem = Some(error.to_string());
            facts.restarts += 1;
            facts.in_flight = 0;
            facts.oldest_unsettled = None;
        });
        ctx.worker.metrics.shard_restarts.increment(1);
        ctx.worker.board.trouble(("shard", "restarted"), error.to_string(), Some(&ctx.identity.lease));
        tokio::select! {
            // Biased: whoever is told to stop does not start again.
            biased;
            () = ctx.cut.cancelled() => return TenureEnd::Cut,
            () = ctx.drain.cancelled() => return TenureEnd::Drained,
            () = ctx.worker.clock.sleep(pause) => {}
        }
    }
}

async fn give_up(ctx: &Arc<ShardContext>, reason: &str) -> TenureEnd {
    tracing::error!(
        stream = %ctx.identity.stream, shard = %ctx.identity.shard, reason, away = ?replay::COOL_DOWN,
        "this worker cannot go on with the shard and releases its lease"
    );
    ctx.cell.problem(reason);
    let request = ShardRequest::GiveUp { cool_down: replay::COOL_DOWN };
    tokio::select! {
        // Biased: nothing is given up that is lost.
        biased;
        () = ctx.cut.cancelled() => TenureEnd::Cut,
        recorded = ctx.tenure.request(request) => {
            // Recorded or lost: the lease is not ours any more. If it is lost, it is somebody else's concern.
            if recorded.is_ok() {
                ctx.worker.board.lease_given_up(ctx.identity.lease.clone(), reason.to_owned(), replay::COOL_DOWN);
            }
            TenureEnd::GaveUp
        }
    }
}

async fn run_once(ctx: &Arc<ShardContext>, sink: &ShardSink) -> Result<Delivered, Stopped> {
    let row = tokio::select! {
        // Biased: a shard that is told to stop does not begin.
        biased;
        () = ctx.cut.cancelled() => return Err(Stopped::Lost),
        () = ctx.drain.cancelled() => return Ok(Delivered::Drained),
        row = watched(ctx, prepared(ctx, sink)) => row?,
    };
    // Its parts go on in its place.
    ctx.pulse().rest();
    ctx.cell.note(|facts| {
        facts.phase = ShardPhase::Running;
        facts.checkpoint = row.checkpoint.clone();
    });
    if row.checkpoint == Position::ShardEnd {
        // The end was recorded while the run that asked for it had ended.
        return Ok(Delivered::Ended);
    }
    let from = ReadFrom::row(&row).map_err(ShardError::from)?;
    let (out, items) = mpsc::channel(CHUNKS_IN_CHANNEL);
    let reader = Reader::new(Arc::clone(ctx), from, out);
    let drain = ctx.drain.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // Stopping the reader anywhere loses nothing: what was not handed on was not read.
        let _stopped = drain.run_until_cancelled(reader.run()).await;
        Part::Reader
    });
    match sink {
        ShardSink::Objects(sink) => {
            let deliverer = ObjectDeliverer::new(Arc::clone(ctx), Arc::clone(sink), &row, items)?;
            tasks.spawn(async move { Part::Deliverer(deliverer.run().await) });
        }
        ShardSink::Calls(route) => {
            let deliverer = CallDeliverer::new(Arc::clone(ctx), route.clone(), &row, items);
            tasks.spawn(async move { Part::Deliverer(deliverer.run().await) });
        }
    }
    let delivered = watched(ctx, outcome(&mut tasks)).await;
    end(ctx, tasks).await;
    delivered
}

/// Ends the tasks of a run, so that none goes on beside the next one. A task ends where it waits next: one that holds its thread
/// meanwhile is waited for, and named. Who is cut off does not wait for it: it begins nothing any more, and its lease is not ours.
async fn end(ctx: &ShardContext, mut tasks: JoinSet<Part>) {
    tasks.abort_all();
    let mut ended = std::pin::pin!(async { while tasks.join_next().await.is_some() {} });
    tokio::select! {
        // Biased: what has ended is not waited for.
        biased;
        () = &mut ended => return,
        () = tokio::time::sleep(ENDS_WITHIN) => {}
    }
    let doing = |part| ctx.pulse().last(part).as_str();
    tracing::error!(
        stream = %ctx.identity.stream, shard = %ctx.identity.shard, reader = doing(Place::Reader),
        deliverer = doing(Place::Deliverer), batch = doing(Place::Flight),
        "a task of the shard holds its thread and does not end; the shard waits for it"
    );
    ctx.cell.problem("waits for a task of its own that holds its thread");
    tokio::select! {
        // Biased: the same.
        biased;
        () = &mut ended => {}
        () = ctx.cut.cancelled() => {}
    }
}

/// Goes on until `work` ends, or until a part of the shard is found standing still. `work` is dropped then.
async fn watched<T>(ctx: &ShardContext, work: impl Future<Output = Result<T, Stopped>>) -> Result<T, Stopped> {
    let mut work = std::pin::pin!(work);
    let mut watchdog = Watchdog::new(&ctx.worker.settings.time_outs);
    let mut said = Said::default();
    loop {
        tokio::select! {
            // Biased: what has ended does not stand still.
            biased;
            ended = &mut work => return ended,
            // Not on the worker's clock: while the machine is suspended nobody moves.
            () = tokio::time::sleep(watchdog.interval()) => {}
        }
        match watchdog.look(ctx.pulse()) {
            Verdict::Well => said.is_well(ctx),
            Verdict::Waits(on, lasted) => said.waits(ctx, on, lasted),
            Verdict::StandsStill(on, lasted) => {
                ctx.worker.metrics.stalled(on.as_str());
                return Err(ShardError::StandsStill(on, lasted).into());
            }
        }
    }
}

/// What was said of a wait that lasts.
#[derive(Default)]
struct Said {
    last: Option<(Wait, Duration)>,
    /// As it stands in the cell.
    problem: Option<String>,
}

impl Said {
    /// Shown at every look, counted once, logged ever more rarely.
    fn waits(&mut self, ctx: &ShardContext, on: Wait, lasted: Duration) {
        let problem = format!("no progress for {lasted:?}: waits for {}", on.as_str());
        if self.last.is_none_or(|(before, _)| before != on) {
            ctx.worker.metrics.stalled(on.as_str());
        }
        if self.last.is_none_or(|(before, at)| before != on || lasted >= at * 2) {
            self.last = Some((on, lasted));
            let (stream, shard) = (&ctx.identity.stream, &ctx.identity.shard);
            tracing::warn!(%stream, %shard, waits_for = on.as_str(), ?lasted, "the shard makes no progress");
        }
        // What somebody else said of it tells more.
        ctx.cell.note(|facts| {
            if facts.problem.is_none() || facts.problem == self.problem {
                facts.problem = Some(problem.clone());
                self.problem = Some(problem);
            }
        });
    }

    fn is_well(&mut self, ctx: &ShardContext) {
        let Self { last: Some(_), problem } = std::mem::take(self) else { return };
        ctx.cell.note(|facts| {
            if problem.is_some() && facts.problem == problem {
                facts.problem = None;
            }
        });
    }
}

/// What is done before anything is read: the sink answers, the row is known, its intent is settled.
async fn prepared(ctx: &Arc<ShardContext>, sink: &ShardSink) -> Result<LeaseRow, Stopped> {
    ctx.cell.note(|facts| facts.phase = ShardPhase::WaitingForSink);
    ctx.pulse().waits(Place::Pipeline, Wait::Sink);
    if ctx.worker.gate.opened().await.is_none() {
        return Err(ShardError::Gone("probe of the sink").into());
    }
    ctx.pulse().waits(Place::Pipeline, ctx.tenure.open_wait().await);
    let row = ctx.tenure.row().await?;
    let Some(intent) = &row.intent else { return Ok(row) };
    ctx.cell.note(|facts| facts.phase = ShardPhase::Replaying);
    ctx.pulse().waits(Place::Pipeline, Wait::Working);
    let objects = match sink {
        ShardSink::Objects(sink) => Some(sink),
        ShardSink::Calls(_) => None,
    };
    replay::settle(ctx, objects, &row, intent).await?;
    Ok(ctx.tenure.row().await?)
}

enum Part {
    Reader,
    Deliverer(Result<Delivered, Stopped>),
}

async fn outcome(tasks: &mut JoinSet<Part>) -> Result<Delivered, Stopped> {
    while let Some(joined) = tasks.join_next().await {
        match joined {
            // The deliverer learns of it by its channel, and decides.
            Ok(Part::Reader) => {}
            Ok(Part::Deliverer(delivered)) => return delivered,
            Err(error) => return Err(ShardError::Panicked("pipeline", panic_text(error)).into()),
        }
    }
    Err(ShardError::Gone("deliverer").into())
}

/// What a panic said.
pub(crate) fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a text".to_owned()),
        Err(_) => "it was cancelled".to_owned(),
    }
}

#[cfg(test)]
mod tests;
