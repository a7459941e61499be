//! The lease table as one worker reaches it: the shared table behind that worker's network, with every effect checked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
use penstock_core::lease::{CreateOutcome, Field, LeaseRow, LeaseWrite, Scan, WriteOutcome};
use penstock_core::position::Position;
use penstock_engine::ports::{ErrorClass, LeaseTable, SeamError, TableProblem};

use crate::lease_table::SimulatedLeaseTable;
use crate::ledger::{ROWS_STAY, Sent};
use crate::network::{Link, Seam};
use crate::world::World;

/// The lease table as one worker reaches it.
pub struct LinkedLeases {
    link: Arc<Link>,
    worker: WorkerId,
    table: Arc<SimulatedLeaseTable>,
    /// The last write of each row and when it was first sent.
    sent: Mutex<BTreeMap<LeaseKey, (LeaseWrite, Duration)>>,
}

impl fmt::Debug for LinkedLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedLeases").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl LinkedLeases {
    /// `table` as `worker` reaches it.
    #[must_use]
    pub fn new(link: Arc<Link>, worker: WorkerId, table: Arc<SimulatedLeaseTable>) -> Self {
        Self { link, worker, table, sent: Mutex::default() }
    }

    /// When this write was first sent: now, unless the same bytes are under way for the same end.
    fn first_sent(&self, write: &LeaseWrite) -> Sent {
        let now = self.link.world.with(|state| state.now);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = matches!(&write.change.owner, Field::Set(owner) if *owner == self.worker);
        let first = match sent.get(&write.key) {
            // A take whose outcome is unknown is not sent again: an equal one is a new one.
            Some((last, first)) if last == write && !takes => *first,
            _ => {
                sent.insert(write.key.clone(), (write.clone(), now));
                now
            }
        };
        Sent { first, takes, gaps: self.link.gaps_told() }
    }
}

fn apply(
    world: &World,
    name: &str,
    worker: &WorkerId,
    table: &SimulatedLeaseTable,
    write: &LeaseWrite,
    sent: Sent,
) -> Result<WriteOutcome, SeamError> {
    let before = table.row(&write.key);
    let outcome = table.write_now(write)?;
    world.with(|state| {
        match &outcome {
            WriteOutcome::Applied => {
                let (before, after) = (before.expect("it was written"), table.row(&write.key).expect("it was written"));
                state.note(name, format_args!("row {}", Shown(&after)));
                let found = state.ledger.on_write(&state.stream, worker, &before, &after, sent);
                state.check(found);
            }
            WriteOutcome::Conflict(found) => match found {
                Some(found) => {
                    state.note(name, format_args!("conflict at {}, row {}", write.expect.counter, Shown(found)))
                }
                None => state.note(name, format_args!("conflict, no row {}", write.key)),
            },
        }
        Ok(outcome)
    })
}

/// A row in a line.
struct Shown<'a>(&'a LeaseRow);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeaseRow { key, owner, counter, checkpoint, intent, .. } = self.0;
        let owner = owner.as_ref().map_or("-", WorkerId::as_str);
        let intent = if intent.is_some() { " intent" } else { "" };
        write!(f, "{key} {owner} {counter} at {checkpoint}{intent}")
    }
}

#[async_trait]
impl LeaseTable for LinkedLeases {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(self.link.call(Seam::Table, "DescribeTable", "leases".to_owned(), |_| Ok(())).await?)
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        let table = Arc::clone(&self.table);
        self.link.call(Seam::Table, "Scan", "leases".to_owned(), move |_| Ok(table.scan_now())).await
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        let (table, link, row) = (Arc::clone(&self.table), Arc::clone(&self.link), row.clone());
        let effect = move |world: &World| {
            let outcome = table.create_now(&row);
            world.with(|state| {
                state.note(&link.name, format_args!("create {}: {outcome:?}", Shown(&row)));
                if outcome == CreateOutcome::Created {
                    let wall = state.wall();
                    let found = state.ledger.on_create(&state.stream, &row, wall);
                    state.check(found);
                }
            });
            Ok(outcome)
        };
        self.link.call(Seam::Table, "PutItem", String::new(), effect).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let first = self.first_sent(write);
        let (table, link, worker) = (Arc::clone(&self.table), Arc::clone(&self.link), self.worker.clone());
        let under_way = write.clone();
        let effect = move |world: &World| apply(world, &link.name, &worker, &table, &under_way, first);
        let subject = format!("{} at {}", write.key, write.expect.counter);
        let answer = self.link.call(Seam::Table, "UpdateItem", subject, effect).await;
        if matches!(&answer, Err(error) if error.class == ErrorClass::Throttled) {
            // Certainly without effect: the same bytes may be a new write.
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.retain(|_, (last, at)| last != write || *at != first.first);
        }
        answer
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let (table, key) = (Arc::clone(&self.table), key.clone());
        let subject = key.to_string();
        let effect = move |world: &World| {
            let before = table.row(&key);
            let gone = table.delete_now(&key, counter);
            world.with(|state| {
                let listed = state.stream.number(&key.shard_id()).is_some();
                if before.is_some() && gone && listed {
                    let ended = before.is_some_and(|row| row.checkpoint == Position::ShardEnd);
                    state.broke(ROWS_STAY, format!("{key} was deleted (ended: {ended})"));
                }
            });
            Ok(gone)
        };
        self.link.call(Seam::Table, "DeleteItem", subject, effect).await
    }
}
