//! Workers that deliver by calls.

use super::*;

pub(super) fn taken(world: &World) -> Vec<String> {
    let taken = world.calls.taken.lock().unwrap();
    taken
        .iter()
        .flat_map(|entry| String::from_utf8(entry.clone()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn calls_deliver_everything_and_send_only_failed_entries_again() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=23);
    world.calls.partial.lock().unwrap().extend([vec![0, 3], vec![], vec![1]]);
    world.calls.call_faults.add(ErrorClass::Throttled, 2);
    let worker = world.calls(false);
    until("the records", || world.calls.taken.lock().unwrap().len() == 23).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    let mut all = taken(&world);
    all.sort_by_key(|line| line[1..].parse::<u64>().unwrap());
    assert_eq!(all, lines(1..=23));
    assert_eq!(world.checkpoint(SHARD), Position::After(position(23)));
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_cannot_take_is_set_aside_before_the_checkpoint_passes_it() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.stream.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().records[4].1 = vec![b'x'; 500];
    world.calls.poison.lock().unwrap().push(b"r7\n".to_vec());
    world.aside.faults.add(ErrorClass::Transient, 3);
    let worker = world.calls(true);
    until("the checkpoint", || world.checkpoint_if_there(SHARD) == Some(Position::After(position(10)))).await;
    let aside: Vec<_> = world.aside.batches.lock().unwrap().iter().flat_map(|batch| batch.records.clone()).collect();
    assert_eq!(aside.len(), 2);
    let totals = worker.status.snapshot().totals;
    assert_eq!((totals.delivered, totals.set_aside["too_large"], totals.set_aside["rejected"]), (8, 1, 1));
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn without_a_place_to_set_aside_the_shard_halts_and_repeats_nothing() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.calls.poison.lock().unwrap().push(b"r7\n".to_vec());
    let worker = world.calls(false);
    until("the halt", || worker.status.snapshot().shards.iter().any(|shard| shard.phase == ShardPhase::Halted)).await;
    world.stream.put(SHARD, 11..=20);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.calls.taken.lock().unwrap().len(), 9);
    assert_eq!(world.checkpoint(SHARD), Position::After(position(6)), "what came before it is not sent again");
    let problem = worker.status.snapshot().shards[0].problem.clone().unwrap();
    assert!(problem.starts_with("halted at 7"), "{problem}");
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn many_records_share_an_entry_where_its_boundaries_have_no_meaning() {
    let mut world = World::new(&[SHARD]);
    world.calls = Arc::new(FakeCalls { packable: Some(true), ..FakeCalls::default() });
    world.stream.put(SHARD, 1..=100);
    let worker = world.calls(false);
    until("the records", || taken(&world).len() == 100).await;
    assert!(world.calls.taken.lock().unwrap().len() <= 20);
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn per_shard_order_is_kept_by_one_call_at_a_time() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=60);
    world.calls.call_faults.add(ErrorClass::Throttled, 1);
    let mut settings = settings("w-1");
    settings.calls.ordering = crate::settings::Ordering::PerShard;
    let worker = world.start(SinkPort::Calls(world.calls.clone()), false, settings);
    until("the records", || taken(&world).len() == 60).await;
    assert_eq!(taken(&world), lines(1..=60));
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_for_a_lease_that_may_expire_before_it_ends() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.calls.call_faults.add(ErrorClass::Transient, 10_000);
    let worker = world.calls(false);
    until("a call", || *world.calls.calls.lock().unwrap() > 0).await;
    world.table.write_faults.add(ErrorClass::Transient, 10_000);
    until("the loss", || worker.status.snapshot().shards.is_empty()).await;
    let calls = *world.calls.calls.lock().unwrap();
    world.table.scan_faults.add(ErrorClass::Transient, 10_000);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*world.calls.calls.lock().unwrap(), calls);
    assert_eq!(worker.status.snapshot().totals.abandoned["lease_lost"], 10);
    assert_eq!(worker.status.snapshot().memory_used, 0);
    worker.run.abort();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_shard_waits_for_its_calls() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=12);
    world.stream.close(SHARD, CHILD);
    world.stream.put(CHILD, 13..=20);
    world.calls.call_faults.add(ErrorClass::Throttled, 4);
    let worker = world.calls(false);
    until("the end", || {
        let ended = world.checkpoint_if_there(SHARD) == Some(Position::ShardEnd);
        assert!(!ended || taken(&world).len() >= 12);
        ended
    })
    .await;
    until("the child", || taken(&world).len() == 20).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.checkpoint(CHILD), Position::After(position(20)));
}

#[tokio::test(start_paused = true)]
async fn the_checkpoint_follows_each_call_at_once() {
    let world = World::new(&[SHARD]);
    let worker = world.calls(false);
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    for round in 1..=5 {
        world.stream.put(SHARD, round * 10 - 9..=round * 10);
        until("the records", || taken(&world).len() as u64 == round * 10).await;
        // A write takes five milliseconds; a renewal comes much later.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(world.checkpoint(SHARD), Position::After(position(round * 10)));
    }
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_only_what_was_in_calls_is_sent_again() {
    let mut world = World::new(&[SHARD]);
    // All in one load, and five records in each call, one call at a time.
    Arc::get_mut(&mut world.stream).unwrap().page = 1_000;
    world.stream.put(SHARD, 1..=200);
    let mut settings = settings("w-1");
    settings.calls.max_calls_in_flight = std::num::NonZeroUsize::new(1).unwrap();
    let first = world.start(SinkPort::Calls(world.calls.clone()), false, settings.clone());
    until("half of the load", || taken(&world).len() >= 100).await;
    first.run.abort();
    let sent = taken(&world).len() as u64;
    assert!(sent < 200, "{sent}");
    settings.worker = penstock_core::ids::WorkerId::new("w-2");
    let second = world.start(SinkPort::Calls(world.calls.clone()), false, settings);
    until("the rest", || world.checkpoint(SHARD) == Position::After(position(200))).await;
    assert_eq!(second.stop().await, Exit::Clean);
    let repeats = taken(&world).len() - 200;
    assert!(repeats <= 10, "{repeats}: one call, and one whose checkpoint was being written");
}
