//! Workers that deliver into objects, and what holds for any worker.

use super::*;

#[tokio::test(start_paused = true)]
async fn records_are_delivered_once_and_the_drain_leaves_nothing_behind() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=95);
    let worker = world.objects("w-1");
    until("the first object", || !world.objects.lines().is_empty()).await;
    world.stream.put(SHARD, 96..=120);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=120));
    let row = world.table.row(SHARD);
    assert_eq!(row.checkpoint, Position::After(position(120)));
    assert_eq!((row.owner, row.intent, row.chain), (None, None, Some(position(120))));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_before_its_intent_is_recorded() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    world.table.write_faults.add(ErrorClass::Throttled, 8);
    until("the object", || {
        let put = *world.objects.puts.lock().unwrap() > 0;
        assert!(!put || world.table.row(SHARD).intent.is_some() || world.checkpoint(SHARD) != Position::TrimHorizon);
        put
    })
    .await;
    worker.stop().await;
    assert_eq!(world.objects.lines(), lines(1..=10));
}

#[tokio::test(start_paused = true)]
async fn a_successor_carries_out_the_intent_of_a_worker_that_died() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=40);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let first = world.objects("w-1");
    until("the intent", || world.table.rows.lock().unwrap().values().any(|row| row.intent.is_some())).await;
    first.run.abort();
    world.objects.put_faults.clear();
    world.stream.put(SHARD, 41..=60);
    let second = world.objects("w-2");
    until("all records", || world.checkpoint(SHARD) == Position::After(position(60))).await;
    assert_eq!(second.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=60));
    assert!(world.objects.stored.lock().unwrap().len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn of_a_trimmed_intent_the_rest_is_put_and_the_gap_is_told() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=40);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let first = world.objects("w-1");
    until("the intent", || world.table.rows.lock().unwrap().values().any(|row| row.intent.is_some())).await;
    first.run.abort();
    world.objects.put_faults.clear();
    world.stream.trim(SHARD, 15);
    let second = world.objects("w-2");
    until("the commit", || world.checkpoint(SHARD) == Position::After(position(40))).await;
    assert_eq!(second.status.snapshot().totals.gaps["trimmed"], 1);
    second.stop().await;
    assert_eq!(world.objects.lines(), lines(16..=40));
}

#[tokio::test(start_paused = true)]
async fn of_a_trimmed_intent_whose_object_is_there_already_nothing_is_missing() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=40);
    *world.objects.slow.lock().unwrap() = Duration::from_secs(1);
    let first = world.objects("w-1");
    until("the intent", || world.table.rows.lock().unwrap().values().any(|row| row.intent.is_some())).await;
    world.table.write_faults.add(ErrorClass::Throttled, 10_000);
    until("the object", || world.objects.lines().len() == 40).await;
    first.run.abort();
    world.table.write_faults.clear();
    assert_eq!(world.checkpoint(SHARD), Position::TrimHorizon);
    world.stream.trim(SHARD, 15);
    let second = world.objects("w-2");
    until("the commit", || world.checkpoint(SHARD) == Position::After(position(40))).await;
    assert!(second.status.snapshot().totals.gaps.is_empty());
    second.stop().await;
    assert_eq!(world.objects.lines(), lines(1..=40));
}

#[tokio::test(start_paused = true)]
async fn one_answer_without_the_records_of_an_intent_does_not_give_them_up() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=40);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let first = world.objects("w-1");
    until("the intent", || world.table.rows.lock().unwrap().values().any(|row| row.intent.is_some())).await;
    first.run.abort();
    world.objects.put_faults.clear();
    let hide =
        || std::mem::take(&mut world.stream.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().records);
    let records = hide();
    let second = world.objects("w-2");
    until("the replay", || world.stream.opened.lock().unwrap().contains(&OpenAt::At(sequence(1)))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stream.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().records = records;
    until("the commit", || world.checkpoint(SHARD) == Position::After(position(40))).await;
    assert!(second.status.snapshot().totals.gaps.is_empty());
    second.stop().await;
    assert_eq!(world.objects.lines(), lines(1..=40));
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_cannot_be_rebuilt_is_left_to_others() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let first = world.objects("w-1");
    until("the intent", || world.table.rows.lock().unwrap().values().any(|row| row.intent.is_some())).await;
    first.run.abort();
    world.objects.put_faults.clear();
    world.stream.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().records[3].1 = b"changed".to_vec();
    let second = world.objects("w-2");
    until("the take", || world.table.row(SHARD).owner.is_some_and(|owner| owner.as_str() == "w-2")).await;
    until("the release", || world.table.row(SHARD).owner.is_none()).await;
    until("the reason", || !second.status.snapshot().given_up.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.table.row(SHARD).owner.is_none(), "taken again before the cool-down is over");
    let (key, reason) = second.status.snapshot().given_up.remove(0);
    assert_eq!(key.as_str(), SHARD);
    assert_eq!(second.status.obstacles(), [format!("leases: {SHARD} was given up: {reason}")]);
    assert!(reason.contains("the digest differs"), "{reason}");
    assert!(world.objects.lines().is_empty());
    assert_eq!(second.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_up_is_forgotten_when_somebody_takes_it() {
    let world = World::new(&[SHARD]);
    let first = world.objects("w-1");
    until("the lease", || first.status.snapshot().shards.len() == 1).await;
    first.stop().await;
    let damage = |intent: Option<&'static [u8]>| {
        world.table.rows.lock().unwrap().get_mut(&LeaseKey::new(SHARD)).unwrap().intent =
            intent.map(bytes::Bytes::from_static);
    };
    damage(Some(b"unreadable"));
    let worker = world.objects("w-2");
    until("the reason", || worker.status.snapshot().given_up.len() == 1).await;
    let owned_by = |owner: Option<&str>| {
        let mut rows = world.table.rows.lock().unwrap();
        let row = rows.get_mut(&LeaseKey::new(SHARD)).unwrap();
        row.owner = owner.map(penstock_core::ids::WorkerId::new);
        row.counter = row.counter.next();
    };
    owned_by(Some("other"));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(worker.status.snapshot().given_up.is_empty(), "it is somebody else's");
    damage(None);
    owned_by(None);
    until("the take", || worker.status.snapshot().shards.len() == 1).await;
    assert!(worker.status.obstacles().is_empty(), "{:?}", worker.status.obstacles());
    damage(Some(b"unreadable"));
    worker.run.abort();
    let again = world.objects("w-3");
    until("the reason", || again.status.snapshot().given_up.len() == 1).await;
    damage(None);
    until("the take", || again.status.snapshot().shards.len() == 1).await;
    assert!(again.status.snapshot().given_up.is_empty());
    assert_eq!(again.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_starts_after_its_parent_and_gets_everything() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=30);
    world.stream.close(SHARD, CHILD);
    world.stream.put(CHILD, 31..=50);
    let worker = world.objects("w-1");
    until("the child", || world.objects.lines().len() == 50).await;
    assert_eq!(world.checkpoint(SHARD), Position::ShardEnd);
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=50));
    assert_eq!(world.checkpoint(CHILD), Position::After(position(50)));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_at_the_start_keeps_the_worker_up_and_unready() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.objects.probe_faults.add(ErrorClass::Denied, 4);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    assert!(matches!(worker.status.snapshot().sink, SinkStatus::Down(_)));
    assert!(worker.status.obstacles()[0].starts_with("sink: "), "{:?}", worker.status.obstacles());
    assert_eq!(worker.status.snapshot().totals.fetched, 0);
    until("the sink", || worker.status.obstacles().is_empty()).await;
    until("the records", || world.objects.lines() == lines(1..=10)).await;
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn past_the_grace_period_the_shards_are_named_and_the_leases_given_back() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let worker = world.objects("w-1");
    until("a put", || *world.objects.puts.lock().unwrap() > 0).await;
    let began = tokio::time::Instant::now();
    let status = worker.status.clone();
    let Exit::Undelivered { shards } = worker.stop().await else { panic!("not undelivered") };
    assert!(began.elapsed() <= Duration::from_secs(25), "{:?}", began.elapsed());
    assert_eq!((shards[0].shard.as_str(), shards[0].records), (SHARD, 10));
    assert_eq!(shards[0].checkpoint, Position::TrimHorizon);
    assert_eq!(status.snapshot().totals.abandoned["grace_period"], 10);
    assert_eq!(world.table.row(SHARD).owner, None);
    assert!(world.table.row(SHARD).intent.is_some(), "the intent stays for whoever takes the lease");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_its_shard_and_its_records_count_as_abandoned() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let worker = world.objects("w-1");
    until("a put", || *world.objects.puts.lock().unwrap() > 0).await;
    {
        let mut rows = world.table.rows.lock().unwrap();
        let row = rows.get_mut(&LeaseKey::new(SHARD)).unwrap();
        row.owner = Some(penstock_core::ids::WorkerId::new("other"));
        row.counter = row.counter.next();
    }
    until("the loss", || worker.status.snapshot().shards.is_empty()).await;
    assert_eq!(worker.status.snapshot().totals.abandoned["lease_lost"], 10);
    let puts = *world.objects.puts.lock().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*world.objects.puts.lock().unwrap(), puts);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_out_of_reach_stops_deliveries_before_the_lease_expires() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    world.objects.put_faults.add(ErrorClass::Transient, 10_000);
    let worker = world.objects("w-1");
    until("a put", || *world.objects.puts.lock().unwrap() > 0).await;
    world.table.write_faults.add(ErrorClass::Transient, 10_000);
    let cut_off = tokio::time::Instant::now();
    until("the loss", || worker.status.snapshot().shards.is_empty()).await;
    assert!(cut_off.elapsed() < Duration::from_secs(10), "{:?}", cut_off.elapsed());
    worker.run.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_created_again_is_not_started_on() {
    let world = World::new(&[SHARD]);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    worker.stop().await;
    *world.stream.created.lock().unwrap() = START;
    let again = world.objects("w-2");
    let error = again.run.await.unwrap().unwrap_err();
    assert!(matches!(error, StartError::StreamRecreated { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn shards_of_a_stream_that_is_created_again_under_a_running_worker_are_not_taken() {
    let world = World::new(&[SHARD]);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    *world.stream.created.lock().unwrap() = START;
    world.stream.add_shard("shardId-000000000001", &[]);
    world.stream.put("shardId-000000000001", 1..=10);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(worker.status.snapshot().leases.len(), 1);
    assert_eq!(worker.stop().await, Exit::Clean);
    assert!(world.objects.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_gone_or_created_again_makes_the_worker_unready_until_it_is_back() {
    let world = World::new(&[SHARD]);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    until("readiness", || worker.status.obstacles().is_empty()).await;
    let created = std::mem::replace(&mut *world.stream.created.lock().unwrap(), START);
    until("the problem", || worker.status.snapshot().streams[0].problem.is_some()).await;
    let obstacles = worker.status.obstacles();
    assert!(obstacles[0].starts_with("stream clicks: ") && obstacles[0].contains("created again"), "{obstacles:?}");
    *world.stream.created.lock().unwrap() = created;
    let back = tokio::time::Instant::now();
    until("readiness", || worker.status.obstacles().is_empty()).await;
    assert!(back.elapsed() < Duration::from_secs(60), "the next look shows it: {:?}", back.elapsed());
    world.stream.list_faults.add(ErrorClass::NotFound, 1);
    until("the problem", || worker.status.snapshot().streams[0].problem.is_some()).await;
    until("readiness", || worker.status.obstacles().is_empty()).await;
    world.stream.list_faults.add(ErrorClass::Throttled, 3);
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(worker.status.snapshot().streams[0].problem, None, "a throttled look says nothing of the stream");
    }
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_may_not_be_read_ends_the_start() {
    let world = World::new(&[SHARD]);
    world.table.scan_faults.add(ErrorClass::Denied, 100);
    assert!(matches!(world.objects("w-1").run.await.unwrap(), Err(StartError::Leases(_))));
}

#[tokio::test(start_paused = true)]
async fn series_of_single_shards_are_there_while_the_shard_is_held_and_no_longer() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    let worker = world.objects("w-1");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let series = worker.status.shard_series();
    let names: Vec<&str> = series.iter().map(|series| series.metric.name).collect();
    assert_eq!(names, ["penstock_iterator_age_milliseconds", "penstock_oldest_unsettled_age_seconds"]);
    assert!(series.iter().all(|series| series.labels == ["clicks", SHARD]));
    assert!(series[1].value >= 2.0, "{series:?}");
    let status = worker.status.clone();
    worker.stop().await;
    assert!(status.shard_series().is_empty());
}

#[tokio::test(start_paused = true)]
async fn lag_grows_while_nothing_is_read_and_is_that_of_the_tip_otherwise() {
    let world = World::new(&[SHARD]);
    let worker = world.objects("w-1");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(worker.status.snapshot().lag <= Duration::from_secs(2), "{:?}", worker.status.snapshot().lag);
    world.stream.fetch_faults.add(ErrorClass::Denied, 10);
    tokio::time::sleep(Duration::from_secs(50)).await;
    let status = worker.status.snapshot();
    assert!(status.lag >= Duration::from_secs(48), "{:?}", status.lag);
    assert!(status.shards[0].problem.as_ref().unwrap().contains("GetRecords"));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_does_not_cost_the_lease() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    *world.objects.slow.lock().unwrap() = Duration::from_secs(100);
    let worker = world.objects("w-1");
    until("the record", || world.objects.lines() == lines(1..=10)).await;
    assert_eq!(*world.objects.puts.lock().unwrap(), 1);
    assert!(worker.status.snapshot().totals.lease_losses.is_empty());
    assert!(worker.status.is_live(Duration::from_secs(5)));
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_slow_sink_within_the_grace_period() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=30);
    *world.objects.slow.lock().unwrap() = Duration::from_secs(8);
    let worker = world.objects("w-1");
    until("the records", || worker.status.snapshot().totals.fetched == 30).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=30));
    assert_eq!(world.table.row(SHARD).owner, None);
}

#[tokio::test(start_paused = true)]
async fn a_table_call_that_panics_after_its_effect_is_an_unknown_outcome_and_costs_no_lease() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    for _ in 0..5 {
        world.table.panics.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    assert!(worker.status.snapshot().totals.lease_losses.is_empty());
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=10));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_fails_starts_again_alone() {
    let world = World::new(&[SHARD, CHILD]);
    world.stream.put(SHARD, 1..=40);
    world.stream.put(CHILD, 41..=80);
    *world.objects.panics_at.lock().unwrap() = Some(b"r17".to_vec());
    let worker = world.objects("w-1");
    until("all records", || world.objects.lines().len() == 80).await;
    let status = worker.status.snapshot();
    assert_eq!(status.shards.iter().map(|shard| shard.restarts).sum::<u32>(), 1);
    assert!(status.totals.abandoned["restart"] > 0);
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=80));
}

#[tokio::test(start_paused = true)]
async fn short_memory_closes_the_largest_batch_and_is_never_exceeded() {
    let world = World::new(&[SHARD, CHILD]);
    for shard in [SHARD, CHILD] {
        world.stream.put(shard, 1..=40);
        for record in &mut world.stream.shards.lock().unwrap().get_mut(&ShardId::new(shard)).unwrap().records {
            record.1 = vec![b'x'; 1024 * 1024];
        }
    }
    let mut settings = settings("w-1");
    settings.memory_budget = 64 * 1024 * 1024;
    settings.objects.buffer_interval = Duration::from_secs(3_600);
    *world.objects.slow.lock().unwrap() = Duration::from_secs(1);
    let worker = world.start(SinkPort::Objects(world.objects.clone()), false, settings);
    until("both backlogs", || {
        let status = worker.status.snapshot();
        assert!(status.memory_used <= status.memory_budget, "{}", status.memory_used);
        status.totals.fetched == 80 && status.shards.iter().all(|shard| shard.behind == Some(Duration::ZERO))
    })
    .await;
    assert!(world.objects.stored.lock().unwrap().len() >= 2, "closed for memory");
    assert_eq!(worker.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines().len(), 80);
}
