//! The message of an aggregate: two tables of keys and the user records that point into them. Read whole, or not at all.
//!
//! ```text
//! AggregatedRecord  1 partition_key_table   repeated string
//!                   2 explicit_hash_key_table  repeated string
//!                   3 records  repeated  1 partition_key_index      required uint64
//!                                        2 explicit_hash_key_index  optional uint64
//!                                        3 data                     required bytes
//!                                        4 tags  repeated  1 key    required string
//!                                                          2 value  optional string
//! ```

use super::cursor::Cursor;
use super::md5;
use crate::chunk::Span;
use crate::ids::HashRange;

/// What is wrong with an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum AggregateProblem {
    /// The trailer is not the MD5 of the message.
    #[error("its MD5 differs")]
    WrongMd5,
    /// A field reaches beyond the end of its message.
    #[error("a field reaches beyond its end")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    LongVarint,
    /// A field has a number or a wire type that there is none of.
    #[error("a field has an impossible tag")]
    BadTag,
    /// A field is a group, which the format never had.
    #[error("a field is a group")]
    Group,
    /// A known field is of another type.
    #[error("a known field is of another type")]
    WrongWireType,
    /// A required field is missing.
    #[error("the required field {0} is missing")]
    Missing(&'static str),
    /// An index points beyond its table.
    #[error("an index points beyond the {0} table")]
    BadIndex(&'static str),
    /// A partition key is not UTF-8.
    #[error("a partition key is not UTF-8")]
    BadPartitionKey,
    /// An explicit hash key is not a decimal number below 2^128.
    #[error("an explicit hash key is not a decimal number below 2^128")]
    BadHashKey,
}

#[derive(Debug, Clone, Copy)]
struct PartitionKey {
    key: Span,
    /// Whether it is text; only asked of keys that a user record points to.
    text: bool,
    /// The MD5 of the key as a number; filled in by [`Message::hash`].
    hash: u128,
}

#[derive(Debug, Clone, Copy)]
struct UserRecordFields {
    partition_key: u32,
    explicit_hash_key: Option<u32>,
    data: Span,
}

/// One message. Kept and filled again for each aggregate of a chunk.
#[derive(Debug, Default)]
pub(super) struct Message {
    partition_keys: Vec<PartitionKey>,
    /// As numbers; `None` where it is not one.
    explicit_hash_keys: Vec<Option<u128>>,
    records: Vec<UserRecordFields>,
}

impl Message {
    /// Reads the message that lies at `body`. After an error the content is of no meaning.
    pub(super) fn read(&mut self, buffer: &[u8], body: Span, trailer: &[u8]) -> Result<(), AggregateProblem> {
        self.partition_keys.clear();
        self.explicit_hash_keys.clear();
        self.records.clear();
        let start = body.start as usize;
        if md5(&buffer[start..start + body.len as usize]) != trailer {
            return Err(AggregateProblem::WrongMd5);
        }
        let mut cursor = Cursor::new(buffer, body);
        while let Some(field) = cursor.next()? {
            match field.number {
                1 => self.partition_keys.push(partition_key(buffer, field.bytes()?)),
                2 => self.explicit_hash_keys.push(decimal(slice(buffer, field.bytes()?))),
                3 => self.records.push(record(buffer, field.bytes()?)?),
                _ => {}
            }
        }
        self.records.iter().try_for_each(|record| self.check(record))
    }

    /// The tables may stand behind the records, so that indices are checked at the end.
    fn check(&self, record: &UserRecordFields) -> Result<(), AggregateProblem> {
        match self.partition_keys.get(record.partition_key as usize) {
            None => return Err(AggregateProblem::BadIndex("partition key")),
            Some(key) if !key.text => return Err(AggregateProblem::BadPartitionKey),
            Some(_) => {}
        }
        match record.explicit_hash_key.map(|index| self.explicit_hash_keys.get(index as usize)) {
            Some(None) => Err(AggregateProblem::BadIndex("explicit hash key")),
            Some(Some(None)) => Err(AggregateProblem::BadHashKey),
            Some(Some(Some(_))) | None => Ok(()),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Payload and partition key of a user record.
    pub(super) fn user_record(&self, index: usize) -> (Span, Span) {
        let record = &self.records[index];
        (record.data, self.partition_keys[record.partition_key as usize].key)
    }

    /// Computes the hash of each partition key; needed before [`Message::is_outside`].
    pub(super) fn hash(&mut self, buffer: &[u8]) {
        for partition_key in &mut self.partition_keys {
            partition_key.hash = u128::from_be_bytes(md5(slice(buffer, partition_key.key)));
        }
    }

    /// Whether a user record hashes outside the range: by its explicit hash key if it has one, else by its partition key.
    pub(super) fn is_outside(&self, index: usize, range: HashRange) -> bool {
        let record = &self.records[index];
        let explicit = record.explicit_hash_key.and_then(|index| self.explicit_hash_keys[index as usize]);
        !range.contains(explicit.unwrap_or_else(|| self.partition_keys[record.partition_key as usize].hash))
    }
}

fn record(buffer: &[u8], message: Span) -> Result<UserRecordFields, AggregateProblem> {
    let (mut partition_key, mut explicit_hash_key, mut data) = (None, None, None);
    let mut cursor = Cursor::new(buffer, message);
    while let Some(field) = cursor.next()? {
        match field.number {
            1 => partition_key = Some(index(field.varint()?, "partition key")?),
            2 => explicit_hash_key = Some(index(field.varint()?, "explicit hash key")?),
            3 => data = Some(field.bytes()?),
            4 => check_tag(buffer, field.bytes()?)?,
            _ => {}
        }
    }
    Ok(UserRecordFields {
        partition_key: partition_key.ok_or(AggregateProblem::Missing("partition_key_index"))?,
        explicit_hash_key,
        data: data.ok_or(AggregateProblem::Missing("data"))?,
    })
}

/// Tags carry nothing that we deliver, but a tag without its required key breaks the message.
fn check_tag(buffer: &[u8], message: Span) -> Result<(), AggregateProblem> {
    let mut key = None;
    let mut cursor = Cursor::new(buffer, message);
    while let Some(field) = cursor.next()? {
        match field.number {
            1 => key = Some(field.bytes()?),
            2 => drop(field.bytes()?),
            _ => {}
        }
    }
    key.map(drop).ok_or(AggregateProblem::Missing("tag key"))
}

/// An index above 32 bits points beyond any table: each of its entries takes two bytes of a buffer below 4 GiB.
fn index(number: u64, table: &'static str) -> Result<u32, AggregateProblem> {
    u32::try_from(number).map_err(|_| AggregateProblem::BadIndex(table))
}

fn slice(buffer: &[u8], span: Span) -> &[u8] {
    let start = span.start as usize;
    &buffer[start..start + span.len as usize]
}

fn partition_key(buffer: &[u8], key: Span) -> PartitionKey {
    PartitionKey { key, text: std::str::from_utf8(slice(buffer, key)).is_ok(), hash: 0 }
}

fn decimal(digits: &[u8]) -> Option<u128> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u128, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u128::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
