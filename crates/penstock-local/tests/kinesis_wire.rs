//! The local Kinesis over the wire: the limits, positions, listings and errors that clients depend on.

mod wire_client;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wire_client::{JSON, Local, number, payloads};

const HALF: u128 = 1 << 127;
const SECOND: u64 = 1000;
const HOUR: u64 = 3_600_000;

fn get(local: &Local, iterator: &str) -> Value {
    local.ok("GetRecords", &json!({ "ShardIterator": iterator }))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_read_once_in_order_through_splits_and_merges() {
    let local = Local::start(|options| options.limits = false).await;
    local.create("clicks", 2);
    let mut put = 0_u32;
    let mut put_some = |local: &Local| {
        let record =
            |i: u32| json!({ "Data": STANDARD.encode(i.to_string()), "PartitionKey": format!("key {}", i % 37) });
        let records: Vec<Value> = (put..put + 400).map(record).collect();
        put += 400;
        let answer = local.ok("PutRecords", &json!({ "StreamName": "clicks", "Records": records }));
        assert_eq!(answer["FailedRecordCount"], 0);
    };
    put_some(&local);
    local.ok(
        "SplitShard",
        &json!({ "StreamName": "clicks", "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": (HALF / 2).to_string() }),
    );
    put_some(&local);
    local.ok(
        "MergeShards",
        &json!({ "StreamName": "clicks", "ShardToMerge": "shardId-000000000003",
        "AdjacentShardToMerge": "shardId-000000000001" }),
    );
    put_some(&local);
    local.ok(
        "UpdateShardCount",
        &json!({ "StreamName": "clicks", "TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING" }),
    );
    put_some(&local);

    let mut waiting = vec![0, 1];
    let (mut seen, mut last, mut ended): (Vec<u32>, BTreeMap<String, u32>, BTreeSet<u32>) = Default::default();
    while let Some(shard) = waiting.pop() {
        let mut next = Some(local.iterator("clicks", shard, &json!({})));
        let mut sequence = String::new();
        while let Some(iterator) = next {
            let page = local.ok("GetRecords", &json!({ "ShardIterator": iterator, "Limit": 90 }));
            for (record, payload) in page["Records"].as_array().unwrap().iter().zip(payloads(&page)) {
                let own: u32 = String::from_utf8(payload).unwrap().parse().unwrap();
                let key = record["PartitionKey"].as_str().unwrap().to_owned();
                assert!(last.insert(key, own).is_none_or(|last| last < own), "order of a key");
                let new = record["SequenceNumber"].as_str().unwrap().to_owned();
                assert!(new.len() == 56 && new > sequence, "order of a shard");
                sequence = new;
                seen.push(own);
            }
            next = page["NextShardIterator"].as_str().map(str::to_owned);
            if next.is_some() {
                assert!(page.get("ChildShards").is_none());
                if page["MillisBehindLatest"] == 0 && page["Records"] == json!([]) {
                    break;
                }
                continue;
            }
            ended.insert(shard);
            for child in page["ChildShards"].as_array().unwrap() {
                let parents: Vec<u32> = child["ParentShards"].as_array().unwrap().iter().map(number).collect();
                assert!(parents.contains(&shard));
                if parents.iter().all(|parent| ended.contains(parent)) {
                    waiting.push(number(&child["ShardId"]));
                }
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..put).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_iterator_types_find_their_records() {
    let local = Local::start(|options| options.limits = false).await;
    local.create("clicks", 1);
    let sequences: Vec<Value> = (0..4)
        .map(|i| {
            local.advance(SECOND);
            local.put("clicks", 1, &[b'0' + i])["SequenceNumber"].clone()
        })
        .collect();
    let read = |more: Value| {
        let page = get(&local, &local.iterator("clicks", 0, &more));
        payloads(&page).concat()
    };
    assert_eq!(read(json!({})), b"0123");
    assert_eq!(read(json!({ "ShardIteratorType": "LATEST" })), b"");
    let from = |kind: &str| json!({ "ShardIteratorType": kind, "StartingSequenceNumber": sequences[1] });
    assert_eq!(read(from("AT_SEQUENCE_NUMBER")), b"123");
    assert_eq!(read(from("AFTER_SEQUENCE_NUMBER")), b"23");
    let at = |seconds: f64| json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": seconds });
    assert_eq!(read(at(1_790_000_002.0)), b"123");
    assert_eq!(read(at(1_790_000_002.001)), b"23");
    assert_eq!(read(at(0.0)), b"0123");
    let body = |more: Value| {
        let mut body = json!({ "StreamName": "clicks", "ShardId": "shardId-000000000000" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, code) in [
        (at(1_790_000_004.5), "InvalidArgumentException"),
        (json!({ "ShardIteratorType": "AT_TIMESTAMP" }), "InvalidArgumentException"),
        (json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER" }), "InvalidArgumentException"),
        (
            json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "1" }),
            "InvalidArgumentException",
        ),
        (json!({ "ShardIteratorType": "NEWEST" }), "ValidationException"),
        (json!({ "ShardIteratorType": "LATEST", "ShardId": "shardId-000000000009" }), "ResourceNotFoundException"),
        (json!({ "ShardIteratorType": "LATEST", "StreamName": "clocks" }), "ResourceNotFoundException"),
        (json!({}), "ValidationException"),
    ] {
        assert_eq!(local.refused("GetShardIterator", &body(more.clone())), code, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_number_of_another_shard_or_stream_is_refused() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 2);
    let sequence = local.put("clicks", HALF, b"x")["SequenceNumber"].clone();
    let ask = |shard: &str| {
        json!({ "StreamName": "clicks", "ShardId": shard, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
            "StartingSequenceNumber": sequence })
    };
    assert_eq!(local.refused("GetShardIterator", &ask("shardId-000000000000")), "InvalidArgumentException");
    local.ok("GetShardIterator", &ask("shardId-000000000001"));
    local.ok("DeleteStream", &json!({ "StreamName": "clicks" }));
    local.create("clicks", 2);
    assert_eq!(local.refused("GetShardIterator", &ask("shardId-000000000001")), "InvalidArgumentException");
}

#[tokio::test(flavor = "multi_thread")]
async fn iterators_expire_after_five_minutes() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 1);
    let iterator = local.iterator("clicks", 0, &json!({}));
    local.advance(300 * SECOND);
    let next = get(&local, &iterator)["NextShardIterator"].as_str().unwrap().to_owned();
    local.advance(1);
    assert_eq!(local.refused("GetRecords", &json!({ "ShardIterator": iterator })), "ExpiredIteratorException");
    get(&local, &next);
    local.ok("DeleteStream", &json!({ "StreamName": "clicks" }));
    assert_eq!(local.refused("GetRecords", &json!({ "ShardIterator": next })), "ResourceNotFoundException");
    local.create("clicks", 1);
    assert_eq!(local.refused("GetRecords", &json!({ "ShardIterator": next })), "ResourceNotFoundException");
}

#[tokio::test(flavor = "multi_thread")]
async fn millis_behind_latest_is_measured_against_now() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 1);
    local.put("clicks", 1, b"a");
    local.advance(2 * SECOND);
    local.put("clicks", 1, b"b");
    local.advance(7 * SECOND);
    let iterator = local.iterator("clicks", 0, &json!({}));
    let page = local.ok("GetRecords", &json!({ "ShardIterator": iterator, "Limit": 1 }));
    assert_eq!(page["MillisBehindLatest"], 7000);
    assert_eq!(page["Records"][0]["ApproximateArrivalTimestamp"], json!(1_790_000_000.0));
    let page = get(&local, page["NextShardIterator"].as_str().unwrap());
    assert_eq!(page["MillisBehindLatest"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_read_five_times_a_second_and_a_full_answer_costs_five_seconds() {
    let local = Local::start(|_| {}).await;
    local.ok("CreateStream", &json!({ "StreamName": "clicks", "ShardCount": 1 }));
    for _ in 0..11 {
        local.put("clicks", 1, &vec![7; 1_048_575]);
        local.advance(SECOND);
    }
    let throttled = |iterator: &str| {
        let reply = local.kinesis("GetRecords", &json!({ "ShardIterator": iterator }));
        assert!(reply.status == 200 || reply.code() == "ProvisionedThroughputExceededException");
        reply.status != 200
    };
    let (horizon, tip) = (
        local.iterator("clicks", 0, &json!({})),
        local.iterator("clicks", 0, &json!({ "ShardIteratorType": "LATEST" })),
    );
    let page = get(&local, &horizon);
    assert_eq!(page["Records"].as_array().unwrap().len(), 10);
    assert_eq!(page["MillisBehindLatest"], 1000);
    local.advance(4999);
    assert!(throttled(&tip));
    local.advance(1);
    assert!(!throttled(&tip));
    local.advance(SECOND);
    assert_eq!(
        (0..8).map(|_| throttled(&tip)).collect::<Vec<_>>(),
        [false, false, false, false, false, true, true, true]
    );
    assert_eq!(
        (0..4)
            .filter(|_| local
                .kinesis(
                    "GetShardIterator",
                    &json!({ "StreamName": "clicks",
            "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST" })
                )
                .status
                == 200)
            .count(),
        4,
        "two were asked for seconds ago"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn put_records_refuses_what_a_shard_cannot_take_record_by_record() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 2);
    let record = |hash: u128, bytes: usize| json!({ "Data": STANDARD.encode(vec![0; bytes]), "PartitionKey": "k", "ExplicitHashKey": hash.to_string() });
    let records = [record(0, 800_000), record(0, 800_000), record(HALF, 800_000), record(0, 10)];
    let answer = local.ok("PutRecords", &json!({ "StreamName": "clicks", "Records": records }));
    assert_eq!(answer["FailedRecordCount"], 1);
    let codes: Vec<_> =
        answer["Records"].as_array().unwrap().iter().map(|record| record["ErrorCode"].as_str()).collect();
    assert_eq!(codes, [None, Some("ProvisionedThroughputExceededException"), None, None]);
    let small: Vec<Value> = (0..500).map(|_| record(HALF, 1)).collect();
    let body = json!({ "StreamName": "clicks", "Records": small });
    let failed: Vec<Value> = (0..3).map(|_| local.ok("PutRecords", &body)["FailedRecordCount"].clone()).collect();
    assert_eq!(failed, [0, 1, 500], "1,000 records a second, one of them earlier");
    let one = json!({ "StreamName": "clicks", "Data": "", "PartitionKey": "k", "ExplicitHashKey": HALF.to_string() });
    assert_eq!(local.refused("PutRecord", &one), "ProvisionedThroughputExceededException");
    local.advance(SECOND);
    local.ok("PutRecord", &one);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_rates_are_free_and_sizes_are_not() {
    let local = Local::start(|options| options.limits = false).await;
    local.create("clicks", 1);
    let record = |bytes: usize| json!({ "Data": STANDARD.encode(vec![0; bytes]), "PartitionKey": "k" });
    for _ in 0..2 {
        let records: Vec<Value> = (0..10).map(|_| record(1_048_575)).collect();
        let answer = local.ok("PutRecords", &json!({ "StreamName": "clicks", "Records": records }));
        assert_eq!(answer["FailedRecordCount"], 0);
    }
    let iterator = local.iterator("clicks", 0, &json!({}));
    assert_eq!(get(&local, &iterator)["Records"].as_array().unwrap().len(), 10, "10 MiB of 20");
    for _ in 0..6 {
        local.ok("GetRecords", &json!({ "ShardIterator": iterator, "Limit": 1 }));
    }
    let put = |records: Vec<Value>| local.refused("PutRecords", &json!({ "StreamName": "clicks", "Records": records }));
    assert_eq!(put(vec![record(1); 501]), "ValidationException");
    assert_eq!(put(vec![]), "ValidationException");
    assert_eq!(put(vec![record(1_048_576)]), "ValidationException", "the partition key counts");
    assert_eq!(put(vec![record(1_048_575); 11]), "InvalidArgumentException");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_take_records_of_ten_mebibytes() {
    let local = Local::start(|options| options.limits = false).await;
    local.ok("CreateStream", &json!({ "StreamName": "clicks", "ShardCount": 1, "MaxRecordSizeInKiB": 10240 }));
    let payload = vec![1; 10 * 1024 * 1024 - 1];
    local.put("clicks", 1, &payload);
    local.put("clicks", 1, b"next");
    let page = get(&local, &local.iterator("clicks", 0, &json!({})));
    assert_eq!(payloads(&page), [payload]);
    assert_eq!(payloads(&get(&local, page["NextShardIterator"].as_str().unwrap())), [b"next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_trims_records_and_lets_closed_shards_go() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 1);
    let stream = json!({ "StreamName": "clicks" });
    let first = local.put("clicks", 1, b"old")["SequenceNumber"].clone();
    local.advance(HOUR);
    local.put("clicks", 1, b"new");
    local.ok(
        "SplitShard",
        &json!({ "StreamName": "clicks", "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": HALF.to_string() }),
    );
    local.advance(23 * HOUR + 1);
    let after = json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": first });
    let page = get(&local, &local.iterator("clicks", 0, &after));
    assert_eq!(payloads(&page), [b"new"]);
    assert_eq!(page["ChildShards"].as_array().unwrap().len(), 2);
    local.ok("IncreaseStreamRetentionPeriod", &json!({ "StreamName": "clicks", "RetentionPeriodHours": 25 }));
    local.advance(HOUR);
    assert_eq!(local.shard_ids(&stream), [0, 1, 2]);
    local.ok("DecreaseStreamRetentionPeriod", &json!({ "StreamName": "clicks", "RetentionPeriodHours": 24 }));
    assert_eq!(local.shard_ids(&stream), [1, 2]);
    let gone =
        json!({ "StreamName": "clicks", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON" });
    assert_eq!(local.refused("GetShardIterator", &gone), "ResourceNotFoundException");
    for hours in [23, 8761] {
        let body = json!({ "StreamName": "clicks", "RetentionPeriodHours": hours });
        assert_eq!(local.refused("IncreaseStreamRetentionPeriod", &body), "InvalidArgumentException");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_retention_can_be_shortened() {
    let local = Local::start(|options| options.retention_hour = std::time::Duration::from_millis(100)).await;
    local.create("clicks", 1);
    local.put("clicks", 1, b"old");
    local.advance(2401);
    assert_eq!(get(&local, &local.iterator("clicks", 0, &json!({})))["Records"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_filters_mean_what_they_say() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 1);
    local.advance(10 * SECOND);
    local.ok(
        "SplitShard",
        &json!({ "StreamName": "clicks", "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": HALF.to_string() }),
    );
    local.advance(10 * SECOND);
    local.ok(
        "MergeShards",
        &json!({ "StreamName": "clicks", "ShardToMerge": "shardId-000000000001",
        "AdjacentShardToMerge": "shardId-000000000002" }),
    );
    local.advance(10 * SECOND);
    let listed = |filter: Value| local.shard_ids(&json!({ "StreamName": "clicks", "ShardFilter": filter }));
    let at = |kind: &str, seconds: u64| json!({ "Type": kind, "Timestamp": 1_790_000_000 + seconds });
    assert_eq!(listed(json!({ "Type": "FROM_TRIM_HORIZON" })), [0, 1, 2, 3]);
    assert_eq!(listed(json!({ "Type": "AT_TRIM_HORIZON" })), [0]);
    assert_eq!(listed(json!({ "Type": "AT_LATEST" })), [3]);
    assert_eq!(listed(json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001" })), [2, 3]);
    assert_eq!(listed(at("AT_TIMESTAMP", 5)), [0]);
    assert_eq!(listed(at("AT_TIMESTAMP", 15)), [1, 2]);
    assert_eq!(listed(at("FROM_TIMESTAMP", 15)), [1, 2, 3]);
    assert_eq!(listed(at("FROM_TIMESTAMP", 25)), [3]);
    assert_eq!(
        local.shard_ids(&json!({ "StreamName": "clicks", "ExclusiveStartShardId": "shardId-000000000002" })),
        [3]
    );
    for (filter, code) in [
        (json!({ "Type": "AT_TIMESTAMP" }), "InvalidArgumentException"),
        (at("AT_TIMESTAMP", 31), "InvalidArgumentException"),
        (json!({ "Type": "AFTER_SHARD_ID" }), "InvalidArgumentException"),
        (json!({ "Type": "SOME" }), "ValidationException"),
        (json!({}), "ValidationException"),
    ] {
        let body = json!({ "StreamName": "clicks", "ShardFilter": filter });
        assert_eq!(local.refused("ListShards", &body), code, "{body}");
    }
    let lineage = local.ok("ListShards", &json!({ "StreamName": "clicks" }));
    assert_eq!(lineage["Shards"][1]["ParentShardId"], "shardId-000000000000");
    assert_eq!(lineage["Shards"][3]["AdjacentParentShardId"], "shardId-000000000002");
    assert!(lineage["Shards"][3]["SequenceNumberRange"].get("EndingSequenceNumber").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_listed_page_by_page_with_the_token_alone() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 5);
    let filter = json!({ "Type": "AT_LATEST" });
    let first = local.ok("ListShards", &json!({ "StreamName": "clicks", "MaxResults": 2, "ShardFilter": filter }));
    let token = first["NextToken"].as_str().unwrap();
    assert_eq!(local.shard_ids(&json!({ "NextToken": token, "MaxResults": 2 })), [2, 3]);
    assert_eq!(local.shard_ids(&json!({ "NextToken": token })), [2, 3, 4]);
    for beside in [
        json!({ "StreamName": "clicks" }),
        json!({ "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/clicks" }),
        json!({ "ExclusiveStartShardId": "shardId-000000000001" }),
        json!({ "StreamCreationTimestamp": 1_790_000_000 }),
    ] {
        let mut body = json!({ "NextToken": token });
        body.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        assert_eq!(local.refused("ListShards", &body), "InvalidArgumentException", "{body}");
    }
    assert_eq!(local.refused("ListShards", &json!({ "NextToken": "bogus" })), "InvalidArgumentException");
    assert_eq!(local.refused("ListShards", &json!({})), "InvalidArgumentException");
    let created = |seconds: u64| json!({ "StreamName": "clicks", "StreamCreationTimestamp": seconds });
    assert_eq!(local.shard_ids(&created(1_790_000_000)).len(), 5);
    assert_eq!(local.refused("ListShards", &created(1_780_000_000)), "ResourceNotFoundException");
    local.advance(300_001);
    assert_eq!(local.refused("ListShards", &json!({ "NextToken": token })), "ExpiredNextTokenException");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_holds_a_thousand_shards_and_a_description_a_hundred() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 1001);
    let page = local.ok("ListShards", &json!({ "StreamName": "clicks", "MaxResults": 10_000 }));
    assert_eq!(page["Shards"].as_array().unwrap().len(), 1000);
    let rest = local.ok("ListShards", &json!({ "NextToken": page["NextToken"] }));
    assert_eq!(number(&rest["Shards"][0]["ShardId"]), 1000);
    assert!(rest.get("NextToken").is_none());
    let described = &local.ok("DescribeStream", &json!({ "StreamName": "clicks", "Limit": 500 }))["StreamDescription"];
    assert_eq!((described["Shards"].as_array().unwrap().len(), &described["HasMoreShards"]), (100, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_refused_as_the_service_does() {
    let local = Local::start(|_| {}).await;
    local.create("clicks", 1);
    let target = |operation: &str| format!("Kinesis_20131202.{operation}");
    for (target, content_type, body, status, code) in [
        (target("PutRecord"), JSON, "{", 400, "SerializationException"),
        (target("PutRecord"), JSON, r#"{"StreamName":5}"#, 400, "SerializationException"),
        (
            target("PutRecord"),
            JSON,
            r#"{"StreamName":"clicks","PartitionKey":"k","Data":"%"}"#,
            400,
            "SerializationException",
        ),
        (target("PutRecord"), JSON, r#"{"StreamName":"clicks","PartitionKey":"k"}"#, 400, "ValidationException"),
        (
            target("PutRecord"),
            JSON,
            r#"{"StreamName":"clicks","PartitionKey":"","Data":""}"#,
            400,
            "ValidationException",
        ),
        (target("PutRecord"), JSON, r#"{"PartitionKey":"k","Data":""}"#, 400, "InvalidArgumentException"),
        (target("GetRecords"), JSON, r#"{"ShardIterator":"x","Limit":10001}"#, 400, "InvalidArgumentException"),
        (target("GetRecords"), JSON, r#"{"ShardIterator":"x","Limit":0}"#, 400, "ValidationException"),
        (target("GetRecords"), JSON, r#"{"ShardIterator":"x"}"#, 400, "InvalidArgumentException"),
        (target("GetRecords"), JSON, "{}", 400, "ValidationException"),
        (target("CreateStream"), JSON, r#"{"StreamName":"a b","ShardCount":1}"#, 400, "ValidationException"),
        (target("CreateStream"), JSON, r#"{"StreamName":"a"}"#, 400, "ValidationException"),
        (target("CreateStream"), JSON, r#"{"StreamName":"clicks","ShardCount":1}"#, 400, "ResourceInUseException"),
        (target("SubscribeToShard"), JSON, "{}", 400, "UnknownOperationException"),
        ("DynamoDB_20120810.GetItem".into(), JSON, "{}", 400, "UnknownOperationException"),
        (String::new(), JSON, "{}", 400, "UnknownOperationException"),
        (target("GetRecords"), "application/x-amz-cbor-1.1", "{}", 400, "SerializationException"),
    ] {
        let reply = local.send(&target, content_type, body.as_bytes()).unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{target} {body}");
        assert!(reply.head.contains("x-amzn-requestid: "), "{}", reply.head);
        assert!(reply.head.contains(&format!("x-amzn-errortype: {}", code.to_lowercase())), "{}", reply.head);
        assert!(reply.json()["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    let explicit = |hash: &str| {
        local.refused(
            "PutRecord",
            &json!({ "StreamName": "clicks", "Data": "", "PartitionKey": "k", "ExplicitHashKey": hash }),
        )
    };
    for wrong in ["340282366920938463463374607431768211456", "-1", "abc"] {
        assert_eq!(explicit(wrong), "InvalidArgumentException");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_demand_streams_have_four_shards_that_nobody_reshards() {
    let local = Local::start(|_| {}).await;
    let mode = json!({ "StreamMode": "ON_DEMAND" });
    local.ok("CreateStream", &json!({ "StreamName": "clicks", "StreamModeDetails": mode }));
    let summary = &local.ok("DescribeStreamSummary", &json!({ "StreamName": "clicks" }))["StreamDescriptionSummary"];
    assert_eq!((&summary["OpenShardCount"], &summary["StreamModeDetails"]), (&json!(4), &mode));
    assert_eq!(summary["StreamCreationTimestamp"], json!(1_790_000_000.0));
    let body = json!({ "StreamName": "clicks", "TargetShardCount": 8, "ScalingType": "UNIFORM_SCALING" });
    assert_eq!(local.refused("UpdateShardCount", &body), "ValidationException");
}
