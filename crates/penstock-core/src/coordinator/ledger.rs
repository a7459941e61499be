//! Entries of the gap ledger that go before the rows they are about.
//!
//! A row that vanished, or that begins at the tip or at a time, is created only once the ledger holds an entry that says so.
//! Until then it waits, and the entry is asked for again.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{Command, GapReason, StreamIndex};
use super::observation::Vanished;
use super::streams::Streams;
use super::{Coordinator, Mode};
use crate::gap::{GapEnd, GapEntry, GapId, GapRange};
use crate::ids::LeaseKey;
use crate::lease::LeaseRow;
use crate::position::Position;
use crate::time::{Instant, Now, UnixMillis};

/// The rows that wait for the ledger.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rows: BTreeMap<LeaseKey, Pending>,
    entries: BTreeMap<GapId, Entry>,
}

/// A row that is created once the ledger holds its entries.
#[derive(Debug)]
struct Pending {
    row: LeaseRow,
    entries: BTreeSet<GapId>,
}

/// An entry that is not known to be stored.
#[derive(Debug)]
struct Entry {
    entry: GapEntry,
    /// When to ask for it again; `None` while the answer is due.
    again: Option<Instant>,
    failures: u32,
}

impl Ledger {
    /// Adds a row that waits for `entries`; gives those that are not asked for yet.
    fn add(&mut self, row: LeaseRow, entries: Vec<GapEntry>) -> Vec<GapEntry> {
        let ids = entries.iter().map(GapEntry::id).collect();
        self.rows.insert(row.key.clone(), Pending { row, entries: ids });
        entries.into_iter().filter(|entry| self.begin(entry)).collect()
    }

    fn begin(&mut self, entry: &GapEntry) -> bool {
        let id = entry.id();
        let fresh = !self.entries.contains_key(&id);
        if fresh {
            self.entries.insert(id, Entry { entry: entry.clone(), again: None, failures: 0 });
        }
        fresh
    }

    /// The ledger holds an entry: the rows that wait for nothing else.
    fn on_stored(&mut self, id: GapId) -> Vec<LeaseRow> {
        self.entries.remove(&id);
        for pending in self.rows.values_mut() {
            pending.entries.remove(&id);
        }
        let ready = |pending: &Pending| pending.entries.is_empty();
        let keys: Vec<LeaseKey> =
            self.rows.iter().filter(|(_, pending)| ready(pending)).map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.rows.remove(key)).map(|pending| pending.row).collect()
    }

    /// Keeps only the rows of which `keep` holds, and the entries that a row waits for.
    fn retain(&mut self, keep: impl Fn(&LeaseKey) -> bool) {
        self.rows.retain(|key, _| keep(key));
        let wanted: BTreeSet<GapId> = self.rows.values().flat_map(|pending| &pending.entries).copied().collect();
        self.entries.retain(|id, _| wanted.contains(id));
    }

    fn due(&mut self, now: Instant) -> Vec<GapEntry> {
        let due = self.entries.values_mut().filter(|entry| entry.again.is_some_and(|again| again <= now));
        due.map(|entry| {
            entry.again = None;
            entry.entry.clone()
        })
        .collect()
    }

    /// Whether a row of a stream waits.
    pub(super) fn waits(&self, streams: &Streams, index: StreamIndex) -> bool {
        self.rows.keys().any(|key| streams.index_of(key) == Some(index))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.again).min()
    }
}

impl Coordinator {
    /// Creates the rows that the last sync of a stream found missing, each after its entries in the ledger. A row that already
    /// waits keeps the start that was pinned first.
    pub(super) fn create_recorded(&mut self, index: StreamIndex, missing: Vec<LeaseRow>, begun: Instant, now: Now) {
        let keys: BTreeSet<LeaseKey> = missing.iter().map(|row| row.key.clone()).collect();
        let streams = &self.streams;
        self.ledger.retain(|key| streams.index_of(key) != Some(index) || keys.contains(key));
        for row in missing {
            if self.ledger.rows.contains_key(&row.key) || self.creating.contains(&row.key) {
                continue;
            }
            let vanished = self.table.vanished(&row.key);
            if vanished.is_some_and(|vanished| vanished.noticed > begun) {
                // Deleted while we listed, perhaps because the service had stopped listing it.
                continue;
            }
            let entries = self.entries(index, &row, vanished, now.wall);
            if entries.is_empty() {
                self.create(row);
                continue;
            }
            for entry in self.ledger.add(row, entries) {
                self.commands.push_back(Command::RecordGap(entry));
            }
        }
    }

    fn entries(
        &self,
        index: StreamIndex,
        row: &LeaseRow,
        vanished: Option<&Vanished>,
        wall: UnixMillis,
    ) -> Vec<GapEntry> {
        let Some(stream) = self.streams.get(index) else { return Vec::new() };
        let entry = |reason, range| GapEntry {
            stream: stream.settings.name.clone(),
            stream_created: stream.settings.created,
            lease: row.key.clone(),
            range,
            reason,
            noticed: wall,
            by: self.settings.worker.clone(),
            acknowledged: None,
        };
        let recreated = vanished.map(|vanished| {
            entry(GapReason::RowRecreated, GapRange { after: vanished.checkpoint.clone(), end: GapEnd::Unknown })
        });
        let late = row.start.map(|start| {
            entry(GapReason::StartedLate, GapRange { after: Position::TrimHorizon, end: GapEnd::Until(start) })
        });
        recreated.into_iter().chain(late).collect()
    }

    pub(super) fn on_gap_recorded(&mut self, id: GapId, stored: bool, now: Instant) {
        if stored {
            for row in self.ledger.on_stored(id) {
                if self.mode == Mode::Working && self.streams.is_served(&row.key) && !self.table.contains(&row.key) {
                    self.create(row);
                }
            }
        } else if let Some(entry) = self.ledger.entries.get_mut(&id) {
            entry.again = Some(self.timing.next_listing(now, entry.failures, &mut self.random));
            entry.failures = entry.failures.saturating_add(1);
        }
    }

    /// Asks again for the entries that could not be stored.
    pub(super) fn record_if_due(&mut self, now: Instant) {
        for entry in self.ledger.due(now) {
            self.commands.push_back(Command::RecordGap(entry));
        }
    }
}
