//! Tests of taking aggregates apart: bytes from an independent encoder, each kind of damage, the rules for hash keys, and that
//! no bytes make it panic or lose a position.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chunk::ChunkBuilder;
use crate::position::SequenceNumber;
use crate::time::UnixMillis;

/// Made by the aggregator of aws-kinesis-agg 1.2.3 (Python) from the records below.
const GOLDEN: &str = "f3899ac2 0a05616c706861 0a0462657461 0a05c3bc626572
    1227 333430323832333636393230393338343633343633333734363037343331373638323131343535 120130
    1a07 08001a036f6e65 1a04 08011a00 1a0d 080010001a07746872656520ff 1a07 080210011a0134
    099ecdb0a0d1766522b998bdcd3d69bd";

fn golden_entries() -> [AggregateEntry<'static>; 4] {
    [
        entry("alpha", b"one", None),
        entry("beta", b"", None),
        entry("alpha", b"three \xff", Some(u128::MAX)),
        entry("über", b"4", Some(0)),
    ]
}

const fn entry<'a>(partition_key: &'a str, data: &'a [u8], explicit_hash_key: Option<u128>) -> AggregateEntry<'a> {
    AggregateEntry { partition_key, explicit_hash_key, data }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// An aggregate around any message.
fn sealed(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &md5(message)].concat()
}

fn chunk_of(payloads: &[Vec<u8>]) -> Chunk {
    let mut builder = ChunkBuilder::default();
    for (sequence, payload) in (100_u64..).zip(payloads) {
        let arrival = UnixMillis(i64::try_from(sequence).unwrap());
        builder.push(&SequenceNumber::parse(&sequence.to_string()).unwrap(), "outer", payload, arrival);
    }
    builder.build()
}

const DELIVER: Deaggregation =
    Deaggregation { enabled: true, outside_hash_range: OutsideHashRange::Deliver, hash_range: None };

/// Places, keys and payloads of all user records.
fn seen(deaggregated: &Deaggregated) -> Vec<(String, &str, &[u8])> {
    let record = |index| {
        let record = deaggregated.records.get(index);
        (record.position().to_string(), record.partition_key, record.data)
    };
    (0..deaggregated.records.len()).map(record).collect()
}

fn all_runs(deaggregated: &Deaggregated) -> Vec<(Range<usize>, Fate)> {
    deaggregated.runs(0..deaggregated.records.len()).collect()
}

#[test]
fn the_aggregate_of_another_encoder_is_taken_apart_and_ours_is_the_same() {
    assert_eq!(encode(&golden_entries()), unhex(GOLDEN));
    let deaggregated = deaggregate(chunk_of(&[b"plain".to_vec(), unhex(GOLDEN)]), &DELIVER, None);
    assert_eq!(
        seen(&deaggregated),
        [
            ("100".into(), "outer", &b"plain"[..]),
            ("101".into(), "alpha", b"one"),
            ("101/1".into(), "beta", b""),
            ("101/2".into(), "alpha", b"three \xff"),
            ("101/3".into(), "über", b"4"),
        ]
    );
    assert_eq!(deaggregated.records.get(4).arrival, UnixMillis(101));
    assert_eq!(all_runs(&deaggregated), [(0..5, Fate::Deliver)]);
    assert!(deaggregated.corrupt.is_empty());
}

#[test]
fn without_deaggregation_every_record_is_one_user_record() {
    let settings = Deaggregation { enabled: false, ..DELIVER };
    let deaggregated = deaggregate(chunk_of(&[unhex(GOLDEN)]), &settings, None);
    assert_eq!(seen(&deaggregated), [("100".into(), "outer", &unhex(GOLDEN)[..])]);
}

#[test]
fn without_deaggregation_the_aggregate_that_was_begun_is_still_taken_apart() {
    let settings = Deaggregation { enabled: false, ..DELIVER };
    let payloads = [unhex(GOLDEN), unhex(GOLDEN), b"plain".to_vec()];
    let places = |after: &str| {
        let after = RecordPosition::parse(after).unwrap();
        let deaggregated = deaggregate(chunk_of(&payloads), &settings, Some(&after));
        let first = deaggregated.first_after(&after);
        seen(&deaggregated).split_off(first).into_iter().map(|(place, ..)| place).collect::<Vec<_>>()
    };
    assert_eq!(places("100/1"), ["100/2", "100/3", "101", "102"], "the rest of it, and the others whole");
    assert_eq!(places("100/3"), ["101", "102"], "nothing is left of it");
    assert_eq!(places("100"), ["101", "102"], "one that was delivered whole");
}

#[test]
fn what_only_begins_like_an_aggregate_is_an_ordinary_record() {
    let short = [&MAGIC[..], &[0; 16]].concat();
    let payloads =
        [Vec::new(), MAGIC[..3].to_vec(), MAGIC.to_vec(), short, b"\xf3\x89\x9a\xc3 and much more text".to_vec()];
    let deaggregated = deaggregate(chunk_of(&payloads), &DELIVER, None);
    assert_eq!(deaggregated.records.len(), payloads.len());
    assert!(deaggregated.records.iter().zip(&payloads).all(|(record, payload)| record.data == payload));
    assert!(deaggregated.corrupt.is_empty());
}

/// A message with one partition key `a` and one hash key `7`, and then `rest`.
fn message(rest: &[u8]) -> Vec<u8> {
    sealed(&[&b"\x0a\x01a\x12\x017"[..], rest].concat())
}

#[test]
fn each_damage_is_named_and_the_record_delivered_as_it_is() {
    use AggregateProblem as P;
    let mut bad_md5 = unhex(GOLDEN);
    bad_md5[20] ^= 1;
    let cases = [
        (bad_md5, P::WrongMd5),
        (message(b"\x1a\x7f"), P::Truncated),
        (message(b"\x1a\x80"), P::Truncated),
        (message(b"\x1a\x05\x08\x00\x1a\x02x"), P::Truncated),
        (message(b"\x25\x00\x00\x00"), P::Truncated),
        (message(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), P::LongVarint),
        (message(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), P::LongVarint),
        (message(b"\x00\x00"), P::BadTag),
        (message(b"\x26\x00"), P::BadTag),
        (message(b"\x23\x24"), P::Group),
        (message(b"\x18\x00"), P::WrongWireType),
        (message(b"\x08\x00"), P::WrongWireType),
        (message(b"\x1a\x04\x08\x00\x18\x00"), P::WrongWireType),
        (message(b"\x1a\x06\x0a\x01a\x1a\x01x"), P::WrongWireType),
        (message(b"\x1a\x03\x1a\x01x"), P::Missing("partition_key_index")),
        (message(b"\x1a\x02\x08\x00"), P::Missing("data")),
        (message(b"\x1a\x00"), P::Missing("partition_key_index")),
        (message(b"\x1a\x0a\x08\x00\x1a\x01x\x22\x03\x12\x01v"), P::Missing("tag key")),
        (message(b"\x1a\x05\x08\x01\x1a\x01x"), P::BadIndex("partition key")),
        (message(b"\x1a\x07\x08\x00\x10\x01\x1a\x01x"), P::BadIndex("explicit hash key")),
        (message(b"\x1a\x0e\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a\x01x"), P::BadIndex("partition key")),
        (sealed(b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x"), P::BadPartitionKey),
        (sealed(b"\x0a\x01a\x12\x02-1\x1a\x07\x08\x00\x10\x00\x1a\x01x"), P::BadHashKey),
        (sealed(b"\x0a\x01a\x12\x00\x1a\x07\x08\x00\x10\x00\x1a\x01x"), P::BadHashKey),
        (
            sealed(b"\x0a\x01a\x12\x27340282366920938463463374607431768211456\x1a\x07\x08\x00\x10\x00\x1a\x01x"),
            P::BadHashKey,
        ),
    ];
    for (payload, problem) in cases {
        let deaggregated = deaggregate(chunk_of(&[encode(&golden_entries()), payload.clone()]), &DELIVER, None);
        assert_eq!(deaggregated.corrupt, [CorruptAggregate { record: 1, problem }], "{payload:02x?}");
        assert_eq!(deaggregated.records.len(), 5, "an aggregate before it is whole");
        assert_eq!(seen(&deaggregated)[4], ("101".into(), "outer", &payload[..]));
        assert_eq!(all_runs(&deaggregated), [(0..5, Fate::Deliver)]);
    }
}

#[test]
fn what_is_unusual_but_sound_is_read() {
    for payload in [
        // Unknown fields of each wire type, in the message and in a record; tags.
        message(b"\x20\x01\x2a\x01x\x31\x00\x00\x00\x00\x00\x00\x00\x00\x3d\x00\x00\x00\x00\x1a\x05\x08\x00\x1a\x01x"),
        message(b"\x1a\x0e\x28\x05\x08\x00\x22\x03\x0a\x01k\x32\x00\x1a\x01x"),
        message(b"\x1a\x0d\x08\x00\x22\x06\x0a\x01k\x12\x01v\x1a\x01x"),
        // Tables behind the records; a field that stands twice: the last counts; keys that nobody points to.
        sealed(b"\x1a\x05\x08\x00\x1a\x01x\x0a\x01a"),
        message(b"\x1a\x0a\x1a\x01y\x08\x05\x08\x00\x1a\x01x"),
        sealed(b"\x0a\x01a\x0a\x01\xff\x12\x03odd\x1a\x05\x08\x00\x1a\x01x"),
        // A number that is longer than it needs to be.
        message(b"\x1a\x06\x08\x80\x00\x1a\x01x"),
    ] {
        let deaggregated = deaggregate(chunk_of(std::slice::from_ref(&payload)), &DELIVER, None);
        assert_eq!(deaggregated.corrupt, [], "{payload:02x?}");
        assert_eq!(seen(&deaggregated), [("100".into(), "a", &b"x"[..])], "{payload:02x?}");
    }
}

#[test]
fn an_aggregate_without_user_records_is_dropped_and_keeps_its_position() {
    let deaggregated =
        deaggregate(chunk_of(&[message(b""), b"x".to_vec(), message(b""), message(b"")]), &DELIVER, None);
    let positions: Vec<_> = deaggregated.records.iter().map(|record| record.position().to_string()).collect();
    assert_eq!(positions, ["100", "101", "102", "103"]);
    assert!(deaggregated.records.get(0).data.is_empty());
    let drop = Fate::Drop(DropReason::EmptyAggregate);
    assert_eq!(all_runs(&deaggregated), [(0..1, drop), (1..2, Fate::Deliver), (2..4, drop)]);
    assert!(deaggregated.corrupt.is_empty());
}

fn md5_number(key: &str) -> u128 {
    u128::from_be_bytes(md5(key.as_bytes()))
}

#[test]
fn a_user_record_hashes_by_its_explicit_key_or_the_md5_of_its_partition_key() {
    // The MD5 of the empty text is public knowledge.
    assert_eq!(md5_number(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    let payload = encode(&[
        entry("in", b"0", None),
        entry("in", b"1", Some(5)),
        entry("out", b"2", None),
        entry("x", b"3", Some(7)),
    ]);
    let range = |start, end| Some(HashRange { start, end });
    let set_aside = |hash_range| {
        let settings = Deaggregation { outside_hash_range: OutsideHashRange::SetAside, hash_range, ..DELIVER };
        let deaggregated = deaggregate(chunk_of(std::slice::from_ref(&payload)), &settings, None);
        assert_eq!(deaggregated.records.len(), 4);
        let aside = |(range, fate): (Range<usize>, Fate)| if fate == Fate::SetAside { range } else { 0..0 };
        all_runs(&deaggregated).into_iter().flat_map(aside).collect::<Vec<_>>()
    };
    assert_eq!(set_aside(None), []);
    assert_eq!(set_aside(Some(HashRange::ALL)), []);
    let inside = md5_number("in");
    assert_eq!(set_aside(range(inside, inside)), [1, 2, 3]);
    assert_eq!(set_aside(range(5, 7)), [0, 2]);
    assert_eq!(set_aside(range(6, 7)), [0, 1, 2]);
    assert_eq!(set_aside(range(8, u128::MAX)), [1, 3]);
}

#[test]
fn one_stranger_drops_its_whole_aggregate_and_no_other() {
    let stranger = encode(&[entry("a", b"0", Some(1)), entry("a", b"1", Some(9))]);
    let native = encode(&[entry("a", b"2", Some(1)), entry("a", b"3", Some(2))]);
    let hash_range = Some(HashRange { start: 0, end: 5 });
    let settings = Deaggregation { outside_hash_range: OutsideHashRange::Drop, hash_range, ..DELIVER };
    let payloads = [native.clone(), stranger.clone(), stranger, b"plain".to_vec(), native];
    let deaggregated = deaggregate(chunk_of(&payloads), &settings, None);
    let drop = Fate::Drop(DropReason::OutsideHashRange);
    assert_eq!(all_runs(&deaggregated), [(0..2, Fate::Deliver), (2..6, drop), (6..9, Fate::Deliver)]);
    assert_eq!(seen(&deaggregated)[5].0, "102/1", "dropped user records keep their positions");
    let unknown = deaggregate(chunk_of(&payloads), &Deaggregation { hash_range: None, ..settings }, None);
    assert_eq!(all_runs(&unknown), [(0..9, Fate::Deliver)]);
}

#[test]
fn runs_are_cut_to_the_range_asked_for() {
    let payload = encode(&[
        entry("a", b"", Some(0)),
        entry("a", b"", Some(9)),
        entry("a", b"", Some(9)),
        entry("a", b"", Some(0)),
    ]);
    let hash_range = Some(HashRange { start: 0, end: 5 });
    let settings = Deaggregation { outside_hash_range: OutsideHashRange::SetAside, hash_range, ..DELIVER };
    let deaggregated = deaggregate(chunk_of(&[payload.clone(), payload]), &settings, None);
    let runs = |range| deaggregated.runs(range).collect::<Vec<_>>();
    let (deliver, aside) = (Fate::Deliver, Fate::SetAside);
    assert_eq!(runs(0..8), [(0..1, deliver), (1..3, aside), (3..5, deliver), (5..7, aside), (7..8, deliver)]);
    assert_eq!(runs(2..6), [(2..3, aside), (3..5, deliver), (5..6, aside)]);
    assert_eq!(runs(3..4), [(3..4, deliver)]);
    assert_eq!(runs(3..3), []);
    assert_eq!(runs(7..99), [(7..8, deliver)]);
}

#[test]
fn what_was_settled_earlier_is_found_by_position() {
    let deaggregated = deaggregate(chunk_of(&[b"x".to_vec(), unhex(GOLDEN), b"y".to_vec()]), &DELIVER, None);
    for (position, index) in
        [("99", 0), ("99/7", 0), ("100", 1), ("100/5", 1), ("101", 2), ("101/2", 4), ("101/3", 5), ("102", 6)]
    {
        assert_eq!(deaggregated.first_after(&RecordPosition::parse(position).unwrap()), index, "{position}");
    }
}

fn user_record() -> impl Strategy<Value = (String, Option<u128>, Vec<u8>)> {
    let hash_key = prop_oneof![Just(None), (0_u128..10).prop_map(Some), any::<u128>().prop_map(Some)];
    (".{0,3}", hash_key, prop::collection::vec(any::<u8>(), 0..9))
}

fn rule() -> impl Strategy<Value = OutsideHashRange> {
    prop::sample::select(vec![OutsideHashRange::Deliver, OutsideHashRange::SetAside, OutsideHashRange::Drop])
}

proptest! {
    #[test]
    fn what_was_packed_comes_apart(packed in prop::collection::vec(prop::collection::vec(user_record(), 1..6), 0..5)) {
        let entries = |records: &'_ Vec<(String, Option<u128>, Vec<u8>)>| {
            encode(&records.iter().map(|(key, hash_key, data)| entry(key, data, *hash_key)).collect::<Vec<_>>())
        };
        let payloads: Vec<_> = packed.iter().map(entries).collect();
        let deaggregated = deaggregate(chunk_of(&payloads), &DELIVER, None);
        let expected: Vec<_> = (100..).zip(&packed).flat_map(|(sequence, records)| {
            (0..).zip(records).map(move |(sub, (key, _, data))| {
                let place = if sub == 0 { format!("{sequence}") } else { format!("{sequence}/{sub}") };
                (place, key.as_str(), data.as_slice())
            })
        }).collect();
        prop_assert_eq!(seen(&deaggregated), expected);
        prop_assert!(deaggregated.corrupt.is_empty());
    }

    /// Any bytes behind the mark, with a trailer that fits, one that does not, and a sound aggregate with a byte changed.
    #[test]
    fn no_bytes_make_it_panic_or_lose_a_position(
        noise in prop::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
        byte: u8,
        rule in rule(),
        hash_range in prop::option::of((any::<u128>(), any::<u128>()).prop_map(|(start, end)| HashRange { start, end })),
    ) {
        let golden = unhex(GOLDEN);
        let mut changed = golden[MAGIC.len()..golden.len() - TRAILER].to_vec();
        *at.get_mut(&mut changed[..]) = byte;
        let payloads = [noise.clone(), [&MAGIC[..], &noise].concat(), sealed(&noise), sealed(&changed)];
        let settings = Deaggregation { enabled: true, outside_hash_range: rule, hash_range };
        let deaggregated = deaggregate(chunk_of(&payloads), &settings, None);
        let mut before: Option<RecordPosition> = None;
        let mut records = std::collections::BTreeSet::new();
        for record in deaggregated.records.iter() {
            prop_assert!(before.as_ref().is_none_or(|before| record.compare(before).is_gt()));
            before = Some(record.position());
            records.insert(record.sequence.to_owned());
        }
        prop_assert_eq!(records.len(), payloads.len());
        let runs = all_runs(&deaggregated);
        let ends: Vec<_> = runs.iter().map(|(range, _)| range.end).collect();
        let starts: Vec<_> = runs.iter().map(|(range, _)| range.start).collect();
        prop_assert_eq!(&starts[1..], &ends[..ends.len() - 1]);
        prop_assert_eq!(ends.last(), Some(&deaggregated.records.len()));
    }

    #[test]
    fn the_longest_decimal_hash_key_is_read(key: u128) {
        let payload = encode(&[entry("a", b"x", Some(key))]);
        let hash_range = Some(HashRange { start: key, end: key });
        let settings = Deaggregation { outside_hash_range: OutsideHashRange::Drop, hash_range, ..DELIVER };
        prop_assert_eq!(all_runs(&deaggregate(chunk_of(&[payload]), &settings, None)), [(0..1, Fate::Deliver)]);
    }
}

#[test]
fn nothing_is_copied() {
    let deaggregated = deaggregate(chunk_of(&[unhex(GOLDEN)]), &DELIVER, None);
    let buffer: &Bytes = deaggregated.records.chunk().buffer();
    let range = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
    assert!((0..4).all(|index| range.contains(&(deaggregated.records.data(index).as_ptr() as usize))));
    assert!(deaggregated.memory() > buffer.len() as u64);
}
