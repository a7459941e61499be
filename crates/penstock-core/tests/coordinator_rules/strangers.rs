//! Rows that others write to: leaders of the KCL 3, processes under our own owner string, and whoever leaves a row half done,
//! unreadable or made anew.

use std::mem;
use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{
    Answer, CoordinatorSettings, Event, LossReason, Report, ShardRequest, StopReason, StreamIndex, WriteResult,
};
use penstock_core::ids::{LeaseCounter, WorkerId};
use penstock_core::lease::{Field, LeaseRow, Scan, UnreadableRow};
use penstock_core::position::Position;

const SECOND: Duration = Duration::from_secs(1);
const START: Position = Position::TrimHorizon;

fn java() -> WorkerId {
    WorkerId::new("java-2")
}

/// A leader of the KCL 3 begins to hand a lease of ours over: it leaves the counter alone.
fn handed_over_by_the_kcl(desk: &mut Desk) {
    let row = desk.row_mut(0);
    (row.owner, row.checkpoint_owner) = (Some(java()), Some(me()));
}

// === a leader of the KCL 3 ===

#[test]
fn a_lease_that_a_leader_of_the_kcl_3_hands_over_is_lost_at_the_next_write() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "one"));
    handed_over_by_the_kcl(&mut desk);
    let before = desk.row(0).clone();
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, Some("one"))));
    assert_eq!(desk.answers(held.token).last(), Some(&Answer::Lost));
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Taken)));
    assert_eq!(*desk.row(0), before, "nothing is committed any more");
    assert!(desk.reports().contains(&Report::Lost { key: key(0), reason: LossReason::Taken, to: Some(java()) }));
}

#[test]
fn a_handoff_of_the_kcl_3_that_stands_still_is_ended_by_a_take() {
    let (mut desk, held) = Desk::holding_one();
    handed_over_by_the_kcl(&mut desk);
    desk.run_for(4 * SECOND);
    assert!(desk.stopped(held.token).is_some());
    desk.run_for(5 * SECOND);
    assert_eq!(desk.coordinator.held(), 0, "its new owner has a failover time to come");
    desk.run_for(10 * SECOND);
    let row = desk.row(0);
    assert_eq!((&row.owner, &row.checkpoint_owner), (&Some(me()), &None));
    assert_eq!(row.owner_switches, 1);
    assert!(desk.started(0).is_some_and(|again| again.token != held.token));
}

#[test]
fn a_release_leaves_a_handoff_of_the_kcl_3_alone_and_ends_the_drain() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    handed_over_by_the_kcl(&mut desk);
    desk.handle(Event::ShardStopped { token: held.token });
    assert!(desk.drained());
    let row = desk.row(0);
    assert_eq!((&row.owner, &row.checkpoint_owner), (&Some(java()), &Some(me())));
}

// === a worker of the KCL beside us at a drain ===

/// A worker that holds the lease 0 and ends, beside `java` and `others`, who have one lease each.
fn leaving_beside_java(others: &[&str]) -> Desk {
    let mut desk = Desk::new(CoordinatorSettings { longest_linger: 10 * SECOND, ..settings() });
    desk.deaf = true;
    desk.put(row(0, &[], START));
    desk.put(LeaseRow { taken_by: None, ..owned(1, "java") });
    others.iter().zip(2..).for_each(|(other, number)| desk.put(owned(number, other)));
    desk.run_for(SECOND);
    assert_eq!(desk.coordinator.held(), 1);
    desk.handle(Event::DrainRequested);
    desk
}

#[test]
fn nothing_is_left_to_a_worker_of_the_kcl_which_would_not_look_for_it() {
    let desk = leaving_beside_java(&["other", "other"]);
    assert_eq!(desk.row(0).granted, Some(WorkerId::new("other")), "although it has more");
    let alone = leaving_beside_java(&[]);
    assert_eq!(
        (alone.stopped(alone.started(0).unwrap().token), &alone.row(0).granted),
        (Some(StopReason::Drain), &None)
    );
}

// === another process under our owner string ===

#[test]
fn what_another_process_under_our_owner_string_wrote_is_never_our_success() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "one"));
    // It took the lease as one that names it: the owner stays, and the counter is one more.
    desk.taken_by(0, me().as_str());
    desk.fates.push_back(Fate::Lost);
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, Some("one"))));
    desk.run_for(SECOND);
    assert_eq!(desk.answers(held.token).last(), Some(&Answer::Lost));
    assert_eq!(desk.row(0).checkpoint, START);
    assert!(desk.reports().contains(&Report::Lost { key: key(0), reason: LossReason::Changed, to: None }));
    // Taken anew, with the intent that is still to be settled.
    desk.run_for(6 * SECOND);
    let again = desk.started(0).unwrap();
    assert_ne!(again.token, held.token);
    assert!(again.row.intent.is_some());
}

#[test]
fn of_two_processes_with_one_owner_string_only_the_last_taker_writes() {
    let mut first = Desk::new(settings());
    first.shards = vec![shard(0, &[])];
    first.run_for(SECOND);
    let mut twin = Desk::new(settings());
    (twin.shards, twin.now) = (first.shards.clone(), first.now);
    let mut taker = 0;
    let mut takes = 0;
    for step in 0..600 {
        let desk = if step % 2 == 0 { &mut first } else { &mut twin };
        let mut counter = desk.table.get(&key(0)).map_or(LeaseCounter(0), |row| row.counter);
        let sent = desk.writes.len();
        desk.run_for(SECOND / 10);
        for (_, write) in desk.writes[sent..].iter().filter(|(_, write)| write.key == key(0)) {
            if write.expect.counter != counter {
                continue;
            }
            counter = write.change.counter;
            if matches!(write.change.owner, Field::Set(_)) {
                (taker, takes) = (step % 2, takes + 1);
            }
            assert_eq!(taker, step % 2, "step {step}: {write:?} after the other took the lease");
        }
        let table = mem::take(&mut desk.table);
        let other = if step % 2 == 0 { &mut twin } else { &mut first };
        other.table = table;
    }
    assert!(takes > 3, "they take it from each other: {takes}");
    let lost = Report::Lost { key: key(0), reason: LossReason::Changed, to: None };
    assert!([&first, &twin].iter().all(|desk| desk.reports().contains(&lost)));
}

// === rows half done, unreadable or made anew ===

#[test]
fn a_lease_that_somebody_took_first_is_not_held() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], START));
    desk.fates.push_back(Fate::Silent);
    desk.run_for(SECOND);
    let (id, take) = desk.writes[0].clone();
    desk.taken_by(0, "other");
    let scans = desk.scans;
    let result = WriteResult::Answered(desk.apply(&take));
    desk.handle(Event::LeaseWritten { id, result });
    desk.run_for(SECOND);
    assert_eq!((desk.coordinator.held(), desk.writes.len(), desk.started(0)), (0, 1, None));
    assert!(desk.scans > scans, "the table is looked at again");
}

#[test]
fn a_release_of_a_row_that_is_gone_makes_none() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    desk.table.clear();
    desk.handle(Event::ShardStopped { token: held.token });
    assert!(desk.drained() && desk.table.is_empty());
    assert!(desk.reports().contains(&Report::Lost { key: key(0), reason: LossReason::Deleted, to: None }));
}

#[test]
fn a_row_that_the_kcl_made_anew_is_not_written_as_the_one_before() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, None)));
    // Deleted, and made again by a KCL worker, whose counters begin at 0 and who came as far as we had.
    let from = Position::After(at(5));
    desk.put(LeaseRow { counter: LeaseCounter(0), stream_created: None, ..row(0, &[], from.clone()) });
    desk.request(held.token, ShardRequest::Commit(commit(from.clone(), 9, None)));
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Changed)));
    desk.run_for(6 * SECOND);
    let again = desk.started(0).unwrap();
    assert_eq!((&again.row.checkpoint, again.row.counter), (&from, LeaseCounter(1)));
}

#[test]
fn the_shard_of_a_row_that_cannot_be_read_is_left_alone_and_others_are_read() {
    let mut desk = Desk::new(settings());
    desk.blind = true;
    desk.put(row(1, &[], START));
    let problem = "leaseCounter is missing".to_owned();
    for _ in 0..100 {
        let unreadable = vec![UnreadableRow { key: key(0), problem: problem.clone() }];
        let scan = Some(Scan { rows: desk.table.values().cloned().collect(), unreadable });
        desk.handle(Event::LeasesScanned { started: desk.now.instant, scan });
        let shards = Some(vec![shard(0, &[]), shard(1, &[])]);
        desk.handle(Event::ShardsListed { stream: StreamIndex(0), shards });
        desk.run_for(SECOND);
    }
    assert!(desk.started(1).is_some() && desk.coordinator.held() == 1);
    assert!(desk.created.is_empty() && desk.writes_of(0).is_empty() && desk.gaps.is_empty());
    let told = Report::UnreadableRow { key: key(0), problem };
    assert_eq!(desk.reports().iter().filter(|report| **report == told).count(), 1);
}

#[test]
fn the_end_of_a_shard_that_was_left_halfway_is_completed_by_the_next_owner() {
    let mut desk = Desk::new(settings());
    // The owner before made one of two children, named both, and died.
    desk.put(LeaseRow { children: ids(&[1, 2]), ..row(0, &[], Position::After(at(5))) });
    desk.put(row(1, &[0], START));
    desk.shards = vec![closed(0, &[]), shard(1, &[0]), shard(2, &[0])];
    desk.run_for(SECOND);
    let held = desk.started(0).unwrap();
    assert_eq!(desk.started(1), None, "its parent has not ended");
    desk.request(held.token, ShardRequest::EndShard { children: vec![child(1, &[0]), child(2, &[0])] });
    desk.run_for(SECOND);
    assert_eq!(desk.row(0).checkpoint, Position::ShardEnd);
    assert!(desk.started(1).is_some() && desk.started(2).is_some());
    assert!(desk.row(1).counter.0 < 1_000, "the row that was there is the one that is taken");
}

#[test]
fn a_lease_lost_while_its_children_are_created_is_not_ended() {
    let (mut desk, held) = Desk::holding_one();
    desk.creates.push_back(false);
    desk.request(held.token, ShardRequest::EndShard { children: vec![child(1, &[0])] });
    desk.taken_by(0, "other");
    desk.run_for(9 * SECOND);
    assert_eq!(desk.answers(held.token), [Answer::Lost]);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Taken)));
    assert_eq!((&desk.row(0).checkpoint, desk.row(0).children.len()), (&START, 0));
}

#[test]
fn a_completed_row_stays_while_a_child_that_only_it_names_has_none() {
    let mut desk = Desk::new(settings());
    desk.put(LeaseRow { children: ids(&[1]), ..row(0, &[], Position::ShardEnd) });
    desk.put(row(2, &[], START));
    // The listing has lost the parent, and the child in it names none.
    desk.shards = vec![shard(1, &[]), shard(2, &[])];
    desk.creates.extend([false; 99]);
    desk.run_for(120 * SECOND);
    assert!(!desk.created.is_empty() && desk.table.contains_key(&key(0)));
    desk.creates.clear();
    desk.run_for(200 * SECOND);
    assert!(desk.table.contains_key(&key(1)) && !desk.table.contains_key(&key(0)));
}
