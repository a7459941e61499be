//! Entries of the gap ledger that go before what they are about: before a row is created, and before the shard of a lease is
//! started.
//!
//! A row that vanished is told as soon as it is certain that nobody deleted it in order; one that was created again, by whomever,
//! before its shard is started here; and a start at the tip or at a time before its row is created and before its shard is started.
//! Until an entry is known to be stored it is asked for again, and what it goes before waits.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{Command, GapReason, StreamIndex};
use super::observation::Vanished;
use super::streams::Streams;
use super::{Coordinator, Mode};
use crate::gap::{GapEnd, GapEntry, GapId, GapRange};
use crate::ids::LeaseKey;
use crate::lease::LeaseRow;
use crate::mutant::{self, Mutant};
use crate::position::Position;
use crate::time::Instant;

/// What waits for the ledger.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The rows that are created once nothing is owed under their keys.
    rows: BTreeMap<LeaseKey, LeaseRow>,
    /// What the ledger has to hold before a row is created under a key, or the shard of its lease is started.
    owed: BTreeMap<LeaseKey, BTreeSet<GapId>>,
    entries: BTreeMap<GapId, Entry>,
    /// The late starts that this worker knows to be stored.
    noted: BTreeSet<GapId>,
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
    /// Has to hold `entry` before anything is made of its lease; whether it is to be asked for now.
    fn owe(&mut self, entry: &GapEntry) -> bool {
        let id = entry.id();
        if entry.reason.is_information() && self.noted.contains(&id) {
            return false;
        }
        self.owed.entry(entry.lease.clone()).or_default().insert(id);
        let fresh = !self.entries.contains_key(&id);
        if fresh {
            self.entries.insert(id, Entry { entry: entry.clone(), again: None, failures: 0 });
        }
        fresh
    }

    /// Whether something is not known to be stored that goes before a row under this key, or the start of its shard.
    pub(super) fn owes(&self, key: &LeaseKey) -> bool {
        self.owed.contains_key(key)
    }

    /// The ledger holds an entry: the key of its lease, if nothing else is owed under it.
    fn on_stored(&mut self, id: GapId) -> Option<LeaseKey> {
        let Entry { entry, .. } = self.entries.remove(&id)?;
        if entry.reason.is_information() {
            self.noted.insert(id);
        }
        let owed = self.owed.get_mut(&entry.lease)?;
        owed.remove(&id);
        if !owed.is_empty() {
            return None;
        }
        self.owed.remove(&entry.lease);
        Some(entry.lease)
    }

    /// Keeps only the rows of which `keep` holds.
    fn retain(&mut self, keep: impl Fn(&LeaseKey) -> bool) {
        let dropped: Vec<LeaseKey> = self.rows.keys().filter(|key| !keep(key)).cloned().collect();
        for key in dropped {
            self.rows.remove(&key);
            self.forget_start(&key);
        }
    }

    /// Nothing is to be started under a key: how it would have started need not be told. That a row vanished has to be all the same.
    pub(super) fn forget_start(&mut self, key: &LeaseKey) {
        if self.rows.contains_key(key) {
            return;
        }
        let Some(owed) = self.owed.get_mut(key) else { return };
        let starts = |id: &GapId| self.entries.get(id).is_none_or(|entry| entry.entry.reason.is_information());
        let starts: Vec<GapId> = owed.iter().copied().filter(starts).collect();
        for id in starts {
            owed.remove(&id);
            self.entries.remove(&id);
        }
        if owed.is_empty() {
            self.owed.remove(key);
        }
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
    // === What is told ===

    /// A row is missed. One that is held and whose shard has not ended was deleted by somebody else, and told at once; of others a
    /// listing tells whether their shards are done and they were deleted in order.
    pub(super) fn on_missed(&mut self, key: &LeaseKey, open: bool, now: Instant) {
        if open {
            self.tell_vanished(key);
        } else if self.mode == Mode::Working && self.table.vanished(key).is_some_and(Vanished::is_untold) {
            self.want_listing(key, now);
            if let Some(stream) = self.streams.of_mut(key) {
                // The one under way may have been begun before the row was deleted.
                stream.audit.again |= stream.audit.begun.is_some();
            }
        }
    }

    /// A listing that was begun at `begun` tells which of the rows that vanished before were deleted by somebody else: those of
    /// shards that nobody has read beyond, be they there to be read, or expired with what was not read of them.
    pub(super) fn tell_listed(&mut self, index: StreamIndex, begun: Instant) {
        let Some(stream) = self.streams.get(index) else { return };
        let of_stream = |key: &LeaseKey| self.streams.index_of(key) == Some(index);
        let open = |key: &LeaseKey| !stream.looks.passed.contains(&key.shard_id()) && !self.table.was_passed(key);
        let untold = self.table.untold().filter(|(key, noticed)| *noticed <= begun && of_stream(key) && open(key));
        for key in untold.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.tell_vanished(&key);
        }
    }

    /// Tells that a row vanished, unless that was told.
    pub(super) fn tell_vanished(&mut self, key: &LeaseKey) {
        if self.streams.is_served(key)
            && let Some(checkpoint) = self.table.tell_vanished(key)
        {
            self.tell_recreated(key, checkpoint);
        }
    }

    /// Tells that the row under this key is not the one that stood at `checkpoint`.
    pub(super) fn tell_recreated(&mut self, key: &LeaseKey, checkpoint: Position) {
        if self.streams.is_served(key) {
            self.owe(key, GapReason::RowRecreated, GapRange { after: checkpoint, end: GapEnd::Unknown });
        }
    }

    /// Tells that what came before a time is left out, where a row says so.
    fn tell_late_start(&mut self, row: &LeaseRow) {
        if let Some(start) = row.start.filter(|_| starts_late(row)) {
            let range = GapRange { after: Position::TrimHorizon, end: GapEnd::Until(start) };
            self.owe(&row.key, GapReason::StartedLate, range);
        }
    }

    fn owe(&mut self, key: &LeaseKey, reason: GapReason, range: GapRange) {
        let Some(stream) = self.streams.of(key) else { return };
        let entry = GapEntry {
            stream: stream.settings.name.clone(),
            stream_created: stream.settings.created,
            lease: key.clone(),
            range,
            reason,
            noticed: self.wall,
            by: self.settings.worker.clone(),
            acknowledged: None,
        };
        if self.ledger.owe(&entry) {
            self.commands.push_back(Command::RecordGap(entry));
        }
    }

    // === What waits for it ===

    /// Creates the rows that the last sync of a stream found missing, each after its entries in the ledger. A row that already
    /// waits keeps the start that was pinned first.
    pub(super) fn create_recorded(&mut self, index: StreamIndex, missing: Vec<LeaseRow>, begun: Instant) {
        let keys: BTreeSet<LeaseKey> = missing.iter().map(|row| row.key.clone()).collect();
        let streams = &self.streams;
        self.ledger.retain(|key| streams.index_of(key) != Some(index) || keys.contains(key));
        for row in missing {
            if self.ledger.rows.contains_key(&row.key) || self.creating.contains(&row.key) {
                continue;
            }
            if self.table.vanished(&row.key).is_some_and(|vanished| vanished.noticed > begun) {
                // Deleted while we listed, perhaps because the service had stopped listing it.
                continue;
            }
            self.tell_vanished(&row.key);
            self.tell_late_start(&row);
            if self.ledger.owes(&row.key) {
                self.ledger.rows.insert(row.key.clone(), row);
            } else {
                self.create(row);
            }
        }
    }

    /// Whether the shard of a held lease may not be started yet because the ledger is not known to hold what goes before.
    pub(super) fn waits_for_ledger(&mut self, key: &LeaseKey) -> bool {
        if let Some(row) = self.held.get(key).map(|held| &held.row).filter(|row| starts_late(row)).cloned() {
            self.tell_late_start(&row);
        }
        self.ledger.owes(key) && !mutant::is(Mutant::StartBeforeLedger)
    }

    pub(super) fn on_gap_recorded(&mut self, id: GapId, stored: bool, now: Instant) {
        if stored {
            let Some(key) = self.ledger.on_stored(id) else { return };
            let row = self.ledger.rows.remove(&key).filter(|_| !self.table.contains(&key));
            if self.mode == Mode::Working && self.streams.is_served(&key) {
                if let Some(row) = row {
                    self.create(row);
                }
                self.open_gate(&key, now);
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

/// Whether a row leaves out what came before its start. At zero is pinned who is to begin at the oldest record.
fn starts_late(row: &LeaseRow) -> bool {
    row.start.is_some_and(|start| start.0 > 0) && matches!(row.checkpoint, Position::Latest | Position::AtTimestamp)
}
