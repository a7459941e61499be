//! Workers with several streams.

use super::*;
use crate::settings::KeyForm;

pub(super) fn of_several() -> WorkerSettings {
    let mut settings = settings("w-1");
    settings.leases.keys = KeyForm::Multi;
    settings
}

pub(super) fn several() -> World {
    let mut world = World::new(&[SHARD]);
    world.more.push(FakeStream::named("orders", &[SHARD]));
    world
}

#[tokio::test(start_paused = true)]
async fn keys_of_one_stream_do_not_serve_several() {
    let world = several();
    let error = world.objects("w-1").run.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("set leases.keys = \"multi\""), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_configured_twice_and_none_at_all_are_refused() {
    let mut world = World::new(&[SHARD]);
    world.more.push(FakeStream::named("clicks", &[SHARD]));
    let start = |world: &World| world.start(SinkPort::Objects(world.objects.clone()), false, of_several());
    let error = start(&world).run.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the stream clicks is configured twice");
    let ports = Ports {
        sources: Vec::new(),
        leases: world.table.clone(),
        gaps: world.gaps.clone(),
        sink: SinkPort::Objects(world.objects.clone()),
        set_aside: None,
    };
    let worker = Worker::new(of_several(), ports, world.clock.clone()).unwrap();
    assert!(matches!(worker.run(CancellationToken::new()).await, Err(StartError::Streams(_))));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_start_names_its_stream() {
    let world = several();
    world.more[0].describe_faults.add(ErrorClass::NotFound, 1);
    let started = world.start(SinkPort::Objects(world.objects.clone()), false, of_several());
    let error = started.run.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the stream orders does not exist");
}

#[test]
fn a_stream_id_has_the_account_of_the_arn_and_zeros_without_one() {
    let stream = FakeStream::named("orders", &[]);
    let mut description = stream.description();
    let id = crate::ports::StreamDescription::stream_id;
    assert_eq!(id(&description).as_str(), "123456789012:orders:1699999999");
    description.arn = None;
    assert_eq!(id(&description).as_str(), "000000000000:orders:1699999999");
    description.arn = Some("arn:aws:kinesis:eu-west-1:somebody:stream/orders".to_owned());
    assert_eq!(id(&description).as_str(), "000000000000:orders:1699999999");
    description.arn = Some("orders".to_owned());
    assert_eq!(id(&description).as_str(), "000000000000:orders:1699999999");
}

pub(super) fn start(world: &World) -> Started {
    world.start(SinkPort::Objects(world.objects.clone()), false, of_several())
}

pub(super) fn key(stream: &str, shard: &str) -> LeaseKey {
    LeaseKey::new(&format!("123456789012:{stream}:1699999999:{shard}"))
}

pub(super) fn checkpoint(world: &World, stream: &str) -> Option<Position> {
    world.table.rows.lock().unwrap().get(&key(stream, SHARD)).map(|row| row.checkpoint.clone())
}

#[tokio::test(start_paused = true)]
async fn one_worker_reads_several_streams_each_from_where_it_is_told_to() {
    let world = several();
    world.stream.put(SHARD, 1..=20);
    world.more[0].put(SHARD, 21..=50);
    let worker = start(&world);
    until("both", || checkpoint(&world, "orders") == Some(Position::After(position(50)))).await;
    until("both", || checkpoint(&world, "clicks") == Some(Position::After(position(20)))).await;
    let status = worker.status.snapshot();
    let streams: Vec<&str> = status.shards.iter().map(|shard| shard.stream.as_str()).collect();
    assert_eq!((streams.contains(&"clicks"), streams.contains(&"orders"), streams.len()), (true, true, 2));
    assert!(
        status
            .leases
            .iter()
            .all(|lease| status.streams[lease.stream.0].name.as_str() == lease.key.as_str().split(':').nth(1).unwrap())
    );
    let series = worker.status.shard_series();
    assert!(
        ["clicks", "orders"].iter().all(|name| series.iter().any(|series| series.labels[0] == *name)),
        "{series:?}"
    );
    assert!(worker.status.obstacles().is_empty(), "{:?}", worker.status.obstacles());
    assert_eq!(worker.stop().await, Exit::Clean);
    let mut lines_there = world.objects.lines();
    lines_there.sort_by_key(|line| line[1..].parse::<u64>().unwrap());
    assert_eq!(lines_there, lines(1..=50));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_created_again_stops_alone() {
    let world = several();
    world.stream.put(SHARD, 1..=20);
    let worker = start(&world);
    until("the records", || checkpoint(&world, "clicks") == Some(Position::After(position(20)))).await;
    worker.stop().await;
    // Rows of the old stream under the key of the new one: in the same second.
    *world.more[0].created.lock().unwrap() = penstock_core::time::UnixMillis(START.0 - 999);
    world.stream.put(SHARD, 21..=40);
    world.more[0].put(SHARD, 41..=60);
    let again = start(&world);
    until("the records", || checkpoint(&world, "clicks") == Some(Position::After(position(40)))).await;
    let status = again.status.snapshot();
    assert_eq!(status.streams[0].problem, None);
    assert!(status.streams[1].problem.as_ref().unwrap().contains("created again"), "{:?}", status.streams);
    let obstacles = again.status.obstacles();
    assert!(obstacles.len() == 1 && obstacles[0].starts_with("stream orders: "), "{obstacles:?}");
    assert_eq!(again.stop().await, Exit::Clean);
    assert_eq!(world.objects.lines(), lines(1..=40));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_deleted_under_a_worker_is_shown_and_others_go_on() {
    let world = several();
    let worker = start(&world);
    until("both", || worker.status.snapshot().shards.len() == 2).await;
    world.more[0].list_faults.add(ErrorClass::NotFound, 10_000);
    world.more[0].fetch_faults.add(ErrorClass::NotFound, 10_000);
    until("the problem", || worker.status.snapshot().streams[1].problem.is_some()).await;
    world.stream.put(SHARD, 1..=10);
    until("the records", || checkpoint(&world, "clicks") == Some(Position::After(position(10)))).await;
    assert_eq!(worker.status.snapshot().streams[0].problem, None);
    assert!(!worker.run.is_finished());
    assert_eq!(worker.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn a_table_with_keys_of_the_other_form_is_refused_with_the_way_to_convert_it() {
    let world = World::new(&[SHARD]);
    let worker = world.objects("w-1");
    until("the lease", || worker.status.snapshot().shards.len() == 1).await;
    worker.stop().await;
    let error = start(&world).run.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("set leases.keys = \"single\", or stop all workers"), "{error}");
    let more = vec![FakeStream::named("orders", &[SHARD])];
    let error = start(&World { more, ..world }).run.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("`penstock leases convert --stream` and the name"), "{error}");
    let world = several();
    let worker = start(&world);
    until("both", || worker.status.snapshot().shards.len() == 2).await;
    worker.stop().await;
    let alone = World { more: Vec::new(), ..world };
    let error = alone.objects("w-2").run.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("set leases.keys = \"multi\""), "{error}");
}
