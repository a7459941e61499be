//! The checkpoint tracker of one shard: which ranges of user records are settled, and how far without a hole.
//!
//! Ranges are admitted in the order of their positions and settled in any order. The watermark is the end of the longest
//! settled prefix; it never goes back, and never passes a record that was not settled.

use std::collections::VecDeque;

use crate::position::{Position, RecordPosition};
use crate::time::{Instant, UnixMillis};

/// The tracker's note on a range that is not yet settled. Tickets of one tracker are ordered as their ranges are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A range of user records that begins its way to the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The first user record, dropped ones included.
    pub first: RecordPosition,
    /// The last user record, dropped ones included.
    pub last: RecordPosition,
    /// When the service took the record at `last`.
    pub arrival: UnixMillis,
    /// The number of user records; each of them is settled once. A range without any is settled from the start.
    pub records: u64,
}

/// A range was admitted that does not lie behind all that came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the range {first} to {last} is out of order: everything up to {behind} came before it")]
pub struct OutOfOrder {
    /// The first position of the range.
    pub first: RecordPosition,
    /// The last position of the range.
    pub last: RecordPosition,
    /// Where the range before it ended.
    pub behind: Position,
}

/// More was settled than was admitted: a fault of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{records} records of ticket {} are settled of which {open} are open", ticket.0)]
pub struct SettledTwice {
    /// The ticket.
    pub ticket: Ticket,
    /// The records to settle.
    pub records: u64,
    /// The records of the ticket that were not settled.
    pub open: u64,
}

#[derive(Debug)]
struct OpenRange {
    last: RecordPosition,
    arrival: UnixMillis,
    unsettled: u64,
    admitted: Instant,
}

/// Keeps the unsettled ranges of one shard through one tenure of its lease.
#[derive(Debug)]
pub struct CheckpointTracker {
    /// Where the last admitted range ended, or the tenure began.
    end: Position,
    /// The ranges from the oldest unsettled one on; the front one is never settled.
    ranges: VecDeque<OpenRange>,
    /// The ticket of the front range.
    front: u64,
    watermark: Option<(RecordPosition, UnixMillis)>,
    unsettled: u64,
}

impl CheckpointTracker {
    /// A tracker for a shard whose checkpoint is `checkpoint`: all that is admitted lies behind it.
    #[must_use]
    pub const fn new(checkpoint: Position) -> Self {
        Self { end: checkpoint, ranges: VecDeque::new(), front: 0, watermark: None, unsettled: 0 }
    }

    /// Notes a range at `now`.
    ///
    /// # Errors
    /// [`OutOfOrder`] if the range is turned round or does not lie behind all that was admitted before.
    pub fn admit(&mut self, admission: Admission, now: Instant) -> Result<Ticket, OutOfOrder> {
        let Admission { first, last, arrival, records } = admission;
        self.end = in_order(&self.end, first, &last)?;
        self.ranges.push_back(OpenRange { last, arrival, unsettled: records, admitted: now });
        self.unsettled += records;
        let ticket = Ticket(self.front + self.ranges.len() as u64 - 1);
        self.advance();
        Ok(ticket)
    }

    /// Settles what is still open of a range. A range that is settled already stays so.
    pub fn settle(&mut self, ticket: Ticket) {
        let open = self.open(ticket);
        self.settle_open(ticket, open);
    }

    /// Settles some records of a range; the range is settled once all are.
    ///
    /// # Errors
    /// [`SettledTwice`] if fewer records of it are open; nothing is settled then.
    pub fn settle_records(&mut self, ticket: Ticket, records: u64) -> Result<(), SettledTwice> {
        let open = self.open(ticket);
        if records > open {
            return Err(SettledTwice { ticket, records, open });
        }
        self.settle_open(ticket, records);
        Ok(())
    }

    /// The end of the settled prefix and the arrival time of the record there; `None` as long as nothing is settled.
    #[must_use]
    pub const fn watermark(&self) -> Option<&(RecordPosition, UnixMillis)> {
        self.watermark.as_ref()
    }

    /// When the oldest range was admitted that is not settled.
    #[must_use]
    pub fn oldest_unsettled(&self) -> Option<Instant> {
        self.ranges.front().map(|range| range.admitted)
    }

    /// The user records that are admitted and not settled.
    #[must_use]
    pub const fn unsettled_records(&self) -> u64 {
        self.unsettled
    }

    /// Whether everything that was admitted is settled: what shard end and drain wait for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The end of the last admitted range; before the first one, the checkpoint that the tenure began with.
    #[must_use]
    pub const fn end(&self) -> &Position {
        &self.end
    }

    fn open(&self, ticket: Ticket) -> u64 {
        self.index(ticket).map_or(0, |index| self.ranges[index].unsettled)
    }

    fn index(&self, ticket: Ticket) -> Option<usize> {
        let index = usize::try_from(ticket.0.checked_sub(self.front)?).ok()?;
        (index < self.ranges.len()).then_some(index)
    }

    fn settle_open(&mut self, ticket: Ticket, records: u64) {
        let Some(index) = self.index(ticket) else { return };
        self.ranges[index].unsettled -= records;
        self.unsettled -= records;
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(range) = self.ranges.pop_front_if(|range| range.unsettled == 0) {
            self.front += 1;
            self.watermark = Some((range.last, range.arrival));
        }
    }
}

/// Checks that `first..=last` lies behind `end` and gives the new end.
pub(crate) fn in_order(end: &Position, first: RecordPosition, last: &RecordPosition) -> Result<Position, OutOfOrder> {
    let behind = match end {
        Position::After(position) => first > *position,
        Position::AtTimestamp | Position::TrimHorizon | Position::Latest => true,
        Position::ShardEnd => false,
    };
    if behind && first <= *last {
        Ok(Position::After(last.clone()))
    } else {
        Err(OutOfOrder { first, last: last.clone(), behind: end.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::position::SequenceNumber;

    fn at(sequence: u64, subsequence: u64) -> RecordPosition {
        RecordPosition { sequence: SequenceNumber::parse(&sequence.to_string()).unwrap(), subsequence }
    }

    fn range(first: u64, last: u64) -> Admission {
        let arrival = UnixMillis(i64::try_from(last).unwrap());
        Admission { first: at(first, 0), last: at(last, 0), arrival, records: last - first + 1 }
    }

    fn second(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000_000)
    }

    fn watermark(tracker: &CheckpointTracker) -> Option<String> {
        tracker.watermark().map(|(position, _)| position.to_string())
    }

    #[test]
    fn the_watermark_waits_for_the_oldest_range() {
        let mut tracker = CheckpointTracker::new(Position::TrimHorizon);
        let a = tracker.admit(range(1, 3), second(1)).unwrap();
        let b = tracker.admit(range(4, 9), second(2)).unwrap();
        let c = tracker.admit(range(20, 21), second(3)).unwrap();
        tracker.settle(b);
        assert_eq!((watermark(&tracker), tracker.oldest_unsettled()), (None, Some(second(1))));
        tracker.settle(a);
        assert_eq!(tracker.watermark(), Some(&(at(9, 0), UnixMillis(9))));
        assert_eq!((tracker.oldest_unsettled(), tracker.unsettled_records()), (Some(second(3)), 2));
        tracker.settle(c);
        assert_eq!((watermark(&tracker), tracker.is_settled()), (Some("21".into()), true));
    }

    #[test]
    fn a_range_is_settled_once_all_its_records_are() {
        let mut tracker = CheckpointTracker::new(Position::TrimHorizon);
        let ticket = tracker.admit(range(1, 3), second(0)).unwrap();
        tracker.settle_records(ticket, 2).unwrap();
        assert_eq!((watermark(&tracker), tracker.unsettled_records()), (None, 1));
        assert_eq!(tracker.settle_records(ticket, 2), Err(SettledTwice { ticket, records: 2, open: 1 }));
        tracker.settle_records(ticket, 1).unwrap();
        assert_eq!(watermark(&tracker), Some("3".into()));
        assert_eq!(tracker.settle_records(ticket, 1), Err(SettledTwice { ticket, records: 1, open: 0 }));
    }

    #[test]
    fn a_range_without_records_moves_the_watermark_by_itself_but_past_nobody() {
        let nothing = |n| Admission { records: 0, ..range(n, n) };
        let mut tracker = CheckpointTracker::new(Position::TrimHorizon);
        tracker.admit(nothing(1), second(0)).unwrap();
        assert_eq!(watermark(&tracker), Some("1".into()));
        let ticket = tracker.admit(range(2, 2), second(0)).unwrap();
        tracker.admit(nothing(3), second(0)).unwrap();
        assert_eq!(watermark(&tracker), Some("1".into()));
        tracker.settle(ticket);
        assert_eq!(watermark(&tracker), Some("3".into()));
    }

    #[test]
    fn ranges_out_of_order_are_refused_and_leave_no_trace() {
        let mut tracker = CheckpointTracker::new(Position::After(at(5, 1)));
        for (first, last) in [(at(5, 1), at(6, 0)), (at(4, 0), at(9, 0)), (at(7, 0), at(6, 0)), (at(7, 2), at(7, 1))] {
            let refused = Admission { first: first.clone(), last: last.clone(), arrival: UnixMillis(0), records: 1 };
            let behind = Position::After(at(5, 1));
            assert_eq!(tracker.admit(refused, second(0)), Err(OutOfOrder { first, last, behind }));
        }
        assert!(tracker.is_settled());
        tracker.admit(Admission { first: at(5, 2), ..range(6, 6) }, second(0)).unwrap();
        assert_eq!(*tracker.end(), Position::After(at(6, 0)));
    }

    #[test]
    fn nothing_is_admitted_behind_the_end_of_the_shard() {
        let mut tracker = CheckpointTracker::new(Position::ShardEnd);
        let error = tracker.admit(range(1, 2), second(0)).unwrap_err();
        assert_eq!(error.to_string(), "the range 1 to 2 is out of order: everything up to SHARD_END came before it");
    }

    /// What the tracker is held against: every range kept for ever, the watermark searched from the start each time.
    #[derive(Default)]
    struct Model {
        ranges: Vec<(Ticket, u64, u64, Instant)>,
    }

    impl Model {
        fn watermark(&self) -> Option<u64> {
            self.ranges.iter().take_while(|(_, _, open, _)| *open == 0).last().map(|(_, last, _, _)| *last)
        }

        fn oldest(&self) -> Option<Instant> {
            self.ranges.iter().find(|(_, _, open, _)| *open > 0).map(|(_, _, _, admitted)| *admitted)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit { gap: u64, records: u64 },
        Settle { which: prop::sample::Index },
        SettleSome { which: prop::sample::Index, records: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..3, 0_u64..4).prop_map(|(gap, records)| Step::Admit { gap, records }),
            any::<prop::sample::Index>().prop_map(|which| Step::Settle { which }),
            (any::<prop::sample::Index>(), 0_u64..4).prop_map(|(which, records)| Step::SettleSome { which, records }),
        ]
    }

    proptest! {
        #[test]
        fn the_tracker_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 0..80)) {
            let mut tracker = CheckpointTracker::new(Position::TrimHorizon);
            let mut model = Model::default();
            let (mut end, mut clock) = (0, 0);
            for step in steps {
                clock += 1;
                let before = model.watermark();
                match step {
                    Step::Admit { gap, records } => {
                        let (first, last) = (end + 1 + gap, end + 1 + gap + records);
                        end = last;
                        let ticket = tracker.admit(Admission { records, ..range(first, last) }, second(clock)).unwrap();
                        model.ranges.push((ticket, last, records, second(clock)));
                    }
                    Step::Settle { which } if !model.ranges.is_empty() => {
                        let range = which.get(&model.ranges).0;
                        tracker.settle(range);
                        model.ranges.iter_mut().filter(|(ticket, ..)| *ticket == range).for_each(|range| range.2 = 0);
                    }
                    Step::SettleSome { which, records } if !model.ranges.is_empty() => {
                        let index = which.index(model.ranges.len());
                        let (ticket, _, open, _) = model.ranges[index];
                        let settled = tracker.settle_records(ticket, records);
                        prop_assert_eq!(settled.is_ok(), records <= open);
                        model.ranges[index].2 -= if records <= open { records } else { 0 };
                    }
                    Step::Settle { .. } | Step::SettleSome { .. } => {}
                }
                prop_assert!(model.watermark() >= before);
                prop_assert_eq!(watermark(&tracker), model.watermark().map(|last| last.to_string()));
                prop_assert_eq!(tracker.oldest_unsettled(), model.oldest());
                prop_assert_eq!(tracker.unsettled_records(), model.ranges.iter().map(|range| range.2).sum::<u64>());
                prop_assert_eq!(tracker.is_settled(), model.oldest().is_none());
            }
        }
    }
}
