//! Injected faults over the wire: what the client sees, and whether the request was carried out.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod wire_client;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wire_client::{JSON, Local, Reply, payloads, send};

async fn start(faults: &[&str]) -> Local {
    let local = Local::start(|options| options.limits = false).await;
    local.create("clicks", 1);
    local.server.set_faults(faults.iter().map(|rule| rule.parse().unwrap()).collect(), 7);
    local
}

fn put(local: &Local) -> std::io::Result<Reply> {
    let body = json!({ "StreamName": "clicks", "Data": STANDARD.encode("x"), "PartitionKey": "k" }).to_string();
    local.send("Kinesis_20131202.PutRecord", JSON, body.as_bytes())
}

fn stored(local: &Local) -> usize {
    let page = local.ok("GetRecords", &json!({ "ShardIterator": local.iterator("clicks", 0, &json!({})) }));
    payloads(&page).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_has_the_operations_own_code_and_is_not_carried_out() {
    let local =
        start(&["kinesis.PutRecord:throttle:times=1", "kinesis.ListShards:throttle", "firehose.*:throttle"]).await;
    let reply = put(&local).unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "ProvisionedThroughputExceededException"));
    assert_eq!(stored(&local), 0);
    assert_eq!(put(&local).unwrap().status, 200);
    assert_eq!(local.refused("ListShards", &json!({ "StreamName": "clicks" })), "LimitExceededException");
    let reply = local.firehose("ListDeliveryStreams", &json!({}));
    assert_eq!((reply.status, reply.code().as_str()), (503, "ServiceUnavailableException"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_code_status_and_members_that_were_asked_for() {
    let local = start(&[
        "kinesis.PutRecord:5xx:times=1",
        r#"{"operation":"PutRecord","times":1,"error":{"code":"KMSThrottlingException"}}"#,
        r#"{"operation":"PutRecord","error":{"status":200,"fields":{"SequenceNumber":"1"}}}"#,
    ])
    .await;
    let reply = put(&local).unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (500, "InternalFailure"));
    let reply = put(&local).unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "KMSThrottlingException"));
    let reply = put(&local).unwrap();
    assert_eq!((reply.status, reply.json()), (200, json!({ "SequenceNumber": "1" })));
    assert_eq!(stored(&local), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_was_carried_out_and_a_reset_was_not() {
    let local = start(&["kinesis.PutRecord:reply-lost:times=1", "kinesis.PutRecord:reset:times=1"]).await;
    assert!(put(&local).is_err());
    assert_eq!(stored(&local), 1);
    assert!(put(&local).is_err());
    assert_eq!(stored(&local), 1);
    put(&local).unwrap();
    assert_eq!(stored(&local), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_breaks_off_or_is_cut_short() {
    let local =
        start(&[r#"{"operation":"PutRecord","times":1,"response":{"abort_frac":0.5}}"#, "*:truncate:times=1"]).await;
    assert_eq!(put(&local).unwrap_err().kind(), ErrorKind::UnexpectedEof, "shorter than announced");
    let reply = put(&local).unwrap();
    assert_eq!(reply.status, 200);
    assert!(
        !reply.body.is_empty() && serde_json::from_slice::<Value>(&reply.body).is_err(),
        "whole to HTTP, half to JSON"
    );
    assert_eq!(stored(&local), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_request_is_not_carried_out_and_ends_with_the_server() {
    let local = start(&["kinesis.PutRecord:hang:times=1"]).await;
    let addr = local.addr();
    let body = json!({ "StreamName": "clicks", "Data": "", "PartitionKey": "k" }).to_string();
    let hanging = std::thread::spawn(move || send(addr, "Kinesis_20131202.PutRecord", JSON, body.as_bytes()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!hanging.is_finished());
    assert_eq!(stored(&local), 0);
    let begun = Instant::now();
    local.server.shutdown().await;
    assert!(hanging.join().unwrap().is_err());
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_comes_before_everything() {
    let local = start(&["kinesis.PutRecord:latency:ms=300"]).await;
    let begun = Instant::now();
    assert_eq!(put(&local).unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_failure_takes_exactly_what_it_does_not_refuse() {
    let local =
        start(&["kinesis.PutRecords:partial:fraction=0.5", "firehose.PutRecordBatch:partial:fraction=0.3"]).await;
    let records: Vec<Value> =
        (0..100).map(|i| json!({ "Data": STANDARD.encode(format!("{i}\n")), "PartitionKey": "k" })).collect();
    let answer = local.ok("PutRecords", &json!({ "StreamName": "clicks", "Records": records }));
    let entries = answer["Records"].as_array().unwrap();
    let taken: Vec<Vec<u8>> =
        (0..100).filter(|&i| entries[i].get("ErrorCode").is_none()).map(|i| format!("{i}\n").into_bytes()).collect();
    assert_eq!(answer["FailedRecordCount"], 100 - taken.len());
    assert!((20..80).contains(&taken.len()));
    assert!(entries.iter().all(|entry| entry.get("SequenceNumber").is_some() != entry.get("ErrorCode").is_some()));
    let page = local.ok("GetRecords", &json!({ "ShardIterator": local.iterator("clicks", 0, &json!({})) }));
    assert_eq!(payloads(&page), taken);

    let s3 = json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::lake" });
    local.firehose(
        "CreateDeliveryStream",
        &json!({ "DeliveryStreamName": "to-lake", "S3DestinationConfiguration": s3 }),
    );
    let records: Vec<Value> = records.iter().map(|record| json!({ "Data": record["Data"] })).collect();
    let answer =
        local.firehose("PutRecordBatch", &json!({ "DeliveryStreamName": "to-lake", "Records": records })).json();
    let entries = answer["RequestResponses"].as_array().unwrap();
    let taken: String = (0..100).filter(|&i| entries[i].get("RecordId").is_some()).map(|i| format!("{i}\n")).collect();
    assert!(answer["FailedPutCount"].as_u64().is_some_and(|failed| (5..70).contains(&failed)));
    let Local { server, dir, .. } = local;
    server.shutdown().await;
    let mut found = Vec::new();
    let mut folders = vec![dir.path().join("lake")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(std::fs::read_to_string(path).unwrap()) }
        }
    }
    assert_eq!(found, [taken]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_repeats_a_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let local = start(&["kinesis.PutRecord:throttle:p=0.4"]).await;
        runs.push((0..40).map(|_| put(&local).unwrap().status).collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&200) && runs[0].contains(&400));
}
