//! One shard: its records, what it takes and gives in a second, and how it ends.
//! Pure: handed the time. Positions are indexes; a position need not be that of a record.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::hash::HashRange;
use super::sequence::{self, SequenceNumber};
use crate::clock::Time;
use crate::limits::{CallRate, GET_RECORDS_MAX_BYTES, GET_SHARD_ITERATOR_PER_SECOND, ReadLimits, WriteLimits};

/// A record as it lies in its shard. Partition key and payload are one slice of the call that brought them.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) sequence: SequenceNumber,
    pub(crate) arrival: Time,
    body: Bytes,
    key_bytes: usize,
}

impl Record {
    pub(crate) fn partition_key(&self) -> &[u8] {
        &self.body[..self.key_bytes]
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.body[self.key_bytes..]
    }

    /// What counts against limits: partition key and payload.
    fn size(&self) -> u64 {
        self.body.len() as u64
    }
}

/// A record on its way into a stream: partition key and payload in one slice.
#[derive(Debug, Clone)]
pub(crate) struct NewRecord {
    pub(crate) body: Bytes,
    pub(crate) key_bytes: usize,
    pub(crate) hash: u128,
}

/// What one fetch gives.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    /// Where to go on; `None` once a closed shard has been read to its end.
    pub(crate) next: Option<u64>,
    pub(crate) millis_behind_latest: u64,
}

/// Why a shard does not give or take at this moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Throttled;

/// How a shard ended.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub(crate) at: Time,
    pub(crate) last: SequenceNumber,
    pub(crate) children: Vec<u32>,
}

/// A shard, open or closed.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) number: u32,
    pub(crate) range: HashRange,
    /// None, the split shard, or the two merged ones.
    pub(crate) parents: Vec<u32>,
    pub(crate) opened: Time,
    pub(crate) closed: Option<Closed>,
    /// Seconds in the shard's sequence numbers; above its parents'.
    pub(crate) epoch: u64,
    records: VecDeque<Record>,
    next_index: u64,
    write_limits: WriteLimits,
    read_limits: ReadLimits,
    iterator_rate: CallRate,
}

impl Shard {
    pub(crate) fn new(number: u32, range: HashRange, parents: Vec<u32>, epoch: u64, now: Time) -> Self {
        Self {
            number,
            range,
            parents,
            opened: now,
            closed: None,
            epoch,
            records: VecDeque::new(),
            next_index: sequence::next_index(0),
            write_limits: WriteLimits::of_shard(),
            read_limits: ReadLimits::of_shard(),
            iterator_rate: CallRate::new(GET_SHARD_ITERATOR_PER_SECOND),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// The shard's first sequence number; no record has it.
    pub(crate) fn starting_sequence(&self) -> SequenceNumber {
        self.sequence(0, self.opened)
    }

    /// Takes a record; the stream has routed it here, so the shard is open.
    pub(crate) fn put(&mut self, record: NewRecord, throttle: bool, now: Time) -> Result<SequenceNumber, Throttled> {
        if throttle && !self.write_limits.admit(record.body.len() as u64, now) {
            return Err(Throttled);
        }
        let sequence = self.sequence(self.next_index, now);
        self.next_index = sequence::next_index(self.next_index);
        let NewRecord { body, key_bytes, hash: _ } = record;
        self.records.push_back(Record { sequence, arrival: now, body, key_bytes });
        Ok(sequence)
    }

    /// Takes no more records.
    pub(crate) fn close(&mut self, children: Vec<u32>, now: Time) {
        let last = self.sequence(self.next_index, now);
        self.next_index = sequence::next_index(self.next_index);
        self.closed = Some(Closed { at: now, last, children });
    }

    /// Drops what arrived before `horizon`.
    pub(crate) fn trim(&mut self, horizon: Time) {
        while self.records.front().is_some_and(|record| record.arrival < horizon) {
            self.records.pop_front();
        }
    }

    /// Whether the shard was closed before `horizon`: it is gone for the service.
    pub(crate) fn is_expired(&self, horizon: Time) -> bool {
        self.closed.as_ref().is_some_and(|closed| closed.at < horizon)
    }

    /// Counts a GetShardIterator call.
    pub(crate) fn admit_iterator(&mut self, now: Time) -> Result<(), Throttled> {
        if self.iterator_rate.admit(now) { Ok(()) } else { Err(Throttled) }
    }

    /// Reads from `position`: at most `limit` records and 10 MiB, but always one if there is one.
    pub(crate) fn read(&mut self, position: u64, limit: usize, throttle: bool, now: Time) -> Result<Page, Throttled> {
        if throttle && !self.read_limits.admit(now) {
            return Err(Throttled);
        }
        let first = self.records.partition_point(|record| record.sequence.index < position);
        let mut bytes = 0;
        let records: Vec<Record> = self
            .records
            .range(first..)
            .take(limit)
            .take_while(|record| {
                let fits = bytes == 0 || bytes + record.size() <= GET_RECORDS_MAX_BYTES;
                bytes += record.size();
                fits
            })
            .cloned()
            .collect();
        self.read_limits.note(records.iter().map(Record::size).sum(), now);
        let unread = self.records.get(first + records.len());
        let next = records.last().map_or(position, |record| record.sequence.index + 1);
        Ok(Page {
            next: (self.is_open() || unread.is_some()).then_some(next),
            millis_behind_latest: unread.map_or(0, |record| millis(now.since(record.arrival))),
            records,
        })
    }

    /// The position of the oldest record.
    pub(crate) fn horizon_position(&self) -> u64 {
        self.records.front().map_or(self.next_index, |record| record.sequence.index)
    }

    /// The position after the newest record.
    pub(crate) fn latest_position(&self) -> u64 {
        self.next_index
    }

    /// The position of the first record that arrived at `time` or later.
    pub(crate) fn position_at(&self, time: Time) -> u64 {
        let first = self.records.partition_point(|record| record.arrival.as_millis() < time.as_millis());
        self.records.get(first).map_or(self.next_index, |record| record.sequence.index)
    }

    /// Whether a sequence number may have come from this shard.
    pub(crate) fn owns(&self, sequence: SequenceNumber) -> bool {
        sequence.shard == self.number && sequence.epoch == self.epoch && sequence.index < self.next_index
    }

    fn sequence(&self, index: u64, now: Time) -> SequenceNumber {
        SequenceNumber { epoch: self.epoch, shard: self.number, index, written: now.as_millis() / 1000 }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MIB;

    fn at(millis: u64) -> Time {
        Time::from_millis(1_790_000_000_000 + millis)
    }

    fn shard() -> Shard {
        Shard::new(0, HashRange { start: 0, end: u128::MAX }, Vec::new(), 1_790_000_000, at(0))
    }

    fn record(payload: &[u8]) -> NewRecord {
        NewRecord { body: Bytes::from([b"k", payload].concat()), key_bytes: 1, hash: 0 }
    }

    fn payloads(page: &Page) -> Vec<&[u8]> {
        page.records.iter().map(Record::payload).collect()
    }

    #[test]
    fn records_come_back_in_order_and_the_iterator_stays_at_the_tip() {
        let mut shard = shard();
        shard.put(record(b"one"), true, at(1)).unwrap();
        shard.put(record(b"two"), true, at(2)).unwrap();
        let page = shard.read(0, 10, true, at(3)).unwrap();
        assert_eq!(payloads(&page), [b"one", b"two"]);
        assert_eq!(page.records[0].partition_key(), b"k");
        assert_eq!(page.millis_behind_latest, 0);
        let next = page.next.unwrap();
        let page = shard.read(next, 10, true, at(4)).unwrap();
        assert_eq!((payloads(&page).len(), page.next), (0, Some(next)));
        shard.put(record(b"three"), true, at(5)).unwrap();
        assert_eq!(payloads(&shard.read(next, 10, true, at(6)).unwrap()), [b"three"]);
    }

    #[test]
    fn millis_behind_is_the_age_of_the_next_unread_record_against_now() {
        let mut shard = shard();
        shard.put(record(b"one"), true, at(1_000)).unwrap();
        shard.put(record(b"two"), true, at(4_000)).unwrap();
        assert_eq!(shard.read(0, 1, true, at(10_000)).unwrap().millis_behind_latest, 6_000);
        assert_eq!(shard.read(0, 1, true, at(20_000)).unwrap().millis_behind_latest, 16_000);
        assert_eq!(shard.read(0, 2, true, at(20_001)).unwrap().millis_behind_latest, 0);
    }

    #[test]
    fn a_closed_shard_ends_only_once_it_is_read_to_its_end() {
        let mut shard = shard();
        shard.put(record(b"one"), true, at(1)).unwrap();
        shard.put(record(b"two"), true, at(2)).unwrap();
        shard.close(vec![1, 2], at(3));
        let page = shard.read(0, 1, true, at(4)).unwrap();
        let next = page.next.expect("one record is left");
        let page = shard.read(next, 10, true, at(5)).unwrap();
        assert_eq!((payloads(&page), page.next), (vec![&b"two"[..]], None));
        assert_eq!(shard.read(shard.latest_position(), 10, true, at(6)).unwrap().next, None);
    }

    #[test]
    fn an_answer_holds_10_mib_but_always_one_record() {
        let mut shard = shard();
        for _ in 0..12 {
            shard.put(record(&vec![0; usize::try_from(MIB).unwrap() - 1]), false, at(1)).unwrap();
        }
        assert_eq!(shard.read(0, 100, true, at(2)).unwrap().records.len(), 10);
        assert!(shard.read(0, 100, true, at(5_001)).is_err(), "a full answer costs five seconds");
        assert_eq!(shard.read(0, 1, true, at(5_002)).unwrap().records.len(), 1);
        let mut shard = self::shard();
        shard.put(record(&vec![0; 10 * usize::try_from(MIB).unwrap()]), false, at(1)).unwrap();
        assert_eq!(shard.read(0, 100, true, at(2)).unwrap().records.len(), 1);
    }

    #[test]
    fn trimmed_records_are_gone_and_older_positions_go_on_at_the_horizon() {
        let mut shard = shard();
        for i in 0..5 {
            shard.put(record(&[i]), true, at(u64::from(i) * 100)).unwrap();
        }
        shard.trim(at(250));
        assert_eq!(payloads(&shard.read(0, 10, true, at(600)).unwrap()), [[3], [4]]);
        assert!(!shard.is_expired(at(250)));
        shard.close(Vec::new(), at(700));
        assert!(!shard.is_expired(at(700)));
        assert!(shard.is_expired(at(701)));
    }

    #[test]
    fn a_time_finds_the_first_record_at_or_after_it() {
        let mut shard = shard();
        for i in 1..=3 {
            shard.put(record(&[i]), true, at(u64::from(i) * 100)).unwrap();
        }
        let from = |shard: &mut Shard, millis| {
            let position = shard.position_at(at(millis));
            shard.read(position, 1, false, at(1000)).unwrap().records.first().map(|r| r.payload()[0])
        };
        assert_eq!(from(&mut shard, 0), Some(1));
        assert_eq!(from(&mut shard, 200), Some(2));
        assert_eq!(from(&mut shard, 201), Some(3));
        assert_eq!(from(&mut shard, 301), None);
    }
}
