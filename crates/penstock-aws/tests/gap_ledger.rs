//! The gap ledger on DynamoDB Local and ministack: the suite of all gap ledgers over two clients, and what is particular to a table
//! of items.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use penstock_aws::gap_table::DynamoGapLedger;
use penstock_aws::lease_table::Billing;
use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::ids::{LeaseKey, StreamName, WorkerId};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, GapLedger, SeamError, TableProblem};
use penstock_sim::conformance::gap_ledger::{self, Place, Stranger};
use penstock_standins::unique_account;
use serde_json::{Value, json};
use support::{Faults, config, dynamodb, dynamodb_local, line, ministack};

const LEASES: &str = "clicks-to-s3";
const TABLE: &str = "clicks-to-s3-gaps";

/// Both stores, each with an account of its own.
fn stores() -> [(String, String); 2] {
    [(dynamodb_local(), unique_account()), (ministack(), unique_account())]
}

async fn ledger(endpoint: &str, account: &str) -> DynamoGapLedger {
    DynamoGapLedger::new(&config(endpoint, account).await, LEASES, Billing::PayPerRequest)
}

async fn prepared(endpoint: &str, account: &str) -> DynamoGapLedger {
    let ledger = ledger(endpoint, account).await;
    ledger.prepare().await.expect("a ledger");
    ledger
}

fn entry() -> GapEntry {
    GapEntry {
        stream: StreamName::new("clicks"),
        stream_created: UnixMillis(1_600_000_000_123),
        lease: LeaseKey::new("shardId-000000000007"),
        range: GapRange { after: Position::TrimHorizon, end: GapEnd::Until(UnixMillis(1_700_000_000_000)) },
        reason: GapReason::Trimmed,
        noticed: UnixMillis(1_700_000_000_456),
        by: WorkerId::new("w"),
        acknowledged: None,
    }
}

/// The item of an entry, as written by another.
fn item(entry: &GapEntry) -> Value {
    json!({
        "leaseKey": {"S": entry.lease.as_str()}, "noticedAt#uuid": {"S": format!("{}#{}", entry.noticed, entry.id())},
        "stream": {"S": entry.stream.as_str()}, "streamCreated": {"N": entry.stream_created.0.to_string()},
        "reason": {"S": "trimmed"}, "after": {"S": "TRIM_HORIZON"}, "end": {"S": "until 1700000000000"},
        "range": {"S": "after TRIM_HORIZON before what arrived at 2023-11-14T22:13:20.000Z"},
        "noticedAt": {"N": entry.noticed.0.to_string()}, "noticedBy": {"S": entry.by.as_str()},
    })
}

fn items(endpoint: &str, account: &str) -> Vec<Value> {
    let scan = dynamodb(endpoint, account, "Scan", &json!({"TableName": TABLE, "ConsistentRead": true}));
    scan["Items"].as_array().expect("items").clone()
}

// === the suite ===

/// Another program with the table's name.
struct Program {
    endpoint: String,
    account: String,
    table: String,
}

#[async_trait]
impl Stranger for Program {
    async fn damage(&self, entry: &GapEntry) {
        let key = json!({
            "leaseKey": {"S": entry.lease.as_str()}, "noticedAt#uuid": {"S": format!("{}#{}", entry.noticed, entry.id())},
        });
        let body = json!({
            "TableName": self.table, "Key": key, "UpdateExpression": "SET reason = :v",
            "ExpressionAttributeValues": {":v": {"S": "boredom"}}, "ConditionExpression": "attribute_exists(leaseKey)",
        });
        dynamodb(&self.endpoint, &self.account, "UpdateItem", &body);
    }
}

async fn place(endpoint: String, case: &str) -> Place {
    let account = unique_account();
    let mut ledgers: Vec<Arc<dyn GapLedger>> = Vec::new();
    for _worker in 0..2 {
        let ledger = DynamoGapLedger::new(&config(&endpoint, &account).await, case, Billing::PayPerRequest);
        ledger.prepare().await.expect("a ledger");
        ledgers.push(Arc::new(ledger));
    }
    Place { ledgers, stranger: Arc::new(Program { endpoint, account, table: format!("{case}-gaps") }) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_local_keeps_the_rules() {
    gap_ledger::run(|case| place(dynamodb_local(), case)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ministack_keeps_the_rules() {
    gap_ledger::run(|case| place(ministack(), case)).await;
}

// === the table ===

#[tokio::test]
async fn the_table_stands_beside_the_leases_and_is_billed_as_asked() {
    for (endpoint, account) in stores() {
        let (one, other) = (ledger(&endpoint, &account).await, ledger(&endpoint, &account).await);
        let (first, second) = tokio::join!(one.prepare(), other.prepare());
        first.expect("the first");
        second.expect("the second");
        let table = &dynamodb(&endpoint, &account, "DescribeTable", &json!({"TableName": TABLE}))["Table"];
        let keys = json!([
            {"AttributeName": "leaseKey", "KeyType": "HASH"}, {"AttributeName": "noticedAt#uuid", "KeyType": "RANGE"},
        ]);
        assert_eq!(table["KeySchema"], keys);
        let provisioned = DynamoGapLedger::new(&config(&endpoint, &account).await, "other", Billing::Provisioned);
        provisioned.prepare().await.expect("a table");
        let table = &dynamodb(&endpoint, &account, "DescribeTable", &json!({"TableName": "other-gaps"}))["Table"];
        assert_eq!(table["ProvisionedThroughput"]["WriteCapacityUnits"], 10);
    }
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused_with_what_to_do() {
    for (endpoint, account) in stores() {
        let create = json!({
            "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
        });
        dynamodb(&endpoint, &account, "CreateTable", &create);
        match ledger(&endpoint, &account).await.prepare().await {
            Err(problem @ TableProblem::Foreign { .. }) => {
                let line = problem.to_string();
                assert!(
                    line.contains(TABLE) && line.contains("gap ledger") && line.contains("set leases.table"),
                    "{line}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_name_too_long_is_said_with_what_would_fit() {
    let (endpoint, account) = (dynamodb_local(), unique_account());
    let config = config(&endpoint, &account).await;
    let ledger = DynamoGapLedger::new(&config, &"x".repeat(251), Billing::PayPerRequest);
    let Err(TableProblem::Unusable(error)) = ledger.prepare().await else { panic!("no table can have this name") };
    assert_eq!(error.class, ErrorClass::Rejected);
    assert!(error.message.contains("at most 250 characters"), "{error}");
    DynamoGapLedger::new(&config, &"x".repeat(250), Billing::PayPerRequest).prepare().await.expect("it fits");
}

#[tokio::test]
async fn a_ledger_that_is_not_there_is_an_error_that_names_it() {
    for (endpoint, account) in stores() {
        let ledger = ledger(&endpoint, &account).await;
        let errors = [
            ledger.record(&entry()).await.unwrap_err(),
            ledger.entries().await.unwrap_err(),
            ledger.acknowledge(entry().id(), UnixMillis(1)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.class, ErrorClass::NotFound, "{error}");
            assert!(line(&error).contains(TABLE), "{error}");
        }
    }
}

// === items ===

#[tokio::test]
async fn an_entry_is_an_item_that_people_can_read() {
    for (endpoint, account) in stores() {
        let ledger = prepared(&endpoint, &account).await;
        ledger.record(&entry()).await.unwrap();
        assert_eq!(items(&endpoint, &account), [item(&entry())]);
    }
}

#[tokio::test]
async fn two_items_of_one_entry_are_read_as_the_older_and_acknowledged_as_one() {
    let later = GapEntry { noticed: UnixMillis(entry().noticed.0 + 1), by: WorkerId::new("a"), ..entry() };
    for (endpoint, account) in stores() {
        let ledger = prepared(&endpoint, &account).await;
        let write = |item: Value| dynamodb(&endpoint, &account, "PutItem", &json!({"TableName": TABLE, "Item": item}));
        // Two workers looked, found nothing, and wrote.
        write(item(&later));
        write(item(&entry()));
        assert_eq!(ledger.entries().await.unwrap(), (vec![entry()], vec![]));
        let mut looked_at = item(&later);
        looked_at["acknowledgedAt"] = json!({"N": "77"});
        write(looked_at);
        let acknowledged = GapEntry { acknowledged: Some(UnixMillis(77)), ..entry() };
        assert_eq!(ledger.entries().await.unwrap(), (vec![acknowledged.clone()], vec![]), "of either counts");
        assert!(ledger.acknowledge(entry().id(), UnixMillis(99)).await.unwrap());
        assert_eq!(ledger.entries().await.unwrap(), (vec![acknowledged], vec![]), "and the first time stays");
        assert_eq!(items(&endpoint, &account).len(), 2, "nothing is taken away");
        ledger.record(&later).await.unwrap();
        assert_eq!(ledger.entries().await.unwrap(), (vec![entry()], vec![]), "noticed again, both are open again");
        assert_eq!(items(&endpoint, &account).len(), 2);
    }
}

#[tokio::test]
async fn many_pages_of_entries_are_read_to_their_end() {
    let (endpoint, account) = (dynamodb_local(), unique_account());
    let ledger = prepared(&endpoint, &account).await;
    let mut written = Vec::new();
    for number in 0..6 {
        let noticed = UnixMillis(entry().noticed.0 + number);
        let entry = GapEntry { stream_created: UnixMillis(number), noticed, ..entry() };
        let mut item = item(&entry);
        item["comment"] = json!({"S": "x".repeat(300_000)});
        dynamodb(&endpoint, &account, "PutItem", &json!({"TableName": TABLE, "Item": item}));
        written.push(entry);
    }
    let first = dynamodb(&endpoint, &account, "Scan", &json!({"TableName": TABLE}));
    assert!(!first["LastEvaluatedKey"].is_null(), "one page would prove nothing");
    assert_eq!(ledger.entries().await.unwrap(), (written.clone(), vec![]));
    for entry in &written {
        ledger.record(&GapEntry { noticed: UnixMillis(1), ..entry.clone() }).await.unwrap();
        assert!(ledger.acknowledge(entry.id(), UnixMillis(5)).await.unwrap());
    }
    let entries = ledger.entries().await.unwrap().0;
    assert!(entries.len() == 6 && entries.iter().all(|entry| !entry.is_open()), "{entries:?}");
}

// === faults ===

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_one_entry_when_it_is_sent_again() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let ledger = prepared(&faults.endpoint(), &account).await;
    faults.once("dynamodb", "PutItem", json!({"response": {"abort_frac": 0.0}}));
    assert!(ledger.record(&entry()).await.is_err(), "it is not acknowledged");
    let again = GapEntry { noticed: UnixMillis(entry().noticed.0 + 5), ..entry() };
    ledger.record(&again).await.unwrap();
    assert_eq!(items(&ministack(), &account).len(), 1);
    assert_eq!(ledger.entries().await.unwrap(), (vec![entry()], vec![]));
}

#[tokio::test]
async fn each_permission_that_is_missing_is_named_and_nothing_is_taken_for_stored() {
    let faults = Faults::of_ministack();
    let account = unique_account();
    let ledger = prepared(&faults.endpoint(), &account).await;
    let denied = || json!({"error": {"code": "AccessDeniedException"}});
    for operation in ["Query", "PutItem"] {
        faults.once("dynamodb", operation, denied());
        let error = ledger.record(&entry()).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{error}");
        assert!(line(&error).contains(&format!("dynamodb:{operation}")), "{error}");
        assert_eq!(items(&ministack(), &account), Vec::<Value>::new());
    }
    ledger.record(&entry()).await.unwrap();
    let names_it = |error: &SeamError| error.class == ErrorClass::Denied && line(error).contains("dynamodb:UpdateItem");
    faults.once("dynamodb", "UpdateItem", denied());
    let error = ledger.acknowledge(entry().id(), UnixMillis(1)).await.unwrap_err();
    assert!(names_it(&error), "{error}");
    assert!(ledger.acknowledge(entry().id(), UnixMillis(1)).await.unwrap());
    faults.once("dynamodb", "UpdateItem", denied());
    let error = ledger.record(&entry()).await.unwrap_err();
    assert!(names_it(&error), "{error}");
    assert!(!ledger.entries().await.unwrap().0[0].is_open());
    ledger.record(&entry()).await.unwrap();
    faults.once("dynamodb", "Scan", denied());
    let error = ledger.entries().await.unwrap_err();
    assert!(error.class == ErrorClass::Denied && line(&error).contains("dynamodb:Scan"), "{error}");
    assert_eq!(ledger.entries().await.unwrap(), (vec![entry()], vec![]));
}
