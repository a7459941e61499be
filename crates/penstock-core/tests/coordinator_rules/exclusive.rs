//! Exclusive mode: nothing is taken while somebody else is alive, and everything is let go when somebody comes.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{CoordinatorSettings, LeaseMode, Report, StopReason};
use penstock_core::ids::WorkerId;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;

const SECOND: Duration = Duration::from_secs(1);

fn exclusive() -> CoordinatorSettings {
    CoordinatorSettings { mode: LeaseMode::Exclusive, ..settings() }
}

/// A Java worker renews its lease.
fn java_renews(desk: &mut Desk, shard: u32) {
    let row = desk.row_mut(shard);
    row.counter = row.counter.next();
}

#[test]
fn rows_of_other_streams_tell_of_others_too() {
    let mut desk = Desk::new(exclusive());
    let strange = penstock_core::ids::LeaseKey::new("some:thing");
    desk.put(LeaseRow { key: strange.clone(), taken_by: None, ..owned(1, "java") });
    desk.put(row(0, &[], Position::TrimHorizon));
    desk.shards = vec![shard(0, &[])];
    for _ in 0..12 {
        let counter = &mut desk.table.get_mut(&strange).unwrap().counter;
        *counter = counter.next();
        desk.run_for(5 * SECOND);
    }
    assert_eq!(desk.coordinator.held(), 0);
    desk.run_for(36 * SECOND);
    assert_eq!(desk.coordinator.held(), 1);
}

#[test]
fn a_completed_row_tells_of_nobody_until_it_moves() {
    let mut desk = Desk::new(exclusive());
    desk.put(LeaseRow { taken_by: None, checkpoint: Position::ShardEnd, ..owned(1, "java") });
    desk.put(row(0, &[], Position::TrimHorizon));
    desk.shards = vec![shard(0, &[])];
    desk.run_for(SECOND);
    assert_eq!(desk.coordinator.held(), 1);
    java_renews(&mut desk, 1);
    desk.run_for(6 * SECOND);
    let came = Report::ForeignWorker { key: key(1), owner: WorkerId::new("java") };
    assert!(desk.reports().contains(&came));
}

#[test]
fn nothing_is_taken_before_three_failover_times_of_silence() {
    let mut desk = Desk::new(exclusive());
    desk.put(LeaseRow { taken_by: None, ..owned(0, "java") });
    desk.put(row(1, &[], Position::TrimHorizon));
    desk.shards = vec![shard(0, &[]), shard(1, &[])];
    for _ in 0..12 {
        java_renews(&mut desk, 0);
        desk.run_for(4 * SECOND);
    }
    assert!(desk.reports().iter().any(|report| matches!(report, Report::WaitsForForeign { .. })));
    assert!(desk.started(1).is_none(), "not even what nobody owns");
    desk.run_for(25 * SECOND);
    assert!(desk.started(0).is_none() && desk.started(1).is_none());
    desk.run_for(20 * SECOND);
    assert!(desk.started(0).is_some() && desk.started(1).is_some());
}

#[test]
fn a_table_of_penstock_alone_is_worked_on_at_once() {
    let mut desk = Desk::new(exclusive());
    desk.shards = vec![shard(0, &[])];
    desk.run_for(10 * SECOND);
    assert!(desk.started(0).is_some());
}

#[test]
fn everything_is_let_go_when_somebody_comes() {
    let mut desk = Desk::new(exclusive());
    desk.shards = vec![shard(0, &[]), shard(1, &[])];
    desk.run_for(10 * SECOND);
    let kept = desk.started(1).unwrap();
    let row = desk.row_mut(0);
    row.owner = Some(WorkerId::new("java"));
    row.counter = row.counter.next();
    desk.run_for(10 * SECOND);
    let came = |report: &Report| matches!(report, Report::ForeignWorker { owner, .. } if owner.as_str() == "java");
    assert!(desk.reports().iter().any(came), "{:?}", desk.reports());
    assert_eq!(desk.stopped(kept.token), Some(StopReason::Drain));
}
