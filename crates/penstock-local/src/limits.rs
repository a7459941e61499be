//! The services' limits: the numbers, and the throttles that enforce those that are rates.
//! Pure: every throttle is handed the time. Which error a refusal becomes is the operations' matter.
//! Numbers are AWS's quota pages and API models of 2026.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Time;

/// 2^20 bytes.
pub(crate) const MIB: u64 = 1024 * 1024;
/// 2^10 bytes.
pub(crate) const KIB: u64 = 1024;

/// What a shard takes in a second, partition keys included.
pub(crate) const SHARD_WRITE_BYTES_PER_SECOND: u64 = MIB;
/// Records that a shard takes in a second.
pub(crate) const SHARD_WRITE_RECORDS_PER_SECOND: u64 = 1000;
/// What all polling consumers of a shard may read in a second.
pub(crate) const SHARD_READ_BYTES_PER_SECOND: u64 = 2 * MIB;
/// GetRecords calls a second for one shard, over all consumers.
pub(crate) const GET_RECORDS_PER_SECOND: usize = 5;
/// GetShardIterator calls a second for one shard.
pub(crate) const GET_SHARD_ITERATOR_PER_SECOND: usize = 5;
/// The most records one GetRecords answer holds.
pub(crate) const GET_RECORDS_MAX_RECORDS: usize = 10_000;
/// The most bytes one GetRecords answer holds, before base64.
pub(crate) const GET_RECORDS_MAX_BYTES: u64 = 10 * MIB;
/// The most records of one PutRecords call.
pub(crate) const PUT_RECORDS_MAX_RECORDS: usize = 500;
/// The most bytes of one PutRecords call, partition keys included, before base64.
pub(crate) const PUT_RECORDS_MAX_BYTES: u64 = 10 * MIB;
/// The most entries of one PutRecordBatch call.
pub(crate) const BATCH_MAX_RECORDS: usize = 500;
/// The most bytes of one PutRecordBatch call, before base64.
pub(crate) const BATCH_MAX_BYTES: u64 = 4 * MIB;
/// The largest Firehose record, before base64.
pub(crate) const FIREHOSE_MAX_RECORD_BYTES: u64 = 1000 * KIB;

const SECOND: Duration = Duration::from_secs(1);

/// A rate of something countable, with one second's worth as burst.
#[derive(Debug, Clone)]
pub(crate) struct Throughput {
    per_second: u64,
    /// When the whole burst is available again.
    full_at: Time,
}

impl Throughput {
    /// A throughput of `per_second`, all of its burst available.
    pub(crate) fn new(per_second: u64) -> Self {
        Self { per_second, full_at: Time::default() }
    }

    /// Whether `amount` fits at `now`. More than a whole burst fits only into a full one, and is then paid off at the
    /// rate: so a shard of 1 MiB/s takes a 10 MiB record, and nothing else for ten seconds.
    pub(crate) fn has_room(&self, amount: u64, now: Time) -> bool {
        let start = self.full_at.max(now);
        let cost = self.span_of(amount);
        start.after(cost) <= now.after(SECOND) || (start == now && cost > SECOND)
    }

    /// Takes `amount` out, whether or not there was room.
    pub(crate) fn take(&mut self, amount: u64, now: Time) {
        self.full_at = self.full_at.max(now).after(self.span_of(amount));
    }

    fn span_of(&self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How many calls may be made within any one second.
#[derive(Debug, Clone)]
pub(crate) struct CallRate {
    per_second: usize,
    admitted: VecDeque<Time>,
}

impl CallRate {
    /// A rate of `per_second` calls.
    pub(crate) fn new(per_second: usize) -> Self {
        Self { per_second, admitted: VecDeque::new() }
    }

    /// Counts a call at `now`, or refuses it; refused calls do not count.
    pub(crate) fn admit(&mut self, now: Time) -> bool {
        while self.admitted.front().is_some_and(|&call| now.since(call) >= SECOND) {
            self.admitted.pop_front();
        }
        let admitted = self.admitted.len() < self.per_second;
        if admitted {
            self.admitted.push_back(now);
        }
        admitted
    }
}

/// What a shard takes in: bytes and records.
#[derive(Debug, Clone)]
pub(crate) struct WriteLimits {
    bytes: Throughput,
    records: Throughput,
}

impl WriteLimits {
    /// Limits of `bytes` and `records` a second.
    pub(crate) fn new(bytes: u64, records: u64) -> Self {
        Self { bytes: Throughput::new(bytes), records: Throughput::new(records) }
    }

    /// A shard's write limits.
    pub(crate) fn of_shard() -> Self {
        Self::new(SHARD_WRITE_BYTES_PER_SECOND, SHARD_WRITE_RECORDS_PER_SECOND)
    }

    /// Counts one record of `bytes`, or refuses it; a refused record does not count.
    pub(crate) fn admit(&mut self, bytes: u64, now: Time) -> bool {
        let admitted = self.bytes.has_room(bytes, now) && self.records.has_room(1, now);
        if admitted {
            self.bytes.take(bytes, now);
            self.records.take(1, now);
        }
        admitted
    }
}

/// What a shard gives to its polling consumers: five calls a second, and 2 MiB/s with penalties.
#[derive(Debug, Clone)]
pub(crate) struct ReadLimits {
    calls: CallRate,
    /// What was read within the last second.
    recent: VecDeque<(Time, u64)>,
    blocked_until: Time,
}

impl ReadLimits {
    /// A shard's read limits.
    pub(crate) fn of_shard() -> Self {
        Self { calls: CallRate::new(GET_RECORDS_PER_SECOND), recent: VecDeque::new(), blocked_until: Time::default() }
    }

    /// Counts a call at `now`, or refuses it.
    pub(crate) fn admit(&mut self, now: Time) -> bool {
        now >= self.blocked_until && self.calls.admit(now)
    }

    /// Notes what an admitted call returned. If that takes the last second over 2 MiB, the shard refuses calls until the
    /// excess would have been read at that rate, for at least one second: a full answer of 10 MiB costs five.
    pub(crate) fn note(&mut self, bytes: u64, now: Time) {
        while self.recent.front().is_some_and(|&(read, _)| now.since(read) >= SECOND) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, bytes));
        let total: u64 = self.recent.iter().map(|&(_, bytes)| bytes).sum();
        if total > SHARD_READ_BYTES_PER_SECOND {
            let millis = (total * 1000 / SHARD_READ_BYTES_PER_SECOND).clamp(1000, 5000);
            self.blocked_until = now.after(Duration::from_millis(millis));
            self.recent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(1_000_000 + millis)
    }

    #[test]
    fn the_sixth_call_of_a_second_is_refused_until_the_first_is_a_second_old() {
        let mut limits = ReadLimits::of_shard();
        for call in 0..5 {
            assert!(limits.admit(at(call * 100)));
        }
        assert!(!limits.admit(at(500)));
        assert!(!limits.admit(at(999)));
        assert!(limits.admit(at(1000)));
        assert!(!limits.admit(at(1050)));
        assert!(limits.admit(at(1100)));
    }

    #[test]
    fn a_full_answer_blocks_the_shard_for_five_seconds() {
        let mut limits = ReadLimits::of_shard();
        assert!(limits.admit(at(0)));
        limits.note(10 * MIB, at(0));
        assert!(!limits.admit(at(4999)));
        assert!(limits.admit(at(5000)));
    }

    #[test]
    fn a_smaller_excess_blocks_for_at_least_a_second() {
        let mut limits = ReadLimits::of_shard();
        assert!(limits.admit(at(0)));
        limits.note(2 * MIB, at(0));
        assert!(limits.admit(at(200)), "exactly 2 MiB in a second is allowed");
        limits.note(1, at(200));
        assert!(!limits.admit(at(1199)));
        assert!(limits.admit(at(1200)));
    }

    #[test]
    fn reading_at_the_rate_is_never_blocked() {
        let mut limits = ReadLimits::of_shard();
        for call in 0..40 {
            assert!(limits.admit(at(call * 250)), "call {call}");
            limits.note(MIB / 2, at(call * 250));
        }
    }

    #[test]
    fn a_shard_takes_a_thousand_records_a_second() {
        let mut limits = WriteLimits::of_shard();
        assert_eq!((0..1500).filter(|_| limits.admit(10, at(0))).count(), 1000);
        assert_eq!((0..1500).filter(|_| limits.admit(10, at(500))).count(), 500);
        assert_eq!((0..1500).filter(|_| limits.admit(10, at(5000))).count(), 1000, "no more than a burst is saved up");
    }

    #[test]
    fn a_shard_takes_a_mebibyte_a_second() {
        let mut limits = WriteLimits::of_shard();
        assert_eq!((0..20).filter(|_| limits.admit(MIB / 8, at(0))).count(), 8);
        assert!(!limits.admit(1024, at(0)));
        assert!(limits.admit(1024, at(10)));
    }

    #[test]
    fn a_large_record_is_taken_at_once_and_paid_off_afterwards() {
        let mut limits = WriteLimits::of_shard();
        assert!(limits.admit(10 * MIB, at(0)));
        assert!(!limits.admit(1, at(8_900)));
        assert!(limits.admit(1, at(9_100)));
        assert!(!limits.admit(10 * MIB, at(9_200)), "not while the last one is being paid off");
        assert!(limits.admit(10 * MIB, at(11_000)));
    }

    #[test]
    fn a_refused_record_costs_nothing() {
        let mut limits = WriteLimits::of_shard();
        assert!(limits.admit(MIB, at(0)));
        for _ in 0..100 {
            assert!(!limits.admit(MIB, at(1)));
        }
        assert!(limits.admit(MIB, at(1000)));
    }
}
