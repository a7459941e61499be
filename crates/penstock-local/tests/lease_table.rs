//! The lease table in an SQLite file: the suite of all lease tables over several connections, several processes at once, and
//! files that are not ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::ids::{ApplicationName, HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWant, LeaseWrite, WriteOutcome};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, KclVersion, LeaseTable, SeamError, TableProblem};
use penstock_local::lease_table::SqliteLeaseTable;
use penstock_sim::conformance::lease_table::{self, Place, Stranger, contention};
use rusqlite::{Connection, params};
use tempfile::TempDir;

fn table(path: &Path, application: &str) -> SqliteLeaseTable {
    SqliteLeaseTable::new(path, &ApplicationName::new(application))
}

async fn prepared(path: &Path) -> SqliteLeaseTable {
    let table = table(path, "app");
    table.prepare().await.expect("a table");
    table
}

fn row(key: &str) -> LeaseRow {
    LeaseRow::new(LeaseKey::new(key), LeaseCounter(7), Position::TrimHorizon)
}

fn applied(outcome: Result<WriteOutcome, SeamError>) {
    assert!(matches!(outcome, Ok(WriteOutcome::Applied(_))), "{outcome:?}");
}

fn wish(key: &str) -> LeaseWant {
    let worker = |name: &str| WorkerId::new(name);
    LeaseWant { key: LeaseKey::new(key), owner: worker("holder"), before: None, wanted: worker("me") }
}

/// Works on the file by a connection of its own.
struct Hand(PathBuf);

impl Hand {
    fn update(&self, sql: &str, value: &str, key: &LeaseKey) {
        let connection = Connection::open(&self.0).expect("the file");
        assert_eq!(connection.execute(sql, params![value, key.as_str()]).expect("the file"), 1);
    }
}

#[async_trait]
impl Stranger for Hand {
    async fn leave_pending(&self, key: &LeaseKey) {
        self.update("UPDATE leases SET foreign_pending = CAST(?1 AS BLOB) WHERE lease_key = ?2", "pending", key);
    }

    async fn leave_unknown(&self, key: &LeaseKey, value: &str) {
        let connection = Connection::open(&self.0).expect("the file");
        // A column of a version to come; the second call finds it there.
        let _ = connection.execute("ALTER TABLE leases ADD COLUMN later TEXT", []);
        self.update("UPDATE leases SET later = ?1 WHERE lease_key = ?2", value, key);
    }

    async fn damage(&self, key: &LeaseKey) {
        self.update("UPDATE leases SET checkpoint = ?1 WHERE lease_key = ?2", "nowhere", key);
    }

    async fn damage_throughput(&self, key: &LeaseKey) {
        self.update("UPDATE leases SET throughput = ?1 WHERE lease_key = ?2", "fast", key);
    }

    async fn name_children(&self, key: &LeaseKey, children: &[ShardId]) {
        let children: Vec<String> = children.iter().map(|child| format!("\"{child}\"")).collect();
        let children = format!("[{}]", children.join(","));
        self.update("UPDATE leases SET children = ?1 WHERE lease_key = ?2", &children, key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_file_keeps_the_rules_of_a_lease_table() {
    let directory = TempDir::new().unwrap();
    lease_table::run(|case| {
        let path = directory.path().join(format!("{case}.db"));
        async move {
            let mut tables: Vec<Arc<dyn LeaseTable>> = Vec::new();
            for _ in 0..3 {
                tables.push(Arc::new(prepared(&path).await));
            }
            Place { tables, stranger: Arc::new(Hand(path)) }
        }
    })
    .await;
}

// === Several processes ===

const PROCESSES: u64 = 3;
const INCREMENTS: u64 = 40;
const CHILD: &str = "PENSTOCK_TEST_LEASE_FILE";

/// One of the processes of [`processes_that_share_the_file_lose_no_update`], and nothing otherwise.
#[tokio::test]
async fn process_that_increments() {
    let Ok(path) = std::env::var(CHILD) else { return };
    contention::increment(&prepared(Path::new(&path)).await, INCREMENTS).await;
}

#[tokio::test]
async fn processes_that_share_the_file_lose_no_update() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let table = prepared(&path).await;
    contention::begin(&table).await;
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "process_that_increments", "--nocapture"])
                .env(CHILD, &path)
                .spawn()
                .unwrap()
        })
        .collect();
    contention::increment(&table, INCREMENTS).await;
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    contention::finish(&table, (PROCESSES + 1) * INCREMENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_number_of_workers_may_make_the_file_at_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..12 {
        let path = path.clone();
        workers.spawn(async move {
            let table = prepared(&path).await;
            table.create(&row(&format!("{worker:02}"))).await.unwrap()
        });
    }
    assert!(workers.join_all().await.iter().all(|outcome| *outcome == CreateOutcome::Created));
    assert_eq!(prepared(&path).await.scan().await.unwrap().rows.len(), 12);
}

// === Within one file ===

#[tokio::test]
async fn applications_in_one_file_do_not_see_each_other() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let (one, other) = (table(&path, "one"), table(&path, "other"));
    one.prepare().await.unwrap();
    other.prepare().await.unwrap();
    assert_eq!(one.create(&row("a")).await.unwrap(), CreateOutcome::Created);
    assert_eq!(other.create(&row("a")).await.unwrap(), CreateOutcome::Created);
    let change = Change { checkpoint: Some(Position::ShardEnd), ..Change::counter(LeaseCounter(8)) };
    let write = LeaseWrite { key: LeaseKey::new("a"), expect: Expect::counter(LeaseCounter(7)), change };
    applied(one.write(&write).await);
    assert!(!one.want(&wish("a")).await.unwrap());
    assert_eq!(other.scan().await.unwrap().rows, [row("a")]);
    assert!(one.delete(&LeaseKey::new("a"), LeaseCounter(8)).await.unwrap());
    assert_eq!(other.scan().await.unwrap().rows, [row("a")]);
}

#[tokio::test]
async fn rows_outlive_the_process() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    prepared(&path).await.create(&row("a")).await.unwrap();
    assert_eq!(prepared(&path).await.scan().await.unwrap().rows, [row("a")]);
}

#[tokio::test]
async fn the_largest_numbers_are_kept_or_refused_without_effect() {
    let directory = TempDir::new().unwrap();
    let table = prepared(&directory.path().join("leases.db")).await;
    let sequence = SequenceNumber::parse(&"9".repeat(129)).unwrap();
    let checkpoint = Position::After(RecordPosition { sequence, subsequence: u64::MAX });
    let largest = LeaseRow { counter: LeaseCounter(i64::MAX.cast_unsigned()), checkpoint, ..row("a") };
    assert_eq!(table.create(&largest).await.unwrap(), CreateOutcome::Created);
    assert_eq!(table.scan().await.unwrap().rows, std::slice::from_ref(&largest));
    let change = Change { lag: Field::Set(u64::MAX), ..Change::counter(LeaseCounter(8)) };
    let write = LeaseWrite { key: LeaseKey::new("a"), expect: Expect::counter(largest.counter), change };
    assert_eq!(table.write(&write).await.unwrap_err().class, ErrorClass::Rejected);
    assert_eq!(table.scan().await.unwrap().rows, [largest]);
}

#[tokio::test]
async fn shard_ids_of_any_text_come_back() {
    let directory = TempDir::new().unwrap();
    let table = prepared(&directory.path().join("leases.db")).await;
    let ids = ["a,b", "\"quoted\"", "back\\slash", "é\n"];
    let parents = ids.iter().map(|id| penstock_core::ids::ShardId::new(id)).collect();
    let odd = LeaseRow { parents, ..row("it's") };
    table.create(&odd).await.unwrap();
    assert_eq!(table.scan().await.unwrap().rows, [odd]);
}

#[tokio::test]
async fn a_writer_that_takes_too_long_is_waited_for_and_then_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let table = prepared(&path).await;
    table.create(&row("a")).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = LeaseWrite {
        key: LeaseKey::new("a"),
        expect: Expect::counter(LeaseCounter(7)),
        change: Change::counter(LeaseCounter(8)),
    };
    let error = table.write(&write).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Throttled, "{error}");
    assert_eq!(table.scan().await.unwrap().rows, [row("a")], "readers do not wait");
    other.execute_batch("ROLLBACK").unwrap();
    applied(table.write(&write).await);
}

#[tokio::test]
async fn a_write_behind_another_process_waits_its_turn_and_is_applied() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let table = prepared(&path).await;
    table.create(&row("a")).await.unwrap();
    table.create(&row("b")).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE leases SET counter = 9 WHERE lease_key = 'b'").unwrap();
    let end = std::thread::spawn(move || {
        // Long enough for the write to have begun; if it has not, it finds nothing to wait for.
        std::thread::sleep(std::time::Duration::from_millis(200));
        other.execute_batch("COMMIT").unwrap();
    });
    let change = Change::counter(LeaseCounter(8));
    let write = LeaseWrite { key: LeaseKey::new("a"), expect: Expect::counter(LeaseCounter(7)), change };
    applied(table.write(&write).await);
    end.join().unwrap();
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_table_usable() {
    let directory = TempDir::new().unwrap();
    let table = prepared(&directory.path().join("leases.db")).await;
    for index in 0..20 {
        let (key, table) = (row(&format!("{index:02}")), table.clone());
        drop(tokio::spawn(async move { table.create(&key).await }));
        tokio::task::yield_now().await;
    }
    assert_eq!(table.create(&row("last")).await.unwrap(), CreateOutcome::Created);
    assert!(table.scan().await.unwrap().unreadable.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_is_dropped_before_its_turn_does_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let table = prepared(&path).await;
    table.create(&row("a")).await.unwrap();
    table.create(&row("b")).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = |key: &str| LeaseWrite {
        key: LeaseKey::new(key),
        expect: Expect::counter(LeaseCounter(7)),
        change: Change::counter(LeaseCounter(8)),
    };
    let (first, table_of_first) = (write("a"), table.clone());
    let first = tokio::spawn(async move { table_of_first.write(&first).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let second = tokio::time::timeout(std::time::Duration::from_millis(200), table.write(&write("b"))).await;
    assert!(second.is_err(), "it waits behind the first");
    other.execute_batch("ROLLBACK").unwrap();
    applied(first.await.unwrap());
    let counters: Vec<_> = table.scan().await.unwrap().rows.iter().map(|row| row.counter.0).collect();
    assert_eq!(counters, [8, 7]);
}

// === Files that are not ours ===

async fn refusal(path: &Path) -> String {
    match table(path, "app").prepare().await.expect_err("it cannot be used") {
        problem @ TableProblem::Foreign { .. } => format!("foreign: {problem}"),
        TableProblem::Unusable(error) => format!("{}: {error}", error.class),
    }
}

#[tokio::test]
async fn a_file_that_is_not_sqlite_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notes.txt");
    let text = "Dear diary, ".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let path_text = path.display();
    let expected = format!(
        "foreign: {path_text} cannot be used: it is not an SQLite file; move it away, or set leases.path to another file"
    );
    assert_eq!(refusal(&path).await, expected);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("photos.db");
    for (setup, what) in [
        ("CREATE TABLE photos (id INTEGER); CREATE TABLE albums (id INTEGER)", "with albums, photos"),
        ("CREATE TABLE leases (id INTEGER)", "with leases"),
        ("PRAGMA application_id = 5; CREATE TABLE t (id INTEGER); DROP TABLE t", "without tables"),
        ("PRAGMA user_version = 5; CREATE TABLE t (id INTEGER); DROP TABLE t", "without tables"),
    ] {
        let _ = std::fs::remove_file(&path);
        Connection::open(&path).unwrap().execute_batch(setup).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = refusal(&path).await;
        let expected = format!("it is the database of another program ({what}); set leases.path to another file");
        assert!(refused.starts_with("foreign: ") && refused.ends_with(&expected), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn tables_of_another_version_are_refused_with_both_versions() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    prepared(&path).await.create(&row("a")).await.unwrap();
    for version in [0, 3] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let refused = refusal(&path).await;
        let expected = format!(
            "its tables have version {version}, this penstock knows version 2; use the penstock that made it, or set"
        );
        assert!(refused.contains(&expected), "{refused}");
    }
    for (damage, missing) in [
        ("PRAGMA user_version = 2; ALTER TABLE leases DROP COLUMN wanted", "leases lacks wanted"),
        ("ALTER TABLE leases ADD COLUMN wanted TEXT; DROP TABLE gap_entries", "gap_entries lacks application, id"),
        ("PRAGMA user_version = 1; ALTER TABLE leases DROP COLUMN counter", "leases lacks counter; move the file away"),
    ] {
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let refused = refusal(&path).await;
        assert!(refused.contains(&format!("its table {missing}")), "{refused}");
    }
}

/// A file as the first version made it, with a row in which everything is set, at a later value in the columns that it has.
fn file_of_the_first_version(path: &Path) {
    let connection = Connection::open(path).expect("a file");
    connection
        .execute_batch(
            "CREATE TABLE leases (application TEXT NOT NULL, lease_key TEXT NOT NULL, owner TEXT, counter INTEGER NOT NULL,
                owner_switches INTEGER NOT NULL, checkpoint TEXT NOT NULL, foreign_pending BLOB, parents TEXT,
                children TEXT, hash_start TEXT, hash_end TEXT, checkpoint_owner TEXT, start INTEGER,
                stream_created INTEGER, arrival INTEGER, lag INTEGER, chain TEXT, intent BLOB, wanted TEXT,
                PRIMARY KEY (application, lease_key)) STRICT;
             PRAGMA application_id = 1885695603;
             PRAGMA user_version = 1;
             INSERT INTO leases VALUES ('app', 'a', 'w', 7, 1, '12/3', NULL, '[\"p\"]', NULL, '0', '9', NULL, 1, 2, 3, 4,
                '12/3', x'00ff', NULL)",
        )
        .expect("a file");
}

/// The row in it.
fn row_of_the_first_version() -> LeaseRow {
    let position = RecordPosition::parse("12/3").expect("a position");
    LeaseRow {
        owner: Some(WorkerId::new("w")),
        owner_switches: 1,
        checkpoint: Position::After(position.clone()),
        parents: [ShardId::new("p")].into(),
        hash_range: Some(HashRange { start: 0, end: 9 }),
        start: Some(UnixMillis(1)),
        stream_created: Some(UnixMillis(2)),
        arrival: Some(UnixMillis(3)),
        lag: Some(4),
        chain: Some(position),
        intent: Some(Bytes::from_static(b"\x00\xff")),
        ..row("a")
    }
}

fn version_of(path: &Path) -> i32 {
    Connection::open(path).expect("a file").pragma_query_value(None, "user_version", |row| row.get(0)).expect("a file")
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_and_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    file_of_the_first_version(&path);
    // A worker of that version, which is still at work.
    let older = Connection::open(&path).unwrap();
    older.prepare("SELECT * FROM leases").unwrap().query_map([], |_| Ok(())).unwrap().count();
    // By a tool that does not prepare it, by one that does, and again.
    assert_eq!(table(&path, "app").scan().await.unwrap().rows, [row_of_the_first_version()]);
    assert_eq!(version_of(&path), 2);
    let table = prepared(&path).await;
    assert_eq!(table.scan().await.unwrap().rows, [row_of_the_first_version()]);
    let change = Change {
        granted: Field::Set(WorkerId::new("g")),
        left: Field::Set(UnixMillis(5)),
        throughput: Field::Set(Throughput::from_micros(1_500_000)),
        taken_by: Field::Set(WorkerId::new("t")),
        ..Change::counter(LeaseCounter(8))
    };
    let write = LeaseWrite { key: LeaseKey::new("a"), expect: Expect::counter(LeaseCounter(7)), change };
    applied(table.write(&write).await);
    assert_eq!(table.scan().await.unwrap().rows, [write.change.apply(&row_of_the_first_version())]);
    assert_eq!(older.execute("UPDATE leases SET counter = 9 WHERE counter = 8", []).unwrap(), 1, "it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_number_of_workers_may_bring_a_file_up_at_once() {
    for round in 0..5 {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("leases.db");
        file_of_the_first_version(&path);
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..8 {
            let path = path.clone();
            workers.spawn(async move {
                if worker % 2 == round % 2 { prepared(&path).await } else { table(&path, "app") }.scan().await
            });
        }
        for scan in workers.join_all().await {
            assert_eq!(scan.unwrap().rows, [row_of_the_first_version()]);
        }
        assert_eq!(version_of(&path), 2);
    }
}

#[tokio::test]
async fn nothing_of_the_kcl_is_in_the_file() {
    let directory = TempDir::new().unwrap();
    let table = prepared(&directory.path().join("leases.db")).await;
    assert_eq!(table.kcl_version().await.unwrap(), KclVersion::Unrecorded);
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_refused_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let refused = refusal(directory.path()).await;
    assert!(
        refused.starts_with("foreign: ") && refused.ends_with("it is a directory; set leases.path to a file in it"),
        "{refused}"
    );
    let missing = directory.path().join("nowhere");
    let refused = refusal(&missing.join("leases.db")).await;
    let expected = format!("the directory {} does not exist; make it, or set leases.path", missing.display());
    assert!(refused.starts_with("not_found: ") && refused.ends_with(&expected), "{refused}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = refusal(&file.join("leases.db")).await;
    assert!(refused.ends_with(&format!("{} is not a directory", file.display())), "{refused}");
}

#[tokio::test]
async fn an_empty_file_is_taken() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    std::fs::write(&path, "").unwrap();
    assert_eq!(prepared(&path).await.scan().await.unwrap().rows, []);
}

#[tokio::test]
async fn a_file_that_vanishes_is_an_error_and_never_a_fresh_start() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    let away = directory.path().join("away.db");
    let table = prepared(&path).await;
    table.create(&row("a")).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::rename(with(&path, suffix), with(&away, suffix));
    }
    let error = table.scan().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    assert!(error.to_string().ends_with("which begins anew: what was delivered comes again"));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert_eq!(table.create(&row("b")).await.unwrap_err().class, ErrorClass::NotFound);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::rename(with(&away, suffix), with(&path, suffix));
    }
    assert_eq!(table.scan().await.unwrap().rows, [row("a")], "once it is back, all goes on");
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[tokio::test]
async fn a_table_that_was_never_prepared_is_not_made_by_the_way() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("leases.db");
    assert_eq!(table(&path, "app").scan().await.unwrap_err().class, ErrorClass::NotFound);
    assert!(!path.exists());
}
