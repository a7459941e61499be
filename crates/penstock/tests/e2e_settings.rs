//! Settings that change what happens to records: where reading starts, what stands between records, what is set aside, what a
//! full memory does; and what a lease table or a stream that goes away under a running worker does.

mod support;

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_core::aggregate::{AggregateEntry, encode};
use penstock_standins::{Ministack, call};
use serde_json::{Value, json};
use support::{
    Account, Job, Local, Place, Reader, SOON, Services, Stream, Teller, Worker, firehose_to_bucket, lease_rows, run,
    wait_until,
};

const SQLITE: &str = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n";
const DIRECTORY: &str = "[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\n";

/// A stream on local endpoints, and a job over it.
struct World {
    account: Account,
    local: Local,
    stream: Stream,
    job: Job,
}

impl World {
    fn new(shards: u32, sections: &str) -> Self {
        let (account, local) = (Account::new(), Local::start(&["--no-limits"]));
        let stream = Stream::create(&local.endpoint(), &account, "clicks", shards);
        let job = Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", sections);
        Self { account, local, stream, job }
    }

    fn put(&self, records: &[&[u8]]) {
        let records: Vec<_> =
            records.iter().enumerate().map(|(nth, data)| (format!("key-{nth}"), data.to_vec())).collect();
        self.stream.put(&records);
    }

    /// What stands in the directory, all objects after each other in the order of their first positions.
    fn content(&self) -> Vec<u8> {
        let mut reader = Reader::new(Place::directory(self.job.out()));
        reader.look();
        reader.in_order().iter().flat_map(|object| object.content.clone()).collect()
    }
}

fn settled(worker: &mut Worker) -> f64 {
    let page = worker.metrics();
    page.sum("penstock_records_delivered_total") + page.sum("penstock_records_set_aside_total")
}

#[test]
fn latest_is_pinned_at_the_first_start() {
    let world = World::new(2, &format!("{SQLITE}{DIRECTORY}"));
    world.job.edit("[source]\n", "[source]\nstart = \"LATEST\"\n");
    world.put(&[b"before"]);
    let mut first = Worker::start(&world.job, "first");
    wait_until("it reads at the tip", SOON, || {
        let page = first.metrics();
        page.series("penstock_iterator_age_milliseconds").len() == 2
    });
    first.drain_cleanly();
    world.put(&[b"while nobody ran"]);
    let mut second = Worker::start(&world.job, "second");
    wait_until("what came meanwhile is delivered", SOON, || settled(&mut second) >= 1.0);
    world.put(&[b"after"]);
    wait_until("what came then is delivered", SOON, || settled(&mut second) >= 2.0);
    second.drain_cleanly();
    assert_eq!(String::from_utf8_lossy(&world.content()), "while nobody ran\nafter\n");
}

#[test]
fn delimiters_are_what_was_asked_for_and_never_doubled() {
    for (delimiter, wanted) in
        [("\\n", b"a\nb\n\n".as_slice()), ("", b"ab\n".as_slice()), ("\\r\\n", b"a\r\nb\n\r\n\r\n".as_slice())]
    {
        let world = World::new(1, &format!("{SQLITE}{DIRECTORY}delimiter = \"{delimiter}\"\n"));
        // The last record is empty: it counts, and only its delimiter is seen.
        for record in [b"a".as_slice(), b"b\n", b""] {
            world.put(&[record]);
        }
        let mut worker = Worker::start(&world.job, "one");
        wait_until("all is delivered", SOON, || settled(&mut worker) >= 3.0);
        worker.drain_cleanly();
        assert_eq!(world.content(), wanted, "{delimiter:?}: {:?}", String::from_utf8_lossy(&world.content()));
    }
}

#[test]
fn what_hashes_outside_its_shard_goes_where_the_rule_says() {
    for (rule, delivered, aside, dropped) in [("deliver", 3, 0, 0), ("set-aside", 2, 1, 0), ("drop", 0, 0, 3)] {
        let world =
            World::new(2, &format!("{SQLITE}{DIRECTORY}error_prefix = \"errors/!{{firehose:error-output-type}}/\"\n"));
        world.job.edit("[source]\n", &format!("[source]\noutside_hash_range = \"{rule}\"\n"));
        let shard = world.stream.open_shards().remove(0);
        let (low, high) = shard.hash_range;
        let entry = |hash: u128, data| AggregateEntry { partition_key: "k", explicit_hash_key: Some(hash), data };
        let aggregate = encode(&[entry(low, b"first"), entry(high + 1, b"stray"), entry(high, b"last")]);
        call(
            &world.local.endpoint(),
            world.account.id(),
            "Kinesis_20131202.PutRecord",
            &json!({"StreamName": "clicks", "PartitionKey": "k", "ExplicitHashKey": low.to_string(), "Data": STANDARD.encode(&aggregate)}),
        );
        let mut worker = Worker::start(&world.job, "one");
        wait_until("all is settled", SOON, || {
            settled(&mut worker) + worker.metrics().sum("penstock_records_dropped_total") >= 3.0
        });
        let page = worker.metrics();
        let counted = [
            page.sum("penstock_records_delivered_total"),
            page.sum("penstock_records_set_aside_total"),
            page.sum("penstock_records_dropped_total"),
        ];
        assert_eq!(counted, [f64::from(delivered), f64::from(aside), f64::from(dropped)], "{rule}");
        worker.drain_cleanly();
        let errors: Vec<_> =
            Place::directory(world.job.out().join("errors/processing-failed")).keys().into_iter().collect();
        assert_eq!(errors.len(), aside as usize, "{rule}: {errors:?}");
        for error in errors {
            let text = fs::read(world.job.out().join("errors/processing-failed").join(&error)).unwrap();
            let line: Value = serde_json::from_slice(&text).expect("one line of JSON");
            assert_eq!(line["rawData"], STANDARD.encode(b"stray"), "{line:#}");
            assert_eq!(line["errorCode"], "outside_hash_range", "{line:#}");
        }
    }
}

#[test]
fn what_firehose_cannot_take_is_set_aside_or_halts_its_shard() {
    let too_large = vec![b'x'; 1_000 * 1024 + 1];
    let sink = "[sink]\ntype = \"firehose\"\ndelivery_stream = \"to-lake\"\nlinger = \"100ms\"\n";
    let world = World::new(1, &format!("{SQLITE}{sink}set_aside_path = \"aside\"\n"));
    firehose_to_bucket(&world.local.endpoint(), &world.account, "to-lake", "lake");
    world.put(&[b"small"]);
    world.put(&[&too_large]);
    world.put(&[b"small again"]);
    let mut worker = Worker::start(&world.job, "one");
    wait_until("all is settled", SOON, || settled(&mut worker) >= 3.0);
    let page = worker.metrics();
    let reasons: Vec<_> = page.series("penstock_records_set_aside_total");
    assert!(reasons.iter().any(|(labels, count)| labels["reason"] == "too_large" && *count == 1.0), "{reasons:?}");
    worker.drain_cleanly();
    let aside = Place::directory(world.job.dir().join("aside")).keys();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let line: Value =
        serde_json::from_slice(&fs::read(world.job.dir().join("aside").join(&aside[0])).unwrap()).unwrap();
    assert_eq!(line["rawData"].as_str().map(str::len), Some(STANDARD.encode(&too_large).len()));

    // Without a place: the shard stops there and says so, and the others go on.
    let world = World::new(2, &format!("{SQLITE}{sink}"));
    firehose_to_bucket(&world.local.endpoint(), &world.account, "to-lake", "lake");
    let shards = world.stream.open_shards();
    let put = |shard: usize, data: &[u8]| {
        let hash = shards[shard].hash_range.0.to_string();
        let body = json!({"StreamName": "clicks", "PartitionKey": "k", "ExplicitHashKey": hash, "Data": STANDARD.encode(data)});
        call(&world.local.endpoint(), world.account.id(), "Kinesis_20131202.PutRecord", &body);
    };
    put(0, &too_large);
    put(0, b"behind it");
    put(1, b"beside it");
    let mut worker = Worker::start(&world.job, "one");
    wait_until("the other shard is delivered", SOON, || settled(&mut worker) >= 1.0);
    worker.wait_for_line(&["sink.set_aside_path", &shards[0].id]);
    worker.assert_running();
    // What came in one answer with it may have gone; the checkpoint stays before it.
    assert!(settled(&mut worker) <= 2.0);
    worker.signal("TERM");
    let code = worker.exit_code(SOON);
    assert!(code == 0 || code == 4, "{code}: {}", worker.log());
    let mut mended = Worker::start_with(&world.job, "mended", &["sink.set_aside_path=aside"]);
    // What the one before delivered and could not checkpoint comes again, and may be first.
    let aside = |worker: &mut Worker| worker.metrics().sum("penstock_records_set_aside_total");
    wait_until("it is set aside", SOON, || aside(&mut mended) == 1.0);
    wait_until("what is behind it is settled", SOON, || settled(&mut mended) >= 2.0);
    mended.drain_cleanly();
}

#[test]
fn many_shards_share_a_small_memory_by_closing_objects_early() {
    let sections = format!("[memory]\nbudget = \"64MiB\"\n{SQLITE}{DIRECTORY}buffer_size = \"32MiB\"\n");
    let world = World::new(8, &sections.replace("buffer_interval = \"1s\"", "buffer_interval = \"600s\""));
    let mut teller = Teller::plain().padded(8_000);
    teller.tell(&world.stream, 8_000, 250);
    let mut worker = Worker::start(&world.job, "one");
    wait_until("everything is read", SOON * 2, || {
        let page = worker.metrics();
        assert!(page.sum("penstock_memory_used_bytes") <= 64.0 * 1024.0 * 1024.0, "beyond the budget");
        page.sum("penstock_records_fetched_total") >= 8_000.0
    });
    let objects = worker.metrics();
    let by_memory = objects.series("penstock_objects_total");
    let by_memory = by_memory.iter().find(|(labels, _)| labels["closed_by"] == "memory").map(|(_, count)| *count);
    assert!(by_memory > Some(0.0), "{by_memory:?}");
    worker.drain_cleanly();
    let mut reader = Reader::new(Place::directory(world.job.out()));
    reader.look();
    reader.assert_exactly_once(&teller);
}

#[test]
fn a_second_signal_ends_at_once() {
    let world = World::new(1, &format!("{SQLITE}{DIRECTORY}"));
    world.job.edit("buffer_interval = \"1s\"", "buffer_interval = \"600s\"");
    let mut worker = Worker::start(&world.job, "one");
    let mut teller = Teller::plain();
    teller.tell(&world.stream, 100, 100);
    wait_until("all is read", SOON, || worker.metrics().sum("penstock_records_in_flight") >= 100.0);
    // What it would drain into is gone, so the drain waits.
    fs::remove_dir_all(world.job.out()).unwrap();
    fs::write(world.job.out(), "in the way").unwrap();
    worker.signal("TERM");
    worker.wait_for_line(&["draining"]);
    // One that follows at once may be the same, sent to a whole group.
    wait_until("it ends, long before its grace period does", Duration::from_secs(10), || {
        worker.signal("TERM");
        !worker.is_running()
    });
    assert_eq!(worker.exit_code(SOON), 4, "{}", worker.log());
    assert!(worker.log().contains("ending at once"), "{}", worker.log());
    fs::remove_file(world.job.out()).unwrap();
    let mut next = Worker::start(&world.job, "next");
    let mut reader = Reader::new(Place::directory(world.job.out()));
    reader.wait_for_all(&teller, SOON);
    next.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn a_row_that_somebody_deletes_is_a_lost_lease_and_a_gap_that_is_told() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    let stream = Stream::create(&endpoint, &account, "clicks", 1);
    let sections = format!("[leases]\nfailover_time = \"2s\"\n{DIRECTORY}");
    let job = Job::new(&account, &Services::at(&endpoint), "clicks-to-files", "clicks", &sections);
    let mut teller = Teller::plain();
    teller.tell(&stream, 100, 100);
    let mut worker = Worker::start(&job, "one");
    let mut reader = Reader::new(Place::directory(job.out()));
    reader.wait_for_all(&teller, SOON);
    let key = json!({"TableName": "clicks-to-files", "Key": {"leaseKey": {"S": "shardId-000000000000"}}});
    call(&endpoint, account.id(), "DynamoDB_20120810.DeleteItem", &key);
    wait_until("it is created again and held", SOON, || {
        let page = worker.metrics();
        page.sum("penstock_lease_losses_total") >= 1.0 && page.sum("penstock_leases_held") == 1.0
    });
    teller.tell(&stream, 100, 100);
    reader.wait_for_all(&teller, SOON);
    worker.assert_running();
    assert!(worker.metrics().sum("penstock_gaps_total") >= 1.0, "nobody was told: {}", worker.log());
    worker.drain_cleanly();
    // Somebody else's doing: everything is there, and what the row had passed is there again.
    reader.verdict(&teller).assert_at_least_once();
    assert!(!lease_rows(&endpoint, &account, "clicks-to-files").is_empty());
}

#[test]
fn a_stream_that_is_deleted_under_a_running_worker_is_told_and_waited_for() {
    let world = World::new(1, &format!("{SQLITE}{DIRECTORY}"));
    let mut teller = Teller::plain();
    teller.tell(&world.stream, 100, 100);
    let mut worker = Worker::start(&world.job, "one");
    let mut reader = Reader::new(Place::directory(world.job.out()));
    reader.wait_for_all(&teller, SOON);
    world.stream.delete();
    worker.wait_for_line(&["ERROR", "clicks"]);
    worker.assert_running();
    worker.drain_cleanly();
}

#[test]
fn the_leases_are_listed_for_people_and_programs() {
    let world = World::new(2, &format!("{SQLITE}{DIRECTORY}"));
    let mut teller = Teller::plain();
    teller.tell(&world.stream, 100, 100);
    let mut worker = Worker::start(&world.job, "one");
    Reader::new(Place::directory(world.job.out())).wait_for_all(&teller, SOON);
    let table = run(&world.job, &["leases", "list", "-c", "penstock.toml"]);
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    assert_eq!(table.stdout.lines().count(), 3, "{}", table.stdout);
    assert!(table.stdout.contains("shardId-000000000001") && table.stdout.contains("one-"), "{}", table.stdout);
    worker.drain_cleanly();
    let list = run(&world.job, &["leases", "list", "-c", "penstock.toml", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("--json is JSON");
    let states: Vec<_> = list["leases"].as_array().unwrap().iter().map(|lease| lease["state"].clone()).collect();
    assert_eq!(states, ["unowned", "unowned"]);
    // What the program needs is tried, and told line by line.
    let check = run(&world.job, &["check", "--online", "-c", "penstock.toml"]);
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    assert!(
        check.stdout.lines().filter(|line| line.starts_with("ok ")).count() >= 8 && !check.stdout.contains("FAILED"),
        "{}",
        check.stdout
    );
    // A directory that it had to make to try it would be its user's, and not the service's.
    let check = run(&world.job, &["check", "--online", "-c", "penstock.toml", "--set", "sink.path=new/below"]);
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    assert!(!world.job.dir().join("new").exists(), "{}", check.stdout);
}
