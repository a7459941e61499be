//! Each stand-in is started here and answers; what the helpers promise about ends is tried on real processes.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::*;

const CREATE_TABLE: &str = "DynamoDB_20120810.CreateTable";
const LIST_TABLES: &str = "DynamoDB_20120810.ListTables";

fn table(name: &str) -> serde_json::Value {
    json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
    })
}

fn listens(endpoint: &str) -> bool {
    let port: u16 = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn within(limit: Duration, what: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if what() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn ministack_keeps_accounts_apart_and_ends_when_dropped() {
    let ministack = Ministack::start();
    let endpoint = ministack.endpoint();
    let (ours, other) = (unique_account(), unique_account());
    call(&endpoint, &ours, CREATE_TABLE, &table("leases"));
    assert_eq!(call(&endpoint, &ours, LIST_TABLES, &json!({}))["TableNames"], json!(["leases"]));
    assert_eq!(call(&endpoint, &other, LIST_TABLES, &json!({}))["TableNames"], json!([]));
    ministack.reset();
    assert_eq!(call(&endpoint, &ours, LIST_TABLES, &json!({}))["TableNames"], json!([]));
    drop(ministack);
    assert!(!listens(&endpoint), "ministack outlived its handle");
}

#[test]
fn a_bucket_is_read_back_with_its_metadata() {
    let (endpoint, account) = (Ministack::shared().endpoint(), unique_account());
    s3_put_bucket(&endpoint, &account, "lake");
    assert!(s3_keys(&endpoint, &account, "lake").is_empty());
    let answer = api::send_s3(&endpoint, &account, "PUT", "/lake/a/year%3D2026/1.gz", b"\xff\x00content");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(s3_keys(&endpoint, &account, "lake"), ["a/year=2026/1.gz"]);
    assert_eq!(s3_get(&endpoint, &account, "lake", "a/year=2026/1.gz"), b"\xff\x00content");
    assert_eq!(s3_head(&endpoint, &account, "lake", "a/year=2026/1.gz")["content-length"], "9");
}

#[test]
fn ministack_keeps_its_state_over_an_outage_if_asked_to() {
    let mut ministack = Ministack::start_persistent();
    let (endpoint, account) = (ministack.endpoint(), unique_account());
    call(&endpoint, &account, CREATE_TABLE, &table("leases"));
    s3_put_bucket(&endpoint, &account, "lake");
    api::send_s3(&endpoint, &account, "PUT", "/lake/object", b"content");
    ministack.stop();
    assert!(!listens(&endpoint), "ministack answers after its stop");
    ministack.restart();
    assert_eq!(ministack.endpoint(), endpoint);
    assert_eq!(call(&endpoint, &account, LIST_TABLES, &json!({}))["TableNames"], json!(["leases"]));
    assert_eq!(s3_get(&endpoint, &account, "lake", "object"), b"content");
}

#[test]
fn kinesis_local_splits_a_shard_and_keeps_the_parent() {
    let mut kinesis = KinesisLocal::start();
    let (endpoint, account) = (kinesis.endpoint(), unique_account());
    let kinesis_call =
        |operation: &str, body| call(&endpoint, &account, &format!("Kinesis_20131202.{operation}"), &body);
    let shards =
        || kinesis_call("ListShards", json!({"StreamName": "clicks"}))["Shards"].as_array().map_or(0, Vec::len);
    kinesis_call("CreateStream", json!({"StreamName": "clicks", "ShardCount": 1}));
    let active = || {
        let summary = kinesis_call("DescribeStreamSummary", json!({"StreamName": "clicks"}));
        summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
    };
    assert!(within(Duration::from_secs(20), active), "the stream does not become active");
    let split = json!({"StreamName": "clicks", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000"});
    kinesis_call("SplitShard", split);
    assert!(within(Duration::from_secs(20), || shards() == 3), "not the parent and two children");
    kinesis.restart();
    let (status, _) = try_call(&endpoint, &account, "Kinesis_20131202.ListShards", &json!({"StreamName": "clicks"}));
    assert_eq!(status, 400, "kinesis-local keeps nothing over a restart");
}

#[test]
fn dynamodb_local_refuses_a_condition_with_the_old_item() {
    let dynamodb = DynamoDbLocal::start();
    let (endpoint, account) = (dynamodb.endpoint(), unique_account());
    call(&endpoint, &account, CREATE_TABLE, &table("leases"));
    let put = json!({
        "TableName": "leases", "Item": {"leaseKey": {"S": "shardId-0"}, "leaseCounter": {"N": "7"}},
        "ConditionExpression": "attribute_not_exists(leaseKey)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    });
    call(&endpoint, &account, "DynamoDB_20120810.PutItem", &put);
    let (status, answer) = try_call(&endpoint, &account, "DynamoDB_20120810.PutItem", &put);
    assert_eq!(status, 400);
    assert!(answer["__type"].as_str().unwrap().ends_with("ConditionalCheckFailedException"), "{answer}");
    assert_eq!(answer["Item"]["leaseCounter"]["N"], "7");
    drop(dynamodb);
    assert!(!listens(&endpoint), "DynamoDB Local outlived its handle");
}

#[test]
fn microburst_fires_its_rule_once_and_tells_of_it() {
    let ministack = Ministack::shared();
    let microburst = Microburst::start(&ministack.endpoint());
    let (endpoint, account) = (microburst.endpoint(), unique_account());
    microburst.set_rules(&json!([{
        "service": "dynamodb", "operation": "ListTables", "times": 1,
        "error": {"code": "ProvisionedThroughputExceededException"},
    }]));
    let (status, refusal) = try_call(&endpoint, &account, LIST_TABLES, &json!({}));
    assert_eq!(status, 400);
    assert!(refusal["__type"].as_str().unwrap().contains("ProvisionedThroughputExceeded"), "{refusal}");
    call(&endpoint, &account, LIST_TABLES, &json!({}));
    let fired = microburst.fired();
    assert_eq!(fired.len(), 1, "{fired:?}");
    assert_eq!((&fired[0]["service"], &fired[0]["operation"]), (&json!("dynamodb"), &json!("ListTables")));
    microburst.clear();
    assert!(microburst.fired().is_empty());
}

#[test]
fn a_test_process_that_is_killed_leaves_no_stand_in_behind() {
    let told = tempfile::tempdir().unwrap();
    let told = told.path().join("endpoint");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server_tests::starts_one_and_waits_to_be_killed", "--ignored"])
        .env("PENSTOCK_STANDINS_TELL", &told)
        .spawn()
        .unwrap();
    let started = within(Duration::from_secs(60), || Path::new(&told).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(started, "the child started no stand-in");
    let endpoint = fs::read_to_string(&told).unwrap();
    assert!(within(Duration::from_secs(10), || !listens(&endpoint)), "{endpoint} lives on without its owner");
}

#[test]
#[ignore = "the child process of the test above"]
fn starts_one_and_waits_to_be_killed() {
    let endpoint = Ministack::start().endpoint();
    let ministack = Ministack::shared();
    assert_ne!(ministack.endpoint(), endpoint);
    let told = std::env::var("PENSTOCK_STANDINS_TELL").unwrap();
    fs::write(format!("{told}.new"), ministack.endpoint()).unwrap();
    fs::rename(format!("{told}.new"), told).unwrap();
    thread::sleep(Duration::from_secs(120));
}

#[test]
#[should_panic(expected = "could not be installed")]
fn an_unknown_stand_in_is_a_failure_and_no_skip() {
    standin_dir("nosuch");
}
