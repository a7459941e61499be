//! The gap ledger as a worker shows it.

use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::time::UnixMillis;

use super::*;
use crate::ports::GapLedger;

fn entry(reason: GapReason, number: i64) -> GapEntry {
    GapEntry {
        stream: StreamName::new("clicks"),
        stream_created: UnixMillis(START.0 - 1_000),
        lease: LeaseKey::new(SHARD),
        range: GapRange { after: Position::TrimHorizon, end: GapEnd::Until(UnixMillis(number)) },
        reason,
        noticed: UnixMillis(number),
        by: penstock_core::ids::WorkerId::new("somebody"),
        acknowledged: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_cannot_be_used_ends_the_start() {
    let world = World::new(&[SHARD]);
    world.gaps.prepare_faults.add(ErrorClass::Denied, 1);
    let error = world.objects("w-1").run.await.unwrap().unwrap_err();
    assert!(matches!(error, StartError::Gaps(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn open_gaps_are_shown_until_they_are_acknowledged() {
    let world = World::new(&[SHARD]);
    world.gaps.record(&entry(GapReason::Trimmed, 1)).await.unwrap();
    world.gaps.record(&entry(GapReason::StartedLate, 2)).await.unwrap();
    let worker = world.objects("w-1");
    until("the gap", || worker.status.snapshot().open_gaps == 1).await;
    let shown = worker.status.snapshot().gaps;
    assert_eq!(shown, [entry(GapReason::Trimmed, 1)], "a late start is never open");
    for number in 10..=160 {
        world.gaps.record(&entry(GapReason::ShardExpired, number)).await.unwrap();
    }
    until("the gaps that others noticed", || worker.status.snapshot().open_gaps == 152).await;
    assert_eq!(worker.status.snapshot().gaps.len(), crate::status::SHOWN_GAPS);
    assert!(worker.status.obstacles().is_empty(), "gaps are of the past: {:?}", worker.status.obstacles());
    let ids: Vec<_> = world.gaps.entries.lock().unwrap().keys().copied().collect();
    for id in ids {
        world.gaps.acknowledge(id, START).await.unwrap();
    }
    until("the acknowledgement", || worker.status.snapshot().open_gaps == 0).await;
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_gap_of_this_worker_is_shown_within_seconds() {
    let world = World::new(&[SHARD]);
    let settings = settings("w-1");
    let metrics = Arc::new(Metrics::register());
    let budget = MemoryBudget::new(settings.memory_budget, world.clock.clone(), metrics.memory_used.clone()).unwrap();
    let board = Board::new(&settings, &[], world.clock.clone(), metrics, budget);
    let (ledger, watch) = crate::ledger::ToldLedger::new(
        world.gaps.clone(),
        Arc::clone(&board),
        Duration::from_secs(3),
        Random::seeded(1),
    );
    let watch = tokio::spawn(watch.run());
    tokio::time::sleep(Duration::from_secs(20)).await;
    ledger.record(&entry(GapReason::RowRecreated, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(board.handle().snapshot().open_gaps, 1);
    watch.abort();
}
