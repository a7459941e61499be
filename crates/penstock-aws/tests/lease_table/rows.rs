//! The stores under test and their table, with the rows that the tests put there: ours, and items as the KCL writes them.
//!
//! Items are put and got by the bare protocol too, so that what our own code reads and writes is seen from outside.

use bytes::Bytes;
use penstock_aws::lease_table::{Billing, DynamoLeaseTable};
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::{Change, Expect, LeaseRow, LeaseWrite, WriteOutcome};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{LeaseTable, SeamError};
use penstock_standins::unique_account;
use serde_json::{Value, json};

use crate::support::{config, dynamodb, dynamodb_local, ministack};

pub(crate) const TABLE: &str = "clicks-to-s3";
pub(crate) const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

/// Both stores, each with an account of its own.
pub(crate) fn stores() -> [(String, String); 2] {
    [(dynamodb_local(), unique_account()), (ministack(), unique_account())]
}

pub(crate) async fn table(endpoint: &str, account: &str) -> DynamoLeaseTable {
    DynamoLeaseTable::new(&config(endpoint, account).await, TABLE, Billing::PayPerRequest)
}

pub(crate) async fn prepared(endpoint: &str, account: &str) -> DynamoLeaseTable {
    let table = table(endpoint, account).await;
    table.prepare().await.expect("a table");
    table
}

pub(crate) fn key() -> LeaseKey {
    LeaseKey::new("shardId-000000000001")
}

pub(crate) fn row(counter: u64) -> LeaseRow {
    LeaseRow::new(key(), LeaseCounter(counter), Position::TrimHorizon)
}

pub(crate) fn renewal(of: u64) -> LeaseWrite {
    LeaseWrite { key: key(), expect: Expect::counter(LeaseCounter(of)), change: Change::counter(LeaseCounter(of + 1)) }
}

pub(crate) async fn only_row(table: &DynamoLeaseTable) -> LeaseRow {
    let scan = table.scan().await.expect("a scan");
    assert!(scan.unreadable.is_empty(), "{:?}", scan.unreadable);
    let [row] = <[LeaseRow; 1]>::try_from(scan.rows).expect("one row");
    row
}

pub(crate) fn applied(outcome: Result<WriteOutcome, SeamError>) {
    assert!(matches!(outcome, Ok(WriteOutcome::Applied(_))), "{outcome:?}");
}

pub(crate) fn put_raw(endpoint: &str, account: &str, item: &Value) {
    dynamodb(endpoint, account, "PutItem", &json!({"TableName": TABLE, "Item": item}));
}

pub(crate) fn get_raw(endpoint: &str, account: &str) -> Value {
    let key = json!({"leaseKey": {"S": key().as_str()}});
    dynamodb(endpoint, account, "GetItem", &json!({"TableName": TABLE, "Key": key, "ConsistentRead": true}))["Item"]
        .clone()
}

/// A row as a KCL 3 worker leaves it in the middle of its life.
pub(crate) fn kcl_item() -> Value {
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

/// A row in which everything is set that can be.
pub(crate) fn full_row() -> LeaseRow {
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

pub(crate) fn with(mut item: Value, attributes: Value) -> Value {
    item.as_object_mut().expect("an object").extend(attributes.as_object().expect("an object").clone());
    item
}
