//! What the tests of this crate share: records, batches, and the suite that every store of objects has to pass.

use std::sync::Arc;

use penstock_core::chunk::{ChunkBuilder, UserRecords};
use penstock_core::intent::{Compression, Destination, Intent, IntentId, OutsideHashRange};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::prefix::{PrefixPair, Zone};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{
    DeliveryPermit, ErrorClass, ObjectSink, ObjectWriter, PreparedObject, Put, SealRequest, SealedBatch, ShardIdentity,
};
use penstock_objects::readback::{check_chain, records};
use penstock_objects::{ObjectSinkSettings, StoreSink};

/// 2026-11-21T10:30:00Z.
pub(crate) const ARRIVAL: i64 = 1_795_257_000_000;

pub(crate) fn shard() -> ShardIdentity {
    ShardIdentity {
        stream: "clicks".into(),
        lease: "shardId-000000000012".into(),
        shard: "shardId-000000000012".into(),
    }
}

pub(crate) fn settings(destination: Destination) -> ObjectSinkSettings {
    ObjectSinkSettings {
        application: "clicks-to-lake".into(),
        destination,
        prefixes: PrefixPair::parse("clicks/!{timestamp:yyyy/MM/dd/HH}/", "errors/!{firehose:error-output-type}/")
            .unwrap(),
        zone: Zone::utc(),
        file_extension: String::new(),
        delimiter: b"\n".to_vec(),
        deaggregate: true,
        outside_hash_range: OutsideHashRange::Deliver,
        compression: Compression::None,
        compression_level: 0,
    }
}

pub(crate) fn directory(path: &std::path::Path) -> Destination {
    Destination::Directory { path: path.to_str().unwrap().to_owned() }
}

/// Records with the sequence numbers `from`, `from + 1`, …, one second apart.
pub(crate) fn user_records(from: u64, payloads: &[&[u8]]) -> UserRecords {
    let mut chunk = ChunkBuilder::default();
    for (index, payload) in payloads.iter().enumerate() {
        let number = from + index as u64;
        let sequence = SequenceNumber::parse(&number.to_string()).unwrap();
        chunk.push(&sequence, "key", payload, UnixMillis(ARRIVAL + 1_000 * number as i64));
    }
    UserRecords::plain(chunk.build())
}

pub(crate) fn position(number: u64) -> RecordPosition {
    RecordPosition::parse(&number.to_string()).unwrap()
}

pub(crate) fn request(first: u64, last: u64, chain: Option<u64>) -> SealRequest {
    SealRequest {
        id: IntentId([7; 16]),
        from: chain.map_or(Position::TrimHorizon, |chain| Position::After(position(chain))),
        first: position(first),
        last: position(last),
        chain: chain.map(position),
        time: UnixMillis(ARRIVAL + 600_000),
    }
}

pub(crate) fn writer(sink: &StoreSink) -> Box<dyn ObjectWriter> {
    sink.writer(&shard(), &sink.encoding()).unwrap()
}

/// A batch of all these records, numbered from `first`.
pub(crate) fn batch(sink: &StoreSink, first: u64, payloads: &[&[u8]], chain: Option<u64>) -> SealedBatch {
    let mut writer = writer(sink);
    writer.append(&user_records(first, payloads), 0..payloads.len());
    writer.seal(&request(first, first + payloads.len() as u64 - 1, chain)).unwrap()
}

pub(crate) fn metadata<'a>(object: &'a PreparedObject, name: &str) -> Option<&'a str> {
    object.metadata.iter().find(|(there, _)| *there == name).map(|(_, value)| value.as_str())
}

/// The objects of an intent, built again from the records `from` to its last by a sink with other settings.
pub(crate) fn rebuilt_partially(
    sink: &StoreSink,
    intent: &Intent,
    from: u64,
    payloads: &[&[u8]],
) -> Vec<PreparedObject> {
    let mut writer = sink.writer(&shard(), &intent.encoding).unwrap();
    writer.append(&user_records(from, payloads), 0..payloads.len());
    writer.rebuild_partial(intent).unwrap()
}

// === The suite ===

/// All that a store of objects promises. `make` gives a sink with these settings over one empty store.
pub(crate) async fn conforms(make: impl Fn(Box<dyn FnOnce(&mut ObjectSinkSettings)>) -> Arc<StoreSink>) {
    let sink = make(Box::new(|_| {}));
    let destination = sink.destination();
    assert!(sink.probe(&destination).await.unwrap());
    assert_eq!(sink.readback().unwrap().list().await.unwrap(), [], "a probe leaves nothing");
    puts_once(&sink).await;
    refuses_another_object(&sink).await;
    puts_a_part_only_where_nothing_is(&sink).await;
    races_have_one_winner(&sink).await;
    reads_back_each_compression(&make).await;
}

async fn puts_once(sink: &StoreSink) {
    let destination = sink.destination();
    let first = batch(sink, 1, &[b"a", b"b\n"], None);
    let [object] = first.objects.as_slice() else { panic!("one object") };
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, object).await.unwrap(), Put::Written);
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, object).await.unwrap(), Put::AlreadyThere);
    // As another worker rebuilds it.
    let mut other = sink.writer(&shard(), &first.intent.encoding).unwrap();
    other.append(&user_records(1, &[b"a", b"b\n"]), 0..2);
    let again = other.rebuild(&first.intent).unwrap();
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &again[0]).await.unwrap(), Put::AlreadyThere);

    let second = batch(sink, 3, &[b"c"], Some(2));
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &second.objects[0]).await.unwrap(), Put::Written);
    let readback = sink.readback().unwrap();
    let there = readback.list().await.unwrap();
    assert_eq!(there.len(), 2);
    let found = there.iter().find(|there| there.key == object.key).unwrap();
    let expected = object.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert_eq!((found.stored_bytes, &found.metadata), (4, &expected));
    assert_eq!(records(&readback.content(found).await.unwrap(), b"\n"), [b"a", b"b"]);
    assert_eq!(check_chain(&there), []);
}

async fn refuses_another_object(sink: &StoreSink) {
    let destination = sink.destination();
    let ours = batch(sink, 11, &[b"ours"], Some(10)).objects.remove(0);
    let theirs = batch(sink, 11, &[b"theirs"], Some(10)).objects.remove(0);
    assert_eq!(ours.key, theirs.key, "the same batch has the same key");
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &theirs).await.unwrap(), Put::Written);
    for _ in 0..2 {
        let error = sink.put(DeliveryPermit::unproven(), &destination, &ours).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Rejected);
        for object in [&ours, &theirs] {
            assert!(error.message.contains(metadata(object, "penstock-sha256").unwrap()), "{error}");
        }
        assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &theirs).await.unwrap(), Put::AlreadyThere);
    }
    let readback = sink.readback().unwrap();
    let there = readback.list().await.unwrap();
    let found = there.iter().find(|there| there.key == ours.key).unwrap();
    assert_eq!(readback.content(found).await.unwrap(), b"theirs\n");
}

async fn puts_a_part_only_where_nothing_is(sink: &StoreSink) {
    let destination = sink.destination();
    let payloads: [&[u8]; 3] = [b"x", b"y", b"z"];
    let whole = batch(sink, 21, &payloads, Some(20));
    let part = rebuilt_partially(sink, &whole.intent, 22, &payloads[1..]).remove(0);
    assert_eq!(metadata(&part, "penstock-partial"), Some("2/3"));
    assert_eq!(sink.digest_of(&destination, &part.key).await.unwrap(), None);
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &whole.objects[0]).await.unwrap(), Put::Written);
    assert_eq!(
        sink.put(DeliveryPermit::unproven(), &destination, &part).await.unwrap_err().class,
        ErrorClass::Rejected,
        "the whole is there"
    );
    assert_eq!(sink.digest_of(&destination, &part.key).await.unwrap(), Some(whole.objects[0].sha256));

    let whole = batch(sink, 31, &payloads, Some(30));
    let part = rebuilt_partially(sink, &whole.intent, 32, &payloads[1..]).remove(0);
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &part).await.unwrap(), Put::Written);
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &part).await.unwrap(), Put::AlreadyThere);
    assert_eq!(sink.digest_of(&destination, &part.key).await.unwrap(), Some(part.sha256));
    let error = sink.put(DeliveryPermit::unproven(), &destination, &whole.objects[0]).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected, "a late write of the whole does not hide the part");
    let there = sink.readback().unwrap().list().await.unwrap();
    let found = there.iter().find(|there| there.key == part.key).unwrap();
    assert_eq!(found.metadata["penstock-partial"], "2/3");
    assert_eq!(found.metadata["penstock-first"], "32");
}

async fn races_have_one_winner(sink: &StoreSink) {
    let destination = sink.destination();
    let object = batch(sink, 41, &[&[b'r'; 100_000]], Some(40)).objects.remove(0);
    let puts = (0..8).map(|_| sink.put(DeliveryPermit::unproven(), &destination, &object));
    let outcomes: Vec<Put> = futures::future::join_all(puts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Put::Written).count(), 1, "{outcomes:?}");
}

async fn reads_back_each_compression(make: &impl Fn(Box<dyn FnOnce(&mut ObjectSinkSettings)>) -> Arc<StoreSink>) {
    let line = b"{\"customer\":42,\"page\":\"/catalogue\"}".repeat(40_000);
    for (compression, extension) in [(Compression::None, ""), (Compression::Gzip, ".gz"), (Compression::Zstd, ".zst")] {
        let sink = make(Box::new(move |settings| settings.compression = compression));
        let first = 50 + compression as u64 * 10;
        let object = batch(&sink, first, &[&line, b"end"], Some(first - 1)).objects.remove(0);
        assert!(object.key.ends_with(extension), "{}", object.key);
        assert_eq!(sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap(), Put::Written);
        assert_eq!(
            sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap(),
            Put::AlreadyThere
        );
        let readback = sink.readback().unwrap();
        let there = readback.list().await.unwrap();
        let found = there.iter().find(|there| there.key == object.key).unwrap();
        assert_eq!(found.stored_bytes, object.len());
        assert_eq!(records(&readback.content(found).await.unwrap(), b"\n"), [line.as_slice(), b"end"]);
    }
}
