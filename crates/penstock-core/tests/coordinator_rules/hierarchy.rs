//! Parents and children: the end of a shard, the rows that the leader creates and deletes, who may start.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{
    Answer, CoordinatorSettings, Event, GapReason, InitialPosition, ShardRequest, StopReason,
};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;

const SECOND: Duration = Duration::from_secs(1);
const START: Position = Position::TrimHorizon;

fn end(children: &[penstock_core::shard::ChildShard]) -> ShardRequest {
    ShardRequest::EndShard { children: children.to_vec() }
}

#[test]
fn the_end_of_a_shard_is_stored_after_its_children_and_starts_them() {
    let (mut desk, held) = Desk::holding_one();
    desk.shards = vec![closed(0, &[]), shard(1, &[0]), shard(2, &[0])];
    desk.created.clear();
    desk.request(held.token, end(&[child(1, &[0]), child(2, &[0])]));
    let created: Vec<_> = desk.created.iter().map(|row| row.key.clone()).collect();
    assert_eq!(created, [key(1), key(2)]);
    let changes: Vec<_> = desk.writes_of(0).into_iter().map(|write| write.change).collect();
    assert_eq!((&changes[0].children, &changes[0].checkpoint), (&Some(ids(&[1, 2])), &None));
    assert_eq!(changes[1].checkpoint, Some(Position::ShardEnd));
    assert_eq!((&desk.row(0).checkpoint, &desk.row(0).owner), (&Position::ShardEnd, &None));
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: Position::ShardEnd }]);
    assert_eq!(desk.stopped(held.token), Some(StopReason::Ended));
    desk.run_for(SECOND);
    assert_eq!(desk.started(1).unwrap().row.checkpoint, START);
    assert!(desk.started(2).is_some());
}

#[test]
fn a_child_that_could_not_be_created_holds_the_end_back() {
    let (mut desk, held) = Desk::holding_one();
    desk.creates.extend([false, false, false, false, false, false]);
    desk.request(held.token, end(&[child(1, &[0])]));
    assert!(desk.writes.is_empty());
    desk.run_for(10 * SECOND);
    assert_eq!(desk.row(0).checkpoint, Position::ShardEnd);
    assert!(desk.table.contains_key(&key(1)));
}

#[test]
fn a_row_that_is_created_again_has_another_counter() {
    let (mut desk, held) = Desk::holding_one();
    desk.created.clear();
    desk.creates.extend([false, false]);
    desk.request(held.token, end(&[child(1, &[0])]));
    desk.run_for(10 * SECOND);
    let counters: Vec<_> = desk.created.iter().map(|row| row.counter).collect();
    assert!(counters.len() > 2 && counters.is_sorted_by(|one, next| one < next), "{counters:?}");
}

#[test]
fn a_lease_is_renewed_while_its_children_are_created() {
    let (mut desk, held) = Desk::holding_one();
    desk.creates.extend([false; 400]);
    desk.request(held.token, end(&[child(1, &[0])]));
    desk.run_for(30 * SECOND);
    assert_eq!(desk.coordinator.held(), 1);
    assert_eq!(desk.row(0).checkpoint, START);
}

#[test]
fn an_expired_shard_ends_without_children() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, end(&[]));
    assert_eq!((&desk.row(0).checkpoint, desk.writes.len()), (&Position::ShardEnd, 1));
}

#[test]
fn a_shard_does_not_end_while_an_intent_is_open() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, intend(START, "one"));
    desk.request(held.token, end(&[]));
    assert_eq!(desk.row(0).checkpoint, START);
    assert_eq!(desk.answers(held.token).last(), Some(&Answer::Lost));
}

#[test]
fn an_end_of_unknown_outcome_is_sent_again_and_found() {
    let (mut desk, held) = Desk::holding_one();
    desk.fates.push_back(Fate::AnswerLost);
    desk.request(held.token, end(&[]));
    desk.run_for(SECOND);
    assert_eq!(desk.answers(held.token), [Answer::Done { checkpoint: Position::ShardEnd }]);
}

#[test]
fn a_child_waits_for_both_parents_of_a_merge() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::ShardEnd));
    desk.put(owned(1, "other"));
    desk.put(row(2, &[0, 1], START));
    desk.shards = vec![closed(0, &[]), closed(1, &[]), shard(2, &[0, 1])];
    desk.run_for(6 * SECOND);
    assert_eq!((desk.coordinator.held(), desk.started(2)), (1, None));
    assert!(desk.coordinator.statuses()[2].waits_for_parents);
    desk.put(row(1, &[], Position::ShardEnd));
    desk.run_for(6 * SECOND);
    assert!(desk.started(2).is_some());
}

#[test]
fn an_absent_parent_is_not_done_while_the_service_lists_it() {
    // Split 0 into 1 and 2, merge 2 and 3 into 4. Shard 3 has ended and created 4; shard 2 has no row yet.
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.put(row(3, &[], Position::ShardEnd));
    desk.put(row(4, &[2, 3], START));
    desk.shards = vec![closed(0, &[]), shard(1, &[0]), closed(2, &[0]), closed(3, &[]), shard(4, &[2, 3])];
    for _ in 0..60 {
        desk.row_mut(0).lag = Some(desk.row(0).lag.unwrap_or(0) + 1);
        desk.run_for(SECOND);
    }
    assert_eq!(desk.started(4), None);
    assert!(!desk.table.contains_key(&key(2)), "it gets its row at the end of 0");
    // That row does not come, for whatever reason.
    desk.row_mut(0).checkpoint = Position::ShardEnd;
    desk.run_for(40 * SECOND);
    assert!(desk.started(2).is_some() && desk.started(4).is_none());
}

#[test]
fn an_absent_parent_is_done_once_it_is_no_longer_listed() {
    let mut desk = Desk::new(settings());
    desk.put(row(4, &[2, 3], START));
    desk.shards = vec![shard(4, &[2, 3])];
    desk.run_for(SECOND);
    assert!(desk.started(4).is_some());
    assert!(desk.listings > 1, "one listing without the shard is not believed");
}

#[test]
fn a_parent_that_one_listing_lacks_and_the_next_one_shows_is_waited_for() {
    let mut desk = Desk::new(settings());
    desk.put(row(4, &[2], START));
    desk.shards = vec![shard(4, &[2])];
    desk.handle(Event::Tick);
    desk.shards = vec![closed(2, &[]), shard(4, &[2])];
    desk.run_for(2 * SECOND);
    assert_eq!((desk.started(4), desk.listings), (None, 2));
    assert!(desk.started(2).is_some());
}

#[test]
fn a_listing_older_than_the_child_proves_nothing() {
    let mut desk = Desk::new(settings());
    desk.shards = vec![shard(3, &[])];
    desk.run_for(SECOND);
    let held = desk.started(3).unwrap();
    // 3 ends at once; the listing of the start knows neither 2 nor 4.
    desk.shards = vec![closed(2, &[]), closed(3, &[]), shard(4, &[2, 3])];
    desk.blind = true;
    desk.request(held.token, end(&[child(4, &[2, 3])]));
    desk.blind = false;
    desk.run_for(20 * SECOND);
    let (two, four) = (desk.started(2), desk.started(4));
    assert!(two.is_some() && four.is_none(), "2 is created and read first");
}

#[test]
fn no_listing_no_start() {
    let mut desk = Desk::new(settings());
    desk.put(row(4, &[2], START));
    desk.put(owned(5, "zzz"));
    // We do not lead: of "me" and "zzz" the first leads, but a blind listing helps nobody.
    desk.handle(Event::Tick);
    desk.blind = true;
    desk.run_for(8 * SECOND);
    assert_eq!(desk.started(4), None);
}

#[test]
fn a_child_beyond_trim_horizon_shows_that_its_parents_are_done() {
    for checkpoint in [Position::Latest, Position::After(at(7))] {
        let mut desk = Desk::new(settings());
        desk.put(row(4, &[2, 3], checkpoint));
        desk.shards = vec![closed(2, &[]), closed(3, &[]), shard(4, &[2, 3])];
        desk.run_for(SECOND);
        assert!(desk.started(4).is_some());
        assert!(!desk.table.contains_key(&key(2)), "what it passed is not read again");
    }
}

#[test]
fn a_nephew_that_has_moved_shows_that_the_parent_is_done() {
    let mut desk = Desk::new(settings());
    desk.put(row(2, &[0], START));
    desk.put(row(3, &[1], Position::After(at(7))));
    desk.shards = vec![closed(0, &[]), closed(1, &[0]), shard(2, &[0]), shard(3, &[1])];
    desk.run_for(2 * SECOND);
    assert!(desk.started(2).is_some(), "3 moved after 1 ended, and 1 after 0");
    assert!(desk.created.is_empty(), "0 and 1 are not read again");
}

#[test]
fn a_sibling_that_has_moved_shows_that_the_parent_is_done_and_one_at_latest_does_not() {
    for (sibling, starts) in [(Position::After(at(7)), true), (Position::Latest, false)] {
        let mut desk = Desk::new(settings());
        desk.put(row(1, &[0], sibling));
        desk.put(row(2, &[0], START));
        desk.shards = vec![closed(0, &[]), shard(1, &[0]), shard(2, &[0])];
        desk.run_for(SECOND);
        assert_eq!(desk.started(2).is_some(), starts);
        assert_eq!(desk.table.contains_key(&key(0)), !starts, "the audit creates what is waited for");
    }
}

#[test]
fn starting_at_the_tip_takes_open_shards_alone_and_pins_the_time() {
    let mut desk = Desk::new(starting_at(InitialPosition::Latest));
    desk.shards = vec![closed(0, &[]), shard(1, &[0]), shard(2, &[0])];
    let wall = desk.now.wall;
    desk.run_for(SECOND);
    assert_eq!(desk.table.keys().cloned().collect::<Vec<_>>(), [key(1), key(2)]);
    assert_eq!((&desk.row(1).checkpoint, desk.row(1).start), (&Position::Latest, Some(wall)));
    assert!(desk.started(1).is_some() && desk.started(2).is_some());
}

#[test]
fn a_row_that_could_not_be_created_at_first_starts_no_later_than_the_others() {
    let mut desk = Desk::new(starting_at(InitialPosition::Latest));
    desk.shards = vec![shard(1, &[]), shard(2, &[])];
    let wall = desk.now.wall;
    desk.creates.extend([true, false]);
    desk.run_for(40 * SECOND);
    assert_eq!((desk.row(1).start, desk.row(2).start), (Some(wall), Some(wall)));
}

#[test]
fn starting_at_a_time_begins_there_in_the_oldest_shards_and_in_their_children() {
    let time = penstock_core::time::UnixMillis(1_650_000_000_000);
    let initial_position = InitialPosition::Timestamp(time);
    let mut desk = Desk::new(starting_at(initial_position));
    desk.shards = vec![closed(0, &[]), closed(1, &[0]), shard(2, &[1])];
    desk.run_for(SECOND);
    assert_eq!(desk.table.len(), 1);
    // Nothing in 0 is as young as that. Its child may still hold older records too.
    let held = desk.started(0).unwrap();
    desk.request(held.token, end(&[child(1, &[0])]));
    desk.run_for(SECOND);
    for number in [0, 1] {
        assert_eq!(desk.row(number).start, Some(time));
    }
    let held = desk.started(1).unwrap();
    assert_eq!(held.row.checkpoint, Position::AtTimestamp);
    // What comes after a record that is young enough is younger.
    desk.request(held.token, ShardRequest::Commit(commit(Position::AtTimestamp, 5, None)));
    desk.request(held.token, end(&[child(2, &[1])]));
    assert_eq!((&desk.row(2).checkpoint, desk.row(2).start), (&START, None));
}

#[test]
fn one_generation_is_created_and_the_next_at_the_end_of_its_parents_at_trim_horizon() {
    let mut desk = Desk::new(starting_at(InitialPosition::Latest));
    desk.put(LeaseRow { start: Some(desk.now.wall), ..row(0, &[], Position::Latest) });
    desk.shards = vec![closed(0, &[]), closed(1, &[0]), shard(2, &[1])];
    desk.run_for(40 * SECOND);
    assert_eq!(desk.table.len(), 1);
    let held = desk.started(0).unwrap();
    desk.request(held.token, end(&[child(1, &[0])]));
    desk.run_for(40 * SECOND);
    assert_eq!((&desk.row(1).checkpoint, desk.row(1).start), (&START, None));
    assert_eq!(desk.table.len(), 2);
}

#[test]
fn only_the_leader_lists_and_creates() {
    let leads = |owners: [&str; 3]| {
        let mut desk = Desk::new(settings());
        (0..3).for_each(|number| desk.put(owned(number, owners[number as usize])));
        desk.shards = (0..4).map(|number| shard(number, &[])).collect();
        desk.handle(Event::Tick);
        desk.listings > 0
    };
    // Of three owners the third leads.
    assert!(leads(["a", "b", "me-01234567"]));
    assert!(!leads(["a", "me-01234567", "z"]));
    assert!(!leads(["a", "b", "c"]));
}

#[test]
fn the_leader_lists_every_half_minute() {
    let (mut desk, _) = Desk::holding_one();
    let before = desk.listings;
    desk.run_for(300 * SECOND);
    assert!((9..=12).contains(&(desk.listings - before)), "{}", desk.listings - before);
}

#[test]
fn a_dead_worker_does_not_lead_for_ever() {
    let mut desk = Desk::new(CoordinatorSettings { max_leases: Some(0), ..settings() });
    desk.put(owned(0, "dead"));
    desk.shards = vec![shard(0, &[]), shard(1, &[])];
    desk.run_for(60 * SECOND);
    assert!(desk.table.contains_key(&key(1)));
}

#[test]
fn completed_rows_stay_until_the_service_no_longer_lists_the_shard() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::ShardEnd));
    desk.put(row(1, &[0], Position::ShardEnd));
    desk.put(row(2, &[1], Position::After(at(3))));
    desk.shards = vec![closed(0, &[]), closed(1, &[0]), shard(2, &[1])];
    desk.run_for(100 * SECOND);
    assert_eq!(desk.table.len(), 3);
    desk.shards = vec![shard(2, &[1])];
    desk.run_for(34 * SECOND);
    assert_eq!(desk.table.len(), 3, "one listing is not believed");
    desk.run_for(34 * SECOND);
    assert!(!desk.table.contains_key(&key(0)));
    assert!(desk.table.contains_key(&key(1)), "its parent's row was there a moment ago");
    desk.run_for(40 * SECOND);
    assert_eq!(desk.table.keys().cloned().collect::<Vec<_>>(), [key(2)]);
    assert!(desk.gaps.is_empty());
}

#[test]
fn the_absent_parent_of_a_held_lease_gets_its_row_although_a_worker_of_the_kcl_leads() {
    let mut desk = Desk::new(settings());
    desk.put(row(4, &[2], START));
    for (number, owner) in [(5, "a"), (6, "zzz")] {
        desk.put(LeaseRow { taken_by: None, ..owned(number, owner) });
    }
    desk.put(row(7, &[], Position::ShardEnd));
    desk.shards = vec![closed(2, &[]), shard(4, &[2])];
    for second in 0..30 {
        for number in [5, 6] {
            desk.row_mut(number).lag = Some(second);
        }
        desk.run_for(SECOND);
    }
    assert!(desk.started(2).is_some(), "nobody else would make it");
    assert!(desk.table.contains_key(&key(7)), "nothing is deleted but by the leader");
}

#[test]
fn a_completed_row_without_children_stays_while_a_listed_shard_that_comes_of_it_has_none() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::ShardEnd));
    desk.shards = vec![shard(1, &[0])];
    desk.creates.extend([false; 99]);
    desk.run_for(70 * SECOND);
    assert!(desk.table.contains_key(&key(0)) && !desk.table.contains_key(&key(1)));
    desk.creates.clear();
    desk.run_for(200 * SECOND);
    assert_eq!(desk.table.keys().cloned().collect::<Vec<_>>(), [key(1)]);
}

#[test]
fn a_child_begins_with_what_its_parent_settled_last() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(held.token, ShardRequest::Commit(commit(START, 5, None)));
    desk.request(held.token, ShardRequest::EndShard { children: vec![child(1, &[0])] });
    let arrival = desk.row(0).arrival;
    assert!(arrival.is_some());
    assert_eq!(desk.created.last().map(|row| (&row.key, row.arrival)), Some((&key(1), arrival)));
}

#[test]
fn nothing_is_deleted_for_an_empty_listing() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::ShardEnd));
    desk.run_for(100 * SECOND);
    assert_eq!(desk.table.len(), 1);
}

#[test]
fn a_row_that_vanished_is_created_again_with_a_gap() {
    let (mut desk, _) = Desk::holding_one();
    desk.row_mut(0).checkpoint = Position::After(at(3));
    desk.table.clear();
    desk.run_for(60 * SECOND);
    let [gap] = &desk.gaps[..] else { panic!("one entry") };
    assert_eq!((&gap.lease, gap.reason), (&key(0), GapReason::RowRecreated));
    assert_eq!(gap.range.to_string(), "unknown since TRIM_HORIZON");
    assert!(desk.table.contains_key(&key(0)));
}

#[test]
fn a_worker_that_does_not_lead_hears_of_it_when_an_absent_parent_is_trimmed() {
    let mut desk = Desk::new(settings());
    desk.put(row(4, &[2], START));
    desk.put(owned(5, "a"));
    desk.put(owned(6, "zzz"));
    desk.shards = vec![closed(2, &[]), shard(4, &[2])];
    desk.creates.extend([false; 99]);
    for second in 0..40 {
        // The others live, and the leader among them does not create anything.
        for number in [5, 6] {
            desk.row_mut(number).lag = Some(second);
        }
        desk.run_for(SECOND);
    }
    assert!(desk.started(4).is_none() && !desk.table.contains_key(&key(2)));
    desk.shards = vec![shard(4, &[2])];
    for number in [5, 6] {
        desk.row_mut(number).lag = None;
    }
    desk.run_for(10 * SECOND);
    assert!(desk.started(4).is_some());
}
