//! Sets records of a call sink aside: again and again until they stand there, since nothing settles before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use penstock_core::aggregate::Deaggregated;
use penstock_core::random::Random;

use crate::ports::{SeamError, SetAside, SetAsideBatch, SetAsideReason, SetAsideRecord};
use crate::shard::context::{ShardContext, backoff};

/// While the lease's deadline has passed and it is not known whether the lease is lost.
const DEADLINE_NAP: Duration = Duration::from_millis(100);

/// One batch of records to set aside.
pub(super) struct SetAsider {
    ctx: Arc<ShardContext>,
    place: Arc<dyn SetAside>,
    batch: SetAsideBatch,
    random: Random,
}

impl SetAsider {
    pub(super) fn new(
        ctx: Arc<ShardContext>,
        place: Arc<dyn SetAside>,
        chunk: &Deaggregated,
        mut records: Vec<(usize, SetAsideReason)>,
    ) -> Self {
        records.sort_by_key(|(index, _)| *index);
        let records = records.into_iter().map(|(index, reason)| {
            let record = chunk.records.get(index);
            SetAsideRecord {
                position: record.position(),
                arrival: record.arrival,
                data: chunk.records.data(index),
                reason,
            }
        });
        let batch = SetAsideBatch { shard: ctx.identity.clone(), records: records.collect() };
        let random = ctx.worker.random(ctx.identity.shard.as_str(), ctx.tenure.seed() ^ 0x6173_6964);
        Self { ctx, place, batch, random }
    }

    /// Ends when the records stand there. The value counts them by reason.
    pub(super) async fn run(mut self) -> Vec<(&'static str, u64)> {
        let pauses = backoff(Duration::from_millis(500), Duration::from_secs(30));
        for attempt in 0_u32.. {
            match self.attempt().await {
                Some(Ok(())) => break,
                Some(Err(error)) => {
                    let pause = pauses.delay(attempt, &mut self.random);
                    self.ctx.call_failed(&error, attempt + 1, pause);
                    self.ctx.worker.clock.sleep(pause).await;
                }
                None => self.ctx.worker.clock.sleep(DEADLINE_NAP).await,
            }
        }
        let mut counts = BTreeMap::new();
        for record in &self.batch.records {
            *counts.entry(record.reason.as_str()).or_insert(0) += 1;
        }
        tracing::warn!(stream = %self.ctx.identity.stream, shard = %self.ctx.identity.shard, records = ?counts, "records were set aside");
        counts.into_iter().collect()
    }

    /// `None` if the lease's deadline passed.
    async fn attempt(&self) -> Option<Result<(), SeamError>> {
        let worker = &self.ctx.worker;
        let limit = worker.settings.time_outs.put;
        let put = |permit| async move {
            match tokio::time::timeout(limit, self.place.set_aside(permit, &self.batch)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SeamError::timed_out("set aside", self.ctx.identity.shard.to_string(), limit)),
            }
        };
        self.ctx.tenure.deadline.bound(&worker.clock, put).await
    }
}
