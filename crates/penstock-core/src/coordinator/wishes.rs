//! Asking other workers for their leases: what was asked, what became of it, and when a holder that does not answer is no longer
//! waited for.
//!
//! A wish never touches the counter, so that it can harm nobody. Force is used only where the wish stood for longer than two
//! renewals and the holder, although it renews, said neither yes nor no.

use std::collections::BTreeMap;

use super::api::{Command, Report};
use super::assignment::Lease;
use super::{Coordinator, Mode};
use crate::ids::{LeaseCounter, LeaseKey, WorkerId};
use crate::lease::{LeaseRow, LeaseWant};
use crate::position::Position;
use crate::time::Instant;

/// A wish of this worker.
#[derive(Debug)]
pub(super) struct Wish {
    /// The holder that was asked.
    owner: WorkerId,
    /// Since when the call is over; `None` while it is under way.
    over: Option<Instant>,
    /// Whether the wish is known to have stood in the row.
    stood: bool,
    /// The counter of the first row that was seen to hold it.
    seen_at: Option<LeaseCounter>,
}

impl Wish {
    /// A wish whose call is under way.
    const fn sent(owner: WorkerId) -> Self {
        Self { owner, over: None, stood: false, seen_at: None }
    }

    /// A wish that is found to stand in a row with this counter.
    const fn found(owner: WorkerId, counter: LeaseCounter, now: Instant) -> Self {
        Self { owner, over: Some(now), stood: true, seen_at: Some(counter) }
    }
}

impl Coordinator {
    /// Asks the holder of a lease for it.
    pub(super) fn want(&mut self, key: &LeaseKey) {
        let Some(row) = self.table.get(key).map(|observed| &observed.row) else { return };
        let Some(owner) = row.owner.clone() else { return };
        let want =
            LeaseWant { key: key.clone(), owner: owner.clone(), before: row.wanted.clone(), wanted: self.me().clone() };
        self.commands.push_back(Command::WantLease(want));
        self.wishes.insert(key.clone(), Wish::sent(owner));
    }

    /// Takes back the wishes that nobody has answered, as this worker ends: each is replaced by one of the holder itself.
    pub(super) fn withdraw_wishes(&mut self) {
        for (key, Wish { owner, .. }) in &self.wishes {
            let before = Some(self.settings.worker.clone());
            let want = LeaseWant { key: key.clone(), owner: owner.clone(), before, wanted: owner.clone() };
            self.commands.push_back(Command::WantLease(want));
        }
    }

    pub(super) fn on_wanted(&mut self, key: &LeaseKey, stands: Option<bool>, now: Instant) {
        if self.is_draining() {
            return;
        }
        if stands.is_none() {
            self.doubtful.insert(key.clone(), now.after(self.timing.patience()));
        }
        let Some(wish) = self.wishes.get_mut(key) else { return };
        match stands {
            // The row is another one than we thought: look at it again before asking again.
            Some(false) => drop(self.wishes.remove(key)),
            Some(true) => {
                wish.over = Some(now);
                wish.stood = true;
                let of = wish.owner.clone();
                self.report(Report::Wanted { key: key.clone(), of });
                self.hasten_scan(now);
            }
            None => wish.over = Some(now),
        }
    }

    /// Holds the wishes against a scan that was begun at `started`.
    pub(super) fn review_wishes(&mut self, started: Instant, now: Instant) {
        let me = &self.settings.worker;
        let mut refused = Vec::new();
        let (table, held, takes) = (&self.table, &self.held, &self.takes);
        self.wishes.retain(|key, wish| {
            let row = table.get(key).map(|observed| &observed.row);
            let Some(row) = row.filter(|row| is_with(row, &wish.owner)) else { return false };
            if held.contains_key(key) || takes.contains_key(key) {
                return false;
            }
            if names(row, me) {
                if !wish.stood {
                    // It came later than its call: the holder has time from here on.
                    wish.over = Some(now);
                }
                wish.stood = true;
                wish.seen_at.get_or_insert(row.counter);
                return true;
            }
            // A scan that was begun before the call was over may not show what it did.
            let gone = wish.over.is_some_and(|over| over < started);
            if gone && wish.stood {
                refused.push(key.clone());
            }
            !gone
        });
        for key in refused {
            self.refused.insert(key, now.after(self.timing.rest()));
        }
        self.adopt_wishes(now);
    }

    /// A wish that stands in our name although we do not know of it: its call was thought lost.
    fn adopt_wishes(&mut self, now: Instant) {
        let me = self.me();
        let is_unknown = |row: &&LeaseRow| {
            row.wanted.as_ref() == Some(me)
                && !self.wishes.contains_key(&row.key)
                && !self.held.contains_key(&row.key)
                && !self.takes.contains_key(&row.key)
                // Whoever has just got the lease was not asked.
                && !self.is_resting(&row.key, now)
        };
        let unknown = self.table.rows().filter(is_unknown);
        let wish = |row: &LeaseRow| {
            let owner = row.owner.clone().filter(|owner| owner != me)?;
            Some((row.key.clone(), Wish::found(owner, row.counter, now)))
        };
        let found: Vec<(LeaseKey, Wish)> = unknown.filter_map(wish).collect();
        self.wishes.extend(found);
    }

    /// The wishes that a live holder has left unanswered for too long: it has written meanwhile, and the wish has stood all the
    /// time. It may have been refused and set anew by a call that was thought lost, as long as one can come late. Whatever has changed meanwhile: in the eyes of every
    /// worker the lease counts for us, and it must not stay with a worker for which it does not count.
    pub(super) fn unanswered(&self, now: Instant) -> Vec<LeaseKey> {
        let is_overdue = |key: &LeaseKey, wish: &Wish| {
            let stands_since = |over: Instant| self.doubtful.get(key).map_or(over, |doubtful| over.max(*doubtful));
            wish.over.is_some_and(|over| now.since(stands_since(over)) > self.timing.force_after())
        };
        let may_be_forced = |key: &LeaseKey, wish: &Wish| {
            self.table.get(key).is_some_and(|observed| {
                is_unanswered(&observed.row, &wish.owner, self.me())
                    && wish.seen_at.is_some_and(|seen| seen < observed.row.counter)
                    && !self.timing.is_expired(observed.since, now)
            })
        };
        let overdue = self.wishes.iter().filter(|(key, wish)| is_overdue(key, wish));
        overdue.filter(|(key, wish)| may_be_forced(key, wish)).map(|(key, _)| key.clone()).collect()
    }

    /// The wishes that nobody has answered yet.
    pub(super) fn open_wishes(&self) -> usize {
        let me = self.me();
        let is_granted = |key| self.table.get(key).is_some_and(|observed| observed.row.granted_to() == Some(me));
        self.wishes.keys().filter(|key| !is_granted(key)).count()
    }

    /// Whether a lease changed hands, or was refused to us, a while ago.
    pub(super) fn is_resting(&self, key: &LeaseKey, now: Instant) -> bool {
        let moved = self.moved.get(key).is_some_and(|moved| now.since(*moved) < self.timing.rest());
        moved || self.refused.get(key).is_some_and(|until| *until > now)
    }

    /// Notes which leases have another owner than before, or none.
    pub(super) fn note_moves(&mut self, rows: &[LeaseRow], now: Instant) {
        for row in rows {
            let before = self.table.get(&row.key).map(|observed| &observed.row);
            if row.owner.is_some() && before.is_some_and(|before| before.owner != row.owner && was_read(before)) {
                self.moved.insert(row.key.clone(), now);
            }
            let is_released = row.owner.is_none() && row.checkpoint != Position::ShardEnd;
            if is_released && before.is_some_and(|before| before.owner.is_some()) {
                self.released = Some(now);
            }
        }
        // Whoever has a lease is seen by that, and by that it is seen to be gone.
        for owner in rows.iter().filter_map(|row| row.owner.as_ref()) {
            self.askers.remove(owner);
        }
        let rest = self.timing.rest();
        self.moved.retain(|_, moved| now.since(*moved) < rest);
        self.refused.retain(|_, until| *until > now);
        self.doubtful.retain(|_, until| now.since(*until) < rest);
    }

    /// Scans more often while a release is likely; for a single cause only so long.
    pub(super) fn hasten_scan(&mut self, now: Instant) {
        if !(self.mode == Mode::Working || self.is_lingering()) || self.scan.begun.is_some() {
            return;
        }
        let expected: Vec<LeaseKey> = self.expected_releases(now);
        let before = std::mem::take(&mut self.expected);
        let since = |key: &LeaseKey| before.get(key).copied().unwrap_or(now);
        self.expected = expected.into_iter().map(|key| (key.clone(), since(&key))).collect::<BTreeMap<_, _>>();
        let patience = self.timing.patience();
        // Who releases one lease may be about to release others.
        let is_leaving = self.released.is_some_and(|released| now.since(released) < self.timing.failover() / 2);
        // Whoever was given a lease may end as well, and leave it to us.
        let may_come_back = self.gave.is_some_and(|gave| now.since(gave) < self.timing.failover() / 5);
        if is_leaving || may_come_back || self.expected.values().any(|since| now.since(*since) < patience) {
            let at = now.after(self.timing.quick_scan(self.scan_took));
            self.scan.due = self.scan.due.min(at);
        }
    }

    /// The leases that were given to this worker and are held by nobody.
    pub(super) fn given(&self, leases: &[Lease<'_>]) -> Vec<LeaseKey> {
        let me = Some(self.me());
        let is_given = |row: &LeaseRow| row.owner.as_ref().or(row.granted_to()) == me;
        let given = leases.iter().filter(|lease| lease.is_open() && !lease.mine && is_given(lease.row));
        given.map(|lease| lease.row.key.clone()).collect()
    }

    /// The leases that are or may soon be free for this worker.
    fn expected_releases(&self, now: Instant) -> Vec<LeaseKey> {
        let me = self.me();
        let is_expected = |row: &LeaseRow| {
            let asked = self.wishes.get(&row.key).is_some_and(|wish| wish.over.is_some());
            let free = row.owner.is_none() && self.mode == Mode::Working;
            free || row.granted_to() == Some(me) || asked
        };
        let leases = self.leases(now).into_iter().filter(|lease| lease.is_open() && !lease.mine && !lease.barred);
        leases.map(|lease| lease.row).filter(|row| is_expected(row)).map(|row| row.key.clone()).collect()
    }

    /// When the first row of another worker will count as expired, if nothing moves in it.
    pub(super) fn next_expiry(&self, now: Instant) -> Option<Instant> {
        let others = self.table.iter().filter(|observed| {
            observed.row.checkpoint != Position::ShardEnd && !self.held.contains_key(&observed.row.key)
        });
        others.map(|observed| self.timing.expiry(observed.since)).filter(|expiry| *expiry > now).min()
    }
}

/// Whether an open lease is still with the holder that was asked.
fn is_with(row: &LeaseRow, owner: &WorkerId) -> bool {
    row.owner.as_ref() == Some(owner) && row.checkpoint != Position::ShardEnd
}

/// Whether the wish, or the answer to it, stands in the row.
fn names(row: &LeaseRow, me: &WorkerId) -> bool {
    row.wanted.as_ref() == Some(me) || row.granted_to() == Some(me)
}

/// Whether the row makes the case for a take by force: the holder that was asked has it, and said neither yes nor no.
pub(super) fn is_unanswered(row: &LeaseRow, owner: &WorkerId, me: &WorkerId) -> bool {
    is_with(row, owner)
        && row.wanted.as_ref() == Some(me)
        && row.granted_to().is_none()
        && row.checkpoint_owner.is_none()
}

/// Whether somebody has read the shard of a row: only then does it change hands when it is taken.
pub(super) fn was_read(row: &LeaseRow) -> bool {
    row.owner.is_some() || row.left.is_some()
}
