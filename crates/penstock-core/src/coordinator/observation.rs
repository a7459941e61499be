//! What this worker knows of the lease table: the rows of the last scan, those of its own writes, and since when each has
//! looked the same.
//!
//! A row's age is the time since the *end* of the scan that first showed it as it is: the row was read at some unknown
//! moment of that scan, and a lease must never be thought expired while its holder believes in it.

use std::collections::{BTreeMap, BTreeSet};

use super::api::StreamSettings;
use crate::ids::{LeaseCounter, LeaseKey};
use crate::lease::{LeaseRow, Scan, UnreadableRow};
use crate::position::Position;
use crate::time::{Instant, UnixMillis};

/// How far a counter may grow between two looks without being another row's. It is far from one write a millisecond that a row
/// gets, and far from the age of a row in milliseconds, by which the counter of a new one is larger.
const LEAST_JUMP: u64 = 1_000;

/// The rows as this worker last saw or wrote them.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<LeaseKey, Observed>,
    unreadable: BTreeMap<LeaseKey, Unreadable>,
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

impl Observed {
    /// Whether `row`, seen at `now`, cannot have come of this one by anything that workers and tools write: the counter fell, or
    /// grew by more than was written since, as it does where penstock creates a row at the time of day; or the checkpoint
    /// went back and what we stamp every row with is gone.
    fn is_another(&self, row: &LeaseRow, now: Instant) -> bool {
        let before = &self.row;
        let unstamped = before.stream_created.is_some() && row.stream_created.is_none();
        let written = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX).max(LEAST_JUMP);
        row.counter < before.counter
            || row.counter.0 - before.counter.0 > written
            || (unstamped && row.checkpoint < before.checkpoint)
    }
}

/// A row that cannot be read.
#[derive(Debug)]
struct Unreadable {
    problem: String,
    /// As it was when it could be read, if it ever could.
    last: Option<Observed>,
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
    /// Whether the gap ledger is told, or has been.
    told: bool,
}

impl Vanished {
    /// Whether the ledger is to be told if the shard turns out to be there to be read.
    pub(super) fn is_untold(&self) -> bool {
        !self.told && self.checkpoint != Position::ShardEnd
    }
}

/// What a scan showed beside the rows as they are.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The rows that became unreadable or are so for another reason.
    pub(super) unreadable: Vec<UnreadableRow>,
    /// The rows that are missed and were not before.
    pub(super) missed: Vec<LeaseKey>,
    /// The rows that are not those of before, of which the ledger is not told, with the checkpoint that was known.
    pub(super) recreated: Vec<(LeaseKey, Position)>,
}

impl Table {
    /// Takes in a scan that was begun at `started` and ended at `now`.
    pub(super) fn observe(&mut self, scan: Scan, started: Instant, now: Instant) -> Seen {
        self.scanned = true;
        self.passed = scan.rows.iter().flat_map(passed_by).collect();
        let mut seen = Seen::default();
        let mut missed = self.replace_rows(scan.rows, started, now, &mut seen.recreated);
        let mut before = std::mem::take(&mut self.unreadable);
        for row in self.rows.values().map(|observed| &observed.row) {
            let last = before.remove(&row.key).and_then(|unreadable| unreadable.last);
            let last = last.filter(|last| last.is_another(row, now)).map(|last| last.row);
            seen.recreated.extend(last.map(|last| (last.key, last.checkpoint)));
        }
        seen.unreadable = self.note_unreadable(scan.unreadable, &mut before, &mut missed);
        let gone = before.into_iter().map(|(key, row)| row.last.map_or_else(|| unknown(key), |last| last.row));
        for row in missed.into_iter().map(|missed| missed.row).chain(gone) {
            if self.vanish(&row, now) {
                seen.missed.push(row.key);
            }
        }
        seen
    }

    /// Puts these rows in the place of those before; gives the ones that are missed. Both are in the order of their keys, so
    /// that one walk along both is enough.
    fn replace_rows(
        &mut self,
        mut rows: Vec<LeaseRow>,
        started: Instant,
        now: Instant,
        recreated: &mut Vec<(LeaseKey, Position)>,
    ) -> Vec<Observed> {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let mut before = std::mem::take(&mut self.rows).into_values().peekable();
        let (mut seen, mut missed) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            while let Some(known) = before.next_if(|known| known.row.key < row.key) {
                missed.push(known);
            }
            let known = before.next_if(|known| known.row.key == row.key);
            if let Some(known) = known.as_ref().filter(|known| known.since > started && known.is_another(&row, now)) {
                // As it was before a write of ours that was answered meanwhile; or another one, which the next scan tells.
                seen.push((row.key, Observed { row: known.row.clone(), since: known.since }));
                continue;
            }
            recreated.extend(self.replaced(known.as_ref(), &row, now).map(|checkpoint| (row.key.clone(), checkpoint)));
            let since = match known {
                Some(known) if is_unmoved(&known.row, &row) => known.since,
                Some(_) | None => now,
            };
            seen.push((row.key.clone(), Observed { row, since }));
        }
        missed.extend(before);
        self.rows = seen.into_iter().collect();
        missed
    }

    /// The checkpoint of the row that was under the key of `row`, if that was another one and the ledger is not told.
    fn replaced(&mut self, known: Option<&Observed>, row: &LeaseRow, now: Instant) -> Option<Position> {
        if let Some(vanished) = self.vanished.remove(&row.key) {
            return (!vanished.told).then_some(vanished.checkpoint);
        }
        let known = known.filter(|known| known.is_another(row, now))?;
        Some(known.row.checkpoint.clone())
    }

    /// A row is gone; whether that is news.
    fn vanish(&mut self, row: &LeaseRow, now: Instant) -> bool {
        let news = !self.vanished.contains_key(&row.key);
        let (checkpoint, start) = (row.checkpoint.clone(), row.start);
        self.vanished.entry(row.key.clone()).or_insert(Vanished { noticed: now, checkpoint, start, told: false });
        news
    }

    /// Takes in the rows that cannot be read, out of those that could not be before and of those that are missed; gives the news.
    fn note_unreadable(
        &mut self,
        rows: Vec<UnreadableRow>,
        before: &mut BTreeMap<LeaseKey, Unreadable>,
        missed: &mut Vec<Observed>,
    ) -> Vec<UnreadableRow> {
        let mut fresh = Vec::new();
        for row in rows {
            let known = before.remove(&row.key);
            let readable = missed.iter().position(|missed| missed.row.key == row.key).map(|index| missed.remove(index));
            let news = known.as_ref().is_none_or(|known| known.problem != row.problem);
            let last = readable.or_else(|| known.and_then(|known| known.last));
            self.unreadable.insert(row.key.clone(), Unreadable { problem: row.problem.clone(), last });
            fresh.extend(news.then_some(row));
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
            self.vanish(&observed.row, now);
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

    /// The rows that are gone although they were not at `SHARD_END`, and of which the ledger is not told, with when each was missed.
    pub(super) fn untold(&self) -> impl Iterator<Item = (&LeaseKey, Instant)> {
        self.vanished.iter().filter(|(_, row)| row.is_untold()).map(|(key, row)| (key, row.noticed))
    }

    /// The last known checkpoint of a row that is gone, for the ledger: once.
    pub(super) fn tell_vanished(&mut self, key: &LeaseKey) -> Option<Position> {
        let vanished = self.vanished.get_mut(key).filter(|vanished| !vanished.told)?;
        vanished.told = true;
        Some(vanished.checkpoint.clone())
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

    /// The keys of the rows that cannot be read, but for those that were at `SHARD_END` when they could.
    pub(super) fn unreadable_open(&self) -> impl Iterator<Item = &LeaseKey> {
        let ended = |row: &Unreadable| row.last.as_ref().is_some_and(|last| last.row.checkpoint == Position::ShardEnd);
        self.unreadable.iter().filter(move |(_, row)| !ended(row)).map(|(key, _)| key)
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

/// What is known of a row that could never be read: nothing.
fn unknown(key: LeaseKey) -> LeaseRow {
    LeaseRow::new(key, LeaseCounter::default(), Position::TrimHorizon)
}

/// The keys of the parents of a row that has progress.
fn passed_by(row: &LeaseRow) -> impl Iterator<Item = LeaseKey> + use<'_> {
    let parents = row.checkpoint.has_progress().then_some(&row.parents);
    parents.into_iter().flatten().map(|parent| row.key.sibling(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkerId;

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
        table.observe(scan(vec![row(1)]), at(1), at(1));
        table.observe(scan(vec![row(1)]), at(5), at(5));
        assert_eq!(table.get(&row(1).key).unwrap().since, at(1));
    }

    #[test]
    fn any_other_attribute_makes_a_row_young_again() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1), at(1));
        let mut changed = row(1);
        changed.unknown = Some([7; 32]);
        table.observe(scan(vec![changed]), at(5), at(5));
        assert_eq!(table.get(&row(1).key).unwrap().since, at(5));
    }

    #[test]
    fn a_wish_keeps_no_dead_lease_young() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1), at(1));
        let wanted = LeaseRow { wanted: Some(WorkerId::new("w")), ..row(1) };
        table.observe(scan(vec![wanted.clone()]), at(5), at(5));
        assert_eq!(table.get(&wanted.key).map(|observed| (&observed.row, observed.since)), Some((&wanted, at(1))));
    }

    #[test]
    fn rows_come_in_any_order_and_each_is_missed_or_not_for_itself() {
        let mut table = Table::default();
        let of = |key: &str| LeaseRow { key: LeaseKey::new(key), ..row(1) };
        table.observe(scan(["d", "a", "c", "b"].map(of).to_vec()), at(1), at(1));
        table.observe(scan(["e", "c", "a"].map(of).to_vec()), at(2), at(2));
        let rows: Vec<_> = table.iter().map(|observed| (observed.row.key.as_str(), observed.since)).collect();
        assert_eq!(rows, [("a", at(1)), ("c", at(1)), ("e", at(2))]);
        let vanished: Vec<_> = table.vanished.keys().map(LeaseKey::as_str).collect();
        assert_eq!(vanished, ["b", "d"]);
    }

    #[test]
    fn a_held_row_ages_from_its_last_write_and_not_from_the_last_scan() {
        let mut table = Table::default();
        table.record(row(2), at(1));
        table.observe(scan(vec![row(2)]), at(3), at(3));
        table.correct(&row(2), at(3));
        assert_eq!(table.get(&row(2).key).map(|observed| observed.since), Some(at(1)));
        table.observe(scan(vec![LeaseRow { owner: None, ..row(2) }]), at(5), at(5));
        table.correct(&row(2), at(5));
        assert_eq!(table.get(&row(2).key).map(|observed| (&observed.row, observed.since)), Some((&row(2), at(5))));
    }

    #[test]
    fn a_scan_that_was_begun_before_a_write_of_ours_makes_no_other_row_of_it() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1), at(1));
        table.record(row(5), at(3));
        let seen = table.observe(scan(vec![row(4)]), at(2), at(4));
        assert!(seen.recreated.is_empty());
        assert_eq!(
            table.get(&row(1).key).map(|known| (known.row.counter, known.since)),
            Some((LeaseCounter(5), at(3)))
        );
        let seen = table.observe(scan(vec![row(4)]), at(5), at(6));
        assert_eq!(seen.recreated, [(row(1).key, Position::TrimHorizon)]);
        assert_eq!(
            table.get(&row(1).key).map(|known| (known.row.counter, known.since)),
            Some((LeaseCounter(4), at(6)))
        );
    }

    #[test]
    fn a_row_that_is_missed_has_vanished_until_it_is_seen_again() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1), at(1));
        table.observe(scan(vec![]), at(2), at(2));
        assert_eq!(table.vanished(&row(1).key).unwrap().noticed, at(2));
        table.observe(scan(vec![row(9)]), at(3), at(3));
        assert!(table.vanished(&row(1).key).is_none());
    }

    #[test]
    fn an_unreadable_row_is_told_once_and_has_not_vanished() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1), at(1));
        let broken = UnreadableRow { key: row(1).key, problem: "no counter".to_owned() };
        let broken = Scan { rows: Vec::new(), unreadable: vec![broken] };
        assert_eq!(table.observe(broken.clone(), at(2), at(2)).unreadable.len(), 1);
        assert_eq!(table.observe(broken, at(3), at(3)).unreadable.len(), 0);
        assert!(table.vanished(&row(1).key).is_none());
        assert!(table.contains(&row(1).key) && table.get(&row(1).key).is_none());
    }

    #[test]
    fn an_unreadable_row_that_goes_has_vanished_as_it_was_last_known() {
        let broken = |key: &LeaseKey| UnreadableRow { key: key.clone(), problem: "no counter".to_owned() };
        let known = LeaseRow { checkpoint: Position::Latest, ..row(1) };
        let never_read = LeaseKey::new("shardId-000000000001");
        let mut table = Table::default();
        table.observe(scan(vec![known.clone()]), at(1), at(1));
        let unreadable = vec![broken(&known.key), broken(&never_read)];
        table.observe(Scan { rows: Vec::new(), unreadable }, at(2), at(2));
        let seen = table.observe(scan(vec![]), at(3), at(3));
        assert_eq!(seen.missed, [known.key.clone(), never_read.clone()]);
        assert_eq!(table.vanished(&known.key).unwrap().checkpoint, Position::Latest);
        assert_eq!(table.vanished(&never_read).unwrap().checkpoint, Position::TrimHorizon);
        assert!(!table.contains(&known.key));
    }

    #[test]
    fn a_counter_that_jumps_is_that_of_another_row() {
        for (counter, recreated) in [(1_700_000_000_000, false), (1_700_000_000_900, false), (1_700_000_090_000, true)]
        {
            let mut table = Table::default();
            table.observe(scan(vec![row(1_700_000_000_000)]), at(1), at(1));
            let seen = table.observe(scan(vec![row(counter)]), at(6), at(6));
            assert_eq!(!seen.recreated.is_empty(), recreated, "{counter}");
        }
    }

    #[test]
    fn a_row_that_can_be_read_again_is_compared_with_what_it_was() {
        let broken = UnreadableRow { key: row(1).key, problem: "no counter".to_owned() };
        for (again, recreated) in [(row(5), false), (row(4), true)] {
            let mut table = Table::default();
            table.observe(scan(vec![row(5)]), at(1), at(1));
            table.observe(Scan { rows: Vec::new(), unreadable: vec![broken.clone()] }, at(2), at(2));
            let seen = table.observe(scan(vec![again]), at(3), at(3));
            assert_eq!((!seen.recreated.is_empty(), seen.missed.len()), (recreated, 0));
            assert_eq!(table.get(&row(1).key).unwrap().since, at(3));
        }
    }

    #[test]
    fn a_row_that_was_deleted_in_order_has_not_vanished() {
        let mut table = Table::default();
        table.observe(scan(vec![row(1)]), at(1), at(1));
        table.forget(&row(1).key);
        table.observe(scan(vec![]), at(2), at(2));
        assert!(table.vanished(&row(1).key).is_none());
    }
}
