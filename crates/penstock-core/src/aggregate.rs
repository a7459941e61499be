//! Takes apart the records that the Kinesis Producer Library packed together, and packs them.
//!
//! A payload that is not an aggregate, or a broken one, stays one user record with its bytes as they are. Nothing is copied:
//! user records are ranges of the chunk's buffer. The result is a function of the bytes and the settings alone, so that a
//! replay gives the same user records in the same places.

use std::ops::Range;

use md5::{Digest, Md5};

use crate::chunk::{Chunk, Entry, Span, UserEntry, UserRecords};
use crate::ids::HashRange;
use crate::intent::{Encoding, OutsideHashRange};
use crate::position::{RecordPosition, compare_sequence_numbers};

mod cursor;
mod encode;
mod message;

pub use encode::{AggregateEntry, encode};
pub use message::AggregateProblem;

/// What an aggregate begins with.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// The MD5 of the message, at the end of an aggregate.
const TRAILER: usize = 16;

/// How chunks are taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deaggregation {
    /// Whether aggregates are taken apart at all.
    pub enabled: bool,
    /// What happens to user records of an aggregate that hash outside the shard.
    pub outside_hash_range: OutsideHashRange,
    /// What the shard covers; `None` if it is not known, and then nothing is outside.
    pub hash_range: Option<HashRange>,
}

impl From<&Encoding> for Deaggregation {
    fn from(encoding: &Encoding) -> Self {
        Self {
            enabled: encoding.deaggregate,
            outside_hash_range: encoding.outside_hash_range,
            hash_range: encoding.hash_range,
        }
    }
}

/// Why user records are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Their aggregate holds a user record that hashes outside the shard, and the rule is to drop such aggregates whole.
    OutsideHashRange,
    /// The aggregate is sound and holds no user record. It stands as one empty user record, so that its position counts.
    EmptyAggregate,
}

impl DropReason {
    /// The reason as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutsideHashRange => "outside_hash_range",
            Self::EmptyAggregate => "empty_aggregate",
        }
    }
}

/// What is to become of a user record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It goes to the sink.
    Deliver,
    /// It is set aside, since it hashes outside the shard.
    SetAside,
    /// It is counted and left out. Its position counts like any other.
    Drop(DropReason),
}

/// An aggregate that could not be taken apart and stands as one user record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorruptAggregate {
    /// The index of its record in the chunk.
    pub record: u32,
    /// What is wrong with it.
    pub problem: AggregateProblem,
}

/// A chunk taken apart: all of its user records in order, and what is to become of them.
#[derive(Debug, Clone, Default)]
pub struct Deaggregated {
    /// Every user record, whatever becomes of it.
    pub records: UserRecords,
    /// The records that look like aggregates and are broken: delivered as they are, and worth a warning.
    pub corrupt: Vec<CorruptAggregate>,
    /// Ascending ranges of user records that are not simply delivered.
    exceptions: Vec<(Range<u32>, Fate)>,
}

impl Deaggregated {
    /// What is to become of the user records of `range`: runs of neighbours with the same fate, which together are the range.
    pub fn runs(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, Fate)> {
        let end = range.end.min(self.records.len());
        let mut at = range.start;
        let first = self.exceptions.partition_point(|(exception, _)| exception.end as usize <= at);
        let mut exceptions = self.exceptions[first..].iter().peekable();
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (until, fate) = match exceptions.peek() {
                Some((exception, _)) if exception.start as usize > at => (exception.start as usize, Fate::Deliver),
                Some((exception, fate)) => {
                    exceptions.next();
                    (exception.end as usize, *fate)
                }
                None => (end, Fate::Deliver),
            };
            let run = at..until.min(end);
            at = run.end;
            Some((run, fate))
        })
    }

    /// The index of the first user record behind `position`: what comes before it was settled earlier.
    #[must_use]
    pub fn first_after(&self, position: &RecordPosition) -> usize {
        let (mut low, mut high) = (0, self.records.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.records.get(middle).compare(position).is_gt() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// The bytes that this keeps alive: the chunk, and an entry for each user record, which can outweigh a chunk of aggregates
    /// with tiny user records.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let entries =
            self.records.len() * size_of::<UserEntry>() + self.exceptions.len() * size_of::<(Range<u32>, Fate)>();
        self.records.chunk().memory() + entries as u64
    }
}

/// Takes the aggregates of a chunk apart. `after` is where reading goes on.
///
/// Where aggregates are not taken apart, one is all the same: the aggregate that `after` lies within, since a part of its user
/// records was delivered, and the rest must be.
#[must_use]
pub fn deaggregate(chunk: Chunk, settings: &Deaggregation, after: Option<&RecordPosition>) -> Deaggregated {
    let begun = after.filter(|after| after.subsequence > 0).map(|after| after.sequence.as_str());
    if !settings.enabled && begun.is_none() {
        return Deaggregated { records: UserRecords::plain(chunk), ..Deaggregated::default() };
    }
    let mut taken = Taken::new(&chunk, settings);
    for index in 0..chunk.len() {
        let record = u32::try_from(index).expect("a buffer is below 4 GiB");
        let is_begun =
            || begun.is_some_and(|begun| compare_sequence_numbers(chunk.record(index).sequence, begun).is_eq());
        match settings.enabled || is_begun() {
            true => taken.take_record(record, chunk.entry(index)),
            false => taken.entries.push(plain(record, chunk.entry(index))),
        }
    }
    let Taken { entries, corrupt, exceptions, .. } = taken;
    Deaggregated { records: UserRecords::new(chunk, entries), corrupt, exceptions }
}

/// A chunk that is being taken apart, with the space that is used again for each aggregate.
struct Taken<'a> {
    buffer: &'a [u8],
    settings: Deaggregation,
    entries: Vec<UserEntry>,
    corrupt: Vec<CorruptAggregate>,
    exceptions: Vec<(Range<u32>, Fate)>,
    message: message::Message,
}

impl<'a> Taken<'a> {
    fn new(chunk: &'a Chunk, settings: &Deaggregation) -> Self {
        Self {
            buffer: chunk.buffer(),
            settings: *settings,
            entries: Vec::with_capacity(chunk.len()),
            corrupt: Vec::new(),
            exceptions: Vec::new(),
            message: message::Message::default(),
        }
    }

    fn take_record(&mut self, record: u32, entry: &Entry) {
        let plain = plain(record, entry);
        let Some((body, trailer)) = split(self.buffer, entry.data) else {
            self.entries.push(plain);
            return;
        };
        match self.message.read(self.buffer, body, trailer) {
            Err(problem) => {
                self.corrupt.push(CorruptAggregate { record, problem });
                self.entries.push(plain);
            }
            Ok(()) if self.message.is_empty() => {
                let nothing = Span { start: entry.data.start, len: 0 };
                self.except(1, Fate::Drop(DropReason::EmptyAggregate));
                self.entries.push(UserEntry { data: nothing, ..plain });
            }
            Ok(()) => self.take_message(record),
        }
    }

    fn take_message(&mut self, record: u32) {
        let rule = self.settings.outside_hash_range;
        let range =
            self.settings.hash_range.filter(|range| *range != HashRange::ALL && rule != OutsideHashRange::Deliver);
        if let Some(range) = range {
            self.message.hash(self.buffer);
            if rule == OutsideHashRange::Drop
                && (0..self.message.len()).any(|index| self.message.is_outside(index, range))
            {
                self.except(self.message.len(), Fate::Drop(DropReason::OutsideHashRange));
            }
        }
        for index in 0..self.message.len() {
            if rule == OutsideHashRange::SetAside && range.is_some_and(|range| self.message.is_outside(index, range)) {
                self.except(1, Fate::SetAside);
            }
            let (data, partition_key) = self.message.user_record(index);
            let subsequence = u32::try_from(index).expect("a buffer is below 4 GiB");
            self.entries.push(UserEntry { data, partition_key, record, subsequence });
        }
    }

    /// Notes the fate of the next `count` user records, before they are pushed.
    fn except(&mut self, count: usize, fate: Fate) {
        let start = u32::try_from(self.entries.len()).expect("a buffer is below 4 GiB");
        let end = start + u32::try_from(count).expect("a buffer is below 4 GiB");
        match self.exceptions.last_mut() {
            Some((last, of)) if *of == fate && last.end == start => last.end = end,
            _ => self.exceptions.push((start..end, fate)),
        }
    }
}

/// A record as one user record.
const fn plain(record: u32, entry: &Entry) -> UserEntry {
    UserEntry { data: entry.data, partition_key: entry.partition_key, record, subsequence: 0 }
}

/// The message and the trailer of a payload that looks like an aggregate.
fn split(buffer: &[u8], data: Span) -> Option<(Span, &[u8])> {
    let start = data.start as usize;
    let payload = &buffer[start..start + data.len as usize];
    let rest = payload.strip_prefix(&MAGIC)?;
    if rest.len() <= TRAILER {
        return None;
    }
    let len = rest.len() - TRAILER;
    let body = Span { start: data.start + 4, len: u32::try_from(len).expect("shorter than the payload") };
    Some((body, &rest[len..]))
}

fn md5(bytes: &[u8]) -> [u8; TRAILER] {
    Md5::digest(bytes).into()
}

#[cfg(test)]
mod tests;
