//! Calls that fail: the class of the error tells what became of a write, what is open can be sent again, and a store that
//! cannot be used is named.

use std::time::Duration;

use penstock_core::ids::LeaseCounter;
use penstock_core::lease::{CreateOutcome, LeaseRow};
use penstock_core::position::Position;
use penstock_engine::ports::{ErrorClass, LeaseTable, SeamError, TableProblem};
use penstock_standins::unique_account;
use serde_json::json;

use crate::rows::{key, only_row, prepared, renewal, row, table};
use crate::support::{Faults, dynamodb_local, line, ministack};

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
