//! Workers with several streams.

use super::*;
use crate::settings::KeyForm;

fn of_several() -> WorkerSettings {
    let mut settings = settings("w-1");
    settings.leases.keys = KeyForm::Multi;
    settings
}

fn several() -> World {
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
    let id = |description: &crate::ports::StreamDescription| super::super::build::stream_id(description);
    assert_eq!(id(&description).as_str(), "123456789012:orders:1699999999");
    description.arn = None;
    assert_eq!(id(&description).as_str(), "000000000000:orders:1699999999");
    description.arn = Some("orders".to_owned());
    assert_eq!(id(&description).as_str(), "000000000000:orders:1699999999");
}
