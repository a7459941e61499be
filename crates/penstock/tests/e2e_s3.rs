//! The main job against ministack: DynamoDB leases, Kinesis volume, objects in S3, two processes.

mod support;

use std::time::{Duration, Instant};

use penstock_standins::{Microburst, Ministack, s3_put_bucket};
use serde_json::json;
use support::{Account, Job, Place, Reader, SOON, Services, Stream, Teller, Worker, lease_rows, wait_until};

/// A lease outlives its worker by this.
const FAILOVER: Duration = Duration::from_secs(2);
const STREAM: &str = "clicks";
const APPLICATION: &str = "clicks-to-s3";

/// An account with a stream and a bucket, and a job between them.
struct World {
    account: Account,
    endpoint: String,
    stream: Stream,
    job: Job,
    reader: Reader,
    teller: Teller,
}

impl World {
    fn new(shards: u32, sink: &str, services: impl FnOnce(Services) -> Services) -> Self {
        let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
        let stream = Stream::create(&endpoint, &account, STREAM, shards);
        let bucket = account.bucket("lake");
        s3_put_bucket(&endpoint, account.id(), &bucket);
        let sections = format!(
            "[leases]\nfailover_time = \"2s\"\n[sink]\ntype = \"s3\"\nbucket = \"{bucket}\"\nbuffer_interval = \"1s\"\nbuffer_size = \"1MiB\"\n{sink}"
        );
        let job = Job::new(&account, &services(Services::at(&endpoint)), APPLICATION, STREAM, &sections);
        let reader = Reader::new(Place::bucket(&endpoint, &account, &bucket));
        Self { account, endpoint, stream, job, reader, teller: Teller::aggregating() }
    }

    /// Who owns which shard.
    fn owners(&self) -> Vec<(String, Option<String>)> {
        let rows = lease_rows(&self.endpoint, &self.account, APPLICATION).into_iter();
        rows.map(|(key, row)| (key, row.get("leaseOwner").cloned())).collect()
    }

    fn held_by(&self, label: &str) -> usize {
        let owners = self.owners();
        owners.iter().filter(|(_, owner)| owner.as_ref().is_some_and(|owner| owner.starts_with(label))).count()
    }

    #[track_caller]
    fn wait_until_shared(&self, labels: [&str; 2], each: usize) {
        wait_until("both workers hold their share", SOON, || labels.iter().all(|label| self.held_by(label) == each));
    }
}

#[test]
fn a_killed_worker_s_shards_are_taken_over_and_every_record_is_there_exactly_once() {
    let mut world = World::new(
        4,
        "prefix = \"clicks/!{timestamp:yyyy/MM/dd/HH}/\"\nerror_prefix = \"errors/!{firehose:error-output-type}/\"\ncompression = \"gzip\"\n",
        |at| at,
    );
    let (mut one, mut two) = (Worker::start(&world.job, "one"), Worker::start(&world.job, "two"));
    world.wait_until_shared(["one", "two"], 2);
    world.teller.tell(&world.stream, 10_000, 500);
    world.reader.wait_for_some(1, SOON);
    one.kill_9();
    world.teller.tell(&world.stream, 12_000, 500);

    world.reader.wait_for_all(&world.teller, SOON);
    wait_until("the survivor holds all shards", SOON, || world.held_by("two") == 4);
    two.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
    for object in world.reader.objects() {
        assert!(object.key.starts_with("clicks/20") && object.key.ends_with(".gz"), "{}", object.key);
        assert!(object.stored.starts_with(&[0x1f, 0x8b]), "{} is not gzip", object.key);
    }
}

#[test]
fn a_worker_that_stands_still_past_its_leases_and_goes_on_repeats_nothing() {
    let mut world = World::new(2, "compression = \"zstd\"\n", |at| at);
    let mut zombie = Worker::start(&world.job, "zombie");
    wait_until("the first worker holds all", SOON, || world.held_by("zombie") == 2);
    world.teller.tell(&world.stream, 3_000, 500);
    // In the middle of filling its objects, and perhaps of putting them.
    zombie.wait_for_line(&["starting"]);
    zombie.signal("STOP");
    let mut heir = Worker::start(&world.job, "heir");
    wait_until("the heir takes all", SOON, || world.held_by("heir") == 2);
    zombie.signal("CONT");
    world.teller.tell(&world.stream, 3_000, 500);

    world.reader.wait_for_all(&world.teller, SOON);
    world.wait_until_shared(["zombie", "heir"], 1);
    world.teller.tell(&world.stream, 1_000, 500);
    world.reader.wait_for_all(&world.teller, SOON);
    zombie.drain_cleanly();
    heir.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
    for object in world.reader.objects() {
        assert!(object.key.ends_with(".zst") && object.stored.starts_with(&[0x28, 0xb5]), "{}", object.key);
    }
}

#[test]
fn a_drained_worker_s_shards_pass_to_the_next_at_once() {
    // An interval that no test waits for: only the drain closes these objects.
    let mut world = World::new(2, "", |at| at);
    world.job.edit("buffer_interval = \"1s\"", "buffer_interval = \"600s\"");
    world.job.edit("failover_time = \"2s\"", "failover_time = \"60s\"");
    world.teller.tell(&world.stream, 2_000, 500);
    let mut first = Worker::start(&world.job, "first");
    wait_until("everything is read", SOON, || first.metrics().sum("penstock_records_in_flight") >= 2_000.0);
    assert_eq!(world.reader.found(), 0, "nothing was due yet");
    first.drain_cleanly();
    world.reader.look();
    world.reader.assert_exactly_once(&world.teller);
    assert!(world.owners().iter().all(|(_, owner)| owner.is_none()), "not released: {:?}", world.owners());

    let started = Instant::now();
    let mut second = Worker::start(&world.job, "second");
    wait_until("the second worker holds all", SOON, || world.held_by("second") == 2);
    assert!(started.elapsed() < Duration::from_secs(20), "released leases were waited for: {:?}", started.elapsed());
    world.teller.tell(&world.stream, 1_000, 500);
    let told = world.teller.told();
    wait_until("the rest is read", SOON, || {
        second.metrics().sum("penstock_records_in_flight") >= (told - 2_000) as f64
    });
    second.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
}

#[test]
fn a_drain_that_cannot_deliver_ends_with_code_4_and_the_next_worker_delivers() {
    let proxy = Microburst::start(&Ministack::shared().endpoint());
    let mut world = World::new(1, "", |at| Services { s3: proxy.endpoint(), ..at });
    world.job.edit("grace_period = \"20s\"", "grace_period = \"3s\"");
    let mut stuck = Worker::start(&world.job, "stuck");
    wait_until("the worker holds the shard", SOON, || world.held_by("stuck") == 1);
    wait_until("it is ready", SOON, || stuck.page("/readyz").0 == 200);
    proxy.set_rules(&json!([{"service": "s3", "operation": "PutObject", "latency": 60_000}]));
    world.teller.tell(&world.stream, 500, 500);
    wait_until("everything is read", SOON, || stuck.metrics().sum("penstock_records_in_flight") >= 500.0);
    let started = Instant::now();
    assert_eq!(stuck.drain(), 4, "{}", stuck.log());
    assert!(started.elapsed() < Duration::from_secs(8), "the grace period is 3 s, it took {:?}", started.elapsed());
    assert!(stuck.log().contains("grace period ran out"), "{}", stuck.log());
    assert_eq!(world.reader.found(), 0);

    proxy.clear();
    let mut next = Worker::start(&world.job, "next");
    world.reader.wait_for_all(&world.teller, SOON + FAILOVER);
    next.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
}
