//! When the open batch of a shard is sealed, and which range it covers. Decisions only: bytes are encoded elsewhere.
//!
//! Every user record that was read belongs to the range of a batch, also one that no object shows; ranges follow upon each
//! other without a hole, since each batch begins where the one before it ended.

use std::fmt;
use std::time::Duration;

use crate::checkpoint::{Admission, OutOfOrder, in_order};
use crate::position::{Position, RecordPosition};
use crate::time::{Instant, UnixMillis};

/// At what a batch is sealed; each limit is reached when it is met or passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Encoded bytes, as stored.
    pub size: u64,
    /// Age, counted from the first user record in the batch.
    pub interval: Duration,
    /// User records; keeps what a replay has to read, and what it holds in memory, within bounds.
    pub records: u64,
}

/// Why a batch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SealReason {
    /// It is large enough, in bytes or records.
    Size,
    /// It is old enough.
    Interval,
    /// Its memory is needed.
    Memory,
    /// The shard was read to its end.
    ShardEnd,
    /// The worker ends or hands the shard over.
    Drain,
}

impl SealReason {
    /// The reason as the label `closed_by`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Interval => "interval",
            Self::Memory => "memory",
            Self::ShardEnd => "shard_end",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for SealReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The range of a sealed batch, and what its intent says of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRange {
    /// Where the batch before it ended; for the first of a tenure the row's checkpoint.
    pub from: Position,
    /// The first user record, dropped ones included.
    pub first: RecordPosition,
    /// The last user record, dropped ones included: the next checkpoint.
    pub last: RecordPosition,
    /// When the service took the record at `last`.
    pub arrival: UnixMillis,
    /// The end of the last earlier batch that left an object.
    pub chain: Option<RecordPosition>,
    /// The number of user records, dropped ones included.
    pub records: u64,
    /// Why it was sealed.
    pub reason: SealReason,
}

#[derive(Debug)]
struct OpenBatch {
    first: RecordPosition,
    last: RecordPosition,
    arrival: UnixMillis,
    records: u64,
    encoded: u64,
    opened: Instant,
}

/// Decides when the open batch of one shard is sealed, through one tenure of its lease.
///
/// ```
/// # use std::time::Duration;
/// # use penstock_core::batch::{BatchLimits, Batcher, SealReason};
/// # use penstock_core::checkpoint::Admission;
/// # use penstock_core::position::{Position, RecordPosition};
/// # use penstock_core::time::{Instant, UnixMillis};
/// let limits = BatchLimits { size: 1_000, interval: Duration::from_secs(60), records: 10_000 };
/// let mut batcher = Batcher::new(limits, Position::TrimHorizon, None);
/// let (first, last) = (RecordPosition::parse("7").unwrap(), RecordPosition::parse("9").unwrap());
/// let now = Instant::from_nanos(0);
/// batcher.append(Admission { first, last, arrival: UnixMillis(0), records: 3 }, 1_200, now).unwrap();
/// assert_eq!(batcher.due(now), Some(SealReason::Size));
/// let sealed = batcher.seal(SealReason::Size).unwrap();
/// batcher.left_objects(&sealed);
/// ```
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    from: Position,
    chain: Option<RecordPosition>,
    open: Option<OpenBatch>,
    requested: Option<SealReason>,
}

impl Batcher {
    /// A batcher for a shard whose row holds this checkpoint and this end of the chain.
    #[must_use]
    pub const fn new(limits: BatchLimits, checkpoint: Position, chain: Option<RecordPosition>) -> Self {
        Self { limits, from: checkpoint, chain, open: None, requested: None }
    }

    /// Notes that a range was appended to the open batch, which now has `encoded` bytes in all.
    ///
    /// # Errors
    /// [`OutOfOrder`] if the range does not lie behind everything before it.
    pub fn append(&mut self, range: Admission, encoded: u64, now: Instant) -> Result<(), OutOfOrder> {
        let Admission { first, last, arrival, records } = range;
        match &mut self.open {
            None => {
                in_order(&self.from, first.clone(), &last)?;
                self.open = Some(OpenBatch { first, last, arrival, records, encoded, opened: now });
            }
            Some(open) => {
                in_order(&Position::After(open.last.clone()), first, &last)?;
                open.last = last;
                open.arrival = arrival;
                open.records += records;
                open.encoded = encoded;
            }
        }
        Ok(())
    }

    /// Asks that the open batch be sealed for a reason that comes from outside. Without an open batch it is of no effect.
    pub fn request_seal(&mut self, reason: SealReason) {
        if self.open.is_some() {
            self.requested = Some(reason);
        }
    }

    /// Why the open batch is to be sealed at `now`; `None` if it may go on filling, or if there is none.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<SealReason> {
        let open = self.open.as_ref()?;
        if self.is_full() {
            return Some(SealReason::Size);
        }
        self.requested.or_else(|| (now >= open.opened.after(self.limits.interval)).then_some(SealReason::Interval))
    }

    /// Whether the open batch has reached a limit of size: nothing more may be appended to it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.encoded >= self.limits.size || open.records >= self.limits.records)
    }

    /// How many more user records the open batch takes.
    #[must_use]
    pub fn room_for_records(&self) -> u64 {
        self.limits.records.saturating_sub(self.open_records())
    }

    /// How many more encoded bytes the open batch takes.
    #[must_use]
    pub fn room_for_bytes(&self) -> u64 {
        self.limits.size.saturating_sub(self.open_bytes())
    }

    /// When [`Batcher::due`] changes by the mere passing of time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.opened.after(self.limits.interval))
    }

    /// Closes the open batch; `None` if there is none. The next one begins at its end.
    pub fn seal(&mut self, reason: SealReason) -> Option<SealedRange> {
        self.requested = None;
        let OpenBatch { first, last, arrival, records, encoded: _, opened: _ } = self.open.take()?;
        let from = std::mem::replace(&mut self.from, Position::After(last.clone()));
        Some(SealedRange { from, first, last, arrival, chain: self.chain.clone(), records, reason })
    }

    /// Notes that a sealed batch leaves an object, so that the chain goes on from its end. Told before the next seal.
    pub fn left_objects(&mut self, sealed: &SealedRange) {
        self.chain = Some(sealed.last.clone());
    }

    /// Where the open batch begins, or the next one would: the end of all that was sealed.
    #[must_use]
    pub const fn from(&self) -> &Position {
        &self.from
    }

    /// The end of the last sealed batch that left an object.
    #[must_use]
    pub const fn chain(&self) -> Option<&RecordPosition> {
        self.chain.as_ref()
    }

    /// The user records of the open batch, dropped ones included.
    #[must_use]
    pub fn open_records(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.records)
    }

    /// The encoded bytes of the open batch.
    #[must_use]
    pub fn open_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.encoded)
    }

    /// When the open batch got its first user record; `None` if there is no open batch.
    #[must_use]
    pub fn opened(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.opened)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits { size: 100, interval: Duration::from_secs(60), records: 10 };

    fn at(sequence: u64) -> RecordPosition {
        RecordPosition::parse(&sequence.to_string()).unwrap()
    }

    fn range(first: u64, last: u64) -> Admission {
        let arrival = UnixMillis(i64::try_from(last).unwrap());
        Admission { first: at(first), last: at(last), arrival, records: last - first + 1 }
    }

    fn second(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000_000)
    }

    fn batcher() -> Batcher {
        Batcher::new(LIMITS, Position::TrimHorizon, None)
    }

    #[test]
    fn without_records_nothing_is_ever_due() {
        let mut batcher = batcher();
        batcher.request_seal(SealReason::Drain);
        assert_eq!((batcher.due(second(1_000)), batcher.next_deadline()), (None, None));
        assert_eq!(batcher.seal(SealReason::Drain), None);
        batcher.append(range(1, 1), 1, second(2_000)).unwrap();
        assert_eq!(batcher.due(second(2_000)), None, "the request was for a batch that did not exist");
    }

    #[test]
    fn each_limit_seals_when_it_is_reached_and_not_before() {
        for (records, encoded, now, due) in [
            (1, 99, 59, None),
            (1, 100, 0, Some(SealReason::Size)),
            (9, 1, 0, None),
            (10, 1, 0, Some(SealReason::Size)),
            (1, 1, 60, Some(SealReason::Interval)),
            (1, 0, 60, Some(SealReason::Interval)),
        ] {
            let mut batcher = batcher();
            batcher.append(range(1, records), encoded, second(0)).unwrap();
            assert_eq!(batcher.due(second(now)), due, "{records} records, {encoded} bytes, {now} s");
            assert_eq!(batcher.next_deadline(), Some(second(60)));
        }
    }

    #[test]
    fn the_age_counts_from_the_first_record_of_the_batch() {
        let mut batcher = batcher();
        batcher.append(range(1, 1), 1, second(10)).unwrap();
        batcher.append(range(2, 2), 2, second(69)).unwrap();
        assert_eq!(batcher.due(second(69)), None);
        assert_eq!(batcher.due(second(70)), Some(SealReason::Interval));
        batcher.seal(SealReason::Interval).unwrap();
        batcher.append(range(3, 3), 1, second(75)).unwrap();
        assert_eq!((batcher.opened(), batcher.due(second(134))), (Some(second(75)), None));
    }

    #[test]
    fn a_request_seals_the_open_batch_only() {
        let mut batcher = batcher();
        batcher.append(range(1, 1), 1, second(0)).unwrap();
        batcher.request_seal(SealReason::Memory);
        assert_eq!(batcher.due(second(0)), Some(SealReason::Memory));
        assert_eq!(batcher.seal(SealReason::Memory).unwrap().reason, SealReason::Memory);
        batcher.append(range(2, 2), 1, second(0)).unwrap();
        assert_eq!(batcher.due(second(0)), None);
    }

    #[test]
    fn the_chain_passes_over_batches_without_objects() {
        let mut batcher = Batcher::new(LIMITS, Position::After(at(5)), Some(at(3)));
        batcher.append(range(6, 7), 10, second(0)).unwrap();
        let first = batcher.seal(SealReason::Size).unwrap();
        assert_eq!((&first.from, &first.chain), (&Position::After(at(5)), &Some(at(3))));
        batcher.left_objects(&first);
        batcher.append(range(8, 8), 0, second(0)).unwrap();
        let empty = batcher.seal(SealReason::Interval).unwrap();
        batcher.append(range(9, 9), 10, second(0)).unwrap();
        let third = batcher.seal(SealReason::Drain).unwrap();
        assert_eq!((&empty.chain, &third.chain), (&Some(at(7)), &Some(at(7))));
        assert_eq!(third.from, Position::After(at(8)));
    }

    #[test]
    fn what_is_out_of_order_is_refused_and_changes_nothing() {
        let mut batcher = Batcher::new(LIMITS, Position::After(at(5)), None);
        assert!(batcher.append(range(5, 6), 1, second(0)).is_err());
        assert_eq!(batcher.opened(), None);
        batcher.append(range(6, 8), 1, second(0)).unwrap();
        assert!(batcher.append(range(8, 9), 2, second(0)).is_err());
        assert_eq!((batcher.open_records(), batcher.open_bytes()), (3, 1));
        let sealed = batcher.seal(SealReason::Drain).unwrap();
        assert!(batcher.append(range(8, 9), 2, second(0)).is_err(), "{sealed:?} was sealed");
    }

    #[test]
    fn the_room_shrinks_with_what_is_appended() {
        let mut batcher = batcher();
        assert_eq!((batcher.room_for_bytes(), batcher.room_for_records()), (100, 10));
        batcher.append(range(1, 4), 70, second(0)).unwrap();
        assert_eq!((batcher.room_for_bytes(), batcher.room_for_records()), (30, 6));
        batcher.append(range(5, 14), 170, second(0)).unwrap();
        assert_eq!((batcher.room_for_bytes(), batcher.room_for_records()), (0, 0));
    }

    proptest! {
        /// A caller that appends within the room and seals when it is due: no limit is passed, and the sealed ranges are
        /// those that were appended, without hole, repeat or change of order.
        #[test]
        fn batches_follow_upon_each_other_within_limits(
            appends in prop::collection::vec((1_u64..6, 0_u64..50, 0_u64..40), 1..60),
        ) {
            let mut batcher = batcher();
            let (mut end, mut clock, mut appended) = (0, 0, 0);
            let mut sealed: Vec<SealedRange> = Vec::new();
            for (records, bytes, pause) in appends {
                clock += pause;
                if let Some(reason) = batcher.due(second(clock)) {
                    sealed.extend(batcher.seal(reason));
                }
                let records = records.min(batcher.room_for_records());
                let encoded = batcher.open_bytes() + bytes.min(batcher.room_for_bytes());
                batcher.append(range(end + 1, end + records), encoded, second(clock)).unwrap();
                prop_assert!(batcher.open_records() <= LIMITS.records && batcher.open_bytes() <= LIMITS.size);
                prop_assert!(batcher.next_deadline().unwrap() <= second(clock).after(LIMITS.interval));
                end += records;
                appended += records;
            }
            sealed.extend(batcher.seal(SealReason::Drain));
            let mut from = Position::TrimHorizon;
            for range in &sealed {
                prop_assert_eq!(&range.from, &from);
                prop_assert!(Position::After(range.first.clone()) > from);
                from = Position::After(range.last.clone());
            }
            prop_assert_eq!(from, Position::After(at(end)));
            prop_assert_eq!(sealed.iter().map(|range| range.records).sum::<u64>(), appended);
        }
    }
}
