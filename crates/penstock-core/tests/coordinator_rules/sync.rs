//! The audit of a stream by the leader: holes, listings that fail or lack something, hash keys that rows do not say.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{Event, InitialPosition, Report, StreamIndex};
use penstock_core::ids::HashRange;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::shard::ShardListing;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);
const LOW: HashRange = HashRange { start: 0, end: u128::MAX / 2 };
const HIGH: HashRange = HashRange { start: u128::MAX / 2 + 1, end: u128::MAX };

/// Two open shards that share all hash keys.
fn halves() -> Vec<ShardListing> {
    vec![ShardListing { hash_range: LOW, ..shard(0, &[]) }, ShardListing { hash_range: HIGH, ..shard(1, &[]) }]
}

fn holes(desk: &Desk) -> Vec<Report> {
    desk.reports().into_iter().filter(|report| matches!(report, Report::HashRangeHole { .. })).collect()
}

fn hole(HashRange { start: from, end: to }: HashRange) -> Report {
    Report::HashRangeHole { stream: StreamIndex(0), from, to }
}

#[test]
fn an_incomplete_listing_makes_no_first_rows_and_is_told_when_it_stays() {
    let mut desk = Desk::new(settings());
    desk.shards = halves()[..1].to_vec();
    desk.run_for(SECOND);
    assert!(desk.created.is_empty() && holes(&desk).is_empty());
    desk.run_for(6 * SECOND);
    assert_eq!(holes(&desk), [hole(HIGH)]);
    assert!((3..=4).contains(&desk.listings), "{}", desk.listings);
    desk.run_for(300 * SECOND);
    assert_eq!(holes(&desk).len(), 1, "once");
    assert!((10..=20).contains(&desk.listings), "less and less often: {}", desk.listings);
    desk.shards = halves();
    desk.run_for(34 * SECOND);
    assert_eq!(desk.coordinator.held(), 2);
}

#[test]
fn a_listing_that_fails_is_asked_for_less_and_less_often() {
    let mut desk = Desk::new(settings());
    desk.handle(Event::Tick);
    let answered = desk.listings;
    let no_list = |desk: &mut Desk| {
        desk.mute = true;
        desk.run_for(Duration::ZERO);
    };
    no_list(&mut desk);
    for _ in 0..8 {
        desk.run_for(33 * SECOND);
        for _ in std::mem::take(&mut desk.unheard) {
            let event = Event::ShardsListed { stream: StreamIndex(0), shards: None };
            desk.handle(event);
        }
    }
    assert!((5..=9).contains(&(desk.listings - answered)), "{}", desk.listings - answered);
}

#[test]
fn a_row_that_was_deleted_leaves_a_hole_which_is_closed_before_the_next_audit() {
    let mut desk = Desk::new(settings());
    desk.shards = halves();
    desk.run_for(10 * SECOND);
    desk.table.remove(&key(1));
    desk.run_for(13 * SECOND);
    assert!(desk.table.contains_key(&key(1)));
    assert_eq!(holes(&desk), []);
    assert_eq!(desk.gaps.len(), 1);
}

#[test]
fn a_hole_that_no_listing_closes_is_told_once_after_three_looks() {
    let mut desk = Desk::new(settings());
    desk.shards = halves();
    desk.run_for(5 * SECOND);
    desk.shards.remove(1);
    desk.table.remove(&key(1));
    desk.run_for(60 * SECOND);
    assert_eq!(holes(&desk), [hole(HIGH)]);
    let listings = desk.listings;
    desk.run_for(300 * SECOND);
    assert_eq!(holes(&desk).len(), 1);
    assert!((9..=12).contains(&(desk.listings - listings)), "no oftener than any other audit");
    // Closed, and open again: that is news.
    desk.shards = halves();
    desk.run_for(50 * SECOND);
    desk.shards.remove(1);
    desk.table.remove(&key(1));
    desk.run_for(60 * SECOND);
    assert_eq!(holes(&desk).len(), 2);
}

#[test]
fn ended_leases_cover_nothing_and_open_ones_at_any_position_do() {
    let mut desk = Desk::new(settings());
    desk.put(LeaseRow { hash_range: Some(LOW), ..row(0, &[], Position::ShardEnd) });
    desk.put(LeaseRow { hash_range: Some(HIGH), ..row(1, &[], Position::After(at(5))) });
    desk.shards = vec![ShardListing { hash_range: HIGH, ..shard(1, &[]) }];
    desk.run_for(60 * SECOND);
    assert_eq!(holes(&desk), [hole(LOW)]);
}

#[test]
fn a_worker_that_does_not_lead_does_not_audit() {
    let mut desk = Desk::new(settings());
    for (number, owner) in [(0, "a"), (1, "b"), (2, "c")] {
        desk.put(LeaseRow { hash_range: Some(LOW), ..owned(number, owner) });
    }
    desk.shards = halves();
    for lag in 0..60 {
        (0..3).for_each(|number| desk.row_mut(number).lag = Some(lag));
        desk.run_for(SECOND);
    }
    assert_eq!((holes(&desk), desk.listings), (Vec::new(), 0));
}

#[test]
fn a_worker_that_does_not_lead_lists_again_soon_after_listings_failed() {
    let mut desk = Desk::new(settings());
    desk.put(row(4, &[2], Position::TrimHorizon));
    desk.put(owned(5, "a"));
    desk.put(owned(6, "zzz"));
    desk.shards = vec![shard(4, &[2]), shard(5, &[]), shard(6, &[])];
    desk.mute = true;
    let (mut failures, mut live) = (0, 0);
    let mut second = |desk: &mut Desk| {
        live += 1;
        [5, 6].into_iter().for_each(|number| desk.row_mut(number).lag = Some(live));
        desk.run_for(SECOND);
    };
    while failures < 3 {
        second(&mut desk);
        for _ in std::mem::take(&mut desk.unheard) {
            failures += 1;
            desk.handle(Event::ShardsListed { stream: StreamIndex(0), shards: None });
        }
    }
    desk.mute = false;
    (0..12).for_each(|_| second(&mut desk));
    assert!(desk.started(4).is_some(), "after {} listings", desk.listings);
}

#[test]
fn a_vanished_row_is_remembered_over_one_listing_that_lacks_its_shard() {
    let mut desk = Desk::new(settings());
    desk.shards = vec![shard(0, &[]), shard(1, &[])];
    desk.run_for(40 * SECOND);
    let whole = std::mem::replace(&mut desk.shards, vec![shard(0, &[])]);
    desk.table.remove(&key(1));
    let listings = desk.listings;
    while desk.listings == listings {
        desk.run_for(SECOND);
    }
    desk.shards = whole;
    desk.run_for(40 * SECOND);
    assert!(desk.table.contains_key(&key(1)));
    assert_eq!(desk.gaps.len(), 1);
}

#[test]
fn the_holder_stores_what_its_shard_covers_where_the_row_does_not_say_it() {
    let mut desk = Desk::new(settings());
    for number in [0, 1] {
        desk.put(LeaseRow { hash_range: None, ..row(number, &[], Position::After(at(5))) });
    }
    desk.shards = halves();
    desk.run_for(9 * SECOND);
    assert_eq!((desk.row(0).hash_range, desk.row(1).hash_range), (Some(LOW), Some(HIGH)));
    assert_eq!(holes(&desk), []);
    let ranges = desk.writes_of(0).into_iter().filter(|write| write.change.hash_range.is_some());
    assert_eq!(ranges.count(), 1);
}

#[test]
fn a_holder_that_does_not_lead_lists_once_for_what_its_shard_covers() {
    let mut desk = Desk::new(settings());
    desk.put(LeaseRow { hash_range: None, ..row(0, &[], Position::After(at(5))) });
    desk.put(owned(1, "a"));
    desk.put(owned(2, "zzz"));
    desk.shards = vec![shard(0, &[]), shard(1, &[]), shard(2, &[])];
    for lag in 0..60 {
        [1, 2].into_iter().for_each(|number| desk.row_mut(number).lag = Some(lag));
        desk.run_for(SECOND);
    }
    assert_eq!((desk.listings, desk.row(0).hash_range), (1, Some(RANGE)));
}

#[test]
fn a_completed_row_stays_while_a_listed_child_has_none() {
    let mut desk = Desk::new(starting_at(InitialPosition::Latest));
    desk.put(LeaseRow { children: ids(&[1, 2]), ..row(0, &[], Position::ShardEnd) });
    desk.put(row(1, &[0], Position::After(at(3))));
    desk.shards = vec![shard(1, &[0]), shard(2, &[0])];
    desk.creates.extend([false; 22]);
    desk.run_for(100 * SECOND);
    assert!(desk.table.contains_key(&key(0)), "or 2 would be taken for one that nobody read up to");
    assert!(desk.created.iter().all(|row| row.checkpoint == Position::TrimHorizon));
    desk.run_for(200 * SECOND);
    assert_eq!(desk.table.keys().cloned().collect::<Vec<_>>(), [key(1), key(2)]);
}

#[test]
fn a_child_that_is_created_late_knows_since_when_its_records_can_have_come() {
    let mut desk = Desk::new(settings());
    desk.shards = vec![closed(0, &[]), closed(1, &[]), shard(2, &[0, 1])];
    for (number, arrival) in [(0, 50), (1, 70)] {
        let arrival = Some(UnixMillis(arrival));
        desk.put(LeaseRow { arrival, ..row(number, &[], Position::ShardEnd) });
    }
    desk.run_for(Duration::from_secs(1));
    assert_eq!(desk.row(2).arrival, Some(UnixMillis(70)));
}
