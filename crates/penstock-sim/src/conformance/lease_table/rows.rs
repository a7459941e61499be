//! Rows: what is created comes back from a scan as it was.

use bytes::Bytes;
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, ShardId, WorkerId};
use penstock_core::intent::MAX_ENCODED_INTENT;
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWrite, UnreadableRow, WriteOutcome};
use penstock_core::position::{MAX_SEQUENCE_DIGITS, Position, RecordPosition, SequenceNumber};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::ErrorClass;

use super::{Place, applied, create, only_row};

const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

pub(super) fn key() -> LeaseKey {
    LeaseKey::new("shardId-000000000007")
}

/// A row in which nothing is absent that a create writes.
pub(super) fn full_row() -> LeaseRow {
    let position = RecordPosition::parse(&format!("{SEQUENCE}/3")).expect("a position");
    LeaseRow {
        owner: Some(WorkerId::new("host-a-0badc0de")),
        owner_switches: 2,
        parents: [ShardId::new("shardId-000000000001"), ShardId::new("shardId-000000000002")].into(),
        children: [ShardId::new("shardId-000000000008"), ShardId::new("shardId-000000000009")].into(),
        hash_range: Some(HashRange { start: 1, end: u128::MAX - 1 }),
        checkpoint_owner: Some(WorkerId::new("host-b-1")),
        start: Some(UnixMillis(1_700_000_000_001)),
        stream_created: Some(UnixMillis(1_600_000_000_002)),
        arrival: Some(UnixMillis(1_700_000_000_003)),
        lag: Some(4),
        chain: Some(RecordPosition { subsequence: 5, ..position.clone() }),
        intent: Some(Bytes::from_static(b"\x00intent\xff")),
        wanted: Some(WorkerId::new("host-c-2")),
        granted: Some(WorkerId::new("host-d-3")),
        left: Some(UnixMillis(1_700_000_000_005)),
        throughput: Some(Throughput::from_micros(12_345_678)),
        taken_by: Some(WorkerId::new("host-a-0badc0de")),
        ..LeaseRow::new(key(), LeaseCounter(1_700_000_000), Position::After(position))
    }
}

/// A row in which everything is absent that may be.
pub(super) fn bare_row() -> LeaseRow {
    LeaseRow::new(key(), LeaseCounter(1_700_000_000), Position::TrimHorizon)
}

pub(super) async fn a_new_row_is_stored_once(place: &Place) {
    let table = place.table();
    assert_eq!(table.scan().await.expect("a scan").rows, [], "the table begins empty");
    create(table, &bare_row()).await;
    assert_eq!(only_row(table).await, bare_row());
    let other = LeaseRow { owner: Some(WorkerId::new("w")), counter: LeaseCounter(1), ..bare_row() };
    assert_eq!(table.create(&other).await.expect("a create"), CreateOutcome::Exists);
    assert_eq!(only_row(table).await, bare_row(), "a row that stands there is left alone");
}

pub(super) async fn every_attribute_survives_the_table(place: &Place) {
    create(place.table(), &full_row()).await;
    for table in &place.tables {
        assert_eq!(only_row(&**table).await, full_row(), "every handle sees the same row");
    }
    let ranges = [HashRange::ALL, HashRange { start: u128::MAX - 1, end: u128::MAX }, HashRange { start: 0, end: 1 }];
    for (index, hash_range) in ranges.into_iter().enumerate() {
        let key = LeaseKey::new(&format!("range-{index}"));
        let row = LeaseRow { key, hash_range: Some(hash_range), ..bare_row() };
        create(place.table(), &row).await;
        let scan = place.table().scan().await.expect("a scan");
        assert!(scan.rows.contains(&row), "{hash_range:?} comes back: {:?}", scan.rows);
    }
}

/// The sentinels, and sequence numbers of every length that matters, each plain and inside an aggregate.
fn positions() -> Vec<Position> {
    let longest = "9".repeat(MAX_SEQUENCE_DIGITS);
    let records = ["0", "7", SEQUENCE, &longest].into_iter().flat_map(|digits| {
        [0, 1, u64::from(u32::MAX)].map(|subsequence| {
            let sequence = SequenceNumber::parse(digits).expect("a sequence number");
            Position::After(RecordPosition { sequence, subsequence })
        })
    });
    let sentinels = [Position::AtTimestamp, Position::TrimHorizon, Position::Latest, Position::ShardEnd];
    sentinels.into_iter().chain(records).collect()
}

pub(super) async fn every_position_survives_the_table(place: &Place) {
    let table = place.table();
    create(table, &bare_row()).await;
    let mut row = bare_row();
    for position in positions() {
        let chain = position.record().map_or(Field::Remove, |record| Field::Set(record.clone()));
        let change = Change { checkpoint: Some(position.clone()), chain, ..Change::counter(row.counter.next()) };
        let expect = Expect { checkpoint: Some(row.checkpoint.clone()), ..Expect::counter(row.counter) };
        let write = LeaseWrite { key: key(), expect, change };
        row = write.change.apply(&row);
        assert!(table.write(&write).await.expect("a write") == applied(&row), "{position}");
        assert_eq!((&row.checkpoint, row.chain.as_ref()), (&position, position.record()));
        assert_eq!(only_row(table).await, row);
    }
    for (index, position) in positions().into_iter().enumerate() {
        let row = LeaseRow { key: LeaseKey::new(&format!("created-{index:02}")), checkpoint: position, ..bare_row() };
        create(table, &row).await;
        assert!(table.scan().await.expect("a scan").rows.contains(&row), "{}", row.checkpoint);
    }
}

pub(super) async fn an_intent_survives_byte_for_byte(place: &Place) {
    let table = place.table();
    create(table, &bare_row()).await;
    let largest: Vec<u8> = (0..MAX_ENCODED_INTENT).map(|index| (index % 251) as u8).collect();
    let mut row = bare_row();
    for intent in [vec![0], (0..=u8::MAX).collect(), largest] {
        let size = intent.len();
        let change = Change { intent: Field::Set(Bytes::from(intent)), ..Change::counter(row.counter.next()) };
        let expect = Expect { intent: Some(row.intent.clone()), ..Expect::counter(row.counter) };
        let write = LeaseWrite { key: key(), expect, change };
        row = write.change.apply(&row);
        assert!(table.write(&write).await.expect("a write") == applied(&row), "{size} bytes");
        assert!(only_row(table).await == row, "an intent of {size} bytes comes back");
    }
    let mut almost = row.intent.as_deref().expect("an intent").to_vec();
    *almost.last_mut().expect("not empty") ^= 1;
    let expect = Expect { intent: Some(Some(Bytes::from(almost))), ..Expect::counter(row.counter) };
    let write = LeaseWrite { key: key(), expect, change: Change::counter(row.counter.next()) };
    let outcome = table.write(&write).await.expect("a write");
    assert!(outcome == WriteOutcome::Conflict(Some(Box::new(row))), "the last byte of a long intent counts");
}

pub(super) async fn a_scan_is_in_the_order_of_the_keys(place: &Place) {
    let keys = ["b", "shardId-000000000010", "B", "shardId-000000000009", "a:1", "Z", "é", "a"];
    for key in keys {
        create(place.table(), &LeaseRow { key: LeaseKey::new(key), ..bare_row() }).await;
    }
    let scan = place.table().scan().await.expect("a scan");
    let found: Vec<&str> = scan.rows.iter().map(|row| row.key.as_str()).collect();
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(found, sorted);
}

pub(super) async fn a_row_that_cannot_be_read_is_named(place: &Place) {
    let table = place.table();
    let sound = LeaseRow { key: LeaseKey::new("a"), ..bare_row() };
    create(table, &bare_row()).await;
    create(table, &sound).await;
    place.stranger.damage(&key()).await;
    let scan = table.scan().await.expect("one row that cannot be read costs no other");
    assert_eq!(scan.rows, std::slice::from_ref(&sound));
    let [UnreadableRow { key: damaged, problem }] = &scan.unreadable[..] else {
        panic!("one row cannot be read: {:?}", scan.unreadable)
    };
    assert_eq!(*damaged, key());
    assert!(problem.contains("checkpoint"), "it names the attribute: {problem}");
    let counter = bare_row().counter;
    let change = Change { checkpoint: Some(Position::Latest), ..Change::counter(counter.next()) };
    let expect = Expect { checkpoint: Some(Position::TrimHorizon), ..Expect::counter(counter) };
    let write = LeaseWrite { key: key(), expect, change };
    let error = table.write(&write).await.expect_err("there is no checkpoint to compare with");
    assert_eq!(error.class, ErrorClass::Rejected, "it was certainly not applied: {error}");
    assert_eq!(table.scan().await.expect("a scan").unreadable, scan.unreadable, "it is left for people to look at");
    assert_eq!(table.create(&bare_row()).await.expect("a create"), CreateOutcome::Exists, "never a fresh start");
}

pub(super) async fn prepare_leaves_what_is_there(place: &Place) {
    create(place.table(), &full_row()).await;
    for table in &place.tables {
        table.prepare().await.expect("it is prepared again");
        assert_eq!(only_row(&**table).await, full_row());
    }
}
