//! The Firehose sink on ministack and on our local server: what arrives, what a look at the delivery stream tells, and what
//! becomes of each entry of a call.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock_aws::firehose::FirehoseSink;
use penstock_engine::ports::{CallSink, CallTarget, DeliveryPermit, EntryOutcome, ErrorClass};
use penstock_local::faults::FaultRule;
use penstock_standins::{s3_get, s3_keys, s3_put_bucket, unique_account};
use serde_json::{Value, json};
use support::{Faults, config, firehose, line, local, local_server, ministack};

const STREAM: &str = "to-lake";
const PATIENCE: Duration = Duration::from_secs(30);

/// Bucket names are shared by all accounts.
fn bucket(account: &str) -> String {
    format!("lake-{account}")
}

fn s3_destination(account: &str, more: &Value) -> Value {
    let mut destination = json!({
        "RoleARN": "arn:aws:iam::123456789012:role/firehose", "BucketARN": format!("arn:aws:s3:::{}", bucket(account)),
        "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0},
    });
    destination.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    destination
}

fn create(endpoint: &str, account: &str, name: &str, more: &Value) {
    let body = json!({"DeliveryStreamName": name, "ExtendedS3DestinationConfiguration": s3_destination(account, more)});
    firehose(endpoint, account, "CreateDeliveryStream", &body);
}

/// An account on ministack with a bucket and a plain delivery stream.
fn account() -> String {
    let account = unique_account();
    s3_put_bucket(&ministack(), &account, &bucket(&account));
    create(&ministack(), &account, STREAM, &json!({}));
    account
}

async fn sink(endpoint: &str, account: &str, name: &str) -> FirehoseSink {
    FirehoseSink::new(&config(endpoint, account).await, name)
}

/// Distinct entries of this many bytes each.
fn entries(count: usize, bytes: usize) -> Vec<Bytes> {
    let entry = |number: usize| {
        let digits = number.to_string();
        Bytes::from("0".repeat(bytes - digits.len()) + &digits)
    };
    (0..count).map(entry).collect()
}

/// All that stands in the bucket of an account on ministack, where each record is an object.
fn delivered(account: &str) -> BTreeSet<Bytes> {
    let (endpoint, bucket) = (ministack(), bucket(account));
    s3_keys(&endpoint, account, &bucket)
        .iter()
        .map(|key| Bytes::from(s3_get(&endpoint, account, &bucket, key)))
        .collect()
}

/// All that lies below a directory, as one text.
fn content(dir: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(dir) else { return String::new() };
    let mut content = String::new();
    for entry in entries.flatten() {
        match entry.path() {
            path if path.is_dir() => content.push_str(&self::content(&path)),
            path => content.push_str(&std::fs::read_to_string(path).unwrap_or_default()),
        }
    }
    content
}

// === the delivery stream ===

#[tokio::test]
async fn a_delivery_stream_is_packable_only_if_nothing_looks_at_its_records() {
    let lambda = json!({"Type": "Lambda", "Parameters": [
        {"ParameterName": "LambdaArn", "ParameterValue": "arn:aws:lambda:us-east-1:123456789012:function:f"},
    ]});
    let delimiter = json!({"Type": "AppendDelimiterToRecord", "Parameters": []});
    let processing = |enabled: bool, processors: &[&Value]| json!({"ProcessingConfiguration": {"Enabled": enabled, "Processors": processors}});
    let cases = [
        ("plain", json!({}), true),
        ("prefixed", json!({"Prefix": "clicks/", "CompressionFormat": "UNCOMPRESSED"}), true),
        ("off", processing(false, &[&lambda]), true),
        ("none", processing(true, &[]), true),
        ("lambda", processing(true, &[&lambda]), false),
        ("delimiter", processing(true, &[&delimiter]), false),
        (
            "partitioned",
            json!({
                "Prefix": "c=!{partitionKeyFromQuery:c}/", "ErrorOutputPrefix": "e/", "BufferingHints": {"SizeInMBs": 64},
                "DynamicPartitioningConfiguration": {"Enabled": true},
                "ProcessingConfiguration": {"Enabled": true, "Processors": [{"Type": "MetadataExtraction", "Parameters": [
                    {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{c:.c}"},
                    {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"},
                ]}]},
            }),
            false,
        ),
    ];
    let (endpoint, account) = (ministack(), account());
    for (name, more, packable) in &cases {
        create(&endpoint, &account, name, more);
        let target = sink(&endpoint, &account, name).await.probe().await.unwrap();
        assert_eq!(target, CallTarget { packable: Some(*packable) }, "{name}");
    }
    create(&local_server(), &account, "plain-here", &json!({}));
    create(&local_server(), &account, "processed-here", &processing(true, &[&delimiter]));
    for (name, packable) in [("plain-here", true), ("processed-here", false)] {
        let target = sink(&local_server(), &account, name).await.probe().await.unwrap();
        assert_eq!(target, CallTarget { packable: Some(packable) }, "{name}");
    }
}

#[tokio::test]
async fn a_delivery_stream_that_is_missing_or_unfit_is_one_clear_line() {
    for endpoint in [ministack(), local_server()] {
        let error = sink(&endpoint, &unique_account(), "nobodys").await.probe().await.unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
        let line = line(&error);
        assert!(line.starts_with("DescribeDeliveryStream on nobodys failed: ResourceNotFoundException: "), "{line}");
        assert!(line.contains("check the name, the Region and the account"), "{line}");
        let error = sink(&endpoint, &unique_account(), "nobodys")
            .await
            .call(DeliveryPermit::unproven(), &entries(1, 5), PATIENCE)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
    }
    let faults = Faults::of_ministack();
    let sink = sink(&faults.endpoint(), &account(), STREAM).await;
    let described = |status: &str, kind: &str| {
        let description = json!({
            "DeliveryStreamName": STREAM, "DeliveryStreamARN": "arn:aws:firehose:us-east-1:1:deliverystream/to-lake",
            "DeliveryStreamStatus": status, "DeliveryStreamType": kind, "VersionId": "1", "Destinations": [],
            "HasMoreDestinations": false,
        });
        json!({"error": {"code": "None", "status": 200, "fields": {"DeliveryStreamDescription": description}}})
    };
    for (status, kind, class, said) in [
        ("CREATING", "DirectPut", ErrorClass::NotFound, "the delivery stream is CREATING, not ACTIVE"),
        ("DELETING", "DirectPut", ErrorClass::NotFound, "the delivery stream is DELETING, not ACTIVE"),
        ("ACTIVE", "KinesisStreamAsSource", ErrorClass::Rejected, "takes no direct puts (KinesisStreamAsSource)"),
    ] {
        faults.once("firehose", "DescribeDeliveryStream", described(status, kind));
        let error = sink.probe().await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
        assert!(line(&error).contains(said), "{error}");
    }
    // Without the permission to look, records can still be put; but not packed unasked.
    faults.once("firehose", "DescribeDeliveryStream", json!({"error": {"code": "AccessDeniedException"}}));
    assert_eq!(sink.probe().await.unwrap(), CallTarget { packable: None });
}

// === calls ===

#[tokio::test]
async fn what_is_put_arrives() {
    let account = account();
    let sent = entries(20, 40);
    let outcomes =
        sink(&ministack(), &account, STREAM).await.call(DeliveryPermit::unproven(), &sent, PATIENCE).await.unwrap();
    assert_eq!(outcomes, vec![EntryOutcome::Delivered; 20]);
    assert_eq!(delivered(&account), sent.into_iter().collect());
}

#[tokio::test]
async fn what_is_put_arrives_at_the_local_server() {
    create(&local_server(), "local", "arrives", &json!({"Prefix": "arrives/"}));
    let sink = sink(&local_server(), "local", "arrives").await;
    let outcomes = sink.call(DeliveryPermit::unproven(), &entries(20, 40), PATIENCE).await.unwrap();
    assert_eq!(outcomes, vec![EntryOutcome::Delivered; 20]);
    let expected: String = entries(20, 40).iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    let dir = local().dir.path().join(bucket("local")).join("arrives");
    support::wait_until("the object is there", || content(&dir) == expected);
}

#[tokio::test]
async fn a_call_may_be_as_large_as_the_limits_say() {
    let account = account();
    create(&local_server(), "local", "large", &json!({"Prefix": "large/"}));
    for sink in [sink(&ministack(), &account, STREAM).await, sink(&local_server(), "local", "large").await] {
        let limits = sink.limits();
        assert_eq!((limits.max_entries, limits.max_call_bytes, limits.max_entry_bytes), (500, 4_000_000, 1_024_000));
        assert_eq!(sink.call(DeliveryPermit::unproven(), &entries(500, 10), PATIENCE).await.unwrap().len(), 500);
        let large = entries(4, 1_000_000);
        assert_eq!(large.iter().map(Bytes::len).sum::<usize>(), limits.max_call_bytes);
        assert_eq!(
            sink.call(DeliveryPermit::unproven(), &large, PATIENCE).await.unwrap(),
            vec![EntryOutcome::Delivered; 4]
        );
        assert_eq!(
            sink.call(DeliveryPermit::unproven(), &entries(1, limits.max_entry_bytes), PATIENCE).await.unwrap().len(),
            1
        );
    }
    let sink = sink(&local_server(), "local", "large").await;
    for above in [entries(501, 10), entries(1, 1_024_001)] {
        assert_eq!(
            sink.call(DeliveryPermit::unproven(), &above, PATIENCE).await.unwrap_err().class,
            ErrorClass::Rejected,
            "above the limits"
        );
    }
}

#[tokio::test]
async fn each_entry_has_its_own_outcome_in_order() {
    let faults = Faults::of_ministack();
    let sink = sink(&faults.endpoint(), &account(), STREAM).await;
    let responses = json!([
        {"RecordId": "1"}, {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}, {"RecordId": "3"},
        {"ErrorCode": "InternalFailure", "ErrorMessage": "Oh."},
    ]);
    let partial = |responses: &Value| json!({"error": {"code": "X", "status": 200, "fields": {"FailedPutCount": 2, "RequestResponses": responses}}});
    faults.once("firehose", "PutRecordBatch", partial(&responses));
    let failed = |class, code: &str, message: &str| EntryOutcome::Failed {
        class,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    let expected = [
        EntryOutcome::Delivered,
        failed(ErrorClass::Throttled, "ServiceUnavailableException", "Slow down."),
        EntryOutcome::Delivered,
        failed(ErrorClass::Transient, "InternalFailure", "Oh."),
    ];
    assert_eq!(sink.call(DeliveryPermit::unproven(), &entries(4, 5), PATIENCE).await.unwrap(), expected);
    // Fewer outcomes than entries leave it open which entries they are of.
    faults.once("firehose", "PutRecordBatch", partial(&responses));
    let error = sink.call(DeliveryPermit::unproven(), &entries(5, 5), PATIENCE).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Fatal);
    assert!(line(&error).contains("4 outcomes for 5 records"), "{error}");
}

#[tokio::test]
async fn of_a_partial_failure_exactly_the_others_arrive() {
    create(&local_server(), "local", "partial", &json!({"Prefix": "partial/"}));
    let sink = sink(&local_server(), "local", "partial").await;
    let rule = r#"{"service": "firehose", "operation": "PutRecordBatch", "times": 1, "partial": {"fraction": 0.4}}"#;
    local().server.set_faults(vec![rule.parse::<FaultRule>().unwrap()], 7);
    let sent = entries(50, 10);
    let outcomes = sink.call(DeliveryPermit::unproven(), &sent, PATIENCE).await.unwrap();
    local().server.set_faults(Vec::new(), 0);
    let taken: Vec<_> = sent
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == EntryOutcome::Delivered)
        .map(|(entry, _)| entry)
        .collect();
    assert!((1..50).contains(&taken.len()), "{outcomes:?}");
    let expected: String = taken.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    let dir = local().dir.path().join(bucket("local")).join("partial");
    support::wait_until("the entries that were taken are there", || content(&dir) == expected);
}

#[tokio::test]
async fn each_error_of_a_call_has_its_class_and_is_not_sent_again() {
    let errors = [
        (json!({"error": {"code": "ServiceUnavailableException", "status": 503}}), ErrorClass::Transient),
        (json!({"error": {"code": "InternalFailure", "status": 500}}), ErrorClass::Transient),
        (json!({"error": {"code": "ThrottlingException"}}), ErrorClass::Throttled),
        (json!({"error": {"code": "LimitExceededException"}}), ErrorClass::Throttled),
        (json!({"error": {"code": "InvalidArgumentException"}}), ErrorClass::Rejected),
        (json!({"error": {"code": "InvalidSourceException"}}), ErrorClass::Rejected),
        (json!({"error": {"code": "InvalidKMSResourceException"}}), ErrorClass::Denied),
        (json!({"error": {"code": "AccessDeniedException"}}), ErrorClass::Denied),
        (json!({"error": {"code": "ResourceNotFoundException"}}), ErrorClass::NotFound),
        (json!({"reset": true}), ErrorClass::Transient),
    ];
    let (faults, account) = (Faults::of_ministack(), account());
    let sink = sink(&faults.endpoint(), &account, STREAM).await;
    for (fault, class) in errors {
        faults.once("firehose", "PutRecordBatch", fault.clone());
        let error = sink.call(DeliveryPermit::unproven(), &entries(2, 5), PATIENCE).await.unwrap_err();
        assert_eq!(error.class, class, "{fault}: {error}");
        assert!(line(&error).starts_with("PutRecordBatch on to-lake failed: "), "{error}");
        assert_eq!(faults.fired(), 1, "{fault}");
    }
    assert!(delivered(&account).is_empty(), "what failed whole was not taken");
    // The reply is lost, and the records are there: that is why they may come twice.
    faults.once("firehose", "PutRecordBatch", json!({"response": {"abort_frac": 0.0}}));
    let error = sink.call(DeliveryPermit::unproven(), &entries(2, 5), PATIENCE).await.unwrap_err();
    assert!(matches!(error.class, ErrorClass::Transient | ErrorClass::Fatal), "{error}");
    assert_eq!(delivered(&account).len(), 2);
}

#[tokio::test]
async fn a_call_ends_at_its_time_out() {
    let faults = Faults::of_ministack();
    let sink = sink(&faults.endpoint(), &account(), STREAM).await;
    faults.once("firehose", "PutRecordBatch", json!({"latency": 5000}));
    let started = Instant::now();
    let error = sink.call(DeliveryPermit::unproven(), &entries(1, 5), Duration::from_millis(300)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(line(&error), "PutRecordBatch on to-lake failed: no answer within 300ms");
}
