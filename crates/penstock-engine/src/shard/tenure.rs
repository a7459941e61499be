//! What a shard knows of its lease: the token, the local deadline, the row as our last answered write left it.
//!
//! It outlives a failed run of the shard within the same tenure: a request that was under way then is awaited before the next
//! one is made, so that at most one is open and the row is never guessed.

use penstock_core::coordinator::api::{Answer, HeldLease, Progress, ShardRequest};
use penstock_core::ids::LeaseToken;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::gaps::GapLog;
use super::pulse::{Pulse, Wait};
use crate::deadline::DeliveryDeadline;

/// What shards and the worker tell the lease keeper.
#[derive(Debug)]
pub(crate) enum KeeperMessage {
    /// A shard asks for something that its row must record.
    Request(TenureRequest),
    /// What a shard has settled, and how far it is behind.
    Progress {
        /// The tenure.
        token: LeaseToken,
        /// The progress.
        progress: Progress,
    },
    /// A shard's tasks have ended.
    Stopped {
        /// The tenure.
        token: LeaseToken,
    },
}

/// What a shard asks for, under the token of its own tenure: [`Tenure::request`] alone makes one.
#[derive(Debug)]
pub(crate) struct TenureRequest {
    token: LeaseToken,
    request: ShardRequest,
    reply: oneshot::Sender<Answer>,
}

impl TenureRequest {
    /// The tenure, what it asks for, and where the answer goes; that is dropped without one when the tenure ends.
    pub(crate) fn into_parts(self) -> (LeaseToken, ShardRequest, oneshot::Sender<Answer>) {
        let Self { token, request, reply } = self;
        (token, request, reply)
    }
}

/// The lease is lost, or as good as lost: nothing more may be put or recorded for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseLost;

/// One tenure of one lease, as its shard sees it.
#[derive(Debug)]
pub(crate) struct Tenure {
    token: LeaseToken,
    pub(crate) deadline: DeliveryDeadline,
    pub(crate) pulse: Pulse,
    pub(crate) gaps: GapLog,
    keeper: mpsc::Sender<KeeperMessage>,
    view: Mutex<View>,
}

#[derive(Debug)]
struct View {
    row: LeaseRow,
    open: Option<(ShardRequest, oneshot::Receiver<Answer>)>,
}

impl Tenure {
    pub(crate) fn new(held: HeldLease, deadline: DeliveryDeadline, keeper: mpsc::Sender<KeeperMessage>) -> Self {
        let HeldLease { token, row, until: _, stream: _, silent_since: _ } = held;
        Self {
            token,
            deadline,
            pulse: Pulse::default(),
            gaps: GapLog::default(),
            keeper,
            view: Mutex::new(View { row, open: None }),
        }
    }

    /// A number that no other tenure of this worker has, to draw random numbers from.
    pub(crate) const fn seed(&self) -> u64 {
        self.token.number()
    }

    /// The row as it is known to be. Awaits a request that an earlier run of the shard left open.
    pub(crate) async fn row(&self) -> Result<LeaseRow, LeaseLost> {
        let mut view = self.view.lock().await;
        view.settle().await?;
        Ok(view.row.clone())
    }

    /// Asks for something to be recorded and waits until it is. Dropping the future leaves the request open.
    pub(crate) async fn request(&self, request: ShardRequest) -> Result<(), LeaseLost> {
        let mut view = self.view.lock().await;
        view.settle().await?;
        let (reply, answer) = oneshot::channel();
        let message = TenureRequest { token: self.token, request: request.clone(), reply };
        self.keeper.send(KeeperMessage::Request(message)).await.map_err(|_| LeaseLost)?;
        view.open = Some((request, answer));
        view.settle().await
    }

    /// Passes on what is settled and how far the shard is behind. What is settled is not read again within this tenure, whether or
    /// not it is stored yet.
    ///
    /// Cancel-safe: nothing is waited for between telling the keeper and noting it here, so that this view is never ahead.
    pub(crate) async fn progress(&self, progress: Progress) -> Result<(), LeaseLost> {
        let settled = progress.settled.clone();
        let mut view = self.view.lock().await;
        let message = KeeperMessage::Progress { token: self.token, progress };
        self.keeper.send(message).await.map_err(|_| LeaseLost)?;
        if let Some((position, arrival)) = settled {
            view.row.checkpoint = Position::After(position);
            view.row.arrival = Some(arrival);
        }
        Ok(())
    }

    /// What whoever asks for the row waits for, if a request is open.
    pub(crate) async fn open_wait(&self) -> Wait {
        match &self.view.lock().await.open {
            Some((request, _)) => wait_of(request),
            None => Wait::Lease,
        }
    }
}

/// What a request waits for.
pub(crate) const fn wait_of(request: &ShardRequest) -> Wait {
    match request {
        ShardRequest::EndShard { .. } => Wait::ShardEnd,
        ShardRequest::Intend { .. }
        | ShardRequest::Commit(_)
        | ShardRequest::SettleUntil { .. }
        | ShardRequest::DropIntent { .. }
        | ShardRequest::GiveUp { .. } => Wait::Lease,
    }
}

impl View {
    async fn settle(&mut self) -> Result<(), LeaseLost> {
        let Some((_, answer)) = &mut self.open else { return Ok(()) };
        let answer = answer.await;
        let (request, _) = self.open.take().expect("looked at above, and the lock is held");
        match answer {
            Ok(Answer::Done { checkpoint }) => {
                self.apply(request);
                self.row.checkpoint = checkpoint;
                Ok(())
            }
            // No answer: the keeper has ended the tenure.
            Ok(Answer::Lost) | Err(_) => Err(LeaseLost),
        }
    }

    fn apply(&mut self, request: ShardRequest) {
        match request {
            ShardRequest::Intend { intent, .. } => self.row.intent = Some(intent),
            ShardRequest::Commit(commit) => {
                self.row.arrival = Some(commit.arrival);
                if commit.chain.is_some() {
                    self.row.chain = commit.chain;
                }
                self.row.intent = commit.next;
            }
            ShardRequest::SettleUntil { until, .. } => self.row.arrival = Some(until),
            ShardRequest::DropIntent { .. } => self.row.intent = None,
            ShardRequest::EndShard { .. } | ShardRequest::GiveUp { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use penstock_core::coordinator::api::StreamIndex;
    use penstock_core::ids::{LeaseCounter, LeaseKey};
    use penstock_core::position::RecordPosition;
    use penstock_core::time::{Instant, UnixMillis};

    use super::*;

    fn tenure(keeper: mpsc::Sender<KeeperMessage>) -> Tenure {
        let row = LeaseRow::new(LeaseKey::new("shardId-000000000000"), LeaseCounter(1), Position::TrimHorizon);
        let (token, until) = (LeaseToken::forged(7), Instant::from_nanos(1_000_000_000));
        let held = HeldLease { token, row, until, stream: StreamIndex(0), silent_since: None };
        let deadline = DeliveryDeadline::of(&held);
        Tenure::new(held, deadline, keeper)
    }

    fn intend() -> ShardRequest {
        ShardRequest::Intend { from: Position::TrimHorizon, intent: Bytes::from_static(b"intent") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_a_failed_run_left_open_is_awaited_first() {
        let (sender, mut keeper) = mpsc::channel(4);
        let tenure = tenure(sender);
        let abandoned = tokio::time::timeout(Duration::from_millis(1), tenure.request(intend())).await;
        assert!(abandoned.is_err());
        let Some(KeeperMessage::Request(request)) = keeper.recv().await else { panic!("no request") };
        let (_, _, reply) = request.into_parts();
        let row = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            reply.send(Answer::Done { checkpoint: Position::TrimHorizon }).unwrap();
        };
        let (row, ()) = tokio::join!(tenure.row(), row);
        assert_eq!(row.unwrap().intent, Some(Bytes::from_static(b"intent")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenure_that_ends_without_an_answer_is_lost() {
        let (sender, mut keeper) = mpsc::channel(4);
        let tenure = tenure(sender);
        let drop_reply = async { drop(keeper.recv().await) };
        assert_eq!(tokio::join!(tenure.request(intend()), drop_reply).0, Err(LeaseLost));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_keeper_was_not_told_is_not_settled() {
        let (sender, mut keeper) = mpsc::channel(1);
        let tenure = tenure(sender);
        let settled = |number| {
            let position = RecordPosition::parse(number).unwrap();
            Progress { settled: Some((position, UnixMillis(5))), ..Progress::default() }
        };
        let after = |number| Position::After(RecordPosition::parse(number).unwrap());
        tenure.progress(settled("1")).await.unwrap();
        assert_eq!(tenure.row().await.unwrap().checkpoint, after("1"));
        // There is no room for another word, and whoever says it is dropped.
        assert!(tokio::time::timeout(Duration::from_millis(1), tenure.progress(settled("2"))).await.is_err());
        assert_eq!(tenure.row().await.unwrap().checkpoint, after("1"));
        keeper.recv().await.unwrap();
        tenure.progress(settled("3")).await.unwrap();
        assert_eq!(tenure.row().await.unwrap().checkpoint, after("3"));
    }
}
