//! Scanning the table and taking leases.
//!
//! A take that was rejected, or whose outcome is unknown, is never a success: it is forgotten, and the table is looked at
//! again. If it made us the owner after all, the next scan shows a row that names us, which is taken on its present counter.

use std::collections::BTreeSet;

use super::api::{Command, Report, StreamIndex, WriteId, WriteResult};
use super::assignment::{self, Choice, Lease, Limits};
use super::held::Held;
use super::hierarchy::{self, Gate};
use super::observation::Observed;
use super::{Coordinator, Mode, leader, writes};
use crate::ids::{LeaseKey, LeaseToken, WorkerId};
use crate::lease::{LeaseRow, LeaseWrite, Scan, WriteOutcome};
use crate::time::{Instant, Now};

/// A take under way.
#[derive(Debug)]
pub(super) struct Take {
    id: WriteId,
    write: LeaseWrite,
    /// The row as it was observed.
    row: LeaseRow,
    first_sent: Instant,
    stolen: bool,
}

impl Coordinator {
    pub(super) fn scan_if_due(&mut self, now: Instant) {
        if self.scan.is_due(now) {
            self.scan.begun = Some(now);
            self.commands.push_back(Command::ScanLeases);
        }
    }

    pub(super) fn on_scanned(&mut self, scan: Option<Scan>, now: Now) {
        let next = self.timing.next_scan(now.instant, &mut self.random);
        self.scan.on_end(now.instant, next);
        let Some(scan) = scan else { return };
        for row in self.table.observe(scan, now.instant) {
            self.report(Report::UnreadableRow { key: row.key, problem: row.problem });
        }
        // A scan shows a held row as it was some time ago; our own write knows better.
        for held in self.held.values() {
            self.table.record(held.row.clone(), now.instant);
        }
        self.cooling.retain(|_, until| *until > now.instant);
        self.stop_if_recreated();
        self.survey(now);
        if self.table.is_empty() && self.creating.is_empty() {
            self.audit.want(now.instant);
        }
        self.open_gates(now.instant);
    }

    /// The rows belong to another stream of the same name: its checkpoints mean nothing here.
    fn stop_if_recreated(&mut self) {
        let index = StreamIndex::default();
        let stream = self.settings.streams[index.0].created;
        if self.mode == Mode::Working
            && let Some(rows) = self.table.foreign_stream(stream)
        {
            self.mode = Mode::StreamRecreated;
            self.report(Report::StreamRecreated { index, rows, stream });
            self.stop_all();
        }
    }

    /// Reports what the scan shows, and takes what this worker should have.
    fn survey(&mut self, now: Now) {
        let mut random = self.random.fork();
        let leases = self.leases(now.instant);
        let open = leases.iter().filter(|lease| lease.is_open());
        let unowned = open.clone().filter(|lease| lease.live_owner(self.me()).is_none()).count();
        let workers = Lease::count_by_worker(&leases, self.me()).len();
        let scanned = Report::Scanned { leases: open.count(), unowned, workers };
        let limits = Limits { max_leases: self.settings.max_leases, max_moves: self.settings.max_steals_per_cycle };
        let choice = match self.mode {
            Mode::Working => assignment::choose(&leases, self.me(), limits, &mut random),
            Mode::StreamRecreated | Mode::Draining | Mode::Drained => Choice::default(),
        };
        self.unowned = unowned;
        self.report(scanned);
        let Choice { take, want } = choice;
        take.into_iter().for_each(|key| self.take(&key, false, now));
        want.into_iter().for_each(|key| self.take(&key, true, now));
    }

    fn leases(&self, now: Instant) -> Vec<Lease<'_>> {
        self.table.iter().map(|observed| self.lease(observed, now)).collect()
    }

    fn lease<'a>(&self, observed: &'a Observed, now: Instant) -> Lease<'a> {
        let Observed { row, since } = observed;
        Lease {
            row,
            expired: self.timing.is_expired(*since, now),
            very_old: now.since(*since) > self.timing.failover().saturating_mul(3),
            mine: self.held.contains_key(&row.key) || self.takes.contains_key(&row.key),
            barred: self.cooling.get(&row.key).is_some_and(|until| *until > now),
            resting: false,
            asked: false,
        }
    }

    /// Whether this worker lists shards and keeps the rows in order.
    pub(super) fn leads(&self, now: Instant) -> bool {
        // Owners of completed leases count, as with the KCL, but nobody whose every row stands still.
        let alive = self.leases(now).into_iter().filter(|lease| lease.mine || !lease.expired);
        let owners: BTreeSet<&WorkerId> = alive.filter_map(|lease| lease.row.owner.as_ref()).collect();
        leader::leads(self.me(), &owners)
    }

    fn take(&mut self, key: &LeaseKey, stolen: bool, now: Now) {
        let Some(observed) = self.table.get(key) else { return };
        let row = observed.row.clone();
        let write = writes::take(&row, &self.settings, &self.settings.streams[0], now.wall);
        let id = WriteId(self.fresh_id());
        self.commands.push_back(Command::WriteLease { id, write: write.clone() });
        self.writes.insert(id, key.clone());
        self.takes.insert(key.clone(), Take { id, write, row, first_sent: now.instant, stolen });
    }

    /// The answer to a take; `None` if the write is none.
    pub(super) fn finish_take(&mut self, key: &LeaseKey, id: WriteId) -> Option<Take> {
        if self.takes.get(key)?.id != id {
            return None;
        }
        self.takes.remove(key)
    }

    pub(super) fn on_taken(&mut self, take: Take, result: &WriteResult, now: Instant) {
        let applied = matches!(result, WriteResult::Answered(WriteOutcome::Applied(_)));
        // An answer that took longer than the lease lasts is worth no more than one that never came.
        if !applied || self.timing.until(take.first_sent) <= now {
            self.scan.want(now);
            return;
        }
        let Take { write, row, first_sent, stolen, id: _ } = take;
        let key = row.key.clone();
        let token = LeaseToken(self.fresh_id());
        let renew_at = self.timing.next_renewal(first_sent, &mut self.random);
        let held = Held::new(token, write.change.apply(&row), first_sent, renew_at);
        self.table.record(held.row.clone(), now);
        self.tokens.insert(token, key.clone());
        self.held.insert(key.clone(), held);
        self.report(Report::Taken { key: key.clone(), from: row.owner, stolen });
        if self.mode == Mode::Working {
            self.open_gate(&key, now);
        } else {
            self.release_unstarted(&key);
        }
    }

    /// Starts the shards whose parents are done.
    pub(super) fn open_gates(&mut self, now: Instant) {
        if self.mode == Mode::Working {
            let keys: Vec<LeaseKey> = self.held.keys().cloned().collect();
            keys.iter().for_each(|key| self.open_gate(key, now));
        }
    }

    fn open_gate(&mut self, key: &LeaseKey, now: Instant) {
        let Some(held) = self.held.get_mut(key).filter(|held| held.may_start()) else { return };
        let gate = hierarchy::gate(&held.row, held.taken, &self.table, self.listing.as_ref(), self.timing.failover());
        match gate {
            Gate::Open => {
                let lease = held.start(&self.timing);
                self.commands.push_back(Command::StartShard(lease));
            }
            Gate::Closed => {}
            Gate::NeedsListing => self.want_listing(now),
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        self.commands.push_back(Command::Report(report));
    }
}
