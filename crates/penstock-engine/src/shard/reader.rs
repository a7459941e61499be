//! Reads one shard: opens iterators, fetches at the shard's pace, meets every error with its reaction. Never touches a sink.
//!
//! It stands where it last handed a chunk downstream: an iterator that is lost is opened again behind that record, so nothing is
//! skipped and nothing is handed on twice. It ends when the shard does, or when nobody takes its chunks any more.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::backoff::Backoff;
use penstock_core::chunk::Chunk;
use penstock_core::coordinator::api::GapReason;
use penstock_core::position::SequenceNumber;
use penstock_core::random::Random;
use penstock_core::shard::ChildShard;
use penstock_core::time::{Instant, UnixMillis};
use tokio::sync::mpsc;

use super::context::{ShardContext, backoff, chain};
use super::resume::ReadFrom;
use crate::budget::Permit;
use crate::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator};

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
/// The service does not trim to the second.
const TRIM_SLACK: Duration = Duration::from_secs(60);

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
    /// The last record handed downstream.
    handed: Option<SequenceNumber>,
    /// Whether the place of the checkpoint was looked at.
    arrived: bool,
    /// Everything that came before this was read, by the last answer.
    read_until: Option<UnixMillis>,
    next_fetch: Instant,
    last_page: u64,
    failures: u32,
    /// Whether an iterator that was refused was replaced since the last success.
    replaced: bool,
    /// Whether the next iterator follows upon trouble: the stream may have been created again meanwhile.
    doubtful: bool,
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
        let salt = ctx.tenure.token.0;
        let random = ctx.worker.random(ctx.identity.shard.as_str(), salt);
        Self {
            ctx,
            from,
            out,
            handed: None,
            arrived: false,
            read_until: None,
            next_fetch: Instant::default(),
            last_page: 0,
            failures: 0,
            replaced: false,
            doubtful: false,
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
            Some(sequence) => OpenAt::After(sequence.clone()),
            None => self.from.at.clone(),
        };
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
        self.ctx.worker.clock.sleep_until(self.next_fetch).await;
        let waited_from = self.ctx.worker.clock.now().instant;
        let mut permit = self.ctx.worker.budget.acquire_fetch().await;
        let slot = self.ctx.worker.fetches.acquire().await.expect("the semaphore of fetches is never closed");
        let began = self.ctx.worker.clock.now().instant;
        let waited = u64::try_from(began.since(waited_from).as_millis()).unwrap_or(u64::MAX);
        self.ctx.worker.metrics.budget_wait.increment(waited);
        let limit = self.ctx.worker.settings.time_outs.fetch;
        let max = self.ctx.worker.settings.source.max_records_per_fetch;
        let fetched =
            tokio::time::timeout(limit, self.ctx.stream.source.fetch(&self.ctx.identity.shard, &iterator, max)).await;
        drop(slot);
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

    async fn on_fetched(&mut self, fetched: Fetched, permit: Permit, used: ShardIterator, began: Instant) -> State {
        let Fetched { chunk, next, behind, children } = fetched;
        if next.is_none() && children.is_empty() {
            let error = SeamError::new(
                "GetRecords",
                self.subject(),
                ErrorClass::Fatal,
                "the answer has neither a next iterator nor children",
            );
            return self.retry(&error, State::Fetching(used)).await;
        }
        self.failures = 0;
        self.replaced = false;
        self.notice_outrun().await;
        let now = self.ctx.worker.clock.now();
        let behind_by = i64::try_from(behind.as_millis()).unwrap_or(i64::MAX);
        self.read_until = Some(UnixMillis(now.wall.0.saturating_sub(behind_by)));
        self.ctx.answered(now, behind, chunk.payload_bytes());
        self.last_page = chunk.payload_bytes();
        self.next_fetch = began.after(self.pace(behind));
        tracing::debug!(
            shard = %self.ctx.identity.shard, records = chunk.len(), bytes = self.last_page, behind = ?behind, "fetched"
        );
        let nothing_left = behind.is_zero() || next.is_none();
        if self.hand_on(chunk, permit, nothing_left).await.is_err() {
            return State::Abandoned;
        }
        next.map_or(State::Ended(children), State::Fetching)
    }

    async fn hand_on(&mut self, chunk: Chunk, permit: Permit, nothing_left: bool) -> Result<(), Unheard> {
        if chunk.is_empty() {
            if nothing_left && !self.arrived {
                self.arrived = true;
                self.notice_expired().await;
                self.out.send(ReaderItem::NothingThere).await.map_err(|_| Unheard)?;
            }
            return Ok(());
        }
        if !self.arrived {
            self.arrived = true;
            self.notice_trimmed(&chunk);
        }
        let last = chunk.record(chunk.len() - 1).sequence;
        let last = SequenceNumber::parse(last).expect("checked when the chunk was built");
        self.out.send(ReaderItem::Chunk { chunk, permit }).await.map_err(|_| Unheard)?;
        self.handed = Some(last);
        Ok(())
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
                self.ctx.worker.metrics.call_failed(error.operation, error.class.as_str());
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
        self.ctx.worker.clock.sleep(delay).await;
        then
    }

    /// Not an incident: counted, and waited for.
    async fn on_throttled(&mut self, error: &SeamError, then: State) -> State {
        let least = if self.last_page >= FULL_PAGE { FULL_PAGE_PAUSE } else { THROTTLE_PAUSE };
        let delay = least + self.retries.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.ctx.worker.metrics.call_failed(error.operation, error.class.as_str());
        tracing::debug!(shard = %self.ctx.identity.shard, error = %error, again = ?delay, "throttled");
        self.ctx.worker.clock.sleep(delay).await;
        then
    }

    async fn wait_for_operator(&mut self, error: &SeamError, then: State) -> State {
        self.ctx.worker.metrics.call_failed(error.operation, error.class.as_str());
        self.ctx.cell.read_problem(error.to_string());
        tracing::error!(
            stream = %self.ctx.identity.stream, shard = %self.ctx.identity.shard, class = error.class.as_str(),
            error = %chain(error), again = ?OPERATOR_PAUSE, "the shard cannot be read until this is mended"
        );
        self.ctx.worker.clock.sleep(OPERATOR_PAUSE).await;
        then
    }

    /// Stream or shard is gone. Only if the stream is still the same and does not list the shard has the shard's retention ended.
    async fn on_not_found(&mut self, error: &SeamError) -> State {
        self.doubtful = true;
        match self.shard_is_gone().await {
            Ok(true) => {
                self.ctx.worker.gap(&self.ctx.identity.lease, GapReason::ShardExpired, &self.unread());
                State::Ended(Vec::new())
            }
            Ok(false) => self.wait_for_operator(error, State::Opening).await,
            Err(error) => self.wait_for_operator(&error, State::Opening).await,
        }
    }

    async fn shard_is_gone(&self) -> Result<bool, SeamError> {
        let stream = &self.ctx.stream;
        self.look_at_stream(async {
            stream.is_the_same().await?;
            let shards = stream.source.list_shards().await?;
            Ok(!shards.iter().any(|shard| shard.id == self.ctx.identity.shard))
        })
        .await
    }

    async fn stream_is_the_same(&self) -> Result<(), SeamError> {
        self.look_at_stream(self.ctx.stream.is_the_same()).await
    }

    async fn look_at_stream<T>(&self, look: impl Future<Output = Result<T, SeamError>>) -> Result<T, SeamError> {
        let limit = self.ctx.worker.settings.time_outs.describe;
        let looked = tokio::time::timeout(limit, look).await;
        let looked =
            looked.unwrap_or_else(|_| Err(SeamError::timed_out("DescribeStreamSummary", self.subject(), limit)));
        self.ctx.worker.board.stream_looked_at(self.ctx.stream.index, looked.as_ref().err());
        looked
    }

    // === Gaps ===

    /// Nothing is there any more, and the checkpoint is older than what the stream keeps: what came after it may be gone too.
    async fn notice_expired(&self) {
        let worker = &self.ctx.worker;
        let Some(checkpoint) = &self.from.checkpoint else { return };
        let Some(arrival) = checkpoint.arrival else { return };
        self.notice_older_than_kept(worker.clock.now().wall.since(arrival)).await;
    }

    /// Between the last answer and this one more time has passed than the stream keeps records: the service goes on in silence
    /// with the oldest that it has.
    async fn notice_outrun(&self) {
        let Some(until) = self.read_until else { return };
        let age = self.ctx.worker.clock.now().wall.since(until);
        self.notice_older_than_kept(age.saturating_sub(TRIM_SLACK)).await;
    }

    async fn notice_older_than_kept(&self, age: Duration) {
        let stream = &self.ctx.stream;
        if age <= stream.description.retention {
            return;
        }
        // The retention may have been changed since the start. If it cannot be asked, the old one stands.
        let asked = tokio::time::timeout(self.ctx.worker.settings.time_outs.describe, stream.source.describe()).await;
        let described = asked.ok().and_then(Result::ok);
        let retention = described.map_or(stream.description.retention, |described| described.retention);
        if age > retention {
            self.tell_trimmed();
        }
    }

    /// The first record that is read is not the checkpointed one: it was trimmed, and perhaps others after it.
    fn notice_trimmed(&self, chunk: &Chunk) {
        let Some(checkpoint) = &self.from.checkpoint else { return };
        if chunk.record(0).sequence != checkpoint.position.sequence.as_str() {
            self.tell_trimmed();
        }
    }

    fn tell_trimmed(&self) {
        self.ctx.worker.gap(&self.ctx.identity.lease, GapReason::Trimmed, &self.unread());
    }

    fn unread(&self) -> String {
        match (&self.handed, &self.from.checkpoint, &self.from.at) {
            (Some(sequence), ..) => format!("after {sequence}"),
            (None, Some(checkpoint), _) => format!("after {}", checkpoint.position),
            (None, None, OpenAt::At(sequence)) => format!("from {sequence}"),
            (None, None, _) => "from the start".to_owned(),
        }
    }

    fn subject(&self) -> String {
        format!("{}/{}", self.ctx.identity.stream, self.ctx.identity.shard)
    }
}

/// The deliverer is gone.
struct Unheard;

#[cfg(test)]
mod tests;
