//! Listing shards, creating the rows that are missing and deleting those of no more use.
//!
//! Only the leader changes rows; any worker lists if one of its shards waits to hear of a parent.

use super::api::{Command, GapReason, StreamIndex};
use super::hierarchy::{self, Listing};
use super::{Coordinator, Mode};
use crate::gap::{GapEnd, GapEntry, GapRange};
use crate::ids::LeaseKey;
use crate::lease::{CreateOutcome, LeaseRow};
use crate::shard::ShardListing;
use crate::time::{Instant, Now};

impl Coordinator {
    /// Wants a listing although this worker may not lead, but no more than two per failover time.
    pub(super) fn want_listing(&mut self, now: Instant) {
        let last = self.listing.as_ref().map(|listing| listing.begun.after(self.timing.failover() / 2));
        self.listing_wanted = true;
        let at = last.map_or(now, |last| last.max(now));
        if self.audit.begun.is_none() {
            self.audit.due = self.audit.due.min(at);
        }
    }

    pub(super) fn list_if_due(&mut self, now: Instant) {
        if !self.table.is_known() || !self.audit.is_due(now) {
            return;
        }
        if self.listing_wanted || self.leads(now) {
            self.listing_wanted = false;
            self.audit.begun = Some(now);
            self.commands.push_back(Command::ListShards(StreamIndex::default()));
        } else {
            self.audit.due = self.timing.next_audit(now, &mut self.random);
        }
    }

    pub(super) fn on_listed(&mut self, shards: Option<Vec<ShardListing>>, now: Now) {
        let begun = self.audit.begun.unwrap_or(now.instant);
        let Some(shards) = shards else {
            let again = self.timing.next_scan(now.instant, &mut self.random);
            return self.audit.on_end(now.instant, again);
        };
        let next = self.timing.next_audit(now.instant, &mut self.random);
        self.audit.on_end(now.instant, next);
        let listing = Listing::new(begun, shards);
        if self.mode == Mode::Working && self.leads(now.instant) {
            self.create_missing(&listing, now);
            self.delete_useless(&listing);
        }
        self.table.retain_vanished(|key| listing.lists(&key.shard_id()));
        self.listing = Some(listing);
        self.open_gates(now.instant);
    }

    fn create_missing(&mut self, listing: &Listing, now: Now) {
        for row in hierarchy::missing_rows(listing, &self.table, &self.settings.streams[0], now.wall) {
            if let Some(vanished) = self.table.vanished(&row.key) {
                if vanished.noticed > listing.begun {
                    // Deleted while we listed, perhaps because the service had stopped listing it.
                    continue;
                }
                let entry = GapEntry {
                    stream: self.settings.streams[0].name.clone(),
                    stream_created: self.settings.streams[0].created,
                    lease: row.key.clone(),
                    range: GapRange { after: vanished.checkpoint.clone(), end: GapEnd::Unknown },
                    reason: GapReason::RowRecreated,
                    noticed: now.wall,
                    by: self.settings.worker.clone(),
                    acknowledged: None,
                };
                if !self.creating.contains(&row.key) {
                    self.commands.push_back(Command::RecordGap(entry));
                }
            }
            self.create(row);
        }
    }

    /// Creates a row, unless that is under way.
    pub(super) fn create(&mut self, row: LeaseRow) {
        if self.creating.insert(row.key.clone()) {
            self.commands.push_back(Command::CreateLease(row));
        }
    }

    pub(super) fn on_created(&mut self, key: &LeaseKey, outcome: Option<CreateOutcome>, now: Instant) {
        self.creating.remove(key);
        for held in self.held.values_mut() {
            held.on_created(key, outcome.is_some(), now, &self.timing, &mut self.random);
        }
        if outcome.is_none() {
            let again = self.timing.next_scan(now, &mut self.random);
            self.audit.due = self.audit.due.min(again);
        }
        if self.creating.is_empty() {
            // A row that was created is not known before a scan shows it.
            self.scan.want(now);
        }
    }

    fn delete_useless(&mut self, listing: &Listing) {
        for (key, counter) in hierarchy::useless_rows(listing, &self.table) {
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
