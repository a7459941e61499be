//! A sink that takes records by calls, entry by entry, and the place for what it never takes, as one worker reaches them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::ids::WorkerId;
use penstock_engine::ports::{
    CallLimits, CallSink, CallTarget, DeliveryPermit, EntryOutcome, ErrorClass, SeamError, SetAside, SetAsideBatch,
};

use crate::ledger::NO_IDLE_REPEAT;
use crate::network::{Link, Seam};
use crate::stream;
use crate::world::World;

/// Every so many user records there is one that the sink never takes, if there are such.
const POISON: u64 = 61;

/// How many calls there were.
#[derive(Debug, Default)]
pub struct CallStore {
    calls: usize,
}

/// The call sink as one worker reaches it.
#[derive(Debug)]
pub struct LinkedCalls {
    link: Arc<Link>,
    worker: WorkerId,
    rules: CallRules,
}

/// How the sink treats calls, and what its workers promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRules {
    /// What the sink says of the boundaries of entries.
    pub packable: Option<bool>,
    /// Whether there are records that it never takes.
    pub poison: bool,
    /// Whether calls with records of one shard wait for each other.
    pub ordered: bool,
}

/// That a worker waits for a call; ends with the future of the call, however that ends.
struct Waiting {
    link: Arc<Link>,
    call: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.link.world.with(|state| state.ledger.on_wait_ended(self.call));
    }
}

impl LinkedCalls {
    /// The sink behind `link`.
    #[must_use]
    pub const fn new(link: Arc<Link>, worker: WorkerId, rules: CallRules) -> Self {
        Self { link, worker, rules }
    }

    /// Checks the entries of a call that begins, and gives the ids of their records.
    fn begin(&self, entries: &[Bytes], time_out: Duration) -> (usize, Vec<Vec<u64>>) {
        let ids: Vec<Vec<u64>> = entries.iter().map(|entry| stream::ids(entry).unwrap_or_default()).collect();
        let number = self.link.world.with(|state| {
            let number = state.calls.calls;
            state.calls.calls += 1;
            let records = ids.iter().map(Vec::len).sum::<usize>();
            state.note(
                &self.link.name,
                format_args!("begins call {number}: {} entries, {records} records", entries.len()),
            );
            if ids.iter().any(Vec::is_empty) {
                state.broke(NO_IDLE_REPEAT, "an entry does not hold records of this world".to_owned());
            }
            let all: Vec<u64> = ids.iter().flatten().copied().collect();
            let found = state.ledger.on_begin_call(&state.streams, &self.worker, number, &all);
            state.check(found);
            let shards: BTreeSet<usize> = all.iter().filter_map(|id| state.streams.place(*id)).map(|at| at.0).collect();
            let found = state.ledger.on_wait(&state.streams, &self.worker, number, &shards, self.rules.ordered);
            state.check(found);
            for shard in shards {
                let key = state.streams.shards()[shard].key.clone();
                let found = state.ledger.on_begin(&self.worker, &key, state.now, time_out);
                state.check(found);
            }
            number
        });
        (number, ids)
    }
}

#[async_trait]
impl CallSink for LinkedCalls {
    fn limits(&self) -> CallLimits {
        CallLimits { max_entries: 20, max_call_bytes: 400, max_entry_bytes: 200, billed_step: None }
    }

    async fn probe(&self) -> Result<CallTarget, SeamError> {
        let packable = self.rules.packable;
        self.link.call(Seam::Sink, "DescribeDeliveryStream", String::new(), move |_| Ok(CallTarget { packable })).await
    }

    async fn call(
        &self,
        _: DeliveryPermit,
        entries: &[Bytes],
        time_out: Duration,
    ) -> Result<Vec<EntryOutcome>, SeamError> {
        let (number, ids) = self.begin(entries, time_out);
        let _waiting = Waiting { link: Arc::clone(&self.link), call: number };
        let (link, worker, poison) = (Arc::clone(&self.link), self.worker.clone(), self.rules.poison);
        let effect = move |world: &World| {
            let outcome = |ids: &Vec<u64>| {
                if poison && ids.iter().any(|id| id % POISON == POISON - 1) {
                    return EntryOutcome::Rejected { code: "InvalidArgument".to_owned(), message: "never".to_owned() };
                }
                if link.fails(link.faults().entries_failed) {
                    let (code, message) = ("ServiceUnavailable".to_owned(), "later".to_owned());
                    return EntryOutcome::Failed { class: ErrorClass::Throttled, code, message };
                }
                EntryOutcome::Delivered
            };
            let outcomes: Vec<EntryOutcome> = ids.iter().map(outcome).collect();
            world.with(|state| {
                let taken = ids.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == EntryOutcome::Delivered);
                let taken: Vec<u64> = taken.flat_map(|(ids, _)| ids.iter().copied()).collect();
                state.note(&link.name, format_args!("call {number} takes {} records", taken.len()));
                let found = state.ledger.on_call(&state.streams, &worker, number, &taken);
                state.check(found);
            });
            Ok(outcomes)
        };
        let outcomes = self.link.call(Seam::Sink, "PutRecordBatch", format!("call {number}"), effect).await?;
        self.link.world.with(|state| state.ledger.on_call_answered(number));
        Ok(outcomes)
    }
}

/// The place for what the call sink never takes, as one worker reaches it.
#[derive(Debug)]
pub struct LinkedSetAside {
    link: Arc<Link>,
}

impl LinkedSetAside {
    /// The place behind `link`.
    #[must_use]
    pub const fn new(link: Arc<Link>) -> Self {
        Self { link }
    }
}

#[async_trait]
impl SetAside for LinkedSetAside {
    async fn set_aside(&self, _: DeliveryPermit, batch: &SetAsideBatch) -> Result<(), SeamError> {
        let ids: Vec<u64> =
            batch.records.iter().flat_map(|record| stream::ids(&record.data).unwrap_or_default()).collect();
        let name = self.link.name.clone();
        let effect = move |world: &World| {
            world.with(|state| {
                state.note(&name, format_args!("sets aside {ids:?}"));
                let found = state.ledger.on_set_aside(&state.streams, &ids);
                state.check(found);
                Ok(())
            })
        };
        self.link.call(Seam::Sink, "SetAside", batch.shard.shard.to_string(), effect).await
    }
}
