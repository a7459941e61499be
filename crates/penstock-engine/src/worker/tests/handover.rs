//! Leases that change hands in order: between running workers, and at the end of one.

use penstock_core::coordinator::api::LeaseMode;
use penstock_core::ids::WorkerId;

use super::*;

/// The longest time for which a shard was not read, from `from` until now.
fn longest_silence(world: &World, from: tokio::time::Instant) -> Duration {
    let fetched = world.stream.fetched_of.lock().unwrap();
    let now = tokio::time::Instant::now();
    let of = |at: &Vec<tokio::time::Instant>| {
        let last = at.iter().copied().rfind(|at| *at < from);
        let at: Vec<_> = last.into_iter().chain(at.iter().copied().filter(|at| *at >= from)).chain([now]).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    };
    fetched.values().map(of).max().unwrap_or_default()
}

fn with_calls(world: &World, worker: &str) -> Started {
    let mut settings = settings(worker);
    settings.calls.linger = Duration::from_secs(10);
    world.start(SinkPort::Calls(world.calls.clone()), false, settings)
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_asked_for_is_handed_over_without_a_long_silence_and_nothing_twice() {
    for sink in ["objects", "calls"] {
        let world = World::new(&[SHARD, CHILD]);
        let start = |name: &str| if sink == "calls" { with_calls(&world, name) } else { world.objects(name) };
        let first = start("w-1");
        until("the leases", || first.status.snapshot().shards.len() == 2).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        let joined = tokio::time::Instant::now();
        let second = start("w-2");
        let mut number = 1;
        until("the handover", || {
            for shard in [SHARD, CHILD] {
                world.stream.put(shard, number..=number);
                number += 1;
            }
            second.status.snapshot().shards.iter().any(|shard| shard.behind.is_some())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(
            longest_silence(&world, joined) < Duration::from_secs(3),
            "{sink}: {:?}",
            longest_silence(&world, joined)
        );
        assert_eq!(first.status.snapshot().shards.len(), 1);
        assert!(first.status.snapshot().totals.lease_losses.is_empty(), "asked for, not stolen");
        assert_eq!(first.stop().await, Exit::Clean);
        assert_eq!(second.stop().await, Exit::Clean);
        let mut all = if sink == "calls" { super::calls::taken(&world) } else { world.objects.lines() };
        all.sort_by_key(|line| line[1..].parse::<u64>().unwrap());
        assert_eq!(all, lines(1..=number - 1), "{sink}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_reads_on_until_another_can_take_over() {
    let world = World::new(&[SHARD, CHILD]);
    let first = world.objects("w-1");
    until("both leases", || first.status.snapshot().shards.len() == 2).await;
    let second = world.objects("w-2");
    until("one each", || second.status.snapshot().shards.len() == 1 && first.status.snapshot().shards.len() == 1).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let began = tokio::time::Instant::now();
    world.stream.put(SHARD, 1..=30);
    world.stream.put(CHILD, 31..=60);
    assert_eq!(first.stop().await, Exit::Clean);
    assert!(began.elapsed() <= Duration::from_secs(25), "{:?}", began.elapsed());
    until("both", || second.status.snapshot().shards.iter().filter(|shard| shard.behind.is_some()).count() == 2).await;
    assert!(longest_silence(&world, began) < Duration::from_secs(3), "{:?}", longest_silence(&world, began));
    assert_eq!(second.stop().await, Exit::Clean);
    let mut all = world.objects.lines();
    all.sort_by_key(|line| line[1..].parse::<u64>().unwrap());
    assert_eq!(all, lines(1..=60));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_puts_its_open_batches_while_it_still_reads() {
    let world = World::new(&[SHARD, CHILD]);
    *world.objects.slow_by_line.lock().unwrap() = Duration::from_millis(20);
    let started = |name: &str| {
        let mut settings = settings(name);
        settings.objects.buffer_interval = Duration::from_secs(3_600);
        world.start(SinkPort::Objects(world.objects.clone()), false, settings)
    };
    let (first, second) = (started("w-1"), started("w-2"));
    until("one each", || [&first, &second].iter().all(|worker| worker.status.snapshot().shards.len() == 1)).await;
    world.stream.put(SHARD, 1..=250);
    world.stream.put(CHILD, 251..=500);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let began = tokio::time::Instant::now();
    let stopped = tokio::spawn(first.stop());
    for number in 1..=40 {
        world.stream.put(SHARD, 1_000 + number..=1_000 + number);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stopped.await.unwrap(), Exit::Clean);
    until("both", || second.status.snapshot().shards.iter().filter(|shard| shard.behind.is_some()).count() == 2).await;
    // A put of all that was open takes five seconds.
    assert!(longest_silence(&world, began) < Duration::from_secs(3), "{:?}", longest_silence(&world, began));
    assert_eq!(second.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines().len(), 540);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_is_told_to_the_keeper_and_stands_in_the_row() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    for round in 1..=60 {
        world.stream.put(SHARD, round * 100..=round * 100 + 99);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let rate = world.table.row(SHARD).throughput.unwrap().kib_per_second();
    // A hundred records of five bytes or so, ten to a page.
    assert!((0.1..1.0).contains(&rate), "{rate}");
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[test]
fn the_first_answer_of_a_tenure_ends_its_silence() {
    use crate::status::ShardCell;
    use penstock_core::coordinator::api::Silence;
    use penstock_core::time::{Instant, Now, UnixMillis};
    let now = Now { instant: Instant::from_nanos(90_000_000_000), wall: UnixMillis(50_000) };
    let answered = |silence: Option<Silence>| {
        let cell = ShardCell::new(
            LeaseKey::new(SHARD),
            StreamName::new("clicks"),
            Position::TrimHorizon,
            silence,
            now.instant,
        );
        let first = cell.answered(now, Duration::ZERO, 7);
        assert_eq!(cell.answered(now, Duration::ZERO, 5), None, "only the first");
        assert_eq!((cell.take_untold(), cell.take_untold()), (12, 0));
        first
    };
    assert_eq!(answered(None), None);
    assert_eq!(answered(Some(Silence::Left(UnixMillis(48_500)))), Some(Duration::from_millis(1_500)));
    assert_eq!(answered(Some(Silence::Left(UnixMillis(60_000)))), Some(Duration::ZERO), "its clock is ahead");
    assert_eq!(answered(Some(Silence::Unheard(Instant::from_nanos(80_000_000_000)))), Some(Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn in_exclusive_mode_a_foreign_worker_ends_this_one_in_order() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    let mut settings = settings("w-1");
    settings.leases.mode = LeaseMode::Exclusive;
    let worker = world.start(SinkPort::Objects(world.objects.clone()), false, settings);
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    {
        let mut rows = world.table.rows.lock().unwrap();
        let row = rows.get_mut(&LeaseKey::new(SHARD)).unwrap();
        row.owner = Some(WorkerId::new("java"));
        row.counter = row.counter.next();
    }
    let exit = tokio::time::timeout(Duration::from_secs(60), worker.run).await.unwrap().unwrap().unwrap();
    let Exit::Refused { problem } = exit else { panic!("{exit:?}") };
    assert!(problem.contains("java"), "{problem}");
}
