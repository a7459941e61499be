//! Leases that move by request: the asker's side, the holder's side, and force where there is no answer.

use std::time::Duration;

use crate::desk::*;
use bytes::Bytes;
use penstock_core::coordinator::api::{
    Answer, Event, HeldLease, LossReason, Report, ShardRequest, Silence, StopReason, WriteResult,
};
use penstock_core::ids::WorkerId;
use penstock_core::lease::{Field, LeaseRow};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);
const START: Position = Position::TrimHorizon;

fn other() -> WorkerId {
    WorkerId::new("other")
}

/// A worker without leases, and another one that has two and lives.
fn asking() -> Desk {
    let mut desk = Desk::new(settings());
    (0..2).for_each(|number| desk.put(owned(number, "other")));
    desk.shards = (0..2).map(|number| shard(number, &[])).collect();
    desk.run_for(Duration::from_millis(10));
    desk
}

/// Lets time pass in which the other worker renews what it has.
fn run_beside_others(desk: &mut Desk, seconds: u32) {
    for tenth in 0..seconds * 10 {
        for row in desk.table.values_mut().filter(|row| row.owner == Some(other()) && tenth % 30 == 0) {
            row.counter = row.counter.next();
        }
        desk.run_for(SECOND / 10);
    }
}

fn wished(desk: &Desk) -> u32 {
    let wished = (0..2).find(|number| desk.row(*number).wanted == Some(me()));
    wished.expect("one is asked for")
}

/// A desk whose only lease may move, since it was taken long ago, and is asked for by another worker.
fn asked_for() -> (Desk, HeldLease) {
    let (mut desk, held) = Desk::holding_one();
    desk.run_for(25 * SECOND);
    desk.row_mut(0).wanted = Some(other());
    desk.writes.clear();
    (desk, held)
}

#[test]
fn a_live_lease_is_asked_for_and_its_counter_left_alone() {
    let desk = asking();
    assert_eq!((desk.coordinator.held(), desk.wants.len(), desk.writes.len()), (0, 1, 0));
    let row = desk.row(wished(&desk));
    assert_eq!((&row.owner, row.counter.0), (&Some(other()), 100));
    assert_eq!(desk.reports(), [Report::Wanted { key: row.key.clone(), of: other() }]);
}

#[test]
fn what_is_handed_over_is_read_within_the_second() {
    let mut desk = asking();
    let wished = wished(&desk);
    run_beside_others(&mut desk, 4);
    let left = Some(UnixMillis(7));
    let row = desk.row_mut(wished);
    *row = LeaseRow { owner: Some(me()), wanted: None, left, counter: row.counter.next(), ..row.clone() };
    run_beside_others(&mut desk, 1);
    let held = desk.started(wished).expect("started");
    assert_eq!(held.silent_since, Some(Silence::Left(UnixMillis(7))));
    assert_eq!((&desk.row(wished).left, desk.row(wished).owner_switches), (&None, 0));
    assert_eq!(desk.wants.len(), 1, "balanced");
}

#[test]
fn a_holder_that_does_not_answer_within_two_renewals_is_not_waited_for() {
    let mut desk = asking();
    let wished = wished(&desk);
    run_beside_others(&mut desk, 6);
    assert_eq!(desk.writes.len(), 0);
    run_beside_others(&mut desk, 2);
    let held = desk.started(wished).expect("taken by force");
    assert!(matches!(held.silent_since, Some(Silence::Unheard(_))));
    assert_eq!(desk.row(wished).wanted, None);
    let taken = Report::Taken { key: key(wished), from: Some(other()), stolen: true };
    assert!(desk.reports().contains(&taken));
    run_beside_others(&mut desk, 60);
    assert_eq!((desk.coordinator.held(), desk.wants.len()), (1, 1));
}

#[test]
fn a_holder_that_has_said_yes_is_waited_for_as_long_as_it_lives() {
    let mut desk = asking();
    let wished = wished(&desk);
    desk.row_mut(wished).granted = Some(me());
    run_beside_others(&mut desk, 120);
    assert_eq!((desk.writes.len(), desk.wants.len()), (0, 1));
    desk.run_for(16 * SECOND);
    assert!(desk.started(wished).is_some(), "it died");
}

#[test]
fn a_lease_that_was_refused_is_not_forced_and_not_asked_for_again_for_a_while() {
    let mut desk = asking();
    for _ in 0..2 {
        let wished = wished(&desk);
        desk.row_mut(wished).wanted = None;
        run_beside_others(&mut desk, 6);
    }
    assert_eq!(desk.wants.len(), 2, "the other one was asked for instead");
    assert_ne!(desk.wants[0].key, desk.wants[1].key);
    run_beside_others(&mut desk, 7);
    assert_eq!((desk.wants.len(), desk.writes.len()), (2, 0));
    run_beside_others(&mut desk, 12);
    assert_eq!(desk.wants[2].key, desk.wants[0].key);
}

#[test]
fn a_wish_that_a_late_call_set_again_is_not_forced_as_if_it_had_stood_all_the_time() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.put(LeaseRow { checkpoint_owner: Some(other()), ..owned(1, "other") });
    desk.deaf = true;
    run_beside_others(&mut desk, 1);
    desk.deaf = false;
    run_beside_others(&mut desk, 10);
    assert_eq!((desk.wants.len(), &desk.wants[0]), (2, &desk.wants[1]), "asked for again, and heard");
    let wished = wished(&desk);
    // Refused, and asked for by the first call, while no scan tells of it.
    desk.blind = true;
    run_beside_others(&mut desk, 5);
    desk.row_mut(wished).wanted = None;
    run_beside_others(&mut desk, 2);
    desk.row_mut(wished).wanted = Some(me());
    desk.blind = false;
    run_beside_others(&mut desk, 6);
    assert!(desk.writes.is_empty());
    run_beside_others(&mut desk, 40);
    assert!(desk.started(wished).is_some(), "once no call can be late any more");
}

#[test]
fn a_holder_that_has_not_written_since_it_was_asked_is_waited_for() {
    let mut desk = asking();
    let wished = wished(&desk);
    desk.run_for(9 * SECOND);
    assert!(desk.writes.is_empty());
    let row = desk.row_mut(wished);
    row.counter = row.counter.next();
    desk.run_for(SECOND);
    assert!(desk.started(wished).is_some());
}

#[test]
fn what_stands_beside_a_foreign_owner_was_granted_by_somebody_before() {
    let mut desk = asking();
    let wished = wished(&desk);
    desk.row_mut(wished).granted = Some(me());
    run_beside_others(&mut desk, 2);
    // A worker of the KCL steals it and keeps what it does not know.
    let java = |desk: &mut Desk, seconds| {
        for _ in 0..seconds {
            let row = desk.row_mut(wished);
            (row.owner, row.counter) = (Some(WorkerId::new("java")), row.counter.next());
            run_beside_others(desk, 1);
        }
    };
    java(&mut desk, 19);
    assert!(desk.writes.is_empty(), "it has just changed hands");
    java(&mut desk, 15);
    assert!(desk.started(wished).is_some(), "a wish that nobody answers");
    assert_eq!((&desk.row(wished).wanted, &desk.row(wished).granted), (&None, &None));
}

#[test]
fn a_wish_that_was_withdrawn_is_not_fulfilled() {
    let (mut desk, held) = asked_for();
    desk.run_for(4 * SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::HandOver));
    // The asker ends, and a scan or a write of ours shows it.
    desk.row_mut(0).wanted = Some(me());
    desk.run_for(6 * SECOND);
    let scans = desk.scans;
    desk.handle(Event::ShardStopped { token: held.token });
    assert!(desk.reports().contains(&Report::Released { key: key(0), to: None }));
    assert_eq!((&desk.row(0).wanted, &desk.row(0).granted), (&None, &None));
    assert!(desk.scans > scans, "it is there to be taken");
    assert_eq!(desk.row(0).owner, Some(me()));
}

#[test]
fn a_lease_that_was_given_away_is_looked_after_for_a_moment() {
    let (mut desk, held) = asked_for();
    desk.run_for(4 * SECOND);
    desk.handle(Event::ShardStopped { token: held.token });
    assert_eq!(desk.row(0).owner, Some(other()));
    // The asker had withdrawn its wish too late, and passes the lease on.
    let row = desk.row_mut(0);
    (row.owner, row.granted, row.left) = (None, Some(me()), Some(UnixMillis(7)));
    row.counter = row.counter.next();
    desk.run_for(SECOND);
    assert!(desk.started(0).is_some_and(|again| again.token != held.token));
}

#[test]
fn a_take_by_force_follows_a_row_that_moves_three_times_and_no_further() {
    let mut desk = asking();
    let wished = wished(&desk);
    desk.fates.extend([Fate::Silent; 9]);
    run_beside_others(&mut desk, 8);
    for tries in 1..=3 {
        assert_eq!(desk.writes.len(), tries);
        let (id, take) = desk.writes[tries - 1].clone();
        assert_eq!(take.expect.counter, desk.row(wished).counter);
        desk.row_mut(wished).counter = take.expect.counter.next();
        let result = WriteResult::Answered(desk.apply(&take));
        desk.handle(Event::LeaseWritten { id, result });
    }
    assert_eq!((desk.writes.len(), desk.coordinator.held()), (3, 0));
    run_beside_others(&mut desk, 6);
    assert_eq!(desk.writes.len(), 3, "and then the holder has time again");
}

#[test]
fn a_take_by_force_is_given_up_if_the_row_makes_no_case_for_it() {
    let answers: [fn(&mut LeaseRow); 4] = [
        |row| row.owner = Some(WorkerId::new("third")),
        |row| row.granted = Some(me()),
        |row| row.wanted = None,
        |row| row.checkpoint = Position::ShardEnd,
    ];
    for answer in answers {
        let mut desk = asking();
        let wished = wished(&desk);
        desk.fates.extend([Fate::Silent; 9]);
        run_beside_others(&mut desk, 8);
        let (id, take) = desk.writes[0].clone();
        let row = desk.row_mut(wished);
        row.counter = row.counter.next();
        answer(row);
        let result = WriteResult::Answered(desk.apply(&take));
        desk.handle(Event::LeaseWritten { id, result });
        assert_eq!((desk.writes.len(), desk.coordinator.held()), (1, 0));
    }
}

#[test]
fn a_wish_that_stands_unknown_to_us_is_ours() {
    let mut desk = asking();
    let wished = wished(&desk);
    desk.deaf = true;
    let mut desk = Desk { coordinator: Desk::new(settings()).coordinator, ..desk };
    desk.row_mut(1 - wished).wanted = Some(WorkerId::new("third"));
    run_beside_others(&mut desk, 12);
    assert!(desk.started(wished).is_some(), "taken by force in the end");
}

#[test]
fn a_wish_whose_call_fails_is_sent_again() {
    let mut desk = Desk::new(settings());
    desk.deaf = true;
    (0..2).for_each(|number| desk.put(owned(number, "other")));
    run_beside_others(&mut desk, 20);
    assert!((3..=6).contains(&desk.wants.len()), "{}", desk.wants.len());
    assert!(desk.writes.is_empty());
}

#[test]
fn a_lease_that_has_just_changed_hands_is_not_asked_for() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "third"));
    desk.put(owned(1, "other"));
    desk.put(owned(2, "other"));
    desk.put(owned(3, "other"));
    desk.deaf = true;
    desk.run_for(Duration::from_millis(10));
    desk.wants.clear();
    for number in 1..4 {
        desk.taken_by(number, "fourth");
    }
    for _ in 0..6 {
        (0..4).for_each(|number| desk.row_mut(number).counter = desk.row(number).counter.next());
        desk.run_for(3 * SECOND);
    }
    assert!(desk.wants.is_empty());
    for _ in 0..4 {
        (0..4).for_each(|number| desk.row_mut(number).counter = desk.row(number).counter.next());
        desk.run_for(3 * SECOND);
    }
    assert!(!desk.wants.is_empty());
}

#[test]
fn a_wish_is_granted_and_the_shard_handed_over_once_it_has_settled() {
    let (mut desk, held) = asked_for();
    desk.run_for(4 * SECOND);
    assert_eq!(desk.row(0).granted, Some(other()));
    assert_eq!(desk.stopped(held.token), Some(StopReason::HandOver));
    let left = desk.now.wall;
    desk.run_for(30 * SECOND);
    assert_eq!(desk.row(0).owner, Some(me()), "it is renewed until it has settled");
    desk.handle(Event::ShardProgressed { token: held.token, progress: settled(9, false) });
    let counter = desk.row(0).counter;
    desk.handle(Event::ShardStopped { token: held.token });
    let row = desk.row(0);
    assert_eq!((&row.owner, &row.taken_by, row.counter), (&Some(other()), &Some(other()), counter.next()));
    assert_eq!((&row.wanted, &row.granted, row.owner_switches), (&None, &None, 1));
    assert!(row.left.is_some_and(|time| time <= left && time.0 > left.0 - 4_000));
    assert_eq!(row.checkpoint, Position::After(at(9)));
    assert!(desk.reports().contains(&Report::Released { key: key(0), to: Some(other()) }));
    let (_, assign) = desk.writes.last().unwrap();
    assert_eq!((assign.expect.counter, &assign.expect.owner), (counter, &Some(Some(me()))));
    assert_eq!(desk.coordinator.held(), 0);
}

#[test]
fn a_wish_is_answered_with_any_write() {
    let (mut desk, held) = asked_for();
    desk.request(held.token, intend(START, "one"));
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, Some("one"))));
    assert_eq!(desk.row(0).granted, Some(other()));
    assert_eq!(desk.stopped(held.token), Some(StopReason::HandOver));
}

#[test]
fn an_open_intent_is_settled_before_the_lease_is_handed_over() {
    let (mut desk, held) = asked_for();
    desk.request(held.token, intend(START, "one"));
    desk.run_for(SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::HandOver));
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, Some("one"))));
    desk.handle(Event::ShardStopped { token: held.token });
    let row = desk.row(0);
    assert_eq!((&row.owner, &row.checkpoint, &row.intent), (&Some(other()), &Position::After(at(5)), &None));
}

#[test]
fn a_lease_that_has_just_changed_hands_is_not_given_away() {
    let (mut desk, held) = Desk::handed_one();
    desk.row_mut(0).wanted = Some(other());
    desk.run_for(4 * SECOND);
    assert_eq!((&desk.row(0).wanted, &desk.row(0).granted), (&None, &None));
    desk.run_for(40 * SECOND);
    assert_eq!((desk.coordinator.held(), desk.stopped(held.token)), (1, None));
}

#[test]
fn a_lease_that_nobody_had_before_is_given_away_at_once() {
    let (mut desk, held) = Desk::holding_one();
    desk.row_mut(0).wanted = Some(other());
    desk.run_for(4 * SECOND);
    assert_eq!(desk.row(0).granted, Some(other()));
    assert_eq!(desk.stopped(held.token), Some(StopReason::HandOver));
}

#[test]
fn a_shard_that_ends_is_not_given_away() {
    let (mut desk, held) = asked_for();
    desk.creates.extend([false; 20]);
    desk.request(held.token, ShardRequest::EndShard { children: vec![child(1, &[0])] });
    desk.run_for(4 * SECOND);
    assert_eq!((&desk.row(0).wanted, &desk.row(0).granted), (&None, &None));
    desk.run_for(30 * SECOND);
    assert_eq!(desk.row(0).checkpoint, Position::ShardEnd);
}

#[test]
fn a_shard_that_waits_for_its_parents_is_handed_over_at_once() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.put(row(1, &[0], START));
    run_beside_others(&mut desk, 25);
    assert_eq!(desk.coordinator.held(), 1);
    desk.row_mut(1).wanted = Some(other());
    run_beside_others(&mut desk, 4);
    let row = desk.row(1);
    assert_eq!((&row.owner, row.left, desk.coordinator.held()), (&Some(other()), None, 0));
}

#[test]
fn a_lease_whose_next_owner_dies_expires_like_any_other() {
    let (mut desk, held) = asked_for();
    desk.run_for(4 * SECOND);
    desk.handle(Event::ShardStopped { token: held.token });
    assert_eq!(desk.row(0).owner, Some(other()));
    desk.run_for(11 * SECOND);
    assert!(desk.started(0).is_some_and(|again| again.token != held.token));
}

#[test]
fn a_wish_and_what_the_kcl_adds_do_not_hide_our_own_success() {
    type Addition = fn(&mut LeaseRow);
    let additions: [(Addition, bool); 4] = [
        (|row| row.wanted = Some(other()), true),
        (|row| row.hash_range = Some(range(5)), true),
        (|row| row.children = ids(&[1, 2]), true),
        (|row| row.lag = Some(77), false),
    ];
    for (add, survives) in additions {
        let (mut desk, held) = Desk::handed_one();
        desk.row_mut(0).hash_range = None;
        desk.run_for(4 * SECOND);
        desk.fates.push_back(Fate::AnswerLost);
        desk.request(held.token, intend(START, "one"));
        add(desk.row_mut(0));
        desk.run_for(SECOND);
        let lost = (!survives).then_some(StopReason::Lost(LossReason::Changed));
        assert_eq!(desk.stopped(held.token), lost);
        assert_eq!(desk.row(0).intent, Some(Bytes::from_static(b"one")));
        let answer = if survives { Answer::Done { checkpoint: START } } else { Answer::Lost };
        assert_eq!(desk.answers(held.token), [answer]);
    }
}

#[test]
fn an_assignment_of_unknown_outcome_is_sent_again_until_it_is_known() {
    let (mut desk, held) = asked_for();
    desk.run_for(4 * SECOND);
    desk.fates.extend([Fate::AnswerLost, Fate::Lost]);
    desk.writes.clear();
    desk.handle(Event::ShardStopped { token: held.token });
    desk.run_for(2 * SECOND);
    let first = desk.writes[0].clone();
    assert_eq!(desk.writes, [first.clone(), first.clone(), first]);
    assert!(desk.reports().contains(&Report::Released { key: key(0), to: Some(other()) }));
}

#[test]
fn a_take_says_who_took_and_leaves_nothing_of_the_handover() {
    let mut desk = Desk::new(settings());
    let (wanted, granted, left) = (Some(other()), Some(me()), Some(UnixMillis(3)));
    desk.put(LeaseRow { wanted, granted, left, ..row(0, &[], START) });
    desk.run_for(SECOND);
    let (_, take) = &desk.writes[0];
    assert_eq!((&take.change.granted, &take.change.left), (&Field::Remove, &Field::Remove));
    let row = desk.row(0);
    assert_eq!((&row.wanted, &row.granted, row.left, &row.taken_by), (&None, &None, None, &Some(me())));
}
