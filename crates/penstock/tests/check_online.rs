//! `penstock check --online`: every permission is tried, each refusal is named with what mends it, nothing is left behind, and a service
//! that never answers holds nobody up.

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use penstock_standins::{Microburst, Ministack, call, s3_keys, s3_put_bucket, try_call};
use serde_json::{Value, json};
use support::{Account, Job, Services, Stream, Teller, Worker, firehose_to_bucket, wait_until};

/// What the program says; STS is asked at `sts`, if there is one.
fn check(job: &Job, sts: Option<&str>, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.env_clear().envs(job.environment()).env("HOME", job.dir()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(sts.map(|sts| ("AWS_ENDPOINT_URL_STS", sts))).current_dir(job.dir());
    let output =
        command.args(["check", "--online", "-c", "penstock.toml"]).args(more).output().expect("penstock starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().expect("no signal ended it"), String::from_utf8(output.stdout).expect("it prints UTF-8"))
}

/// The rows as programs get them.
fn rows(job: &Job, sts: Option<&str>) -> (i32, Vec<Value>) {
    let (code, printed) = check(job, sts, &["--json"]);
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(report["ok"], code == 0, "{printed}");
    (code, report["checks"].as_array().expect("a list of checks").clone())
}

#[track_caller]
fn row<'a>(rows: &'a [Value], what: &str, on: &str) -> &'a Value {
    let found =
        rows.iter().find(|row| row["check"] == what && row["on"].as_str().is_some_and(|text| text.contains(on)));
    found.unwrap_or_else(|| panic!("no {what} on {on} in {rows:#?}"))
}

/// A stream with records, a bucket and a job between them, all at ministack but what `services` changes.
struct World {
    account: Account,
    endpoint: String,
    bucket: String,
    stream: Stream,
}

impl World {
    fn new() -> Self {
        let (account, endpoint) = (Account::new(), Ministack::shared().endpoint());
        let stream = Stream::create(&endpoint, &account, "clicks", 2);
        let bucket = account.bucket("lake");
        s3_put_bucket(&endpoint, account.id(), &bucket);
        Self { account, endpoint, bucket, stream }
    }

    fn to_s3(&self, services: &Services) -> Job {
        let sections = format!(
            "[leases]\nfailover_time = \"2s\"\n[sink]\ntype = \"s3\"\nbucket = \"{}\"\nprefix = \"clicks/!{{timestamp:yyyy}}/\"\nerror_prefix = \"errors/!{{firehose:error-output-type}}/\"\nbuffer_interval = \"1s\"\n",
            self.bucket
        );
        Job::new(&self.account, services, "clicks-to-s3", "clicks", &sections)
    }

    fn to_firehose(&self, services: &Services) -> Job {
        let sections = "[leases]\nfailover_time = \"2s\"\n[sink]\ntype = \"firehose\"\ndelivery_stream = \"to-lake\"\nset_aside_path = \"aside\"\n";
        Job::new(&self.account, services, "clicks-to-lake", "clicks", sections)
    }

    fn tables(&self) -> Vec<String> {
        let answer = call(&self.endpoint, self.account.id(), "DynamoDB_20120810.ListTables", &json!({}));
        answer["TableNames"]
            .as_array()
            .expect("a list of tables")
            .iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect()
    }

    fn items(&self, table: &str) -> Value {
        call(&self.endpoint, self.account.id(), "DynamoDB_20120810.Scan", &json!({"TableName": table}))["Items"].clone()
    }
}

#[test]
fn everything_is_tried_and_nothing_is_left_behind() {
    let world = World::new();
    let mut teller = Teller::plain();
    teller.tell(&world.stream, 50, 100);
    let job = world.to_s3(&Services::at(&world.endpoint));
    // Before the first start: no table is there, and none is made.
    let (code, found) = rows(&job, Some(&world.endpoint));
    assert_eq!(code, 0, "{found:#?}");
    assert_eq!(row(&found, "dynamodb:CreateTable", "clicks-to-s3")["result"], "not_tried");
    assert_eq!(row(&found, "dynamodb:CreateTable", "clicks-to-s3")["grant"], Value::Null);
    assert_eq!(world.tables(), Vec::<String>::new());
    // Beside a running worker: every permission, and how often it renews.
    let mut worker = Worker::start(&job, "one");
    wait_until("it holds both shards", support::SOON, || worker.metrics().sum("penstock_leases_held") == 2.0);
    let (code, found) = rows(&job, Some(&world.endpoint));
    assert_eq!(code, 0, "{found:#?}");
    for (what, on) in [
        ("credentials", "reading"),
        ("sts:GetCallerIdentity", "reading"),
        ("kinesis:DescribeStreamSummary", "clicks"),
        ("stream", "clicks"),
        ("kinesis:ListShards", "clicks"),
        ("kinesis:GetShardIterator", "clicks/shardId-"),
        ("kinesis:GetRecords", "clicks/shardId-"),
        ("dynamodb:DescribeTable", "clicks-to-s3"),
        ("dynamodb:GetItem", "clicks-to-s3"),
        ("dynamodb:Scan", "clicks-to-s3"),
        ("dynamodb:PutItem", "clicks-to-s3"),
        ("dynamodb:UpdateItem", "clicks-to-s3"),
        ("dynamodb:DeleteItem", "clicks-to-s3"),
        ("dynamodb:Query", "clicks-to-s3-gaps"),
        ("dynamodb:PutItem", "clicks-to-s3-gaps"),
        ("dynamodb:UpdateItem", "clicks-to-s3-gaps"),
        ("dynamodb:GetItem", "clicks-to-s3-CoordinatorState"),
        ("leases", "the lease table"),
        ("gaps", "the gap ledger"),
        ("KCL 3 leader", "the lease table"),
        ("memory.budget", "this worker"),
        ("s3:PutObject", &world.bucket),
        ("s3:ListBucket", &world.bucket),
        ("s3:GetObject", &world.bucket),
    ] {
        assert_eq!(row(&found, what, on)["result"], "ok", "{what} on {on}: {found:#?}");
    }
    let caller = row(&found, "sts:GetCallerIdentity", "reading")["detail"].as_str().unwrap();
    assert!(caller.contains(world.account.id()), "{caller}");
    worker.drain_cleanly();
    let items = world.items("clicks-to-s3").to_string() + &world.items("clicks-to-s3-gaps").to_string();
    assert!(!items.contains("penstock-check") && !items.contains("penstockNone"), "{items}");
    let keys = s3_keys(&world.endpoint, world.account.id(), &world.bucket);
    assert!(!keys.iter().any(|key| key.contains("penstock-check")), "{keys:?}");
}

#[test]
fn each_missing_permission_is_named_with_its_resource_and_its_file() {
    let world = World::new();
    firehose_to_bucket(&world.endpoint, &world.account, "to-lake", &world.bucket);
    let proxy = Microburst::start(&world.endpoint);
    let services = Services::at(&proxy.endpoint());
    let job = world.to_firehose(&services);
    let deny = |service: &str, operation: &str| json!({"service": service, "operation": operation, "error": {"code": "AccessDeniedException", "status": 400}});
    let stream = format!("arn:aws:kinesis:us-east-1:{}:stream/clicks", world.account.id());
    let table = format!("arn:aws:dynamodb:us-east-1:{}:table/clicks-to-lake", world.account.id());
    let delivery = format!("arn:aws:firehose:us-east-1:{}:deliverystream/to-lake", world.account.id());
    let sets: [&[(&str, &str, &str, &str)]; 3] = [
        &[
            ("kinesis", "GetRecords", &stream, "source-polling.json"),
            ("dynamodb", "DescribeTable", &table, "leases.json"),
            ("dynamodb", "GetItem", &table, "leases.json"),
            ("dynamodb", "PutItem", &table, "leases.json"),
            ("dynamodb", "DeleteItem", &table, "leases.json"),
            ("firehose", "PutRecordBatch", &delivery, "firehose-sink.json"),
        ],
        &[
            ("kinesis", "GetShardIterator", &stream, "source-polling.json"),
            ("kinesis", "DescribeStreamSummary", &stream, "source-polling.json"),
            ("dynamodb", "Scan", &table, "leases.json"),
            ("dynamodb", "UpdateItem", &table, "leases.json"),
            ("dynamodb", "Query", &table, "leases.json"),
            ("firehose", "DescribeDeliveryStream", &delivery, "firehose-sink.json"),
        ],
        &[("kinesis", "ListShards", &stream, "source-polling.json")],
    ];
    for set in sets {
        let rules: Vec<Value> = set.iter().map(|(service, operation, ..)| deny(service, operation)).collect();
        proxy.set_rules(&json!(rules));
        let (code, found) = rows(&job, Some(&world.endpoint));
        assert_eq!(code, 1, "{found:#?}");
        for (service, operation, resource, policy) in set {
            let action = format!("{service}:{operation}");
            let denied = row(&found, &action, "");
            assert_eq!(denied["result"], "failed", "{denied:#}");
            assert_eq!(denied["grant"]["action"], action);
            assert!(denied["grant"]["resource"].as_str().unwrap().starts_with(resource), "{denied:#}");
            assert_eq!(denied["grant"]["policy"], format!("deploy/iam/{policy}"));
            assert!(denied["fix"].as_str().unwrap().contains(&action), "{denied:#}");
        }
        // What was not refused is not blamed.
        let blamed: Vec<&Value> = found.iter().filter(|row| !row["grant"].is_null()).map(|row| &row["check"]).collect();
        let refused = |check: &Value| {
            let named =
                |(service, operation, ..): &(&str, &str, &str, &str)| *check == format!("{service}:{operation}");
            set.iter().any(named)
        };
        assert!(blamed.iter().all(|check| refused(check)), "{blamed:?}");
    }
    // People read the same.
    let (code, table) = check(&job, Some(&world.endpoint), &[]);
    assert_eq!(code, 1);
    let fix = format!("fix: allow kinesis:ListShards on {stream}, as in deploy/iam/source-polling.json");
    assert!(table.starts_with("RESULT") && table.contains(&fix), "{table}");
}

#[test]
fn a_bucket_and_a_key_that_are_refused_are_named() {
    let world = World::new();
    let mut teller = Teller::plain();
    teller.tell(&world.stream, 20, 100);
    let proxy = Microburst::start(&world.endpoint);
    let services = Services { s3: proxy.endpoint(), kinesis: proxy.endpoint(), ..Services::at(&world.endpoint) };
    let job = world.to_s3(&services);
    proxy.set_rules(&json!([
        {"service": "s3", "error": {"code": "AccessDenied", "status": 403}},
        {"service": "kinesis", "operation": "GetRecords", "error": {"code": "KMSAccessDeniedException", "status": 400}},
    ]));
    let (code, found) = rows(&job, Some(&world.endpoint));
    assert_eq!(code, 1);
    let put = row(&found, "s3:PutObject", &world.bucket);
    assert_eq!(put["grant"]["policy"], "deploy/iam/s3-sink.json");
    assert_eq!(put["grant"]["resource"], format!("arn:aws:s3:::{}/clicks/*", world.bucket));
    assert_eq!(
        row(&found, "s3:ListBucket", &world.bucket)["grant"]["resource"],
        format!("arn:aws:s3:::{}", world.bucket)
    );
    assert_eq!(row(&found, "s3:GetObject", &world.bucket)["result"], "not_tried");
    let read = row(&found, "kinesis:GetRecords", "clicks");
    assert!(read["fix"].as_str().unwrap().contains("deploy/iam/source-kms.json"), "{read:#}");
    // A bucket in another Region, and one that is not there.
    proxy.set_rules(&json!([{"service": "s3", "error": {"code": "PermanentRedirect", "status": 301}}]));
    let (code, found) = rows(&job, Some(&world.endpoint));
    let put = row(&found, "s3:PutObject", &world.bucket);
    assert!(code == 1 && put["detail"].as_str().unwrap().contains("sink.region"), "{put:#}");
    proxy.clear();
    job.edit(&world.bucket, "nobody-has-this-bucket");
    let (code, found) = rows(&job, Some(&world.endpoint));
    let put = row(&found, "s3:PutObject", "nobody-has-this-bucket");
    assert!(code == 1 && put["fix"].as_str().unwrap().contains("create the bucket"), "{put:#}");
}

#[test]
fn a_service_that_never_answers_holds_nobody_up() {
    let world = World::new();
    // Connections are taken by the system and never answered.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", hole.local_addr().unwrap());
    let services = Services { s3: world.endpoint.clone(), ..Services::at(&address) };
    let job = world.to_s3(&services);
    let started = Instant::now();
    let (code, found) = rows(&job, Some(&address));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(code, 1);
    for (what, on) in [("kinesis:DescribeStreamSummary", "clicks"), ("dynamodb:DescribeTable", "clicks-to-s3")] {
        let silent = row(&found, what, on);
        assert_eq!((&silent["result"], &silent["grant"]), (&json!("failed"), &Value::Null), "{silent:#}");
        assert!(silent["detail"].as_str().unwrap().contains("did not answer within 5 s"), "{silent:#}");
        assert!(silent["fix"].as_str().unwrap().contains(&address), "{silent:#}");
    }
    // Who the credentials are is good to know and nothing more.
    assert_eq!(row(&found, "sts:GetCallerIdentity", "reading")["result"], "not_tried");
    assert_eq!(row(&found, "s3:PutObject", &world.bucket)["result"], "ok");
}

#[test]
fn a_worker_with_another_failover_time_and_a_dead_one_are_noticed() {
    let world = World::new();
    let job = world.to_s3(&Services::at(&world.endpoint));
    let dynamo = |operation: &str, body: &Value| {
        let (status, answer) =
            try_call(&world.endpoint, world.account.id(), &format!("DynamoDB_20120810.{operation}"), body);
        assert_eq!(status, 200, "{operation}: {answer}");
    };
    let schema = json!({
        "TableName": "clicks-to-s3", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
    });
    dynamo("CreateTable", &schema);
    let put = |shard: &str, owner: &str, counter: u64| {
        let item = json!({
            "leaseKey": {"S": shard}, "leaseOwner": {"S": owner}, "leaseCounter": {"N": counter.to_string()},
            "checkpoint": {"S": "TRIM_HORIZON"}, "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
        });
        dynamo("PutItem", &json!({"TableName": "clicks-to-s3", "Item": item}));
    };
    put("shardId-000000000001", "dead", 7);
    put("shardId-000000000000", "hasty", 1);
    let done = Arc::new(AtomicBool::new(false));
    let (code, found) = thread::scope(|scope| {
        let ended = Arc::clone(&done);
        scope.spawn(move || {
            let mut counter = 2;
            while !ended.load(Ordering::Relaxed) {
                put("shardId-000000000000", "hasty", counter);
                counter += 1;
                thread::sleep(Duration::from_millis(200));
            }
        });
        // Ours is 20 s: renewals come every seven seconds.
        job.edit("failover_time = \"2s\"", "failover_time = \"20s\"\nmax_leases = 1");
        let found = rows(&job, None);
        done.store(true, Ordering::Relaxed);
        found
    });
    let dead = row(&found, "leases.failover_time", "dead");
    assert!(dead["result"] == "warning" && dead["detail"].as_str().unwrap().contains("looked 1"), "{dead:#}");
    let hasty = row(&found, "leases.failover_time", "hasty");
    assert!(hasty["result"] == "warning" && hasty["fix"].as_str().unwrap().contains("ours is 20 s"), "{hasty:#}");
    // Warnings alone are no failure.
    assert_eq!(row(&found, "leases.max_leases", "")["result"], "ok");
    assert_eq!(code, 0, "{found:#?}");
    // Beside a stand-in without an STS nobody goes to AWS's own.
    assert_eq!(row(&found, "sts:GetCallerIdentity", "reading")["result"], "not_tried");
}
