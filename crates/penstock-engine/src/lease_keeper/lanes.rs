//! How many calls of the lease keeper are under way at once: thousands of renewals that fall due together must not open thousands
//! of requests, and what keeps leases must not wait behind what can wait.
//!
//! Three lanes that do not wait for each other: what proves leases or moves them, in order; what makes, lists, deletes and records,
//! in order; and the scan, of which there is never more than one.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;

use super::calls::{Call, Calls, Finished};

/// Writes of rows under way. At 10 ms each they renew 6,400 leases a second.
const WRITES: usize = 64;
/// Other calls under way: their answers are awaited by nobody but the leader's next look.
const OTHERS: usize = 16;

/// The calls that are under way and those that wait for their turn.
pub(super) struct Lanes {
    calls: Calls,
    running: FuturesUnordered<BoxFuture<'static, (LaneKind, Finished)>>,
    writes: Lane,
    others: Lane,
}

struct Lane {
    waiting: VecDeque<Call>,
    running: usize,
    most: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneKind {
    Free,
    Writes,
    Others,
}

impl Lanes {
    pub(super) fn new(calls: Calls) -> Self {
        let lane = |most| Lane { waiting: VecDeque::new(), running: 0, most };
        Self { calls, running: FuturesUnordered::new(), writes: lane(WRITES), others: lane(OTHERS) }
    }

    /// Begins the call, or lets it wait until there is room in its lane.
    pub(super) fn push(&mut self, call: Call) {
        match lane_of(&call) {
            LaneKind::Free => self.begin(LaneKind::Free, call),
            LaneKind::Writes => self.writes.waiting.push_back(call),
            LaneKind::Others => self.others.waiting.push_back(call),
        }
        self.begin_waiting();
    }

    /// Whether nothing is under way, and so nothing waits either.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The next call that ends. Cancel-safe. `None` if none is under way.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        let (kind, finished) = self.running.next().await?;
        match kind {
            LaneKind::Free => {}
            LaneKind::Writes => self.writes.running -= 1,
            LaneKind::Others => self.others.running -= 1,
        }
        self.begin_waiting();
        Some(finished)
    }

    fn begin_waiting(&mut self) {
        while let Some(call) = self.writes.turn() {
            self.begin(LaneKind::Writes, call);
        }
        while let Some(call) = self.others.turn() {
            self.begin(LaneKind::Others, call);
        }
    }

    fn begin(&self, kind: LaneKind, call: Call) {
        self.running.push(self.calls.begin(call).map(move |finished| (kind, finished)).boxed());
    }
}

impl Lane {
    fn turn(&mut self) -> Option<Call> {
        if self.running >= self.most {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.running += 1;
        Some(call)
    }
}

const fn lane_of(call: &Call) -> LaneKind {
    match call {
        Call::Scan => LaneKind::Free,
        Call::Write(..) | Call::Want(_) => LaneKind::Writes,
        Call::ListShards(_) | Call::Create(_) | Call::Delete(..) | Call::RecordGap(_) => LaneKind::Others,
    }
}
