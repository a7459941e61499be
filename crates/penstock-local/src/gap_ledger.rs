//! The gap ledger in the SQLite file that holds the leases: a table of its own, each entry one row.

use std::path::Path;

use async_trait::async_trait;
use penstock_core::gap::{GapEntry, GapId, GapRange, GapReason};
use penstock_core::ids::{ApplicationName, LeaseKey, StreamName, WorkerId};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{GapLedger, SeamError, TableProblem};
use rusqlite::{Connection, Row, named_params};

use crate::sqlite::{Failure, SharedFile, Sync, begin, commit};

/// The columns and their types, in the order of the table.
pub(crate) const COLUMNS: [(&str, &str); 12] = [
    ("application", "TEXT NOT NULL"),
    ("id", "TEXT NOT NULL"),
    ("lease_key", "TEXT NOT NULL"),
    ("stream", "TEXT NOT NULL"),
    ("stream_created", "INTEGER NOT NULL"),
    ("reason", "TEXT NOT NULL"),
    // As `GapRange` encodes it.
    ("range_after", "TEXT NOT NULL"),
    ("range_end", "TEXT NOT NULL"),
    // For people: the range in words.
    ("range_text", "TEXT"),
    ("noticed_at", "INTEGER NOT NULL"),
    ("noticed_by", "TEXT NOT NULL"),
    ("acknowledged_at", "INTEGER"),
];

/// The gap ledger of one application in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteGapLedger {
    file: SharedFile,
}

impl SqliteGapLedger {
    /// The ledger of `application` in the file at `path`, the one that holds its leases.
    #[must_use]
    pub fn new(path: &Path, application: &ApplicationName) -> Self {
        Self { file: SharedFile::new(path, application) }
    }
}

#[async_trait]
impl GapLedger for SqliteGapLedger {
    async fn prepare(&self) -> Result<(), TableProblem> {
        self.file.prepare().await
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        let entry = entry.clone();
        self.file
            .call("INSERT gap_entries", entry.lease.to_string(), move |connection, application| {
                insert(connection, application, &entry)
            })
            .await
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        self.file.call("SELECT gap_entries", self.file.name(), select).await
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        self.file
            .call("UPDATE gap_entries", id.to_string(), move |connection, application| {
                acknowledge(connection, application, id, at)
            })
            .await
    }
}

fn insert(connection: &mut Connection, application: &ApplicationName, entry: &GapEntry) -> Result<(), Failure> {
    let GapEntry { stream, stream_created, lease, range, reason, noticed, by, acknowledged } = entry;
    let (after, end) = range.encode();
    // A checkpoint may pass what it names as soon as it is acknowledged.
    let transaction = begin(connection, Sync::Now)?;
    transaction
        .execute(
            "INSERT INTO gap_entries (application, id, lease_key, stream, stream_created, reason, range_after, range_end,
                range_text, noticed_at, noticed_by, acknowledged_at)
             VALUES (:application, :id, :lease, :stream, :stream_created, :reason, :after, :end, :text, :noticed, :by,
                :acknowledged)
             ON CONFLICT (application, id) DO UPDATE SET acknowledged_at = NULL WHERE excluded.acknowledged_at IS NULL",
            named_params! {
                ":application": application.as_str(),
                ":id": entry.id().to_string(),
                ":lease": lease.as_str(),
                ":stream": stream.as_str(),
                ":stream_created": stream_created.0,
                ":reason": reason.as_str(),
                ":after": after,
                ":end": end,
                ":text": range.to_string(),
                ":noticed": noticed.0,
                ":by": by.as_str(),
                ":acknowledged": acknowledged.map(|at| at.0),
            },
        )
        .map_err(Failure::without_effect)?;
    commit(transaction)
}

fn select(connection: &mut Connection, application: &ApplicationName) -> Result<(Vec<GapEntry>, Vec<String>), Failure> {
    let mut statement = connection
        .prepare("SELECT * FROM gap_entries WHERE application = :application ORDER BY noticed_at, id")
        .map_err(Failure::without_effect)?;
    let mut rows =
        statement.query(named_params! { ":application": application.as_str() }).map_err(Failure::without_effect)?;
    let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().map_err(Failure::without_effect)? {
        match decode(row) {
            Ok(entry) => entries.push(entry),
            Err(problem) => {
                let id: String = row.get("id").unwrap_or_default();
                unreadable.push(format!("the entry {id} cannot be read: {problem}"));
            }
        }
    }
    Ok((entries, unreadable))
}

fn acknowledge(
    connection: &mut Connection,
    application: &ApplicationName,
    id: GapId,
    at: UnixMillis,
) -> Result<bool, Failure> {
    let transaction = begin(connection, Sync::Now)?;
    let found = transaction
        .execute(
            "UPDATE gap_entries SET acknowledged_at = coalesce(acknowledged_at, :at)
             WHERE application = :application AND id = :id",
            named_params! { ":at": at.0, ":application": application.as_str(), ":id": id.to_string() },
        )
        .map_err(Failure::without_effect)?;
    commit(transaction)?;
    Ok(found == 1)
}

/// Reads a row; an error says what is wrong with it, naming the column.
fn decode(row: &Row<'_>) -> Result<GapEntry, String> {
    fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, name: &str) -> Result<T, String> {
        row.get(name).map_err(|error| format!("{name}: {error}"))
    }
    let text = |name: &str| column::<String>(row, name);
    let (reason, after, end) = (text("reason")?, text("range_after")?, text("range_end")?);
    let entry = GapEntry {
        stream: StreamName::new(&text("stream")?),
        stream_created: UnixMillis(column(row, "stream_created")?),
        lease: LeaseKey::new(&text("lease_key")?),
        range: GapRange::parse(&after, &end)
            .ok_or_else(|| format!("range_after {after:?} and range_end {end:?} are no range"))?,
        reason: GapReason::parse(&reason).ok_or_else(|| format!("reason {reason:?} is not known to this version"))?,
        noticed: UnixMillis(column(row, "noticed_at")?),
        by: WorkerId::new(&text("noticed_by")?),
        acknowledged: column::<Option<i64>>(row, "acknowledged_at")?.map(UnixMillis),
    };
    let id = text("id")?;
    match entry.id().to_string() {
        right if right == id => Ok(entry),
        right => Err(format!("its id should be {right}: something in it was changed")),
    }
}
