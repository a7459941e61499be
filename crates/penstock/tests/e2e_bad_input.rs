//! Bad input: each mistake gives one clear line and the exit code of its kind, or is waited for; never a backtrace, never a lost
//! record.

mod support;

use std::fs;
use std::net::TcpListener;

use penstock_standins::{Microburst, Ministack, call, s3_put_bucket};
use serde_json::json;
use support::{Account, Job, Local, Output, Place, Reader, SOON, Services, Stream, Teller, Worker, run, wait_until};

const FAILED: i32 = 1;
const CONFIGURATION: i32 = 3;

const DIRECTORY: &str = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\n";

/// Runs the daemon, which has to end by itself with this code, and gives the line that says why.
#[track_caller]
fn refusal(job: &Job, code: i32, words: &[&str]) -> String {
    let output = run(job, &["run", "-c", "penstock.toml"]);
    assert_eq!(output.code, code, "{}", output.stderr);
    one_line(&output, words)
}

/// What the program says at its end: one line, or for a configuration one for each problem below a first; all of it in one
/// string, which has to hold all these words.
#[track_caller]
fn one_line(output: &Output, words: &[&str]) -> String {
    let said = &output.stderr;
    for trace in ["panicked", "stack backtrace", "RUST_BACKTRACE", "Error {", "SdkError", "ServiceError(", "unhandled"]
    {
        assert!(!said.contains(trace), "{trace} in\n{said}");
    }
    let ours = |line: &&str| line.starts_with("penstock: ") && !line.starts_with("penstock: warning: ");
    assert_eq!(said.lines().filter(ours).count(), 1, "not one line of ours:\n{said}");
    let lines: Vec<&str> = said.lines().skip_while(|line| !ours(line)).collect();
    if output.code != CONFIGURATION {
        assert_eq!(lines.len(), 1, "something comes after the line that says why:\n{said}");
    }
    let line = lines.join("");
    assert!(line.len() < 750, "nobody reads {} characters: {line}", line.len());
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    line
}

/// A job against the local endpoints, whose stream is there.
fn local_job(local: &Local, sections: &str) -> (Account, Stream, Job) {
    let account = Account::new();
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    let job = Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", sections);
    (account, stream, job)
}

// === Configuration: exit 3 before anything is touched ===

/// A job that never gets as far as a service.
fn unreachable_job(sections: &str) -> Job {
    Job::new(&Account::new(), &Services::at("http://127.0.0.1:9"), "clicks-to-files", "clicks", sections)
}

#[test]
fn a_wrong_configuration_is_told_with_key_value_and_what_is_allowed() {
    let cases = [
        (DIRECTORY.replace("buffer_interval", "bufer_interval"), ["sink.bufer_interval", "buffer_interval"].as_slice()),
        (DIRECTORY.replace("\"1s\"", "\"1 parsec\""), &["sink.buffer_interval", "1 parsec"]),
        (DIRECTORY.replace("\"1s\"", "\"5MiB\""), &["sink.buffer_interval", "5MiB"]),
        (DIRECTORY.replace("\"1s\"", "\"0s\""), &["sink.buffer_interval", "1s"]),
        (DIRECTORY.replace("path = \"out\"\n", ""), &["sink.path", "required"]),
        (DIRECTORY.replace("type = \"directory\"\npath = \"out\"\n", "type = \"s3\"\n"), &["sink.bucket", "required"]),
        (DIRECTORY.replace("\"directory\"", "\"gcs\""), &["sink.type", "gcs", "firehose"]),
        (format!("{DIRECTORY}prefix = \"!{{timestamp:YYYY}}!{{nonsense:x}}/\"\n"), &["sink.prefix", "nonsense"]),
        (format!("{DIRECTORY}prefix = \"!{{firehose:error-output-type}}/\"\n"), &["sink.prefix", "error-output-type"]),
        (format!("{DIRECTORY}[memory]\nbudget = \"16MiB\"\n"), &["memory.budget", "16MiB"]),
        (format!("{DIRECTORY}[admin]\nlisten = \"nowhere\"\n"), &["admin.listen", "nowhere"]),
    ];
    for (sections, words) in cases {
        let line = refusal(&unreachable_job(&sections), CONFIGURATION, &[]);
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {line}");
        }
    }
}

#[test]
fn a_configuration_that_is_none_or_not_there_is_told_with_its_name() {
    let job = Job::bare(&Account::new());
    refusal(&job, CONFIGURATION, &["penstock.toml"]);
    job.write("[application\nname = 7");
    refusal(&job, CONFIGURATION, &["penstock.toml"]);
}

#[test]
fn a_region_that_contradicts_the_stream_s_arn_is_refused() {
    let job = unreachable_job(DIRECTORY);
    job.edit(
        "streams = [\"clicks\"]",
        "streams = [\"arn:aws:kinesis:eu-west-1:123456789012:stream/clicks\"]\nregion = \"us-east-1\"",
    );
    refusal(&job, CONFIGURATION, &["source.region", "us-east-1", "eu-west-1"]);
}

// === What the start needs: exit 1 ===

#[test]
fn no_credentials_are_told_with_where_to_give_them() {
    let job = unreachable_job(DIRECTORY).without_credentials();
    refusal(&job, FAILED, &["credentials", "AWS_ACCESS_KEY_ID"]);
}

#[test]
fn the_admin_pages_are_served_while_credentials_are_awaited() {
    let job = unreachable_job(DIRECTORY).without_credentials();
    fs::create_dir(job.dir().join(".aws")).unwrap();
    fs::write(job.dir().join(".aws/config"), "[default]\ncredential_process = sleep 20\n").unwrap();
    let mut worker = Worker::start(&job, "patient");
    assert_eq!(worker.page("/livez"), (200, "starting\n".to_owned()));
    assert_eq!(worker.page("/readyz"), (503, "starting\n".to_owned()));
    assert_eq!(worker.page("/metrics").0, 200);
    let (code, body) = worker.page("/api/status");
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, status), (503, json!({ "state": "starting" })));
}

#[test]
fn no_region_is_told_with_where_to_set_it() {
    let job = unreachable_job(DIRECTORY);
    job.edit("region = \"us-east-1\"\n", "");
    refusal(&job, FAILED, &["Region", "aws.region"]);
}

#[test]
fn a_stream_that_does_not_exist_is_told_with_its_name() {
    let local = Local::start(&[]);
    let (_, _, job) = local_job(&local, DIRECTORY);
    job.edit("streams = [\"clicks\"]", "streams = [\"clikcs\"]");
    refusal(&job, FAILED, &["stream", "clikcs", "not", "check the name"]);
}

#[test]
fn a_stream_that_may_not_be_read_is_told_with_the_permission() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    Stream::create(&endpoint, &account, "clicks", 1);
    let proxy = Microburst::start(&endpoint);
    proxy.set_rules(&json!([{"service": "kinesis", "error": {"code": "AccessDeniedException", "status": 400}}]));
    let services = Services { kinesis: proxy.endpoint(), ..Services::at(&endpoint) };
    let job = Job::new(&account, &services, "clicks-to-files", "clicks", DIRECTORY);
    refusal(&job, FAILED, &["clicks", "DescribeStreamSummary", "AccessDenied"]);
    // The same for the lease table.
    proxy.set_rules(&json!([{"service": "dynamodb", "error": {"code": "AccessDeniedException", "status": 400}}]));
    let services = Services { dynamodb: proxy.endpoint(), ..Services::at(&endpoint) };
    let job =
        Job::new(&account, &services, "clicks-to-files", "clicks", &DIRECTORY.replace("store = \"sqlite\"\n", ""));
    refusal(&job, FAILED, &["lease table", "clicks-to-files", "AccessDenied"]);
}

#[test]
fn a_table_that_is_somebody_else_s_is_not_touched() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    Stream::create(&endpoint, &account, "clicks", 1);
    let schema = json!({
        "TableName": "orders", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "orderId", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "orderId", "KeyType": "HASH"}],
    });
    call(&endpoint, account.id(), "DynamoDB_20120810.CreateTable", &schema);
    let item = json!({"TableName": "orders", "Item": {"orderId": {"N": "7"}}});
    call(&endpoint, account.id(), "DynamoDB_20120810.PutItem", &item);
    let sections = DIRECTORY.replace("store = \"sqlite\"\n", "table = \"orders\"\n");
    let job = Job::new(&account, &Services::at(&endpoint), "clicks-to-files", "clicks", &sections);
    refusal(&job, FAILED, &["orders", "leaseKey"]);
    let items = call(&endpoint, account.id(), "DynamoDB_20120810.Scan", &json!({"TableName": "orders"}));
    assert_eq!(items["Items"], json!([{"orderId": {"N": "7"}}]));
}

#[test]
fn a_lease_file_that_is_not_one_is_not_touched() {
    let local = Local::start(&[]);
    let (_, _, job) = local_job(&local, DIRECTORY);
    let path = job.dir().join("penstock-leases.db");
    let text = "minutes of the meeting\n".repeat(500);
    fs::write(&path, &text).unwrap();
    refusal(&job, FAILED, &["penstock-leases.db", "SQLite"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // One that cannot be written, whoever asks.
    job.edit("store = \"sqlite\"\n", "store = \"sqlite\"\npath = \"/proc/penstock-leases.db\"\n");
    refusal(&job, FAILED, &["/proc/penstock-leases.db"]);
}

#[test]
fn an_admin_address_in_use_is_told_with_what_to_do() {
    let local = Local::start(&[]);
    let (_, _, job) = local_job(&local, DIRECTORY);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    job.edit("127.0.0.1:0", &address);
    refusal(&job, FAILED, &["admin.listen", &address, "in use"]);
}

#[test]
fn leases_of_a_stream_that_was_deleted_are_not_used_for_its_successor() {
    let local = Local::start(&[]);
    let (account, stream, job) = local_job(&local, DIRECTORY);
    let mut teller = Teller::plain();
    teller.tell(&stream, 100, 100);
    let mut worker = Worker::start(&job, "one");
    Reader::new(Place::directory(job.out())).wait_for_all(&teller, SOON);
    worker.drain_cleanly();
    stream.delete();
    wait_until("the stream is gone", SOON, || {
        let (status, _) = penstock_standins::try_call(
            &local.endpoint(),
            account.id(),
            "Kinesis_20131202.DescribeStreamSummary",
            &json!({"StreamName": "clicks"}),
        );
        status != 200
    });
    Stream::create(&local.endpoint(), &account, "clicks", 1);
    refusal(&job, FAILED, &["clicks", "created", "application name"]);
}

#[test]
fn the_other_commands_refuse_in_the_same_way() {
    let job = unreachable_job(DIRECTORY);
    job.edit("buffer_interval", "bufer_interval");
    for command in [
        ["check", "-c", "penstock.toml"].as_slice(),
        &["config", "-c", "penstock.toml"],
        &["leases", "list", "-c", "penstock.toml"],
    ] {
        let output = run(&job, command);
        assert_eq!(output.code, CONFIGURATION, "{command:?}: {}", output.stderr);
        one_line(&output, &["sink.bufer_interval"]);
    }
    let output = run(&job, &["frobnicate"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    let output = run(&job, &["local", "--fault", "kinesis.GetRecord:throttle"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert!(output.stderr.contains("--fault") && output.stderr.contains("GetRecord"), "{}", output.stderr);
    let output = run(&job, &["health", "--url", "http://127.0.0.1:9/livez"]);
    assert_eq!(output.code, FAILED, "{}", output.stderr);
    one_line(&output, &["http://127.0.0.1:9/livez"]);
}

// === The sink: waited for ===

#[test]
fn a_mistyped_bucket_is_named_until_it_is_corrected_and_nothing_is_lost() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    let stream = Stream::create(&endpoint, &account, "clicks", 1);
    let (right, wrong) = (account.bucket("lake"), account.bucket("laek"));
    s3_put_bucket(&endpoint, account.id(), &right);
    let sections = format!(
        "[leases]\nfailover_time = \"2s\"\n[sink]\ntype = \"s3\"\nbucket = \"{wrong}\"\nbuffer_interval = \"1s\"\n"
    );
    let job = Job::new(&account, &Services::at(&endpoint), "clicks-to-s3", "clicks", &sections);
    let mut teller = Teller::plain();
    teller.tell(&stream, 300, 100);
    let mut worker = Worker::start(&job, "mistyped");
    let why = not_ready(&mut worker, &["sink", "laek"]);
    assert!(why.contains("not exist") || why.contains("no such bucket"), "{why}");
    wait_until("it holds the shard", SOON, || worker.metrics().sum("penstock_leases_held") == 1.0);
    worker.drain_cleanly();

    job.edit(&wrong, &right);
    let mut worker = Worker::start(&job, "corrected");
    let mut reader = Reader::new(Place::bucket(&endpoint, &account, &right));
    reader.wait_for_all(&teller, SOON);
    worker.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

#[test]
fn a_bucket_that_is_refused_or_elsewhere_is_told_with_the_reason() {
    let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
    Stream::create(&endpoint, &account, "clicks", 1);
    let bucket = account.bucket("lake");
    s3_put_bucket(&endpoint, account.id(), &bucket);
    let proxy = Microburst::start(&endpoint);
    let services = Services { s3: proxy.endpoint(), ..Services::at(&endpoint) };
    let sections = format!(
        "[leases]\nfailover_time = \"2s\"\n[sink]\ntype = \"s3\"\nbucket = \"{bucket}\"\nbuffer_interval = \"1s\"\n"
    );
    let job = Job::new(&account, &services, "clicks-to-s3", "clicks", &sections);
    for (error, words) in [
        (json!({"code": "AccessDenied", "status": 403}), ["lake", "denied"].as_slice()),
        (json!({"code": "PermanentRedirect", "status": 301}), &["lake", "Region"]),
        (json!({"code": "AuthorizationHeaderMalformed", "status": 400}), &["lake", "Region"]),
    ] {
        proxy.set_rules(&json!([{"service": "s3", "error": error}]));
        let mut worker = Worker::start(&job, "one");
        let why = not_ready(&mut worker, &["sink", &bucket]);
        for word in words {
            assert!(why.to_lowercase().contains(&word.to_lowercase()), "no {word:?} in: {why}");
        }
        proxy.clear();
        wait_until("it is ready once the bucket is", SOON, || worker.page("/readyz").0 == 200);
        worker.drain_cleanly();
    }
}

#[test]
fn a_delivery_stream_that_does_not_exist_is_named_until_it_does() {
    let local = Local::start(&[]);
    let sections = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"firehose\"\ndelivery_stream = \"to-lake\"\nlinger = \"200ms\"\n";
    let (account, stream, job) = local_job(&local, sections);
    let mut teller = Teller::plain();
    teller.tell(&stream, 100, 100);
    let mut worker = Worker::start(&job, "one");
    not_ready(&mut worker, &["sink", "to-lake"]);
    support::firehose_to_bucket(&local.endpoint(), &account, "to-lake", "lake");
    wait_until("all is delivered", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= 100.0);
    worker.drain_cleanly();
}

#[test]
fn a_directory_that_cannot_be_is_named_and_the_process_stays() {
    let local = Local::start(&[]);
    let (_, stream, job) = local_job(&local, DIRECTORY);
    // A file where the directory should be.
    fs::write(job.dir().join("out"), "in the way").unwrap();
    let mut teller = Teller::plain();
    teller.tell(&stream, 100, 100);
    let mut worker = Worker::start(&job, "one");
    not_ready(&mut worker, &["sink", "out"]);
    fs::remove_file(job.dir().join("out")).unwrap();
    let mut reader = Reader::new(Place::directory(job.out()));
    reader.wait_for_all(&teller, SOON);
    worker.drain_cleanly();
    reader.assert_exactly_once(&teller);
}

/// Waits until the worker says on /readyz what it waits for, and gives that line; it has to be in the log as well.
#[track_caller]
fn not_ready(worker: &mut Worker, words: &[&str]) -> String {
    wait_until("it has asked the sink", SOON, || worker.status()["sink"]["state"] == "down");
    let (status, why) = worker.page("/readyz");
    assert_eq!(status, 503, "{why}");
    let line = why.lines().find(|line| words.iter().all(|word| line.contains(word)));
    let line = line.unwrap_or_else(|| panic!("no line with {words:?} in:\n{why}")).to_owned();
    assert!(line.len() < 500, "nobody reads {} characters: {line}", line.len());
    worker.assert_running();
    worker.wait_for_line(&["the sink is not there", words[1]]);
    assert!(!worker.log().contains("panicked"), "{}", worker.log());
    line
}
