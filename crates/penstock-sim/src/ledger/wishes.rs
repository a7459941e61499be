//! What is known of the wishes in the rows of the lease table: who asks for what since when, and whether a holder has left one
//! unanswered for so long that its lease may be taken by force.

use std::time::Duration;

use penstock_core::ids::WorkerId;
use penstock_core::lease::LeaseRow;

use super::{Found, Ledger, ONLY_A_WISH, Sent, require};

/// How long a holder has to answer a wish, in renewal intervals of a third of the failover time, jitter left out.
const ANSWER_INTERVALS: u32 = 2;

/// After so long nobody waits for the answer to a wish any more.
const GIVEN_UP: Duration = Duration::from_secs(3);

/// That a worker asks for a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// Since when it is known to.
    since: Duration,
    /// When another wish took the place of this one in the row, which answers nothing.
    outdone: Option<Duration>,
}

impl Ledger {
    /// A wish was applied.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_want(&mut self, before: &LeaseRow, after: &LeaseRow, sent: Duration, now: Duration) -> Found {
        let alike = LeaseRow { wanted: before.wanted.clone(), ..after.clone() };
        require(alike == *before, ONLY_A_WISH, || format!("a wish made {after:?} of {before:?}"))?;
        if before.wanted != after.wanted {
            self.outdo(before, after, now);
        }
        if let Some(wanted) = &after.wanted {
            let wish = (after.key.clone(), wanted.clone());
            // One that its sender gave up long ago says what that one asked for before: it has not heard of the answer to that.
            let stale = now > sent + GIVEN_UP;
            let first = *self.asked.entry(wish.clone()).or_insert(now);
            let since = if stale { first } else { now };
            self.wishes.entry(wish).or_insert(Wish { since, outdone: None });
        }
        Ok(())
    }

    /// Another wish takes the place of the one in the row, if there is one.
    ///
    /// That is no answer of the holder, who left the earlier one unanswered no less; and a take that is on its way asks for the
    /// counter, which a wish leaves alone. But its worker sees at its next look that it is no longer the one that waits.
    fn outdo(&mut self, before: &LeaseRow, after: &LeaseRow, now: Duration) {
        // With no wish in the row all were answered, and who asks again asks from now on.
        let counts = |worker: &WorkerId| before.wanted.is_some() && after.wanted.as_ref() != Some(worker);
        self.wishes.retain(|(key, worker), _| *key != after.key || counts(worker));
        let outdone = before.wanted.clone().map(|wanted| (after.key.clone(), wanted));
        if let Some(wish) = outdone.and_then(|outdone| self.wishes.get_mut(&outdone)) {
            wish.outdone = Some(now);
        }
    }

    /// A holder, or who took the lease from one, wrote a row. What it did to the wish in it is an answer to all that asked; and a
    /// wish is one for the lease of one holder.
    pub(super) fn on_answer(&mut self, before: &LeaseRow, after: &LeaseRow) {
        if after.wanted != before.wanted || after.owner != before.owner {
            self.wishes.retain(|(wanted, _), _| *wanted != after.key);
        }
        if after.owner != before.owner {
            self.asked.retain(|(wanted, _), _| *wanted != after.key);
        }
    }

    /// Whether the holder of `row` has left a wish unanswered, so that a take may end its tenure: it had the time of two renewals
    /// when that was sent, and the wish stood in the row that it was sent for, whatever took its place since.
    pub(super) fn is_unanswered(&self, wish: Wish, row: &LeaseRow, take: Sent, now: Duration) -> bool {
        let patience = self.failover / 3 * ANSWER_INTERVALS;
        let overdue = take.first >= wish.since + patience && row.granted.is_none();
        // Who was asked and does not believe any more is not in the way of who asked.
        let believes = row.owner.as_ref().is_some_and(|owner| self.believes(&row.key, owner, now));
        wish.outdone.is_none_or(|outdone| outdone >= take.looked) && (overdue || !believes)
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::ids::{LeaseCounter, LeaseKey};
    use penstock_core::lease::{Change, Expect, Field, LeaseWrite};
    use penstock_core::position::Position;

    use super::*;
    use crate::stream::Streams;

    const FAILOVER: Duration = Duration::from_secs(10);

    /// A row of `holder`, which lives, and the ledger that saw all that was written to it.
    struct World {
        streams: Streams,
        ledger: Ledger,
        row: LeaseRow,
        now: Duration,
    }

    impl World {
        fn new() -> Self {
            let streams = Streams::new(1, 1, Duration::from_secs(300));
            let key: LeaseKey = streams.shards()[0].key.clone();
            let row = LeaseRow::new(key, LeaseCounter(7), Position::TrimHorizon);
            let mut world = Self { streams, ledger: Ledger::new(FAILOVER, true), row, now: Duration::ZERO };
            world.take("holder", 0, 0).unwrap();
            world
        }

        fn write(&mut self, worker: &str, change: Change, sent: Sent) -> Found {
            let write = LeaseWrite { key: self.row.key.clone(), expect: Expect::counter(self.row.counter), change };
            let after = write.change.apply(&self.row);
            let before = std::mem::replace(&mut self.row, after);
            let rows = (&before, &self.row);
            self.ledger.on_write(&self.streams, &WorkerId::new(worker), rows, &write, sent, self.now)
        }

        /// A take that was sent at `sent`, for a row as it was at `looked`, and comes about now.
        fn take(&mut self, worker: &str, sent: u64, looked: u64) -> Found {
            let (first, looked) = (Duration::from_secs(sent), Duration::from_secs(looked));
            let owner = Field::Set(WorkerId::new(worker));
            let change = Change { owner, wanted: Field::Remove, ..Change::counter(self.row.counter.next()) };
            self.write(worker, change, Sent { first, takes: true, tenure: 0, looked })
        }

        /// The holder renews its lease at `at`, and changes `wanted` so.
        fn renew(&mut self, at: u64, wanted: Field<WorkerId>) {
            self.now = Duration::from_secs(at);
            let change = Change { wanted, ..Change::counter(self.row.counter.next()) };
            let sent = Sent { first: self.now, takes: false, tenure: 1, looked: self.now };
            self.write("holder", change, sent).unwrap();
        }

        fn want(&mut self, at: u64, worker: &str) {
            self.now = Duration::from_secs(at);
            let before = self.row.clone();
            self.row.wanted = Some(WorkerId::new(worker));
            self.ledger.on_want(&before, &self.row, self.now, self.now).unwrap();
        }

        /// `one` asks at the first second; the holder renews at the sixth and says nothing.
        fn left_unanswered() -> Self {
            let mut world = Self::new();
            world.want(1, "one");
            world.renew(6, Field::Keep);
            world
        }
    }

    fn is_refused(found: Found) -> bool {
        found.is_err_and(|violation| violation.invariant == super::super::ONE_OWNER)
    }

    #[test]
    fn a_live_holder_is_taken_from_after_two_renewals_without_an_answer() {
        let mut world = World::left_unanswered();
        world.now = Duration::from_secs(9);
        world.take("one", 8, 8).unwrap();
        let mut world = World::left_unanswered();
        world.now = Duration::from_secs(9);
        assert!(is_refused(world.take("one", 7, 7)), "it was sent too early, whenever it comes about");
        let mut world = World::left_unanswered();
        world.now = Duration::from_secs(9);
        assert!(is_refused(world.take("other", 9, 9)), "it never asked");
    }

    #[test]
    fn a_wish_that_another_outdid_counts_for_a_take_that_could_not_know() {
        let mut world = World::left_unanswered();
        world.want(9, "other");
        world.now = Duration::from_secs(10);
        world.take("one", 8, 8).unwrap();
        let mut world = World::left_unanswered();
        world.want(9, "other");
        world.now = Duration::from_secs(11);
        assert!(is_refused(world.take("one", 11, 10)), "its worker has seen the other wish");
        let mut world = World::left_unanswered();
        world.want(3, "other");
        world.now = Duration::from_secs(9);
        assert!(is_refused(world.take("other", 9, 9)), "the time of one wish is not the time of another");
    }

    #[test]
    fn an_answer_ends_all_wishes() {
        let mut world = World::left_unanswered();
        world.want(7, "other");
        world.renew(8, Field::Remove);
        world.now = Duration::from_secs(9);
        assert!(is_refused(world.take("one", 9, 7)), "the holder said no");
        let mut world = World::left_unanswered();
        world.renew(7, Field::Remove);
        world.want(8, "one");
        world.now = Duration::from_secs(9);
        assert!(is_refused(world.take("one", 9, 9)), "who asks again waits again");
        let mut world = World::left_unanswered();
        world.row.granted = Some(WorkerId::new("other"));
        world.now = Duration::from_secs(9);
        assert!(is_refused(world.take("one", 8, 8)), "the holder named another");
    }
}
