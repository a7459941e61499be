//! The main job without AWS: `penstock local`, leases in SQLite, objects in a directory; limits as the service has them.

mod support;

use std::time::Duration;

use support::{Account, Job, Local, Place, Reader, SOON, Services, Stream, Teller, Worker, wait_until};

const LONG: Duration = Duration::from_secs(120);

fn directory_job(account: &Account, local: &Local, more: &str) -> Job {
    let sections = format!(
        "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\nbuffer_size = \"1MiB\"\n{more}"
    );
    Job::new(account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", &sections)
}

#[test]
fn a_kill_and_a_reshard_under_load_leave_every_record_exactly_once() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 4);
    let job = directory_job(&account, &local, "compression = \"gzip\"\n");
    let mut teller = Teller::aggregating();
    let mut reader = Reader::new(Place::directory(job.out()));

    let (mut one, mut two) = (Worker::start(&job, "one"), Worker::start(&job, "two"));
    teller.tell(&stream, 8_000, 250);
    let open = stream.open_shards();
    stream.split(&open[1]);
    teller.tell(&stream, 8_000, 250);
    reader.wait_for_some(1, SOON);
    one.kill_9();
    let open = stream.open_shards();
    let right = open.iter().position(|shard| shard.hash_range.0 == open[0].hash_range.1 + 1);
    stream.merge(&open[0], &open[right.expect("the ranges cover everything")]);
    teller.tell(&stream, 8_000, 250);
    let mut three = Worker::start(&job, "three");
    teller.tell(&stream, 4_000, 250);

    reader.wait_for_all(&teller, LONG);
    two.drain_cleanly();
    three.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn a_source_that_throttles_breaks_and_cuts_its_answers_costs_no_record() {
    let faults = [
        "kinesis.GetRecords:throttle:fail=1,pass=9",
        "kinesis.GetRecords:truncate:fail=1,pass=11",
        "kinesis.GetRecords:reply-lost:fail=1,pass=13",
        "kinesis.GetRecords:5xx:fail=1,pass=7",
        "kinesis.GetRecords:5xx:fail=1,pass=17,status=400,code=ExpiredIteratorException",
        "kinesis.GetRecords:reset:fail=1,pass=15",
        "kinesis.GetShardIterator:throttle:fail=1,pass=2",
    ];
    let flags: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let (account, local) = (Account::new(), Local::start(&flags));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 2);
    let job = directory_job(&account, &local, "compression = \"zstd\"\n");
    let mut teller = Teller::aggregating();
    let mut reader = Reader::new(Place::directory(job.out()));
    let mut worker = Worker::start(&job, "one");
    teller.tell(&stream, 4_000, 250);
    stream.split(&stream.open_shards()[0]);
    teller.tell(&stream, 8_000, 250);
    reader.wait_for_all(&teller, LONG);
    worker.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn many_kills_in_a_row_leave_every_record_exactly_once() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 2);
    let job = directory_job(&account, &local, "");
    let mut teller = Teller::plain();
    let mut reader = Reader::new(Place::directory(job.out()));
    for round in 1..=4_u64 {
        let mut worker = Worker::start(&job, &format!("round-{round}"));
        teller.tell(&stream, 1_500, 250);
        // At whatever it is about when the first object of this round is there.
        reader.wait_for_some(teller.told() - 1_400, SOON);
        worker.kill_9();
    }
    let mut last = Worker::start(&job, "last");
    reader.wait_for_all(&teller, SOON);
    last.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn records_that_come_while_nobody_runs_are_there_after_the_next_start() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    let job = directory_job(&account, &local, "");
    let mut teller = Teller::plain();
    let mut reader = Reader::new(Place::directory(job.out()));
    for round in 0..3 {
        teller.tell(&stream, 200, 100);
        let mut worker = Worker::start(&job, &format!("round-{round}"));
        reader.wait_for_all(&teller, SOON);
        worker.drain_cleanly();
        teller.tell(&stream, 200, 100);
    }
    let mut last = Worker::start(&job, "last");
    reader.wait_for_all(&teller, SOON);
    last.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn an_interrupt_from_the_keyboard_drains_as_a_termination_does() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    let job = directory_job(&account, &local, "");
    job.edit("buffer_interval = \"1s\"", "buffer_interval = \"600s\"");
    let mut teller = Teller::plain();
    teller.tell(&stream, 200, 100);
    let mut worker = Worker::start(&job, "one");
    wait_until("everything is read", SOON, || worker.metrics().sum("penstock_records_in_flight") >= 200.0);
    worker.signal("INT");
    assert_eq!(worker.exit_code(SOON), 0, "{}", worker.log());
    Reader::new(Place::directory(job.out())).assert_exactly_once(&teller);
}

#[test]
fn stdout_gets_each_record_on_a_line() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    let sections = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"stdout\"\n";
    let job = Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-see", "clicks", sections);
    let mut teller = Teller::aggregating();
    teller.tell(&stream, 500, 100);
    let mut worker = Worker::start(&job, "one");
    wait_until("everything is shown", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= 500.0);
    worker.drain_cleanly();
    let shown = std::fs::read(job.output_of("one")).unwrap();
    let mut proof = support::Proof::default();
    shown.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| proof.look(line, "stdout"));
    proof.verdict(teller.told()).assert_exactly_once();
}
