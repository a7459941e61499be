//! Records are gone that nobody read: the ledger has them before a checkpoint passes them, and what is idle is no gap.

use penstock_core::gap::{GapEnd, GapRange};
use penstock_core::time::UnixMillis;

use super::*;

const OTHER: &str = "shardId-000000000005";

/// A worker dies with an intent of the first forty records of each shard open, and nothing put.
async fn left_with_intents(shards: &[&str]) -> World {
    let world = World::new(shards);
    shards.iter().for_each(|shard| world.stream.put(shard, 1..=40));
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let first = world.objects("w-1");
    let intents = || world.table.rows.lock().unwrap().values().filter(|row| row.intent.is_some()).count();
    until("the intents", || intents() == shards.len()).await;
    first.run.abort();
    world.objects.put_faults.clear();
    world
}

fn ranges(world: &World) -> Vec<GapRange> {
    let entries = world.gaps.entries.lock().unwrap();
    entries.values().filter(|entry| entry.is_open()).map(|entry| entry.range.clone()).collect()
}

fn lost(end: GapEnd) -> Vec<GapRange> {
    vec![GapRange { after: Position::TrimHorizon, end }]
}

async fn committed(world: &World, shard: &str) {
    until("the commit", || world.checkpoint(shard) == Position::After(position(40))).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_trimmed_intent_the_ledger_gets_what_the_object_lacks() {
    let world = left_with_intents(&[SHARD]).await;
    world.stream.trim(SHARD, 15);
    let second = world.objects("w-2");
    committed(&world, SHARD).await;
    assert_eq!(ranges(&world), lost(GapEnd::Before(sequence(16))));
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_an_intent_of_which_nothing_is_left_the_ledger_gets_all() {
    let world = left_with_intents(&[SHARD]).await;
    world.stream.trim(SHARD, 40);
    let second = world.objects("w-2");
    committed(&world, SHARD).await;
    assert_eq!(ranges(&world), lost(GapEnd::Through(position(40))));
    assert!(world.objects.lines().is_empty());
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_an_object_that_somebody_else_put_nobody_knows_what_it_lacks() {
    let world = left_with_intents(&[SHARD]).await;
    // Somebody read more of it before more was trimmed.
    world.stream.trim(SHARD, 10);
    world.gaps.faults.add(ErrorClass::Transient, 10_000);
    let second = world.objects("w-2");
    until("the partial object", || world.objects.lines() == lines(11..=40)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    second.run.abort();
    world.gaps.faults.clear();
    world.stream.trim(SHARD, 20);
    let third = world.objects("w-3");
    committed(&world, SHARD).await;
    assert_eq!(ranges(&world), lost(GapEnd::Through(position(40))));
    assert_eq!(world.objects.lines(), lines(11..=40), "what stands there stays");
    third.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_whose_gap_cannot_be_recorded_waits_and_no_other_waits_for_it() {
    let world = left_with_intents(&[SHARD, OTHER]).await;
    world.stream.trim(SHARD, 15);
    world.gaps.faults.add(ErrorClass::Denied, 1_000_000);
    let second = world.objects("w-2");
    committed(&world, OTHER).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((world.checkpoint(SHARD), ranges(&world)), (Position::TrimHorizon, vec![]));
    assert!(world.table.row(SHARD).intent.is_some());
    let snapshot = second.status.snapshot();
    assert!(snapshot.totals.gaps.is_empty());
    let waiting = snapshot.shards.iter().find(|shard| shard.lease.as_str() == SHARD).unwrap();
    assert!(waiting.problem.as_ref().unwrap().contains("waits until the gap"), "{waiting:?}");
    assert_eq!(snapshot.totals.stalls["gap_ledger"], 1, "it is named, and not started again");
    assert_eq!(waiting.restarts, 0);
    assert_eq!(snapshot.memory_used, 0, "nothing is held that others need");
    world.gaps.faults.clear();
    committed(&world, SHARD).await;
    assert_eq!(second.status.snapshot().totals.gaps["trimmed"], 1);
    second.stop().await;
}

fn rarely_fetching(worker: &str) -> WorkerSettings {
    let mut settings = settings(worker);
    settings.source.idle_interval = Duration::from_secs(30);
    settings.leases.failover_time = Duration::from_secs(60);
    settings
}

/// Nothing arrives for longer than the stream keeps records; a worker ends meanwhile and another begins much later.
async fn idle_for_longer_than_the_retention(start: impl Fn(&World, &str) -> Started) {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    let first = start(&world, "w-1");
    until("the commit", || world.checkpoint_if_there(SHARD) == Some(Position::After(position(10)))).await;
    assert_eq!(world.table.row(SHARD).arrival, Some(START));
    tokio::time::sleep(Duration::from_secs(13 * 3_600)).await;
    let settled = world.table.row(SHARD).arrival.unwrap();
    assert!(settled >= UnixMillis(START.0 + 12 * 3_600_000), "{settled}");
    assert_eq!(first.status.snapshot().totals.lease_losses.len(), 0);
    first.stop().await;
    tokio::time::sleep(Duration::from_secs(20 * 3_600)).await;
    world.stream.trim(SHARD, 10);
    world.stream.put(SHARD, 11..=12);
    let second = start(&world, "w-2");
    until("the commit", || world.checkpoint(SHARD) == Position::After(position(12))).await;
    assert_eq!(ranges(&world), []);
    second.stop().await;
    // Whoever is away for longer than that cannot know.
    tokio::time::sleep(Duration::from_secs(25 * 3_600)).await;
    world.stream.trim(SHARD, 12);
    let third = start(&world, "w-3");
    until("the gap", || !ranges(&world).is_empty()).await;
    assert_eq!(ranges(&world), [GapRange { after: Position::After(position(12)), end: GapEnd::Unknown }]);
    third.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_lay_idle_has_no_gap() {
    idle_for_longer_than_the_retention(|world, worker| {
        world.start(SinkPort::Objects(world.objects.clone()), false, rarely_fetching(worker))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_lay_idle_has_no_gap_by_calls() {
    idle_for_longer_than_the_retention(|world, worker| {
        world.start(SinkPort::Calls(world.calls.clone()), false, rarely_fetching(worker))
    })
    .await;
}

/// Workers begin at the tip of a stream that has been there for long.
fn from_the_tip() -> World {
    let world = World { begins_at: InitialPosition::Latest, ..World::new(&[SHARD]) };
    *world.stream.created.lock().unwrap() = UnixMillis(START.0 - 100 * 3_600_000);
    world
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_before_the_first_commit_is_in_the_ledger_before_it() {
    let world = from_the_tip();
    let first = world.objects("w-1");
    until("the row", || world.checkpoint_if_there(SHARD) == Some(Position::Latest)).await;
    tokio::time::sleep(Duration::from_secs(240)).await;
    first.stop().await;
    // Records come and are trimmed while nobody is there.
    tokio::time::sleep(Duration::from_secs(25 * 3_600)).await;
    world.stream.put_at(SHARD, 11..=40, world.clock.now().wall);
    world.gaps.faults.add(ErrorClass::Denied, 1_000_000);
    let second = world.objects("w-2");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((world.checkpoint(SHARD), world.objects.lines()), (Position::Latest, vec![]));
    world.gaps.faults.clear();
    committed(&world, SHARD).await;
    assert_eq!(ranges(&world), [GapRange { after: Position::Latest, end: GapEnd::Before(sequence(11)) }]);
    second.stop().await;
}

async fn never_written_for_longer_than_the_retention(sink: impl Fn(&World) -> SinkPort) {
    let world = from_the_tip();
    for number in 0..4 {
        let worker = world.start(sink(&world), false, rarely_fetching(&format!("w-{number}")));
        tokio::time::sleep(Duration::from_secs(13 * 3_600)).await;
        let settled = world.table.row(SHARD).arrival.unwrap();
        assert!(world.clock.now().wall.since(settled) <= Duration::from_secs(7 * 3_600), "{settled}");
        worker.stop().await;
    }
    assert_eq!((world.checkpoint(SHARD), ranges(&world)), (Position::Latest, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_nothing_was_ever_written_to_has_no_gap() {
    never_written_for_longer_than_the_retention(|world| SinkPort::Objects(world.objects.clone())).await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_nothing_was_ever_written_to_has_no_gap_by_calls() {
    never_written_for_longer_than_the_retention(|world| SinkPort::Calls(world.calls.clone())).await;
}
