//! Rows of several streams in one table, and the throughput that balances them.

use penstock_core::ids::{LeaseKey, ShardId, StreamId, StreamName};
use penstock_core::lease::{Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWrite};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::throughput::Throughput;
use penstock_core::time::UnixMillis;

use super::rows::{bare_row, full_row, key};
use super::{Place, applied, create, only_row};

pub(super) async fn shards_of_several_streams_live_side_by_side(place: &Place) {
    let table = place.table();
    let shard = full_row().key.shard_id();
    let stream = |name: &str, created| StreamId::of("123456789012", &StreamName::new(name), UnixMillis(created));
    // The same shard of two streams, of one that was created again, and of none.
    let streams = [
        Some(stream("clicks", 1_600_000_000_000)),
        Some(stream("clicks", 1_700_000_000_000)),
        Some(stream("Az0_-.9", 1_600_000_000_000)),
        None,
    ];
    let mut rows: Vec<LeaseRow> =
        streams.iter().map(|stream| LeaseRow { key: LeaseKey::of(stream.as_ref(), &shard), ..full_row() }).collect();
    for row in &rows {
        create(table, row).await;
        assert_eq!(table.create(row).await.expect("a create"), CreateOutcome::Exists);
    }
    // A checkpoint of one, with its children by their bare ids, moves no other.
    let position = RecordPosition::parse("77/8").expect("a position");
    let change = Change {
        checkpoint: Some(Position::After(position)),
        children: Some([ShardId::new("shardId-000000000010")].into()),
        ..Change::counter(rows[1].counter.next())
    };
    let write = LeaseWrite { key: rows[1].key.clone(), expect: Expect::counter(rows[1].counter), change };
    rows[1] = write.change.apply(&rows[1]);
    assert_eq!(table.write(&write).await.expect("a write"), applied(&rows[1]));
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(table.scan().await.expect("a scan").rows, rows);
}

pub(super) async fn a_throughput_keeps_its_decimals(place: &Place) {
    let table = place.table();
    create(table, &bare_row()).await;
    let mut row = bare_row();
    for micros in [0, 1, 999_999, 1_000_000, 1_500_000, 12_345_678, 2_000_000_000_000, 4_294_967_295_000_001] {
        let throughput = Throughput::from_micros(micros);
        let change = Change { throughput: Field::Set(throughput), ..Change::counter(row.counter.next()) };
        let write = LeaseWrite { key: key(), expect: Expect::counter(row.counter), change };
        row = write.change.apply(&row);
        assert_eq!(table.write(&write).await.expect("a write"), applied(&row), "{throughput}");
        let other =
            LeaseRow { key: LeaseKey::new(&format!("created-{micros:020}")), throughput: row.throughput, ..bare_row() };
        create(table, &other).await;
        assert!(table.scan().await.expect("a scan").rows.contains(&other), "{throughput} comes back");
    }
}

pub(super) async fn a_throughput_that_is_none_costs_nothing(place: &Place) {
    let table = place.table();
    create(table, &full_row()).await;
    place.stranger.damage_throughput(&key()).await;
    let found = only_row(table).await;
    assert_eq!(found, LeaseRow { throughput: None, unknown: found.unknown, ..full_row() });
    assert!(found.unknown.is_some(), "it shows in the digest");
    let change = Change { throughput: Field::Set(Throughput::from_micros(5)), ..Change::counter(found.counter.next()) };
    let write = LeaseWrite { key: key(), expect: Expect::counter(found.counter), change };
    let mended = LeaseRow { unknown: None, ..write.change.apply(&found) };
    assert_eq!(table.write(&write).await.expect("a write"), applied(&mended), "the next one takes its place");
}
