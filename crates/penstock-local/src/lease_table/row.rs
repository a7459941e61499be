//! A lease row as columns. This file alone knows their names and what stands in them.
//!
//! A row that cannot be read is named with its key and column, never taken for a fresh start. Columns that we do not know are
//! left as they are and show in the row's digest.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use bytes::Bytes;
use penstock_core::ids::{ApplicationName, HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::{Change, Field, LeaseRow};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::ErrorClass;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use sha2::{Digest, Sha256};

use crate::sqlite::Failure;

/// The columns and their types, in the order of the table.
pub(crate) const COLUMNS: [(&str, &str); 23] = [
    (APPLICATION, "TEXT NOT NULL"),
    (LEASE_KEY, "TEXT NOT NULL"),
    (OWNER, "TEXT"),
    (COUNTER, "INTEGER NOT NULL"),
    (OWNER_SWITCHES, "INTEGER NOT NULL"),
    (CHECKPOINT, "TEXT NOT NULL"),
    (FOREIGN_PENDING, "BLOB"),
    (PARENTS, "TEXT"),
    (CHILDREN, "TEXT"),
    (HASH_START, "TEXT"),
    (HASH_END, "TEXT"),
    (CHECKPOINT_OWNER, "TEXT"),
    (START, "INTEGER"),
    (STREAM_CREATED, "INTEGER"),
    (ARRIVAL, "INTEGER"),
    (LAG, "INTEGER"),
    (CHAIN, "TEXT"),
    (INTENT, "BLOB"),
    (WANTED, "TEXT"),
    (GRANTED, "TEXT"),
    (LEFT, "INTEGER"),
    (THROUGHPUT, "TEXT"),
    (TAKEN_BY, "TEXT"),
];

const APPLICATION: &str = "application";
const LEASE_KEY: &str = "lease_key";
const OWNER: &str = "owner";
const COUNTER: &str = "counter";
const OWNER_SWITCHES: &str = "owner_switches";
/// A sentinel, `SEQ` or `SEQ/SUB`.
const CHECKPOINT: &str = "checkpoint";
const FOREIGN_PENDING: &str = "foreign_pending";
/// Shard ids as a JSON array; no value for none.
const PARENTS: &str = "parents";
const CHILDREN: &str = "children";
/// Decimal; both or none.
const HASH_START: &str = "hash_start";
const HASH_END: &str = "hash_end";
const CHECKPOINT_OWNER: &str = "checkpoint_owner";
const START: &str = "start";
const STREAM_CREATED: &str = "stream_created";
const ARRIVAL: &str = "arrival";
const LAG: &str = "lag";
const CHAIN: &str = "chain";
const INTENT: &str = "intent";
const WANTED: &str = "wanted";
const GRANTED: &str = "granted";
const LEFT: &str = "left_at";
/// Decimal KiB per second.
const THROUGHPUT: &str = "throughput";
const TAKEN_BY: &str = "taken_by";

/// Columns with their new values.
pub(crate) type Columns = Vec<(&'static str, Value)>;

// === Writing ===

/// All columns of a new row.
pub(crate) fn columns_of_new(application: &ApplicationName, row: &LeaseRow) -> Result<Columns, Failure> {
    let LeaseRow {
        key,
        owner,
        counter,
        owner_switches,
        checkpoint,
        foreign_pending,
        parents,
        children,
        hash_range,
        checkpoint_owner,
        start,
        stream_created,
        arrival,
        lag,
        chain,
        intent,
        wanted,
        granted,
        left,
        throughput,
        taken_by,
        unknown: _,
    } = row;
    Ok(vec![
        (APPLICATION, text(application)),
        (LEASE_KEY, text(key)),
        (OWNER, optional(owner.as_ref(), text)),
        (COUNTER, integer(COUNTER, counter.0)?),
        (OWNER_SWITCHES, integer(OWNER_SWITCHES, *owner_switches)?),
        (CHECKPOINT, text(checkpoint)),
        (FOREIGN_PENDING, optional(foreign_pending.as_ref(), blob)),
        (PARENTS, shard_ids(parents)),
        (CHILDREN, shard_ids(children)),
        (HASH_START, optional(hash_range.as_ref(), |range| text(&range.start))),
        (HASH_END, optional(hash_range.as_ref(), |range| text(&range.end))),
        (CHECKPOINT_OWNER, optional(checkpoint_owner.as_ref(), text)),
        (START, optional(start.as_ref(), millis)),
        (STREAM_CREATED, optional(stream_created.as_ref(), millis)),
        (ARRIVAL, optional(arrival.as_ref(), millis)),
        (LAG, lag.map_or(Ok(Value::Null), |lag| integer(LAG, lag))?),
        (CHAIN, optional(chain.as_ref(), text)),
        (INTENT, optional(intent.as_ref(), blob)),
        (WANTED, optional(wanted.as_ref(), text)),
        (GRANTED, optional(granted.as_ref(), text)),
        (LEFT, optional(left.as_ref(), millis)),
        (THROUGHPUT, optional(throughput.as_ref(), text)),
        (TAKEN_BY, optional(taken_by.as_ref(), text)),
    ])
}

/// The column of a wish.
pub(crate) fn column_of_wish(wanted: &WorkerId) -> (&'static str, Value) {
    (WANTED, text(wanted))
}

/// The columns that a change names, and no other.
pub(crate) fn columns_of_change(change: &Change) -> Result<Columns, Failure> {
    let Change {
        counter,
        owner,
        owner_switches,
        checkpoint,
        children,
        hash_range,
        end_handoff,
        start,
        stream_created,
        arrival,
        lag,
        chain,
        intent,
        wanted,
        granted,
        left,
        throughput,
        taken_by,
    } = change;
    let mut columns = vec![(COUNTER, integer(COUNTER, counter.0)?)];
    set(&mut columns, OWNER, owner, text);
    if let Some(switches) = owner_switches {
        columns.push((OWNER_SWITCHES, integer(OWNER_SWITCHES, *switches)?));
    }
    if let Some(checkpoint) = checkpoint {
        columns.extend([(CHECKPOINT, text(checkpoint)), (FOREIGN_PENDING, Value::Null)]);
    }
    if let Some(children) = children {
        columns.push((CHILDREN, shard_ids(children)));
    }
    if let Some(HashRange { start, end }) = hash_range {
        columns.extend([(HASH_START, text(start)), (HASH_END, text(end))]);
    }
    if *end_handoff {
        columns.push((CHECKPOINT_OWNER, Value::Null));
    }
    set(&mut columns, START, start, millis);
    set(&mut columns, STREAM_CREATED, stream_created, millis);
    set(&mut columns, ARRIVAL, arrival, millis);
    match lag {
        Field::Keep => {}
        Field::Set(lag) => columns.push((LAG, integer(LAG, *lag)?)),
        Field::Remove => columns.push((LAG, Value::Null)),
    }
    set(&mut columns, CHAIN, chain, text);
    set(&mut columns, INTENT, intent, blob);
    set(&mut columns, WANTED, wanted, text);
    set(&mut columns, GRANTED, granted, text);
    set(&mut columns, LEFT, left, millis);
    set(&mut columns, THROUGHPUT, throughput, text);
    set(&mut columns, TAKEN_BY, taken_by, text);
    Ok(columns)
}

fn set<T>(columns: &mut Columns, name: &'static str, field: &Field<T>, value: impl FnOnce(&T) -> Value) {
    match field {
        Field::Keep => {}
        Field::Set(to) => columns.push((name, value(to))),
        Field::Remove => columns.push((name, Value::Null)),
    }
}

fn optional<T>(value: Option<&T>, to: impl FnOnce(&T) -> Value) -> Value {
    value.map_or(Value::Null, to)
}

fn text(value: &impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn blob(bytes: &Bytes) -> Value {
    Value::Blob(bytes.to_vec())
}

const fn millis(at: &UnixMillis) -> Value {
    Value::Integer(at.0)
}

fn integer(name: &str, number: u64) -> Result<Value, Failure> {
    let too_large = || Failure::new(ErrorClass::Rejected, format!("{name} {number} is above what SQLite holds"));
    i64::try_from(number).map(Value::Integer).map_err(|_| too_large())
}

fn shard_ids(ids: &BTreeSet<ShardId>) -> Value {
    if ids.is_empty() {
        return Value::Null;
    }
    Value::Text(serde_json::Value::from_iter(ids.iter().map(ShardId::as_str)).to_string())
}

// === Reading ===

/// Reads a row; an error is its key and what is wrong with it, naming the column.
pub(crate) fn decode(row: &Row<'_>) -> Result<LeaseRow, (LeaseKey, String)> {
    let mut columns = ColumnsFound::of(row);
    let key = match columns.text(LEASE_KEY) {
        Ok(key) => LeaseKey::new(key.unwrap_or_default()),
        Err(problem) => return Err((LeaseKey::new(""), problem)),
    };
    decode_columns(key.clone(), columns).map_err(|problem| (key, problem))
}

fn decode_columns(key: LeaseKey, mut columns: ColumnsFound<'_>) -> Result<LeaseRow, String> {
    columns.0.remove(APPLICATION);
    let counter = columns.number(COUNTER)?.ok_or(format!("{COUNTER} is missing"))?;
    let checkpoint = columns.text(CHECKPOINT)?.ok_or(format!("{CHECKPOINT} is missing"))?;
    Ok(LeaseRow {
        key,
        owner: columns.text(OWNER)?.map(WorkerId::new),
        counter: LeaseCounter(counter),
        owner_switches: columns.number(OWNER_SWITCHES)?.unwrap_or(0),
        checkpoint: position(checkpoint)?,
        foreign_pending: columns.blob(FOREIGN_PENDING)?,
        parents: columns.shard_ids(PARENTS)?,
        children: columns.shard_ids(CHILDREN)?,
        hash_range: columns.hash_range()?,
        checkpoint_owner: columns.text(CHECKPOINT_OWNER)?.map(WorkerId::new),
        start: columns.integer(START)?.map(UnixMillis),
        stream_created: columns.integer(STREAM_CREATED)?.map(UnixMillis),
        arrival: columns.integer(ARRIVAL)?.map(UnixMillis),
        lag: columns.number(LAG)?,
        chain: columns.text(CHAIN)?.map(|chain| record_position(CHAIN, chain)).transpose()?,
        intent: columns.blob(INTENT)?,
        wanted: columns.text(WANTED)?.map(WorkerId::new),
        granted: columns.text(GRANTED)?.map(WorkerId::new),
        left: columns.integer(LEFT)?.map(UnixMillis),
        throughput: columns.throughput(),
        taken_by: columns.text(TAKEN_BY)?.map(WorkerId::new),
        unknown: columns.digest_of_the_rest(),
    })
}

fn position(text: &str) -> Result<Position, String> {
    let sentinels = [Position::AtTimestamp, Position::TrimHorizon, Position::Latest, Position::ShardEnd];
    match sentinels.into_iter().find(|sentinel| sentinel.to_string() == text) {
        Some(sentinel) => Ok(sentinel),
        None => record_position(CHECKPOINT, text).map(Position::After),
    }
}

fn record_position(name: &str, text: &str) -> Result<RecordPosition, String> {
    RecordPosition::parse(text).map_err(|error| format!("{name}: {error}"))
}

/// The columns of a row, taken out one by one; what is left at the end is unknown to us.
struct ColumnsFound<'a>(BTreeMap<&'a str, ValueRef<'a>>);

impl<'a> ColumnsFound<'a> {
    fn of(row: &'a Row<'_>) -> Self {
        let names = row.as_ref().column_names();
        Self(names.into_iter().enumerate().filter_map(|(index, name)| Some((name, row.get_ref(index).ok()?))).collect())
    }

    fn text(&mut self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.remove(name) {
            None | Some(ValueRef::Null) => Ok(None),
            Some(ValueRef::Text(bytes)) => {
                std::str::from_utf8(bytes).map(Some).map_err(|_| format!("{name} is not UTF-8"))
            }
            Some(_) => Err(format!("{name} is not text")),
        }
    }

    fn integer(&mut self, name: &str) -> Result<Option<i64>, String> {
        match self.0.remove(name) {
            None | Some(ValueRef::Null) => Ok(None),
            Some(ValueRef::Integer(number)) => Ok(Some(number)),
            Some(_) => Err(format!("{name} is not an integer")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let number = self.integer(name)?;
        number.map(|number| u64::try_from(number).map_err(|_| format!("{name} is {number}, below zero"))).transpose()
    }

    fn blob(&mut self, name: &str) -> Result<Option<Bytes>, String> {
        match self.0.remove(name) {
            None | Some(ValueRef::Null) => Ok(None),
            Some(ValueRef::Blob(bytes)) => Ok(Some(Bytes::copy_from_slice(bytes))),
            Some(_) => Err(format!("{name} is not a blob")),
        }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, what: &str) -> Result<Option<T>, String> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|_| format!("{name} is {text:?}, not {what}"))).transpose()
    }

    /// What cannot be one is left among the unknown: it concerns the balance alone.
    fn throughput(&mut self) -> Option<Throughput> {
        let Some(ValueRef::Text(bytes)) = self.0.get(THROUGHPUT) else { return None };
        let throughput = Throughput::parse(std::str::from_utf8(bytes).ok()?)?;
        self.0.remove(THROUGHPUT);
        Some(throughput)
    }

    fn shard_ids(&mut self, name: &str) -> Result<BTreeSet<ShardId>, String> {
        let Some(text) = self.text(name)? else { return Ok(BTreeSet::new()) };
        let ids: Vec<String> =
            serde_json::from_str(text).map_err(|_| format!("{name} is {text:?}, not a JSON array of shard ids"))?;
        Ok(ids.iter().map(|id| ShardId::new(id)).collect())
    }

    fn hash_range(&mut self) -> Result<Option<HashRange>, String> {
        match (self.parsed(HASH_START, "a hash key")?, self.parsed(HASH_END, "a hash key")?) {
            (Some(start), Some(end)) if start <= end => Ok(Some(HashRange { start, end })),
            (Some(start), Some(end)) => Err(format!("{HASH_START} {start} lies above {HASH_END} {end}")),
            (None, None) => Ok(None),
            _ => Err(format!("of {HASH_START} and {HASH_END} one is missing")),
        }
    }

    /// Over names and values of all other columns that hold something.
    fn digest_of_the_rest(self) -> Option<[u8; 32]> {
        let mut digest = Sha256::new();
        let mut any = false;
        for (name, value) in self.0 {
            let (kind, bytes) = match value {
                ValueRef::Null => continue,
                ValueRef::Integer(number) => (b'i', number.to_be_bytes().to_vec()),
                ValueRef::Real(number) => (b'r', number.to_bits().to_be_bytes().to_vec()),
                ValueRef::Text(bytes) => (b't', bytes.to_vec()),
                ValueRef::Blob(bytes) => (b'b', bytes.to_vec()),
            };
            any = true;
            for part in [name.as_bytes(), &[kind], &bytes] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        any.then(|| digest.finalize().into())
    }
}
