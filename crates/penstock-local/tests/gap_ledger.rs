//! The gap ledger in an SQLite file: the suite of all gap ledgers over several connections, and what is particular to the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::ids::{ApplicationName, LeaseCounter, LeaseKey, StreamName, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, GapLedger, LeaseTable};
use penstock_local::gap_ledger::SqliteGapLedger;
use penstock_local::lease_table::SqliteLeaseTable;
use penstock_sim::conformance::gap_ledger::{self, Place, Stranger};
use rusqlite::{Connection, params};
use tempfile::TempDir;

fn ledger(path: &Path, application: &str) -> SqliteGapLedger {
    SqliteGapLedger::new(path, &ApplicationName::new(application))
}

async fn prepared(path: &Path, application: &str) -> SqliteGapLedger {
    let ledger = ledger(path, application);
    ledger.prepare().await.expect("a ledger");
    ledger
}

fn entry() -> GapEntry {
    GapEntry {
        stream: StreamName::new("clicks"),
        stream_created: UnixMillis(1_600_000_000_123),
        lease: LeaseKey::new("shardId-000000000007"),
        range: GapRange { after: Position::TrimHorizon, end: GapEnd::Unknown },
        reason: GapReason::RowRecreated,
        noticed: UnixMillis(5),
        by: WorkerId::new("w"),
        acknowledged: None,
    }
}

/// Works on the file by a connection of its own.
struct Hand(PathBuf);

#[async_trait]
impl Stranger for Hand {
    async fn damage(&self, entry: &GapEntry) {
        let connection = Connection::open(&self.0).expect("the file");
        let sql = "UPDATE gap_entries SET reason = ?1 WHERE id = ?2";
        assert_eq!(connection.execute(sql, params!["boredom", entry.id().to_string()]).expect("the file"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_file_keeps_the_rules_of_a_gap_ledger() {
    let directory = TempDir::new().unwrap();
    gap_ledger::run(|case| {
        let path = directory.path().join(format!("{case}.db"));
        async move {
            let mut ledgers: Vec<Arc<dyn GapLedger>> = Vec::new();
            for _ in 0..3 {
                ledgers.push(Arc::new(prepared(&path, "app").await));
            }
            Place { ledgers, stranger: Arc::new(Hand(path)) }
        }
    })
    .await;
}

#[tokio::test]
async fn leases_and_gaps_share_the_file_and_applications_do_not_see_each_others() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let leases = SqliteLeaseTable::new(&path, &ApplicationName::new("one"));
    leases.prepare().await.unwrap();
    let (one, other) = (ledger(&path, "one"), prepared(&path, "other").await);
    let row = LeaseRow::new(entry().lease, LeaseCounter(1), Position::Latest);
    leases.create(&row).await.unwrap();
    one.record(&entry()).await.unwrap();
    assert_eq!(other.entries().await.unwrap(), (vec![], vec![]));
    assert!(!other.acknowledge(entry().id(), UnixMillis(1)).await.unwrap());
    other.record(&entry()).await.unwrap();
    assert!(other.acknowledge(entry().id(), UnixMillis(1)).await.unwrap());
    assert_eq!(one.entries().await.unwrap(), (vec![entry()], vec![]));
    assert_eq!(leases.scan().await.unwrap().rows, [row]);
}

#[tokio::test]
async fn a_file_that_is_missing_or_locked_is_an_error_that_can_be_tried_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let ledger = ledger(&path, "app");
    assert_eq!(ledger.record(&entry()).await.unwrap_err().class, ErrorClass::NotFound);
    ledger.prepare().await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(ledger.record(&entry()).await.unwrap_err().class, ErrorClass::Throttled);
    other.execute_batch("ROLLBACK").unwrap();
    ledger.record(&entry()).await.unwrap();
    assert_eq!(ledger.entries().await.unwrap().0, [entry()]);
}
