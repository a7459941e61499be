//! The Kinesis source at volume and under faults, on ministack behind microburst. What every Kinesis has to do, resharding
//! included, is in `kinesis_conformance.rs`.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_core::ids::ShardId;
use penstock_engine::ports::{ErrorClass, OpenAt, ShardSource};
use penstock_standins::unique_account;
use serde_json::json;
use support::{Faults, config, kinesis, line, ministack};

const STREAM: &str = "clicks";

fn shard() -> ShardId {
    ShardId::new("shardId-000000000000")
}

fn create(account: &str) {
    let endpoint = ministack();
    kinesis(&endpoint, account, "CreateStream", &json!({"StreamName": STREAM, "ShardCount": 1}));
    support::wait_until("the stream is active", || {
        let summary = kinesis(&endpoint, account, "DescribeStreamSummary", &json!({"StreamName": STREAM}));
        summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
    });
}

/// Puts records "x" by their number as partition key.
fn put(account: &str, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for numbers in numbers.chunks(500) {
        let records: Vec<_> =
            numbers.iter().map(|number| json!({"PartitionKey": number.to_string(), "Data": "eA=="})).collect();
        let answer = kinesis(&ministack(), account, "PutRecords", &json!({"StreamName": STREAM, "Records": records}));
        assert_eq!(answer["FailedRecordCount"], 0);
    }
}

async fn source(endpoint: &str, account: &str) -> KinesisSource {
    KinesisSource::new(&config(endpoint, account).await, StreamRef::new(STREAM))
}

#[tokio::test]
async fn ten_thousand_records_come_in_one_fetch_and_none_is_missed() {
    const RECORDS: u32 = 25_000;
    let account = unique_account();
    create(&account);
    put(&account, 0..RECORDS);
    let source = source(&ministack(), &account).await;
    let mut iterator = Some(source.open(&shard(), &OpenAt::TrimHorizon).await.unwrap());
    let (mut keys, mut sizes) = (BTreeSet::new(), Vec::new());
    while keys.len() < RECORDS as usize {
        let fetched = source.fetch(&shard(), &iterator.expect("an open shard"), 10_000).await.unwrap();
        assert!(!fetched.chunk.is_empty(), "{} records are missing", RECORDS as usize - keys.len());
        sizes.push(fetched.chunk.len());
        for index in 0..fetched.chunk.len() {
            keys.insert(fetched.chunk.record(index).partition_key.to_owned());
        }
        assert_eq!(fetched.behind.is_zero(), keys.len() == RECORDS as usize, "caught up only at the end");
        iterator = fetched.next;
    }
    assert_eq!(sizes, [10_000, 10_000, 5_000]);
}

#[tokio::test]
async fn the_distance_to_the_tip_is_that_of_the_answer() {
    let account = unique_account();
    create(&account);
    put(&account, 0..2);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let source = source(&ministack(), &account).await;
    let iterator = source.open(&shard(), &OpenAt::TrimHorizon).await.unwrap();
    let first = source.fetch(&shard(), &iterator, 1).await.unwrap();
    assert!((Duration::from_millis(250)..Duration::from_secs(20)).contains(&first.behind), "{:?}", first.behind);
    let second = source.fetch(&shard(), &first.next.unwrap(), 1).await.unwrap();
    assert_eq!((second.chunk.len(), second.behind), (1, Duration::ZERO));
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_one_clear_line() {
    let (endpoint, account) = (ministack(), unique_account());
    let source = source(&endpoint, &account).await;
    let arn = format!("arn:aws:kinesis:us-east-1:{account}:stream/{STREAM}");
    let by_arn = KinesisSource::new(&config(&endpoint, &account).await, StreamRef::new(&arn));
    for (source, named) in [(source, STREAM), (by_arn, arn.as_str())] {
        let error = source.describe().await.unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
        let line = line(&error);
        assert!(line.starts_with(&format!("DescribeStreamSummary on {named} failed: ResourceNotFound")), "{line}");
        assert!(line.contains(&format!("looked at {endpoint}")) && line.contains("check the name"), "{line}");
        assert_eq!(source.list_shards().await.unwrap_err().class, ErrorClass::NotFound);
    }
}

#[tokio::test]
async fn each_error_of_a_fetch_has_its_class_and_takes_no_record() {
    let errors = [
        ("ProvisionedThroughputExceededException", 400, ErrorClass::Throttled),
        ("LimitExceededException", 400, ErrorClass::Throttled),
        ("ThrottlingException", 400, ErrorClass::Throttled),
        ("KMSThrottlingException", 400, ErrorClass::Throttled),
        ("ExpiredIteratorException", 400, ErrorClass::Expired),
        ("InvalidArgumentException", 400, ErrorClass::Rejected),
        ("ResourceNotFoundException", 400, ErrorClass::NotFound),
        ("KMSAccessDeniedException", 400, ErrorClass::Denied),
        ("KMSNotFoundException", 400, ErrorClass::Denied),
        ("KMSDisabledException", 400, ErrorClass::Denied),
        ("KMSInvalidStateException", 400, ErrorClass::Denied),
        ("KMSOptInRequired", 400, ErrorClass::Denied),
        ("AccessDeniedException", 400, ErrorClass::Denied),
        ("ExpiredTokenException", 400, ErrorClass::Denied),
        ("UnrecognizedClientException", 400, ErrorClass::Denied),
        ("InvalidSignatureException", 403, ErrorClass::Denied),
        ("RequestExpired", 400, ErrorClass::Denied),
        ("InternalFailureException", 500, ErrorClass::Transient),
        ("InternalFailure", 500, ErrorClass::Transient),
        ("ServiceUnavailable", 503, ErrorClass::Transient),
        ("NobodyKnowsThis", 502, ErrorClass::Transient),
        ("NobodyKnowsThis", 504, ErrorClass::Transient),
        ("NobodyKnowsThisEither", 400, ErrorClass::Rejected),
    ];
    let (faults, account) = (Faults::of_ministack(), unique_account());
    create(&account);
    put(&account, 0..3);
    let source = source(&faults.endpoint(), &account).await;
    let iterator = source.open(&shard(), &OpenAt::TrimHorizon).await.unwrap();
    for (code, status, class) in errors {
        faults.once("kinesis", "GetRecords", json!({"error": {"code": code, "status": status}}));
        let error = source.fetch(&shard(), &iterator, 10).await.expect_err(code);
        assert_eq!(error.class, class, "{error}");
        let line = line(&error);
        assert!(line.starts_with(&format!("GetRecords on shardId-000000000000 failed: {code}: ")), "{line}");
        assert_eq!(faults.fired(), 1, "{code}: a fetch is one call, for each counts against the shard's five a second");
    }
    assert_eq!(source.fetch(&shard(), &iterator, 10).await.unwrap().chunk.len(), 3);
}

#[tokio::test]
async fn what_an_operator_can_mend_is_said() {
    let (faults, account) = (Faults::of_ministack(), unique_account());
    create(&account);
    let source = source(&faults.endpoint(), &account).await;
    for (code, advice) in [
        ("AccessDeniedException", "allow kinesis:ListShards"),
        ("UnrecognizedClientException", "check where the credentials come from"),
        ("InvalidSignatureException", "check the secret access key"),
        ("ExpiredTokenException", "renew the credentials"),
        ("KMSAccessDeniedException", "allow kms:Decrypt"),
        ("KMSDisabledException", "mend the KMS key"),
    ] {
        faults.once("kinesis", "ListShards", json!({"error": {"code": code}}));
        let line = line(&source.list_shards().await.expect_err(code));
        assert!(line.contains(advice), "{line}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_takes_no_record() {
    let (faults, account) = (Faults::of_ministack(), unique_account());
    create(&account);
    put(&account, 0..50);
    let source = source(&faults.endpoint(), &account).await;
    let iterator = source.open(&shard(), &OpenAt::TrimHorizon).await.unwrap();
    for fault in [
        json!({"response": {"truncate_frac": 0.5}}),
        json!({"response": {"truncate_frac": 0.0}}),
        json!({"response": {"abort_frac": 0.5}}),
        json!({"response": {"abort_frac": 0.0}}),
    ] {
        faults.once("kinesis", "GetRecords", fault.clone());
        let error = source.fetch(&shard(), &iterator, 100).await.expect_err("half an answer");
        assert_eq!(error.class, ErrorClass::Fatal, "{fault}: {error}");
        line(&error);
        assert_eq!(faults.fired(), 1, "{fault}");
    }
    faults.once("kinesis", "GetRecords", json!({"reset": true}));
    let error = source.fetch(&shard(), &iterator, 100).await.expect_err("no answer");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert!(line(&error).contains(&faults.endpoint()), "{error}");
    assert_eq!(source.fetch(&shard(), &iterator, 100).await.unwrap().chunk.len(), 50);
}

#[tokio::test]
async fn half_a_list_of_shards_is_none() {
    let (faults, account) = (Faults::of_ministack(), unique_account());
    create(&account);
    let source = source(&faults.endpoint(), &account).await;
    faults.once("kinesis", "ListShards", json!({"response": {"truncate_frac": 0.6}}));
    assert_eq!(source.list_shards().await.unwrap_err().class, ErrorClass::Fatal);
    faults.once("kinesis", "ListShards", json!({"error": {"code": "ExpiredNextTokenException"}}));
    assert_eq!(source.list_shards().await.unwrap_err().class, ErrorClass::Expired);
    faults.once("kinesis", "ListShards", json!({"error": {"code": "ResourceInUseException"}}));
    assert_eq!(source.list_shards().await.unwrap_err().class, ErrorClass::Throttled);
    assert_eq!(source.list_shards().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_named() {
    for endpoint in ["http://127.0.0.1:1", "http://nowhere.invalid"] {
        let error = source(endpoint, &unique_account()).await.describe().await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        let line = line(&error);
        assert!(line.starts_with("DescribeStreamSummary on clicks failed: no answer: "), "{line}");
        assert!(line.contains(endpoint), "{line}");
    }
}
