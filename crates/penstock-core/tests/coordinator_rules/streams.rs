//! Several streams in one coordinator, and rows that belong to none of them.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{
    CoordinatorSettings, Event, InitialPosition, Report, StreamIndex, StreamSettings,
};
use penstock_core::ids::{LeaseKey, StreamId, StreamName, WorkerId};
use penstock_core::lease::{LeaseRow, UnreadableRow};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);
const ORDERS: StreamIndex = StreamIndex(0);
const CLICKS: StreamIndex = StreamIndex(1);

fn named(name: &str, created: UnixMillis) -> StreamSettings {
    let name = StreamName::new(name);
    let id = Some(StreamId::of("123456789012", &name, created));
    StreamSettings { name, id, created, initial_position: InitialPosition::TrimHorizon }
}

fn several() -> CoordinatorSettings {
    CoordinatorSettings { streams: vec![named("orders", CREATED), named("clicks", CREATED)], ..settings() }
}

/// The key of a shard of one of [`several`].
fn key_of(stream: StreamIndex, shard: u32) -> LeaseKey {
    LeaseKey::of(several().streams[stream.0].id.as_ref(), &id(shard))
}

/// A row of [`row`] under another key.
fn under(key: LeaseKey, row: LeaseRow) -> LeaseRow {
    LeaseRow { key, ..row }
}

fn desk() -> Desk {
    let mut desk = Desk::new(several());
    desk.shards_of.insert(ORDERS, vec![shard(0, &[])]);
    desk.shards_of.insert(CLICKS, vec![closed(0, &[]), shard(1, &[0])]);
    desk
}

fn keys(desk: &Desk) -> Vec<LeaseKey> {
    desk.table.keys().cloned().collect()
}

#[test]
fn each_stream_is_listed_and_its_shards_are_created_taken_and_started() {
    let mut desk = desk();
    desk.run_for(SECOND);
    assert_eq!(keys(&desk), [key_of(CLICKS, 0), key_of(ORDERS, 0)]);
    assert_eq!(desk.started_under(&key_of(CLICKS, 0)).unwrap().stream, CLICKS);
    assert_eq!(desk.started_under(&key_of(ORDERS, 0)).unwrap().stream, ORDERS);
    let of: Vec<_> = desk.coordinator.statuses().into_iter().map(|status| (status.key, status.stream)).collect();
    assert_eq!(of, [(key_of(CLICKS, 0), CLICKS), (key_of(ORDERS, 0), ORDERS)]);
}

#[test]
fn children_belong_to_the_stream_of_their_parent_and_wait_for_it_alone() {
    let mut desk = desk();
    desk.run_for(SECOND);
    let held = desk.started_under(&key_of(CLICKS, 0)).unwrap();
    let children = vec![child(1, &[0])];
    desk.request(held.token, penstock_core::coordinator::api::ShardRequest::EndShard { children });
    desk.run_for(SECOND);
    assert_eq!(desk.started_under(&key_of(CLICKS, 1)).unwrap().stream, CLICKS, "the 0 of orders goes on");
    assert_eq!(desk.table[&key_of(ORDERS, 0)].checkpoint, Position::TrimHorizon);
}

#[test]
fn rows_of_a_stream_that_is_not_configured_are_left_alone() {
    let mut desk = desk();
    let theirs = LeaseKey::of(named("old", CREATED).id.as_ref(), &id(0));
    let before = under(theirs.clone(), row(0, &[], Position::TrimHorizon));
    desk.put(before.clone());
    let ended = LeaseKey::of(named("old", CREATED).id.as_ref(), &id(1));
    desk.put(under(ended.clone(), row(1, &[], Position::ShardEnd)));
    desk.run_for(200 * SECOND);
    assert_eq!((&desk.table[&theirs], desk.table.contains_key(&ended)), (&before, true));
    assert_eq!((desk.coordinator.held(), desk.coordinator.unowned()), (2, 0));
    assert!(desk.coordinator.statuses().iter().all(|status| status.key != theirs));
}

#[test]
fn a_stream_that_is_added_starts_although_the_leader_does_not_know_it() {
    // Of two owners the first leads, which is not us: an older version, that serves only orders.
    let mut desk = desk();
    desk.put(LeaseRow {
        owner: Some(WorkerId::new("a")),
        ..under(key_of(ORDERS, 0), row(0, &[], Position::TrimHorizon))
    });
    desk.put(LeaseRow {
        owner: Some(WorkerId::new("a")),
        ..under(key_of(ORDERS, 1), row(1, &[], Position::TrimHorizon))
    });
    for lag in 0..5 {
        desk.table.get_mut(&key_of(ORDERS, 0)).unwrap().lag = Some(lag);
        desk.run_for(SECOND);
    }
    assert!(desk.started_under(&key_of(CLICKS, 0)).is_some());
    assert!(desk.created.iter().all(|row| row.key == key_of(CLICKS, 0)));
}

#[test]
fn a_stream_created_again_stops_alone() {
    let mut desk = desk();
    desk.run_for(SECOND);
    let [orders, clicks] = [key_of(ORDERS, 0), key_of(CLICKS, 0)].map(|key| desk.started_under(&key).unwrap());
    let old = UnixMillis(1_500_000_000_000);
    let stranger = LeaseKey::of(named("clicks", old).id.as_ref(), &id(7));
    desk.put(under(stranger, row(7, &[], Position::TrimHorizon)));
    desk.run_for(20 * SECOND);
    let again: Vec<_> =
        desk.reports().into_iter().filter(|report| matches!(report, Report::StreamRecreated { .. })).collect();
    assert_eq!(again, [Report::StreamRecreated { index: CLICKS, rows: old, stream: CREATED }]);
    assert!(desk.stopped(clicks.token).is_some() && desk.stopped(orders.token).is_none());
    desk.handle(Event::ShardStopped { token: clicks.token });
    desk.run_for(60 * SECOND);
    assert_eq!((desk.coordinator.held(), &desk.table[&key_of(CLICKS, 0)].owner), (1, &None));
    let listed = desk.listed.iter().filter(|(stream, _)| *stream == CLICKS).count();
    desk.run_for(100 * SECOND);
    assert_eq!(desk.listed.iter().filter(|(stream, _)| *stream == CLICKS).count(), listed, "nor is it listed");
}

#[test]
fn rows_in_the_other_form_of_key_stop_everything() {
    let multi = key_of(ORDERS, 5);
    for (settings, found) in [(settings(), multi), (several(), key(5))] {
        let mut desk = Desk::new(settings);
        desk.shards = vec![shard(0, &[])];
        desk.put(under(found.clone(), row(5, &[], Position::TrimHorizon)));
        desk.run_for(100 * SECOND);
        assert_eq!(desk.reports(), [Report::OtherKeyForm { found: found.clone() }]);
        assert!(desk.created.is_empty() && desk.writes.is_empty());
    }
}

#[test]
fn the_other_form_of_key_that_appears_later_stops_what_runs() {
    let (mut desk, held) = Desk::holding_one();
    desk.put(under(key_of(ORDERS, 5), row(5, &[], Position::TrimHorizon)));
    desk.run_for(10 * SECOND);
    assert!(desk.stopped(held.token).is_some());
    desk.handle(Event::ShardStopped { token: held.token });
    desk.run_for(60 * SECOND);
    assert_eq!((desk.coordinator.held(), &desk.row(0).owner), (0, &None));
}

#[test]
fn a_row_that_cannot_be_read_is_told_only_of_our_streams() {
    let mut desk = desk();
    desk.handle(Event::Tick);
    let theirs = LeaseKey::of(named("old", CREATED).id.as_ref(), &id(0));
    let unreadable = [theirs, key_of(ORDERS, 9)].map(|key| UnreadableRow { key, problem: "no counter".to_owned() });
    let rows = desk.table.values().cloned().collect();
    let scan = penstock_core::lease::Scan { rows, unreadable: unreadable.to_vec() };
    desk.handle(Event::LeasesScanned { started: desk.now.instant, scan: Some(scan) });
    let told = desk.reports().into_iter().filter_map(|report| match report {
        Report::UnreadableRow { key, .. } => Some(key),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [key_of(ORDERS, 9)]);
}

#[test]
fn many_streams_are_listed_a_few_at_a_time() {
    let streams = (0..10).map(|number| named(&format!("stream-{number}"), CREATED)).collect();
    let mut desk = Desk::new(CoordinatorSettings { streams, ..settings() });
    desk.shards = vec![shard(0, &[])];
    desk.mute = true;
    desk.run_for(20 * SECOND);
    assert_eq!(desk.listings, 4);
    desk.mute = false;
    for answer in std::mem::take(&mut desk.unheard) {
        desk.handle(answer);
    }
    desk.run_for(SECOND);
    assert_eq!((desk.listings, desk.coordinator.held()), (10, 10));
    desk.listed.clear();
    desk.run_for(40 * SECOND);
    let at: std::collections::BTreeSet<_> = desk.listed.iter().map(|(_, at)| *at).collect();
    assert!(at.len() >= 10, "each in its own time: {at:?}");
}
