//! One chunk on its way into the sink: taken apart, what was settled earlier left out, handed on slice by slice.

use std::ops::Range;
use std::sync::Arc;

use penstock_core::aggregate::{self, Deaggregated, Deaggregation, Fate};
use penstock_core::checkpoint::Admission;
use penstock_core::chunk::Chunk;
use penstock_core::position::{Position, RecordPosition};

use crate::budget::{EntriesPermit, Permit};
use crate::shard::context::ShardContext;

/// A slice is what is appended between two looks at the limits of a batch: small enough not to overshoot by much.
const SLICE_BYTES: u64 = 1024 * 1024;
const SLICE_RECORDS: usize = 4096;
/// What a record takes beyond its payload when it is set aside: its frame, positions and a message.
const SET_ASIDE_FRAME: u64 = 1024;
/// What a record takes in a chunk beside its payload: its entries, its key and its sequence number.
const RECORD_OVERHEAD: u64 = 256;

/// The rest of a chunk.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) taken: Arc<Deaggregated>,
    next: usize,
    end: usize,
    _permit: Permit,
    /// For what taking the chunk apart added, as far as there was room.
    _entries: Option<EntriesPermit>,
}

/// Some neighbouring user records of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// Their indices.
    pub(super) range: Range<usize>,
    /// At most so many bytes are taken once they are encoded.
    pub(super) encoded_at_most: u64,
    /// What they take as they were read.
    pub(super) memory: u64,
}

impl Intake {
    /// Takes a chunk apart. `None` if everything in it was settled before.
    pub(super) fn new(
        ctx: &ShardContext,
        settings: &Deaggregation,
        chunk: Chunk,
        permit: Permit,
        after: &Position,
    ) -> Option<Self> {
        let taken = aggregate::deaggregate(chunk, settings, after.record());
        for corrupt in &taken.corrupt {
            let sequence = taken.records.chunk().record(corrupt.record as usize).sequence;
            tracing::warn!(
                stream = %ctx.identity.stream, shard = %ctx.identity.shard, sequence, problem = ?corrupt.problem,
                "a record looks like an aggregate and is broken, it is delivered as it is"
            );
        }
        let next = after.record().map_or(0, |position| taken.first_after(position));
        let end = taken.records.len();
        if next == end {
            return None;
        }
        let entries = taken.memory().saturating_sub(permit.bytes());
        let entries = ctx.worker.budget.try_acquire_entries(entries);
        Some(Self { taken: Arc::new(taken), next, end, _permit: permit, _entries: entries })
    }

    /// Leaves out what lies behind `last`. Tells whether something is left.
    pub(super) fn cut_behind(&mut self, last: &RecordPosition) -> bool {
        self.end = self.end.min(self.taken.first_after(last)).max(self.next);
        self.next < self.end
    }

    /// The payload of the user records that are not handed on yet.
    pub(super) fn bytes_left(&self) -> u64 {
        (self.next..self.end).map(|index| self.taken.records.get(index).data.len() as u64).sum()
    }

    /// User records that are not handed on yet.
    pub(super) const fn left(&self) -> usize {
        self.end - self.next
    }

    /// The next user record.
    pub(super) const fn next(&self) -> usize {
        self.next
    }

    /// The next user records, at most `records` and about as many as `bytes` hold, and at least one.
    pub(super) fn slice(&self, records: u64, bytes: u64, delimiter: usize) -> Slice {
        let most = usize::try_from(records).unwrap_or(usize::MAX).clamp(1, SLICE_RECORDS);
        let bytes = bytes.clamp(1, SLICE_BYTES);
        let mut range = self.next..self.next;
        let (mut payload, mut encoded_at_most) = (0, 0);
        while range.end < self.end && range.len() < most && payload < bytes {
            let len = self.taken.records.get(range.end).data.len() as u64;
            payload += len;
            encoded_at_most += len + delimiter as u64;
            range.end += 1;
        }
        let aside = self.taken.runs(range.clone()).filter(|(_, fate)| *fate == Fate::SetAside);
        // Base64 in a line of JSON.
        encoded_at_most += aside.map(|(run, _)| self.set_aside_at_most(run)).sum::<u64>();
        let memory = payload + range.len() as u64 * RECORD_OVERHEAD;
        Slice { range, encoded_at_most, memory }
    }

    fn set_aside_at_most(&self, run: Range<usize>) -> u64 {
        run.map(|index| self.taken.records.get(index).data.len() as u64 / 3 * 4 + SET_ASIDE_FRAME).sum()
    }

    /// Takes a slice off. `true` if the chunk is used up.
    pub(super) fn advance(&mut self, slice: &Slice) -> bool {
        self.next = slice.range.end;
        self.next == self.end
    }

    /// What a slice covers.
    pub(super) fn admission(&self, range: &Range<usize>) -> Admission {
        let last = self.taken.records.get(range.end - 1);
        Admission {
            first: self.taken.records.get(range.start).position(),
            last: last.position(),
            arrival: last.arrival,
            records: range.len() as u64,
        }
    }
}
