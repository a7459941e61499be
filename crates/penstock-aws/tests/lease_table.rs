//! The lease table on DynamoDB Local and ministack: items as the KCL writes them, what survives our writes, and what is known
//! of a write whose call failed.

mod support;

use std::time::Duration;

use bytes::Bytes;
use penstock_aws::lease_table::{Billing, DynamoLeaseTable};
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWrite, WriteOutcome};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, LeaseTable, SeamError, TableProblem};
use penstock_standins::unique_account;
use serde_json::{Value, json};
use support::{Faults, config, dynamodb, dynamodb_local, line, ministack};

const TABLE: &str = "clicks-to-s3";
const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

/// Both stores, each with an account of its own.
fn stores() -> [(String, String); 2] {
    [(dynamodb_local(), unique_account()), (ministack(), unique_account())]
}

async fn table(endpoint: &str, account: &str) -> DynamoLeaseTable {
    DynamoLeaseTable::new(&config(endpoint, account).await, TABLE, Billing::PayPerRequest)
}

async fn prepared(endpoint: &str, account: &str) -> DynamoLeaseTable {
    let table = table(endpoint, account).await;
    table.prepare().await.expect("a table");
    table
}

fn key() -> LeaseKey {
    LeaseKey::new("shardId-000000000001")
}

fn row(counter: u64) -> LeaseRow {
    LeaseRow::new(key(), LeaseCounter(counter), Position::TrimHorizon)
}

fn renewal(of: u64) -> LeaseWrite {
    LeaseWrite { key: key(), expect: Expect::counter(LeaseCounter(of)), change: Change::counter(LeaseCounter(of + 1)) }
}

async fn only_row(table: &DynamoLeaseTable) -> LeaseRow {
    let scan = table.scan().await.expect("a scan");
    assert!(scan.unreadable.is_empty(), "{:?}", scan.unreadable);
    let [row] = <[LeaseRow; 1]>::try_from(scan.rows).expect("one row");
    row
}

fn applied(outcome: Result<WriteOutcome, SeamError>) {
    assert!(matches!(outcome, Ok(WriteOutcome::Applied(_))), "{outcome:?}");
}

fn put_raw(endpoint: &str, account: &str, item: &Value) {
    dynamodb(endpoint, account, "PutItem", &json!({"TableName": TABLE, "Item": item}));
}

fn get_raw(endpoint: &str, account: &str) -> Value {
    let key = json!({"leaseKey": {"S": key().as_str()}});
    dynamodb(endpoint, account, "GetItem", &json!({"TableName": TABLE, "Key": key, "ConsistentRead": true}))["Item"]
        .clone()
}

/// A row as a KCL 3 worker leaves it in the middle of its life.
fn kcl_item() -> Value {
    json!({
        "leaseKey": {"S": key().as_str()},
        "leaseOwner": {"S": "f6f0ba5f-8a6a-4d4c-b9ac-3c1e5c6f0001"},
        "leaseCounter": {"N": "172"},
        "ownerSwitchesSinceCheckpoint": {"N": "2"},
        "checkpoint": {"S": SEQUENCE},
        "checkpointSubSequenceNumber": {"N": "3"},
        "parentShardId": {"SS": ["shardId-000000000000"]},
        "startingHashKey": {"S": "0"},
        "endingHashKey": {"S": "170141183460469231731687303715884105727"},
        "throughputKBps": {"N": "12.345678"},
    })
}

fn with(mut item: Value, attributes: Value) -> Value {
    item.as_object_mut().expect("an object").extend(attributes.as_object().expect("an object").clone());
    item
}

// === the table ===

#[tokio::test]
async fn two_workers_may_create_the_table_at_once() {
    for (endpoint, account) in stores() {
        let (one, other) = (table(&endpoint, &account).await, table(&endpoint, &account).await);
        let (first, second) = tokio::join!(one.prepare(), other.prepare());
        first.expect("the first");
        second.expect("the second");
        one.prepare().await.expect("a table that is there");
        assert_eq!(one.create(&row(5)).await.unwrap(), CreateOutcome::Created);
        assert_eq!(only_row(&other).await, row(5));
    }
}

#[tokio::test]
async fn a_table_is_billed_as_asked() {
    let (endpoint, account) = (ministack(), unique_account());
    prepared(&endpoint, &account).await;
    let billing =
        |name: &str| dynamodb(&endpoint, &account, "DescribeTable", &json!({"TableName": name}))["Table"].clone();
    assert_eq!(billing(TABLE)["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST");
    let provisioned = DynamoLeaseTable::new(&config(&endpoint, &account).await, "other", Billing::Provisioned);
    provisioned.prepare().await.expect("a table");
    assert_eq!(billing("other")["ProvisionedThroughput"]["WriteCapacityUnits"], 10);
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused_with_what_to_do() {
    let shapes = [
        json!([["id", "HASH", "S"]]),
        json!([["leaseKey", "HASH", "N"]]),
        json!([["leaseKey", "HASH", "S"], ["at", "RANGE", "N"]]),
    ];
    for (endpoint, _) in stores() {
        for shape in &shapes {
            let account = unique_account();
            let keys = shape.as_array().unwrap();
            let schema: Vec<_> = keys.iter().map(|key| json!({"AttributeName": key[0], "KeyType": key[1]})).collect();
            let types: Vec<_> =
                keys.iter().map(|key| json!({"AttributeName": key[0], "AttributeType": key[2]})).collect();
            let create = json!({
                "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST", "KeySchema": schema, "AttributeDefinitions": types,
            });
            dynamodb(&endpoint, &account, "CreateTable", &create);
            match table(&endpoint, &account).await.prepare().await {
                Err(problem @ TableProblem::Foreign { .. }) => {
                    let line = problem.to_string();
                    assert!(line.starts_with("clicks-to-s3 cannot be used: its key is "), "{line}");
                    assert!(line.contains("set leases.table"), "{line}");
                }
                other => panic!("{shape}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_table_of_the_kcl_with_its_index_is_taken() {
    for (endpoint, account) in stores() {
        let create = json!({
            "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "AttributeDefinitions": [
                {"AttributeName": "leaseKey", "AttributeType": "S"}, {"AttributeName": "leaseOwner", "AttributeType": "S"},
            ],
            "GlobalSecondaryIndexes": [{
                "IndexName": "LeaseOwnerToLeaseKeyIndex", "Projection": {"ProjectionType": "KEYS_ONLY"},
                "KeySchema": [
                    {"AttributeName": "leaseOwner", "KeyType": "HASH"}, {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                ],
            }],
        });
        dynamodb(&endpoint, &account, "CreateTable", &create);
        let table = prepared(&endpoint, &account).await;
        let owned = LeaseRow { owner: Some(WorkerId::new("w")), ..row(1) };
        assert_eq!(table.create(&owned).await.unwrap(), CreateOutcome::Created);
        // An index does not take an attribute that is empty: an owner that is written out is removed.
        let release = Change { owner: Field::Remove, ..Change::counter(LeaseCounter(2)) };
        applied(table.write(&LeaseWrite { change: release, ..renewal(1) }).await);
        assert_eq!(only_row(&table).await, row(2));
    }
}

#[tokio::test]
async fn a_table_that_was_deleted_meanwhile_is_said_and_can_be_made_again() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        table.create(&row(1)).await.unwrap();
        dynamodb(&endpoint, &account, "DeleteTable", &json!({"TableName": TABLE}));
        let errors: [SeamError; 4] = [
            table.scan().await.unwrap_err(),
            table.create(&row(1)).await.unwrap_err(),
            table.write(&renewal(1)).await.unwrap_err(),
            table.delete(&key(), LeaseCounter(1)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.class, ErrorClass::NotFound, "{error}");
            let line = line(&error);
            assert!(line.contains(TABLE) && line.contains(&endpoint), "{line}");
        }
        table.prepare().await.expect("a new table");
        assert!(table.scan().await.unwrap().rows.is_empty());
    }
}

// === items ===

#[tokio::test]
async fn a_row_of_the_kcl_is_read_attribute_for_attribute() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        let item = with(
            kcl_item(),
            json!({
                "entityType": {"S": "LEASE"}, "childShardIds": {"SS": ["shardId-000000000003", "shardId-000000000002"]},
                "checkpointOwner": {"S": "old"},
            }),
        );
        put_raw(&endpoint, &account, &item);
        let found = only_row(&table).await;
        let expected = LeaseRow {
            owner: Some(WorkerId::new("f6f0ba5f-8a6a-4d4c-b9ac-3c1e5c6f0001")),
            owner_switches: 2,
            parents: [ShardId::new("shardId-000000000000")].into(),
            children: [ShardId::new("shardId-000000000002"), ShardId::new("shardId-000000000003")].into(),
            hash_range: Some(HashRange { start: 0, end: u128::MAX / 2 }),
            checkpoint_owner: Some(WorkerId::new("old")),
            throughput: Some(Throughput::from_micros(12_345_678)),
            ..LeaseRow::new(
                key(),
                LeaseCounter(172),
                Position::After(RecordPosition::parse(&format!("{SEQUENCE}/3")).unwrap()),
            )
        };
        assert_eq!(found, expected, "and nothing of it is unknown");
    }
}

#[tokio::test]
async fn items_of_other_kinds_are_no_leases_and_bad_rows_are_named() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        for (name, kind) in [
            ("worker-1", "WORKER_METRIC_STATS"),
            ("Leader", "LEADER"),
            ("Migration3.0", "CLIENT_VERSION_MIGRATION"),
            ("s", "STREAM"),
        ] {
            put_raw(
                &endpoint,
                &account,
                &json!({"leaseKey": {"S": name}, "entityType": {"S": kind}, "lut": {"N": "1"}}),
            );
        }
        let garbage = [
            ("a-no-counter", json!({"checkpoint": {"S": "LATEST"}}), "leaseCounter"),
            ("b-text-counter", json!({"leaseCounter": {"S": "1"}, "checkpoint": {"S": "LATEST"}}), "leaseCounter"),
            ("c-negative", json!({"leaseCounter": {"N": "-1"}, "checkpoint": {"S": "LATEST"}}), "leaseCounter"),
            ("d-no-checkpoint", json!({"leaseCounter": {"N": "1"}}), "checkpoint"),
            ("e-odd-checkpoint", json!({"leaseCounter": {"N": "1"}, "checkpoint": {"S": "TRIM"}}), "checkpoint"),
            (
                "f-odd-range",
                json!({
                    "leaseCounter": {"N": "1"}, "checkpoint": {"S": "LATEST"}, "startingHashKey": {"S": "9"},
                    "endingHashKey": {"S": "1"},
                }),
                "startingHashKey",
            ),
        ];
        for (name, attributes, _) in &garbage {
            put_raw(&endpoint, &account, &with(json!({"leaseKey": {"S": name}}), attributes.clone()));
        }
        put_raw(&endpoint, &account, &kcl_item());
        let scan = table.scan().await.unwrap();
        assert_eq!(scan.rows.len(), 1, "one bad row never costs another");
        let mut unreadable = scan.unreadable;
        unreadable.sort_by(|one, other| one.key.cmp(&other.key));
        assert_eq!(unreadable.len(), garbage.len());
        for (found, (name, _, attribute)) in unreadable.iter().zip(&garbage) {
            assert_eq!(found.key.as_str(), *name);
            assert!(found.problem.contains(attribute), "{}", found.problem);
        }
    }
}

#[tokio::test]
async fn a_conflict_with_what_cannot_be_read_names_the_row_and_wrote_nothing() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        for (attributes, problem) in [
            (json!({"entityType": {"S": "LEADER"}}), "another kind"),
            (json!({"leaseCounter": {"N": "8"}, "checkpoint": {"S": "?"}}), "checkpoint"),
        ] {
            put_raw(&endpoint, &account, &with(json!({"leaseKey": {"S": key().as_str()}}), attributes));
            let error = table.write(&renewal(7)).await.unwrap_err();
            assert_eq!(error.class, ErrorClass::Rejected);
            let line = line(&error);
            assert!(line.contains(&format!("{TABLE}/{}", key())) && line.contains(problem), "{line}");
        }
    }
}

#[tokio::test]
async fn every_form_of_a_number_is_read_as_the_store_gives_it_back() {
    let (endpoint, account) = (dynamodb_local(), unique_account());
    let table = prepared(&endpoint, &account).await;
    for (written, counter) in [("007", 7), ("7.0", 7), ("1.2E+2", 120), ("18446744073709551615", u64::MAX)] {
        put_raw(&endpoint, &account, &with(kcl_item(), json!({"leaseCounter": {"N": written}})));
        assert_eq!(only_row(&table).await.counter, LeaseCounter(counter), "{written}");
    }
}

/// A row in which everything is set that can be.
fn full_row() -> LeaseRow {
    let position = RecordPosition::parse(&format!("{SEQUENCE}/7")).expect("sound");
    LeaseRow {
        owner: Some(WorkerId::new("w-1")),
        owner_switches: 3,
        parents: [ShardId::new("shardId-000000000000")].into(),
        children: [ShardId::new("shardId-000000000002")].into(),
        hash_range: Some(HashRange::ALL),
        start: Some(UnixMillis(1)),
        stream_created: Some(UnixMillis(1_700_000_000_123)),
        arrival: Some(UnixMillis(3)),
        lag: Some(4),
        chain: Some(position.clone()),
        intent: Some(Bytes::from(vec![7; 64 * 1024])),
        wanted: Some(WorkerId::new("w-2")),
        granted: Some(WorkerId::new("w-3")),
        left: Some(UnixMillis(5)),
        throughput: Some(Throughput::from_micros(12_345_678)),
        taken_by: Some(WorkerId::new("w-1")),
        ..LeaseRow::new(key(), LeaseCounter(1_800_000_000), Position::After(position))
    }
}

#[tokio::test]
async fn a_write_leaves_exactly_the_row_that_it_is_said_to_leave() {
    let at = RecordPosition::parse(&format!("{SEQUENCE}/9")).unwrap();
    let next = Change::counter(LeaseCounter(173));
    let changes = [
        next.clone(),
        Change { owner: Field::Set(WorkerId::new("w-3")), owner_switches: Some(4), end_handoff: true, ..next.clone() },
        Change { owner: Field::Remove, wanted: Field::Remove, left: Field::Set(UnixMillis(8)), ..next.clone() },
        Change {
            granted: Field::Set(WorkerId::new("w-4")),
            taken_by: Field::Set(WorkerId::new("w-3")),
            throughput: Field::Set(Throughput::from_micros(12_345_678)),
            ..next.clone()
        },
        Change { intent: Field::Set(Bytes::from_static(b"\x00\xff")), lag: Field::Set(0), ..next.clone() },
        Change {
            checkpoint: Some(Position::After(at.clone())),
            owner_switches: Some(0),
            arrival: Field::Set(UnixMillis(9)),
            chain: Field::Set(at),
            intent: Field::Remove,
            ..next.clone()
        },
        Change {
            checkpoint: Some(Position::ShardEnd),
            children: Some([ShardId::new("shardId-000000000004"), ShardId::new("shardId-000000000005")].into()),
            hash_range: Some(HashRange { start: 5, end: 6 }),
            ..next.clone()
        },
        Change {
            children: Some([].into()),
            start: Field::Set(UnixMillis(5)),
            stream_created: Field::Set(UnixMillis(6)),
            ..next
        },
    ];
    let foreign = json!({
        "pendingCheckpoint": {"S": SEQUENCE}, "pendingCheckpointSubSequenceNumber": {"N": "1"},
        "pendingCheckpointState": {"B": "AAEC"}, "checkpointOwner": {"S": "old"}, "theirs": {"S": "1:clicks:2"},
        "ours": {"M": {"list": {"L": [{"NULL": true}, {"N": "1.50"}]}, "set": {"BS": ["AA==", "AQ=="]}, "no": {"BOOL": false}}},
        "penstockIntent": {"B": "AQ=="}, "penstockWanted": {"S": "w-9"}, "childShardIds": {"SS": ["shardId-000000000002"]},
    });
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        for change in &changes {
            put_raw(&endpoint, &account, &with(kcl_item(), foreign.clone()));
            let before = only_row(&table).await;
            assert!(before.foreign_pending.is_some());
            let write = LeaseWrite { change: change.clone(), ..renewal(172) };
            let outcome = table.write(&write).await.unwrap();
            let after = only_row(&table).await;
            assert_eq!(after, change.apply(&before), "{change:?}");
            assert_eq!(outcome, WriteOutcome::Applied(Box::new(after.clone())), "the answer shows the row");
            // Sent again, it meets what it left: that is how a lost reply is told from a lost lease.
            assert_eq!(table.write(&write).await.unwrap(), WriteOutcome::Conflict(Some(Box::new(after))));
            let raw = get_raw(&endpoint, &account);
            assert_eq!(raw["throughputKBps"]["N"], "12.345678");
            assert_eq!(raw["theirs"]["S"], "1:clicks:2");
            assert_eq!(raw["pendingCheckpoint"].is_null(), change.checkpoint.is_some());
        }
    }
}

#[tokio::test]
async fn a_new_row_comes_back_whole_and_has_the_types_of_the_kcl() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        assert_eq!(table.create(&full_row()).await.unwrap(), CreateOutcome::Created);
        assert_eq!(table.create(&row(1)).await.unwrap(), CreateOutcome::Exists);
        assert_eq!(only_row(&table).await, full_row());
        let raw = get_raw(&endpoint, &account);
        for (name, kind) in [
            ("leaseKey", "S"),
            ("leaseOwner", "S"),
            ("leaseCounter", "N"),
            ("ownerSwitchesSinceCheckpoint", "N"),
            ("checkpoint", "S"),
            ("checkpointSubSequenceNumber", "N"),
            ("parentShardId", "SS"),
            ("childShardIds", "SS"),
            ("startingHashKey", "S"),
            ("endingHashKey", "S"),
            ("entityType", "S"),
            ("penstockStart", "N"),
            ("penstockStream", "N"),
            ("penstockArrival", "N"),
            ("penstockLag", "N"),
            ("penstockChain", "S"),
            ("penstockIntent", "B"),
            ("penstockWanted", "S"),
            ("penstockGranted", "S"),
            ("penstockLeft", "N"),
            ("penstockOwner", "S"),
            ("throughputKBps", "N"),
        ] {
            assert!(!raw[name][kind].is_null(), "{name} is {}", raw[name]);
        }
        let bare = LeaseRow::new(LeaseKey::new("shardId-000000000009"), LeaseCounter(0), Position::TrimHorizon);
        table.create(&bare).await.unwrap();
        let items = dynamodb(&endpoint, &account, "Scan", &json!({"TableName": TABLE}));
        let bare =
            items["Items"].as_array().unwrap().iter().find(|item| item["leaseKey"]["S"] == "shardId-000000000009");
        let mut names: Vec<_> = bare.unwrap().as_object().unwrap().keys().collect();
        names.sort();
        let expected = [
            "checkpoint",
            "checkpointSubSequenceNumber",
            "entityType",
            "leaseCounter",
            "leaseKey",
            "ownerSwitchesSinceCheckpoint",
        ];
        assert_eq!(names, expected, "what is empty is left out");
    }
}

#[tokio::test]
async fn each_condition_is_asked() {
    let (me, other) = (WorkerId::new("f6f0ba5f-8a6a-4d4c-b9ac-3c1e5c6f0001"), WorkerId::new("w-2"));
    let at = |text: &str| Some(Position::After(RecordPosition::parse(text).unwrap()));
    let counter = Expect::counter(LeaseCounter(172));
    let intent = Bytes::from_static(&[1]);
    let cases = [
        (counter.clone(), true),
        (Expect::counter(LeaseCounter(171)), false),
        (Expect { owner: Some(Some(me)), ..counter.clone() }, true),
        (Expect { owner: Some(Some(other)), ..counter.clone() }, false),
        (Expect { owner: Some(None), ..counter.clone() }, false),
        (Expect { checkpoint: at(&format!("{SEQUENCE}/3")), ..counter.clone() }, true),
        (Expect { checkpoint: at(&format!("{SEQUENCE}/4")), ..counter.clone() }, false),
        (Expect { checkpoint: at(SEQUENCE), ..counter.clone() }, false),
        (Expect { checkpoint: Some(Position::TrimHorizon), ..counter.clone() }, false),
        (Expect { intent: Some(Some(intent)), ..counter.clone() }, true),
        (Expect { intent: Some(Some(Bytes::from_static(&[2]))), ..counter.clone() }, false),
        (Expect { intent: Some(None), ..counter.clone() }, false),
        (Expect { no_checkpoint_owner: true, ..counter }, false),
    ];
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        for (expect, holds) in &cases {
            let item = with(kcl_item(), json!({"penstockIntent": {"B": "AQ=="}, "checkpointOwner": {"S": "old"}}));
            put_raw(&endpoint, &account, &item);
            let outcome = table.write(&LeaseWrite { expect: expect.clone(), ..renewal(172) }).await.unwrap();
            assert_eq!(matches!(outcome, WriteOutcome::Applied(_)), *holds, "{expect:?}");
            if let WriteOutcome::Conflict(found) = outcome {
                assert_eq!(found.map(|row| *row), Some(only_row(&table).await), "the row comes back with the refusal");
            }
        }
        // A row of another writer may lack the subsequence number; then it means 0.
        let mut item = with(kcl_item(), json!({"checkpoint": {"S": "TRIM_HORIZON"}}));
        item.as_object_mut().unwrap().remove("checkpointSubSequenceNumber");
        put_raw(&endpoint, &account, &item);
        let expect = Expect { checkpoint: Some(Position::TrimHorizon), ..Expect::counter(LeaseCounter(172)) };
        applied(table.write(&LeaseWrite { expect, ..renewal(172) }).await);
        let gone = LeaseWrite { key: LeaseKey::new("nobody"), ..renewal(1) };
        assert_eq!(table.write(&gone).await.unwrap(), WriteOutcome::Conflict(None), "nothing is brought back to life");
        assert_eq!(table.scan().await.unwrap().rows.len(), 1);
    }
}

#[tokio::test]
async fn a_row_is_deleted_only_at_its_shards_end_and_on_its_counter() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        table.create(&row(4)).await.unwrap();
        assert!(!table.delete(&key(), LeaseCounter(4)).await.unwrap(), "not at its end");
        let ended = Change { checkpoint: Some(Position::ShardEnd), ..Change::counter(LeaseCounter(5)) };
        table.write(&LeaseWrite { change: ended, ..renewal(4) }).await.unwrap();
        assert!(!table.delete(&key(), LeaseCounter(4)).await.unwrap(), "not its counter");
        assert!(table.delete(&key(), LeaseCounter(5)).await.unwrap());
        assert!(table.delete(&key(), LeaseCounter(5)).await.unwrap(), "what is gone is gone");
        assert!(table.scan().await.unwrap().rows.is_empty());
    }
}

#[tokio::test]
async fn a_table_of_many_pages_is_read_to_its_end() {
    let (endpoint, account) = (dynamodb_local(), unique_account());
    let table = prepared(&endpoint, &account).await;
    for shard in 0..40 {
        let row = LeaseRow { key: LeaseKey::new(&format!("shardId-{shard:012}")), ..full_row() };
        table.create(&row).await.unwrap();
    }
    let first = dynamodb(&endpoint, &account, "Scan", &json!({"TableName": TABLE}));
    assert!(!first["LastEvaluatedKey"].is_null(), "one page would prove nothing");
    let rows = table.scan().await.unwrap().rows;
    assert_eq!(rows.len(), 40);
    assert!(rows.is_sorted_by(|one, other| one.key < other.key));
}

#[tokio::test]
async fn a_row_that_would_grow_too_large_is_refused_and_stays() {
    let (endpoint, account) = (dynamodb_local(), unique_account());
    let table = prepared(&endpoint, &account).await;
    put_raw(&endpoint, &account, &with(kcl_item(), json!({"theirs": {"S": "x".repeat(390_000)}})));
    let intent = Field::Set(Bytes::from(vec![1; 64 * 1024]));
    let write = LeaseWrite { change: Change { intent, ..Change::counter(LeaseCounter(173)) }, ..renewal(172) };
    let error = table.write(&write).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected, "{error}");
    assert_eq!(only_row(&table).await.counter, LeaseCounter(172));
}

// === faults ===

/// Whether the error leaves open what became of the write.
fn is_open(error: &SeamError) -> bool {
    line(error);
    matches!(error.class, ErrorClass::Transient | ErrorClass::Fatal)
}

#[tokio::test]
async fn the_class_of_a_failed_write_tells_what_became_of_it() {
    // The class, and whether the row holds the write.
    let faults_and_classes = [
        // An answer began and broke off: the write is there.
        (json!({"response": {"abort_frac": 0.0}}), ErrorClass::Fatal, true),
        (json!({"reset": true}), ErrorClass::Transient, false),
        (json!({"error": {"code": "ProvisionedThroughputExceededException"}}), ErrorClass::Throttled, false),
        (json!({"error": {"code": "ThrottlingException"}}), ErrorClass::Throttled, false),
        (json!({"error": {"code": "RequestLimitExceeded"}}), ErrorClass::Throttled, false),
        (json!({"error": {"code": "InternalServerError", "status": 500}}), ErrorClass::Transient, false),
        (json!({"error": {"code": "ServiceUnavailable", "status": 503}}), ErrorClass::Transient, false),
        (json!({"error": {"code": "TransactionConflictException"}}), ErrorClass::Throttled, false),
        (json!({"error": {"code": "AccessDeniedException"}}), ErrorClass::Denied, false),
        (json!({"error": {"code": "ExpiredTokenException"}}), ErrorClass::Denied, false),
        (json!({"error": {"code": "ValidationException"}}), ErrorClass::Rejected, false),
    ];
    let faults = Faults::of_ministack();
    let account = unique_account();
    let (table, straight) = (prepared(&faults.endpoint(), &account).await, prepared(&ministack(), &account).await);
    straight.create(&row(0)).await.unwrap();
    let mut counter = 0;
    for (fault, class, applied) in faults_and_classes {
        faults.once("dynamodb", "UpdateItem", fault.clone());
        let error = table.write(&renewal(counter)).await.expect_err("a fault");
        assert_eq!(error.class, class, "{fault}: {error}");
        assert!(line(&error).starts_with("UpdateItem on clicks-to-s3/shardId-000000000001 failed: "), "{error}");
        assert_eq!(faults.fired(), 1, "{fault}: a failed write is not sent again here");
        counter += u64::from(applied);
        assert_eq!(only_row(&straight).await.counter, LeaseCounter(counter), "{fault}");
    }
}

#[tokio::test]
async fn an_answer_cut_short_leaves_the_outcome_of_a_write_open() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let table = prepared(&faults.endpoint(), &account).await;
    table.create(&row(0)).await.unwrap();
    // A refusal carries the old row, and is long enough to be cut.
    faults.once("dynamodb", "UpdateItem", json!({"response": {"truncate_frac": 0.5}}));
    let error = table.write(&renewal(7)).await.expect_err("half an answer");
    assert!(is_open(&error), "{error}");
    line(&error);
    faults.once("dynamodb", "Scan", json!({"response": {"truncate_frac": 0.5}}));
    let error = table.scan().await.expect_err("half a scan is none");
    assert!(is_open(&error), "{error}");
    assert_eq!(only_row(&table).await, row(0));
}

#[tokio::test]
async fn a_create_and_a_delete_of_unknown_outcome_can_be_sent_again() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let table = prepared(&faults.endpoint(), &account).await;
    let ended = LeaseRow { checkpoint: Position::ShardEnd, ..row(1) };
    faults.once("dynamodb", "PutItem", json!({"response": {"abort_frac": 0.0}}));
    assert!(is_open(&table.create(&ended).await.unwrap_err()));
    assert_eq!(table.create(&ended).await.unwrap(), CreateOutcome::Exists);
    faults.once("dynamodb", "DeleteItem", json!({"response": {"abort_frac": 0.0}}));
    assert!(is_open(&table.delete(&key(), LeaseCounter(1)).await.unwrap_err()));
    assert!(table.delete(&key(), LeaseCounter(1)).await.unwrap());
}

#[tokio::test]
async fn a_hanging_call_is_the_callers_to_end_and_the_next_one_goes_through() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let table = prepared(&faults.endpoint(), &account).await;
    table.create(&row(0)).await.unwrap();
    faults.once("dynamodb", "UpdateItem", json!({"latency": 5000}));
    let ended = tokio::time::timeout(Duration::from_millis(300), table.write(&renewal(0))).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(table.scan().await.unwrap().rows.len(), 1);
}

// === before there is an answer ===

#[tokio::test]
async fn a_store_that_is_down_is_named_with_its_address() {
    let table = table("http://127.0.0.1:1", &unique_account()).await;
    let Err(TableProblem::Unusable(error)) = table.prepare().await else { panic!("a table on a closed port") };
    assert_eq!(error.class, ErrorClass::Transient);
    let line = line(&error);
    assert!(line.contains("http://127.0.0.1:1") && line.contains("Connection refused"), "{line}");
}

#[tokio::test]
async fn credentials_that_the_store_does_not_know_are_denied_with_what_to_check() {
    let table = table(&dynamodb_local(), "no-such-key!").await;
    let Err(TableProblem::Unusable(error)) = table.prepare().await else { panic!("a table for nobody") };
    assert_eq!(error.class, ErrorClass::Denied, "{error}");
    assert!(line(&error).contains("credentials"), "{error}");
}
