//! What a worker takes, and when: scans, expiry, takes that fail, streams and rows that are not as they should be.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{Command, InitialPosition, Report, WriteResult};
use penstock_core::coordinator::api::{CoordinatorSettings, Event, StreamIndex};
use penstock_core::ids::WorkerId;
use penstock_core::lease::{Field, Scan, UnreadableRow};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lone_worker_creates_takes_and_starts_every_shard_at_once() {
    let mut desk = Desk::new(settings());
    desk.shards = (0..4).map(|number| shard(number, &[])).collect();
    desk.run_for(SECOND);
    for number in 0..4 {
        let held = desk.started(number).expect("started");
        assert_eq!((held.row.owner.as_ref(), &held.row.checkpoint), (Some(&me()), &Position::TrimHorizon));
        assert_eq!(&held.row, desk.row(number));
    }
    assert_eq!(desk.coordinator.held(), 4);
    assert!(desk.created[0].counter.0 >= 1_700_000_000, "a counter that no earlier row had");
}

#[test]
fn the_table_is_scanned_every_half_failover_time() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.shards = vec![shard(0, &[])];
    for _ in 0..100 {
        desk.row_mut(0).counter = desk.row(0).counter.next();
        desk.run_for(SECOND);
    }
    assert!((18..=24).contains(&desk.scans), "{}", desk.scans);
}

#[test]
fn a_live_lease_is_left_alone_and_an_expired_one_is_taken() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.shards = vec![shard(0, &[])];
    desk.run_for(10 * SECOND);
    assert!(desk.writes.is_empty(), "it is seen for no more than the failover time");
    desk.run_for(7 * SECOND);
    let held = desk.started(0).unwrap();
    assert_eq!(held.row.owner_switches, 1);
    let from = Some(WorkerId::new("other"));
    assert_eq!(desk.reports(), [Report::Taken { key: key(0), from, stolen: false }]);
}

#[test]
fn a_row_of_which_anything_moves_does_not_expire() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.shards = vec![shard(0, &[])];
    for lag in 0..20 {
        desk.row_mut(0).lag = Some(lag);
        desk.run_for(4 * SECOND);
    }
    assert!(desk.writes.is_empty());
}

#[test]
fn a_take_asks_for_everything_that_was_observed() {
    let mut desk = Desk::new(settings());
    let mut theirs = row(0, &[], Position::After(at(5)));
    theirs.intent = Some("open".into());
    theirs.wanted = Some(WorkerId::new("somebody"));
    desk.put(theirs.clone());
    desk.shards = vec![shard(0, &[])];
    desk.run_for(SECOND);
    let (_, take) = &desk.writes[0];
    assert_eq!(take.expect.counter, theirs.counter);
    assert_eq!(take.expect.owner, Some(None));
    assert_eq!(take.expect.checkpoint, Some(Position::After(at(5))));
    assert_eq!(take.expect.intent, Some(theirs.intent));
    assert_eq!(take.change.wanted, Field::Remove);
    assert_eq!(take.change.owner_switches, None, "nobody had it");
}

#[test]
fn a_row_of_the_kcl_is_stamped_when_it_is_taken() {
    let start_of = |checkpoint, initial_position| {
        let mut desk = Desk::new(starting_at(initial_position));
        desk.put(penstock_core::lease::LeaseRow { stream_created: None, ..row(0, &[], checkpoint) });
        desk.run_for(SECOND);
        assert_eq!(desk.row(0).stream_created, Some(CREATED));
        desk.row(0).start
    };
    let time = UnixMillis(1_650_000_000_000);
    assert_eq!(start_of(Position::TrimHorizon, InitialPosition::Latest), None);
    assert_eq!(start_of(Position::Latest, InitialPosition::TrimHorizon), Some(UnixMillis(1_700_000_000_000)));
    assert_eq!(start_of(Position::AtTimestamp, InitialPosition::Timestamp(time)), Some(time));
    assert_eq!(start_of(Position::AtTimestamp, InitialPosition::Latest), Some(UnixMillis(0)), "loses nothing");
}

#[test]
fn a_pinned_start_is_not_pinned_again() {
    let mut desk = Desk::new(settings());
    let start = Some(UnixMillis(5));
    desk.put(penstock_core::lease::LeaseRow { start, ..row(0, &[], Position::Latest) });
    desk.run_for(SECOND);
    assert_eq!(desk.row(0).start, start);
    assert_eq!(desk.started(0).unwrap().row.start, start);
}

#[test]
fn a_rejected_take_is_not_a_success_even_if_the_row_names_us() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::TrimHorizon));
    // The take is applied and its answer lost: the row names us now, and we do not hold it.
    desk.fates.extend([Fate::AnswerLost, Fate::Silent]);
    desk.run_for(SECOND);
    assert_eq!(desk.row(0).owner, Some(me()));
    assert!(desk.started(0).is_none());
    let [(first, _), (second, take)] = &desk.writes[..] else { panic!("two takes") };
    assert_ne!(first, second);
    assert_eq!(take.expect.counter, desk.row(0).counter, "taken anew, on the counter that the row has");
    assert_eq!(take.expect.owner, Some(Some(me())));
}

#[test]
fn a_lease_whose_take_was_answered_too_late_is_not_held() {
    let mut desk = Desk::new(settings());
    desk.put(row(0, &[], Position::TrimHorizon));
    desk.fates.push_back(Fate::Silent);
    desk.run_for(SECOND);
    let (id, take) = desk.writes[0].clone();
    let outcome = desk.apply(&take);
    desk.pause_for(10 * SECOND);
    desk.fates.push_back(Fate::Silent);
    desk.handle(Event::LeaseWritten { id, result: WriteResult::Answered(outcome) });
    assert_eq!(desk.coordinator.held(), 0);
    assert_eq!(desk.writes[1].1.expect.owner, Some(Some(me())), "it is taken anew instead");
}

#[test]
fn a_stream_created_anew_is_never_read_with_old_checkpoints() {
    let mut desk = Desk::new(settings());
    desk.put(penstock_core::lease::LeaseRow {
        stream_created: Some(UnixMillis(1)),
        ..row(0, &[], Position::After(at(9)))
    });
    desk.put(row(1, &[], Position::TrimHorizon));
    desk.shards = vec![shard(0, &[]), shard(1, &[]), shard(2, &[])];
    desk.run_for(40 * SECOND);
    assert!(desk.writes.is_empty() && desk.created.is_empty());
    assert_eq!(
        desk.reports(),
        [Report::StreamRecreated { index: StreamIndex(0), rows: UnixMillis(1), stream: CREATED }]
    );
}

#[test]
fn a_row_that_cannot_be_read_is_reported_once_and_not_created_again() {
    let mut desk = Desk::new(settings());
    desk.handle(Event::Tick);
    let unreadable = || vec![UnreadableRow { key: key(0), problem: "leaseCounter is missing".to_owned() }];
    desk.shards = vec![shard(0, &[])];
    for _ in 0..2 {
        let scan = Some(Scan { rows: Vec::new(), unreadable: unreadable() });
        desk.handle(Event::LeasesScanned { started: desk.now.instant, scan });
    }
    let is_unowned =
        |command: &Command| matches!(command, Command::Report(Report::Scanned { leases: 1, unowned: 1, .. }));
    assert!(desk.told.iter().any(is_unowned), "nobody can hold it: {:?}", desk.told);
    desk.told.retain(|command| matches!(command, Command::Report(Report::UnreadableRow { .. })));
    assert_eq!(desk.told.len(), 1);
}

#[test]
fn the_scan_is_reported_with_leases_owners_and_workers() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "a"));
    desk.put(owned(1, "b"));
    desk.put(row(2, &[], Position::TrimHorizon));
    desk.put(row(3, &[], Position::ShardEnd));
    desk.handle(Event::Tick);
    let Some(Command::Report(scanned)) = desk.told.first() else { panic!("a report") };
    assert_eq!(*scanned, Report::Scanned { leases: 3, unowned: 1, workers: 3 });
    assert_eq!(desk.coordinator.unowned(), 1);
}

#[test]
fn a_worker_that_cannot_see_the_table_goes_on_looking() {
    let mut desk = Desk::new(settings());
    desk.blind = true;
    desk.shards = vec![shard(0, &[])];
    desk.run_for(20 * SECOND);
    assert!((3..=6).contains(&desk.scans));
    desk.blind = false;
    desk.run_for(10 * SECOND);
    assert!(desk.started(0).is_some());
}

#[test]
fn a_killed_workers_shard_is_taken_within_one_and_a_half_failover_times_of_its_last_write() {
    let mut desk = Desk::new(settings());
    desk.put(owned(0, "other"));
    desk.shards = vec![shard(0, &[])];
    for _ in 0..7 {
        desk.row_mut(0).counter = desk.row(0).counter.next();
        desk.run_for(3 * SECOND);
    }
    desk.row_mut(0).counter = desk.row(0).counter.next();
    desk.run_for(15 * SECOND);
    assert!(desk.started(0).is_some());
}

#[test]
fn scans_come_often_while_something_is_free_and_not_for_ever() {
    let mut desk = Desk::new(CoordinatorSettings { max_leases: Some(0), ..settings() });
    desk.put(row(0, &[], Position::TrimHorizon));
    desk.run_for(20 * SECOND);
    assert!(desk.scans >= 35, "{}", desk.scans);
    desk.run_for(20 * SECOND);
    let scans = desk.scans;
    desk.run_for(20 * SECOND);
    assert!(desk.scans <= scans + 6, "{}", desk.scans - scans);
}

#[test]
fn caps_that_cannot_hold_all_leases_are_told_once() {
    let mut desk = Desk::new(CoordinatorSettings { max_leases: Some(1), ..settings() });
    (0..3).for_each(|number| desk.put(row(number, &[], Position::TrimHorizon)));
    desk.run_for(60 * SECOND);
    let told = Report::CapsTooSmall { workers: 1, max_leases: 1, leases: 3 };
    assert_eq!(desk.reports().iter().filter(|report| **report == told).count(), 1);
}
