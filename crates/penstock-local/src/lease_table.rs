//! Leases in an SQLite file: one host, no DynamoDB. All processes on the host that name the file share it.
//!
//! Each write is one immediate transaction that reads the row, asks what is expected of it and changes the named columns alone.
//! A call never blocks the runtime. One that is dropped before its turn does nothing, so that calls sent again after a time-out
//! do not pile up behind a slow disk; one that is dropped half-way runs to its end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use penstock_core::ids::{ApplicationName, LeaseCounter, LeaseKey};
use penstock_core::lease::{Change, CreateOutcome, LeaseRow, LeaseWrite, Scan, UnreadableRow, WriteOutcome};
use penstock_core::position::Position;
use penstock_engine::ports::{ErrorClass, LeaseTable, SeamError, TableProblem};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params, params_from_iter};

mod error;
mod file;
mod row;
mod schema;

use error::Failure;
use file::Opened;

/// How long a call waits for the other processes that share the file. Their writes take milliseconds; what waits longer is told
/// apart from a slow disk, and is sent again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The leases of one application in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteLeaseTable {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    application: ApplicationName,
    opened: Mutex<Option<Opened>>,
}

impl SqliteLeaseTable {
    /// The leases of `application` in the file at `path`, which is opened by the first call and made by [`LeaseTable::prepare`].
    #[must_use]
    pub fn new(path: &Path, application: &ApplicationName) -> Self {
        let (path, application) = (path.to_owned(), application.clone());
        Self { shared: Arc::new(Shared { path, application, opened: Mutex::default() }) }
    }

    /// Runs `work` on a thread where it may block. One call at a time uses the connection.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        subject: impl Into<String> + Send,
        work: impl FnOnce(&mut Connection, &ApplicationName) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SeamError> {
        let shared = Arc::clone(&self.shared);
        let subject = subject.into();
        // Lives as long as somebody waits for the answer.
        let caller = Arc::new(());
        let waiting = Arc::downgrade(&caller);
        let ended = tokio::task::spawn_blocking(move || {
            shared.with_connection(|connection, application| match waiting.strong_count() {
                0 => Err(Failure::new(ErrorClass::Transient, "given up by its caller before it began")),
                _ => work(connection, application),
            })
        })
        .await;
        drop(caller);
        match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(failure.into_seam_error(operation, subject)),
            Err(error) => {
                let message = "the call did not run to its end";
                Err(SeamError::new(operation, subject, ErrorClass::Transient, message).with_source(error))
            }
        }
    }
}

impl Shared {
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&mut Connection, &ApplicationName) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // A panic under the lock rolls its transaction back, so that the connection is sound.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.as_ref().is_some_and(|opened| !opened.is_still_at(&self.path)) {
            *opened = None;
        }
        let opened = match &mut *opened {
            Some(opened) => opened,
            none => none.insert(Opened::existing(&self.path)?),
        };
        work(&mut opened.connection, &self.application)
    }

    fn prepare(&self) -> Result<(), TableProblem> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened = None;
        *opened = Some(Opened::or_created(&self.path)?);
        Ok(())
    }
}

#[async_trait]
impl LeaseTable for SqliteLeaseTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.prepare()).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let (path, message) = (self.shared.path.display().to_string(), "the call did not run to its end");
                Err(SeamError::new("open", path, ErrorClass::Transient, message).with_source(error).into())
            }
        }
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        self.call("SELECT leases", self.shared.path.display().to_string(), scan).await
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        let row = row.clone();
        self.call("INSERT leases", row.key.to_string(), move |connection, application| {
            create(connection, application, &row)
        })
        .await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let write = write.clone();
        self.call("UPDATE leases", write.key.to_string(), move |connection, application| {
            let sync = if is_renewal(&write.change) { Sync::Later } else { Sync::Now };
            let transaction = begin(connection, sync)?;
            let outcome = apply(&transaction, application, &write)?;
            commit(transaction)?;
            Ok(outcome)
        })
        .await
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let key = key.clone();
        self.call("DELETE leases", key.to_string(), move |connection, application| {
            let transaction = begin(connection, Sync::Now)?;
            let gone = delete(&transaction, application, &key, counter)?;
            commit(transaction)?;
            Ok(gone)
        })
        .await
    }
}

/// Whether nothing is lost with the write: a power cut that takes a renewal back ends all workers that could have seen it, since
/// all are on this host. Most writes are renewals, and a busy disk takes long to sync each.
fn is_renewal(change: &Change) -> bool {
    *change == Change { lag: change.lag.clone(), ..Change::counter(change.counter) }
}

// === Transactions ===

/// When a commit reaches the disk.
#[derive(Debug, Clone, Copy)]
enum Sync {
    /// Before it is acknowledged, with all before it.
    Now,
    /// With the next one that is synced.
    Later,
}

/// Begins as a writer, so that nothing changes between what is read and what is written.
fn begin(connection: &mut Connection, sync: Sync) -> Result<Transaction<'_>, Failure> {
    let synchronous = match sync {
        Sync::Now => "FULL",
        Sync::Later => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous).map_err(Failure::without_effect)?;
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Failure::without_effect)
}

/// From here on a failure leaves open whether the write is stored.
fn commit(transaction: Transaction<'_>) -> Result<(), Failure> {
    transaction.commit().map_err(Failure::of_commit)
}

fn scan(connection: &mut Connection, application: &ApplicationName) -> Result<Scan, Failure> {
    let mut scan = Scan::default();
    let mut statement = connection
        .prepare("SELECT * FROM leases WHERE application = :application ORDER BY lease_key")
        .map_err(Failure::without_effect)?;
    let mut rows =
        statement.query(named_params! { ":application": application.as_str() }).map_err(Failure::without_effect)?;
    while let Some(found) = rows.next().map_err(Failure::without_effect)? {
        match row::decode(found) {
            Ok(row) => scan.rows.push(row),
            Err((key, problem)) => scan.unreadable.push(UnreadableRow { key, problem }),
        }
    }
    Ok(scan)
}

fn create(
    connection: &mut Connection,
    application: &ApplicationName,
    row: &LeaseRow,
) -> Result<CreateOutcome, Failure> {
    let columns = row::columns_of_new(application, row)?;
    let transaction = begin(connection, Sync::Now)?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "INSERT INTO leases ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        names.join(", "),
        vec!["?"; names.len()].join(", ")
    );
    let values = columns.into_iter().map(|(_, value)| value);
    let inserted = transaction.execute(&sql, params_from_iter(values)).map_err(Failure::without_effect)?;
    commit(transaction)?;
    Ok(if inserted == 1 { CreateOutcome::Created } else { CreateOutcome::Exists })
}

fn find(
    transaction: &Transaction<'_>,
    application: &ApplicationName,
    key: &LeaseKey,
) -> Result<Option<LeaseRow>, Failure> {
    let mut statement = transaction
        .prepare("SELECT * FROM leases WHERE application = :application AND lease_key = :key")
        .map_err(Failure::without_effect)?;
    let found = statement
        .query_row(named_params! { ":application": application.as_str(), ":key": key.as_str() }, |found| {
            Ok(row::decode(found))
        })
        .optional()
        .map_err(Failure::without_effect)?;
    found.transpose().map_err(|(_, problem)| Failure::unreadable(&problem))
}

fn apply(
    transaction: &Transaction<'_>,
    application: &ApplicationName,
    write: &LeaseWrite,
) -> Result<WriteOutcome, Failure> {
    let LeaseWrite { key, expect, change } = write;
    let Some(found) = find(transaction, application, key)? else { return Ok(WriteOutcome::Conflict(None)) };
    if !expect.holds(&found) {
        return Ok(WriteOutcome::Conflict(Some(Box::new(found))));
    }
    let columns = row::columns_of_change(change)?;
    let assignments: Vec<String> = columns.iter().map(|(name, _)| format!("{name} = ?")).collect();
    let sql = format!("UPDATE leases SET {} WHERE application = ? AND lease_key = ?", assignments.join(", "));
    let place = [application.as_str().to_owned().into(), key.as_str().to_owned().into()];
    let values = columns.into_iter().map(|(_, value)| value).chain(place);
    transaction.execute(&sql, params_from_iter(values)).map_err(Failure::without_effect)?;
    Ok(WriteOutcome::Applied)
}

fn delete(
    transaction: &Transaction<'_>,
    application: &ApplicationName,
    key: &LeaseKey,
    counter: LeaseCounter,
) -> Result<bool, Failure> {
    let Some(found) = find(transaction, application, key)? else { return Ok(true) };
    if found.checkpoint != Position::ShardEnd || found.counter != counter {
        return Ok(false);
    }
    transaction
        .execute(
            "DELETE FROM leases WHERE application = :application AND lease_key = :key",
            named_params! { ":application": application.as_str(), ":key": key.as_str() },
        )
        .map_err(Failure::without_effect)?;
    Ok(true)
}
