//! Object keys as they stand in buckets: these tests fail if a version would name objects differently.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;

use penstock_core::object_key::{
    FileExtension, FileExtensionError, ObjectIdentity, ObjectKeyError, ObjectNaming, shard_number,
};
use penstock_core::prefix::{ErrorOutputType, PrefixExpression, PrefixKind, Zone};
use proptest::prelude::*;

/// 2026-11-21T10:30:00Z
const ARRIVAL_MS: i64 = 1_795_257_000_000;
const SHARD: &str = "shardId-000000000012";

fn identity<'a>(partition_values: &'a BTreeMap<String, String>) -> ObjectIdentity<'a> {
    ObjectIdentity {
        lease_key: SHARD,
        after: "TRIM_HORIZON",
        last: "49590338271490256608559692538361571095921575989136588898/3",
        partition_values,
        part: 1,
        set_aside: None,
    }
}

fn naming(kind: PrefixKind, prefix: &str, zone: &str, extension: &str) -> ObjectNaming {
    let prefix = PrefixExpression::parse(kind, prefix).unwrap();
    let extension = FileExtension::parse(extension).unwrap();
    ObjectNaming::new("clicks", prefix, Zone::named(zone).unwrap(), extension).unwrap()
}

fn key(prefix: &str, zone: &str, values: &BTreeMap<String, String>) -> Result<String, ObjectKeyError> {
    naming(PrefixKind::Prefix, prefix, zone, ".gz").key(SHARD, ARRIVAL_MS, &identity(values))
}

#[test]
fn keys_are_pinned() {
    let none = BTreeMap::new();
    let customer = BTreeMap::from([("cust".to_owned(), "42".to_owned())]);
    assert_eq!(
        key("", "UTC", &none).unwrap(),
        "2026/11/21/10/clicks-12-2026-11-21-10-30-00-1ccbda07-4df5-5b0b-8b29-67e05126a0ee.gz"
    );
    assert_eq!(
        key("raw", "Asia/Tokyo", &none).unwrap(),
        "raw2026/11/21/19/clicks-12-2026-11-21-19-30-00-1ccbda07-4df5-5b0b-8b29-67e05126a0ee.gz"
    );
    assert_eq!(
        key("x/!{firehose:random-string}/!{firehose:random-string}/!{timestamp:yyyy}/", "UTC", &none).unwrap(),
        "x/j74b4fgp35s/d29p20z3ja8/2026/clicks-12-2026-11-21-10-30-00-1ccbda07-4df5-5b0b-8b29-67e05126a0ee.gz",
    );
    assert_eq!(
        key("c=!{partitionKeyFromQuery:cust}/d=!{timestamp:yyyyMMdd}/", "UTC", &customer).unwrap(),
        "c=42/d=20261121/clicks-12-2026-11-21-10-30-00-6c84dae3-8b42-5643-908c-664dfb397a1e.gz",
    );
}

#[test]
fn keys_of_what_was_set_aside_are_pinned() {
    let none = BTreeMap::new();
    let source = "err/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}/";
    let identity = ObjectIdentity { set_aside: Some(ErrorOutputType::ProcessingFailed), ..identity(&none) };
    let key = naming(PrefixKind::ErrorPrefix, source, "UTC", "").key(SHARD, ARRIVAL_MS, &identity).unwrap();
    assert_eq!(
        key,
        "err/processing-failed/2026/11/21/clicks-12-2026-11-21-10-30-00-7b261e85-cacd-5a3c-8a4b-83694d410441"
    );
}

#[test]
fn everything_of_an_identity_makes_another_uuid_and_another_random_string() {
    let none = BTreeMap::new();
    let values = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect()
    };
    let (one, other, two) = (values(&[("a", "bc")]), values(&[("ab", "c")]), values(&[("a", "b"), ("c", "d")]));
    let base = identity(&none);
    let identities = [
        base,
        ObjectIdentity { lease_key: "shardId-000000000013", ..base },
        ObjectIdentity { after: "1", ..base },
        ObjectIdentity { last: "1", ..base },
        ObjectIdentity { after: "1", last: "12", ..base },
        ObjectIdentity { after: "11", last: "2", ..base },
        ObjectIdentity { part: 2, ..base },
        ObjectIdentity { partition_values: &one, ..base },
        ObjectIdentity { partition_values: &other, ..base },
        ObjectIdentity { partition_values: &two, ..base },
        ObjectIdentity { set_aside: Some(ErrorOutputType::ProcessingFailed), ..base },
        ObjectIdentity { set_aside: Some(ErrorOutputType::DeliveryFailed), ..base },
    ];
    let uuids: Vec<_> = identities.iter().map(ObjectIdentity::uuid).collect();
    let digests: Vec<_> = identities.iter().map(ObjectIdentity::digest).collect();
    for (index, uuid) in uuids.iter().enumerate() {
        assert!(!uuids[..index].contains(uuid), "{:?}", identities[index]);
        assert!(!digests[..index].contains(&digests[index]));
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (5, uuid::Variant::RFC4122));
    }
}

#[test]
fn shard_numbers_are_those_of_the_id_and_odd_ids_stand_for_themselves() {
    for (shard_id, number) in [
        ("shardId-000000000012", "12"),
        ("shardId-000000000000", "0"),
        ("shardId-000123456789012345678901", "123456789012345678901"),
        ("shardId-", "shardId-"),
        ("shardId-12a", "shardId-12a"),
        ("a/b c", "a_b_c"),
    ] {
        assert_eq!(shard_number(shard_id), number);
    }
}

#[test]
fn a_key_that_no_store_takes_is_refused() {
    let with = |value: &str| {
        let values = BTreeMap::from([("cust".to_owned(), value.to_owned())]);
        key("!{partitionKeyFromQuery:cust}/!{timestamp:yyyy}/", "UTC", &values)
    };
    // A slash, 5 bytes of the year and 69 of the name follow the partition value.
    assert_eq!(with(&format!("{}a", "é".repeat(474))).unwrap().len(), 1_024);
    assert_eq!(with(&"é".repeat(475)), Err(ObjectKeyError::TooLong { bytes: 1_025 }));
    for value in ["..", "a//b", "/a", "a/", "a/./b"] {
        assert!(matches!(with(value), Err(ObjectKeyError::Segment { .. })), "{value}");
    }
    assert!(matches!(with("a\nb"), Err(ObjectKeyError::ControlCharacter { .. })));
    assert!(matches!(key("!{partitionKeyFromQuery:x}", "UTC", &BTreeMap::new()), Err(ObjectKeyError::Prefix(_))));
}

#[test]
fn an_instant_without_a_date_is_refused() {
    let none = BTreeMap::new();
    let error = naming(PrefixKind::Prefix, "", "UTC", "").key(SHARD, i64::MIN, &identity(&none)).unwrap_err();
    assert!(error.to_string().contains("outside the years"), "{error}");
}

#[test]
fn file_extensions_are_those_that_firehose_takes() {
    for extension in ["", ".gz", ".json.gz", ".a!-_.*'()9"] {
        assert_eq!(FileExtension::parse(extension).unwrap().as_str(), extension);
    }
    let refused = |extension: &str| FileExtension::parse(extension).unwrap_err();
    assert_eq!(refused("gz").to_string(), "the file extension `gz` must start with a dot: `.gz`");
    assert_eq!(refused("."), FileExtensionError::OnlyDot);
    assert!(matches!(refused(".GZ"), FileExtensionError::Character { character: 'G', .. }));
    assert!(matches!(refused(".a/b"), FileExtensionError::Character { character: '/', .. }));
    assert!(FileExtension::parse(&format!(".{}", "a".repeat(127))).is_ok());
    assert_eq!(refused(&format!(".{}", "a".repeat(128))), FileExtensionError::TooLong { chars: 129 });
}

#[test]
fn an_application_name_that_cannot_stand_in_a_key_is_refused() {
    for name in ["", "a/b", ".hidden", "a\nb"] {
        let prefix = PrefixExpression::parse(PrefixKind::Prefix, "").unwrap();
        assert!(ObjectNaming::new(name, prefix, Zone::utc(), FileExtension::default()).is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn a_key_is_a_function_and_ends_in_its_name(ms in 0_i64..4_102_444_800_000, part: u32, last in "[0-9]{1,56}") {
        let none = BTreeMap::new();
        let identity = ObjectIdentity { part, last: &last, ..identity(&none) };
        let key = || naming(PrefixKind::Prefix, "raw/", "Asia/Tokyo", ".zst").key(SHARD, ms, &identity).unwrap();
        prop_assert_eq!(key(), key());
        let end = format!("-{}.zst", identity.uuid());
        prop_assert!(key().starts_with("raw/") && key().ends_with(&end));
    }
}
