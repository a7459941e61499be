//! Held leases: renewals, requests, lost replies, losses, and the fence around each tenure.

use std::time::Duration;

use crate::desk::*;
use bytes::Bytes;
use penstock_core::coordinator::api::{
    Answer, Event, LossReason, Progress, Report, ShardRequest, StopReason, WriteResult,
};
use penstock_core::ids::WorkerId;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);
const START: Position = Position::TrimHorizon;

fn done(after: u64) -> Answer {
    Answer::Done { checkpoint: Position::After(at(after)) }
}

#[test]
fn a_lease_is_renewed_every_third_of_the_failover_time() {
    let (mut desk, held) = Desk::holding_one();
    desk.run_for(30 * SECOND);
    assert!((8..=11).contains(&desk.writes.len()), "{}", desk.writes.len());
    assert!(desk.extended_until(held.token).unwrap() > held.until);
    let (_, renewal) = &desk.writes[0];
    assert_eq!(renewal.expect.owner, Some(Some(me())));
    assert!(renewal.expect.no_checkpoint_owner);
}

#[test]
fn progress_rides_on_the_next_renewal_and_only_the_latest() {
    let (mut desk, held) = Desk::holding_one();
    for number in [3, 9, 7] {
        let progress = Progress { lag: Some(number), ..settled(number, false) };
        desk.handle(Event::ShardProgressed { token: held.token, progress });
    }
    assert!(desk.writes.is_empty());
    desk.run_for(4 * SECOND);
    assert_eq!(desk.writes.len(), 1);
    let row = desk.row(0);
    assert_eq!((&row.checkpoint, row.arrival, row.lag), (&Position::After(at(9)), Some(UnixMillis(4)), Some(7)));
    assert!(desk.reports().contains(&Report::Checkpointed { key: key(0) }));
    desk.run_for(4 * SECOND);
    assert_eq!(desk.writes[1].1.change.checkpoint, None, "nothing new");
}

#[test]
fn urgent_progress_is_written_at_once() {
    let (mut desk, held) = Desk::holding_one();
    let progress = settled(3, true);
    desk.handle(Event::ShardProgressed { token: held.token, progress });
    assert_eq!(desk.row(0).checkpoint, Position::After(at(3)));
}

#[test]
fn a_checkpoint_counts_as_a_renewal() {
    let (mut desk, held) = Desk::holding_one();
    for number in 1..=15 {
        desk.handle(Event::ShardProgressed { token: held.token, progress: settled(number, true) });
        desk.run_for(2 * SECOND);
    }
    let written: Vec<_> = desk.writes.iter().map(|(_, write)| write.change.checkpoint.clone()).collect();
    let settled: Vec<_> = (1..=15).map(|number| Some(Position::After(at(number)))).collect();
    assert_eq!(written, settled, "and no renewal beside them");
    assert_eq!(desk.coordinator.held(), 1);
    desk.run_for(2 * SECOND);
    assert_eq!((desk.writes.len(), &desk.writes[15].1.change.checkpoint), (16, &None), "now it is time for one");
}

#[test]
fn progress_never_passes_an_open_intent() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "i"));
    let progress = settled(3, true);
    desk.handle(Event::ShardProgressed { token: held.token, progress });
    desk.run_for(8 * SECOND);
    assert_eq!(desk.row(0).checkpoint, START);
    let intent = Bytes::from_static(b"i");
    desk.request(held.token, ShardRequest::DropIntent { intent });
    assert_eq!(desk.row(0).intent, None);
    assert_eq!(desk.row(0).checkpoint, Position::After(at(3)));
}

#[test]
fn an_intent_and_its_commit_are_recorded_one_after_the_other() {
    let (mut desk, held) = Desk::holding_one();
    desk.row_mut(0).owner_switches = 2;
    desk.request(held.token, intend(START, "one"));
    let (_, intend) = &desk.writes[0];
    assert_eq!((&intend.expect.checkpoint, &intend.expect.intent), (&Some(START), &Some(None)));
    assert_eq!(desk.row(0).intent, Some(Bytes::from_static(b"one")));
    let next = Some(Bytes::from_static(b"two"));
    desk.request(
        held.token,
        ShardRequest::Commit(penstock_core::coordinator::api::Commit {
            next: next.clone(),
            ..commit(START, 5, Some("one"))
        }),
    );
    let row = desk.row(0);
    assert_eq!((&row.checkpoint, &row.chain, &row.intent), (&Position::After(at(5)), &Some(at(5)), &next));
    assert_eq!(row.owner_switches, 0);
    desk.request(held.token, ShardRequest::Commit(commit(Position::After(at(5)), 8, Some("two"))));
    assert_eq!(desk.row(0).intent, None);
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: START }, done(5), done(8)]);
}

#[test]
fn a_time_up_to_which_all_is_settled_is_recorded_without_a_position() {
    let (mut desk, held) = Desk::holding_one();
    let until = penstock_core::time::UnixMillis(42);
    desk.request(held.token, ShardRequest::SettleUntil { from: START, until });
    assert_eq!((desk.row(0).checkpoint.clone(), desk.row(0).arrival), (START, Some(until)));
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: START }]);
    desk.row_mut(0).intent = Some(Bytes::from_static(b"foreign"));
    desk.request(held.token, ShardRequest::SettleUntil { from: START, until });
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Changed)));
}

#[test]
fn a_batch_without_objects_commits_only_where_no_intent_is_open() {
    let (mut desk, held) = Desk::holding_one();
    desk.row_mut(0).intent = Some(Bytes::from_static(b"foreign"));
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, None)));
    assert_eq!(desk.row(0).checkpoint, START);
    assert_eq!(desk.answers(held.token), [Answer::Lost]);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Changed)));
}

#[test]
fn a_write_of_unknown_outcome_is_sent_again_and_nothing_else() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.extend([Fate::Lost, Fate::Lost, Fate::AnswerLost]);
    desk.request(held.token, intend(START, "one"));
    desk.run_for(5 * SECOND);
    let first = desk.writes[0].clone();
    assert_eq!(desk.writes[..4], [first.clone(), first.clone(), first.clone(), first]);
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: START }]);
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_renewal_is_held_back_while_a_write_is_under_way() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::Silent);
    desk.request(held.token, intend(START, "one"));
    desk.run_for(9 * SECOND);
    assert_eq!(desk.writes.len(), 1);
}

#[test]
fn a_request_waits_for_the_write_under_way() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::Silent);
    desk.run_for(4 * SECOND);
    let (id, renewal) = desk.writes[0].clone();
    desk.request(held.token, intend(START, "one"));
    assert_eq!(desk.writes.len(), 1);
    let result = WriteResult::Answered(desk.apply(&renewal));
    desk.handle(Event::LeaseWritten { id, result });
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: START }]);
}

#[test]
fn a_resend_that_is_found_applied_is_proved_by_its_first_sending() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::AnswerLost);
    let first_sent = desk.now.instant;
    desk.request(held.token, intend(START, "one"));
    desk.run_for(SECOND);
    assert_eq!(desk.extended_until(held.token), Some(first_sent.after(Duration::from_millis(9_500))));
}

#[test]
fn a_rejected_resend_is_a_loss_if_the_row_differs_in_anything() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::AnswerLost);
    desk.request(held.token, intend(START, "one"));
    desk.row_mut(0).unknown = Some([1; 32]);
    desk.run_for(SECOND);
    assert_eq!(desk.answers(held.token), [Answer::Lost]);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Changed)));
}

#[test]
fn a_write_that_was_sent_once_and_is_rejected_is_never_a_success() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::Silent);
    desk.run_for(4 * SECOND);
    let (id, renewal) = desk.writes[0].clone();
    // Somebody left exactly what our renewal would have left.
    *desk.row_mut(0) = renewal.change.apply(desk.row(0));
    let result = WriteResult::Answered(desk.apply(&renewal));
    desk.handle(Event::LeaseWritten { id, result });
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Changed)));
}

#[test]
fn a_throttled_resend_does_not_free_the_row_for_another_write() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.extend([Fate::Lost, Fate::NotApplied]);
    desk.request(held.token, intend(START, "one"));
    desk.run_for(SECOND);
    let ids: Vec<_> = desk.writes.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [ids[0]; 3]);
}

#[test]
fn a_write_that_was_not_applied_may_be_replaced() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::NotApplied);
    desk.run_for(3500 * SECOND / 1000);
    let progress = settled(3, true);
    desk.handle(Event::ShardProgressed { token: held.token, progress });
    desk.run_for(SECOND);
    assert_eq!(desk.row(0).checkpoint, Position::After(at(3)));
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_lease_that_another_worker_took_is_lost() {
    let (mut desk, held) = Desk::holding_one();
    desk.taken_by(0, "other");
    desk.run_for(4 * SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Taken)));
    let to = Some(WorkerId::new("other"));
    assert!(desk.reports().contains(&Report::Lost { key: key(0), reason: LossReason::Taken, to }));
}

#[test]
fn a_lease_whose_row_is_gone_is_lost_and_the_row_comes_back_with_a_gap() {
    let (mut desk, held) = Desk::holding_one();
    desk.table.clear();
    desk.run_for(4 * SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Deleted)));
    desk.run_for(40 * SECOND);
    assert!(!desk.gaps.is_empty());
    assert!(desk.started(0).is_some_and(|again| again.token != held.token));
}

#[test]
fn a_lease_that_is_not_proved_in_time_is_lost_before_others_may_take_it() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.extend([Fate::Lost; 100]);
    desk.blind = true;
    let before = desk.now.instant;
    desk.run_for(9 * SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Expired)));
    assert!(held.until <= before.after(9 * SECOND));
    let sent = desk.writes.len();
    desk.run_for(20 * SECOND);
    assert_eq!(desk.writes.len(), sent, "a locally expired lease is not renewed");
}

#[test]
fn a_paused_process_loses_its_leases_before_anything_else() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::Silent);
    desk.run_for(4 * SECOND);
    let (id, renewal) = desk.writes[0].clone();
    let outcome = desk.apply(&renewal);
    desk.pause_for(60 * SECOND);
    desk.blind = true;
    let result = WriteResult::Answered(outcome);
    desk.handle(Event::LeaseWritten { id, result });
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Expired)));
    assert_eq!(desk.coordinator.held(), 0);
}

#[test]
fn a_locally_expired_lease_is_taken_anew_under_another_token() {
    let (mut desk, held) = Desk::holding_one();
    desk.pause_for(60 * SECOND);
    desk.run_for(SECOND);
    let again = desk.started(0).unwrap();
    assert_ne!(again.token, held.token);
    assert_eq!(desk.writes[0].1.expect.owner, Some(Some(me())));
    // What the first tenure still asks for is not written through the second.
    let sent = desk.writes.len();
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, None)));
    desk.handle(Event::ShardProgressed { token: held.token, progress: Progress::default() });
    desk.handle(Event::ShardStopped { token: held.token });
    assert_eq!(desk.writes.len(), sent);
    assert_eq!(desk.answers(held.token).last(), Some(&Answer::Lost));
}

#[test]
fn a_late_answer_of_an_earlier_tenure_is_ignored() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::Silent);
    desk.request(held.token, intend(START, "one"));
    let (id, _) = desk.writes[0].clone();
    desk.pause_for(60 * SECOND);
    desk.run_for(SECOND);
    let conflict = penstock_core::lease::WriteOutcome::Conflict(None);
    let result = WriteResult::Answered(conflict);
    desk.handle(Event::LeaseWritten { id, result });
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_shard_that_gives_up_is_released_and_left_alone_for_a_while() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, ShardRequest::GiveUp { cool_down: 60 * SECOND });
    assert_eq!(desk.row(0).owner, None);
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: START }]);
    assert!(desk.reports().contains(&Report::Released { key: key(0), to: None }));
    desk.run_for(59 * SECOND);
    assert_eq!(desk.coordinator.held(), 0);
    desk.run_for(10 * SECOND);
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_lease_that_was_given_up_is_taken_again_once_its_intent_is_settled() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "one"));
    desk.request(held.token, ShardRequest::GiveUp { cool_down: 60 * SECOND });
    assert!(desk.row(0).owner.is_none() && desk.row(0).intent.is_some());
    desk.run_for(20 * SECOND);
    assert_eq!(desk.coordinator.held(), 0, "the intent is still there");
    // Somebody tries and fails as well.
    desk.taken_by(0, "other");
    desk.run_for(5 * SECOND);
    let row = desk.row_mut(0);
    *row = LeaseRow { owner: None, counter: row.counter.next(), ..row.clone() };
    desk.run_for(10 * SECOND);
    assert_eq!(desk.coordinator.held(), 0, "it is the same intent");
    // An operator abandons it.
    let row = desk.row_mut(0);
    *row = LeaseRow { checkpoint: Position::After(at(3)), intent: None, counter: row.counter.next(), ..row.clone() };
    desk.run_for(6 * SECOND);
    assert_eq!(desk.coordinator.held(), 1, "at the next look");
}

#[test]
fn another_intent_in_a_lease_that_was_given_up_is_worth_a_try() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "one"));
    desk.request(held.token, ShardRequest::GiveUp { cool_down: 60 * SECOND });
    let row = desk.row_mut(0);
    *row = LeaseRow { intent: Some("two".into()), counter: row.counter.next(), ..row.clone() };
    desk.run_for(6 * SECOND);
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_shard_that_ends_by_itself_is_released_with_its_progress() {
    let (mut desk, held) = Desk::holding_one();
    let progress = settled(3, false);
    desk.handle(Event::ShardProgressed { token: held.token, progress });
    desk.handle(Event::ShardStopped { token: held.token });
    assert_eq!((&desk.row(0).owner, &desk.row(0).checkpoint), (&None, &Position::After(at(3))));
    desk.run_for(9 * SECOND);
    assert_eq!(desk.coordinator.held(), 0, "not before a failover time has passed");
    desk.run_for(9 * SECOND);
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_release_asks_for_owner_and_counter() {
    let (mut desk, held) = Desk::holding_one();
    let counter = desk.row(0).counter;
    desk.handle(Event::ShardStopped { token: held.token });
    let (_, release) = &desk.writes[0];
    assert_eq!((release.expect.counter, &release.expect.owner), (counter, &Some(Some(me()))));
    assert_eq!(release.change.counter, counter.next());
}

#[test]
fn a_tool_that_moves_the_row_ends_the_tenure() {
    let (mut desk, held) = Desk::holding_one();
    let row = desk.row_mut(0);
    *row = LeaseRow { owner: None, counter: row.counter.next(), ..row.clone() };
    desk.run_for(4 * SECOND);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Lost(LossReason::Changed)));
}

#[test]
fn statuses_show_the_table_as_last_seen_or_written() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "one"));
    let statuses = desk.coordinator.statuses();
    let [status] = &statuses[..] else { panic!("one lease") };
    assert!(status.held && status.intent_open && !status.waits_for_parents);
    assert_eq!((&status.owner, status.hash_range), (&Some(me()), Some(RANGE)));
}

#[test]
fn throughput_is_recorded_smoothed_and_only_where_something_was_told_of_it() {
    let (mut desk, held) = Desk::holding_one();
    desk.run_for(4 * SECOND);
    assert_eq!(desk.row(0).throughput, None);
    let mut rates = Vec::new();
    for _ in 0..60 {
        let read = Progress { read: Some(102_400), ..Progress::default() };
        desk.handle(Event::ShardProgressed { token: held.token, progress: read });
        desk.run_for(SECOND);
        rates.push(desk.row(0).throughput.map_or(0.0, penstock_core::throughput::Throughput::kib_per_second));
    }
    assert!((80.0..120.0).contains(&rates[59]), "{rates:?}");
    desk.run_for(4 * SECOND);
    let last = desk.row(0).throughput;
    desk.run_for(20 * SECOND);
    assert_eq!(desk.row(0).throughput, last, "nothing more was told");
}
