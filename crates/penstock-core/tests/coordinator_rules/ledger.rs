//! What the gap ledger has to hold before a row is created.

use std::time::Duration;

use crate::desk::*;
use penstock_core::coordinator::api::{Event, GapReason, InitialPosition};
use penstock_core::gap::{GapEnd, GapRange};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_vanished_row_waits_until_the_ledger_has_its_entry() {
    let (mut desk, held) = Desk::holding_one();
    desk.request(
        held.token,
        penstock_core::coordinator::api::ShardRequest::Commit(commit(Position::TrimHorizon, 3, None)),
    );
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
