//! The drain: stop, settle, release, end.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{
    CoordinatorSettings, Event, LossReason, Report, ShardRequest, StopReason, WriteResult,
};
use penstock_core::ids::WorkerId;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_worker_that_holds_nothing_is_drained_at_once() {
    let mut desk = Desk::new(settings());
    desk.handle(Event::DrainRequested);
    assert!(desk.drained());
    assert_eq!(desk.coordinator.next_deadline(), None);
}

#[test]
fn a_drain_stops_settles_and_releases_each_shard() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Drain));
    assert!(!desk.drained() && desk.row(0).owner.is_some());
    let progress = settled(3, true);
    desk.handle(Event::ShardProgressed { token: held.token, progress });
    let intent = ShardRequest::Commit(commit(Position::After(at(3)), 5, None));
    desk.request(held.token, intent);
    desk.handle(Event::ShardStopped { token: held.token });
    assert!(desk.drained());
    assert_eq!((&desk.row(0).owner, &desk.row(0).checkpoint), (&None, &Position::After(at(5))));
    assert!(desk.reports().contains(&Report::Released { key: key(0), to: None }));
    let scans = desk.scans;
    desk.run_for(60 * SECOND);
    assert_eq!((desk.scans, desk.coordinator.held()), (scans, 0), "nothing is taken any more");
}

#[test]
fn leases_are_renewed_while_the_shards_settle() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    desk.run_for(30 * SECOND);
    assert_eq!(desk.coordinator.held(), 1);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Drain));
}

#[test]
fn a_lease_that_waits_for_parents_is_released_at_once() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.put(row(1, &[0], Position::TrimHorizon));
    desk.run_for(SECOND);
    assert_eq!(desk.coordinator.held(), 1);
    desk.handle(Event::DrainRequested);
    assert!(desk.drained());
    assert_eq!(desk.row(1).owner, None);
}

#[test]
fn a_release_of_unknown_outcome_is_sent_again_until_it_is_known() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    desk.fates.extend([Fate::AnswerLost, Fate::Lost]);
    desk.handle(Event::ShardStopped { token: held.token });
    assert!(!desk.drained());
    desk.run_for(2 * SECOND);
    assert!(desk.drained());
    let first = desk.writes[0].clone();
    assert_eq!(desk.writes, [first.clone(), first.clone(), first]);
}

#[test]
fn a_drain_ends_even_if_the_table_never_answers() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    desk.fates.extend([Fate::Lost; 100]);
    desk.handle(Event::ShardStopped { token: held.token });
    desk.run_for(20 * SECOND);
    assert!(desk.drained());
    let lost = Report::Lost { key: key(0), reason: LossReason::Expired, to: None };
    assert!(desk.reports().contains(&lost));
}

#[test]
fn a_take_that_succeeds_during_a_drain_is_given_back() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::TrimHorizon));
    desk.fates.push_back(Fate::Silent);
    desk.run_for(SECOND);
    let (id, take) = desk.writes[0].clone();
    desk.handle(Event::DrainRequested);
    assert!(!desk.drained());
    let result = WriteResult::Answered(desk.apply(&take));
    desk.handle(Event::LeaseWritten { id, result });
    assert!(desk.drained());
    assert_eq!((&desk.row(0).owner, desk.started(0)), (&None, None));
}

#[test]
fn a_shard_that_ends_during_a_drain_ends() {
    let (mut desk, held) = Desk::holding_one();
    desk.handle(Event::DrainRequested);
    desk.request(held.token, ShardRequest::EndShard { children: vec![child(1, &[0])] });
    assert_eq!(desk.row(0).checkpoint, Position::ShardEnd);
    assert!(desk.drained());
    assert_eq!(desk.row(1).owner, None);
}

/// A worker that holds what it took long ago, `lone` beside others that have `theirs`, and lingers when it ends.
fn beside_others(lone: &[u32], theirs: &[(u32, &str)]) -> Desk {
    let mut desk = Desk::new(CoordinatorSettings { longest_linger: 10 * SECOND, ..settings() });
    lone.iter().for_each(|number| desk.put(row(*number, &[], Position::TrimHorizon)));
    theirs.iter().for_each(|(number, owner)| desk.put(owned(*number, owner)));
    desk.deaf = true;
    desk.run_for(SECOND);
    assert_eq!(desk.coordinator.held(), lone.len());
    desk
}

#[test]
fn a_worker_that_ends_names_balanced_heirs_and_reads_on_until_they_know() {
    let mut desk = beside_others(&[0, 1], &[(5, "b"), (6, "c"), (7, "c"), (8, "c")]);
    let held = desk.started(0).unwrap();
    desk.handle(Event::DrainRequested);
    let granted: Vec<_> = (0..2).map(|number| desk.row(number).granted.clone().unwrap()).collect();
    let to_b = granted.iter().filter(|heir| heir.as_str() == "b").count();
    assert_eq!(to_b, 2, "three each in the end");
    assert_eq!((&desk.row(0).owner, desk.stopped(held.token)), (&Some(me()), None));
    desk.run_for(5 * SECOND);
    assert_eq!(desk.stopped(held.token), None, "a scan of theirs may take so long to come");
    desk.run_for(SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Drain));
    for number in 0..2 {
        let token = desk.started(number).unwrap().token;
        desk.handle(Event::ShardStopped { token });
        let row = desk.row(number);
        assert_eq!((&row.owner, &row.granted), (&None, &Some(granted[number as usize].clone())));
        assert!(row.left.is_some());
    }
    assert!(desk.drained());
}

#[test]
fn a_worker_that_is_seen_to_leave_is_no_heir() {
    let mut desk = beside_others(&[0], &[(5, "b"), (6, "c"), (7, "c")]);
    desk.row_mut(5).granted = Some(WorkerId::new("c"));
    desk.handle(Event::DrainRequested);
    assert_eq!(desk.row(0).granted, Some(WorkerId::new("c")), "a look at the table comes first");
}

#[test]
fn workers_that_all_leave_name_nobody_and_do_not_linger() {
    let mut desk = beside_others(&[0], &[(5, "b")]);
    let held = desk.started(0).unwrap();
    desk.handle(Event::DrainRequested);
    assert_eq!(desk.row(0).granted, Some(WorkerId::new("b")));
    // It ends as well, and names us.
    desk.row_mut(5).granted = Some(me());
    desk.row_mut(5).counter = desk.row(5).counter.next();
    desk.run_for(5 * SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Drain));
    desk.handle(Event::ShardStopped { token: held.token });
    assert_eq!((&desk.row(0).owner, &desk.row(0).granted), (&None, &None), "whoever comes takes it at once");
    assert!(desk.drained());
}

#[test]
fn what_is_given_to_a_worker_that_ends_is_passed_on() {
    let mut desk = beside_others(&[0], &[(5, "b")]);
    desk.handle(Event::DrainRequested);
    desk.put(owned(6, "me-01234567"));
    desk.run_for(5 * SECOND);
    assert_eq!((&desk.row(6).owner, &desk.row(6).granted), (&None, &Some(WorkerId::new("b"))));
    assert!(desk.started(6).is_none());
}

#[test]
fn a_worker_without_others_does_not_linger() {
    let mut desk = beside_others(&[0], &[]);
    let held = desk.started(0).unwrap();
    desk.handle(Event::DrainRequested);
    assert_eq!((desk.stopped(held.token), &desk.row(0).granted), (Some(StopReason::Drain), &None));
}

/// A worker that has six leases, beside `others`, each with so many of its own, and ends.
fn leaving_six(others: &[(&str, u32)], max_leases: Option<usize>) -> Desk {
    let settings = CoordinatorSettings { longest_linger: 6 * SECOND, max_leases, ..settings() };
    let mut desk = Desk::new(settings);
    desk.deaf = true;
    let mut next = 0;
    (0..6).for_each(|number| desk.put(LeaseRow { owner: Some(me()), ..owned(number, "former") }));
    for (other, count) in others {
        for number in 0..*count {
            desk.put(owned(10 + next + number, other));
        }
        next += count;
    }
    desk.shards = (0..6).chain(10..10 + next).map(|number| shard(number, &[])).collect();
    desk.run_for(4 * SECOND);
    desk
}

fn heirs(desk: &Desk, heir: &str) -> usize {
    (0..6).filter(|number| desk.row(*number).granted == Some(WorkerId::new(heir))).count()
}

#[test]
fn a_worker_that_holds_nothing_is_left_one_lease_at_the_most() {
    let mut desk = leaving_six(&[("other", 3)], None);
    desk.row_mut(2).wanted = Some(WorkerId::new("new"));
    desk.run_for(SECOND * 7 / 2);
    desk.handle(Event::DrainRequested);
    desk.run_for(4 * SECOND);
    assert_eq!((heirs(&desk, "new"), heirs(&desk, "other")), (1, 5));
}

#[test]
fn an_heir_is_left_no_more_than_it_may_hold_where_others_have_room() {
    let mut desk = leaving_six(&[("full", 8), ("other", 2)], Some(8));
    desk.handle(Event::DrainRequested);
    desk.run_for(4 * SECOND);
    assert_eq!((heirs(&desk, "full"), heirs(&desk, "other")), (0, 6));
}

#[test]
fn an_end_whose_children_cannot_be_created_does_not_keep_a_worker_from_ending() {
    let (mut desk, held) = Desk::holding_one();
    desk.creates.extend([false; 99]);
    desk.request(held.token, ShardRequest::EndShard { children: vec![child(1, &[0])] });
    desk.run_for(SECOND);
    desk.handle(Event::DrainRequested);
    assert!(!desk.drained());
    desk.handle(Event::ShardStopped { token: held.token });
    assert!(desk.drained());
    assert_eq!((&desk.row(0).owner, &desk.row(0).checkpoint), (&None, &Position::TrimHorizon));
}
