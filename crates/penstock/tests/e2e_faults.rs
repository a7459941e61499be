//! Faults between the program and the stand-ins: replies lost after they took effect, throttles, answers cut in half, services
//! that are away. Every record stands exactly once in the bucket all the same.

mod support;

use std::collections::BTreeSet;

use penstock_standins::{Microburst, Ministack, s3_put_bucket};
use serde_json::{Value, json};
use support::{Account, Job, Place, Reader, SOON, Services, Stream, Teller, Worker, wait_until};

const APPLICATION: &str = "clicks-to-s3";

/// A job through a proxy.
struct World {
    account: Account,
    proxy: Microburst,
    stream: Stream,
    job: Job,
    reader: Reader,
    teller: Teller,
}

impl World {
    fn new(shards: u32, services: impl FnOnce(String, Services) -> Services) -> Self {
        let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
        let proxy = Microburst::start(&endpoint);
        let stream = Stream::create(&endpoint, &account, "clicks", shards);
        let bucket = account.bucket("lake");
        let sections = format!(
            "[leases]\nfailover_time = \"3s\"\n[sink]\ntype = \"s3\"\nbucket = \"{bucket}\"\nbuffer_interval = \"1s\"\nbuffer_size = \"1MiB\"\n"
        );
        let services = services(proxy.endpoint(), Services::at(&endpoint));
        let job = Job::new(&account, &services, APPLICATION, "clicks", &sections);
        let reader = Reader::new(Place::bucket(&endpoint, &account, &bucket));
        Self { account, proxy, stream, job, reader, teller: Teller::aggregating() }
    }

    fn create_bucket(&self) {
        s3_put_bucket(&Ministack::shared().endpoint(), self.account.id(), &self.account.bucket("lake"));
    }
}

fn everything(proxy: String, _: Services) -> Services {
    Services::at(&proxy)
}

/// A rule that fires at each first `fail` of `fail + pass` calls.
fn rule(service: &str, operation: &str, (fail, pass): (u32, u32), effect: &Value) -> Value {
    let mut rule = json!({"service": service, "operation": operation, "sequence": {"fail": fail, "pass": pass}});
    let (fields, effect) = (rule.as_object_mut().expect("an object"), effect.as_object().expect("an object"));
    fields.extend(effect.clone());
    rule
}

fn applied_but_reply_lost() -> Value {
    json!({"response": {"abort_frac": 0.0}})
}

fn error(code: &str) -> Value {
    json!({"error": {"code": code}})
}

/// A world in which these rules hold from the start, and a worker is killed in the middle.
#[track_caller]
fn exactly_once_through(rules: &[Value]) {
    let mut world = World::new(2, everything);
    world.create_bucket();
    world.proxy.set_rules(&Value::Array(rules.to_vec()));
    let mut one = Worker::start(&world.job, "one");
    world.teller.tell(&world.stream, 2_500, 250);
    world.reader.wait_for_some(500, SOON);
    let mut two = Worker::start(&world.job, "two");
    world.teller.tell(&world.stream, 1_500, 250);
    one.kill_9();
    world.teller.tell(&world.stream, 1_000, 250);
    world.reader.wait_for_all(&world.teller, SOON * 2);
    let fired: BTreeSet<String> =
        world.proxy.fired().iter().map(|event| event["operation"].as_str().unwrap_or_default().to_owned()).collect();
    for rule in rules {
        let operation = rule["operation"].as_str().expect("a rule names its operation");
        assert!(fired.contains(operation), "no fault met {operation}: {fired:?}");
    }
    world.proxy.clear();
    two.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
}

#[test]
fn lease_writes_of_unknown_outcome_repeat_nothing() {
    exactly_once_through(&[
        rule("dynamodb", "UpdateItem", (1, 2), &applied_but_reply_lost()),
        rule("dynamodb", "UpdateItem", (1, 6), &json!({"reset": true})),
        rule("dynamodb", "UpdateItem", (1, 7), &error("ProvisionedThroughputExceededException")),
        rule("dynamodb", "UpdateItem", (1, 9), &error("InternalServerError")),
    ]);
}

#[test]
fn puts_of_unknown_outcome_repeat_nothing() {
    exactly_once_through(&[
        rule("s3", "PutObject", (1, 2), &applied_but_reply_lost()),
        rule("s3", "PutObject", (1, 3), &json!({"error": {"code": "SlowDown", "status": 503}})),
        rule("s3", "PutObject", (1, 4), &json!({"error": {"code": "InternalError", "status": 500}})),
        rule("s3", "PutObject", (1, 5), &json!({"request": {"cut_upload": {"after_bytes": 5_000}}})),
    ]);
}

#[test]
fn answers_of_the_stream_that_are_cut_throttled_or_late_skip_nothing() {
    exactly_once_through(&[
        rule("kinesis", "GetRecords", (1, 5), &json!({"response": {"truncate_frac": 0.5}})),
        rule("kinesis", "GetRecords", (1, 6), &error("ProvisionedThroughputExceededException")),
        rule("kinesis", "GetRecords", (1, 7), &error("ExpiredIteratorException")),
        rule("kinesis", "GetRecords", (1, 8), &error("InternalFailure")),
        rule("kinesis", "GetRecords", (1, 9), &applied_but_reply_lost()),
        rule("kinesis", "GetShardIterator", (1, 2), &error("ProvisionedThroughputExceededException")),
    ]);
}

#[test]
fn a_sink_that_is_not_there_at_the_start_and_goes_away_later_is_waited_for() {
    let mut world = World::new(1, |proxy, at| Services { s3: proxy, ..at });
    world.create_bucket();
    world.proxy.stop();
    world.teller.tell(&world.stream, 300, 100);
    let mut worker = Worker::start(&world.job, "one");
    wait_until("it holds the shard all the same", SOON, || worker.metrics().sum("penstock_leases_held") == 1.0);
    let bucket = world.account.bucket("lake");
    wait_until("it says that the sink is not there", SOON, || {
        let (status, why) = worker.page("/readyz");
        assert_eq!(status, 503, "{why}");
        why.lines().any(|line| line.starts_with("sink: ") && line.contains(&bucket))
    });
    assert_eq!(worker.page("/livez").0, 200, "a sink that is away is no reason to be killed");
    assert_eq!(world.reader.found(), 0);

    world.proxy.restart();
    world.reader.wait_for_all(&world.teller, SOON);
    wait_until("it is ready", SOON, || worker.page("/readyz").0 == 200);

    world.proxy.stop();
    world.teller.tell(&world.stream, 300, 100);
    wait_until("it says that the sink is away", SOON, || {
        let (status, why) = worker.page("/readyz");
        status == 503 && why.contains("sink")
    });
    worker.assert_running();
    world.proxy.restart();
    world.reader.wait_for_all(&world.teller, SOON);
    wait_until("it is ready again", SOON, || worker.page("/readyz").0 == 200);
    worker.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
}

#[test]
fn a_lease_table_that_is_away_longer_than_the_failover_time_stops_delivery_and_nothing_more() {
    let mut world = World::new(2, |proxy, at| Services { dynamodb: proxy, ..at });
    world.create_bucket();
    let mut worker = Worker::start(&world.job, "one");
    world.teller.tell(&world.stream, 500, 100);
    world.reader.wait_for_all(&world.teller, SOON);

    world.proxy.stop();
    wait_until("its leases have run out", SOON, || worker.metrics().sum("penstock_leases_held") == 0.0);
    let (before, told) = (world.reader.found(), world.teller.told());
    world.teller.tell(&world.stream, 500, 100);
    let (status, why) = worker.page("/readyz");
    assert!(status == 503 && why.contains("leases"), "{status} {why}");
    assert_eq!((world.reader.found(), before), (told, told), "something was delivered without a lease");
    worker.assert_running();

    world.proxy.restart();
    world.reader.wait_for_all(&world.teller, SOON);
    assert!(worker.metrics().sum("penstock_lease_losses_total") >= 2.0);
    worker.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
}

#[test]
fn a_stream_that_is_away_for_a_while_is_waited_for() {
    let mut world = World::new(1, |proxy, at| Services { kinesis: proxy, ..at });
    world.create_bucket();
    let mut worker = Worker::start(&world.job, "one");
    world.teller.tell(&world.stream, 300, 100);
    world.reader.wait_for_all(&world.teller, SOON);
    world.proxy.stop();
    world.teller.tell(&world.stream, 300, 100);
    worker.wait_for_line(&["WARN"]);
    worker.assert_running();
    world.proxy.restart();
    world.reader.wait_for_all(&world.teller, SOON);
    worker.drain_cleanly();
    world.reader.assert_exactly_once(&world.teller);
}
