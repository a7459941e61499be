//! What this worker knows of the lease table: the rows of the last scan, those of its own writes, and since when each has
//! looked the same.
//!
//! A row's age is the time since the *end* of the scan that first showed it as it is: the row was read at some unknown
//! moment of that scan, and a lease must never be thought expired while its holder believes in it.

use std::collections::{BTreeMap, BTreeSet};

use super::api::StreamSettings;
use crate::ids::LeaseKey;
use crate::lease::{LeaseRow, Scan, UnreadableRow};
use crate::position::Position;
use crate::time::{Instant, UnixMillis};

/// The rows as this worker last saw or wrote them.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<LeaseKey, Observed>,
    unreadable: BTreeMap<LeaseKey, String>,
    vanished: BTreeMap<LeaseKey, Vanished>,
    /// The shards of which a child has settled something.
    passed: BTreeSet<LeaseKey>,
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
    /// The start that was pinned in it.
    pub(super) start: Option<UnixMillis>,
}

impl Vanished {
    fn of(row: LeaseRow, noticed: Instant) -> Self {
        Self { noticed, checkpoint: row.checkpoint, start: row.start }
    }
}

impl Table {
    /// Takes in a scan that ended at `now`; gives the rows that became unreadable or are so for another reason.
    pub(super) fn observe(&mut self, scan: Scan, now: Instant) -> Vec<UnreadableRow> {
        self.scanned = true;
        self.passed = scan.rows.iter().flat_map(passed_by).collect();
        let missed = self.replace_rows(scan.rows, now);
        let fresh = self.note_unreadable(scan.unreadable);
        for row in missed {
            if !self.unreadable.contains_key(&row.key) {
                self.vanished.insert(row.key.clone(), Vanished::of(row, now));
            }
        }
        fresh
    }

    /// Puts these rows in the place of those before; gives the ones that are missed. Both are in the order of their keys, so
    /// that one walk along both is enough.
    fn replace_rows(&mut self, mut rows: Vec<LeaseRow>, now: Instant) -> Vec<LeaseRow> {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let mut before = std::mem::take(&mut self.rows).into_values().peekable();
        let (mut seen, mut missed) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            while let Some(known) = before.next_if(|known| known.row.key < row.key) {
                missed.push(known.row);
            }
            let since = match before.next_if(|known| known.row.key == row.key) {
                Some(known) if is_unmoved(&known.row, &row) => known.since,
                Some(_) | None => now,
            };
            self.vanished.remove(&row.key);
            seen.push((row.key.clone(), Observed { row, since }));
        }
        missed.extend(before.map(|known| known.row));
        self.rows = seen.into_iter().collect();
        missed
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

    /// Takes in a held row that a scan may have shown as it was some time ago.
    pub(super) fn correct(&mut self, row: &LeaseRow, now: Instant) {
        if self.rows.get(&row.key).is_none_or(|observed| observed.row != *row) {
            self.record(row.clone(), now);
        }
    }

    /// Takes in a row as our own write left it at `now`.
    pub(super) fn record(&mut self, row: LeaseRow, now: Instant) {
        self.passed.extend(passed_by(&row));
        self.rows.insert(row.key.clone(), Observed { row, since: now });
    }

    /// A write of ours found no row.
    pub(super) fn on_missing(&mut self, key: &LeaseKey, now: Instant) {
        if let Some(observed) = self.rows.remove(key) {
            self.vanished.insert(key.clone(), Vanished::of(observed.row, now));
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

    pub(super) fn get(&self, key: &LeaseKey) -> Option<&Observed> {
        self.rows.get(key)
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

    /// The rows of one stream, in the order of their keys.
    pub(super) fn of_stream(&self, stream: &StreamSettings) -> impl Iterator<Item = &Observed> + use<'_> {
        let prefix = stream.id.as_ref().map_or_else(String::new, |id| format!("{id}:"));
        let first = LeaseKey::new(&prefix);
        self.rows
            .range(first..)
            .map(|(_, observed)| observed)
            .take_while(move |observed| observed.row.key.as_str().starts_with(&prefix))
    }

    /// Whether there is a row of the stream, readable or not.
    pub(super) fn knows_stream(&self, stream: &StreamSettings) -> bool {
        let prefix = stream.id.as_ref().map_or_else(String::new, |id| format!("{id}:"));
        let unreadable = self.unreadable.keys().any(|key| key.as_str().starts_with(&prefix));
        unreadable || self.of_stream(stream).next().is_some()
    }

    /// The keys of the rows of a stream that cannot be read.
    pub(super) fn unreadable_of(&self, stream: &StreamSettings) -> impl Iterator<Item = &LeaseKey> + use<'_> {
        let prefix = stream.id.as_ref().map_or_else(String::new, |id| format!("{id}:"));
        self.unreadable.keys().filter(move |key| key.as_str().starts_with(&prefix))
    }

    /// The earliest pinned start: when the application began to read this stream.
    pub(super) fn earliest_start(&self, stream: &StreamSettings) -> Option<UnixMillis> {
        let vanished = self.vanished.iter().filter(|(key, _)| key.stream_id() == stream.id);
        let starts = self.of_stream(stream).filter_map(|observed| observed.row.start);
        starts.chain(vanished.filter_map(|(_, vanished)| vanished.start)).min()
    }

    /// Whether a child of the shard under this key has settled something, as the rows name their parents.
    pub(super) fn was_passed(&self, key: &LeaseKey) -> bool {
        self.passed.contains(key)
    }
}

/// Whether the holder of a lease has written nothing: the row is the same but for a wish, which anybody may have set.
fn is_unmoved(before: &LeaseRow, now: &LeaseRow) -> bool {
    before.counter == now.counter
        && (before == now || LeaseRow { wanted: now.wanted.clone(), ..before.clone() } == *now)
}

/// The keys of the parents of a row that has progress.
fn passed_by(row: &LeaseRow) -> impl Iterator<Item = LeaseKey> + use<'_> {
    let parents = row.checkpoint.has_progress().then_some(&row.parents);
    parents.into_iter().flatten().map(|parent| row.key.sibling(parent))
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
    fn a_wish_keeps_no_dead_lease_young() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1));
        let wanted = LeaseRow { wanted: Some(WorkerId::new("w")), ..row(1) };
        table.observe(scan(vec![wanted.clone()]), at(5));
        assert_eq!(table.get(&wanted.key).map(|observed| (&observed.row, observed.since)), Some((&wanted, at(1))));
    }

    #[test]
    fn rows_come_in_any_order_and_each_is_missed_or_not_for_itself() {
        let mut table = Table::default();
        let of = |key: &str| LeaseRow { key: LeaseKey::new(key), ..row(1) };
        table.observe(scan(["d", "a", "c", "b"].map(of).to_vec()), at(1));
        table.observe(scan(["e", "c", "a"].map(of).to_vec()), at(2));
        let rows: Vec<_> = table.iter().map(|observed| (observed.row.key.as_str(), observed.since)).collect();
        assert_eq!(rows, [("a", at(1)), ("c", at(1)), ("e", at(2))]);
        let vanished: Vec<_> = table.vanished.keys().map(LeaseKey::as_str).collect();
        assert_eq!(vanished, ["b", "d"]);
    }

    #[test]
    fn a_held_row_ages_from_its_last_write_and_not_from_the_last_scan() {
        let mut table = Table::default();
        table.record(row(2), at(1));
        table.observe(scan(vec![row(2)]), at(3));
        table.correct(&row(2), at(3));
        assert_eq!(table.get(&row(2).key).map(|observed| observed.since), Some(at(1)));
        table.observe(scan(vec![row(1)]), at(5));
        table.correct(&row(2), at(5));
        assert_eq!(
            table.get(&row(2).key).map(|observed| (observed.row.counter, observed.since)),
            Some((LeaseCounter(2), at(5)))
        );
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
