//! Conditional writes: applied whole if the row is as expected, else not at all, with the row as it was found.

use bytes::Bytes;
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWant, LeaseWrite, WriteOutcome};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;

use super::rows::{bare_row, full_row, key};
use super::{Place, applied, create, only_row};

fn after(text: &str) -> Position {
    Position::After(RecordPosition::parse(text).expect("a position"))
}

fn renewal(of: &LeaseRow) -> Change {
    Change::counter(of.counter.next())
}

/// Expectations about [`full_row`], and whether they hold.
fn expectations() -> Vec<(Expect, bool)> {
    let LeaseRow { counter, owner, checkpoint, intent, .. } = full_row();
    let any = || Expect::counter(counter);
    let sibling = RecordPosition { subsequence: 0, ..checkpoint.record().expect("a position").clone() };
    let all = Expect {
        owner: Some(owner.clone()),
        checkpoint: Some(checkpoint.clone()),
        intent: Some(intent.clone()),
        ..any()
    };
    vec![
        (any(), true),
        (Expect::counter(LeaseCounter(counter.0 - 1)), false),
        (Expect::counter(counter.next()), false),
        (Expect { owner: Some(owner), ..any() }, true),
        (Expect { owner: Some(Some(WorkerId::new("host-a-0badc0dE"))), ..any() }, false),
        (Expect { owner: Some(None), ..any() }, false),
        (Expect { checkpoint: Some(checkpoint), ..any() }, true),
        (Expect { checkpoint: Some(Position::After(sibling)), ..any() }, false),
        (Expect { checkpoint: Some(Position::TrimHorizon), ..any() }, false),
        (Expect { intent: Some(intent), ..any() }, true),
        (Expect { intent: Some(Some(Bytes::from_static(b"\x00intent"))), ..any() }, false),
        (Expect { intent: Some(None), ..any() }, false),
        (Expect { no_checkpoint_owner: true, ..any() }, false),
        (all.clone(), true),
        (Expect { intent: Some(None), ..all.clone() }, false),
        (Expect { owner: Some(None), ..all.clone() }, false),
        (Expect { counter: counter.next(), ..all }, false),
    ]
}

/// Expectations about [`bare_row`], and whether they hold.
fn expectations_of_absence() -> Vec<(Expect, bool)> {
    let any = || Expect::counter(bare_row().counter);
    vec![
        (Expect { owner: Some(None), intent: Some(None), no_checkpoint_owner: true, ..any() }, true),
        (Expect { owner: Some(Some(WorkerId::new("w"))), ..any() }, false),
        (Expect { intent: Some(Some(Bytes::from_static(b"i"))), ..any() }, false),
        (Expect { checkpoint: Some(Position::TrimHorizon), ..any() }, true),
        (Expect { checkpoint: Some(Position::Latest), ..any() }, false),
        (Expect { checkpoint: Some(after("7")), ..any() }, false),
    ]
}

pub(super) async fn each_part_of_an_expectation_is_asked(place: &Place) {
    let table = place.table();
    let full = expectations().into_iter().map(|(expect, holds)| (full_row(), expect, holds));
    let bare = expectations_of_absence().into_iter().map(|(expect, holds)| (bare_row(), expect, holds));
    for (index, (row, expect, holds)) in full.chain(bare).enumerate() {
        let row = LeaseRow { key: LeaseKey::new(&format!("lease-{index:02}")), ..row };
        create(table, &row).await;
        let change = Change { lag: Field::Set(99), ..renewal(&row) };
        let write = LeaseWrite { key: row.key.clone(), expect, change };
        let outcome = table.write(&write).await.expect("a condition that does not hold is no error");
        let stored = table.scan().await.expect("a scan").rows.into_iter().find(|stored| stored.key == row.key);
        if holds {
            let after = write.change.apply(&row);
            assert_eq!(outcome, applied(&after), "{:?}", write.expect);
            assert_eq!(stored, Some(after));
        } else {
            assert_eq!(outcome, WriteOutcome::Conflict(Some(Box::new(row.clone()))), "{:?}", write.expect);
            assert_eq!(stored, Some(row), "nothing of a write is stored whose condition does not hold");
        }
    }
}

/// A change of everything that a write can change.
fn everything(of: &LeaseRow) -> Change {
    Change {
        counter: LeaseCounter(of.counter.0 + 1_000),
        owner: Field::Set(WorkerId::new("other")),
        owner_switches: Some(0),
        checkpoint: Some(Position::ShardEnd),
        children: Some([ShardId::new("c"), ShardId::new("d"), ShardId::new("e")].into()),
        hash_range: Some(HashRange::ALL),
        end_handoff: true,
        start: Field::Set(UnixMillis(0)),
        stream_created: Field::Set(UnixMillis(1)),
        arrival: Field::Set(UnixMillis(2)),
        lag: Field::Set(0),
        chain: Field::Set(RecordPosition::parse("77/8").expect("a position")),
        intent: Field::Set(Bytes::from_static(b"new")),
        wanted: Field::Set(WorkerId::new("w")),
        granted: Field::Set(WorkerId::new("g")),
        left: Field::Set(UnixMillis(3)),
        throughput: Field::Set(Throughput::from_micros(1)),
        taken_by: Field::Set(WorkerId::new("t")),
    }
}

/// A removal of everything that a write can remove.
fn removal(of: &LeaseRow) -> Change {
    Change {
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
        end_handoff: true,
        ..renewal(of)
    }
}

/// A change for each field, and those of all fields.
fn changes(of: &LeaseRow) -> Vec<Change> {
    let renewal = || renewal(of);
    let position = RecordPosition::parse("77/8").expect("a position");
    vec![
        renewal(),
        Change { counter: LeaseCounter(3), ..renewal() },
        Change { owner: Field::Set(WorkerId::new("other")), ..renewal() },
        Change { owner: Field::Remove, ..renewal() },
        Change { owner_switches: Some(9), ..renewal() },
        Change { checkpoint: Some(after("78/1")), ..renewal() },
        Change { checkpoint: Some(Position::ShardEnd), ..renewal() },
        Change { children: Some([ShardId::new("child")].into()), ..renewal() },
        Change { hash_range: Some(HashRange { start: 5, end: 6 }), ..renewal() },
        Change { end_handoff: true, ..renewal() },
        Change { start: Field::Set(UnixMillis(21)), ..renewal() },
        Change { start: Field::Remove, ..renewal() },
        Change { stream_created: Field::Set(UnixMillis(22)), ..renewal() },
        Change { stream_created: Field::Remove, ..renewal() },
        Change { arrival: Field::Set(UnixMillis(23)), ..renewal() },
        Change { arrival: Field::Remove, ..renewal() },
        Change { lag: Field::Set(24), ..renewal() },
        Change { lag: Field::Remove, ..renewal() },
        Change { chain: Field::Set(position), ..renewal() },
        Change { chain: Field::Remove, ..renewal() },
        Change { intent: Field::Set(Bytes::from_static(b"other")), ..renewal() },
        Change { intent: Field::Remove, ..renewal() },
        Change { wanted: Field::Set(WorkerId::new("w")), ..renewal() },
        Change { wanted: Field::Remove, ..renewal() },
        Change { granted: Field::Set(WorkerId::new("g")), ..renewal() },
        Change { granted: Field::Remove, ..renewal() },
        Change { left: Field::Set(UnixMillis(25)), ..renewal() },
        Change { left: Field::Remove, ..renewal() },
        Change { throughput: Field::Set(Throughput::default()), ..renewal() },
        Change { throughput: Field::Set(Throughput::from_micros(26)), ..renewal() },
        Change { throughput: Field::Remove, ..renewal() },
        Change { taken_by: Field::Set(WorkerId::new("t")), ..renewal() },
        Change { taken_by: Field::Remove, ..renewal() },
        removal(of),
        everything(of),
    ]
}

pub(super) async fn each_field_of_a_change_is_stored(place: &Place) {
    let table = place.table();
    for (kind, row) in [("full", full_row()), ("bare", bare_row())] {
        for (index, change) in changes(&row).into_iter().enumerate() {
            let row = LeaseRow { key: LeaseKey::new(&format!("{kind}-{index:02}")), ..row.clone() };
            create(table, &row).await;
            let write = LeaseWrite { key: row.key.clone(), expect: Expect::counter(row.counter), change };
            let after = write.change.apply(&row);
            assert_eq!(table.write(&write).await.expect("a write"), applied(&after), "{kind} row, {:?}", write.change);
            let scan = table.scan().await.expect("a scan");
            let stored = scan.rows.iter().find(|stored| stored.key == row.key);
            assert_eq!(stored, Some(&after), "{kind} row, {:?}", write.change);
        }
    }
}

pub(super) async fn a_row_that_is_not_there_is_not_made(place: &Place) {
    let table = place.table();
    let change = Change { owner: Field::Set(WorkerId::new("w")), ..renewal(&bare_row()) };
    for counter in [LeaseCounter(0), bare_row().counter] {
        let expect = Expect { owner: Some(None), intent: Some(None), ..Expect::counter(counter) };
        let write = LeaseWrite { key: key(), expect, change: change.clone() };
        assert_eq!(table.write(&write).await.expect("a write"), WriteOutcome::Conflict(None));
    }
    assert_eq!(table.scan().await.expect("a scan").rows, [], "a write makes no row");
}

pub(super) async fn a_checkpoint_removes_a_foreign_pending_one(place: &Place) {
    let table = place.table();
    create(table, &full_row()).await;
    assert_eq!(only_row(table).await.foreign_pending, None);
    place.stranger.leave_pending(&key()).await;
    let pending = only_row(table).await;
    assert!(pending.foreign_pending.is_some(), "a pending checkpoint shows");
    assert_eq!(LeaseRow { foreign_pending: None, ..pending.clone() }, full_row(), "and nothing else does");

    let renewal = LeaseWrite { key: key(), expect: Expect::counter(pending.counter), change: renewal(&pending) };
    let renewed = renewal.change.apply(&pending);
    assert_eq!(table.write(&renewal).await.expect("a write"), applied(&renewed), "a renewal leaves it");
    assert_eq!(only_row(table).await, renewed);

    let change = Change { checkpoint: Some(after("79")), ..Change::counter(renewed.counter.next()) };
    let checkpoint = LeaseWrite { key: key(), expect: Expect::counter(renewed.counter), change };
    let expected = LeaseRow { counter: renewed.counter.next(), checkpoint: after("79"), ..full_row() };
    let outcome = table.write(&checkpoint).await.expect("a write");
    assert_eq!(outcome, applied(&expected), "a checkpoint takes it away, and leaves our intent");
    assert_eq!(only_row(table).await, expected);
}

pub(super) async fn what_is_unknown_survives_and_shows_in_the_digest(place: &Place) {
    let table = place.table();
    create(table, &full_row()).await;
    assert_eq!(only_row(table).await.unknown, None);
    place.stranger.leave_unknown(&key(), "one").await;
    let one = only_row(table).await;
    assert!(one.unknown.is_some(), "an attribute that we do not know shows");
    assert_eq!(LeaseRow { unknown: None, ..one.clone() }, full_row());
    place.stranger.leave_unknown(&key(), "two").await;
    let two = only_row(table).await;
    assert!(two.unknown.is_some() && two.unknown != one.unknown, "and so does its change");

    let write = LeaseWrite { key: key(), expect: Expect::counter(two.counter), change: everything(&two) };
    let written = write.change.apply(&two);
    let outcome = table.write(&write).await.expect("a write");
    assert_eq!(outcome, applied(&written), "a write of everything we know leaves the rest");
    assert_eq!(only_row(table).await, written);
    let again = table.write(&write).await.expect("a write");
    assert_eq!(again, WriteOutcome::Conflict(Some(Box::new(written))), "a rejection shows the whole row");
}

pub(super) async fn only_a_completed_row_of_that_counter_is_deleted(place: &Place) {
    let table = place.table();
    create(table, &full_row()).await;
    let counter = full_row().counter;
    assert!(!table.delete(&key(), counter).await.expect("a delete"), "it is not at SHARD_END");
    let change = Change { checkpoint: Some(Position::ShardEnd), ..renewal(&full_row()) };
    let write = LeaseWrite { key: key(), expect: Expect::counter(counter), change };
    let ended = write.change.apply(&full_row());
    assert_eq!(table.write(&write).await.expect("a write"), applied(&ended));
    for other in [counter, ended.counter.next(), LeaseCounter(0)] {
        assert!(!table.delete(&key(), other).await.expect("a delete"), "the counter is not {other}");
    }
    assert_eq!(only_row(table).await, ended);
    let neighbour = LeaseRow { key: LeaseKey::new("neighbour"), ..ended.clone() };
    create(table, &neighbour).await;
    assert!(table.delete(&key(), ended.counter).await.expect("a delete"));
    assert_eq!(only_row(table).await, neighbour, "no other row is touched");
    assert!(table.delete(&key(), ended.counter).await.expect("a delete"), "a row that is not there is gone");
    assert_eq!(table.create(&bare_row()).await.expect("a create"), CreateOutcome::Created, "its key is free again");
}

pub(super) async fn a_row_of_that_counter_is_removed_whatever_it_holds(place: &Place) {
    let table = place.table();
    create(table, &full_row()).await;
    let counter = full_row().counter;
    for other in [LeaseCounter(counter.0 - 1), counter.next(), LeaseCounter(0)] {
        assert!(!table.remove(&key(), other).await.expect("a removal"), "the counter is not {other}");
    }
    assert_eq!(only_row(table).await, full_row());
    let neighbour = LeaseRow { key: LeaseKey::new("neighbour"), ..full_row() };
    create(table, &neighbour).await;
    assert!(table.remove(&key(), counter).await.expect("a removal"));
    assert_eq!(only_row(table).await, neighbour, "no other row is touched");
    assert!(table.remove(&key(), counter).await.expect("a removal"), "a row that is not there is gone");
    let late = LeaseWrite { key: key(), expect: Expect::counter(counter), change: renewal(&full_row()) };
    let outcome = table.write(&late).await.expect("a write");
    assert_eq!(outcome, WriteOutcome::Conflict(None), "a write that comes late does not bring it back");
}

pub(super) async fn a_write_shows_what_others_left_without_the_counter(place: &Place) {
    let table = place.table();
    let row = LeaseRow { checkpoint_owner: None, wanted: None, children: [].into(), ..full_row() };
    create(table, &row).await;
    let (owner, wanted) = (row.owner.clone().expect("an owner"), WorkerId::new("host-e-4"));
    let want = LeaseWant { key: key(), owner, before: None, wanted: wanted.clone() };
    assert!(place.tables.last().expect("a handle").want(&want).await.expect("a wish"));
    let children = [ShardId::new("shardId-000000000008"), ShardId::new("shardId-000000000009")];
    place.stranger.name_children(&key(), &children).await;
    let before = LeaseRow { wanted: Some(wanted), children: children.into(), ..row.clone() };
    // The writer knows the row as it created it.
    let write = LeaseWrite { key: key(), expect: Expect::counter(row.counter), change: renewal(&row) };
    let outcome = table.write(&write).await.expect("a write");
    assert_eq!(outcome, applied(&write.change.apply(&before)), "wish and children come with the answer");
}
