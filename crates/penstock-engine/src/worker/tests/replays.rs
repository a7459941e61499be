//! Intents whose records cannot be read: nobody waits behind what only an operator can mend, and a passing trouble is waited for.

use penstock_core::gap::GapEnd;
use penstock_core::ids::ShardId;

use super::streams::{checkpoint, key, of_several, several, start};
use super::*;

/// What only an operator can mend.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Deleted,
    CreatedAgain,
    /// The records are of another stream.
    Refused,
    Denied,
}

const fn all_calls(stream: &FakeStream) -> [&Faults; 4] {
    [&stream.describe_faults, &stream.list_faults, &stream.open_faults, &stream.fetch_faults]
}

impl Trouble {
    fn befalls(self, stream: &FakeStream) {
        let fails = |faults: &Faults, class| faults.add(class, 10_000);
        match self {
            Self::Deleted => all_calls(stream).into_iter().for_each(|faults| fails(faults, ErrorClass::NotFound)),
            Self::CreatedAgain => {
                *stream.created.lock().unwrap() = START;
                fails(&stream.open_faults, ErrorClass::NotFound);
            }
            Self::Refused => fails(&stream.open_faults, ErrorClass::Rejected),
            Self::Denied => fails(&stream.fetch_faults, ErrorClass::Denied),
        }
    }

    const fn is_told_as(self) -> &'static str {
        match self {
            Self::Deleted => "DescribeStreamSummary on fake failed: as told",
            Self::CreatedAgain => "the stream was created again",
            Self::Refused => "GetShardIterator on fake failed: as told",
            Self::Denied => "GetRecords on fake failed: as told",
        }
    }
}

fn mended(stream: &FakeStream) {
    *stream.created.lock().unwrap() = penstock_core::time::UnixMillis(START.0 - 1_000);
    all_calls(stream).into_iter().for_each(Faults::clear);
}

/// A worker has died with an intent of each of two streams open, and another has started and waits for the leases to expire.
async fn left_with_intents() -> (World, Started) {
    let world = several();
    world.stream.put(SHARD, 1..=20);
    world.more[0].put(SHARD, 21..=40);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let first = start(&world);
    until("the intents", || world.table.rows.lock().unwrap().values().filter(|row| row.intent.is_some()).count() == 2)
        .await;
    first.run.abort();
    world.objects.put_faults.clear();
    let settings = WorkerSettings { leases: of_several().leases, ..settings("w-2") };
    let second = world.start(SinkPort::Objects(world.objects.clone()), false, settings);
    until("the start", || second.status.snapshot().leases.len() == 2).await;
    assert!(second.status.snapshot().shards.is_empty());
    (world, second)
}

fn is_done(world: &World, stream: &str) -> bool {
    let last = if stream == "clicks" { 20 } else { 40 };
    checkpoint(world, stream) == Some(Position::After(position(last)))
}

#[tokio::test(start_paused = true)]
async fn no_replay_waits_behind_one_that_only_an_operator_can_help() {
    for trouble in [Trouble::Deleted, Trouble::CreatedAgain, Trouble::Refused, Trouble::Denied] {
        // Whichever has the turn first.
        for (broken, whole) in [("clicks", "orders"), ("orders", "clicks")] {
            let (world, worker) = left_with_intents().await;
            let stream = if broken == "clicks" { &world.stream } else { &world.more[0] };
            trouble.befalls(stream);
            let began = tokio::time::Instant::now();
            until("the other stream", || is_done(&world, whole)).await;
            until("the reason", || worker.status.snapshot().given_up.len() == 1).await;
            // A failover time until the leases are free.
            assert!(began.elapsed() < Duration::from_secs(20), "{trouble:?} of {broken}: {:?}", began.elapsed());
            let (lease, reason) = worker.status.snapshot().given_up.remove(0);
            assert_eq!(lease, key(broken, SHARD));
            assert!(reason.contains(trouble.is_told_as()), "{reason}");
            assert!(reason.ends_with(&format!("`penstock leases abandon-intent {lease}` gives them up")), "{reason}");
            let row = world.table.rows.lock().unwrap()[&lease].clone();
            assert_eq!((row.owner, row.intent.is_some()), (None, true));
            mended(stream);
            until("the replay", || is_done(&world, broken)).await;
            assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
            assert_eq!(worker.stop().await, Exit::Clean);
            let mut there = world.objects.lines();
            there.sort_by_key(|line| line[1..].parse::<u64>().unwrap());
            assert_eq!(there, lines(1..=40), "{trouble:?} of {broken}");
            assert!(world.gaps.entries.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_for_what_passes() {
    let (world, worker) = left_with_intents().await;
    let began = tokio::time::Instant::now();
    world.stream.fetch_faults.add(ErrorClass::Throttled, 4);
    world.more[0].open_faults.add(ErrorClass::NotFound, 1);
    world.more[0].describe_faults.add(ErrorClass::Throttled, 2);
    world.more[0].fetch_faults.add(ErrorClass::Transient, 4);
    until("both", || {
        assert!(worker.status.snapshot().given_up.is_empty(), "{:?}", worker.status.snapshot().given_up);
        is_done(&world, "clicks") && is_done(&world, "orders")
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_replay_without_a_record_for_two_minutes_lets_somebody_else_try() {
    let (world, worker) = left_with_intents().await;
    let began = tokio::time::Instant::now();
    world.stream.fetch_faults.add(ErrorClass::Transient, 10_000);
    world.more[0].fetch_faults.add(ErrorClass::Transient, 10_000);
    until("the reason", || !worker.status.snapshot().given_up.is_empty()).await;
    assert!(began.elapsed() > Duration::from_secs(120), "{:?}", began.elapsed());
    let (_, reason) = worker.status.snapshot().given_up.remove(0);
    assert!(reason.contains("none came within 120s, the last problem was: GetRecords on fake failed"), "{reason}");
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn the_intent_of_a_shard_that_expired_is_settled_with_a_gap() {
    let (world, worker) = left_with_intents().await;
    // The stream is the same, and does not list the shard any more.
    world.stream.add_shard(CHILD, &[]);
    world.stream.shards.lock().unwrap().remove(&ShardId::new(SHARD));
    until("the gap", || !world.gaps.entries.lock().unwrap().is_empty()).await;
    let ranges: Vec<_> = world.gaps.entries.lock().unwrap().values().map(|entry| entry.range.clone()).collect();
    assert_eq!(
        (ranges[0].after.clone(), ranges[0].end.clone()),
        (Position::TrimHorizon, GapEnd::Through(position(20)))
    );
    until("the end", || checkpoint(&world, "clicks").is_none_or(|at| at == Position::ShardEnd)).await;
    assert!(worker.status.snapshot().given_up.is_empty());
    until("the other", || is_done(&world, "orders")).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(21..=40));
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_is_trimmed_while_it_is_read_is_begun_again_and_settled_with_a_gap() {
    let (world, worker) = left_with_intents().await;
    let fetches = || world.stream.fetched_at.lock().unwrap().len();
    let before = fetches();
    until("the first page", || fetches() > before).await;
    world.stream.trim(SHARD, 20);
    until("the reason", || !worker.status.snapshot().given_up.is_empty()).await;
    let (_, reason) = worker.status.snapshot().given_up.remove(0);
    assert!(reason.contains("1 to 20, cannot be read: some were trimmed while they were read"), "{reason}");
    until("both", || is_done(&world, "clicks") && is_done(&world, "orders")).await;
    let ranges: Vec<_> = world.gaps.entries.lock().unwrap().values().map(|entry| entry.range.clone()).collect();
    assert_eq!(ranges.iter().map(|range| range.end.clone()).collect::<Vec<_>>(), [GapEnd::Through(position(20))]);
    let settled = world.table.rows.lock().unwrap()[&key("clicks", SHARD)].arrival;
    assert_eq!(settled, Some(*world.stream.created.lock().unwrap()), "nobody knows when they arrived");
    assert_eq!(worker.stop().await, Exit::Clean);
}
