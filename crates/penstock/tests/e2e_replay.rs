//! An intent that a dead worker left open: whoever comes next carries it out as recorded, whatever its own settings are.

mod support;

use penstock_standins::{Microburst, Ministack, s3_put_bucket};
use serde_json::{Value, json};
use support::{Account, Job, Place, Reader, SOON, Services, Stream, Teller, Worker, delete_bucket, run, wait_until};

const APPLICATION: &str = "clicks-to-s3";
const DYNAMODB: &str = "";
const SQLITE: &str = "store = \"sqlite\"\n";
const SHARD: &str = "shardId-000000000000";

/// One shard, and a worker that has died with an intent recorded and nothing put.
struct World {
    account: Account,
    endpoint: String,
    stream: Stream,
    job: Job,
    teller: Teller,
}

impl World {
    /// `leases` are the lines that say where the leases are.
    fn with_an_open_intent(leases: &str) -> Self {
        let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
        let proxy = Microburst::start(&endpoint);
        let stream = Stream::create(&endpoint, &account, "clicks", 1);
        let bucket = account.bucket("lake");
        s3_put_bucket(&endpoint, account.id(), &bucket);
        let sections = format!(
            "[leases]\n{leases}failover_time = \"2s\"\n[sink]\ntype = \"s3\"\nbucket = \"{bucket}\"\nprefix = \"old/\"\nbuffer_interval = \"1s\"\n"
        );
        let services = Services { s3: proxy.endpoint(), ..Services::at(&endpoint) };
        let job = Job::new(&account, &services, APPLICATION, "clicks", &sections);
        let mut teller = Teller::aggregating();
        let mut worker = Worker::start(&job, "dies");
        wait_until("it is ready", SOON, || worker.page("/readyz").0 == 200);
        proxy.set_rules(&json!([{"service": "s3", "operation": "PutObject", "latency": 120_000}]));
        teller.tell(&stream, 400, 100);
        let world = Self { account, endpoint, stream, job, teller };
        wait_until("its intent is recorded", SOON, || world.listed()["intent"].is_object());
        worker.kill_9();
        world.job.edit(&proxy.endpoint(), &world.endpoint);
        world
    }

    fn reader(&self, bucket: &str) -> Reader {
        Reader::new(Place::bucket(&self.endpoint, &self.account, &self.account.bucket(bucket)))
    }

    /// `leases list --json`, the one lease.
    #[track_caller]
    fn listed(&self) -> Value {
        let output = run(&self.job, &["leases", "list", "-c", "penstock.toml", "--json"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let list: Value = serde_json::from_str(&output.stdout).expect("--json is JSON");
        list["leases"][0].clone()
    }
}

#[test]
fn an_open_intent_is_carried_out_as_recorded_by_a_worker_with_other_settings() {
    let mut world = World::with_an_open_intent(DYNAMODB);
    let listed = world.listed();
    let key = listed["intent"]["keys"][0].as_str().expect("the intent has a key").to_owned();
    let records = listed["intent"]["records"].as_u64().unwrap();
    world.job.edit("prefix = \"old/\"", "prefix = \"new/\"\ncompression = \"gzip\"");
    let mut heir = Worker::start(&world.job, "heir");
    world.teller.tell(&world.stream, 400, 100);
    let mut reader = world.reader("lake");
    reader.wait_for_all(&world.teller, SOON);
    heir.drain_cleanly();
    reader.assert_exactly_once(&world.teller);
    let recorded = reader.objects().find(|object| object.key == key).expect("the recorded key is there");
    assert_eq!(recorded.metadata["penstock-records"], records.to_string());
    assert!(key.starts_with("old/") && recorded.stored == recorded.content, "{key}: not as recorded");
    for object in reader.objects().filter(|object| object.key != key) {
        assert!(object.key.starts_with("new/") && object.key.ends_with(".gz"), "{}", object.key);
    }
}

#[test]
fn an_intent_for_a_bucket_that_is_gone_goes_to_the_configured_one() {
    let mut world = World::with_an_open_intent(DYNAMODB);
    let (lake, sea) = (world.account.bucket("lake"), world.account.bucket("sea"));
    delete_bucket(&world.endpoint, &world.account, &lake);
    s3_put_bucket(&world.endpoint, world.account.id(), &sea);
    world.job.edit(&lake, &sea);
    let mut heir = Worker::start(&world.job, "heir");
    world.teller.tell(&world.stream, 400, 100);
    let mut reader = world.reader("sea");
    reader.wait_for_all(&world.teller, SOON);
    heir.drain_cleanly();
    reader.assert_exactly_once(&world.teller);
}

#[test]
fn an_abandoned_intent_s_range_is_passed_and_nothing_else_on_dynamodb() {
    an_abandoned_intent_s_range_is_passed_and_nothing_else(DYNAMODB);
}

#[test]
fn an_abandoned_intent_s_range_is_passed_and_nothing_else_on_sqlite() {
    an_abandoned_intent_s_range_is_passed_and_nothing_else(SQLITE);
}

fn an_abandoned_intent_s_range_is_passed_and_nothing_else(leases: &str) {
    let mut world = World::with_an_open_intent(leases);
    let records = world.listed()["intent"]["records"].as_u64().expect("a count");
    let first_told = world.teller.told();
    // It can be read, so it is not dropped as if it could not.
    let output = run(&world.job, &["leases", "abandon-intent", SHARD, "-c", "penstock.toml", "--unreadable"]);
    assert_eq!(output.code, 1, "{}", output.stdout);
    let output = run(&world.job, &["leases", "abandon-intent", SHARD, "-c", "penstock.toml", "--json"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(world.listed()["intent"].is_null());
    // There is nothing left to abandon.
    let output = run(&world.job, &["leases", "abandon-intent", SHARD, "-c", "penstock.toml"]);
    assert_eq!(output.code, 1, "{}", output.stdout);

    let mut heir = Worker::start(&world.job, "heir");
    world.teller.tell(&world.stream, 400, 100);
    let mut reader = world.reader("lake");
    reader.wait_for_some(world.teller.told() - records, SOON);
    heir.drain_cleanly();
    let verdict = reader.verdict(&world.teller);
    assert_eq!((verdict.found, verdict.repeats), (world.teller.told() - records, 0), "{verdict:#?}");
    assert!(verdict.missing.iter().all(|id| *id < first_told), "{verdict:#?}");
}
