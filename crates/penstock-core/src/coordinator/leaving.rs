//! Letting go of leases: to whoever asks for one, and of all of them when the worker ends.
//!
//! A worker that ends names an heir for each lease and reads on for a while, so that every heir knows; then it stops, and what
//! it releases is taken at once. Without others it stops at once.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{Command, StopReason};
use super::assignment::Lease;
use super::held::{Held, Stage};
use super::{Coordinator, Mode};
use crate::ids::{LeaseKey, WorkerId};
use crate::time::{Instant, Now};

/// The workers that may be left something.
struct Heirs {
    /// The leases that each has or is about to have.
    loads: BTreeMap<WorkerId, usize>,
    /// Those that hold nothing, so that nothing but a wish tells of them: each is left one lease at the most.
    newcomers: BTreeSet<WorkerId>,
    /// The most that each may hold, if they are all alike.
    max_leases: Option<usize>,
}

impl Heirs {
    /// Who gets one lease more: `wish`, if it is one of them, else the least loaded that has room, else the least loaded.
    fn next(&mut self, wish: Option<&WorkerId>) -> Option<WorkerId> {
        let is_full = |load: usize| self.max_leases.is_some_and(|most| load >= most);
        let least = || self.loads.iter().min_by_key(|(_, load)| (is_full(**load), **load)).map(|(worker, _)| worker);
        let heir = wish.filter(|heir| self.loads.contains_key(heir)).or_else(least)?.clone();
        if self.newcomers.contains(&heir) {
            self.loads.remove(&heir);
        } else {
            *self.loads.entry(heir.clone()).or_default() += 1;
        }
        Some(heir)
    }
}

impl Coordinator {
    /// Answers the wish in the row of a held lease, and stops the shard once the row says so.
    pub(super) fn on_wish(&mut self, key: &LeaseKey, now: Now) {
        let me = &self.settings.worker;
        let Some(held) = self.held.get_mut(key) else { return };
        if let Some(asker) = held.row.wanted.as_ref().filter(|asker| *asker != me) {
            self.askers.insert(asker.clone(), now.instant);
        }
        match self.mode {
            Mode::Working => {
                let rested = !held.moved || now.instant.since(held.taken) >= self.timing.rest();
                held.on_wish(me, rested);
            }
            Mode::OtherKeyForm | Mode::ForeignWorker | Mode::Draining | Mode::Drained => {
                let asker = held.row.wanted.clone().filter(|asker| asker != me && held.handover.heir().is_none());
                if let Some(asker) = asker {
                    held.bequeath(asker);
                }
            }
        }
        if held.is_to_stop() {
            let (token, why) = (held.token, held.stop(StopReason::HandOver, self.wall));
            self.commands.extend(why.map(|why| Command::StopShard { key: key.clone(), token, why }));
        }
    }

    pub(super) fn on_drain_requested(&mut self, now: Now) {
        if self.is_draining() {
            return;
        }
        self.mode = Mode::Draining;
        let is_bare = self.held.is_empty() && self.wishes.is_empty();
        if is_bare || self.settings.longest_linger.is_zero() || !self.choose_heirs(now.instant) {
            return self.stop_all();
        }
        self.linger_until = Some(now.instant.after(self.timing.linger(self.settings.longest_linger)));
        self.withdraw_wishes();
        // What was seen may be old, and others may be leaving too.
        self.scan.want(now.instant);
    }

    /// Names other heirs where one is seen to leave as well; nobody, and at once, where all are.
    pub(super) fn review_heirs(&mut self, now: Instant) {
        if !self.is_lingering() || self.choose_heirs(now) {
            return;
        }
        for key in self.held.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if let Some(held) = self.held.get_mut(&key) {
                held.handover.disinherit();
            }
        }
        self.stop_all();
    }

    /// Whether this worker ends, and reads on until its heirs know.
    pub(super) const fn is_lingering(&self) -> bool {
        self.linger_until.is_some()
    }

    /// A lease was given to this worker although it ends: whoever gave it did not know. It is passed on.
    pub(super) fn pass_on(&mut self, key: &LeaseKey, now: Instant) {
        if self.is_lingering() {
            self.choose_heirs(now);
        }
        self.release_unstarted(key);
    }

    /// Names the next owner of each held lease, the least loaded first; false if there is none to be seen.
    fn choose_heirs(&mut self, now: Instant) -> bool {
        let mut heirs = self.heirs(now);
        if heirs.loads.is_empty() {
            return false;
        }
        let named = |held: &Held| held.handover.heir().filter(|heir| heirs.loads.contains_key(heir)).is_some();
        let (named, others): (Vec<_>, Vec<_>) =
            self.held.iter().map(|(key, held)| (key.clone(), named(held))).partition(|(_, named)| *named);
        // Who was named already stays so, and counts first.
        for (key, _) in named.iter().chain(&others) {
            let Some(held) = self.held.get_mut(key) else { continue };
            let wish = held.handover.heir().or(held.row.wanted.as_ref());
            let Some(heir) = heirs.next(wish) else { continue };
            held.bequeath(heir);
        }
        true
    }

    /// The other workers that can take over, as the table shows them.
    fn heirs(&self, now: Instant) -> Heirs {
        let me = self.me();
        let leases = self.leases(now);
        let asked = |at: &Instant| now.since(*at) < self.timing.rest() / 3;
        let askers = self.askers.iter().filter(|(_, at)| asked(at));
        let mut loads: BTreeMap<WorkerId, usize> = askers.map(|(asker, _)| (asker.clone(), 0)).collect();
        let mut staying = BTreeSet::new();
        for lease in leases.iter().filter(|lease| lease.is_open()) {
            let Some(owner) = lease.live_owner(me) else { continue };
            // A worker of the KCL takes what it finds free, and does not look for what is left to it.
            if lease.row.foreign_owner() == Some(owner) {
                continue;
            }
            let next = lease.row.granted_to();
            for worker in [Some(owner), lease.row.wanted.as_ref(), next].into_iter().flatten() {
                loads.entry(worker.clone()).or_default();
            }
            // Who gives everything away is leaving too.
            if next.is_none_or(|next| next == owner) {
                staying.insert(owner);
            }
            *loads.entry(next.unwrap_or(owner).clone()).or_default() += 1;
        }
        let owners: BTreeSet<&WorkerId> = leases.iter().filter_map(|lease: &Lease<'_>| lease.live_owner(me)).collect();
        loads.retain(|worker, _| worker != me && (staying.contains(worker) || !owners.contains(worker)));
        let newcomers = loads.keys().filter(|worker| !owners.contains(worker)).cloned().collect();
        Heirs { newcomers, max_leases: self.settings.max_leases, loads }
    }

    /// Ends the time in which a worker that ends reads on.
    pub(super) fn end_linger(&mut self, now: Instant) {
        if self.linger_until.is_some_and(|until| until <= now) {
            self.stop_all();
        }
    }

    /// Stops what runs; what does not is released at once.
    pub(super) fn stop_all(&mut self) {
        self.linger_until = None;
        self.stop_which(|_| true);
    }

    /// Stops what runs of some leases, and releases the others of them at once.
    pub(super) fn stop_which(&mut self, which: impl Fn(&Held) -> bool) {
        let leases = self.held.iter().filter(|(_, held)| which(held));
        let keys: Vec<LeaseKey> = leases.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.release_unstarted(key);
            let Some(held) = self.held.get_mut(key) else { continue };
            let (token, why) = (held.token, held.stop(StopReason::Drain, self.wall));
            self.commands.extend(why.map(|why| Command::StopShard { key: key.clone(), token, why }));
        }
    }

    pub(super) fn release_unstarted(&mut self, key: &LeaseKey) {
        if self.held.get(key).is_some_and(|held| held.stage == Stage::Waiting)
            && let Some(held) = self.held.get_mut(key)
        {
            held.release(None);
        }
    }

    pub(super) fn end_drain(&mut self) {
        let has_nothing = self.held.is_empty() && self.takes.is_empty();
        if self.mode == Mode::Draining && has_nothing && !self.is_lingering() {
            self.mode = Mode::Drained;
            self.commands.push_back(Command::Drained);
        }
    }
}
