//! What is written: exactly what a change says, under each condition that it asks for, in the types of the KCL, and beside
//! attributes of others, which survive.

use bytes::Bytes;
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWrite, WriteOutcome};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, LeaseTable};
use penstock_standins::unique_account;
use serde_json::json;

use crate::rows::{
    SEQUENCE, TABLE, applied, full_row, get_raw, kcl_item, key, only_row, prepared, put_raw, renewal, row, stores, with,
};
use crate::support::{dynamodb, dynamodb_local};

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
