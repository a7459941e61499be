//! Exclusive mode: whether anybody but penstock is at the table. A pure account of the counters of foreign rows.
//!
//! A table that a leader of the KCL 3 assigned may be taken over once its workers are gone. Nobody says when they are; that no
//! counter of theirs has moved for three failover times does: a live one renews three times within a single one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::api::{LeaseMode, Report};
use super::{Coordinator, Mode};
use crate::ids::{LeaseCounter, LeaseKey, WorkerId};
use crate::lease::LeaseRow;
use crate::position::Position;
use crate::time::Instant;

/// How long foreign counters have to stand still, in failover times.
const PATIENCE: u32 = 3;

/// What is known of foreign workers.
#[derive(Debug, Default)]
pub(super) struct ForeignWatch {
    seen: BTreeMap<LeaseKey, Seen>,
    /// Since when nothing foreign has moved: the end of the scan that showed the last movement, or of the first one.
    still_since: Option<Instant>,
    /// Whether it was quiet for long enough once.
    alone: bool,
}

/// A foreign owner in a row.
#[derive(Debug)]
struct Seen {
    owner: WorkerId,
    counter: LeaseCounter,
    /// Whether somebody may be behind it: the KCL leaves its owner in a completed row for good.
    counts: bool,
}

/// What a scan shows of foreign workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// None has moved for long enough: penstock is alone.
    Gone,
    /// It is too early to tell.
    Unclear,
    /// One is alive that was not known to be, before penstock took anything.
    Alive(LeaseKey, WorkerId),
    /// One moved after penstock was found to be alone.
    Came(LeaseKey, WorkerId),
}

impl ForeignWatch {
    /// Takes in the rows of a scan that ended at `now`.
    pub(super) fn observe<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a LeaseRow>,
        failover: Duration,
        now: Instant,
    ) -> Foreign {
        let mut seen = BTreeMap::new();
        let mut moved = None;
        // Completed leases are kept by their owners too: they tell as much as any other.
        for row in rows {
            let Some(owner) = row.foreign_owner() else { continue };
            let before = self.seen.get(&row.key);
            let is_news = match before {
                Some(before) => before.owner != *owner || before.counter != row.counter,
                // The first look tells nothing; a foreign owner that appears later took the lease.
                None => self.still_since.is_some(),
            };
            if is_news && moved.is_none() {
                moved = Some((row.key.clone(), owner.clone()));
            }
            let counts = is_news || row.checkpoint != Position::ShardEnd || before.is_some_and(|before| before.counts);
            seen.insert(row.key.clone(), Seen { owner: owner.clone(), counter: row.counter, counts });
        }
        self.seen = seen;
        if let Some((key, owner)) = moved {
            self.still_since = Some(now);
            return if self.alone { Foreign::Came(key, owner) } else { Foreign::Alive(key, owner) };
        }
        let since = *self.still_since.get_or_insert(now);
        self.alone |= now.since(since) >= failover.saturating_mul(PATIENCE) || self.nobody_was_here();
        if self.alone { Foreign::Gone } else { Foreign::Unclear }
    }

    /// Without a foreign owner in any row, but for completed ones that stand still, there is nobody to wait for.
    fn nobody_was_here(&self) -> bool {
        !self.seen.values().any(|seen| seen.counts)
    }
}

impl Coordinator {
    /// In exclusive mode: waits until nobody else is at the table, and stops when somebody comes. `rows` are those of all streams,
    /// configured or not.
    pub(super) fn look_for_foreign(&mut self, rows: &[LeaseRow], now: Instant) {
        if self.settings.mode != LeaseMode::Exclusive || self.mode != Mode::Working {
            return;
        }
        match self.foreign.observe(rows.iter(), self.timing.failover(), now) {
            Foreign::Gone | Foreign::Unclear => {}
            Foreign::Alive(key, owner) => self.report(Report::WaitsForForeign { key, owner }),
            Foreign::Came(key, owner) => {
                self.mode = Mode::ForeignWorker;
                self.report(Report::ForeignWorker { key, owner });
                self.stop_all();
            }
        }
    }

    /// Whether leases may be taken and rows be made as far as others are concerned.
    pub(super) fn is_alone(&self) -> bool {
        self.settings.mode == LeaseMode::Peer || self.foreign.alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILOVER: Duration = Duration::from_secs(10);

    fn row(owner: Option<&str>, counter: u64, taken_by: Option<&str>) -> LeaseRow {
        let mut row = LeaseRow::new(LeaseKey::new("shardId-0"), LeaseCounter(counter), Position::TrimHorizon);
        row.owner = owner.map(WorkerId::new);
        row.taken_by = taken_by.map(WorkerId::new);
        row
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn java(counter: u64) -> LeaseRow {
        row(Some("java"), counter, None)
    }

    fn alive() -> Foreign {
        Foreign::Alive(LeaseKey::new("shardId-0"), WorkerId::new("java"))
    }

    #[test]
    fn three_failover_times_of_silence_are_needed() {
        let mut watch = ForeignWatch::default();
        let mut look = |row: &LeaseRow, second| watch.observe(std::iter::once(row), FAILOVER, at(second));
        assert_eq!(look(&java(1), 1), Foreign::Unclear);
        assert_eq!(look(&java(2), 5), alive());
        assert_eq!(look(&java(2), 34), Foreign::Unclear);
        assert_eq!(look(&java(2), 35), Foreign::Gone);
    }

    #[test]
    fn whoever_moves_later_has_come() {
        let mut watch = ForeignWatch::default();
        let mut look = |row: &LeaseRow, second| watch.observe(std::iter::once(row), FAILOVER, at(second));
        assert_eq!(look(&row(Some("p-1"), 1, Some("p-1")), 1), Foreign::Gone, "nobody else was ever here");
        assert_eq!(look(&row(Some("p-1"), 9, Some("p-1")), 6), Foreign::Gone);
        let came = Foreign::Came(LeaseKey::new("shardId-0"), WorkerId::new("java"));
        assert_eq!(look(&row(Some("java"), 10, Some("p-1")), 11), came);
    }

    #[test]
    fn an_unowned_row_is_nobodys() {
        let mut watch = ForeignWatch::default();
        assert_eq!(watch.observe([row(None, 1, None)].iter(), FAILOVER, at(1)), Foreign::Gone);
    }
}
