//! The lease table on DynamoDB Local and ministack among other programs: rows of several streams as the KCL keeps them, wishes beside
//! its handoffs, what a write left that cannot be read, and the KCL's own record of its version.

mod support;

use penstock_aws::lease_table::{Billing, DynamoLeaseTable};
use penstock_core::ids::{LeaseCounter, LeaseKey, ShardId, StreamId, WorkerId};
use penstock_core::lease::{Change, Expect, LeaseRow, LeaseWant, LeaseWrite, WriteOutcome};
use penstock_core::position::{Position, RecordPosition};
use penstock_engine::ports::{ErrorClass, KclVersion, LeaseTable};
use penstock_standins::unique_account;
use serde_json::{Value, json};
use support::{Faults, config, dynamodb, dynamodb_local, line, ministack};

const TABLE: &str = "clicks-to-s3";
const COORDINATOR: &str = "clicks-to-s3-CoordinatorState";
const STREAM: &str = "123456789012:clicks:1700000000";

/// Both stores, each with an account of its own.
fn stores() -> [(String, String); 2] {
    [(dynamodb_local(), unique_account()), (ministack(), unique_account())]
}

async fn prepared(endpoint: &str, account: &str) -> DynamoLeaseTable {
    let table = DynamoLeaseTable::new(&config(endpoint, account).await, TABLE, Billing::PayPerRequest);
    table.prepare().await.expect("a table");
    table
}

fn put(endpoint: &str, account: &str, table: &str, item: &Value) {
    dynamodb(endpoint, account, "PutItem", &json!({"TableName": table, "Item": item}));
}

fn with(mut item: Value, attributes: Value) -> Value {
    item.as_object_mut().expect("an object").extend(attributes.as_object().expect("an object").clone());
    item
}

fn renewal(key: &LeaseKey, of: u64) -> LeaseWrite {
    let (expect, change) = (Expect::counter(LeaseCounter(of)), Change::counter(LeaseCounter(of + 1)));
    LeaseWrite { key: key.clone(), expect, change }
}

// === several streams ===

/// A row of one stream among several as a KCL worker leaves it at its shard's end.
fn kcl_item(shard: &str) -> Value {
    json!({
        "leaseKey": {"S": format!("{STREAM}:{shard}")}, "streamName": {"S": STREAM}, "shardId": {"S": shard},
        "leaseOwner": {"S": "w"}, "leaseCounter": {"N": "172"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": "12"}, "checkpointSubSequenceNumber": {"N": "3"},
        "parentShardId": {"SS": ["shardId-000000000000"]}, "childShardIds": {"SS": ["shardId-000000000005"]},
    })
}

#[tokio::test]
async fn rows_of_several_streams_are_those_of_the_kcl() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        put(&endpoint, &account, TABLE, &kcl_item("shardId-000000000001"));
        let shard = ShardId::new("shardId-000000000001");
        let key = LeaseKey::of(Some(&StreamId::new(STREAM)), &shard);
        let row = LeaseRow {
            owner: Some(WorkerId::new("w")),
            parents: [ShardId::new("shardId-000000000000")].into(),
            children: [ShardId::new("shardId-000000000005")].into(),
            ..LeaseRow::new(key.clone(), LeaseCounter(172), Position::After(RecordPosition::parse("12/3").unwrap()))
        };
        assert_eq!(table.scan().await.unwrap().rows, std::slice::from_ref(&row), "nothing of it is unknown");
        // Ours, beside it, has the same attributes.
        let ours = LeaseRow { key: key.sibling(&ShardId::new("shardId-000000000002")), ..row };
        table.create(&ours).await.unwrap();
        let raw_key = json!({"leaseKey": {"S": ours.key.as_str()}});
        let get = json!({"TableName": TABLE, "Key": raw_key, "ConsistentRead": true});
        let raw = &dynamodb(&endpoint, &account, "GetItem", &get)["Item"];
        assert_eq!(*raw, with(kcl_item("shardId-000000000002"), json!({"entityType": {"S": "LEASE"}})));
    }
}

#[tokio::test]
async fn a_row_that_contradicts_its_key_costs_its_shard_alone() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        put(&endpoint, &account, TABLE, &kcl_item("shardId-000000000001"));
        let other = json!({"streamName": {"S": "123456789012:clicks:1600000000"}});
        put(&endpoint, &account, TABLE, &with(kcl_item("shardId-000000000002"), other));
        let scan = table.scan().await.unwrap();
        assert_eq!((scan.rows.len(), scan.unreadable.len()), (1, 1));
        let problem = &scan.unreadable[0].problem;
        assert!(problem.contains("streamName") && problem.contains("1600000000"), "{problem}");
    }
}

#[tokio::test]
async fn pages_without_any_lease_are_read_to_the_end_and_hold_none() {
    let (endpoint, account) = (dynamodb_local(), unique_account());
    let table = prepared(&endpoint, &account).await;
    for worker in 0..6 {
        let item = json!({
            "leaseKey": {"S": format!("worker-{worker}")}, "entityType": {"S": "WORKER_METRIC_STATS"},
            "properties": {"S": "x".repeat(300_000)},
        });
        put(&endpoint, &account, TABLE, &item);
    }
    let first = dynamodb(&endpoint, &account, "Scan", &json!({"TableName": TABLE}));
    assert!(!first["LastEvaluatedKey"].is_null(), "one page would prove nothing");
    let scan = table.scan().await.unwrap();
    assert_eq!((scan.rows, scan.unreadable), (vec![], vec![]));
}

// === what a write left ===

#[tokio::test]
async fn a_write_upon_what_cannot_be_read_is_stored_and_its_writer_knows_its_row_no_longer() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        let key = LeaseKey::new(&format!("{STREAM}:shardId-000000000001"));
        let damaged = with(kcl_item("shardId-000000000001"), json!({"childShardIds": {"S": "shardId-000000000005"}}));
        put(&endpoint, &account, TABLE, &damaged);
        let error = table.write(&renewal(&key, 172)).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Fatal, "open, not refused: {error}");
        assert!(line(&error).contains("childShardIds"), "{error}");
        // Sent again it meets a counter that is its own, and cannot tell.
        let error = table.write(&renewal(&key, 172)).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Rejected, "{error}");
        // Once the row is mended, an own success shows.
        put(&endpoint, &account, TABLE, &with(kcl_item("shardId-000000000001"), json!({"leaseCounter": {"N": "173"}})));
        let found = table.scan().await.unwrap().rows.remove(0);
        let outcome = table.write(&renewal(&key, 172)).await.unwrap();
        assert_eq!(outcome, WriteOutcome::Conflict(Some(Box::new(found))));
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_leaves_a_wish_that_can_be_asked_for_again() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let table = prepared(&faults.endpoint(), &account).await;
    put(&ministack(), &account, TABLE, &kcl_item("shardId-000000000001"));
    let key = LeaseKey::new(&format!("{STREAM}:shardId-000000000001"));
    let want = LeaseWant { key, owner: WorkerId::new("w"), before: None, wanted: WorkerId::new("me") };
    faults.once("dynamodb", "UpdateItem", json!({"response": {"abort_frac": 0.0}}));
    let error = table.want(&want).await.unwrap_err();
    assert!(matches!(error.class, ErrorClass::Transient | ErrorClass::Fatal), "{error}");
    assert!(table.want(&want).await.unwrap(), "it stands since the first time");
    let row = table.scan().await.unwrap().rows.remove(0);
    assert_eq!((row.counter, row.wanted), (LeaseCounter(172), Some(WorkerId::new("me"))));
}

#[tokio::test]
async fn a_wish_is_refused_while_the_kcl_hands_a_lease_over() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        let handed = with(kcl_item("shardId-000000000001"), json!({"checkpointOwner": {"S": "old"}}));
        put(&endpoint, &account, TABLE, &handed);
        let key = LeaseKey::new(&format!("{STREAM}:shardId-000000000001"));
        let want = LeaseWant { key, owner: WorkerId::new("w"), before: None, wanted: WorkerId::new("me") };
        assert!(!table.want(&want).await.unwrap());
        assert_eq!(table.scan().await.unwrap().rows[0].wanted, None);
    }
}

// === the record of the KCL's version ===

fn version(version: &str) -> Value {
    json!({
        "entityType": {"S": "CLIENT_VERSION_MIGRATION"}, "cv": {"S": version}, "mb": {"S": "w"}, "mts": {"N": "1"},
        "h": {"L": [{"M": {"cv": {"S": "CLIENT_VERSION_INIT"}, "mb": {"S": "w"}, "mts": {"N": "1"}}}]},
    })
}

fn in_leases(endpoint: &str, account: &str, record: Value) {
    put(endpoint, account, TABLE, &with(record, json!({"leaseKey": {"S": "Migration3.0"}})));
}

fn in_coordinator(endpoint: &str, account: &str, record: Value) {
    put(endpoint, account, COORDINATOR, &with(record, json!({"key": {"S": "Migration3.0"}})));
}

fn make_coordinator(endpoint: &str, account: &str) {
    let create = json!({
        "TableName": COORDINATOR, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "S"}],
    });
    dynamodb(endpoint, account, "CreateTable", &create);
}

fn leader(version: &str) -> KclVersion {
    KclVersion::Leader(version.to_owned())
}

fn peers(version: &str) -> KclVersion {
    KclVersion::Peers(version.to_owned())
}

#[tokio::test]
async fn each_state_of_the_kcl_is_read_from_either_table() {
    let states = [
        ("CLIENT_VERSION_INIT", peers as fn(&str) -> KclVersion),
        ("CLIENT_VERSION_UPGRADE_FROM_2X", peers),
        ("CLIENT_VERSION_2X", peers),
        ("CLIENT_VERSION_3X_WITH_ROLLBACK", leader),
        ("CLIENT_VERSION_3X", leader),
        ("CLIENT_VERSION_4X", leader),
    ];
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        assert_eq!(table.kcl_version().await.unwrap(), KclVersion::Unrecorded, "no table, no record");
        for (state, expected) in states {
            in_leases(&endpoint, &account, version(state));
            assert_eq!(table.kcl_version().await.unwrap(), expected(state));
        }
        in_leases(&endpoint, &account, json!({"mb": {"S": "w"}}));
        assert!(matches!(table.kcl_version().await.unwrap(), KclVersion::Leader(_)), "what cannot be read is no leave");
        let key = json!({"TableName": TABLE, "Key": {"leaseKey": {"S": "Migration3.0"}}});
        dynamodb(&endpoint, &account, "DeleteItem", &key);
        make_coordinator(&endpoint, &account);
        assert_eq!(table.kcl_version().await.unwrap(), KclVersion::Unrecorded, "tables, and no record");
        for (state, expected) in states {
            in_coordinator(&endpoint, &account, version(state));
            assert_eq!(table.kcl_version().await.unwrap(), expected(state));
        }
    }
}

#[tokio::test]
async fn of_two_records_that_differ_the_coordinators_counts_until_the_tables_are_one() {
    for (endpoint, account) in stores() {
        let table = prepared(&endpoint, &account).await;
        make_coordinator(&endpoint, &account);
        in_leases(&endpoint, &account, version("CLIENT_VERSION_2X"));
        in_coordinator(&endpoint, &account, version("CLIENT_VERSION_3X"));
        assert_eq!(table.kcl_version().await.unwrap(), leader("CLIENT_VERSION_3X"));
        for (status, counts) in [
            ("INIT", leader("CLIENT_VERSION_3X")),
            ("DEPLOYED", leader("CLIENT_VERSION_3X")),
            ("PENDING", leader("CLIENT_VERSION_3X")),
            ("COMPLETE", peers("CLIENT_VERSION_2X")),
        ] {
            let item = json!({
                "key": {"S": "TableMigration3.5"}, "entityType": {"S": "TABLE_MIGRATION"},
                "tm": {"S": format!("TABLE_MIGRATION_STATUS_{status}")},
            });
            put(&endpoint, &account, COORDINATOR, &item);
            assert_eq!(table.kcl_version().await.unwrap(), counts, "{status}");
        }
    }
}

#[tokio::test]
async fn a_record_that_may_not_be_read_names_the_permission_and_the_table() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let table = prepared(&faults.endpoint(), &account).await;
    faults.once("dynamodb", "GetItem", json!({"error": {"code": "AccessDeniedException"}}));
    let error = table.kcl_version().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error}");
    let line = line(&error);
    assert!(line.contains("dynamodb:GetItem") && line.contains(COORDINATOR), "{line}");
    faults.once("dynamodb", "GetItem", json!({"error": {"code": "ThrottlingException"}}));
    assert_eq!(table.kcl_version().await.unwrap_err().class, ErrorClass::Throttled, "never taken for no record");
}
