//! Leases in an SQLite file: one host, no DynamoDB. All processes on the host that name the file share it.
//!
//! Each write is one immediate transaction that reads the row, asks what is expected of it and changes the named columns alone.

use std::path::Path;

use async_trait::async_trait;
use penstock_core::ids::{ApplicationName, LeaseCounter, LeaseKey};
use penstock_core::lease::{Change, CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, UnreadableRow, WriteOutcome};
use penstock_core::position::Position;
use penstock_engine::ports::{KclVersion, LeaseTable, SeamError, TableProblem};
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params_from_iter};

use crate::sqlite::{Failure, SharedFile, Sync, begin, commit};

pub(crate) mod row;

/// The leases of one application in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteLeaseTable {
    file: SharedFile,
}

impl SqliteLeaseTable {
    /// The leases of `application` in the file at `path`, which is opened by the first call and made by [`LeaseTable::prepare`].
    #[must_use]
    pub fn new(path: &Path, application: &ApplicationName) -> Self {
        Self { file: SharedFile::new(path, application) }
    }

    async fn delete_if(
        &self,
        key: &LeaseKey,
        condition: impl FnOnce(&LeaseRow) -> bool + Send + 'static,
    ) -> Result<bool, SeamError> {
        let key = key.clone();
        self.file
            .call("DELETE leases", key.to_string(), move |connection, application| {
                let transaction = begin(connection, Sync::Now)?;
                let gone = delete(&transaction, application, &key, condition)?;
                commit(transaction)?;
                Ok(gone)
            })
            .await
    }
}

#[async_trait]
impl LeaseTable for SqliteLeaseTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        self.file.prepare().await
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        self.file.call("SELECT leases", self.file.name(), scan).await
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        let row = row.clone();
        self.file
            .call("INSERT leases", row.key.to_string(), move |connection, application| {
                create(connection, application, &row)
            })
            .await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let write = write.clone();
        self.file
            .call("UPDATE leases", write.key.to_string(), move |connection, application| {
                let sync = if is_renewal(&write.change) { Sync::Later } else { Sync::Now };
                let transaction = begin(connection, sync)?;
                let outcome = apply(&transaction, application, &write)?;
                commit(transaction)?;
                Ok(outcome)
            })
            .await
    }

    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        let want = want.clone();
        self.file
            .call("UPDATE leases", want.key.to_string(), move |connection, application| {
                let transaction = begin(connection, Sync::Later)?;
                let stands = wish(&transaction, application, &want)?;
                commit(transaction)?;
                Ok(stands)
            })
            .await
    }

    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        self.delete_if(key, move |found| found.counter == counter).await
    }

    /// No KCL keeps anything in this file.
    async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
        Ok(KclVersion::Unrecorded)
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        self.delete_if(key, move |found| found.checkpoint == Position::ShardEnd && found.counter == counter).await
    }
}

/// Whether nothing is lost with the write: a power cut that takes a renewal back ends all workers that could have seen it, since
/// all are on this host. Most writes are renewals, and a busy disk takes long to sync each.
fn is_renewal(change: &Change) -> bool {
    let Change { counter, lag, throughput, .. } = change;
    *change == Change { lag: lag.clone(), throughput: throughput.clone(), ..Change::counter(*counter) }
}

// === Transactions ===

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
    update(transaction, application, key, row::columns_of_change(change)?)?;
    let after = find(transaction, application, key)?;
    // Within the transaction nobody else can have taken it away.
    after.map(|after| WriteOutcome::Applied(Box::new(after))).ok_or_else(|| Failure::unreadable("it vanished"))
}

fn wish(transaction: &Transaction<'_>, application: &ApplicationName, want: &LeaseWant) -> Result<bool, Failure> {
    match find(transaction, application, &want.key)? {
        Some(found) if want.holds(&found) => {
            update(transaction, application, &want.key, vec![row::column_of_wish(&want.wanted)])?;
            Ok(true)
        }
        found => Ok(found.is_some_and(|found| want.stands_in(&found))),
    }
}

fn update(
    transaction: &Transaction<'_>,
    application: &ApplicationName,
    key: &LeaseKey,
    columns: row::Columns,
) -> Result<(), Failure> {
    let assignments: Vec<String> = columns.iter().map(|(name, _)| format!("{name} = ?")).collect();
    let sql = format!("UPDATE leases SET {} WHERE application = ? AND lease_key = ?", assignments.join(", "));
    let place = [application.as_str().to_owned().into(), key.as_str().to_owned().into()];
    let values = columns.into_iter().map(|(_, value)| value).chain(place);
    transaction.execute(&sql, params_from_iter(values)).map_err(Failure::without_effect)?;
    Ok(())
}

/// Deletes a row that is as asked; the value tells whether there is none now.
fn delete(
    transaction: &Transaction<'_>,
    application: &ApplicationName,
    key: &LeaseKey,
    condition: impl FnOnce(&LeaseRow) -> bool,
) -> Result<bool, Failure> {
    let Some(found) = find(transaction, application, key)? else { return Ok(true) };
    if !condition(&found) {
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
