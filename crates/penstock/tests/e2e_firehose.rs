//! Into Firehose, ministack's and our own: at least once, only failed entries again, many records in one where that is cheaper.

mod support;

use std::collections::BTreeMap;
use std::fs;

use penstock_standins::{Microburst, Ministack, s3_put_bucket};
use serde_json::{Value, json};
use support::{
    Account, Job, Local, Place, Reader, SOON, Services, Stream, Teller, Worker, firehose_to_bucket, lease_rows,
    wait_until,
};

const STREAM: &str = "clicks";
const DELIVERY_STREAM: &str = "to-lake";
const BUCKET: &str = "lake";
const APPLICATION: &str = "clicks-to-firehose";

fn sink(more: &str) -> String {
    format!("[sink]\ntype = \"firehose\"\ndelivery_stream = \"{DELIVERY_STREAM}\"\nlinger = \"200ms\"\n{more}")
}

#[test]
fn a_killed_worker_loses_nothing_on_its_way_into_ministack_s_firehose() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    let stream = Stream::create(&endpoint, &account, STREAM, 4);
    let bucket = account.bucket(BUCKET);
    s3_put_bucket(&endpoint, account.id(), &bucket);
    firehose_to_bucket(&endpoint, &account, DELIVERY_STREAM, &bucket);
    let sections = format!("[leases]\nfailover_time = \"2s\"\n{}", sink(""));
    let job = Job::new(&account, &Services::at(&endpoint), APPLICATION, STREAM, &sections);
    let mut teller = Teller::aggregating();
    let mut reader = Reader::new(Place::bucket(&endpoint, &account, &bucket));

    let (mut one, mut two) = (Worker::start(&job, "one"), Worker::start(&job, "two"));
    wait_until("both workers hold shards", SOON, || {
        let rows = lease_rows(&endpoint, &account, APPLICATION);
        let held = |label: &str| {
            rows.values().filter(|row| row.get("leaseOwner").is_some_and(|owner| owner.starts_with(label))).count()
        };
        held("one") == 2 && held("two") == 2
    });
    teller.tell(&stream, 4_000, 500);
    reader.wait_for_some(1, SOON);
    one.kill_9();
    teller.tell(&stream, 4_000, 500);
    reader.wait_for_all(&teller, SOON);
    two.drain_cleanly();

    let verdict = reader.verdict(&teller);
    verdict.assert_at_least_once();
    // What one worker had read and not checkpointed when it died, at most.
    assert!(verdict.repeats <= 4_000, "{} repeats", verdict.repeats);
    // ministack makes an object of each entry: many records share one.
    let objects = reader.objects().count() as u64;
    assert!(objects * 4 < teller.told(), "{} records came in {objects} entries: they are not packed", teller.told());
}

#[test]
fn only_what_failed_is_sent_again() {
    let flags = ["--fault", "firehose.PutRecordBatch:partial:fraction=0.3,fail=2,pass=1"];
    let mut local = Local::start(&flags);
    let account = Account::new();
    let endpoint = local.endpoint();
    let stream = Stream::create(&endpoint, &account, STREAM, 2);
    firehose_to_bucket(&endpoint, &account, DELIVERY_STREAM, BUCKET);
    let sections = format!("[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n{}", sink("pack = \"false\"\n"));
    let job = Job::new(&account, &Services::at(&endpoint), APPLICATION, STREAM, &sections);
    let mut teller = Teller::plain();
    teller.tell(&stream, 3_000, 500);
    let mut worker = Worker::start(&job, "one");
    wait_until("all is delivered", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= 3_000.0);
    worker.drain_cleanly();
    assert_eq!(local.stop(), 0);

    let mut reader = Reader::new(Place::directory(local.bucket(BUCKET)));
    let verdict = reader.verdict(&teller);
    verdict.assert_at_least_once();
    assert_eq!(verdict.repeats, 0, "entries that were taken were sent again, such as {:?}", verdict.repeated);
}

#[test]
fn a_lost_reply_repeats_its_call_and_no_more() {
    let mut local = Local::start(&["--fault", "firehose.PutRecordBatch:reply-lost:times=1"]);
    let account = Account::new();
    let endpoint = local.endpoint();
    let stream = Stream::create(&endpoint, &account, STREAM, 1);
    firehose_to_bucket(&endpoint, &account, DELIVERY_STREAM, BUCKET);
    let sections = format!("[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n{}", sink("pack = \"false\"\n"));
    let job = Job::new(&account, &Services::at(&endpoint), APPLICATION, STREAM, &sections);
    let mut teller = Teller::plain();
    teller.tell(&stream, 1_500, 500);
    let mut worker = Worker::start(&job, "one");
    wait_until("all is delivered", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= 1_500.0);
    worker.drain_cleanly();
    assert_eq!(local.stop(), 0);

    let mut reader = Reader::new(Place::directory(local.bucket(BUCKET)));
    let verdict = reader.verdict(&teller);
    verdict.assert_at_least_once();
    assert!((1..=500).contains(&verdict.repeats), "{} repeats of one call", verdict.repeats);
}

#[test]
fn calls_are_full_and_per_shard_order_holds_through_throttles() {
    let mut local = Local::start(&["--fault", "firehose.PutRecordBatch:throttle:fail=1,pass=2"]);
    let account = Account::new();
    let endpoint = local.endpoint();
    let stream = Stream::create(&endpoint, &account, STREAM, 2);
    firehose_to_bucket(&endpoint, &account, DELIVERY_STREAM, BUCKET);
    let sections = format!(
        "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n{}",
        sink("ordering = \"per-shard\"\npack_size = \"25KiB\"\n")
    );
    let job = Job::new(&account, &Services::at(&endpoint), APPLICATION, STREAM, &sections);
    let mut teller = Teller::aggregating();
    teller.tell(&stream, 4_000, 500);
    let mut worker = Worker::start(&job, "one");
    let told = teller.told() as f64;
    wait_until("all is delivered", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= told);
    worker.drain_cleanly();
    assert_eq!(local.stop(), 0);

    // One call of a shard at a time: a key's records stand in order in the one sequence of the delivery stream's objects.
    let mut paths: Vec<_> = Place::directory(local.bucket(BUCKET)).keys();
    paths.sort_unstable();
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    let mut count = 0;
    for path in &paths {
        let content = fs::read(local.bucket(BUCKET).join(path)).unwrap();
        for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let told: Value = serde_json::from_slice(line).unwrap();
            let (key, nth) = (told["key"].as_str().unwrap().to_owned(), told["nth"].as_i64().unwrap());
            let last = seen.insert(key.clone(), nth);
            if paths.len() == 1 {
                assert!(last.is_none_or(|last| last < nth), "{key}: {nth} after {last:?}");
            }
            count += 1;
        }
    }
    assert_eq!(count, teller.told(), "a refused call was taken all the same, or repeated");
}

#[test]
fn an_entry_that_fails_by_word_of_ministack_s_proxy_is_sent_again_alone() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    let proxy = Microburst::start(&endpoint);
    let stream = Stream::create(&endpoint, &account, STREAM, 1);
    let bucket = account.bucket(BUCKET);
    s3_put_bucket(&endpoint, account.id(), &bucket);
    firehose_to_bucket(&endpoint, &account, DELIVERY_STREAM, &bucket);
    let services = Services { firehose: proxy.endpoint(), ..Services::at(&endpoint) };
    let sections = format!("[leases]\nfailover_time = \"2s\"\n{}", sink("pack = \"false\"\n"));
    let job = Job::new(&account, &services, APPLICATION, STREAM, &sections);
    // Two records in one call, of which the first is said to be taken (nothing is forwarded) and the second refused.
    proxy.set_rules(
        &json!([{"service": "firehose", "operation": "PutRecordBatch", "times": 1, "error": {"code": "X", "status": 200,
        "fields": {"FailedPutCount": 1, "RequestResponses": [{"RecordId": "1"},
            {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}]}}}]),
    );
    stream.put(&[("a".to_owned(), b"first".to_vec()), ("b".to_owned(), b"second".to_vec())]);
    let mut worker = Worker::start(&job, "one");
    wait_until("both are settled", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= 2.0);
    worker.drain_cleanly();
    let mut reader = Reader::new(Place::bucket(&endpoint, &account, &bucket));
    reader.look();
    let contents: Vec<_> = reader.objects().map(|object| object.content.clone()).collect();
    assert_eq!(contents, [b"second\n".to_vec()], "only the refused entry goes again");
}
