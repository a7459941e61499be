//! What each operation asks of its row and what it changes: the one place where conditions are made.
//!
//! Every write adds one to the counter it asks for. A write that names less in its condition than listed here has lost or
//! repeated records in the model of the protocol.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::api::{Commit, CoordinatorSettings, InitialPosition, StreamSettings};
use crate::ids::{ShardId, WorkerId};
use crate::lease::{Change, Expect, Field, LeaseRow, LeaseWrite};
use crate::mutant::{self, Mutant};
use crate::position::{Position, RecordPosition};
use crate::throughput::Throughput;
use crate::time::UnixMillis;

/// Makes `settings.worker` the owner of a row, if it still has the observed counter, owner, checkpoint and intent. A row that
/// the KCL made gets what we keep beside its attributes.
pub(super) fn take(
    row: &LeaseRow,
    settings: &CoordinatorSettings,
    stream: &StreamSettings,
    wall: UnixMillis,
) -> LeaseWrite {
    let me = &settings.worker;
    let expect = Expect {
        counter: row.counter,
        owner: Some(row.owner.clone()),
        checkpoint: Some(row.checkpoint.clone()),
        intent: Some(row.intent.clone()),
        no_checkpoint_owner: false,
    };
    let switched = row.owner.as_ref().is_some_and(|owner| owner != me) || row.checkpoint_owner.as_ref() == Some(me);
    let change = Change {
        owner: Field::Set(me.clone()),
        owner_switches: switched.then_some(row.owner_switches + 1),
        end_handoff: row.checkpoint_owner.is_some(),
        start: pinned_start(row, stream.initial_position, wall),
        stream_created: stamp(row.stream_created, stream.created),
        wanted: removal(row.wanted.as_ref()),
        granted: removal(row.granted.as_ref()),
        left: removal(row.left.as_ref()),
        taken_by: Field::Set(me.clone()),
        ..Change::counter(row.counter.next())
    };
    LeaseWrite { key: row.key.clone(), expect, change }
}

/// Keeps a lease.
pub(super) fn renew(row: &LeaseRow, me: &WorkerId) -> LeaseWrite {
    let expect = Expect { owner: Some(Some(me.clone())), no_checkpoint_owner: true, ..Expect::counter(row.counter) };
    LeaseWrite { key: row.key.clone(), expect, change: Change::counter(row.counter.next()) }
}

/// Records how far behind the shard is; rides on any write.
pub(super) fn with_lag(mut write: LeaseWrite, lag: Option<u64>) -> LeaseWrite {
    if let Some(lag) = lag {
        write.change.lag = Field::Set(lag);
    }
    write
}

/// Records what is read through the lease; rides on any write.
pub(super) fn with_throughput(mut write: LeaseWrite, throughput: Option<Throughput>) -> LeaseWrite {
    if let Some(throughput) = throughput {
        write.change.throughput = Field::Set(throughput);
    }
    write
}

/// Says who is to have the lease next; rides on any write.
pub(super) fn with_grant(mut write: LeaseWrite, to: &WorkerId) -> LeaseWrite {
    write.change.granted = Field::Set(to.clone());
    write
}

/// Says no to whoever wants the lease; rides on any write.
pub(super) fn with_refusal(mut write: LeaseWrite) -> LeaseWrite {
    write.change.wanted = Field::Remove;
    write
}

/// Moves the checkpoint with a write, where no intent is involved.
pub(super) fn with_checkpoint(
    mut write: LeaseWrite,
    row: &LeaseRow,
    (after, arrival): &(RecordPosition, UnixMillis),
) -> LeaseWrite {
    write.expect.checkpoint = Some(row.checkpoint.clone());
    write.expect.intent = Some(None);
    let subsequence = if mutant::is(Mutant::SubsequenceNotCommitted) { 0 } else { after.subsequence };
    write.change.checkpoint = Some(Position::After(RecordPosition { subsequence, ..after.clone() }));
    write.change.owner_switches = Some(switches_with_checkpoint(&write));
    write.change.arrival = Field::Set(*arrival);
    write
}

/// Records an intent, if the batch was cut at the row's checkpoint and no other intent is open.
pub(super) fn intend(row: &LeaseRow, me: &WorkerId, from: &Position, intent: &Bytes) -> LeaseWrite {
    let mut write = renew(row, me);
    write.expect.checkpoint = Some(from.clone());
    write.expect.intent = Some(None);
    write.change.intent = Field::Set(intent.clone());
    write
}

/// Moves the checkpoint to the end of a batch and settles its intent, perhaps recording the next one.
pub(super) fn commit(row: &LeaseRow, me: &WorkerId, commit: &Commit) -> LeaseWrite {
    let Commit { from, after, arrival, chain, intent, next } = commit;
    let mut write = with_checkpoint(renew(row, me), row, &(after.clone(), *arrival));
    write.expect.checkpoint = Some(from.clone());
    write.expect.intent = Some(intent.clone());
    write.change.chain = chain.clone().map_or(Field::Keep, Field::Set);
    write.change.intent = match next {
        Some(next) => Field::Set(next.clone()),
        None => removal(intent.as_ref()),
    };
    write
}

/// Says that all that arrived up to a time is settled, where nothing was read that the checkpoint could move to.
pub(super) fn settle_until(row: &LeaseRow, me: &WorkerId, from: &Position, until: UnixMillis) -> LeaseWrite {
    let mut write = renew(row, me);
    write.expect.checkpoint = Some(from.clone());
    write.expect.intent = Some(None);
    write.change.arrival = Field::Set(until);
    write
}

/// Removes exactly this intent.
pub(super) fn drop_intent(row: &LeaseRow, me: &WorkerId, intent: &Bytes) -> LeaseWrite {
    let mut write = renew(row, me);
    write.expect.intent = Some(Some(intent.clone()));
    write.change.intent = Field::Remove;
    write
}

/// Names the children of a shard that was read to its end.
pub(super) fn name_children(row: &LeaseRow, me: &WorkerId, children: BTreeSet<ShardId>) -> LeaseWrite {
    let mut write = renew(row, me);
    write.change.children = Some(children);
    write
}

/// Completes a lease: `SHARD_END`, if no intent is open. A completed lease needs no owner.
pub(super) fn end(row: &LeaseRow, me: &WorkerId) -> LeaseWrite {
    let mut write = renew(row, me);
    write.expect.checkpoint = Some(row.checkpoint.clone());
    write.expect.intent = Some(None);
    write.change.checkpoint = Some(Position::ShardEnd);
    write.change.owner = Field::Remove;
    write.change.owner_switches = Some(0);
    write.change.wanted = removal(row.wanted.as_ref());
    write.change.granted = removal(row.granted.as_ref());
    write
}

/// Writes the owner out. The row says who is to have the lease next, if that is settled, and when it was
/// read last; a wish that nobody answered stays, but not one that was replaced by our own name, withdrawn.
pub(super) fn release(row: &LeaseRow, me: &WorkerId, heir: Option<&WorkerId>, left: Option<UnixMillis>) -> LeaseWrite {
    let mut write = renew(row, me);
    write.change.owner = Field::Remove;
    let is_settled = heir.is_some() || row.wanted.as_ref() == Some(me);
    write.change.wanted = removal(row.wanted.as_ref().filter(|_| is_settled));
    write.change.granted = match heir {
        Some(heir) => Field::Set(heir.clone()),
        None => removal(row.granted.as_ref()),
    };
    write.change.left = left.map_or(Field::Keep, Field::Set);
    write
}

/// Makes another worker the owner: as if it had taken the lease, but for its own first write.
pub(super) fn assign(row: &LeaseRow, me: &WorkerId, to: &WorkerId, left: Option<UnixMillis>) -> LeaseWrite {
    let mut write = renew(row, me);
    write.change.owner = Field::Set(to.clone());
    write.change.owner_switches = Some(row.owner_switches + 1);
    write.change.wanted = removal(row.wanted.as_ref());
    write.change.granted = removal(row.granted.as_ref());
    write.change.left = left.map_or(Field::Keep, Field::Set);
    write.change.taken_by = Field::Set(to.clone());
    write
}

/// What `write` leaves of the owner switches if it also moves the checkpoint: an assignment counts as one after it.
fn switches_with_checkpoint(write: &LeaseWrite) -> u64 {
    u64::from(matches!(write.change.owner, Field::Set(_)))
}

/// Where a row without a position is to start from, if that is not pinned yet.
fn pinned_start(row: &LeaseRow, initial: InitialPosition, wall: UnixMillis) -> Field<UnixMillis> {
    let start = match (&row.checkpoint, initial) {
        (Position::Latest, _) if mutant::is(Mutant::LatestNotPinned) => return Field::Set(wall),
        (Position::Latest, _) => wall,
        (Position::AtTimestamp, InitialPosition::Timestamp(time)) => time,
        // The KCL does not store its time. With none of our own, the oldest record loses nothing.
        (Position::AtTimestamp, InitialPosition::TrimHorizon | InitialPosition::Latest) => UnixMillis(0),
        (Position::TrimHorizon | Position::After(_) | Position::ShardEnd, _) => return Field::Keep,
    };
    stamp(row.start, start)
}

fn stamp<T>(present: Option<T>, value: T) -> Field<T> {
    match present {
        Some(_) => Field::Keep,
        None => Field::Set(value),
    }
}

fn removal<A, B>(present: Option<&A>) -> Field<B> {
    match present {
        Some(_) => Field::Remove,
        None => Field::Keep,
    }
}
