//! Tests of the codec: round trips, pinned bytes, and every kind of damage.

use proptest::prelude::*;

use super::super::{Compression, Content, Destination, Encoding, IntentId, IntentObject, OutsideHashRange};
use super::*;
use crate::ids::{ApplicationName, HashRange, LeaseKey, StreamName};
use crate::position::{Position, RecordPosition, SequenceNumber};
use crate::time::UnixMillis;

fn at(text: &str) -> RecordPosition {
    RecordPosition::parse(text).unwrap()
}

fn sample() -> Intent {
    Intent {
        id: IntentId(std::array::from_fn(|index| index as u8)),
        application: ApplicationName::new("app"),
        stream: StreamName::new("clicks"),
        lease: LeaseKey::new("shardId-000000000012"),
        from: Position::After(at("49590338271490256608559692538361571095921575989136588898/3")),
        first: at("49590338271490256608559692538361571095921575989136588898/4"),
        last: at("49590338271490256608559692538361571095921575989136588900"),
        chain: Some(at("123")),
        time: UnixMillis(1_700_000_000_123),
        destination: Destination::S3 { bucket: "lake".into(), region: "eu-west-1".into() },
        encoding: Encoding {
            delimiter: b"\n".to_vec(),
            deaggregate: true,
            outside_hash_range: OutsideHashRange::SetAside,
            hash_range: Some(HashRange { start: 1, end: u128::MAX }),
            compression: Compression::Gzip,
            level: -1,
            time_zone: "UTC".into(),
        },
        objects: vec![IntentObject {
            content: Content::Records,
            key: "k/1".into(),
            partition: [("customer".to_owned(), "7".to_owned())].into(),
            first: at("5"),
            last: at("1234"),
            records: 300,
            sha256: [0xab; 32],
        }],
    }
}

/// Version 1 as it was first written. A change here makes intents unreadable that stand in tables.
const GOLDEN: &str = "5053696e 01 0000010c
    000102030405060708090a0b0c0d0e0f 03617070 06636c69636b73 1473686172644964 2d303030303030303030303132
    03 3849590338271490256608559692538361571095921575989136588898 03
    3849590338271490256608559692538361571095921575989136588898 04
    3849590338271490256608559692538361571095921575989136588900 00
    01 03123f 00 f6a1abfef962
    00 046c616b65 0965752d776573742d31
    010a 01 01 01 00000000000000000000000000000001 ffffffffffffffffffffffffffffffff 01 01 03555443
    01 00 036b2f31 01 08637573746f6d6572 0137 015f 00 041234 00 ac02
    abababababababababababababababababababababababababababababababab
    9951cff7b39fe6a1";

#[test]
fn the_bytes_of_version_1_are_pinned() {
    let encoded = encode(&sample()).unwrap();
    assert_eq!(hex(&encoded), GOLDEN.split_whitespace().collect::<String>());
    assert_eq!(decode(&encoded), Ok(sample()));
}

fn sequence() -> impl Strategy<Value = SequenceNumber> {
    prop_oneof![Just("0".to_owned()), "[1-9][0-9]{0,128}"].prop_map(|text| SequenceNumber::parse(&text).unwrap())
}

fn record() -> impl Strategy<Value = RecordPosition> {
    let subsequence = prop_oneof![Just(0), any::<u64>()];
    (sequence(), subsequence).prop_map(|(sequence, subsequence)| RecordPosition { sequence, subsequence })
}

fn position() -> impl Strategy<Value = Position> {
    prop_oneof![
        Just(Position::AtTimestamp),
        Just(Position::TrimHorizon),
        Just(Position::Latest),
        Just(Position::ShardEnd),
        record().prop_map(Position::After),
    ]
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        (".{0,9}", ".{0,9}").prop_map(|(bucket, region)| Destination::S3 { bucket, region }),
        ".{0,20}".prop_map(|path| Destination::Directory { path }),
    ]
}

fn encoding() -> impl Strategy<Value = Encoding> {
    let rule =
        prop::sample::select(vec![OutsideHashRange::Deliver, OutsideHashRange::SetAside, OutsideHashRange::Drop]);
    let range = prop::option::of(any::<(u128, u128)>().prop_map(|(start, end)| HashRange { start, end }));
    let compression = prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Zstd]);
    (any::<Vec<u8>>(), any::<bool>(), rule, range, compression, any::<i32>(), ".{0,9}").prop_map(
        |(delimiter, deaggregate, outside_hash_range, hash_range, compression, level, time_zone)| Encoding {
            delimiter,
            deaggregate,
            outside_hash_range,
            hash_range,
            compression,
            level,
            time_zone,
        },
    )
}

fn object() -> impl Strategy<Value = IntentObject> {
    let content = prop::sample::select(vec![Content::Records, Content::SetAside]);
    let partition = prop::collection::btree_map(".{0,4}", ".{0,4}", 0..4);
    (content, ".{0,30}", partition, record(), record(), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(content, key, partition, first, last, records, sha256)| IntentObject {
            content,
            key,
            partition,
            first,
            last,
            records,
            sha256,
        },
    )
}

fn intent() -> impl Strategy<Value = Intent> {
    let names = (".{0,9}", ".{0,9}", ".{0,30}");
    let range = (position(), record(), record(), prop::option::of(record()), any::<i64>());
    let rest = (destination(), encoding(), prop::collection::vec(object(), 0..5));
    (any::<[u8; 16]>(), names, range, rest).prop_map(
        |(id, (application, stream, lease), (from, first, last, chain, time), (destination, encoding, objects))| {
            Intent {
                id: IntentId(id),
                application: ApplicationName::new(&application),
                stream: StreamName::new(&stream),
                lease: LeaseKey::new(&lease),
                from,
                first,
                last,
                chain,
                time: UnixMillis(time),
                destination,
                encoding,
                objects,
            }
        },
    )
}

/// Gives damaged content a check that fits, so that what lies behind the check is reached.
fn resealed(content: &[u8]) -> Vec<u8> {
    let mut encoded = content.to_vec();
    if encoded.len() >= HEADER {
        let length = u32::try_from(encoded.len() - HEADER).unwrap();
        encoded[MAGIC.len() + 1..HEADER].copy_from_slice(&length.to_be_bytes());
    }
    let check = check_of(&encoded);
    encoded.extend_from_slice(&check);
    encoded
}

proptest! {
    #[test]
    fn an_intent_comes_back_as_it_was(intent in intent()) {
        let encoded = encode(&intent).unwrap();
        prop_assert_eq!(decode(&encoded), Ok(intent));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        let _ = decode(&bytes);
        let mut marked = MAGIC.to_vec();
        marked.push(VERSION);
        marked.extend_from_slice(&bytes);
        let _ = decode(&marked);
        let _ = decode(&resealed(&marked));
    }

    #[test]
    fn what_is_read_has_one_encoding(intent in intent(), position in any::<prop::sample::Index>(), byte: u8) {
        let encoded = encode(&intent).unwrap();
        let mut content = encoded[..encoded.len() - CHECK].to_vec();
        let position = HEADER + position.index(content.len() - HEADER);
        content[position] = byte;
        let changed = resealed(&content);
        if let Ok(read) = decode(&changed) {
            prop_assert_eq!(&encode(&read).unwrap()[..], &changed[..]);
        }
    }

    #[test]
    fn a_changed_byte_is_always_noticed(intent in intent(), position in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut encoded = encode(&intent).unwrap().to_vec();
        *position.get_mut(&mut encoded[..]) ^= flip;
        prop_assert!(decode(&encoded).is_err());
    }
}

#[test]
fn every_truncation_is_named_as_one() {
    let encoded = encode(&sample()).unwrap();
    for length in 0..encoded.len() {
        let expected = if length < HEADER { HEADER + CHECK } else { encoded.len() };
        assert_eq!(decode(&encoded[..length]), Err(UnreadableIntent::Truncated { found: length, expected }));
    }
}

#[test]
fn each_damage_is_named() {
    let encoded = encode(&sample()).unwrap().to_vec();
    let changed = |index: usize, byte: u8| {
        let mut changed = encoded.clone();
        changed[index] = byte;
        decode(&changed).unwrap_err().to_string()
    };
    assert_eq!(changed(0, b'X'), "it begins with [58, 53, 69, 6e] and not with the mark of an intent");
    assert_eq!(
        changed(4, 2),
        "it has version 2, this penstock reads version 1: let the version that wrote it settle it"
    );
    assert!(changed(20, 0xff).starts_with("its check is "), "{}", changed(20, 0xff));
    let longer = [&encoded[..], b"xy"].concat();
    assert_eq!(decode(&longer).unwrap_err().to_string(), "2 bytes follow upon its end");
    assert_eq!(decode(b"").unwrap_err().to_string(), "it is cut off: 0 bytes of 17");
}

#[test]
fn what_breaks_the_rules_behind_a_right_check_is_named_with_its_field() {
    let encoded = encode(&sample()).unwrap();
    let content = &encoded[..encoded.len() - CHECK];
    let problem = |content: &[u8]| decode(&resealed(content)).unwrap_err().to_string();
    assert_eq!(problem(&content[..HEADER + 3]), "its field id cannot be read: it needs 16 bytes, 3 are left");
    assert_eq!(problem(&[content, b"z"].concat()), "its field object sha256 cannot be read: 1 bytes follow upon it");
    let mut unknown = content.to_vec();
    let from = HEADER + 16 + 4 + 7 + 21;
    assert_eq!(unknown[from], 3, "the kind of `from`");
    unknown[from] = 9;
    assert_eq!(problem(&unknown), "its field from cannot be read: 9 is no kind of position");
    let longer = [&content[..HEADER + 16], &[0x83, 0x00], &content[HEADER + 17..]].concat();
    let refused = "its field application cannot be read: the number is longer than it needs to be";
    assert_eq!(problem(&longer), refused, "there would be two encodings of one intent");
    let mut name = content.to_vec();
    name[HEADER + 17] = 0xff;
    assert_eq!(problem(&name), "its field application cannot be read: it is not UTF-8");
}

#[test]
fn more_than_64_kib_is_refused_with_both_sizes() {
    let mut large = sample();
    let fixed = encode(&large).unwrap().len() - large.objects[0].key.len();
    // The length of a key of this size takes two bytes more than that of a short one.
    large.objects[0].key = "k".repeat(MAX_ENCODED_INTENT - fixed - 2);
    assert_eq!(encode(&large).unwrap().len(), MAX_ENCODED_INTENT);
    large.objects[0].key.push('k');
    let refused = IntentTooLarge { bytes: MAX_ENCODED_INTENT + 1, limit: MAX_ENCODED_INTENT };
    assert_eq!(encode(&large), Err(refused));
}
