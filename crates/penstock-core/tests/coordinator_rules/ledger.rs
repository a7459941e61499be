//! What the gap ledger has to hold before a row is created, and before a shard is started.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{
    CoordinatorSettings, Event, GapReason, InitialPosition, ShardRequest, StreamSettings,
};
use penstock_core::gap::{GapEnd, GapEntry, GapRange};
use penstock_core::ids::{LeaseCounter, WorkerId};
use penstock_core::lease::{LeaseRow, Scan};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_vanished_row_waits_until_the_ledger_has_its_entry() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, ShardRequest::Commit(commit(Position::TrimHorizon, 3, None)));
    desk.ledger_full = true;
    desk.table.clear();
    desk.created.clear();
    desk.run_for(300 * SECOND);
    assert!(desk.created.is_empty());
    assert!((5..=20).contains(&desk.gaps.len()), "asked less and less often: {}", desk.gaps.len());
    desk.ledger_full = false;
    desk.run_for(40 * SECOND);
    let entry = desk.gaps.last().unwrap();
    let range = GapRange { after: Position::After(at(3)), end: GapEnd::Unknown };
    assert_eq!((entry.reason, &entry.range, &entry.lease), (GapReason::RowRecreated, &range, &key(0)));
    assert!(desk.gaps.iter().all(|other| other.id() == entry.id()));
    assert_eq!(desk.created.len(), 1);
    assert!(desk.started(0).is_some());
}

#[test]
fn a_row_that_came_back_by_itself_is_not_created() {
    let (mut desk, _) = Desk::holding_one();
    let row = desk.row(0).clone();
    desk.ledger_full = true;
    desk.table.clear();
    desk.created.clear();
    desk.run_for(40 * SECOND);
    assert!(!desk.gaps.is_empty());
    desk.put(row);
    desk.run_for(40 * SECOND);
    desk.ledger_full = false;
    desk.run_for(100 * SECOND);
    assert!(desk.created.is_empty());
}

#[test]
fn a_start_at_the_tip_or_at_a_time_is_noted_before_each_row_and_keeps_its_first_time() {
    let time = UnixMillis(1_650_000_000_000);
    for initial in [InitialPosition::Latest, InitialPosition::Timestamp(time)] {
        let mut desk = Desk::new(starting_at(initial));
        desk.shards = vec![shard(0, &[]), shard(1, &[])];
        let start = if initial == InitialPosition::Latest { desk.now.wall } else { time };
        desk.ledger_full = true;
        desk.run_for(50 * SECOND);
        assert!(desk.created.is_empty());
        desk.ledger_full = false;
        desk.run_for(40 * SECOND);
        for number in [0, 1] {
            assert_eq!(desk.row(number).start, Some(start));
            let entries: Vec<_> = desk.gaps.iter().filter(|entry| entry.lease == key(number)).collect();
            let range = GapRange { after: Position::TrimHorizon, end: GapEnd::Until(start) };
            assert!(entries.iter().all(|entry| (entry.reason, &entry.range) == (GapReason::StartedLate, &range)));
            assert!(!entries.is_empty() && !entries[0].is_open());
        }
    }
}

#[test]
fn a_start_at_the_oldest_record_needs_no_entry() {
    let (desk, _) = Desk::holding_one();
    assert_eq!(desk.gaps, []);
}

#[test]
fn nothing_is_created_any_more_by_a_worker_that_ends() {
    let (mut desk, held) = Desk::holding_one();
    desk.ledger_full = true;
    desk.table.clear();
    desk.created.clear();
    desk.run_for(40 * SECOND);
    let id = desk.gaps[0].id();
    desk.handle(Event::DrainRequested);
    desk.handle(Event::ShardStopped { token: held.token });
    desk.handle(Event::GapRecorded { id, stored: true });
    assert!(desk.drained() && desk.created.is_empty());
    assert_eq!(desk.coordinator.next_deadline(), None);
}

#[test]
fn an_entry_of_somebody_else_means_nothing_here() {
    let (mut desk, _) = Desk::holding_one();
    let mut other = Desk::new(starting_at(InitialPosition::Latest));
    other.shards = vec![shard(0, &[])];
    other.run_for(SECOND);
    let id = other.gaps[0].id();
    desk.created.clear();
    for stored in [true, false] {
        desk.handle(Event::GapRecorded { id, stored });
    }
    assert!(desk.created.is_empty());
}

// === Rows that others created again ===

/// The row as a leader of the KCL makes it: with a counter of its own, and nothing of ours.
fn remade(number: u32, checkpoint: Position) -> LeaseRow {
    LeaseRow { stream_created: None, counter: LeaseCounter(0), ..row(number, &[], checkpoint) }
}

/// A desk that knows of shard 0 at a position: another worker reads it.
fn knowing_one() -> Desk {
    let mut desk = Desk::new(settings());
    desk.shards = vec![shard(0, &[])];
    desk.put(LeaseRow { checkpoint: Position::After(at(3)), ..owned(0, "other") });
    desk.run_for(SECOND);
    assert!(desk.started(0).is_none() && desk.gaps.is_empty());
    desk
}

/// That a row is not the one that stood behind record 3.
fn is_recreated(entry: &GapEntry) -> bool {
    let range = GapRange { after: Position::After(at(3)), end: GapEnd::Unknown };
    (entry.reason, &entry.range, &entry.lease) == (GapReason::RowRecreated, &range, &key(0)) && entry.is_open()
}

#[test]
fn a_row_that_somebody_else_created_again_is_started_once_the_ledger_says_so() {
    let mut desk = knowing_one();
    desk.mute = true;
    desk.table.clear();
    desk.run_for(6 * SECOND);
    desk.put(remade(0, Position::TrimHorizon));
    desk.ledger_full = true;
    desk.run_for(60 * SECOND);
    assert!(desk.row(0).owner == Some(me()) && desk.created.is_empty());
    assert!(desk.writes_of(0).len() > 10, "it is held and renewed meanwhile");
    assert!(desk.started(0).is_none() && desk.gaps.iter().all(is_recreated));
    let status = &desk.coordinator.statuses()[0];
    assert!(status.waits_for_ledger && !status.waits_for_parents && status.held);
    desk.ledger_full = false;
    desk.run_for(40 * SECOND);
    assert!(desk.started(0).is_some() && !desk.coordinator.statuses()[0].waits_for_ledger);
    assert!(desk.gaps.iter().all(|entry| entry.id() == desk.gaps[0].id()));
}

#[test]
fn a_row_that_was_created_again_between_two_looks_is_told_too() {
    // As the KCL makes it; the same after it was written more often than the one before, or after it was read beyond that.
    for (counter, checkpoint) in
        [(0, Position::TrimHorizon), (5_000, Position::TrimHorizon), (9, Position::After(at(7)))]
    {
        let mut desk = knowing_one();
        desk.put(LeaseRow { counter: LeaseCounter(counter), ..remade(0, checkpoint) });
        desk.ledger_full = true;
        desk.run_for(60 * SECOND);
        assert!(desk.row(0).owner == Some(me()) && desk.started(0).is_none());
        desk.ledger_full = false;
        desk.run_for(40 * SECOND);
        assert!(desk.started(0).is_some() && !desk.gaps.is_empty() && desk.gaps.iter().all(is_recreated));
    }
}

#[test]
fn whoever_reads_a_row_that_was_created_again_it_is_told() {
    let mut desk = knowing_one();
    desk.put(LeaseRow { owner: Some(WorkerId::new("other")), ..remade(0, Position::TrimHorizon) });
    for _ in 0..10 {
        desk.run_for(3 * SECOND);
        desk.row_mut(0).counter = desk.row(0).counter.next();
    }
    assert!(desk.gaps.len() == 1 && is_recreated(&desk.gaps[0]));
    assert!(desk.started(0).is_none());
}

#[test]
fn what_workers_and_tools_write_makes_no_other_row() {
    let mut desk = knowing_one();
    // A tool sets the position back; the KCL writes what it knows; somebody adds what we do not know.
    let changes: [fn(&mut LeaseRow); 3] = [
        |row| row.checkpoint = Position::TrimHorizon,
        |row| row.owner = Some(WorkerId::new("java")),
        |row| row.unknown = Some([7; 32]),
    ];
    for change in changes {
        change(desk.row_mut(0));
        desk.row_mut(0).counter = desk.row(0).counter.next();
        desk.run_for(6 * SECOND);
    }
    desk.run_for(30 * SECOND);
    assert!(desk.started(0).is_some() && desk.gaps.is_empty());
}

#[test]
fn a_row_that_we_created_again_is_told_once() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, ShardRequest::Commit(commit(Position::TrimHorizon, 3, None)));
    desk.table.clear();
    desk.run_for(100 * SECOND);
    assert!(desk.created.len() == 2 && desk.started(0).is_some());
    assert!(desk.gaps.len() == 1 && is_recreated(&desk.gaps[0]));
    desk.table.clear();
    desk.run_for(100 * SECOND);
    assert_eq!((desk.created.len(), desk.gaps.len()), (3, 2), "that it vanished again is another thing");
}

// === Rows that vanish ===

#[test]
fn that_a_held_row_vanished_is_told_at_once() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, ShardRequest::Commit(commit(Position::TrimHorizon, 3, None)));
    desk.mute = true;
    desk.created.clear();
    desk.table.clear();
    desk.run_for(4 * SECOND);
    assert!(desk.gaps.len() == 1 && is_recreated(&desk.gaps[0]));
    assert!(desk.created.is_empty(), "nobody has listed the shards yet");
}

#[test]
fn a_row_of_somebody_else_that_vanished_is_told_once_its_shard_is_seen_to_be_there() {
    let mut desk = knowing_one();
    desk.shards.push(shard(1, &[]));
    // Another worker leads.
    desk.put(owned(1, "a"));
    let alive = |desk: &mut Desk| {
        desk.row_mut(1).counter = desk.row(1).counter.next();
        desk.run_for(3 * SECOND);
    };
    alive(&mut desk);
    alive(&mut desk);
    desk.table.remove(&key(0));
    desk.mute = true;
    (0..3).for_each(|_| alive(&mut desk));
    assert!(desk.gaps.is_empty() && !desk.unheard.is_empty(), "it may have been deleted in order");
    desk.mute = false;
    for answer in std::mem::take(&mut desk.unheard) {
        desk.handle(answer);
    }
    (0..3).for_each(|_| alive(&mut desk));
    assert!(desk.gaps.len() == 1 && is_recreated(&desk.gaps[0]));
    assert!(desk.created.is_empty(), "that is left to who leads");
}

#[test]
fn a_row_that_is_of_no_more_use_is_deleted_without_a_word() {
    // A child of it has settled something; or it was known to be at the end.
    for case in 0..2 {
        let mut desk = knowing_one();
        match case {
            0 => {
                desk.shards = vec![closed(0, &[]), shard(1, &[0])];
                let child = row(1, &[0], Position::After(at(9)));
                desk.put(LeaseRow { owner: Some(WorkerId::new("other")), ..child });
            }
            _ => {
                // Whoever leads would make it again, and tell.
                desk.shards = vec![closed(0, &[]), shard(1, &[])];
                desk.put(owned(1, "a"));
                desk.row_mut(0).checkpoint = Position::ShardEnd;
                desk.run_for(6 * SECOND);
                desk.row_mut(1).counter = desk.row(1).counter.next();
            }
        }
        desk.table.remove(&key(0));
        desk.run_for(8 * SECOND);
        assert_eq!(desk.gaps, [], "case {case}");
    }
}

#[test]
fn a_row_that_a_take_does_not_meet_is_not_the_one_that_is_there_next() {
    let mut desk = Desk::new(settings());
    desk.shards = vec![shard(0, &[])];
    desk.blind = true;
    let seen = LeaseRow { checkpoint: Position::After(at(3)), ..row(0, &[], Position::TrimHorizon) };
    let scan = Scan { rows: vec![seen.clone()], unreadable: Vec::new() };
    desk.handle(Event::LeasesScanned { started: desk.now.instant, scan: Some(scan) });
    assert_eq!(desk.writes_of(0).len(), 1, "a take, which meets no row");
    // Made again at once, by a counter that is hardly another.
    desk.put(LeaseRow { counter: LeaseCounter(seen.counter.0 + 5), checkpoint: Position::TrimHorizon, ..seen });
    desk.blind = false;
    desk.run_for(20 * SECOND);
    assert!(desk.started(0).is_some());
    assert!(desk.gaps.iter().any(is_recreated), "{:?}", desk.gaps);
}

#[test]
fn a_row_that_goes_unread_with_its_expired_shard_is_told() {
    let mut desk = knowing_one();
    desk.shards = vec![shard(1, &[])];
    desk.table.remove(&key(0));
    desk.run_for(8 * SECOND);
    assert!(desk.gaps.len() == 1 && is_recreated(&desk.gaps[0]), "what was not read of it is gone: {:?}", desk.gaps);
}

#[test]
fn nothing_is_told_of_a_stream_that_was_created_again() {
    let mut desk = knowing_one();
    desk.put(LeaseRow { stream_created: Some(UnixMillis(5)), ..row(1, &[], Position::TrimHorizon) });
    desk.table.remove(&key(0));
    desk.run_for(60 * SECOND);
    assert_eq!(desk.gaps, []);
}

// === Late starts of rows that others made ===

/// A desk at which a lease of the KCL without a position is taken.
fn adopting(initial: InitialPosition, checkpoint: Position, ledger_full: bool) -> Desk {
    let mut desk = Desk::new(CoordinatorSettings {
        streams: vec![StreamSettings { initial_position: initial, ..stream(initial) }],
        ..settings()
    });
    desk.shards = vec![shard(0, &[])];
    desk.put(remade(0, checkpoint));
    desk.ledger_full = ledger_full;
    desk.run_for(60 * SECOND);
    assert_eq!(desk.row(0).owner, Some(me()));
    desk
}

#[test]
fn a_row_of_the_kcl_at_the_tip_or_at_a_time_is_noted_before_its_shard_starts() {
    let time = UnixMillis(1_650_000_000_000);
    let (tip, at_time) = (InitialPosition::Latest, InitialPosition::Timestamp(time));
    for (initial, checkpoint) in [(tip, Position::Latest), (at_time, Position::AtTimestamp)] {
        let mut desk = adopting(initial, checkpoint, true);
        let start = desk.row(0).start.unwrap();
        assert!(start.0 > 0 && desk.started(0).is_none());
        desk.ledger_full = false;
        desk.run_for(40 * SECOND);
        assert!(desk.started(0).is_some());
        let range = GapRange { after: Position::TrimHorizon, end: GapEnd::Until(start) };
        let noted = |entry: &GapEntry| (entry.reason, &entry.range) == (GapReason::StartedLate, &range);
        assert!(!desk.gaps.is_empty() && desk.gaps.iter().all(noted));
    }
}

#[test]
fn who_begins_at_the_oldest_record_for_want_of_a_time_leaves_nothing_out() {
    let desk = adopting(InitialPosition::TrimHorizon, Position::AtTimestamp, true);
    assert!(desk.row(0).start == Some(UnixMillis(0)) && desk.started(0).is_some());
    assert_eq!(desk.gaps, []);
}

#[test]
fn a_late_start_is_noted_by_whoever_starts_the_shard_and_by_each_once() {
    let mut desk = Desk::new(starting_at(InitialPosition::Latest));
    desk.shards = vec![shard(0, &[])];
    desk.run_for(SECOND);
    assert_eq!(desk.gaps.len(), 1, "before the row");
    let held = desk.started(0).unwrap();
    desk.taken_by(0, "other");
    desk.run_for(30 * SECOND);
    assert!(desk.stopped(held.token).is_some() && desk.started(0).unwrap().token != held.token);
    assert_eq!(desk.gaps.len(), 1);
    // Another worker cannot know that whoever pinned the start lived long enough.
    let mut other = Desk::new(starting_at(InitialPosition::Latest));
    other.put(LeaseRow { owner: None, ..desk.row(0).clone() });
    other.run_for(SECOND);
    assert!(other.started(0).is_some() && other.gaps.len() == 1);
    assert_eq!(other.gaps[0].id(), desk.gaps[0].id());
}

#[test]
fn a_lease_that_is_lost_or_released_waits_for_nothing() {
    let mut desk = adopting(InitialPosition::Latest, Position::Latest, true);
    desk.taken_by(0, "other");
    desk.run_for(5 * SECOND);
    let asked = desk.gaps.len();
    for _ in 0..30 {
        desk.row_mut(0).counter = desk.row(0).counter.next();
        desk.run_for(3 * SECOND);
    }
    assert!(desk.gaps.len() == asked && desk.started(0).is_none());
    desk.handle(Event::GapRecorded { id: desk.gaps[0].id(), stored: true });
    assert!(desk.started(0).is_none());

    let mut desk = adopting(InitialPosition::Latest, Position::Latest, true);
    desk.handle(Event::DrainRequested);
    assert!(desk.row(0).owner.is_none() && desk.drained());
}

#[test]
fn a_row_of_somebody_else_that_vanished_is_created_again_once_the_ledger_says_so() {
    let mut desk = knowing_one();
    desk.ledger_full = true;
    desk.table.clear();
    desk.run_for(60 * SECOND);
    assert!(desk.created.is_empty() && !desk.gaps.is_empty() && desk.gaps.iter().all(is_recreated));
    desk.ledger_full = false;
    desk.run_for(40 * SECOND);
    assert!(desk.created.len() == 1 && desk.started(0).is_some());
}

#[test]
fn a_completed_row_that_has_to_be_created_again_is_told_before() {
    let mut desk = knowing_one();
    desk.row_mut(0).checkpoint = Position::ShardEnd;
    desk.shards = vec![closed(0, &[])];
    desk.run_for(6 * SECOND);
    desk.ledger_full = true;
    desk.table.clear();
    desk.run_for(60 * SECOND);
    assert!(desk.created.is_empty());
    let after = |entry: &GapEntry| entry.range.after == Position::ShardEnd;
    assert!(!desk.gaps.is_empty() && desk.gaps.iter().all(after));
    desk.ledger_full = false;
    desk.run_for(40 * SECOND);
    assert!(desk.created.len() == 1 && desk.started(0).is_some());
}

#[test]
fn a_listing_that_was_begun_before_a_row_was_missed_says_nothing_of_it() {
    let mut desk = knowing_one();
    // Who has nothing does not lead.
    desk.shards.push(shard(1, &[]));
    desk.put(row(1, &[], Position::TrimHorizon));
    desk.mute = true;
    for _ in 0..15 {
        desk.row_mut(0).counter = desk.row(0).counter.next();
        desk.run_for(3 * SECOND);
    }
    assert_eq!(desk.unheard.len(), 1);
    desk.table.remove(&key(0));
    desk.run_for(6 * SECOND);
    let answer = desk.unheard.remove(0);
    desk.handle(answer);
    assert!(desk.gaps.is_empty() && desk.created.is_empty());
    desk.mute = false;
    for answer in std::mem::take(&mut desk.unheard) {
        desk.handle(answer);
    }
    desk.run_for(10 * SECOND);
    assert!(desk.gaps.len() == 1 && desk.created.len() == 1);
}
