//! The tables in the file, their version, and how a file of another program is recognised. Nothing is written to such a file.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::BUSY_TIMEOUT;
use crate::gap_ledger;
use crate::lease_table::row;

/// Stands in the header of the file: `pens`.
const APPLICATION_ID: i32 = 0x7065_6e73;

/// The version of the tables. A higher one adds what this one could not read.
const VERSION: i32 = 2;

/// The oldest version that is brought up to ours, without touching what it holds: a table that came later is made, and columns
/// that came later are added empty.
const OLDEST: i32 = 1;

/// A table: its name, its columns with their types, in order, and its key.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
    key: &'static str,
}

const TABLES: [Table; 2] = [
    Table { name: "leases", columns: &row::COLUMNS, key: "PRIMARY KEY (application, lease_key)" },
    Table { name: "gap_entries", columns: &gap_ledger::COLUMNS, key: "PRIMARY KEY (application, id)" },
];

/// What a file holds that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Empty,
    /// Our tables as an earlier version made them.
    Older,
    /// Our tables.
    Ours,
}

/// Makes what is missing. The inner error says what stands there instead of our tables, and what to do.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<Result<(), String>> {
    if let Err(what) = bring_up(connection, true)? {
        return Ok(Err(what));
    }
    use_write_ahead_log(connection)?;
    Ok(Ok(()))
}

/// Looks at a file that was prepared before, and brings it up to this version if an earlier one made it. Makes nothing in an empty
/// one.
pub(super) fn open(connection: &mut Connection) -> rusqlite::Result<Result<Found, String>> {
    bring_up(connection, false)
}

/// What was found, before anything was made of it.
fn bring_up(connection: &mut Connection, make: bool) -> rusqlite::Result<Result<Found, String>> {
    // Without writing, at one moment: nothing is written to what is not ours.
    let found = look(&connection.unchecked_transaction()?)?;
    if found == Ok(Found::Older) || (make && found == Ok(Found::Empty)) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been quicker.
        match look(&transaction)? {
            Ok(Found::Empty | Found::Older) => make_tables(&transaction)?,
            Ok(Found::Ours) => {}
            Err(what) => return Ok(Err(what)),
        }
        transaction.commit()?;
    }
    Ok(found)
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
    if !(OLDEST..=VERSION).contains(&version) {
        return Ok(Err(format!(
            "its tables have version {version}, this penstock knows version {VERSION}; use the penstock that made it, \
             or set leases.path to another file"
        )));
    }
    let older = version < VERSION;
    for Table { name: table, columns, key: _ } in TABLES {
        let there = columns_of(connection, table)?;
        // What an earlier version did not make yet may be made.
        let comes = |kind: &str| older && (there.is_empty() || !kind.contains("NOT NULL"));
        let missing = columns.iter().filter(|(name, kind)| !has(&there, name) && !comes(kind));
        let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            let what = missing.join(", ");
            return Ok(Err(format!(
                "its table {table} lacks {what}; move the file away, or set leases.path to another file"
            )));
        }
    }
    Ok(Ok(if older { Found::Older } else { Found::Ours }))
}

/// Makes the tables that are missing and adds the columns that are missing.
fn make_tables(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for Table { name: table, columns, key } in TABLES {
        let there = columns_of(transaction, table)?;
        if there.is_empty() {
            let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
            transaction.execute_batch(&format!("CREATE TABLE {table} ({}, {key}) STRICT", columns.join(", ")))?;
            continue;
        }
        for (name, kind) in columns.iter().filter(|(name, _)| !has(&there, name)) {
            transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {kind}"))?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)
}

fn columns_of(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    names(connection, &format!("SELECT name FROM pragma_table_info('{table}')"))
}

fn has(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column == name)
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
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
