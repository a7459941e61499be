//! What a scraper, a probe and a person see of a worker: metrics that add up, health, status.

mod support;

use penstock_engine::metrics::catalogue::{CATALOGUE, Metric, Origin};
use support::{Account, Job, Local, Page, Place, Reader, SOON, Services, Stream, Teller, Worker, run, wait_until};

const SECTIONS: &str = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\n";

fn job(account: &Account, local: &Local) -> Job {
    Job::new(account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", SECTIONS)
}

#[track_caller]
fn assert_adds_up(page: &Page) {
    let sum = |name: &str| page.sum(name);
    let parts = [
        "penstock_records_delivered_total",
        "penstock_records_set_aside_total",
        "penstock_records_dropped_total",
        "penstock_records_abandoned_total",
        "penstock_records_in_flight",
    ];
    let told: Vec<_> = parts.iter().map(|name| (name, sum(name))).collect();
    let total: f64 = told.iter().map(|(_, value)| value).sum();
    assert_eq!(sum("penstock_records_fetched_total"), total, "{told:?}");
}

#[test]
fn every_metric_is_there_from_the_start_with_its_type_labels_and_description() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 2);
    let job = job(&account, &local);
    let mut teller = Teller::plain();
    teller.tell(&stream, 500, 100);
    let mut worker = Worker::start(&job, "one");
    Reader::new(Place::directory(job.out())).wait_for_all(&teller, SOON);
    wait_until("the page is complete", SOON, || {
        worker.metrics().series("penstock_iterator_age_milliseconds").len() == 2
    });
    let page = worker.metrics();
    let mut absent = Vec::new();
    for Metric { name, kind, labels, origin, .. } in CATALOGUE.iter().filter(|metric| metric.origin != Origin::Event) {
        if page.type_of(name) != Some(kind.as_str()) || !page.has_help(name) {
            absent.push(format!("{name}: type {:?}, help {}", page.type_of(name), page.has_help(name)));
        }
        let mut labels: Vec<&str> = labels.iter().map(|label| label.name).collect();
        labels.sort_unstable();
        for (found, _) in page.series(name) {
            assert!(found.keys().eq(labels.iter()), "{name}, of {origin:?}, has the labels {found:?}");
        }
    }
    assert!(absent.is_empty(), "absent or undescribed, so an alarm on them finds no data: {absent:#?}");
    let known = |name: &str| CATALOGUE.iter().any(|metric| metric.name == name);
    for name in page.names() {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(known(name) || of_histogram.is_some_and(known), "{name} is not in the catalogue");
    }
    // Each known value stands there before it happened.
    for (name, values) in
        [("penstock_throttles_total", 4), ("penstock_delivery_errors_total", 8), ("penstock_shards", 7)]
    {
        assert_eq!(page.series(name).len(), values, "{name}");
    }
    assert_eq!((page.sum("penstock_sink_up"), page.sum("penstock_ready")), (1.0, 1.0));
    assert_eq!((page.sum("penstock_leases_open"), page.sum("penstock_workers")), (2.0, 1.0));
    assert_eq!(page.sum("penstock_memory_budget_bytes"), f64::from(256 << 20));
    assert!(page.sum("penstock_object_bytes_count") >= 2.0 && page.sum("penstock_sink_call_seconds_count") >= 2.0);
    let (start, scan) = (page.sum("process_start_time_seconds"), page.sum("penstock_last_scan_timestamp_seconds"));
    let checkpoint = page.sum("penstock_last_checkpoint_timestamp_seconds");
    assert!(scan >= start - 1.0 && checkpoint >= start - 1.0, "{start} {scan} {checkpoint}");
    worker.drain_cleanly();
}

#[test]
fn the_sum_of_records_holds_before_and_after_a_killed_peer_is_taken_over() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 4);
    let job = job(&account, &local);
    let mut teller = Teller::aggregating();
    let mut reader = Reader::new(Place::directory(job.out()));
    let mut two = Worker::start(&job, "two");
    wait_until("one worker holds all", SOON, || two.metrics().sum("penstock_leases_held") == 4.0);
    let mut one = Worker::start(&job, "one");
    wait_until("they share", SOON, || {
        [&mut one, &mut two].into_iter().all(|worker| worker.metrics().sum("penstock_leases_held") == 2.0)
    });
    for worker in [&mut one, &mut two] {
        let page = worker.metrics();
        for name in ["penstock_iterator_age_milliseconds", "penstock_oldest_unsettled_age_seconds"] {
            let shards = page.series(name);
            assert!(shards.len() <= 2, "series of shards that are no longer held: {shards:?}");
        }
    }
    // A lease that has just been given away is taken at the next look.
    wait_until("no lease is without an owner", SOON, || {
        [&mut one, &mut two].into_iter().all(|worker| worker.metrics().sum("penstock_leases_unowned") == 0.0)
    });
    teller.tell(&stream, 3_000, 250);
    reader.wait_for_some(1, SOON);
    one.kill_9();
    teller.tell(&stream, 3_000, 250);
    reader.wait_for_all(&teller, SOON);
    wait_until("it is quiet", SOON, || {
        let page = two.metrics();
        page.sum("penstock_records_in_flight") == 0.0 && page.sum("penstock_leases_held") == 4.0
    });
    let page = two.metrics();
    assert_adds_up(&page);
    assert_eq!(page.series("penstock_iterator_age_milliseconds").len(), 4);
    assert_eq!(page.sum("penstock_leases_handed_over_total"), 2.0, "the two that the first worker got");
    assert_eq!(page.sum("penstock_lease_losses_total"), 0.0, "given away in order is not lost");
    let delivered = page.sum("penstock_records_delivered_total");
    assert!(delivered > 3_000.0 && delivered <= teller.told() as f64, "{delivered} of {}", teller.told());

    let status = two.status();
    assert_eq!(status["records"]["delivered"].as_f64(), Some(delivered), "{status:#}");
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(4), "{status:#}");
    assert_eq!(status["leases"].as_array().map(Vec::len), Some(4), "{status:#}");
    assert_eq!((status["sink"]["state"].as_str(), status["draining"].as_bool()), (Some("ready"), Some(false)));
    two.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn lag_and_unsettled_age_tell_of_a_worker_that_falls_behind() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    let job = job(&account, &local);
    job.edit("buffer_interval = \"1s\"", "buffer_interval = \"600s\"");
    let mut teller = Teller::plain();
    let mut worker = Worker::start(&job, "one");
    wait_until("it is caught up", SOON, || {
        let page = worker.metrics();
        page.sum("penstock_leases_held") == 1.0 && page.sum("penstock_lag_milliseconds") < 2_000.0
    });
    teller.tell(&stream, 100, 100);
    wait_until("what fills grows old", SOON, || worker.metrics().sum("penstock_oldest_unsettled_age_seconds") > 2.0);
    let page = worker.metrics();
    assert_eq!(page.sum("penstock_records_in_flight"), 100.0);
    assert!(page.sum("penstock_memory_used_bytes") > 10_000.0, "{}", page.sum("penstock_memory_used_bytes"));
    assert_adds_up(&page);
    drop(local);
    wait_until("the lag grows without answers", SOON, || worker.metrics().sum("penstock_lag_milliseconds") > 3_000.0);
    worker.drain_cleanly();
    assert_eq!(Reader::new(Place::directory(job.out())).found(), 100);
}

#[test]
fn probes_answer_and_health_asks_them() {
    let (account, local) = (Account::new(), Local::start(&[]));
    Stream::create(&local.endpoint(), &account, "clicks", 1);
    let job = job(&account, &local);
    let mut worker = Worker::start(&job, "one");
    wait_until("it is ready", SOON, || worker.page("/readyz") == (200, "ready\n".to_owned()));
    assert_eq!(worker.page("/livez").0, 200);
    let (status, index) = worker.page("/");
    assert!(status == 200 && ["/metrics", "/livez", "/readyz", "/api/status"].iter().all(|page| index.contains(page)));
    assert_eq!(worker.page("/nothing").0, 404);
    let url = format!("http://{}/livez", worker.admin());
    let output = run(&job, &["health", "--url", &url]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let url = format!("http://{}/nothing", worker.admin());
    assert_eq!(run(&job, &["health", "--url", &url]).code, 1);
    // Stopped as a process, it is there and does not answer.
    worker.signal("STOP");
    let url = format!("http://{}/livez", worker.admin());
    assert_eq!(run(&job, &["health", "--url", &url]).code, 1);
    worker.signal("CONT");
    worker.drain_cleanly();
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    let job = job(&account, &local);
    let mut teller = Teller::plain();
    teller.tell(&stream, 100, 100);
    let mut worker = Worker::start_with(&job, "one", &["log.format=json"]);
    Reader::new(Place::directory(job.out())).wait_for_all(&teller, SOON);
    worker.signal("TERM");
    assert_eq!(worker.exit_code(SOON), 0);
    let log = worker.log();
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["message"].is_string() && event["level"].is_string(), "{line}");
    }
}
