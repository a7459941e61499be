//! Scanning the table and taking leases.
//!
//! A take that was rejected, or whose outcome is unknown, is never a success: it is forgotten, and the table is looked at
//! again. If it made us the owner after all, the next scan shows a row that names us, which is taken on its present counter.

use std::collections::BTreeSet;

use super::api::{Command, Report, Silence, WriteId, WriteResult};
use super::assignment::{self, Choice, Lease, Limits};
use super::held::Held;
use super::hierarchy::{self, Gate};
use super::observation::Observed;
use super::streams::Others;
use super::{Cooling, Coordinator, Mode, leader, wishes, writes};
use crate::ids::{LeaseKey, LeaseToken, WorkerId};
use crate::lease::{LeaseRow, Scan, WriteOutcome};
use crate::mutant::{self, Mutant};
use crate::time::{Instant, Now};

/// How often a lease is taken by force on a row that moved meanwhile, before its holder is asked anew.
const FORCED_TRIES: u32 = 3;

/// A take under way.
#[derive(Debug)]
pub(super) struct Take {
    id: WriteId,
    /// The row as it was observed.
    row: LeaseRow,
    /// Since when it looked like that.
    since: Instant,
    first_sent: Instant,
    manner: Manner,
}

/// How a lease is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Nobody keeps it alive, or it was handed over.
    Free,
    /// Its holder lives and did not answer; so many takes were tried before.
    Forced(u32),
}

impl Coordinator {
    pub(super) fn scan_if_due(&mut self, now: Instant) {
        if self.scan.is_due(now) {
            self.scan.begun = Some(now);
            self.commands.push_back(Command::ScanLeases);
        }
    }

    pub(super) fn on_scanned(&mut self, started: Instant, scan: Option<Scan>, now: Now) {
        let next = self.timing.next_scan(now.instant, &mut self.random);
        self.scan.on_end(now.instant, next);
        let Some(mut scan) = scan else { return };
        self.look_for_foreign(&scan.rows, now.instant);
        let others = self.streams.sort_out(&mut scan);
        self.scan_took = now.instant.since(started);
        self.note_moves(&scan.rows, now.instant);
        let seen = self.table.observe(scan, started, now.instant);
        for row in seen.unreadable {
            self.report(Report::UnreadableRow { key: row.key, problem: row.problem });
        }
        self.correct_held(now.instant);
        self.end_cooling(now.instant);
        self.stop_for(others);
        seen.recreated.into_iter().for_each(|(key, checkpoint)| self.tell_recreated(&key, checkpoint));
        for key in seen.missed {
            let open = self.held.get(&key).is_some_and(Held::is_surely_open);
            self.on_missed(&key, open, now.instant);
        }
        self.review_wishes(started, now.instant);
        self.review_heirs(now.instant);
        self.survey(now);
        self.audit_coverage(now.instant);
        self.ask_hash_ranges(now.instant);
        self.open_gates(now.instant);
        self.plan_scan(now.instant);
    }

    /// What was left to others may be taken again: the time is over, or somebody settled what this worker could not.
    fn end_cooling(&mut self, now: Instant) {
        let Self { cooling, table, .. } = self;
        cooling.retain(|key, Cooling { until, intent }| {
            let seen = table.get(key).filter(|_| intent.is_some());
            *until > now && seen.is_none_or(|seen| seen.row.intent == *intent)
        });
    }

    /// A scan shows a held row as it was some time ago; our own write knows better, but for a wish.
    fn correct_held(&mut self, now: Instant) {
        let differs = |key: &LeaseKey, held: &Held| self.table.get(key).is_some_and(|seen| seen.row != held.row);
        let differ = self.held.iter().filter(|(key, held)| differs(key, held));
        for key in differ.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if let (Some(held), Some(seen)) = (self.held.get_mut(&key), self.table.get(&key)) {
                held.on_seen(&seen.row);
            }
        }
        for (_, held) in self.held.iter() {
            self.table.correct(&held.row, now);
        }
    }

    /// Scans again when something is to be seen, and no later than at the next regular time.
    fn plan_scan(&mut self, now: Instant) {
        if let Some(expiry) = self.next_expiry(now) {
            self.scan.due = self.scan.due.min(expiry);
        }
        self.hasten_scan(now);
    }

    /// Stops for rows that are not ours: those of a stream of the same name, whose checkpoints mean nothing here, stop their
    /// stream; keys of the other form stop everything.
    fn stop_for(&mut self, others: Others) {
        if self.mode != Mode::Working {
            return;
        }
        for (index, rows) in others.recreated {
            let Some(stream) = self.streams.get_mut(index).filter(|stream| !stream.recreated) else { continue };
            stream.recreated = true;
            let created = stream.settings.created;
            self.report(Report::StreamRecreated { index, rows, stream: created });
            self.stop_which(|held| held.stream == index);
        }
        if let Some(found) = others.other_form {
            self.mode = Mode::OtherKeyForm;
            self.report(Report::OtherKeyForm { found });
            self.stop_all();
        }
    }

    /// Reports what the scan shows, and takes what this worker should have.
    fn survey(&mut self, now: Now) {
        let mut random = self.random.fork();
        let leases = self.leases(now.instant);
        let open = leases.iter().filter(|lease| lease.is_open()).count();
        let unowned =
            leases.iter().filter(|lease| lease.is_open()).filter(|lease| lease.live_owner(self.me()).is_none()).count();
        let workers = Lease::count_by_worker(&leases, self.me()).len();
        // Nobody can hold a lease whose row cannot be read.
        let unreadable = self.table.unreadable_open().filter(|key| self.streams.is_served(key)).count();
        let scanned = Report::Scanned { leases: open + unreadable, unowned: unowned + unreadable, workers };
        let limits = self.limits(now.instant);
        let caps = limits.max_leases.filter(|_| limits.are_too_small(workers, open));
        let caps = caps.map(|max_leases| (workers, max_leases, open));
        let (choice, overdue) = match self.mode {
            Mode::Working if self.is_alone() => {
                let choice = assignment::choose(&leases, self.me(), limits, &mut random);
                (choice, self.unanswered(now.instant))
            }
            Mode::Draining if self.is_lingering() => {
                (Choice { take: self.given(&leases), want: Vec::new() }, Vec::new())
            }
            Mode::Working | Mode::OtherKeyForm | Mode::ForeignWorker | Mode::Draining | Mode::Drained => {
                (Choice::default(), Vec::new())
            }
        };
        self.unowned = unowned;
        self.report(scanned);
        self.report_caps(caps);
        let Choice { take, want } = choice;
        take.into_iter().for_each(|key| self.take(&key, Manner::Free, now));
        overdue.into_iter().for_each(|key| self.take(&key, Manner::Forced(0), now));
        if !want.is_empty() {
            self.want_again = self.timing.next_scan(now.instant, &mut self.random);
        }
        want.into_iter().for_each(|key| self.want(&key));
    }

    /// Scans come more often at times; what is asked for is limited by the time that regular ones take.
    fn limits(&self, now: Instant) -> Limits {
        let max_moves = self.settings.max_steals_per_cycle.saturating_sub(self.open_wishes());
        let max_moves = if self.want_again <= now { max_moves } else { 0 };
        Limits { max_leases: self.settings.max_leases, max_moves }
    }

    /// Says that the caps are too small, again only when the numbers are others.
    fn report_caps(&mut self, caps: Option<(usize, usize, usize)>) {
        if let Some((workers, max_leases, leases)) = caps.filter(|caps| self.caps_too_small.as_ref() != Some(caps)) {
            self.report(Report::CapsTooSmall { workers, max_leases, leases });
        }
        self.caps_too_small = caps;
    }

    pub(super) fn leases(&self, now: Instant) -> Vec<Lease<'_>> {
        let served = self.table.iter().filter(|observed| self.streams.is_served(&observed.row.key));
        served.map(|observed| self.lease(observed, now)).collect()
    }

    fn lease<'a>(&self, observed: &'a Observed, now: Instant) -> Lease<'a> {
        let Observed { row, since } = observed;
        Lease {
            row,
            expired: self.timing.is_expired(*since, now),
            very_old: now.since(*since) > self.timing.failover().saturating_mul(3),
            mine: self.held.contains_key(&row.key) || self.takes.contains_key(&row.key),
            barred: self.cooling.get(&row.key).is_some_and(|cooling| cooling.until > now),
            resting: self.is_resting(&row.key, now),
            asked: self.wishes.contains_key(&row.key),
        }
    }

    /// Whether this worker lists shards and keeps the rows in order.
    pub(super) fn leads(&self, now: Instant) -> bool {
        if !self.is_alone() {
            return false;
        }
        // Owners of completed leases count, as with the KCL, but nobody whose every row stands still.
        let alive = self.leases(now).into_iter().filter(|lease| lease.mine || !lease.expired);
        let owners: BTreeSet<&WorkerId> = alive.filter_map(|lease| lease.row.owner.as_ref()).collect();
        leader::leads(self.me(), &owners)
    }

    fn take(&mut self, key: &LeaseKey, manner: Manner, now: Now) {
        let Some(observed) = self.table.get(key) else { return };
        let (row, since) = (observed.row.clone(), observed.since);
        self.send_take(row, since, manner, now);
    }

    fn send_take(&mut self, row: LeaseRow, since: Instant, manner: Manner, now: Now) {
        let Some(stream) = self.streams.of(&row.key) else { return };
        let write = writes::take(&row, &self.settings, &stream.settings, now.wall);
        let id = WriteId(self.fresh_id());
        self.commands.push_back(Command::WriteLease { id, write });
        self.writes.insert(id, row.key.clone());
        self.takes.insert(row.key.clone(), Take { id, row, since, first_sent: now.instant, manner });
    }

    /// The answer to a take; `None` if the write is none.
    pub(super) fn finish_take(&mut self, key: &LeaseKey, id: WriteId) -> Option<Take> {
        if self.takes.get(key)?.id != id {
            return None;
        }
        self.takes.remove(key)
    }

    pub(super) fn on_taken(&mut self, take: Take, result: WriteResult, now: Now) {
        match result {
            // An answer that took longer than the lease lasts is worth no more than one that never came.
            WriteResult::Answered(WriteOutcome::Applied(row)) if self.timing.until(take.first_sent) > now.instant => {
                self.hold(take, *row, now.instant);
            }
            WriteResult::Answered(WriteOutcome::Conflict(Some(found))) if self.is_to_force_again(&take, &found) => {
                let Manner::Forced(tries) = take.manner else { return };
                self.send_take(*found, take.since, Manner::Forced(tries + 1), now);
            }
            WriteResult::Answered(WriteOutcome::Conflict(Some(found))) if mutant::is(Mutant::RejectedTakeIsSuccess) => {
                self.hold(take, *found, now.instant);
            }
            answer @ (WriteResult::Answered(_) | WriteResult::NotApplied | WriteResult::Unknown) => {
                if matches!(answer, WriteResult::Answered(WriteOutcome::Conflict(None))) {
                    // It may be there again before the next scan.
                    self.table.on_missing(&take.row.key, now.instant);
                    self.on_missed(&take.row.key, false, now.instant);
                }
                // A wish that still stands is found by the scan, and its holder has time again.
                self.wishes.remove(&take.row.key);
                self.scan.want(now.instant);
            }
        }
    }

    /// Whether the row that a take by force was refused for still makes the case for it: it moved, as the row of a live holder
    /// does, and nothing else.
    fn is_to_force_again(&self, take: &Take, found: &LeaseRow) -> bool {
        let Some(owner) = &take.row.owner else { return false };
        let again = matches!(take.manner, Manner::Forced(tries) if tries + 1 < FORCED_TRIES);
        again && self.mode == Mode::Working && wishes::is_unanswered(found, owner, self.me())
    }

    /// A take is stored, and left the row like this.
    fn hold(&mut self, take: Take, row: LeaseRow, now: Instant) {
        let Take { id: _, row: before, since, first_sent, manner } = take;
        let key = row.key.clone();
        let Some(stream) = self.streams.index_of(&key) else { return };
        let token = LeaseToken::mint(self.fresh_id());
        let renew_at = self.timing.first_renewal(first_sent, &mut self.random);
        self.table.record(row.clone(), now);
        self.held.insert(key.clone(), Held::new(token, stream, row, first_sent, renew_at, silence(&before, since)));
        self.report(Report::Taken { key: key.clone(), from: before.owner, stolen: manner != Manner::Free });
        if self.mode == Mode::Working && self.streams.is_served(&key) {
            self.open_gate(&key, now);
        } else {
            self.pass_on(&key, now);
        }
    }

    /// Starts the shards whose parents are done.
    pub(super) fn open_gates(&mut self, now: Instant) {
        if self.mode != Mode::Working {
            return;
        }
        let waiting = self.held.waiting().filter(|(_, held)| held.may_start());
        let gates = waiting.filter_map(|(key, held)| Some((key.clone(), self.gate(held)?)));
        let gates: Vec<(LeaseKey, Gate)> = gates.collect();
        gates.into_iter().for_each(|(key, gate)| self.pass_gate(&key, gate, now));
    }

    /// Starts the shard of a held lease if its parents are done.
    pub(super) fn open_gate(&mut self, key: &LeaseKey, now: Instant) {
        let Some(held) = self.held.get(key).filter(|held| held.may_start()) else { return };
        let Some(gate) = self.gate(held) else { return };
        self.pass_gate(key, gate, now);
    }

    /// Whether a shard may start; `None` if its stream is not served.
    pub(super) fn gate(&self, held: &Held) -> Option<Gate> {
        let stream = self.streams.get(held.stream).filter(|stream| !stream.recreated)?;
        Some(hierarchy::gate(&held.row, held.taken, &self.table, &stream.looks, self.timing.failover()))
    }

    fn pass_gate(&mut self, key: &LeaseKey, gate: Gate, now: Instant) {
        if gate == Gate::Open && self.waits_for_ledger(key) {
            return;
        }
        let Some(held) = self.held.get_mut(key) else { return };
        match gate {
            Gate::Open => {
                let lease = held.start(now, &self.timing);
                self.commands.push_back(Command::StartShard(lease));
            }
            Gate::Closed => held.keep_waiting(),
            Gate::NeedsListing => {
                held.keep_waiting();
                self.want_listing(key, now);
            }
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        self.commands.push_back(Command::Report(report));
    }
}

/// Since when nobody has read the shard of a row that looked like this since `since`.
fn silence(row: &LeaseRow, since: Instant) -> Option<Silence> {
    match row.left {
        Some(left) => Some(Silence::Left(left)),
        None => row.owner.as_ref().map(|_| Silence::Unheard(since)),
    }
}
