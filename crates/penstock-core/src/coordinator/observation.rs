//! What this worker knows of the lease table: the rows of the last scan, those of its own writes, and since when each has
//! looked the same.
//!
//! A row's age is the time since the *end* of the scan that first showed it as it is: the row was read at some unknown
//! moment of that scan, and a lease must never be thought expired while its holder believes in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{LeaseKey, ShardId};
use crate::lease::{LeaseRow, Scan, UnreadableRow};
use crate::position::Position;
use crate::time::{Instant, UnixMillis};

/// The rows as this worker last saw or wrote them.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<LeaseKey, Observed>,
    unreadable: BTreeMap<LeaseKey, String>,
    vanished: BTreeMap<LeaseKey, Vanished>,
    scanned: bool,
}

/// A row and since when it has looked like this, every attribute of it.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) row: LeaseRow,
    pub(super) since: Instant,
}

/// A row that was there and is not any more.
#[derive(Debug)]
pub(super) struct Vanished {
    /// When it was missed first.
    pub(super) noticed: Instant,
    /// Its last known checkpoint.
    pub(super) checkpoint: Position,
}

impl Table {
    /// Takes in a scan that ended at `now`; gives the rows that became unreadable or are so for another reason.
    pub(super) fn observe(&mut self, scan: Scan, now: Instant) -> Vec<UnreadableRow> {
        self.scanned = true;
        let mut before = std::mem::take(&mut self.rows);
        for row in scan.rows {
            let since = match before.remove(&row.key) {
                Some(known) if known.row == row => known.since,
                Some(_) | None => now,
            };
            self.vanished.remove(&row.key);
            self.rows.insert(row.key.clone(), Observed { row, since });
        }
        let fresh = self.note_unreadable(scan.unreadable);
        for (key, observed) in before {
            if !self.unreadable.contains_key(&key) {
                self.vanished.insert(key, Vanished { noticed: now, checkpoint: observed.row.checkpoint });
            }
        }
        fresh
    }

    fn note_unreadable(&mut self, rows: Vec<UnreadableRow>) -> Vec<UnreadableRow> {
        let before = std::mem::take(&mut self.unreadable);
        let mut fresh = Vec::new();
        for row in rows {
            self.unreadable.insert(row.key.clone(), row.problem.clone());
            if before.get(&row.key) != Some(&row.problem) {
                fresh.push(row);
            }
        }
        fresh
    }

    /// Takes in a row as our own write left it at `now`.
    pub(super) fn record(&mut self, row: LeaseRow, now: Instant) {
        self.rows.insert(row.key.clone(), Observed { row, since: now });
    }

    /// A write of ours found no row.
    pub(super) fn on_missing(&mut self, key: &LeaseKey, now: Instant) {
        if let Some(observed) = self.rows.remove(key) {
            self.vanished.insert(key.clone(), Vanished { noticed: now, checkpoint: observed.row.checkpoint });
        }
    }

    /// A row is gone in order: it was deleted because it is of no more use.
    pub(super) fn forget(&mut self, key: &LeaseKey) {
        self.rows.remove(key);
    }

    /// Forgets the vanished rows that do not concern anybody any more.
    pub(super) fn retain_vanished(&mut self, keep: impl Fn(&LeaseKey) -> bool) {
        self.vanished.retain(|key, _| keep(key));
    }

    /// Whether a scan has succeeded.
    pub(super) const fn is_known(&self) -> bool {
        self.scanned
    }

    /// Whether there is a row under the key, readable or not.
    pub(super) fn contains(&self, key: &LeaseKey) -> bool {
        self.rows.contains_key(key) || self.unreadable.contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.unreadable.is_empty()
    }

    pub(super) fn get(&self, key: &LeaseKey) -> Option<&Observed> {
        self.rows.get(key)
    }

    pub(super) fn row_of(&self, shard: &ShardId) -> Option<&LeaseRow> {
        self.rows.get(&LeaseKey::single_stream(shard)).map(|observed| &observed.row)
    }

    pub(super) fn contains_shard(&self, shard: &ShardId) -> bool {
        self.contains(&LeaseKey::single_stream(shard))
    }

    /// All rows, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Observed> {
        self.rows.values()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &LeaseRow> {
        self.rows.values().map(|observed| &observed.row)
    }

    pub(super) fn vanished(&self, key: &LeaseKey) -> Option<&Vanished> {
        self.vanished.get(key)
    }

    /// A creation time that belongs to another stream than the one created at `stream`.
    pub(super) fn foreign_stream(&self, stream: UnixMillis) -> Option<UnixMillis> {
        self.rows().filter_map(|row| row.stream_created).find(|created| *created != stream)
    }

    /// The earliest pinned start: when the application began to read this stream.
    pub(super) fn earliest_start(&self) -> Option<UnixMillis> {
        self.rows().filter_map(|row| row.start).min()
    }

    /// The shards of which a child has settled something, as the rows name their parents.
    pub(super) fn parents_of_progress(&self) -> BTreeSet<&ShardId> {
        self.rows().filter(|row| row.checkpoint.has_progress()).flat_map(|row| &row.parents).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaseCounter, WorkerId};

    fn row(counter: u64) -> LeaseRow {
        let mut row =
            LeaseRow::new(LeaseKey::new("shardId-000000000000"), LeaseCounter(counter), Position::TrimHorizon);
        row.owner = Some(WorkerId::new("other"));
        row
    }

    fn scan(rows: Vec<LeaseRow>) -> Scan {
        Scan { rows, unreadable: Vec::new() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_row_ages_while_all_of_it_stays_equal() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1));
        table.observe(scan(vec![row(1)]), at(5));
        assert_eq!(table.get(&row(1).key).unwrap().since, at(1));
    }

    #[test]
    fn any_other_attribute_makes_a_row_young_again() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1));
        let mut changed = row(1);
        changed.unknown = Some([7; 32]);
        table.observe(scan(vec![changed]), at(5));
        assert_eq!(table.get(&row(1).key).unwrap().since, at(5));
    }

    #[test]
    fn a_row_that_is_missed_has_vanished_until_it_is_seen_again() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1));
        table.observe(scan(vec![]), at(2));
        assert_eq!(table.vanished(&row(1).key).unwrap().noticed, at(2));
        table.observe(scan(vec![row(9)]), at(3));
        assert!(table.vanished(&row(1).key).is_none());
    }

    #[test]
    fn an_unreadable_row_is_told_once_and_has_not_vanished() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1));
        let broken = UnreadableRow { key: row(1).key, problem: "no counter".to_owned() };
        let broken = Scan { rows: Vec::new(), unreadable: vec![broken] };
        assert_eq!(table.observe(broken.clone(), at(2)).len(), 1);
        assert_eq!(table.observe(broken, at(3)).len(), 0);
        assert!(table.vanished(&row(1).key).is_none());
        assert!(table.contains(&row(1).key) && table.get(&row(1).key).is_none());
    }

    #[test]
    fn a_row_that_was_deleted_in_order_has_not_vanished() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1));
        table.forget(&row(1).key);
        table.observe(scan(vec![]), at(2));
        assert!(table.vanished(&row(1).key).is_none());
    }
}
