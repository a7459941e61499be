//! Workers beside a lease table that says no, is slow or does not answer, and beside the KCL's own record of who assigns.

use penstock_core::coordinator::api::LeaseMode;

use super::*;
use crate::ports::KclVersion;

fn leader() -> KclVersion {
    KclVersion::Leader("CLIENT_VERSION_3X".to_owned())
}

#[tokio::test(start_paused = true)]
async fn beside_a_kcl_leader_nothing_is_started_and_the_error_says_what_to_do() {
    let world = World::new(&[SHARD]);
    *world.table.version.lock().unwrap() = leader();
    let error = world.objects("w-1").run.await.unwrap().unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, StartError::LedByKcl(_)));
    assert!(said.contains("CLIENT_VERSION_3X") && said.contains("leases.mode = \"exclusive\""), "{said}");
    assert!(world.table.rows.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_meant_to_be_alone_starts_where_a_leader_was() {
    let world = World::new(&[SHARD]);
    *world.table.version.lock().unwrap() = leader();
    let mut settings = settings("w-1");
    settings.leases.mode = LeaseMode::Exclusive;
    let worker = world.start(SinkPort::Objects(world.objects.clone()), false, settings);
    until("the scan", || worker.status.snapshot().started).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_look_for_a_leader_goes_on_and_who_cannot_look_tries_again() {
    let world = World::new(&[SHARD]);
    world.table.version_faults.add(ErrorClass::Denied, 1);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    world.table.version_faults.add(ErrorClass::Transient, 3);
    let worker = world.objects("w-2");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    assert_eq!(worker.stop().await, Exit::Clean);
    world.table.version_faults.add(ErrorClass::Transient, 1_000);
    let error = world.objects("w-3").run.await.unwrap().unwrap_err();
    assert!(matches!(error, StartError::KclVersion(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_comes_while_a_worker_runs_ends_it_in_order() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=30);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    world.table.version_faults.add(ErrorClass::Transient, 2);
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert!(!worker.run.is_finished(), "not to know is no reason");
    *world.table.version.lock().unwrap() = leader();
    world.stream.put(SHARD, 31..=60);
    let exit = tokio::time::timeout(Duration::from_secs(100), worker.run).await.unwrap().unwrap().unwrap();
    let Exit::Refused { problem } = exit else { panic!("{exit:?}") };
    assert!(problem.contains("CLIENT_VERSION_3X"), "{problem}");
    let row = world.table.row(SHARD);
    assert_eq!((row.owner, row.checkpoint), (None, Position::After(position(60))));
    assert_eq!(world.objects.lines(), lines(1..=60));
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_that_could_end_after_the_lease_though_the_table_answers_nothing_any_more() {
    for hang_after in [0, 700, 1_900, 3_100] {
        let world = World::new(&[SHARD]);
        world.stream.put(SHARD, 1..=10);
        world.calls.call_faults.add(ErrorClass::Transient, 10_000);
        let worker = world.calls(false);
        until("a call", || *world.calls.calls.lock().unwrap() > 0).await;
        tokio::time::sleep(Duration::from_millis(hang_after)).await;
        world.table.hangs.store(true, Ordering::Relaxed);
        until("the loss", || worker.status.snapshot().shards.is_empty()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        // What the table applied last may have been unanswered; the deadline counts from no later than that.
        let last = world.table.wrote_at.lock().unwrap().unwrap();
        let deadline = last + Duration::from_millis(9_500);
        let calls = world.calls.called_at.lock().unwrap().clone();
        let limits = world.calls.limits_of_calls.lock().unwrap().clone();
        for (began, limit) in calls.iter().zip(limits) {
            assert!(*began + limit <= deadline, "{:?} after the deadline", *began + limit - deadline);
        }
        assert!(worker.status.is_live(Duration::from_secs(5)), "the keeper itself moves");
        worker.run.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_table_and_sink_hang_lives() {
    let world = World::new(&[SHARD]);
    world.stream.put(SHARD, 1..=10);
    *world.objects.slow.lock().unwrap() = Duration::from_secs(10_000);
    let worker = world.objects("w-1");
    until("a put", || worker.status.snapshot().totals.in_flight > 0).await;
    world.table.hangs.store(true, Ordering::Relaxed);
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(worker.status.is_live(Duration::from_secs(2)));
    }
    assert!(world.objects.lines().is_empty() && worker.status.snapshot().lease_problem.is_some());
    worker.run.abort();
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_gone_throttles_or_hangs_is_shown_until_it_is_back() {
    let world = World::new(&[SHARD]);
    let worker = world.objects("w-1");
    until("readiness", || worker.status.obstacles().is_empty()).await;
    for class in [ErrorClass::NotFound, ErrorClass::Throttled, ErrorClass::Denied] {
        world.table.scan_faults.add(class, 1_000);
        until("the problem", || worker.status.snapshot().lease_problem.is_some()).await;
        let obstacles = worker.status.obstacles();
        assert!(obstacles[0].starts_with("leases: scan on "), "{obstacles:?}");
        assert!(!worker.run.is_finished());
        world.table.scan_faults.clear();
        until("readiness", || worker.status.obstacles().is_empty()).await;
    }
    world.table.hangs.store(true, Ordering::Relaxed);
    until("the problem", || worker.status.snapshot().lease_problem.is_some_and(|said| said.contains("no answer")))
        .await;
    world.table.hangs.store(false, Ordering::Relaxed);
    until("the lease again", || worker.status.snapshot().shards.len() == 1).await;
    until("readiness", || worker.status.obstacles().is_empty()).await;
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn many_leases_are_kept_with_few_calls_at_once() {
    let names: Vec<String> = (0..150).map(|number| format!("shardId-{number:012}")).collect();
    let world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    *world.table.slow.lock().unwrap() = Duration::from_millis(100);
    let worker = world.objects("w-1");
    until("the leases", || worker.status.snapshot().shards.len() == 150).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(worker.status.snapshot().totals.lease_losses.is_empty());
    let most = world.table.writing.lock().unwrap().1;
    assert!((32..=64).contains(&most), "{most} writes at once");
    worker.run.abort();
}
