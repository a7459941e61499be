//! How far the records of a shard are settled without a hole, to the single record: where the checkpoint of a call sink stands.
//!
//! A load is settled as a whole only when the last of its calls is answered; of those before, a successor sends nothing again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use penstock_core::aggregate::Deaggregated;
use penstock_core::checkpoint::Ticket;
use penstock_core::position::RecordPosition;
use penstock_core::time::UnixMillis;

/// The loads of one run of a shard, from the oldest on that is not settled.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    loads: VecDeque<OpenLoad>,
    mark: Option<(RecordPosition, UnixMillis)>,
}

#[derive(Debug)]
struct OpenLoad {
    ticket: Ticket,
    /// Gone once all is settled: its memory is given back then.
    chunk: Option<Arc<Deaggregated>>,
    end: (RecordPosition, UnixMillis),
    /// All before this index is settled.
    next: usize,
    left: Range<usize>,
    /// What is settled beyond: begin and end of each range.
    ahead: BTreeMap<usize, usize>,
}

impl Prefix {
    /// Notes a load, behind all that were noted before.
    pub(super) fn admit(&mut self, ticket: Ticket, chunk: &Arc<Deaggregated>, range: Range<usize>) {
        let last = chunk.records.get(range.end - 1);
        self.loads.push_back(OpenLoad {
            ticket,
            end: (last.position(), last.arrival),
            chunk: Some(Arc::clone(chunk)),
            next: range.start,
            left: range,
            ahead: BTreeMap::new(),
        });
    }

    /// Some records of a load are settled, by their indices in the chunk; each is once.
    pub(super) fn settle(&mut self, ticket: Ticket, records: Range<usize>) {
        let index = self.loads.partition_point(|load| load.ticket < ticket);
        let Some(load) = self.loads.get_mut(index).filter(|load| load.ticket == ticket) else { return };
        load.settle(records);
        self.advance();
    }

    /// The last record before which all are settled, and when it arrived; `None` as long as there is none.
    pub(super) const fn mark(&self) -> Option<&(RecordPosition, UnixMillis)> {
        self.mark.as_ref()
    }

    fn advance(&mut self) {
        while let Some(load) = self.loads.front_mut() {
            let Some(chunk) = &load.chunk else {
                self.mark = Some(load.end.clone());
                self.loads.pop_front();
                continue;
            };
            if load.next > load.left.start {
                let last = chunk.records.get(load.next - 1);
                self.mark = Some((last.position(), last.arrival));
                load.left.start = load.next;
            }
            return;
        }
    }
}

impl OpenLoad {
    fn settle(&mut self, records: Range<usize>) {
        self.ahead.insert(records.start, records.end);
        while let Some(end) = self.ahead.remove(&self.next) {
            self.next = end;
        }
        if self.next >= self.left.end {
            self.chunk = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::aggregate::{Deaggregation, deaggregate};
    use penstock_core::checkpoint::{Admission, CheckpointTracker};
    use penstock_core::chunk::ChunkBuilder;
    use penstock_core::intent::OutsideHashRange;
    use penstock_core::position::Position;
    use penstock_core::time::Instant;

    use super::*;
    use crate::fakes::{START, position, sequence};

    /// Records whose sequence numbers are one more than their indices, in loads of ten.
    fn loads(count: u64) -> (Prefix, Vec<Ticket>) {
        let mut builder = ChunkBuilder::default();
        (1..=count * 10).for_each(|number| builder.push(&sequence(number), "key", b"data", START));
        let settings = Deaggregation { enabled: true, outside_hash_range: OutsideHashRange::Deliver, hash_range: None };
        let chunk = Arc::new(deaggregate(builder.build(), &settings, None));
        let (mut prefix, mut tracker) = (Prefix::default(), CheckpointTracker::new(Position::TrimHorizon));
        let tickets = (0..count).map(|load| {
            let (first, last) = (position(load * 10 + 1), position(load * 10 + 10));
            let admission = Admission { first, last, arrival: START, records: 10 };
            let ticket = tracker.admit(admission, Instant::default()).unwrap();
            let start = usize::try_from(load * 10).unwrap();
            prefix.admit(ticket, &chunk, start..start + 10);
            ticket
        });
        let tickets = tickets.collect();
        (prefix, tickets)
    }

    fn mark(prefix: &Prefix) -> Option<RecordPosition> {
        prefix.mark().map(|(position, _)| position.clone())
    }

    #[test]
    fn the_mark_is_the_last_record_before_the_first_hole() {
        let (mut prefix, tickets) = loads(2);
        assert_eq!(mark(&prefix), None);
        prefix.settle(tickets[0], 4..6);
        assert_eq!(mark(&prefix), None);
        prefix.settle(tickets[0], 0..4);
        assert_eq!(mark(&prefix), Some(position(6)));
        prefix.settle(tickets[1], 10..15);
        assert_eq!(mark(&prefix), Some(position(6)));
        prefix.settle(tickets[0], 6..10);
        assert_eq!(mark(&prefix), Some(position(15)));
    }

    #[test]
    fn a_load_that_is_settled_holds_its_chunk_no_longer_whoever_is_before_it() {
        let (mut prefix, tickets) = loads(3);
        prefix.settle(tickets[1], 10..20);
        prefix.settle(tickets[2], 20..30);
        assert_eq!((mark(&prefix), prefix.loads.len()), (None, 3));
        assert_eq!(prefix.loads.iter().filter(|load| load.chunk.is_some()).count(), 1);
        prefix.settle(tickets[0], 0..10);
        assert_eq!((mark(&prefix), prefix.loads.len()), (Some(position(30)), 0));
        prefix.settle(tickets[0], 0..10);
        assert_eq!(mark(&prefix), Some(position(30)));
    }
}
