//! Somebody deletes rows, and a leader of the KCL makes some of them again: what the gap ledger has to hold of it before a worker that
//! has noticed starts the shard.

use super::*;

/// What strangers did, and what the gap ledger holds of it.
#[derive(Default)]
pub(super) struct Strangers {
    erased: BTreeSet<LeaseKey>,
    /// Those that a leader of the KCL made again: once each, since all of its rows begin with the same counter.
    remade: BTreeSet<LeaseKey>,
    /// The entries, but those about rows that were deleted once more since.
    gaps: Vec<GapEntry>,
}

impl Strangers {
    pub(super) fn was_erased(&self, key: &LeaseKey) -> bool {
        self.erased.contains(key)
    }
}

/// What a worker has seen of the rows.
#[derive(Default)]
pub(super) struct Known {
    counters: BTreeMap<LeaseKey, LeaseCounter>,
    /// The rows that it has seen to be gone, open ones, or to be others than before.
    noticed: BTreeSet<LeaseKey>,
}

impl Known {
    /// A scan came back.
    pub(super) fn look(&mut self, rows: &[LeaseRow]) {
        let before = std::mem::take(&mut self.counters);
        let open = rows.iter().filter(|row| row.checkpoint != Position::ShardEnd);
        self.counters = open.map(|row| (row.key.clone(), row.counter)).collect();
        for (key, counter) in before {
            let there = rows.iter().find(|row| row.key == key);
            if there.is_none_or(|row| row.counter < counter) {
                self.noticed.insert(key);
            }
        }
    }
}

impl World {
    /// Somebody deletes the row of an open shard.
    pub(super) fn erase(&mut self, number: u64) {
        let open = self.table.values().filter(|row| row.checkpoint != Position::ShardEnd);
        let keys: Vec<LeaseKey> = open.map(|row| row.key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.below(keys.len() as u64) as usize].clone();
        self.table.remove(&key);
        self.robbed.extend(self.tenures.remove(&key));
        self.wishes.remove(&key);
        self.outdone.retain(|(outdone, _)| *outdone != key);
        self.strangers.gaps.retain(|entry| entry.lease != key);
        self.strangers.erased.insert(key.clone());
        for worker in &mut self.workers {
            worker.knows.noticed.remove(&key);
        }
        if number.is_multiple_of(2) && self.strangers.remade.insert(key.clone()) {
            let delay = self.below(12_000);
            self.schedule(delay, Item::Remake(key));
        }
    }

    /// A leader of the KCL makes a row again, if nobody has: at its own position, with a counter of its own and nothing of ours.
    pub(super) fn remake(&mut self, key: &LeaseKey) {
        let Some(shard) = self.shards.get(&key.shard_id()) else { return };
        if self.table.contains_key(key) || self.ended.contains(&shard.id) {
            return;
        }
        // What came before a child at the tip would be left out with all that it waits for.
        let latest = shard.parents.is_empty() && number(&shard.id).is_multiple_of(2);
        let checkpoint = if latest { Position::Latest } else { Position::TrimHorizon };
        let mut row = LeaseRow::new(key.clone(), LeaseCounter(0), checkpoint);
        row.parents.clone_from(&shard.parents);
        row.hash_range = Some(shard.hash_range);
        self.table.insert(key.clone(), row);
    }

    pub(super) fn record_gap(&mut self, entry: GapEntry) -> Event {
        let id = entry.id();
        self.strangers.gaps.push(entry);
        Event::GapRecorded { id, stored: true }
    }

    /// A worker starts a shard: the ledger holds what it has noticed of the row, and what the row leaves out.
    pub(super) fn check_told(&mut self, index: usize, row: &LeaseRow) {
        let told = |reason| self.strangers.gaps.iter().any(|entry| entry.lease == row.key && entry.reason == reason);
        let noticed = self.workers[index].knows.noticed.remove(&row.key);
        assert!(!noticed || told(GapReason::RowRecreated), "{} starts in silence on another row", row.key);
        let late = matches!(row.checkpoint, Position::Latest | Position::AtTimestamp);
        assert!(!late || told(GapReason::StartedLate), "{} leaves out what came before in silence", row.key);
    }
}
