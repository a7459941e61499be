//! A table is made where there is none, taken where the KCL made it, and refused where it is another's; one that is deleted
//! meanwhile is said, and can be made again.

use penstock_aws::lease_table::{Billing, DynamoLeaseTable};
use penstock_core::ids::{LeaseCounter, WorkerId};
use penstock_core::lease::{Change, CreateOutcome, Field, LeaseRow, LeaseWrite};
use penstock_engine::ports::{ErrorClass, LeaseTable, SeamError, TableProblem};
use penstock_standins::unique_account;
use serde_json::json;

use crate::rows::{TABLE, applied, key, only_row, prepared, renewal, row, stores, table};
use crate::support::{config, dynamodb, line, ministack};

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
