//! A row of the lease table, and the conditional write of one: plain data, with the exact effect of a write as a function.
//!
//! The strings and attribute names of each store live with the store. A write names what it changes; whatever a row holds
//! beside that survives, attributes that we do not know included.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use crate::mutant::{self, Mutant};
use crate::position::{Position, RecordPosition};
use crate::throughput::Throughput;
use crate::time::UnixMillis;

/// One row of the lease table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The key of the row.
    pub key: LeaseKey,
    /// The worker that owns the lease (during a KCL 3 handoff: will own it).
    pub owner: Option<WorkerId>,
    /// Grows with each write; the only fence.
    pub counter: LeaseCounter,
    /// How many owners held the lease since its last checkpoint.
    pub owner_switches: u64,
    /// All up to here is settled.
    pub checkpoint: Position,
    /// A pending checkpoint of a KCL worker, kept opaque. Ours live in `intent`.
    pub foreign_pending: Option<Bytes>,
    /// Shard ids of the parents.
    pub parents: BTreeSet<ShardId>,
    /// Shard ids of the children; known once the shard ended.
    pub children: BTreeSet<ShardId>,
    /// What the shard covers; very old rows lack it.
    pub hash_range: Option<HashRange>,
    /// During a KCL 3 handoff: the old owner, which may still checkpoint.
    pub checkpoint_owner: Option<WorkerId>,
    /// `penstockStart`: pins where a start without a position begins.
    pub start: Option<UnixMillis>,
    /// `penstockStream`: the creation time of the stream that the row belongs to.
    pub stream_created: Option<UnixMillis>,
    /// `penstockArrival`: the arrival time of the checkpointed record.
    pub arrival: Option<UnixMillis>,
    /// `penstockLag`: milliseconds behind the tip at the last write.
    pub lag: Option<u64>,
    /// `penstockChain`: the end of the last batch that left an object.
    pub chain: Option<RecordPosition>,
    /// `penstockIntent`: what is about to be put, encoded ([`crate::intent`]).
    pub intent: Option<Bytes>,
    /// `penstockWanted`: the worker that asks the holder to hand the lease over. Written without touching the counter.
    pub wanted: Option<WorkerId>,
    /// `penstockGranted`: the worker that the holder is about to hand the lease over to; its answer to `wanted`, or its own
    /// doing at a drain.
    pub granted: Option<WorkerId>,
    /// `penstockLeft`: when the last owner stopped reading, on its wall clock; written with a release, removed by a take.
    pub left: Option<UnixMillis>,
    /// `throughputKBps`: what is read through the lease, smoothed.
    pub throughput: Option<Throughput>,
    /// `penstockOwner`: the penstock worker that took the lease last. An owner of another name is none of ours.
    pub taken_by: Option<WorkerId>,
    /// A digest over all attributes that we do not know, so that two rows can be held against each other whole.
    pub unknown: Option<[u8; 32]>,
}

impl LeaseRow {
    /// A new, unowned row with nothing in it but key, counter and checkpoint.
    #[must_use]
    pub const fn new(key: LeaseKey, counter: LeaseCounter, checkpoint: Position) -> Self {
        Self {
            key,
            owner: None,
            counter,
            owner_switches: 0,
            checkpoint,
            foreign_pending: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
            checkpoint_owner: None,
            start: None,
            stream_created: None,
            arrival: None,
            lag: None,
            chain: None,
            intent: None,
            wanted: None,
            granted: None,
            left: None,
            throughput: None,
            taken_by: None,
            unknown: None,
        }
    }

    /// The owner, if it is no penstock worker.
    #[must_use]
    pub fn foreign_owner(&self) -> Option<&WorkerId> {
        self.owner.as_ref().filter(|owner| self.taken_by.as_ref() != Some(owner))
    }

    /// The worker that the holder hands the lease over to, or left it to. A foreign owner grants nothing: what stands beside it was
    /// granted by an owner before, from whom it took the lease and whose attributes it keeps.
    #[must_use]
    pub fn granted_to(&self) -> Option<&WorkerId> {
        self.granted.as_ref().filter(|_| self.foreign_owner().is_none())
    }

    /// Who may checkpoint: the checkpoint owner of a KCL 3 handoff if there is one, else the owner.
    #[must_use]
    pub fn actual_owner(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }
}

/// What a write does with an optional attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Sets it.
    Set(T),
    /// Removes it.
    Remove,
}

impl<T: Clone> Field<T> {
    fn apply(&self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *to = Some(value.clone()),
            Self::Remove => *to = None,
        }
    }
}

/// What the row must hold for a write to be applied. `None` asks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The counter; always asked.
    pub counter: LeaseCounter,
    /// The owner; `Some(None)` asks for its absence.
    pub owner: Option<Option<WorkerId>>,
    /// The checkpoint.
    pub checkpoint: Option<Position>,
    /// The intent; `Some(None)` asks for its absence.
    pub intent: Option<Option<Bytes>>,
    /// Asks that no KCL 3 handoff is under way.
    pub no_checkpoint_owner: bool,
}

impl Expect {
    /// Asks for the counter alone.
    #[must_use]
    pub const fn counter(counter: LeaseCounter) -> Self {
        Self { counter, owner: None, checkpoint: None, intent: None, no_checkpoint_owner: false }
    }

    /// Whether `row` is as expected.
    #[must_use]
    pub fn holds(&self, row: &LeaseRow) -> bool {
        let Self { counter, owner, checkpoint, intent, no_checkpoint_owner } = self;
        (row.counter == *counter || mutant::is(Mutant::CounterNotChecked))
            && owner.as_ref().is_none_or(|owner| row.owner == *owner)
            && checkpoint.as_ref().is_none_or(|checkpoint| row.checkpoint == *checkpoint)
            && intent.as_ref().is_none_or(|intent| row.intent == *intent)
            && !(*no_checkpoint_owner && row.checkpoint_owner.is_some())
    }
}

/// What a write changes. Everything else in the row stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The counter after the write.
    pub counter: LeaseCounter,
    /// The owner.
    pub owner: Field<WorkerId>,
    /// The owner switches since the last checkpoint.
    pub owner_switches: Option<u64>,
    /// The checkpoint. A store removes the KCL's pending attributes with it, as any KCL checkpoint does.
    pub checkpoint: Option<Position>,
    /// The children.
    pub children: Option<BTreeSet<ShardId>>,
    /// What the shard covers.
    pub hash_range: Option<HashRange>,
    /// Removes `checkpointOwner`, which ends a KCL 3 handoff.
    pub end_handoff: bool,
    /// `penstockStart`.
    pub start: Field<UnixMillis>,
    /// `penstockStream`.
    pub stream_created: Field<UnixMillis>,
    /// `penstockArrival`.
    pub arrival: Field<UnixMillis>,
    /// `penstockLag`.
    pub lag: Field<u64>,
    /// `penstockChain`.
    pub chain: Field<RecordPosition>,
    /// `penstockIntent`.
    pub intent: Field<Bytes>,
    /// `penstockWanted`.
    pub wanted: Field<WorkerId>,
    /// `penstockGranted`.
    pub granted: Field<WorkerId>,
    /// `penstockLeft`.
    pub left: Field<UnixMillis>,
    /// `throughputKBps`.
    pub throughput: Field<Throughput>,
    /// `penstockOwner`.
    pub taken_by: Field<WorkerId>,
}

impl Change {
    /// Changes the counter and nothing else: a renewal.
    #[must_use]
    pub const fn counter(counter: LeaseCounter) -> Self {
        Self {
            counter,
            owner: Field::Keep,
            owner_switches: None,
            checkpoint: None,
            children: None,
            hash_range: None,
            end_handoff: false,
            start: Field::Keep,
            stream_created: Field::Keep,
            arrival: Field::Keep,
            lag: Field::Keep,
            chain: Field::Keep,
            intent: Field::Keep,
            wanted: Field::Keep,
            granted: Field::Keep,
            left: Field::Keep,
            throughput: Field::Keep,
            taken_by: Field::Keep,
        }
    }

    /// The row that this change leaves of `row`.
    #[must_use]
    pub fn apply(&self, row: &LeaseRow) -> LeaseRow {
        let Self {
            counter,
            owner,
            owner_switches,
            checkpoint,
            children,
            hash_range,
            end_handoff,
            start,
            stream_created,
            arrival,
            lag,
            chain,
            intent,
            wanted,
            granted,
            left,
            throughput,
            taken_by,
        } = self;
        let mut after = row.clone();
        after.counter = *counter;
        owner.apply(&mut after.owner);
        if let Some(switches) = owner_switches {
            after.owner_switches = *switches;
        }
        if let Some(checkpoint) = checkpoint {
            after.checkpoint = checkpoint.clone();
            after.foreign_pending = None;
        }
        if let Some(children) = children {
            after.children.clone_from(children);
        }
        if let Some(hash_range) = hash_range {
            after.hash_range = Some(*hash_range);
        }
        if *end_handoff {
            after.checkpoint_owner = None;
        }
        start.apply(&mut after.start);
        stream_created.apply(&mut after.stream_created);
        arrival.apply(&mut after.arrival);
        lag.apply(&mut after.lag);
        chain.apply(&mut after.chain);
        intent.apply(&mut after.intent);
        wanted.apply(&mut after.wanted);
        granted.apply(&mut after.granted);
        left.apply(&mut after.left);
        throughput.apply(&mut after.throughput);
        taken_by.apply(&mut after.taken_by);
        after
    }
}

/// One conditional write of one row: all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWrite {
    /// The row.
    pub key: LeaseKey,
    /// What it must hold.
    pub expect: Expect,
    /// What changes.
    pub change: Change,
}

/// How a conditional write ended, where the table answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The condition held and the change is stored. The row as it stands now, with what others wrote meanwhile without touching
    /// the counter: a wish of another worker, children or hash keys that a KCL worker added.
    Applied(Box<LeaseRow>),
    /// The condition did not hold. The row as it was found; `None` if there is no such row.
    Conflict(Option<Box<LeaseRow>>),
}

/// A wish for a lease that somebody else holds: sets `penstockWanted` and nothing else, the counter least of all.
///
/// Condition: the row exists, its owner and its wish are as observed, and no KCL 3 handoff is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWant {
    /// The row.
    pub key: LeaseKey,
    /// The holder.
    pub owner: WorkerId,
    /// Who wanted it before, as observed.
    pub before: Option<WorkerId>,
    /// Who wants it now.
    pub wanted: WorkerId,
}

impl LeaseWant {
    /// Whether `row` is as the wish asks.
    #[must_use]
    pub fn holds(&self, row: &LeaseRow) -> bool {
        row.owner.as_ref() == Some(&self.owner) && row.wanted == self.before && row.checkpoint_owner.is_none()
    }

    /// Whether the wish stands in `row`: made by this call, or by an earlier one that was thought lost.
    #[must_use]
    pub fn stands_in(&self, row: &LeaseRow) -> bool {
        row.owner.as_ref() == Some(&self.owner) && row.wanted.as_ref() == Some(&self.wanted)
    }
}

/// How a create ended, where the table answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The row is new.
    Created,
    /// A row with this key stood there already and was left alone.
    Exists,
}

/// What a scan of the table gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// All rows that stand for a lease, in the order of their keys.
    pub rows: Vec<LeaseRow>,
    /// Rows that stand for a lease and cannot be read: each costs its shard, never the worker.
    pub unreadable: Vec<UnreadableRow>,
}

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its key.
    pub key: LeaseKey,
    /// What is wrong with it, naming the attribute.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> RecordPosition {
        RecordPosition::parse(text).unwrap()
    }

    /// A row in which nothing is absent.
    fn full() -> LeaseRow {
        LeaseRow {
            owner: Some(WorkerId::new("a")),
            owner_switches: 3,
            foreign_pending: Some(Bytes::from_static(b"pending")),
            parents: [ShardId::new("p")].into(),
            children: [ShardId::new("c")].into(),
            hash_range: Some(HashRange::ALL),
            checkpoint_owner: Some(WorkerId::new("old")),
            start: Some(UnixMillis(1)),
            stream_created: Some(UnixMillis(2)),
            arrival: Some(UnixMillis(3)),
            lag: Some(4),
            chain: Some(position("5")),
            intent: Some(Bytes::from_static(b"intent")),
            wanted: Some(WorkerId::new("w")),
            granted: Some(WorkerId::new("g")),
            left: Some(UnixMillis(6)),
            throughput: Some(Throughput::from_micros(7)),
            taken_by: Some(WorkerId::new("t")),
            unknown: Some([7; 32]),
            ..LeaseRow::new(LeaseKey::new("k"), LeaseCounter(10), Position::After(position("6/1")))
        }
    }

    fn renewal() -> Change {
        Change::counter(LeaseCounter(11))
    }

    fn renewed() -> LeaseRow {
        LeaseRow { counter: LeaseCounter(11), ..full() }
    }

    #[test]
    fn a_renewal_changes_the_counter_alone() {
        assert_eq!(renewal().apply(&full()), renewed());
    }

    #[test]
    fn each_field_of_a_change_sets_its_own_attribute() {
        let worker = || WorkerId::new("b");
        let bytes = Bytes::from_static(b"other");
        let hash_range = Some(HashRange { start: 1, end: 2 });
        let cases = [
            (Change { owner: Field::Set(worker()), ..renewal() }, LeaseRow { owner: Some(worker()), ..renewed() }),
            (Change { owner_switches: Some(9), ..renewal() }, LeaseRow { owner_switches: 9, ..renewed() }),
            (
                Change { children: Some([ShardId::new("d")].into()), ..renewal() },
                LeaseRow { children: [ShardId::new("d")].into(), ..renewed() },
            ),
            (Change { hash_range, ..renewal() }, LeaseRow { hash_range, ..renewed() }),
            (Change { end_handoff: true, ..renewal() }, LeaseRow { checkpoint_owner: None, ..renewed() }),
            (
                Change { start: Field::Set(UnixMillis(21)), ..renewal() },
                LeaseRow { start: Some(UnixMillis(21)), ..renewed() },
            ),
            (
                Change { stream_created: Field::Set(UnixMillis(22)), ..renewal() },
                LeaseRow { stream_created: Some(UnixMillis(22)), ..renewed() },
            ),
            (
                Change { arrival: Field::Set(UnixMillis(23)), ..renewal() },
                LeaseRow { arrival: Some(UnixMillis(23)), ..renewed() },
            ),
            (Change { lag: Field::Set(24), ..renewal() }, LeaseRow { lag: Some(24), ..renewed() }),
            (
                Change { chain: Field::Set(position("25")), ..renewal() },
                LeaseRow { chain: Some(position("25")), ..renewed() },
            ),
            (Change { intent: Field::Set(bytes.clone()), ..renewal() }, LeaseRow { intent: Some(bytes), ..renewed() }),
            (Change { wanted: Field::Set(worker()), ..renewal() }, LeaseRow { wanted: Some(worker()), ..renewed() }),
            (Change { granted: Field::Set(worker()), ..renewal() }, LeaseRow { granted: Some(worker()), ..renewed() }),
            (
                Change { left: Field::Set(UnixMillis(26)), ..renewal() },
                LeaseRow { left: Some(UnixMillis(26)), ..renewed() },
            ),
            (
                Change { throughput: Field::Set(Throughput::from_micros(27)), ..renewal() },
                LeaseRow { throughput: Some(Throughput::from_micros(27)), ..renewed() },
            ),
            (
                Change { taken_by: Field::Set(worker()), ..renewal() },
                LeaseRow { taken_by: Some(worker()), ..renewed() },
            ),
        ];
        for (change, after) in cases {
            assert_eq!(change.apply(&full()), after);
        }
    }

    #[test]
    fn each_optional_attribute_can_be_removed() {
        let change = Change {
            owner: Field::Remove,
            start: Field::Remove,
            stream_created: Field::Remove,
            arrival: Field::Remove,
            lag: Field::Remove,
            chain: Field::Remove,
            intent: Field::Remove,
            wanted: Field::Remove,
            granted: Field::Remove,
            left: Field::Remove,
            throughput: Field::Remove,
            taken_by: Field::Remove,
            ..renewal()
        };
        let after = LeaseRow {
            owner: None,
            start: None,
            stream_created: None,
            arrival: None,
            lag: None,
            chain: None,
            intent: None,
            wanted: None,
            granted: None,
            left: None,
            throughput: None,
            taken_by: None,
            ..renewed()
        };
        assert_eq!(change.apply(&full()), after);
    }

    #[test]
    fn a_checkpoint_takes_a_foreign_pending_one_away_and_leaves_our_intent() {
        for checkpoint in [Position::After(position("9")), Position::ShardEnd] {
            let change = Change { checkpoint: Some(checkpoint.clone()), ..renewal() };
            assert_eq!(change.apply(&full()), LeaseRow { checkpoint, foreign_pending: None, ..renewed() });
        }
    }

    #[test]
    fn each_part_of_an_expectation_is_asked_by_itself() {
        let row = full();
        let any = || Expect::counter(LeaseCounter(10));
        let other = Bytes::from_static(b"other");
        let cases = [
            (any(), true),
            (Expect::counter(LeaseCounter(9)), false),
            (Expect::counter(LeaseCounter(11)), false),
            (Expect { owner: Some(row.owner.clone()), ..any() }, true),
            (Expect { owner: Some(Some(WorkerId::new("b"))), ..any() }, false),
            (Expect { owner: Some(None), ..any() }, false),
            (Expect { checkpoint: Some(row.checkpoint.clone()), ..any() }, true),
            (Expect { checkpoint: Some(Position::After(position("6"))), ..any() }, false),
            (Expect { intent: Some(row.intent.clone()), ..any() }, true),
            (Expect { intent: Some(Some(other)), ..any() }, false),
            (Expect { intent: Some(None), ..any() }, false),
            (Expect { no_checkpoint_owner: true, ..any() }, false),
        ];
        for (expect, holds) in cases {
            assert_eq!(expect.holds(&row), holds, "{expect:?}");
        }
        let bare = LeaseRow::new(LeaseKey::new("k"), LeaseCounter(10), Position::Latest);
        assert!(Expect { owner: Some(None), intent: Some(None), no_checkpoint_owner: true, ..any() }.holds(&bare));
    }

    #[test]
    fn the_actual_owner_of_a_handoff_is_the_old_one() {
        assert_eq!(full().actual_owner(), Some(&WorkerId::new("old")));
        assert_eq!(LeaseRow { checkpoint_owner: None, ..full() }.actual_owner(), Some(&WorkerId::new("a")));
    }
}
