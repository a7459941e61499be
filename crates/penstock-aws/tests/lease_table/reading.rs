//! What is read: rows of the KCL attribute for attribute, to the last page; items of other kinds are passed over, and rows
//! that cannot be read are named.

use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_engine::ports::{ErrorClass, LeaseTable};
use penstock_standins::unique_account;
use serde_json::json;

use crate::rows::{SEQUENCE, TABLE, full_row, kcl_item, key, only_row, prepared, put_raw, renewal, stores, with};
use crate::support::{dynamodb, dynamodb_local, line};

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
