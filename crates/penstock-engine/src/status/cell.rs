//! Where the tasks of one held shard write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_core::coordinator::api::Silence;
use penstock_core::ids::{LeaseKey, StreamName};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::{Instant, Now, UnixMillis};

use super::{ShardPhase, ShardStatus};

/// Where the tasks of one held shard write.
#[derive(Debug)]
pub(crate) struct ShardCell(Mutex<ShardFacts>);

#[derive(Debug)]
pub(crate) struct ShardFacts {
    lease: LeaseKey,
    stream: StreamName,
    /// Since when nobody read the shard; none once it was read, or if nobody did before.
    silent_since: Option<Silence>,
    taken: Instant,
    answered: Option<(Instant, Duration)>,
    /// The payload that was read since the keeper was told last.
    untold: u64,
    /// The payload that was read in this tenure.
    read_bytes: u64,
    pub(crate) phase: ShardPhase,
    pub(crate) checkpoint: Position,
    pub(crate) position: Option<RecordPosition>,
    pub(crate) open_bytes: u64,
    pub(crate) open_records: u64,
    pub(crate) in_flight: u64,
    /// The arrival time of the oldest record that is not settled.
    pub(crate) oldest_unsettled: Option<UnixMillis>,
    /// With reading.
    read_problem: Option<String>,
    /// With anything else.
    pub(crate) problem: Option<String>,
    pub(crate) restarts: u32,
}

impl ShardCell {
    pub(crate) fn new(
        lease: LeaseKey,
        stream: StreamName,
        checkpoint: Position,
        silent_since: Option<Silence>,
        taken: Instant,
    ) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ShardFacts {
            lease,
            stream,
            silent_since,
            taken,
            answered: None,
            untold: 0,
            read_bytes: 0,
            phase: ShardPhase::WaitingForSink,
            checkpoint,
            position: None,
            open_bytes: 0,
            open_records: 0,
            in_flight: 0,
            oldest_unsettled: None,
            read_problem: None,
            problem: None,
            restarts: 0,
        })))
    }

    /// Changes what is shown. Short: no one waits long for it.
    pub(crate) fn note(&self, change: impl FnOnce(&mut ShardFacts)) {
        change(&mut self.facts());
    }

    /// The problem stays until the tenure ends.
    pub(crate) fn halted(&self, problem: String) {
        self.note(|facts| {
            facts.phase = ShardPhase::Halted;
            facts.problem = Some(problem);
        });
    }

    /// A fetch was answered. The first answer of a tenure tells how long nobody had read the shard before.
    pub(crate) fn answered(&self, now: Now, behind: Duration, bytes: u64) -> Option<Duration> {
        let mut facts = self.facts();
        facts.answered = Some((now.instant, behind));
        facts.read_problem = None;
        facts.untold += bytes;
        facts.read_bytes += bytes;
        facts.silent_since.take().map(|silence| match silence {
            // On the wall clock of another machine, which may be ahead of ours.
            Silence::Left(left) => now.wall.since(left),
            Silence::Unheard(since) => now.instant.since(since),
        })
    }

    /// The payload that was read since this was asked last.
    pub(crate) fn take_untold(&self) -> u64 {
        std::mem::take(&mut self.facts().untold)
    }

    /// Takes back what could not be told.
    pub(crate) fn not_told(&self, bytes: u64) {
        self.facts().untold += bytes;
    }

    fn facts(&self) -> MutexGuard<'_, ShardFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn problem(&self, problem: impl Into<String>) {
        let problem = problem.into();
        self.note(|facts| facts.problem = Some(problem));
    }

    /// A problem with reading, until something is read again.
    pub(crate) fn read_problem(&self, problem: String) {
        self.note(|facts| facts.read_problem = Some(problem));
    }

    /// What is wrong with reading, since something was read last.
    pub(crate) fn problem_with_reading(&self) -> Option<String> {
        self.facts().read_problem.clone()
    }

    /// How far behind the tip, counted on since the last answer, or since the lease was taken if there was none.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        self.facts().lag(now)
    }

    pub(crate) fn snapshot(&self, now: Now) -> ShardStatus {
        let facts = self.facts();
        ShardStatus {
            lease: facts.lease.clone(),
            stream: facts.stream.clone(),
            shard: facts.lease.shard_id(),
            phase: facts.phase,
            checkpoint: facts.checkpoint.clone(),
            position: facts.position.clone(),
            lag: facts.lag(now.instant),
            behind: facts.answered.map(|(_, behind)| behind),
            read_bytes: facts.read_bytes,
            held_for: now.instant.since(facts.taken),
            open_bytes: facts.open_bytes,
            open_records: facts.open_records,
            in_flight: facts.in_flight,
            oldest_unsettled: facts.oldest_unsettled.map_or(Duration::ZERO, |arrival| now.wall.since(arrival)),
            problem: facts.problem.clone().or_else(|| facts.read_problem.clone()),
            restarts: facts.restarts,
        }
    }
}

impl ShardFacts {
    fn lag(&self, now: Instant) -> Duration {
        match self.answered {
            Some((at, behind)) => behind + now.since(at),
            None => now.since(self.taken),
        }
    }
}
