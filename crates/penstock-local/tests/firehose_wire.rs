//! The local Firehose over the wire: limits, answers per entry, and files under Firehose's names.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod wire_client;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wire_client::{Local, Reply};

const MIB: usize = 1024 * 1024;

fn create(local: &Local, hints: &Value, more: &Value) -> Reply {
    let mut configuration = json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::lake",
        "BufferingHints": hints });
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    local.firehose(
        "CreateDeliveryStream",
        &json!({ "DeliveryStreamName": "to-lake",
        "ExtendedS3DestinationConfiguration": configuration }),
    )
}

fn put(local: &Local, payloads: &[Vec<u8>]) -> Reply {
    let records: Vec<Value> = payloads.iter().map(|payload| json!({ "Data": STANDARD.encode(payload) })).collect();
    local.firehose("PutRecordBatch", &json!({ "DeliveryStreamName": "to-lake", "Records": records }))
}

/// All files below a directory, by path.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// Waits until there are `count` files; the server looks every 100 ms.
async fn wait_for_files(dir: &Path, count: usize) -> Vec<PathBuf> {
    for _ in 0..100 {
        let found = files(dir);
        if found.len() >= count
            && found.iter().all(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?} instead of {count} files", files(dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_is_delivered_by_age_and_by_size_under_firehoses_names() {
    let local = Local::start(|options| options.limits = false).await;
    assert_eq!(create(&local, &json!({ "SizeInMBs": 1, "IntervalInSeconds": 60 }), &json!({})).status, 200);
    let answer = put(&local, &[b"one\n".to_vec(), b"two\n".to_vec()]).json();
    assert_eq!((&answer["FailedPutCount"], answer["RequestResponses"].as_array().unwrap().len()), (&json!(0), 2));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(files(local.dir.path()).is_empty(), "not before the interval is over");
    local.advance(60_000);
    let delivered = wait_for_files(local.dir.path(), 1).await;
    assert_eq!(fs::read(&delivered[0]).unwrap(), b"one\ntwo\n");
    let key = delivered[0].strip_prefix(local.dir.path()).unwrap().to_str().unwrap();
    let (start, uuid) = key.split_at(key.len() - 36);
    assert_eq!(start, "lake/2026/09/21/14/to-lake-1-2026-09-21-14-13-20-");
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    put(&local, &[vec![b'x'; 900_000], vec![b'x'; 900_000]]);
    let delivered = wait_for_files(local.dir.path(), 2).await;
    let sizes: Vec<u64> = delivered.iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert!(sizes.contains(&1_800_000), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_delivered_at_shutdown() {
    let local = Local::start(|_| {}).await;
    let delimiter = json!({ "Prefix": "a/", "ProcessingConfiguration": { "Enabled": true,
        "Processors": [{ "Type": "AppendDelimiterToRecord" }] } });
    create(&local, &json!({ "SizeInMBs": 5, "IntervalInSeconds": 900 }), &delimiter);
    put(&local, &[b"one".to_vec(), b"two".to_vec()]);
    let Local { server, dir, .. } = local;
    server.shutdown().await;
    let delivered = files(&dir.path().join("lake/a"));
    assert_eq!(delivered.len(), 1);
    assert_eq!(fs::read(&delivered[0]).unwrap(), b"one\ntwo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_kept_and_tried_again() {
    let local = Local::start(|_| {}).await;
    fs::write(local.dir.path().join("lake"), b"in the way").unwrap();
    create(&local, &json!({ "SizeInMBs": 1, "IntervalInSeconds": 0 }), &json!({}));
    put(&local, &[b"kept".to_vec()]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fs::remove_file(local.dir.path().join("lake")).unwrap();
    let delivered = wait_for_files(local.dir.path(), 1).await;
    assert_eq!(fs::read(&delivered[0]).unwrap(), b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_calls_and_records_are_kept() {
    let local = Local::start(|options| options.limits = false).await;
    create(&local, &json!({ "SizeInMBs": 1, "IntervalInSeconds": 60 }), &json!({}));
    let code = |payloads: &[Vec<u8>]| {
        let reply = put(&local, payloads);
        if reply.status == 200 { reply.json()["FailedPutCount"].to_string() } else { reply.code() }
    };
    assert_eq!(code(&vec![vec![b'x']; 500]), "0");
    assert_eq!(code(&vec![vec![b'x']; 501]), "ValidationException");
    assert_eq!(code(&[]), "ValidationException");
    assert_eq!(code(&[vec![0; 1_024_000]]), "0");
    assert_eq!(code(&[vec![0; 1_024_001]]), "ValidationException");
    assert_eq!(code(&vec![vec![0; MIB / 2]; 8]), "0");
    assert_eq!(code(&[vec![vec![0; MIB / 2]; 8], vec![vec![0]]].concat()), "InvalidArgumentException");
    let missing = json!({ "DeliveryStreamName": "other", "Records": [{ "Data": "" }] });
    assert_eq!(local.firehose("PutRecordBatch", &missing).code(), "ResourceNotFoundException");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_quota_entries_fail_one_by_one() {
    let local = Local::start(|options| options.region = "ap-northeast-1".into()).await;
    create(&local, &json!({ "SizeInMBs": 128, "IntervalInSeconds": 900 }), &json!({}));
    let answer = put(&local, &vec![vec![0; MIB / 2]; 4]).json();
    assert_eq!(answer["FailedPutCount"], 2);
    let entries = answer["RequestResponses"].as_array().unwrap();
    assert!(entries[1]["RecordId"].is_string() && entries[1].get("ErrorCode").is_none());
    assert_eq!(entries[3]["ErrorCode"], "ServiceUnavailableException");
    let single = json!({ "DeliveryStreamName": "to-lake", "Record": { "Data": STANDARD.encode([0; 1024]) } });
    let reply = local.firehose("PutRecord", &single);
    assert_eq!((reply.status, reply.code().as_str()), (503, "ServiceUnavailableException"));
    local.advance(1000);
    assert_eq!(local.firehose("PutRecord", &single).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_stream_is_described_as_configured() {
    let local = Local::start(|_| {}).await;
    let lambda = json!({ "ProcessingConfiguration": { "Enabled": true, "Processors": [{ "Type": "Lambda", "Parameters": [] }] } });
    create(&local, &json!({ "SizeInMBs": 3, "IntervalInSeconds": 60 }), &lambda);
    let name = json!({ "DeliveryStreamName": "to-lake" });
    let described = local.firehose("DescribeDeliveryStream", &name).json();
    let described = &described["DeliveryStreamDescription"];
    assert_eq!(described["DeliveryStreamARN"], "arn:aws:firehose:us-east-1:000000000000:deliverystream/to-lake");
    assert_eq!(
        (&described["DeliveryStreamStatus"], &described["DeliveryStreamType"]),
        (&json!("ACTIVE"), &json!("DirectPut"))
    );
    let extended = &described["Destinations"][0]["ExtendedS3DestinationDescription"];
    assert_eq!(extended["ProcessingConfiguration"], lambda["ProcessingConfiguration"]);
    assert_eq!(extended["BufferingHints"]["SizeInMBs"], 3);
    assert_eq!(create(&local, &json!({}), &json!({})).code(), "ResourceInUseException");
    assert_eq!(local.firehose("ListDeliveryStreams", &json!({})).json()["DeliveryStreamNames"], json!(["to-lake"]));
    assert_eq!(local.firehose("DeleteDeliveryStream", &name).status, 200);
    assert_eq!(local.firehose("DescribeDeliveryStream", &name).code(), "ResourceNotFoundException");
    let source = json!({ "DeliveryStreamName": "x", "DeliveryStreamType": "KinesisStreamAsSource" });
    assert_eq!(local.firehose("CreateDeliveryStream", &source).code(), "InvalidArgumentException");
    let redshift = json!({ "DeliveryStreamName": "x", "RedshiftDestinationConfiguration": {} });
    assert_eq!(local.firehose("CreateDeliveryStream", &redshift).code(), "InvalidArgumentException");
    assert_eq!(local.firehose("UpdateDestination", &name).code(), "UnknownOperationException");
}
