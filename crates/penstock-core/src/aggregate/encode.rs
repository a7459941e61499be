//! Packs user records into an aggregate, as the Kinesis Producer Library does: for local producers and for tests.

use std::collections::BTreeMap;

use super::{MAGIC, md5};

/// A user record to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggregateEntry<'a> {
    /// Its partition key.
    pub partition_key: &'a str,
    /// Its hash key, if it is not that of the partition key.
    pub explicit_hash_key: Option<u128>,
    /// Its payload.
    pub data: &'a [u8],
}

/// The payload of one record that carries all these user records, in their order. Each key stands in it once.
#[must_use]
pub fn encode(entries: &[AggregateEntry<'_>]) -> Vec<u8> {
    let mut partition_keys = Table::default();
    let mut hash_keys = Table::default();
    let mut records = Vec::new();
    for entry in entries {
        let mut record = Vec::new();
        put_number(&mut record, 1, partition_keys.index(entry.partition_key));
        if let Some(key) = entry.explicit_hash_key {
            put_number(&mut record, 2, hash_keys.index(&key.to_string()));
        }
        put_bytes(&mut record, 3, entry.data);
        put_bytes(&mut records, 3, &record);
    }
    let mut payload = MAGIC.to_vec();
    partition_keys.put(&mut payload, 1);
    hash_keys.put(&mut payload, 2);
    payload.extend_from_slice(&records);
    let trailer = md5(&payload[MAGIC.len()..]);
    payload.extend_from_slice(&trailer);
    payload
}

/// Keys in the order of their first use.
#[derive(Default)]
struct Table {
    indices: BTreeMap<String, u64>,
    keys: Vec<String>,
}

impl Table {
    fn index(&mut self, key: &str) -> u64 {
        if let Some(index) = self.indices.get(key) {
            return *index;
        }
        let index = self.keys.len() as u64;
        self.indices.insert(key.to_owned(), index);
        self.keys.push(key.to_owned());
        index
    }

    fn put(&self, out: &mut Vec<u8>, field: u8) {
        for key in &self.keys {
            put_bytes(out, field, key.as_bytes());
        }
    }
}

fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
