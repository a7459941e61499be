//! Contention: conditional writes of many workers at once lose nothing.

use std::sync::Arc;

use penstock_core::ids::WorkerId;
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWrite, WriteOutcome};
use penstock_engine::ports::{ErrorClass, LeaseTable};
use tokio::task::JoinSet;

use super::rows::{bare_row, key};
use super::{Place, create, only_row};

const WORKERS: usize = 8;
const INCREMENTS: u64 = 50;

pub(super) async fn no_update_is_lost(place: &Place) {
    begin(place.table()).await;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let table = Arc::clone(&place.tables[worker % place.tables.len()]);
        workers.spawn(async move { increment(&*table, INCREMENTS).await });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker that ends");
    }
    finish(place.table(), WORKERS as u64 * INCREMENTS).await;
}

/// Creates the row that [`increment`] works on.
///
/// # Panics
/// If there is one already.
pub async fn begin(table: &dyn LeaseTable) {
    create(table, &LeaseRow { lag: Some(0), ..bare_row() }).await;
}

/// Checks that this many increments were stored and no other write.
///
/// # Panics
/// If an update was lost.
pub async fn finish(table: &dyn LeaseTable, applied: u64) {
    let row = only_row(table).await;
    assert_eq!(row.lag, Some(applied), "each write that was applied is in the row");
    assert_eq!(row.counter.0, bare_row().counter.0 + applied, "and no other");
}

/// Adds one to counter and lag, as often as asked, each time upon exactly what stands there. The lag stands for what a writer
/// computes from the row: it comes out right only if no write lands upon a row that its writer did not see.
///
/// # Panics
/// If the table fails other than by asking for patience.
pub async fn increment(table: &dyn LeaseTable, times: u64) {
    let mut row = only_row(table).await;
    for _ in 0..times {
        loop {
            let lag = row.lag.expect("set at the start") + 1;
            let change = Change { lag: Field::Set(lag), ..Change::counter(row.counter.next()) };
            let write = LeaseWrite { key: key(), expect: Expect::counter(row.counter), change };
            match table.write(&write).await {
                Ok(WriteOutcome::Applied(after)) => {
                    assert_eq!(*after, write.change.apply(&row), "the write stands upon what its writer saw");
                    row = *after;
                    break;
                }
                Ok(WriteOutcome::Conflict(found)) => row = *found.expect("the row is there"),
                // Certainly without effect.
                Err(error) if error.class == ErrorClass::Throttled => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub(super) async fn one_create_wins(place: &Place) {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let table = Arc::clone(&place.tables[worker % place.tables.len()]);
        workers.spawn(async move {
            let row = LeaseRow { owner: Some(WorkerId::new(&format!("w{worker}"))), ..bare_row() };
            let outcome = table.create(&row).await.expect("a create");
            (row, outcome)
        });
    }
    let mut created = Vec::new();
    while let Some(ended) = workers.join_next().await {
        let (row, outcome) = ended.expect("a worker that ends");
        if outcome == CreateOutcome::Created {
            created.push(row);
        }
    }
    assert_eq!(created, [only_row(place.table()).await], "one create made the row");
}
