//! Somebody deletes rows, and a leader of the KCL makes some of them again: what the gap ledger has to hold of it before a worker that
//! has noticed starts the shard.

use penstock_core::gap::GapEnd;

use super::*;

/// What strangers did, and what the gap ledger holds of it.
#[derive(Default)]
pub(super) struct Strangers {
    erased: BTreeSet<LeaseKey>,
    /// Those that a leader of the KCL made again: once each, since all of its rows begin with the same counter.
    remade: BTreeSet<LeaseKey>,
    /// The counters that the rows under each key began with, of one row after the other.
    made: BTreeMap<LeaseKey, Vec<LeaseCounter>>,
    /// The entries of the ledger, each with how many rows under its key were gone when it was stored.
    gaps: Vec<(usize, GapEntry)>,
}

impl Strangers {
    pub(super) fn was_erased(&self, key: &LeaseKey) -> bool {
        self.erased.contains(key)
    }

    /// A row is created.
    pub(super) fn on_made(&mut self, row: &LeaseRow) {
        self.made.entry(row.key.clone()).or_default().push(row.counter);
    }

    /// How many rows were under the key before the one that had this counter: it is the one that began next below it.
    fn rank(&self, key: &LeaseKey, counter: LeaseCounter) -> usize {
        let made = self.made.get(key).into_iter().flatten().enumerate();
        let (rank, _) = made.filter(|(_, first)| **first <= counter).max_by_key(|(_, first)| **first).expect("made");
        rank
    }

    /// Whether the ledger was told, after the row of this rank was gone, that there is or will be another one.
    fn is_told_of(&self, key: &LeaseKey, rank: usize) -> bool {
        let about = |entry: &GapEntry| entry.lease == *key && entry.reason == GapReason::RowRecreated;
        self.gaps.iter().any(|(gone, entry)| *gone > rank && about(entry))
    }

    /// Whether the ledger holds that a row leaves out what came before this time.
    fn is_late_start_told(&self, key: &LeaseKey, start: UnixMillis) -> bool {
        let about = |entry: &GapEntry| entry.lease == *key && entry.reason == GapReason::StartedLate;
        self.gaps.iter().any(|(_, entry)| about(entry) && entry.range.end == GapEnd::Until(start))
    }
}

/// What a worker has seen of the rows.
#[derive(Default)]
pub(super) struct Known {
    counters: BTreeMap<LeaseKey, LeaseCounter>,
    /// The open rows that it has seen to be gone, or to be others than before, by the counter that it saw last.
    gone: BTreeSet<(LeaseKey, LeaseCounter)>,
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
                self.gone.insert((key, counter));
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
        self.note(|| format!("somebody deletes {key}"));
        self.table.remove(&key);
        self.robbed.extend(self.tenures.remove(&key));
        self.wishes.remove(&key);
        self.outdone.retain(|(outdone, _)| *outdone != key);
        self.strangers.erased.insert(key.clone());
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
        self.note(|| format!("somebody creates {row:?}"));
        self.strangers.on_made(&row);
        self.table.insert(key.clone(), row);
    }

    pub(super) fn record_gap(&mut self, entry: GapEntry) -> Event {
        let id = entry.id();
        self.note(|| format!("stored is {entry:?}"));
        let made = self.strangers.made.get(&entry.lease).map_or(0, Vec::len);
        let gone = made - usize::from(self.table.contains_key(&entry.lease));
        self.strangers.gaps.push((gone, entry));
        Event::GapRecorded { id, stored: true }
    }

    /// A worker starts a shard: the ledger holds that those rows are gone of which it has noticed that they are, and what the row
    /// leaves out. Rows that were made and deleted between two looks of it are nothing that it could tell.
    pub(super) fn check_told(&self, index: usize, row: &LeaseRow) {
        let (strangers, key) = (&self.strangers, &row.key);
        let rank = strangers.rank(key, row.counter);
        let gone = self.workers[index].knows.gone.iter().filter(|(gone, _)| gone == key);
        for before in gone.map(|(_, counter)| strangers.rank(key, *counter)).filter(|before| *before <= rank) {
            assert!(strangers.is_told_of(key, before), "{key} starts and nobody told that its row {before} is gone");
        }
        if matches!(row.checkpoint, Position::Latest | Position::AtTimestamp) {
            let start = row.start.expect("a start is pinned before it is used");
            assert!(strangers.is_late_start_told(key, start), "{key} leaves out what came before in silence");
        }
    }
}
