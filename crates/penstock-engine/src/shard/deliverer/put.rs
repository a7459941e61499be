//! Puts the objects of a batch: within the lease's deadline, and again until each is there.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::intent::Destination;
use penstock_core::random::Random;

use super::ShardError;
use crate::ports::{ErrorClass, ObjectSink, PreparedObject, Put, SeamError};
use crate::shard::context::{ShardContext, backoff};
use crate::shard::pulse::{Part, Wait};
use crate::status::SinkStatus;

/// While the lease's deadline has passed and it is not known whether the lease is lost.
const DEADLINE_NAP: Duration = Duration::from_millis(100);
/// From so many failures in a row on the sink is said to be down.
const ATTEMPTS_TO_BE_DOWN: u32 = 4;

/// How long a put is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until it succeeds: the batch has nowhere else to go.
    Endless,
    /// So many attempts; then somebody else may try.
    Attempts(u32),
}

/// Puts objects for one shard.
pub(super) struct Putter {
    ctx: Arc<ShardContext>,
    part: Part,
    sink: Arc<dyn ObjectSink>,
    random: Random,
}

/// An object was not put.
#[derive(Debug)]
pub(super) enum NotPut {
    /// Another object stands under its key.
    Refused(SeamError),
    /// The patience is at its end.
    Unreachable(SeamError),
}

impl From<NotPut> for ShardError {
    fn from(not: NotPut) -> Self {
        match not {
            NotPut::Refused(error) | NotPut::Unreachable(error) => Self::Refused(error),
        }
    }
}

impl Putter {
    pub(super) fn new(ctx: Arc<ShardContext>, part: Part, sink: Arc<dyn ObjectSink>) -> Self {
        let random = ctx.worker.random(ctx.identity.shard.as_str(), ctx.tenure.seed() ^ 0x7075_7400);
        Self { ctx, part, sink, random }
    }

    /// Puts one object, again and again if need be. An attempt of unknown outcome is repeated as it was; none begins or goes on
    /// past the lease's deadline.
    pub(super) async fn put(
        &mut self,
        to: &Destination,
        object: &PreparedObject,
        patience: Patience,
    ) -> Result<Put, NotPut> {
        let pauses = backoff(Duration::from_millis(200), Duration::from_secs(20));
        let mut attempt = 0_u32;
        loop {
            let error = match self.attempt(to, object).await {
                Some(Ok(put)) => {
                    if attempt >= ATTEMPTS_TO_BE_DOWN {
                        self.ctx.worker.board.sink_answers_again();
                    }
                    return Ok(put);
                }
                Some(Err(error)) => error,
                None => {
                    self.waits(Wait::Lease);
                    self.ctx.worker.clock.sleep(DEADLINE_NAP).await;
                    continue;
                }
            };
            attempt = attempt.saturating_add(1);
            if error.class == ErrorClass::Rejected {
                return Err(NotPut::Refused(error));
            }
            if let Patience::Attempts(most) = patience
                // What does not exist will hardly appear meanwhile, and there may be another place.
                && (attempt >= most || error.class == ErrorClass::NotFound)
            {
                return Err(NotPut::Unreachable(error));
            }
            if attempt >= ATTEMPTS_TO_BE_DOWN {
                self.ctx.worker.board.sink_is(SinkStatus::Down(error.to_string()));
            }
            let pause = pauses.delay(attempt - 1, &mut self.random);
            self.ctx.call_failed(&error, attempt, pause);
            self.waits(Wait::Sink);
            self.ctx.worker.clock.sleep(pause).await;
        }
    }

    /// `None` if the lease's deadline passed.
    async fn attempt(&self, to: &Destination, object: &PreparedObject) -> Option<Result<Put, SeamError>> {
        let worker = &self.ctx.worker;
        let limit = worker.settings.time_outs.put;
        self.waits(Wait::Put);
        let put = |permit| async move {
            match tokio::time::timeout(limit, self.sink.put(permit, to, object)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SeamError::timed_out("put", format!("{to}/{}", object.key), limit)),
            }
        };
        let began = worker.clock.now().instant;
        let outcome = self.ctx.tenure.deadline.bound(&worker.clock, put).await;
        if matches!(outcome, Some(Ok(_))) {
            worker.metrics.sink_call.record(worker.clock.now().instant.since(began).as_secs_f64());
        }
        outcome
    }

    fn waits(&self, wait: Wait) {
        self.ctx.pulse().waits(self.part, wait);
    }
}
