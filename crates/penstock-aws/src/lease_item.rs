//! The lease item, attribute by attribute as the Kinesis Client Library writes it, and ours beside them.
//!
//! This file alone knows the attribute names and the strings of the sentinels. An item that we cannot read is an error with its
//! key, never a fresh start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use sha2::{Digest, Sha256};

/// A DynamoDB item.
pub type Item = HashMap<String, AttributeValue>;

pub(crate) const LEASE_KEY: &str = "leaseKey";
pub(crate) const LEASE_OWNER: &str = "leaseOwner";
pub(crate) const LEASE_COUNTER: &str = "leaseCounter";
pub(crate) const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const CHECKPOINT_SUB: &str = "checkpointSubSequenceNumber";
pub(crate) const PENDING: [&str; 3] =
    ["pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"];
pub(crate) const PARENTS: &str = "parentShardId";
pub(crate) const CHILDREN: &str = "childShardIds";
pub(crate) const HASH_START: &str = "startingHashKey";
pub(crate) const HASH_END: &str = "endingHashKey";
pub(crate) const CHECKPOINT_OWNER: &str = "checkpointOwner";
pub(crate) const ENTITY_TYPE: &str = "entityType";
pub(crate) const START: &str = "penstockStart";
pub(crate) const STREAM: &str = "penstockStream";
pub(crate) const ARRIVAL: &str = "penstockArrival";
pub(crate) const LAG: &str = "penstockLag";
pub(crate) const CHAIN: &str = "penstockChain";
pub(crate) const INTENT: &str = "penstockIntent";
pub(crate) const WANTED: &str = "penstockWanted";
pub(crate) const GRANTED: &str = "penstockGranted";
pub(crate) const LEFT: &str = "penstockLeft";
pub(crate) const THROUGHPUT: &str = "throughputKBps";
pub(crate) const TAKEN_BY: &str = "penstockOwner";
/// The stream id and the bare shard id, where one table serves several streams; the KCL rewrites both with each checkpoint.
const STREAM_ID: &str = "streamName";
const SHARD_ID: &str = "shardId";

/// The `entityType` of a lease; its absence means a lease too.
const LEASE: &str = "LEASE";
const SHARD_END: &str = "SHARD_END";

/// What an item of the table is.
#[derive(Debug)]
pub enum Decoded {
    /// A lease.
    Lease(Box<LeaseRow>),
    /// An item of another kind, which a KCL keeps in the same table.
    Other,
    /// A lease that cannot be read.
    Unreadable {
        /// Its key, if at least that can be read.
        key: String,
        /// What is wrong with it, naming the attribute.
        problem: String,
    },
}

/// Reads an item.
#[must_use]
pub fn decode(mut item: Item) -> Decoded {
    match item.remove(ENTITY_TYPE) {
        None => {}
        Some(AttributeValue::S(kind)) if kind == LEASE => {}
        Some(_) => return Decoded::Other,
    }
    let key = match item.get(LEASE_KEY) {
        Some(AttributeValue::S(key)) => key.clone(),
        _ => return Decoded::Unreadable { key: String::new(), problem: format!("{LEASE_KEY} is not a string") },
    };
    match decode_lease(&key, item) {
        Ok(row) => Decoded::Lease(Box::new(row)),
        Err(problem) => Decoded::Unreadable { key, problem },
    }
}

fn decode_lease(key: &str, item: Item) -> Result<LeaseRow, String> {
    let mut attributes = Attributes(item);
    attributes.0.remove(LEASE_KEY);
    let key = LeaseKey::new(key);
    attributes.agree_with(&key)?;
    let counter = LeaseCounter(attributes.number(LEASE_COUNTER)?.ok_or(format!("{LEASE_COUNTER} is missing"))?);
    let checkpoint = attributes.checkpoint()?;
    Ok(LeaseRow {
        key,
        owner: attributes.worker(LEASE_OWNER)?,
        counter,
        owner_switches: attributes.number(OWNER_SWITCHES)?.unwrap_or(0),
        checkpoint,
        foreign_pending: attributes.foreign_pending(),
        parents: attributes.shard_ids(PARENTS)?,
        children: attributes.shard_ids(CHILDREN)?,
        hash_range: attributes.hash_range()?,
        checkpoint_owner: attributes.worker(CHECKPOINT_OWNER)?,
        start: attributes.number(START)?.map(UnixMillis),
        stream_created: attributes.number(STREAM)?.map(UnixMillis),
        arrival: attributes.number(ARRIVAL)?.map(UnixMillis),
        lag: attributes.number(LAG)?,
        chain: attributes.record_position(CHAIN)?,
        intent: attributes.bytes(INTENT)?,
        wanted: attributes.worker(WANTED)?,
        granted: attributes.worker(GRANTED)?,
        left: attributes.number(LEFT)?.map(UnixMillis),
        throughput: attributes.throughput(),
        taken_by: attributes.worker(TAKEN_BY)?,
        unknown: attributes.digest_of_the_rest(),
    })
}

/// The attributes of an item, taken out one by one; what is left at the end is unknown to us.
struct Attributes(Item);

impl Attributes {
    fn string(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} is not a string")),
        }
    }

    fn worker(&mut self, name: &str) -> Result<Option<WorkerId>, String> {
        Ok(self.string(name)?.map(|worker| WorkerId::new(&worker)))
    }

    /// A number that cannot be one is left among the unknown: it concerns the balance alone.
    fn throughput(&mut self) -> Option<Throughput> {
        let Some(AttributeValue::N(text)) = self.0.get(THROUGHPUT) else { return None };
        let throughput = Throughput::parse(text)?;
        self.0.remove(THROUGHPUT);
        Some(throughput)
    }

    /// A row whose attributes name another stream or shard than its key cannot be trusted with either's position.
    fn agree_with(&mut self, key: &LeaseKey) -> Result<(), String> {
        let stream = key.stream_id();
        match (self.string(STREAM_ID)?, &stream) {
            (None, _) => {}
            (Some(found), Some(stream)) if found == stream.as_str() => {}
            (Some(found), Some(stream)) => {
                return Err(format!("{STREAM_ID} is {found:?}, and the key is one of {stream}"));
            }
            (Some(found), None) => return Err(format!("{STREAM_ID} is {found:?}, and the key names no stream")),
        }
        let shard = key.shard_id();
        match self.string(SHARD_ID)? {
            Some(found) if found != shard.as_str() => {
                Err(format!("{SHARD_ID} is {found:?}, and the key is of {shard}"))
            }
            _ => Ok(()),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(AttributeValue::N(text)) => {
                text.parse().map(Some).map_err(|_| format!("{name} is {text:?}, not a number in range"))
            }
            Some(_) => Err(format!("{name} is not a number")),
        }
    }

    fn bytes(&mut self, name: &str) -> Result<Option<Bytes>, String> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(Bytes::from(blob.into_inner()))),
            Some(_) => Err(format!("{name} is not binary")),
        }
    }

    fn shard_ids(&mut self, name: &str) -> Result<BTreeSet<ShardId>, String> {
        match self.0.remove(name) {
            None => Ok(BTreeSet::new()),
            Some(AttributeValue::Ss(ids)) => Ok(ids.iter().map(|id| ShardId::new(id)).collect()),
            Some(_) => Err(format!("{name} is not a set of strings")),
        }
    }

    fn hash_range(&mut self) -> Result<Option<HashRange>, String> {
        let mut key = |name: &str| -> Result<Option<u128>, String> {
            self.string(name)?
                .map(|text| text.parse().map_err(|_| format!("{name} is {text:?}, not a hash key")))
                .transpose()
        };
        match (key(HASH_START)?, key(HASH_END)?) {
            (Some(start), Some(end)) if start <= end => Ok(Some(HashRange { start, end })),
            (Some(start), Some(end)) => Err(format!("{HASH_START} {start} lies above {HASH_END} {end}")),
            _ => Ok(None),
        }
    }

    fn checkpoint(&mut self) -> Result<Position, String> {
        let subsequence = self.number(CHECKPOINT_SUB)?.unwrap_or(0);
        let text = self.string(CHECKPOINT)?.ok_or(format!("{CHECKPOINT} is missing"))?;
        match text.as_str() {
            "TRIM_HORIZON" => Ok(Position::TrimHorizon),
            "LATEST" => Ok(Position::Latest),
            "AT_TIMESTAMP" => Ok(Position::AtTimestamp),
            SHARD_END => Ok(Position::ShardEnd),
            digits => match SequenceNumber::parse(digits) {
                Ok(sequence) => Ok(Position::After(RecordPosition { sequence, subsequence })),
                Err(error) => Err(format!("{CHECKPOINT}: {error}")),
            },
        }
    }

    fn record_position(&mut self, name: &str) -> Result<Option<RecordPosition>, String> {
        self.string(name)?
            .map(|text| RecordPosition::parse(&text).map_err(|error| format!("{name}: {error}")))
            .transpose()
    }

    fn foreign_pending(&mut self) -> Option<Bytes> {
        let pending: BTreeMap<&str, AttributeValue> =
            PENDING.iter().filter_map(|name| Some((*name, self.0.remove(*name)?))).collect();
        (!pending.is_empty()).then(|| {
            let mut bytes = Vec::new();
            for (name, value) in pending {
                write_canonical(&mut bytes, name, &value);
            }
            Bytes::from(bytes)
        })
    }

    fn digest_of_the_rest(self) -> Option<[u8; 32]> {
        let rest: BTreeMap<String, AttributeValue> = self.0.into_iter().collect();
        (!rest.is_empty()).then(|| {
            let mut bytes = Vec::new();
            for (name, value) in &rest {
                write_canonical(&mut bytes, name, value);
            }
            Sha256::digest(&bytes).into()
        })
    }
}

/// Writes a name and a value such that equal attributes give equal bytes: sets and maps in order.
fn write_canonical(out: &mut Vec<u8>, name: &str, value: &AttributeValue) {
    fn text(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
        out.push(kind);
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    fn sorted(out: &mut Vec<u8>, kind: u8, mut members: Vec<&[u8]>) {
        members.sort_unstable();
        for member in members {
            text(out, kind, member);
        }
    }
    text(out, b'#', name.as_bytes());
    match value {
        AttributeValue::S(value) => text(out, b'S', value.as_bytes()),
        AttributeValue::N(value) => text(out, b'N', value.as_bytes()),
        AttributeValue::B(value) => text(out, b'B', value.as_ref()),
        AttributeValue::Bool(value) => out.extend_from_slice(&[b'?', u8::from(*value)]),
        AttributeValue::Null(_) => out.push(b'0'),
        AttributeValue::Ss(values) => sorted(out, b's', values.iter().map(String::as_bytes).collect()),
        AttributeValue::Ns(values) => sorted(out, b'n', values.iter().map(String::as_bytes).collect()),
        AttributeValue::Bs(values) => sorted(out, b'b', values.iter().map(AsRef::as_ref).collect()),
        AttributeValue::L(values) => {
            text(out, b'L', &(values.len() as u64).to_be_bytes());
            values.iter().for_each(|value| write_canonical(out, "", value));
        }
        AttributeValue::M(values) => {
            text(out, b'M', &(values.len() as u64).to_be_bytes());
            let values: BTreeMap<_, _> = values.iter().collect();
            values.into_iter().for_each(|(name, value)| write_canonical(out, name, value));
        }
        _ => out.push(b'!'),
    }
}

/// The item of a new row. Empty attributes are left out, as the KCL leaves them out.
#[must_use]
pub fn encode_new(row: &LeaseRow) -> Item {
    let mut item = Item::new();
    let mut set = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    let (checkpoint, subsequence) = checkpoint_values(&row.checkpoint);
    set(LEASE_KEY, Some(string(row.key.as_str())));
    set(LEASE_OWNER, row.owner.as_ref().map(worker));
    set(LEASE_COUNTER, Some(number(row.counter.0)));
    set(OWNER_SWITCHES, Some(number(row.owner_switches)));
    set(CHECKPOINT, Some(checkpoint));
    set(CHECKPOINT_SUB, Some(subsequence));
    set(PARENTS, shard_ids(&row.parents));
    set(CHILDREN, shard_ids(&row.children));
    set(HASH_START, row.hash_range.map(|range| string(&range.start.to_string())));
    set(HASH_END, row.hash_range.map(|range| string(&range.end.to_string())));
    set(CHECKPOINT_OWNER, row.checkpoint_owner.as_ref().map(worker));
    set(ENTITY_TYPE, Some(string(LEASE)));
    set(START, row.start.map(|at| number(at.0)));
    set(STREAM, row.stream_created.map(|at| number(at.0)));
    set(ARRIVAL, row.arrival.map(|at| number(at.0)));
    set(LAG, row.lag.map(number));
    set(CHAIN, row.chain.as_ref().map(|chain| string(&chain.to_string())));
    set(INTENT, row.intent.as_ref().map(binary));
    set(WANTED, row.wanted.as_ref().map(worker));
    set(GRANTED, row.granted.as_ref().map(worker));
    set(LEFT, row.left.map(|at| number(at.0)));
    set(THROUGHPUT, row.throughput.map(number));
    set(TAKEN_BY, row.taken_by.as_ref().map(worker));
    if let Some(stream) = row.key.stream_id().filter(|stream| stream.parts().is_some()) {
        set(STREAM_ID, Some(string(stream.as_str())));
        set(SHARD_ID, Some(string(row.key.shard_id().as_str())));
    }
    item
}

pub(crate) fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn worker(worker: &WorkerId) -> AttributeValue {
    string(worker.as_str())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn binary(bytes: &Bytes) -> AttributeValue {
    AttributeValue::B(Blob::from_maybe_shared(bytes.clone()))
}

pub(crate) fn shard_ids(ids: &BTreeSet<ShardId>) -> Option<AttributeValue> {
    (!ids.is_empty()).then(|| AttributeValue::Ss(ids.iter().map(ToString::to_string).collect()))
}

/// The two attributes of a checkpoint.
pub(crate) fn checkpoint_values(position: &Position) -> (AttributeValue, AttributeValue) {
    match position {
        Position::After(position) => (string(position.sequence.as_str()), number(position.subsequence)),
        sentinel @ (Position::AtTimestamp | Position::TrimHorizon | Position::Latest | Position::ShardEnd) => {
            (string(&sentinel.to_string()), number(0))
        }
    }
}

/// The checkpoint string that alone allows a row to be deleted.
pub(crate) fn shard_end() -> AttributeValue {
    string(SHARD_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_row() -> LeaseRow {
        let position =
            RecordPosition::parse("49590338271490256608559692538361571095921575989136588898/7").expect("sound");
        LeaseRow {
            owner: Some(WorkerId::new("w-1")),
            owner_switches: 3,
            parents: [ShardId::new("shardId-000000000000")].into(),
            children: [ShardId::new("shardId-000000000002")].into(),
            hash_range: Some(HashRange::ALL),
            checkpoint_owner: Some(WorkerId::new("w-0")),
            start: Some(UnixMillis(1)),
            stream_created: Some(UnixMillis(2)),
            arrival: Some(UnixMillis(3)),
            lag: Some(4),
            chain: Some(position.clone()),
            intent: Some(Bytes::from_static(b"\x00intent\xff")),
            wanted: Some(WorkerId::new("w-2")),
            granted: Some(WorkerId::new("w-3")),
            left: Some(UnixMillis(5)),
            throughput: Some(Throughput::from_micros(12_345_678)),
            taken_by: Some(WorkerId::new("w-1")),
            ..LeaseRow::new(LeaseKey::new("shardId-000000000001"), LeaseCounter(9), Position::After(position))
        }
    }

    fn decoded(item: Item) -> LeaseRow {
        match decode(item) {
            Decoded::Lease(row) => *row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_attribute_comes_back() {
        assert_eq!(decoded(encode_new(&full_row())), full_row());
    }

    #[test]
    fn every_sentinel_comes_back() {
        for position in [Position::AtTimestamp, Position::TrimHorizon, Position::Latest, Position::ShardEnd] {
            let row = LeaseRow::new(LeaseKey::new("k"), LeaseCounter(0), position);
            assert_eq!(decoded(encode_new(&row)), row);
        }
    }

    #[test]
    fn an_item_without_entity_type_is_a_lease_and_one_of_another_type_is_not() {
        let mut item = encode_new(&full_row());
        item.remove(ENTITY_TYPE);
        assert_eq!(decoded(item.clone()), full_row());
        item.insert(ENTITY_TYPE.to_owned(), string("WORKER_METRIC_STATS"));
        assert!(matches!(decode(item), Decoded::Other));
    }

    #[test]
    fn a_bad_attribute_is_named_with_the_key_of_its_row() {
        for (name, value) in [
            (LEASE_COUNTER, string("7")),
            (CHECKPOINT, string("0x12")),
            (CHECKPOINT, number(12)),
            (HASH_START, string("minus one")),
            (PARENTS, string("shardId-0")),
            (INTENT, string("text")),
        ] {
            let mut item = encode_new(&full_row());
            item.insert(name.to_owned(), value);
            match decode(item) {
                Decoded::Unreadable { key, problem } => {
                    assert_eq!(key, "shardId-000000000001");
                    assert!(problem.contains(name), "{problem}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_attribute_changes_the_digest_whatever_its_kind() {
        let plain = decoded(encode_new(&full_row())).unknown;
        let mut seen = vec![plain];
        for value in [
            number(1),
            string("1"),
            AttributeValue::Bool(true),
            AttributeValue::L(vec![string("1")]),
            AttributeValue::M([("a".to_owned(), string("1"))].into()),
            AttributeValue::Ns(vec!["1".to_owned()]),
        ] {
            let mut item = encode_new(&full_row());
            item.insert("theirs".to_owned(), value);
            let digest = decoded(item).unknown;
            assert!(digest.is_some() && !seen.contains(&digest));
            seen.push(digest);
        }
    }

    #[test]
    fn a_foreign_pending_checkpoint_is_seen_with_its_state_and_without() {
        let pending = |attributes: &[(&str, AttributeValue)]| {
            let mut item = encode_new(&full_row());
            item.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            let row = decoded(item);
            assert_eq!(row.unknown, None, "it is none of the unknown");
            row.foreign_pending
        };
        let plain = [(PENDING[0], string(SHARD_END)), (PENDING[1], number(0))];
        let state = (PENDING[2], binary(&Bytes::from_static(b"state")));
        let (without, with) = (pending(&plain), pending(&[plain[0].clone(), plain[1].clone(), state]));
        assert!(without.is_some() && with.is_some() && with != without);
    }

    #[test]
    fn a_foreign_pending_checkpoint_is_seen_whatever_its_type() {
        let mut item = encode_new(&full_row());
        item.insert(PENDING[2].to_owned(), number(5));
        assert!(decoded(item).foreign_pending.is_some());
    }

    #[test]
    fn a_throughput_that_is_none_is_left_among_the_unknown() {
        let mut seen = vec![None];
        for value in [number(-1), string("12"), AttributeValue::Null(true)] {
            let mut item = encode_new(&full_row());
            item.insert(THROUGHPUT.to_owned(), value);
            let row = decoded(item);
            assert_eq!(row.throughput, None);
            assert!(!seen.contains(&row.unknown), "it shows in the digest");
            seen.push(row.unknown);
        }
        let mut item = encode_new(&full_row());
        item.insert(THROUGHPUT.to_owned(), number("0.1234565"));
        let row = decoded(item);
        assert_eq!((row.throughput, row.unknown), (Some(Throughput::from_micros(123_457)), None));
    }

    fn of_stream() -> LeaseRow {
        LeaseRow { key: LeaseKey::new("123456789012:clicks:1700000000:shardId-000000000001"), ..full_row() }
    }

    #[test]
    fn a_row_of_one_stream_among_several_names_stream_and_shard_as_the_kcl_does() {
        let mut item = encode_new(&of_stream());
        assert_eq!(item["streamName"], string("123456789012:clicks:1700000000"));
        assert_eq!(item["shardId"], string("shardId-000000000001"));
        assert_eq!(item[PARENTS], AttributeValue::Ss(vec!["shardId-000000000000".to_owned()]), "bare");
        assert_eq!(decoded(item.clone()), of_stream(), "and neither is unknown");
        item.retain(|name, _| name != STREAM_ID && name != SHARD_ID);
        assert_eq!(decoded(item), of_stream(), "a row without them is one");
        let single = encode_new(&full_row());
        assert!(!single.contains_key(STREAM_ID) && !single.contains_key(SHARD_ID));
    }

    #[test]
    fn a_row_that_contradicts_its_key_cannot_be_read() {
        for (row, name, value) in [
            (of_stream(), STREAM_ID, string("123456789012:clicks:1700000001")),
            (of_stream(), STREAM_ID, number(1)),
            (of_stream(), SHARD_ID, string("shardId-000000000002")),
            (full_row(), STREAM_ID, string("123456789012:clicks:1700000000")),
            (full_row(), SHARD_ID, string("shardId-000000000002")),
        ] {
            let mut item = encode_new(&row);
            item.insert(name.to_owned(), value);
            match decode(item) {
                Decoded::Unreadable { problem, .. } => assert!(problem.starts_with(name), "{problem}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
