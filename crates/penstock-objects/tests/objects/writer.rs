//! The writer of one shard against a naive encoder, and what it promises about rebuilding.

use std::collections::BTreeMap;

use crate::suite::{ARRIVAL, batch, directory, metadata, position, request, settings, shard, user_records, writer};
use penstock_core::intent::{Compression, Content, Destination, Intent};
use penstock_core::prefix::{PrefixPair, Zone};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ObjectSink, PreparedObject, SetAsideReason, WriterError};
use penstock_objects::{ObjectSinkSettings, StoreSink, decompress};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sink_with(change: impl FnOnce(&mut ObjectSinkSettings)) -> StoreSink {
    let mut settings = settings(directory(std::path::Path::new("/nowhere")));
    change(&mut settings);
    StoreSink::new(settings, None).unwrap()
}

fn sink() -> StoreSink {
    sink_with(|_| {})
}

fn text(object: &PreparedObject) -> String {
    String::from_utf8(object.body.concat()).unwrap()
}

fn too_large() -> SetAsideReason {
    SetAsideReason::TooLarge { bytes: 9, limit: 8 }
}

#[test]
fn a_batch_becomes_one_object_that_says_what_it_is() {
    let batch = batch(&sink(), 101, &[b"a", b"b"], Some(100));
    assert_eq!((batch.delivered, batch.delivered_bytes, batch.set_aside.as_slice()), (2, 4, [].as_slice()));
    let [object] = batch.objects.as_slice() else { panic!("one object") };
    // The arrival of the first record, 101 seconds past half past ten.
    let name = object.key.strip_prefix("clicks/2026/11/21/10/clicks-to-lake-12-2026-11-21-10-31-41-").unwrap();
    assert_eq!(name.len(), 36, "{name}");
    let sha256 = Sha256::digest(b"a\nb\n");
    assert_eq!(object.sha256, <[u8; 32]>::from(sha256));
    let metadata: BTreeMap<&str, &str> = object.metadata.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let digits: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = BTreeMap::from([
        ("penstock-stream", "clicks"),
        ("penstock-shard", "shardId-000000000012"),
        ("penstock-after", "100"),
        ("penstock-last", "102"),
        ("penstock-part", "1/1"),
        ("penstock-first", "101"),
        ("penstock-records", "2"),
        ("penstock-sha256", digits.as_str()),
        ("penstock-version", env!("CARGO_PKG_VERSION")),
    ]);
    assert_eq!(metadata, expected);

    let [recorded] = batch.intent.objects.as_slice() else { panic!("one object") };
    assert_eq!((&recorded.key, recorded.sha256), (&object.key, object.sha256));
    assert_eq!((&recorded.first, &recorded.last, recorded.records), (&position(101), &position(102), 2));
    assert_eq!(batch.intent.encoding, sink().encoding());
    assert_eq!(batch.intent.destination, sink().destination());
}

#[test]
fn the_first_batch_of_a_shard_says_where_it_began() {
    let object = batch(&sink(), 1, &[b"a"], None).objects.remove(0);
    assert_eq!(metadata(&object, "penstock-after"), Some("TRIM_HORIZON"));
}

#[test]
fn records_set_aside_become_one_object_per_type_with_the_time_of_the_intent() {
    let sink = sink();
    let mut writer = writer(&sink);
    let records = user_records(1, &[b"one", b"two", b"three", b"four"]);
    writer.set_aside(&records.get(0), &SetAsideReason::OutsideHashRange);
    writer.append(&records, 1..2);
    writer.set_aside(&records.get(2), &too_large());
    writer.set_aside(&records.get(3), &too_large());
    assert_eq!(writer.records(), 4);
    let batch = writer.seal(&request(1, 4, None)).unwrap();
    assert_eq!(writer.records(), 0);
    assert_eq!(batch.delivered, 1);
    assert_eq!(batch.set_aside, [(SetAsideReason::OutsideHashRange, 1), (too_large(), 2)]);

    let [delivered, outside, large] = batch.objects.as_slice() else { panic!("three objects") };
    assert_eq!(text(delivered), "two\n");
    // All are named by the arrival of the batch's first record.
    assert!(delivered.key.contains("/clicks-to-lake-12-2026-11-21-10-30-01-"), "{}", delivered.key);
    assert!(outside.key.starts_with("errors/processing-failed/clicks-to-lake-12-2026-11-21-10-30-01-"));
    assert!(large.key.starts_with("errors/delivery-failed/clicks-to-lake-12-2026-11-21-10-30-01-"));
    let parts: Vec<_> = batch.objects.iter().map(|object| metadata(object, "penstock-part").unwrap()).collect();
    assert_eq!(parts, ["1/3", "2/3", "3/3"]);
    let contents: Vec<Content> = batch.intent.objects.iter().map(|object| object.content).collect();
    assert_eq!(contents, [Content::Records, Content::SetAside, Content::SetAside]);
    assert_eq!((&batch.intent.objects[2].first, &batch.intent.objects[2].last), (&position(3), &position(4)));

    let lines: Vec<Value> = text(large).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["attemptEndingTimestamp"], batch.intent.time.0);
    assert_eq!(lines[0]["arrivalTimestamp"], ARRIVAL + 3_000);
    assert_eq!((&lines[0]["sequence"], &lines[0]["rawData"]), (&Value::from("3"), &Value::from("dGhyZWU=")));
}

#[test]
fn a_batch_whose_records_were_all_dropped_has_no_objects() {
    let sink = sink();
    let mut writer = writer(&sink);
    let batch = writer.seal(&request(1, 9, None)).unwrap();
    assert_eq!((batch.objects.len(), batch.intent.objects.len()), (0, 0));
    writer.append(&user_records(10, &[b"a"]), 0..0);
    assert_eq!((writer.records(), writer.memory()), (0, 0));
}

#[test]
fn a_replay_by_a_worker_with_other_settings_gives_the_recorded_bytes() {
    let gzip = sink_with(|settings| {
        settings.compression = Compression::Gzip;
        settings.compression_level = 9;
        settings.delimiter = b"\r\n".to_vec();
        settings.zone = Zone::named("Asia/Tokyo").unwrap();
    });
    let payloads: [&[u8]; 3] = [b"a", b"b\r\n", b"c"];
    let recorded = batch(&gzip, 1, &payloads, None);
    let other = sink_with(|settings| {
        settings.application = "another".into();
        settings.compression = Compression::Zstd;
        settings.prefixes = PrefixPair::parse("elsewhere/", "").unwrap();
        settings.destination = Destination::S3 { bucket: "lake".to_owned(), region: "us-east-1".to_owned() };
    });
    let mut writer = other.writer(&shard(), &recorded.intent.encoding).unwrap();
    writer.append(&user_records(1, &payloads), 0..3);
    let rebuilt = writer.rebuild(&recorded.intent).unwrap();
    assert_eq!(rebuilt.len(), 1);
    assert_eq!(rebuilt[0].body, recorded.objects[0].body);
    assert_eq!(rebuilt[0].metadata, recorded.objects[0].metadata);
    assert_eq!((&rebuilt[0].key, rebuilt[0].sha256), (&recorded.objects[0].key, recorded.objects[0].sha256));
}

/// What the rebuilding of `intent` from these records says.
fn refusal(sink: &StoreSink, intent: &Intent, first: u64, payloads: &[&[u8]]) -> String {
    let mut writer = sink.writer(&shard(), &intent.encoding).unwrap();
    writer.append(&user_records(first, payloads), 0..payloads.len());
    let error = writer.rebuild(intent).unwrap_err();
    assert!(matches!(error, WriterError::CannotRebuild { .. }));
    assert_eq!(writer.records(), 0, "the writer is empty afterwards");
    error.to_string()
}

#[test]
fn what_differs_from_the_intent_is_never_put() {
    let sink = sink();
    let intent = batch(&sink, 1, &[b"a", b"b"], None).intent;
    for (first, payloads, problem) in [
        (1, vec![&b"a"[..], b"B"], "SHA-256"),
        (1, vec![b"a", b"b", b"c"], "1 to 3, recorded are 1 to 2"),
        (2, vec![b"b"], "2 to 2, recorded are 1 to 2"),
        (1, vec![], "0 objects, it recorded 1"),
    ] {
        let message = refusal(&sink, &intent, first, &payloads);
        assert!(message.contains(problem), "{message}");
    }
    let mut elsewhere = intent.clone();
    elsewhere.lease = "shardId-000000000001".into();
    assert!(refusal(&sink, &elsewhere, 1, &[b"a", b"b"]).contains("shardId-000000000001"));

    let mut writer = writer(&sink);
    let records = user_records(1, &[b"a", b"b"]);
    writer.append(&records, 0..1);
    writer.set_aside(&records.get(1), &too_large());
    let message = writer.rebuild(&intent).unwrap_err().to_string();
    assert!(message.contains("2 objects"), "{message}");

    let mut encoding = intent.encoding.clone();
    encoding.delimiter = b";".to_vec();
    let mut writer = sink.writer(&shard(), &encoding).unwrap();
    writer.append(&user_records(1, &[b"a", b"b"]), 0..2);
    assert!(writer.rebuild(&intent).unwrap_err().to_string().contains("encoded with"));
}

#[test]
fn an_encoding_that_this_version_does_not_know_is_refused() {
    let sink = sink();
    let mut encoding = sink.encoding();
    (encoding.compression, encoding.level) = (Compression::Gzip, 99);
    let Err(error) = sink.writer(&shard(), &encoding) else { panic!("level 99") };
    assert!(error.to_string().contains("compression level 99"), "{error}");
}

#[test]
fn a_trimmed_batch_is_rebuilt_as_far_as_it_goes_and_marked() {
    let sink = sink();
    let fill = |from: usize| {
        let mut writer = writer(&sink);
        let records = user_records(1, &[b"1", b"2", b"3", b"4", b"5", b"6"]);
        for index in from..6 {
            match index {
                0 | 3 => writer.append(&records, index..index + 1),
                1 | 4 => writer.set_aside(&records.get(index), &SetAsideReason::OutsideHashRange),
                _ => writer.set_aside(&records.get(index), &too_large()),
            };
        }
        writer
    };
    let whole = fill(0).seal(&request(1, 6, None)).unwrap();
    for from in 0..6 {
        let objects = fill(from).rebuild_partial(&whole.intent).unwrap();
        let found: Vec<_> = objects
            .iter()
            .map(|object| {
                let index = whole.objects.iter().position(|whole| whole.key == object.key).unwrap();
                let part = metadata(object, "penstock-part").unwrap().to_owned();
                assert_eq!(part, format!("{}/3", index + 1));
                (index, metadata(object, "penstock-partial"))
            })
            .collect();
        let expected: &[(usize, Option<&str>)] = match from {
            0 => &[(0, None), (1, None), (2, None)],
            1 => &[(0, Some("1/2")), (1, None), (2, None)],
            2 => &[(0, Some("1/2")), (1, Some("1/2")), (2, None)],
            3 => &[(0, Some("1/2")), (1, Some("1/2")), (2, Some("1/2"))],
            4 => &[(1, Some("1/2")), (2, Some("1/2"))],
            _ => &[(2, Some("1/2"))],
        };
        assert_eq!(found, expected, "from {from}");
    }
    // More than was recorded, or something else, is not a part of it.
    let mut foreign = writer(&sink);
    foreign.append(&user_records(7, &[b"7"]), 0..1);
    assert!(foreign.rebuild_partial(&whole.intent).is_err());
    let mut changed = writer(&sink);
    changed.append(&user_records(1, &[b"1", b"2", b"3", b"4"]), 0..4);
    assert!(changed.rebuild_partial(&whole.intent).is_err());
}

#[test]
fn a_key_that_breaks_the_rules_keeps_the_batch() {
    let sink = sink();
    let mut writer = writer(&sink);
    let mut chunk = penstock_core::chunk::ChunkBuilder::default();
    chunk.push(&position(1).sequence, "k", b"a", UnixMillis(i64::MAX));
    writer.append(&penstock_core::chunk::UserRecords::plain(chunk.build()), 0..1);
    let error = writer.seal(&request(1, 1, None)).unwrap_err();
    assert!(matches!(error, WriterError::Key { .. }), "{error}");
    assert_eq!(writer.records(), 1);
}

#[test]
fn hidden_names_and_relative_directories_are_refused_at_the_start() {
    for (change, problem) in [
        (
            (|settings| settings.prefixes = PrefixPair::parse("!{timestamp:yyyy}/.x-", "e/").unwrap())
                as fn(&mut ObjectSinkSettings),
            "hidden",
        ),
        (|settings| settings.destination = Destination::Directory { path: "out".to_owned() }, "not absolute"),
        (|settings| settings.compression_level = 3, "without compression"),
        (|settings| settings.file_extension = "gz".to_owned(), "must start with a dot"),
    ] {
        let mut settings = settings(directory(std::path::Path::new("/nowhere")));
        change(&mut settings);
        let Err(error) = StoreSink::new(settings, None) else { panic!("{problem}") };
        assert!(error.to_string().contains(problem), "{error}");
    }
}

// === Properties ===

#[derive(Debug, Clone)]
struct Step {
    payload: Vec<u8>,
    /// `None`: delivered.
    reason: Option<SetAsideReason>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        Just(b"line\n".to_vec()),
        Just(b"line\r\n".to_vec()),
        (0..3_u8, 0..400_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let reason = prop_oneof![
        8 => Just(None),
        1 => Just(Some(SetAsideReason::OutsideHashRange)),
        1 => Just(Some(SetAsideReason::TooLarge { bytes: 2, limit: 1 })),
    ];
    proptest::collection::vec((payload, reason).prop_map(|(payload, reason)| Step { payload, reason }), 1..12)
}

fn encodings() -> impl Strategy<Value = (Compression, i32, Vec<u8>)> {
    let compression =
        prop_oneof![Just((Compression::None, 0)), Just((Compression::Gzip, 0)), Just((Compression::Zstd, 0))];
    let delimiter = prop_oneof![Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(Vec::new()), Just(b"||".to_vec())];
    (compression, delimiter).prop_map(|((compression, level), delimiter)| (compression, level, delimiter))
}

/// Fills a writer, with runs of delivered records handed over in slices that end at `cuts`.
fn fill(sink: &StoreSink, steps: &[Step], cuts: &[usize]) -> Box<dyn penstock_engine::ports::ObjectWriter> {
    let payloads: Vec<&[u8]> = steps.iter().map(|step| step.payload.as_slice()).collect();
    let records = user_records(1, &payloads);
    let mut writer = writer(sink);
    let mut start = 0;
    for (index, step) in steps.iter().enumerate() {
        if let Some(reason) = &step.reason {
            writer.append(&records, start..index);
            writer.set_aside(&records.get(index), reason);
            start = index + 1;
        } else if cuts.contains(&index) {
            writer.append(&records, start..index);
            start = index;
        }
    }
    writer.append(&records, start..steps.len());
    writer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn objects_are_those_of_a_naive_encoder_however_records_were_handed_over(
        steps in steps(),
        (compression, level, delimiter) in encodings(),
        cuts in proptest::collection::vec(0..12_usize, 0..6),
    ) {
        let sink = sink_with(|settings| {
            settings.compression = compression;
            settings.compression_level = level;
            settings.delimiter = delimiter.clone();
        });
        let last = steps.len() as u64;
        let sealed = fill(&sink, &steps, &cuts).seal(&request(1, last, None)).unwrap();

        let mut content = Vec::new();
        for step in steps.iter().filter(|step| step.reason.is_none()) {
            content.extend_from_slice(&step.payload);
            if !step.payload.ends_with(&delimiter) {
                content.extend_from_slice(&delimiter);
            }
        }
        let delivered = steps.iter().filter(|step| step.reason.is_none()).count();
        prop_assert_eq!(sealed.delivered, delivered as u64);
        prop_assert_eq!(sealed.delivered_bytes, content.len() as u64);
        if delivered > 0 {
            let object = &sealed.objects[0];
            prop_assert_eq!(object.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
            prop_assert!(decompress(compression, &object.body.concat()).unwrap() == content);
        }
        let aside: u64 = sealed.set_aside.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(sealed.delivered + aside, last);
        prop_assert_eq!(sealed.intent.records(), last);

        // Rebuilt from other slices: the same keys, bytes and metadata.
        let rebuilt = fill(&sink, &steps, &[]).rebuild(&sealed.intent).unwrap();
        prop_assert_eq!(rebuilt.len(), sealed.objects.len());
        for (rebuilt, sealed) in rebuilt.iter().zip(&sealed.objects) {
            prop_assert!(rebuilt.body == sealed.body);
            prop_assert_eq!((&rebuilt.key, &rebuilt.metadata), (&sealed.key, &sealed.metadata));
        }
        // Any shorter beginning is refused.
        for len in 1..steps.len() {
            prop_assert!(fill(&sink, &steps[..len], &[]).rebuild(&sealed.intent).is_err());
        }
    }
}
