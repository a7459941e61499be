//! What the demo's producers say: page views of a few hundred users, as JSON, a part of them in KPL aggregates. Pure and seeded.
//!
//! Each record carries a number of its own and its place among the records of its user, which is the partition key: that is all
//! the proof needs.

use bytes::Bytes;
use penstock_aws::producer::NewRecord;
use penstock_core::aggregate::{AggregateEntry, encode};
use penstock_core::random::Random;
use penstock_core::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// One user record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    /// Its number, from 0.
    pub(super) id: u64,
    /// Whose it is; the partition key.
    pub(super) user: String,
    /// Its place among the records of its user, from 0.
    pub(super) nth: u64,
    /// What was looked at.
    path: String,
    /// When.
    at: String,
    /// How long it took to show.
    took_ms: u64,
    /// With what.
    agent: String,
}

/// Tells the story until all records are told.
#[derive(Debug)]
pub(super) struct Story {
    random: Random,
    told: u64,
    total: u64,
    next_user: usize,
    views_of: Vec<u64>,
}

/// Users, and so partition keys.
const USERS: usize = 500;
/// One record in this many is an aggregate.
const AGGREGATE_EVERY: u64 = 3;
/// User records of an aggregate, at most.
const AGGREGATE_MAX: u64 = 20;

const PATHS: [&str; 6] = ["/", "/cart", "/checkout", "/search?q=penstock", "/products/turbine", "/products/gate-valve"];
const AGENTS: [&str; 3] = ["Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0)", "curl/8.14"];

impl Story {
    /// A story of `total` user records.
    pub(super) fn new(total: u64, seed: u64) -> Self {
        Self { random: Random::seeded(seed), told: 0, total, next_user: 0, views_of: vec![0; USERS] }
    }

    /// User records told so far.
    pub(super) const fn told(&self) -> u64 {
        self.told
    }

    /// The next records, at most `most`, none of a user twice: so a record that is refused for pace and put again does not change
    /// the order of its user's records.
    pub(super) fn next_records(&mut self, most: usize, now: UnixMillis) -> Vec<NewRecord> {
        let mut records = Vec::new();
        while records.len() < most.min(USERS) && self.told < self.total {
            let user = self.next_user;
            self.next_user = (self.next_user + 1) % USERS;
            records.push(self.record(user, now));
        }
        records
    }

    fn record(&mut self, user: usize, now: UnixMillis) -> NewRecord {
        let partition_key = format!("user-{user:04}");
        let is_aggregate = self.random.below(AGGREGATE_EVERY) == 0;
        let views = match is_aggregate {
            true => (2 + self.random.below(AGGREGATE_MAX - 1)).min(self.total - self.told),
            false => 1,
        };
        let lines: Vec<Vec<u8>> = (0..views).map(|_| self.line(user, &partition_key, now)).collect();
        let data = match lines.as_slice() {
            [line] if !is_aggregate => Bytes::from(line.clone()),
            lines => {
                let entry = |data| AggregateEntry { partition_key: &partition_key, explicit_hash_key: None, data };
                Bytes::from(encode(&lines.iter().map(|line| entry(line.as_slice())).collect::<Vec<_>>()))
            }
        };
        NewRecord { partition_key, explicit_hash_key: None, data }
    }

    fn line(&mut self, user: usize, name: &str, now: UnixMillis) -> Vec<u8> {
        let one_of = |choices: &[&str], random: &mut Random| {
            let choice = usize::try_from(random.below(choices.len() as u64)).unwrap_or(0);
            choices[choice].to_owned()
        };
        let view = View {
            id: self.told,
            user: name.to_owned(),
            nth: self.views_of[user],
            path: one_of(&PATHS, &mut self.random),
            at: now.to_string(),
            took_ms: 3 + self.random.below(400),
            agent: one_of(&AGENTS, &mut self.random),
        };
        self.told += 1;
        self.views_of[user] += 1;
        serde_json::to_vec(&view).expect("strings and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_tells_every_number_once_and_no_user_twice_in_one_call() {
        let mut story = Story::new(2_000, 7);
        let mut records = Vec::new();
        while story.told() < 2_000 {
            let call = story.next_records(250, UnixMillis(0));
            let mut users: Vec<_> = call.iter().map(|record| record.partition_key.clone()).collect();
            users.sort_unstable();
            users.dedup();
            assert_eq!(users.len(), call.len());
            records.extend(call);
        }
        assert!(story.next_records(250, UnixMillis(0)).is_empty());
        let aggregates = records.iter().filter(|record| record.data.starts_with(&[0xF3, 0x89, 0x9A, 0xC2])).count();
        assert!(aggregates > 50 && aggregates < records.len(), "{aggregates} of {}", records.len());
    }
}
