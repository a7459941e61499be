//! Tells records that prove themselves: each has a number of its own, a key, and its place among the records of that key.

use penstock_core::aggregate::{AggregateEntry, encode};
use penstock_core::random::Random;
use serde::{Deserialize, Serialize};

use super::Stream;

/// One user record, as JSON on a line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Its number, from 0.
    pub(crate) id: u64,
    /// Its partition key.
    pub(crate) key: String,
    /// Its place among the records of its key, from 0.
    pub(crate) nth: u64,
    /// What makes it as long as real ones.
    pub(crate) padding: String,
}

/// Makes records and puts them.
pub(crate) struct Teller {
    random: Random,
    told: u64,
    places: Vec<u64>,
    next_key: usize,
    aggregates: bool,
    padding: usize,
}

/// Partition keys; no call holds one twice, so that a record that is put again for pace does not overtake another of its key.
const KEYS: usize = 500;
/// One record in this many is an aggregate, if there are aggregates.
const AGGREGATE_EVERY: u64 = 4;
const LARGEST_AGGREGATE: u64 = 20;

impl Teller {
    /// A teller of plain records.
    pub(crate) fn plain() -> Self {
        Self { random: Random::seeded(7), told: 0, places: vec![0; KEYS], next_key: 0, aggregates: false, padding: 100 }
    }

    /// A teller that has told so many by other ways.
    pub(crate) fn having_told(told: u64) -> Self {
        Self { told, ..Self::plain() }
    }

    /// A teller of whose records every fourth carries several user records, as the Kinesis Producer Library aggregates them.
    pub(crate) fn aggregating() -> Self {
        Self { aggregates: true, ..Self::plain() }
    }

    /// Makes each record so many bytes longer than its JSON.
    pub(crate) fn padded(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// User records told so far.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// Puts `count` more user records, in calls of at most `per_call` Kinesis records.
    pub(crate) fn tell(&mut self, stream: &Stream, count: u64, per_call: usize) {
        self.tell_all(std::slice::from_ref(stream), count, per_call);
    }

    /// As [`Teller::tell`], to several streams: each key has its place in one of them.
    pub(crate) fn tell_all(&mut self, streams: &[Stream], count: u64, per_call: usize) {
        let until = self.told + count;
        while self.told < until {
            for (stream, call) in streams.iter().zip(self.calls(until, per_call.min(KEYS), streams.len())) {
                stream.put(&call);
            }
        }
    }

    fn calls(&mut self, until: u64, most: usize, streams: usize) -> Vec<Vec<(String, Vec<u8>)>> {
        let mut calls = vec![Vec::new(); streams];
        for _ in 0..most {
            if self.told == until {
                break;
            }
            let key = self.next_key;
            self.next_key = (self.next_key + 1) % KEYS;
            calls[key % streams].push(self.record(key, until));
        }
        calls
    }

    fn record(&mut self, key: usize, until: u64) -> (String, Vec<u8>) {
        let partition_key = format!("key-{key:04}");
        if !self.aggregates || self.random.below(AGGREGATE_EVERY) > 0 {
            let line = self.line(key, &partition_key);
            return (partition_key, line);
        }
        let count = (1 + self.random.below(LARGEST_AGGREGATE)).min(until - self.told);
        let lines: Vec<Vec<u8>> = (0..count).map(|_| self.line(key, &partition_key)).collect();
        let entry = |data| AggregateEntry { partition_key: &partition_key, explicit_hash_key: None, data };
        let aggregate = encode(&lines.iter().map(|line| entry(line.as_slice())).collect::<Vec<_>>());
        (partition_key, aggregate)
    }

    fn line(&mut self, key: usize, name: &str) -> Vec<u8> {
        let padding = (0..self.padding).map(|_| char::from(b'a' + u8::try_from(self.random.below(26)).unwrap_or(0)));
        let record = Told { id: self.told, key: name.to_owned(), nth: self.places[key], padding: padding.collect() };
        self.told += 1;
        self.places[key] += 1;
        serde_json::to_vec(&record).expect("strings and numbers are JSON")
    }
}
