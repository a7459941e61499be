//! The tables in the file, their version, and how a file of another program is recognised. Nothing is written to such a file.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::BUSY_TIMEOUT;
use super::row::COLUMNS;

/// Stands in the header of the file: `pens`.
const APPLICATION_ID: i32 = 0x7065_6e73;

/// The version of the tables. A higher one adds what this one could not read.
const VERSION: i32 = 1;

/// What a file holds that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Empty,
    /// Our tables.
    Ours,
}

/// Makes what is missing. The inner error says what stands there instead of our tables, and what to do.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<Result<(), String>> {
    let found = match check(connection)? {
        Ok(found) => found,
        Err(what) => return Ok(Err(what)),
    };
    if found == Found::Empty {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been quicker.
        match look(&transaction)? {
            Ok(Found::Empty) => transaction.execute_batch(&tables())?,
            Ok(Found::Ours) => {}
            Err(what) => return Ok(Err(what)),
        }
        transaction.commit()?;
    }
    use_write_ahead_log(connection)?;
    Ok(Ok(()))
}

/// Looks at the file without writing to it, at one moment: another process may be making the tables.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<Result<Found, String>> {
    look(&connection.unchecked_transaction()?)
}

/// Looks at the file within a transaction.
fn look(connection: &Transaction<'_>) -> rusqlite::Result<Result<Found, String>> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables = names(connection, "SELECT name FROM sqlite_schema ORDER BY name")?;
    if application_id == 0 && version == 0 && tables.is_empty() {
        return Ok(Ok(Found::Empty));
    }
    if application_id != APPLICATION_ID {
        let what = if tables.is_empty() { "without tables".to_owned() } else { format!("with {}", tables.join(", ")) };
        return Ok(Err(format!("it is the database of another program ({what}); set leases.path to another file")));
    }
    if version != VERSION {
        return Ok(Err(format!(
            "its tables have version {version}, this penstock knows version {VERSION}; use the penstock that made it, \
             or set leases.path to another file"
        )));
    }
    let columns = names(connection, "SELECT name FROM pragma_table_info('leases')")?;
    let missing: Vec<&str> =
        COLUMNS.iter().map(|(name, _)| *name).filter(|name| !columns.iter().any(|column| column == name)).collect();
    if missing.is_empty() {
        Ok(Ok(Found::Ours))
    } else {
        let what = missing.join(", ");
        Ok(Err(format!("its table leases lacks {what}; move the file away, or set leases.path to another file")))
    }
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn tables() -> String {
    let columns: Vec<String> = COLUMNS.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    format!(
        "CREATE TABLE leases ({}, PRIMARY KEY (application, lease_key)) STRICT;
         PRAGMA application_id = {APPLICATION_ID};
         PRAGMA user_version = {VERSION};",
        columns.join(", ")
    )
}

/// Readers and a writer do not wait for each other in this mode. Changing to it fails at once while another process uses the
/// file, without the busy time-out, so that is waited for here.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        let changed: rusqlite::Result<String> =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match changed {
            // On a file system that cannot do it the old mode stays, which is slower and as safe.
            Ok(_) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
}
