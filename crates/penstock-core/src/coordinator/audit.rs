//! Listing shards, creating the rows that are missing and deleting those of no more use, stream by stream.
//!
//! Only the leader changes rows; any worker lists if one of its shards waits to hear of a parent, or if a stream has no rows:
//! the leader may be a worker that does not know of it.

use std::collections::BTreeMap;

use super::api::{Command, Report, StreamIndex};
use super::coverage::{self, Hole, SIGHTINGS};
use super::hierarchy::{self, Gate, Listing};
use super::streams::Stream;
use super::{Coordinator, Mode, sync};
use crate::ids::{HashRange, LeaseCounter, LeaseKey};
use crate::lease::{CreateOutcome, LeaseRow};
use crate::position::Position;
use crate::shard::ShardListing;
use crate::time::{Instant, Now};

/// The most listings under way at a time: many streams are listed one after the other.
const CONCURRENT_LISTINGS: usize = 4;

impl Coordinator {
    /// Wants a listing of the stream of `key` although this worker may not lead, but no more than two per failover time; the
    /// second look at all may follow at once.
    pub(super) fn want_listing(&mut self, key: &LeaseKey, now: Instant) {
        let failover = self.timing.failover();
        let Some(stream) = self.streams.of_mut(key) else { return };
        let pause = if stream.looks.are_two() { failover / 2 } else { failover / 20 };
        let last = stream.looks.latest.as_ref().map(|listing| listing.begun.after(pause));
        stream.listing_wanted = true;
        if stream.failures == 0 {
            stream.list_at(last.map_or(now, |last| last.max(now)));
        }
    }

    /// When the next listing is due, if one may be begun then.
    pub(super) fn listing_deadline(&self) -> Option<Instant> {
        if !self.table.is_known() || self.listings_under_way() >= CONCURRENT_LISTINGS {
            return None;
        }
        self.streams.iter().filter_map(|(_, stream)| stream.audit.deadline()).min()
    }

    fn listings_under_way(&self) -> usize {
        self.streams.iter().filter(|(_, stream)| stream.audit.begun.is_some()).count()
    }

    pub(super) fn list_if_due(&mut self, now: Instant) {
        if !self.table.is_known() {
            return;
        }
        let due: Vec<StreamIndex> =
            self.streams.iter().filter(|(_, stream)| stream.audit.is_due(now)).map(|(index, _)| index).collect();
        if due.is_empty() {
            return;
        }
        let leads = self.leads(now);
        let mut under_way = self.listings_under_way();
        for index in due {
            let Some(stream) = self.streams.get_mut(index) else { continue };
            let wanted = leads || stream.listing_wanted || !self.table.knows_stream(&stream.settings);
            if stream.recreated || !wanted {
                stream.failures = 0;
                stream.audit.due = self.timing.next_audit(now, &mut self.random);
            } else if under_way < CONCURRENT_LISTINGS {
                under_way += 1;
                stream.listing_wanted = false;
                stream.audit.begun = Some(now);
                self.commands.push_back(Command::ListShards(index));
            }
        }
    }

    pub(super) fn on_listed(&mut self, index: StreamIndex, shards: Option<Vec<ShardListing>>, now: Now) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let begun = stream.audit.begun.unwrap_or(now.instant);
        let Some(shards) = shards else { return self.list_again(index, now.instant) };
        stream.audit.on_end(now.instant, self.timing.next_audit(now.instant, &mut self.random));
        let listing = Listing::new(begun, shards);
        stream.looks.passed = sync::passed(&listing, &self.table, &stream.settings);
        stream.looks.add(listing);
        let unread = !self.table.knows_stream(&stream.settings);
        let leads = self.leads(now.instant);
        if self.mode == Mode::Working && (unread || leads) {
            self.sync(index, now);
            self.delete_useless(index);
        } else if self.mode == Mode::Working && self.waits_for_absent_parent(index) {
            // The leader may be one that makes no rows for parents. Ours is made only if it is still missing.
            self.sync(index, now);
        } else if let Some(stream) = self.streams.get_mut(index) {
            stream.failures = 0;
        }
        self.tell_listed(index, begun);
        if let Some(stream) = self.streams.get(index) {
            let other = |key: &LeaseKey| self.streams.index_of(key) != Some(index);
            self.table.retain_vanished(|key| other(key) || !stream.looks.miss(&key.shard_id()));
        }
        self.tell_hash_ranges(index);
        self.open_gates(now.instant);
    }

    /// A listing failed, or was of no use: another one, later each time.
    fn list_again(&mut self, index: StreamIndex, now: Instant) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let again = self.timing.next_listing(now, stream.failures, &mut self.random);
        stream.failures = stream.failures.saturating_add(1);
        stream.audit.again = false;
        stream.audit.on_end(now, again);
    }

    /// Whether a shard of ours waits for a parent that has no row and is not known to be done.
    fn waits_for_absent_parent(&self, index: StreamIndex) -> bool {
        let mut waiting = self.held.waiting().filter(|(_, held)| held.stream == index && held.may_start());
        self.is_alone() && waiting.any(|(_, held)| self.gate(held) == Some(Gate::NeedsListing))
    }

    fn sync(&mut self, index: StreamIndex, now: Now) {
        let Some(stream) = self.streams.get_mut(index).filter(|stream| !stream.recreated) else { return };
        let Some(listing) = &stream.looks.latest else { return };
        let begun = listing.begun;
        match sync::missing_rows(listing, &self.table, &stream.settings, now.wall) {
            Ok(missing) => {
                stream.failures = 0;
                self.create_recorded(index, missing, begun);
            }
            Err(hole) => {
                self.on_hole(index, hole, Some(begun));
                self.list_again(index, now.instant);
            }
        }
    }

    /// Looks whether the open leases of each stream cover all hash keys. A hole is closed by a sync; one that stays is reported.
    pub(super) fn audit_coverage(&mut self, now: Instant) {
        if self.mode != Mode::Working || !self.leads(now) {
            return;
        }
        for index in self.streams.iter().map(|(index, _)| index).collect::<Vec<_>>() {
            let Some(stream) = self.streams.get(index).filter(|stream| !stream.recreated) else { continue };
            let empty = !self.table.knows_stream(&stream.settings);
            match self.hole(stream) {
                None => self.forget_hole(index),
                // The first rows are on their way, or a listing for them is.
                Some(_) if empty && (stream.failures > 0 || self.is_creating(index)) => {}
                Some(hole) => {
                    let attempt = stream.looks.latest.as_ref().map(|listing| listing.begun);
                    let first = self.on_hole(index, hole, attempt);
                    self.want_sync(index, first, now);
                }
            }
        }
    }

    /// The first hash keys that no open lease of a stream covers. What a row does not say, a listing may.
    fn hole(&self, stream: &Stream) -> Option<HashRange> {
        let rows = self.table.of_stream(&stream.settings).map(|observed| &observed.row);
        let open = rows.filter(|row| row.checkpoint != Position::ShardEnd);
        let ranges = open.filter_map(|row| row.hash_range.or_else(|| stream.looks.hash_range(&row.key.shard_id())));
        let unreadable = self.table.unreadable_of(&stream.settings);
        let theirs = unreadable.filter_map(|key| stream.looks.hash_range(&key.shard_id()));
        coverage::first_hole(ranges.chain(theirs))
    }

    fn forget_hole(&mut self, index: StreamIndex) {
        if let Some(stream) = self.streams.get_mut(index) {
            stream.hole = None;
        }
    }

    /// Notes a hole, and reports it once when it has stayed. Whether it is worth another listing before the next audit.
    fn on_hole(&mut self, index: StreamIndex, range: HashRange, attempt: Option<Instant>) -> bool {
        let Some(stream) = self.streams.get_mut(index) else { return false };
        let before = stream.hole;
        let hole = Hole::seen(range, attempt, before);
        stream.hole = Some(hole);
        if hole.times == SIGHTINGS && before != Some(hole) {
            self.report(Report::HashRangeHole { stream: index, from: range.start, to: range.end });
        }
        hole.times < SIGHTINGS
    }

    /// Wants a sync of a stream by the leader, soon if `soon` and otherwise in its turn.
    fn want_sync(&mut self, index: StreamIndex, soon: bool, now: Instant) {
        let pause = self.timing.failover() / 2;
        let Some(stream) = self.streams.get_mut(index).filter(|stream| soon && stream.failures == 0) else { return };
        let last = stream.looks.latest.as_ref().map(|listing| listing.begun.after(pause));
        stream.list_at(last.map_or(now, |last| last.max(now)));
    }

    fn is_creating(&self, index: StreamIndex) -> bool {
        self.creating.iter().any(|key| self.streams.index_of(key) == Some(index))
            || self.ledger.waits(&self.streams, index)
    }

    /// Tells the holder in us what the shards of rows without hash keys cover: it is stored with the next renewal, which only
    /// the holder can write, so that no counter moves under anybody and no two write it. For leases of others the leader goes
    /// by the listing; theirs say it once one of us, or the KCL's own leader, has written it.
    fn tell_hash_ranges(&mut self, index: StreamIndex) {
        let Some(stream) = self.streams.get(index) else { return };
        let unknown = self.held.iter().filter(|(_, held)| held.stream == index && held.row.hash_range.is_none());
        for key in unknown.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if let Some(held) = self.held.get_mut(&key) {
                held.learned_range = stream.looks.hash_range(&key.shard_id());
            }
        }
    }

    /// Lists once if a lease of ours does not say what it covers.
    pub(super) fn ask_hash_ranges(&mut self, now: Instant) {
        let unknown =
            self.held.iter().filter(|(_, held)| held.row.hash_range.is_none() && held.learned_range.is_none());
        let unknown: BTreeMap<StreamIndex, LeaseKey> = unknown.map(|(key, held)| (held.stream, key.clone())).collect();
        for (index, key) in unknown {
            self.tell_hash_ranges(index);
            if self.streams.get(index).is_some_and(|stream| stream.looks.latest.is_none()) {
                self.want_listing(&key, now);
            }
        }
    }

    /// Creates a row, unless that is under way. Its counter is that of this sending: an earlier one whose outcome is unknown
    /// may have made a row that was deleted since, and a late write of that row must not meet the counter of this one.
    pub(super) fn create(&mut self, mut row: LeaseRow) {
        if self.creating.insert(row.key.clone()) {
            row.counter = row.counter.max(LeaseCounter(self.wall.not_negative()));
            self.commands.push_back(Command::CreateLease(row));
        }
    }

    pub(super) fn on_created(&mut self, key: &LeaseKey, outcome: Option<CreateOutcome>, now: Instant) {
        self.creating.remove(key);
        self.on_child_created(key, outcome.is_some(), now);
        if outcome.is_none() {
            let again = self.timing.next_scan(now, &mut self.random);
            if let Some(stream) = self.streams.of_mut(key) {
                stream.list_at(again);
            }
        }
        if self.creating.is_empty() {
            // A row that was created is not known before a scan shows it.
            self.scan.want(now);
        }
    }

    fn delete_useless(&mut self, index: StreamIndex) {
        let Some(stream) = self.streams.get(index).filter(|stream| !stream.recreated) else { return };
        for (key, counter) in hierarchy::useless_rows(&stream.looks, &self.table, &stream.settings) {
            if !self.held.contains_key(&key) && self.deleting.insert(key.clone()) {
                self.commands.push_back(Command::DeleteLease { key, counter });
            }
        }
    }

    pub(super) fn on_deleted(&mut self, key: &LeaseKey, gone: Option<bool>) {
        self.deleting.remove(key);
        if gone == Some(true) {
            self.table.forget(key);
        }
    }
}

impl Stream {
    /// Lists at `at` at the latest, if no listing is under way.
    fn list_at(&mut self, at: Instant) {
        if self.audit.begun.is_none() {
            self.audit.due = self.audit.due.min(at);
        }
    }
}
