//! Reads one shard: opens iterators, fetches at the shard's pace, meets every error with its reaction. Never touches a sink.
//!
//! It stands where it last handed a chunk downstream: an iterator that is lost is opened again behind that record, so nothing is
//! skipped and nothing is handed on twice. It ends when the shard does, or when nobody takes its chunks any more.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::backoff::Backoff;
use penstock_core::chunk::Chunk;
use penstock_core::position::SequenceNumber;
use penstock_core::random::Random;
use penstock_core::shard::ChildShard;
use penstock_core::time::{Instant, Now, UnixMillis};
use tokio::sync::mpsc;

use super::context::{ShardContext, backoff, chain};
use super::pulse::{Part, Wait};
use super::resume::ReadFrom;
use crate::budget::Permit;
use crate::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator, StreamDescription};

/// Chunks between reader and deliverer: one to work on next while another is read.
pub(crate) const CHUNKS_IN_CHANNEL: usize = 2;

/// What a shard gives in a second. <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// A page from here on counts as a full one (10 MiB), after which the service refuses reads for five seconds.
const FULL_PAGE: u64 = 9 * 1024 * 1024;
const THROTTLE_PAUSE: Duration = Duration::from_secs(1);
const FULL_PAGE_PAUSE: Duration = Duration::from_secs(5);
/// Between attempts that only an operator can make succeed: permissions, keys, a stream that is gone.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);
/// The service does not trim to the second, and clocks differ.
const TRIM_SLACK: Duration = Duration::from_secs(60);
/// A shard that lies idle is settled up to this long ago: clocks differ, a record may be shown a while after it arrived, and a
/// clock that is fast must not leave a time in the row that is still to come.
const TIP_SLACK: Duration = Duration::from_secs(600);
/// How often it is told that a shard is at its tip, where it lies idle.
const TIP_INTERVAL: Duration = Duration::from_secs(60);

/// What a reader hands downstream.
#[derive(Debug)]
pub(crate) enum ReaderItem {
    /// Records, with the bytes of the budget that they take.
    Chunk {
        /// The records; never none.
        chunk: Chunk,
        /// Moves with them.
        permit: Permit,
    },
    /// The tip was reached and there was no record from the start on. At most once.
    NothingThere,
    /// Everything that arrived up to this time was handed on, and a while ago. Only said where there is room.
    AtTip(UnixMillis),
    /// Nothing can be read until an operator mends this; it is tried again after a long pause.
    Blocked(String),
    /// The shard is closed and read to its end.
    End {
        /// The children that its last response named; none if the shard is gone.
        children: Vec<ChildShard>,
    },
}

/// Reads one shard.
pub(crate) struct Reader {
    ctx: Arc<ShardContext>,
    from: ReadFrom,
    out: mpsc::Sender<ReaderItem>,
    /// The last record handed downstream, and when it arrived.
    handed: Option<(SequenceNumber, UnixMillis)>,
    /// Whether the iterator begins at that record, to show that nothing behind it is gone, and it has not been seen yet.
    proves: bool,
    /// Whether it was seen and filled a page alone, so that what follows has to come without it.
    shown_alone: bool,
    /// Whether the place of the checkpoint was looked at.
    arrived: bool,
    /// Everything that arrived before this was read, by the last answer.
    read_until: Option<UnixMillis>,
    next_fetch: Instant,
    last_page: u64,
    failures: u32,
    /// Whether an iterator that was refused was replaced since the last success.
    replaced: bool,
    /// Whether the next iterator follows upon trouble, or upon nothing at all: the stream may have been created again meanwhile.
    doubtful: bool,
    /// When it was last told that the shard is read to its tip, or was there for the first time.
    tip_told: Option<Instant>,
    retries: Backoff,
    random: Random,
}

enum State {
    Opening,
    Fetching(ShardIterator),
    Ended(Vec<ChildShard>),
    /// Nobody takes chunks any more.
    Abandoned,
}

impl Reader {
    pub(crate) fn new(ctx: Arc<ShardContext>, from: ReadFrom, out: mpsc::Sender<ReaderItem>) -> Self {
        let salt = ctx.tenure.seed();
        let random = ctx.worker.random(ctx.identity.shard.as_str(), salt);
        let from_nowhere = from.checkpoint.is_none();
        Self {
            ctx,
            from,
            out,
            handed: None,
            proves: false,
            shown_alone: false,
            arrived: false,
            read_until: None,
            next_fetch: Instant::default(),
            last_page: 0,
            failures: 0,
            replaced: false,
            // Who has no checkpoint would read whatever stands under the name, also a stream that was created again.
            doubtful: from_nowhere,
            tip_told: None,
            retries: backoff(Duration::from_millis(250), Duration::from_secs(10)),
            random,
        }
    }

    /// Reads until the shard ends or nobody listens. Cancelled by dropping: nothing that was not handed on is lost.
    pub(crate) async fn run(mut self) {
        let mut state = State::Opening;
        loop {
            state = match state {
                State::Opening => self.open().await,
                State::Fetching(iterator) => self.fetch(iterator).await,
                State::Ended(children) => {
                    self.waits(Wait::Deliverer);
                    // If nobody listens any more, the shard is being stopped.
                    let _stopped = self.out.send(ReaderItem::End { children }).await;
                    return;
                }
                State::Abandoned => return,
            };
        }
    }

    // === Opening ===

    async fn open(&mut self) -> State {
        let at = match &self.handed {
            Some((sequence, _)) if self.proves => OpenAt::At(sequence.clone()),
            Some((sequence, _)) => OpenAt::After(sequence.clone()),
            None => self.from.at.clone(),
        };
        self.waits(Wait::Stream);
        let limit = self.ctx.worker.settings.time_outs.describe;
        let opened = tokio::time::timeout(limit, self.ctx.stream.source.open(&self.ctx.identity.shard, &at)).await;
        match opened.unwrap_or_else(|_| Err(SeamError::timed_out("GetShardIterator", self.subject(), limit))) {
            Ok(iterator) => self.on_opened(iterator).await,
            Err(error) if error.class == ErrorClass::NotFound => self.on_not_found(&error).await,
            Err(error) => self.on_not_opened(&error).await,
        }
    }

    /// An iterator that follows upon trouble is used only if the stream is still the same. It is asked after the iterator was
    /// opened: a stream that is created again later does not answer it.
    async fn on_opened(&mut self, iterator: ShardIterator) -> State {
        if self.doubtful
            && let Err(error) = self.stream_is_the_same().await
        {
            return self.on_not_opened(&error).await;
        }
        self.doubtful = false;
        self.failures = 0;
        State::Fetching(iterator)
    }

    async fn on_not_opened(&mut self, error: &SeamError) -> State {
        self.doubtful = true;
        match error.class {
            // Rejected: the sequence number does not belong to the shard. Never go on from somewhere else in silence.
            ErrorClass::Rejected | ErrorClass::Denied | ErrorClass::NotFound => {
                self.wait_for_operator(error, State::Opening).await
            }
            ErrorClass::Throttled => self.on_throttled(error, State::Opening).await,
            ErrorClass::Transient | ErrorClass::Expired | ErrorClass::Fatal => self.retry(error, State::Opening).await,
        }
    }

    // === Fetching ===

    async fn fetch(&mut self, iterator: ShardIterator) -> State {
        self.waits(Wait::Pause);
        self.ctx.worker.clock.sleep_until(self.next_fetch).await;
        let now = self.ctx.worker.clock.now();
        if self.may_be_overtaken(now.wall) {
            return self.prove();
        }
        let waited_from = now.instant;
        self.waits(Wait::Memory);
        let mut permit = self.ctx.worker.budget.acquire_fetch().await;
        self.waits(Wait::FetchSlot);
        let slot = self.ctx.worker.fetches.acquire().await.expect("the semaphore of fetches is never closed");
        self.waits(Wait::Fetch);
        let began = self.ctx.worker.clock.now();
        let waited = u64::try_from(began.instant.since(waited_from).as_millis()).unwrap_or(u64::MAX);
        self.ctx.worker.metrics.budget_wait.increment(waited);
        if self.may_be_overtaken(began.wall) {
            // It was waited for long.
            drop((permit, slot));
            return self.prove();
        }
        let limit = self.ctx.worker.settings.time_outs.fetch;
        let max = self.ctx.worker.settings.source.max_records_per_fetch.max(if self.proves { 2 } else { 1 });
        let fetched =
            tokio::time::timeout(limit, self.ctx.stream.source.fetch(&self.ctx.identity.shard, &iterator, max)).await;
        drop(slot);
        self.waits(Wait::Working);
        match fetched.unwrap_or_else(|_| Err(SeamError::timed_out("GetRecords", self.subject(), limit))) {
            Ok(fetched) => {
                permit.shrink_to(fetched.chunk.memory());
                self.on_fetched(fetched, permit, iterator, began).await
            }
            Err(error) => {
                drop(permit);
                self.on_fetch_failed(&error, iterator).await
            }
        }
    }

    async fn on_fetched(&mut self, fetched: Fetched, permit: Permit, used: ShardIterator, began: Now) -> State {
        let Fetched { mut chunk, next, behind, children } = fetched;
        if next.is_none() && children.is_empty() {
            let error = SeamError::new(
                "GetRecords",
                self.subject(),
                ErrorClass::Fatal,
                "the answer has neither a next iterator nor children",
            );
            return self.retry(&error, State::Fetching(used)).await;
        }
        // Before anything is waited for: what arrives later was not in this answer.
        let now = self.ctx.worker.clock.now();
        self.ctx.answered(now, behind, chunk.payload_bytes());
        self.last_page = chunk.payload_bytes();
        self.next_fetch = began.instant.after(self.pace(behind));
        if self.may_be_overtaken(now.wall) {
            // It was a long answer.
            return self.prove();
        }
        let nothing_left = behind.is_zero() || next.is_none();
        let decides = !chunk.is_empty() || nothing_left;
        let noticed = match self.gap_before(&mut chunk, decides, now.wall).await {
            Ok(noticed) => noticed,
            Err(error) => return self.on_not_opened(&error).await,
        };
        self.failures = 0;
        self.replaced = false;
        if let Some(gap) = noticed
            && self.ctx.try_record_gap(&gap).await.is_err()
        {
            // It is waited for with empty hands, since others need the memory. Then this is read again: more may be gone.
            drop((chunk, permit));
            self.ctx.record_gap(Part::Reader, &gap).await;
            return State::Fetching(used);
        }
        if decides || !self.is_in_doubt() {
            self.shown_alone = self.proves && chunk.is_empty() && !nothing_left;
            self.proves = false;
            self.read_until = Some(UnixMillis(began.wall.0.saturating_sub(millis(behind))));
        }
        tracing::debug!(
            shard = %self.ctx.identity.shard, records = chunk.len(), bytes = self.last_page, behind = ?behind, "fetched"
        );
        let at_tip = nothing_left && chunk.is_empty();
        if self.hand_on(chunk, permit, nothing_left).await.is_err() {
            return State::Abandoned;
        }
        if at_tip {
            self.tell_tip(began);
        }
        next.map_or(State::Ended(children), State::Fetching)
    }

    async fn hand_on(&mut self, chunk: Chunk, permit: Permit, nothing_left: bool) -> Result<(), Unheard> {
        self.waits(Wait::Deliverer);
        if chunk.is_empty() {
            if nothing_left && !self.arrived {
                self.arrived = true;
                self.out.send(ReaderItem::NothingThere).await.map_err(|_| Unheard)?;
            }
            return Ok(());
        }
        self.arrived = true;
        let last = chunk.record(chunk.len() - 1);
        let last = (notice::parsed(last.sequence), last.arrival);
        self.out.send(ReaderItem::Chunk { chunk, permit }).await.map_err(|_| Unheard)?;
        self.handed = Some(last);
        Ok(())
    }

    /// The fetch that began then found nothing, and the shard is at its tip.
    fn tell_tip(&mut self, began: Now) {
        let told = *self.tip_told.get_or_insert(began.instant);
        if began.instant.since(told) < TIP_INTERVAL {
            return;
        }
        self.tip_told = Some(began.instant);
        let until = began.wall.0.saturating_sub(millis(TIP_SLACK));
        // Whoever is busy with chunks can do without.
        let _no_room = self.out.try_send(ReaderItem::AtTip(UnixMillis(until)));
    }

    /// The least time from the beginning of this fetch to that of the next.
    fn pace(&self, behind: Duration) -> Duration {
        let settings = &self.ctx.worker.settings.source;
        let interval = if behind.is_zero() { settings.idle_interval } else { settings.fetch_interval };
        interval.max(Duration::from_millis(self.last_page * 1000 / BYTES_PER_SECOND))
    }

    async fn on_fetch_failed(&mut self, error: &SeamError, iterator: ShardIterator) -> State {
        match error.class {
            ErrorClass::Expired => {
                tracing::debug!(shard = %self.ctx.identity.shard, "the shard iterator expired and is replaced");
                self.ctx.worker.board.failed(error, Some(&self.ctx.identity.lease));
                self.doubtful = true;
                State::Opening
            }
            ErrorClass::Throttled => self.on_throttled(error, State::Fetching(iterator)).await,
            ErrorClass::Rejected if !self.replaced => {
                self.replaced = true;
                self.doubtful = true;
                self.ctx.read_failed(error, 1, Duration::ZERO);
                State::Opening
            }
            ErrorClass::Rejected => {
                self.doubtful = true;
                self.wait_for_operator(error, State::Opening).await
            }
            ErrorClass::Denied => self.wait_for_operator(error, State::Fetching(iterator)).await,
            ErrorClass::NotFound => self.on_not_found(error).await,
            ErrorClass::Transient | ErrorClass::Fatal => self.retry(error, State::Fetching(iterator)).await,
        }
    }

    // === Reactions ===

    async fn retry(&mut self, error: &SeamError, then: State) -> State {
        let delay = self.retries.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.ctx.read_failed(error, self.failures, delay);
        self.waits(Wait::Pause);
        self.ctx.worker.clock.sleep(delay).await;
        then
    }

    /// Not an incident: counted, and waited for.
    async fn on_throttled(&mut self, error: &SeamError, then: State) -> State {
        let least = if self.last_page >= FULL_PAGE { FULL_PAGE_PAUSE } else { THROTTLE_PAUSE };
        let delay = least + self.retries.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.ctx.worker.board.failed(error, Some(&self.ctx.identity.lease));
        tracing::debug!(shard = %self.ctx.identity.shard, error = %error, again = ?delay, "throttled");
        self.waits(Wait::Pause);
        self.ctx.worker.clock.sleep(delay).await;
        then
    }

    async fn wait_for_operator(&mut self, error: &SeamError, then: State) -> State {
        self.ctx.worker.board.failed(error, Some(&self.ctx.identity.lease));
        self.ctx.cell.read_problem(error.to_string());
        tracing::error!(
            stream = %self.ctx.identity.stream, shard = %self.ctx.identity.shard, class = error.class.as_str(),
            error = %chain(error), again = ?OPERATOR_PAUSE, "the shard cannot be read until this is mended"
        );
        self.waits(Wait::Operator);
        let told = self.out.send(ReaderItem::Blocked(chain(error)));
        tokio::select! {
            // Biased: it is told as soon as there is room, and the pause goes on.
            biased;
            Err(_) = told => State::Abandoned,
            () = self.ctx.worker.clock.sleep(OPERATOR_PAUSE) => then,
        }
    }

    /// Stream or shard is gone. Only if the stream is still the same and does not list the shard has the shard's retention ended.
    async fn on_not_found(&mut self, error: &SeamError) -> State {
        self.doubtful = true;
        match self.shard_is_gone().await {
            Ok(true) => {
                self.record_expired().await;
                State::Ended(Vec::new())
            }
            Ok(false) => self.wait_for_operator(error, State::Opening).await,
            Err(error) => self.on_not_opened(&error).await,
        }
    }

    async fn shard_is_gone(&self) -> Result<bool, SeamError> {
        self.stream_is_the_same().await?;
        let limit = self.ctx.worker.settings.time_outs.describe;
        let listed = tokio::time::timeout(limit, self.ctx.stream.source.list_shards()).await;
        let listed = listed.unwrap_or_else(|_| Err(SeamError::timed_out("ListShards", self.subject(), limit)));
        self.ctx.worker.board.stream_looked_at(self.ctx.stream.index, listed.as_ref().err());
        Ok(!listed?.iter().any(|shard| shard.id == self.ctx.identity.shard))
    }

    async fn stream_is_the_same(&self) -> Result<(), SeamError> {
        let described = self.describe().await;
        let looked = described.and_then(|stream| stream.is_of(self.ctx.stream.description.created));
        self.ctx.worker.board.stream_looked_at(self.ctx.stream.index, looked.as_ref().err());
        looked
    }

    /// The stream as it is at this moment, or later.
    async fn describe(&self) -> Result<StreamDescription, SeamError> {
        let worker = &self.ctx.worker;
        self.waits(Wait::Stream);
        self.ctx
            .stream
            .described_since(worker.clock.now().instant, &worker.clock, worker.settings.time_outs.describe)
            .await
    }

    fn waits(&self, wait: Wait) {
        self.ctx.pulse().waits(Part::Reader, wait);
    }

    fn subject(&self) -> String {
        format!("{}/{}", self.ctx.identity.stream, self.ctx.identity.shard)
    }
}

/// The deliverer is gone.
struct Unheard;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

mod notice;

#[cfg(test)]
mod tests;
