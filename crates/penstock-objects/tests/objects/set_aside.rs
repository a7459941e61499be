//! Records that a sink of calls cannot take.

use bytes::Bytes;
use penstock_core::prefix::{PrefixExpression, PrefixKind, Zone};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{DeliveryPermit, ErrorClass, SetAside, SetAsideBatch, SetAsideReason, SetAsideRecord};
use penstock_objects::readback::{Readback, check_chain};
use penstock_objects::{SetAsideSettings, StoreSetAside};
use serde_json::Value;

use crate::suite::{ARRIVAL, directory, position, shard};

fn place(path: &std::path::Path) -> StoreSetAside {
    let error_prefix =
        PrefixExpression::parse(PrefixKind::ErrorPrefix, "errors/!{firehose:error-output-type}/").unwrap();
    let settings = SetAsideSettings {
        application: "clicks-to-lake".into(),
        destination: directory(path),
        error_prefix,
        zone: Zone::utc(),
    };
    StoreSetAside::new(settings, None).unwrap()
}

fn record(number: u64, reason: SetAsideReason) -> SetAsideRecord {
    let data = Bytes::from(format!("record {number}"));
    SetAsideRecord { position: position(number), arrival: UnixMillis(ARRIVAL + number as i64), data, reason }
}

fn rejected(message: &str) -> SetAsideReason {
    SetAsideReason::Rejected { code: "InvalidArgument".to_owned(), message: message.to_owned() }
}

fn batch(records: Vec<SetAsideRecord>) -> SetAsideBatch {
    SetAsideBatch { shard: shard(), records }
}

#[tokio::test]
async fn records_are_put_once_per_type_and_a_repeat_finds_them() {
    let directory_of_it = tempfile::tempdir().unwrap();
    let place = place(directory_of_it.path());
    assert!(place.probe().await.unwrap());
    let records = vec![
        record(1, SetAsideReason::TooLarge { bytes: 2, limit: 1 }),
        record(2, SetAsideReason::OutsideHashRange),
        record(3, rejected("request 1")),
    ];
    place.set_aside(DeliveryPermit::unproven(), &batch(records.clone())).await.unwrap();
    place.set_aside(DeliveryPermit::unproven(), &batch(records)).await.unwrap();
    // After a crash, with another text from the service.
    let again = vec![record(1, SetAsideReason::TooLarge { bytes: 2, limit: 1 }), record(3, rejected("request 2"))];
    place.set_aside(DeliveryPermit::unproven(), &batch(again)).await.unwrap();

    let readback = Readback::open(&directory(directory_of_it.path()), None).unwrap();
    let objects = readback.list().await.unwrap();
    assert_eq!(objects.len(), 2, "{objects:?}");
    assert_eq!(check_chain(&objects), []);
    assert!(objects[0].key.starts_with("errors/delivery-failed/clicks-to-lake-12-2026-11-21-10-30-00-"));
    assert!(objects[1].key.starts_with("errors/processing-failed/clicks-to-lake-12-"));
    let content = readback.content(&objects[0]).await.unwrap();
    let lines: Vec<Value> =
        content.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["sequence"], &lines[1]["errorCode"]), (&Value::from("3"), &Value::from("rejected")));
    assert_eq!(lines[1]["errorMessage"], "InvalidArgument: request 1");
    assert_eq!(lines[1]["attemptEndingTimestamp"], lines[1]["arrivalTimestamp"]);
    assert_eq!(objects[0].metadata["penstock-records"], "2");
}

#[tokio::test]
async fn other_positions_make_another_object() {
    let directory_of_it = tempfile::tempdir().unwrap();
    let place = place(directory_of_it.path());
    place
        .set_aside(DeliveryPermit::unproven(), &batch(vec![record(1, rejected("x")), record(3, rejected("x"))]))
        .await
        .unwrap();
    let all = vec![record(1, rejected("x")), record(2, rejected("x")), record(3, rejected("x"))];
    place.set_aside(DeliveryPermit::unproven(), &batch(all)).await.unwrap();
    let readback = Readback::open(&directory(directory_of_it.path()), None).unwrap();
    assert_eq!(readback.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_directory_is_created_once_and_nothing_settles_when_it_is_gone() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("aside");
    let place = place(&path);
    place.set_aside(DeliveryPermit::unproven(), &batch(vec![record(1, rejected("x"))])).await.unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let error = place.set_aside(DeliveryPermit::unproven(), &batch(vec![record(2, rejected("x"))])).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    assert!(!path.exists());
}
