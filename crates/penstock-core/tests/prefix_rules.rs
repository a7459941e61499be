//! The rules of Firehose's prefixes: what evaluates to what, what is refused and why, what is warned about.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;

use penstock_core::prefix::{
    ErrorOutputType, EvaluateError, PrefixError, PrefixExpression, PrefixKind, PrefixPair, PrefixPairError,
    PrefixWarningReason as Warning, Zone, random_string,
};

const INSTANT: &str = "2026-11-21T10:30:00Z";

fn millis(instant: &str) -> i64 {
    instant.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn partitions(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect()
}

fn prefix(source: &str) -> PrefixExpression {
    PrefixExpression::parse(PrefixKind::Prefix, source).unwrap()
}

fn evaluated(source: &str, zone: &str) -> String {
    let values = partitions(&[("cust", "42"), ("region", "eu/west")]);
    prefix(source).evaluate(millis(INSTANT), &Zone::named(zone).unwrap(), b"seed", &values, None).unwrap()
}

fn error_prefix(source: &str, kind: ErrorOutputType) -> String {
    let parsed = PrefixExpression::parse(PrefixKind::ErrorPrefix, source).unwrap();
    parsed.evaluate(millis(INSTANT), &Zone::utc(), b"seed", &BTreeMap::new(), Some(kind)).unwrap()
}

#[test]
fn prefixes_evaluate_as_firehose_documents() {
    let random = random_string(b"seed", 0);
    let cases = [
        ("", "UTC", "2026/11/21/10/"),
        ("raw/", "UTC", "raw/2026/11/21/10/"),
        ("raw", "UTC", "raw2026/11/21/10/"),
        ("data/dt=!{timestamp:yyyy-MM-dd}/h=!{timestamp:HH}/", "UTC", "data/dt=2026-11-21/h=10/"),
        ("data/dt=!{timestamp:yyyy-MM-dd}/h=!{timestamp:HH}/", "Asia/Tokyo", "data/dt=2026-11-21/h=19/"),
        ("!{timestamp:'year='yyyy'/month='MM'/day='dd'/'}", "UTC", "year=2026/month=11/day=21/"),
        ("x/!{firehose:random-string}/!{timestamp:yyyy}/", "UTC", &format!("x/{random}/2026/")),
        ("c=!{partitionKeyFromQuery:cust}/d=!{timestamp:yyyyMMdd}/", "UTC", "c=42/d=20261121/"),
        ("p/!{timestamp:yyyy}", "UTC", "p/2026"),
        // The time is appended where expressions stand, but none of them is a time.
        ("r=!{partitionKeyFromQuery:region}/", "UTC", "r=eu/west/2026/11/21/10/"),
        ("!{partitionKeyFromQuery:cust}", "Asia/Tokyo", "422026/11/21/19/"),
        ("!{timestamp:yyyy}!{timestamp:MM}/", "UTC", "202611/"),
        // What is no expression is text.
        ("a}b{c!d/", "UTC", "a}b{c!d/2026/11/21/10/"),
        ("!/", "UTC", "!/2026/11/21/10/"),
        ("${timestamp:yyyy}/", "UTC", "${timestamp:yyyy}/2026/11/21/10/"),
        ("データ/é/", "UTC", "データ/é/2026/11/21/10/"),
    ];
    for (source, zone, expected) in cases {
        assert_eq!(evaluated(source, zone), expected, "{source}");
    }
}

#[test]
fn error_prefixes_evaluate_as_firehose_documents() {
    let source = "err/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}/";
    assert_eq!(error_prefix(source, ErrorOutputType::ProcessingFailed), "err/processing-failed/2026/11/21/");
    assert_eq!(error_prefix(source, ErrorOutputType::DeliveryFailed), "err/delivery-failed/2026/11/21/");
    let twice = "!{firehose:error-output-type}/!{firehose:error-output-type}/";
    assert_eq!(error_prefix(twice, ErrorOutputType::DeliveryFailed), "delivery-failed/delivery-failed/");
    assert_eq!(error_prefix("errors/", ErrorOutputType::DeliveryFailed), "errors/");
}

#[test]
fn one_instant_is_used_throughout() {
    // A millisecond before midnight in Tokyo.
    let parsed = prefix("!{timestamp:yyyy/MM/dd}/!{timestamp:HH}/!{timestamp:mm.ss.SSS}/");
    let zone = Zone::named("Asia/Tokyo").unwrap();
    let last = millis("2026-12-31T14:59:59.999Z");
    let at = |ms| parsed.evaluate(ms, &zone, b"", &BTreeMap::new(), None).unwrap();
    assert_eq!(at(last), "2026/12/31/23/59.59.999/");
    assert_eq!(at(last + 1), "2027/01/01/00/00.00.000/");
}

/// The hours of a day as folders, through both changes of the clock.
#[test]
fn clock_changes_skip_an_hour_and_repeat_one() {
    let parsed = prefix("!{timestamp:HH}/");
    let zone = Zone::named("Europe/Berlin").unwrap();
    let hours = |start: &str| -> Vec<String> {
        let hour = |hour: i64| millis(start) + hour * 3_600_000;
        (0..4).map(|at| parsed.evaluate(hour(at), &zone, b"", &BTreeMap::new(), None).unwrap()).collect()
    };
    assert_eq!(hours("2026-03-28T23:00:00Z"), ["00/", "01/", "03/", "04/"]);
    assert_eq!(hours("2026-10-24T23:00:00Z"), ["01/", "02/", "02/", "03/"]);
}

#[test]
fn each_random_string_of_a_prefix_is_another_and_all_are_pinned() {
    // Pinned: a later version must name objects alike.
    assert_eq!(random_string(b"seed", 0), "nvv54x1owtu");
    assert_eq!(random_string(b"seed", 1), "t7228co5zmc");
    assert_eq!(random_string(b"", 0), "x9ugj1old8v");
    let twice = evaluated("!{firehose:random-string}-!{firehose:random-string}/!{timestamp:yyyy}/", "UTC");
    assert_eq!(twice, format!("{}-{}/2026/", random_string(b"seed", 0), random_string(b"seed", 1)));
}

fn refused(kind: PrefixKind, source: &str) -> PrefixError {
    PrefixExpression::parse(kind, source).unwrap_err()
}

#[test]
fn wrong_prefixes_are_refused_with_their_place_and_reason() {
    let long = "x".repeat(1_025);
    let evaluates_long = format!("{}/", "x".repeat(500));
    let cases: &[(&str, usize, &str)] = &[
        ("p/!{firehose:error-output-type}/", 4, "only in the error prefix"),
        ("p/!{timestamp:yyyy", 2, "no closing brace"),
        ("p/!{", 2, "no closing brace"),
        ("!{timestamp:yyyy!{timestamp:MM}", 16, "cannot stand inside another"),
        ("!{timestamp:'!{'yyyy}", 13, "cannot stand inside another"),
        ("!{timestamp:'a}b'}", 12, "no brace may stand in it"),
        ("!{timestamp}", 2, "did you mean `!{timestamp:yyyy/MM/dd/HH/}`?"),
        ("!{random-string}", 2, "did you mean `!{firehose:random-string}`?"),
        ("!{}", 2, "lacks its namespace"),
        ("é!{timestmap:yyyy}", 3, "there is no namespace `timestmap`; did you mean `timestamp`?"),
        ("!{Timestamp:yyyy}", 2, "did you mean `timestamp`?"),
        ("!{ timestamp:yyyy}", 2, "did you mean `timestamp`?"),
        ("!{date:yyyy}", 2, "did you mean `timestamp`?"),
        ("!{s3:bucket}", 2, "there are timestamp, firehose and partitionKeyFromQuery"),
        ("!{firehose:randomstring}", 11, "it has `random-string`"),
        ("!{firehose:}", 11, "it has `random-string`"),
        ("!{partitionKeyFromLambda:cust}", 2, "!{partitionKeyFromQuery:cust}"),
        ("!{partitionKeyFromQuery:}", 24, "is no partition id"),
        ("!{partitionKeyFromQuery:.customer}", 24, "`.customer` is no partition id"),
        ("é/!{timestamp:}", 14, "the time pattern is empty"),
        ("é/!{timestamp:yyyy/Q'x}", 20, "no end"),
        ("a/!{timestamp:yyyy-MM-ddTHH}/", 24, "`T` is no pattern letter"),
        ("/raw/", 0, "a folder without a name"),
        ("a//b/", 2, "a folder without a name"),
        ("a/!{timestamp:/yyyy}/", 2, "a folder without a name"),
        ("a/../b/", 2, "a folder cannot be called `..`"),
        ("./", 0, "a folder cannot be called `.`"),
        ("a\nb/", 1, "control character"),
        (&long, 0, "the prefix has 1025 characters"),
        (&evaluates_long, 0, "can evaluate to 515 characters, the most is 512"),
    ];
    for (source, offset, reason) in cases {
        let error = refused(PrefixKind::Prefix, source);
        assert_eq!(error.offset, *offset, "{source}: {error}");
        assert!(error.to_string().contains(reason), "{source}: {error}");
    }
}

#[test]
fn wrong_error_prefixes_are_refused() {
    let untyped = refused(PrefixKind::ErrorPrefix, "errors/!{timestamp:yyyy}/");
    assert!(untyped.to_string().contains("must have `!{firehose:error-output-type}`"), "{untyped}");
    let partitioned = "!{firehose:error-output-type}/!{partitionKeyFromQuery:cust}/";
    let partitioned = refused(PrefixKind::ErrorPrefix, partitioned);
    assert!(partitioned.to_string().contains("a record that failed has no partition values"), "{partitioned}");
}

#[test]
fn a_pair_derives_the_error_prefix_only_from_a_prefix_without_expressions() {
    let pair = PrefixPair::parse("raw/", "").unwrap();
    let zone = Zone::utc();
    let kind = Some(ErrorOutputType::ProcessingFailed);
    let errors = pair.error_prefix.evaluate(millis(INSTANT), &zone, b"", &BTreeMap::new(), kind).unwrap();
    assert_eq!(errors, "raw/processing-failed/2026/11/21/10/");
    assert!(PrefixPair::parse("", "").is_ok());

    let missing = PrefixPair::parse("p/!{timestamp:yyyy}", "").unwrap_err();
    assert_eq!(missing, PrefixPairError::ErrorPrefixMissing);
    assert!(PrefixPair::parse("p/!{timestamp:yyyy}", "errors/").is_ok());
    assert!(matches!(PrefixPair::parse("!{", ""), Err(PrefixPairError::Prefix(_))));
    assert!(matches!(PrefixPair::parse("", "!{"), Err(PrefixPairError::ErrorPrefix(_))));
}

#[test]
fn the_partition_ids_of_a_prefix_are_known_before_any_record() {
    let parsed = prefix("!{partitionKeyFromQuery:b}/!{partitionKeyFromQuery:a}/!{partitionKeyFromQuery:b}/");
    assert_eq!(parsed.partition_ids().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(prefix("raw/").partition_ids().is_empty());
}

#[test]
fn only_records_can_make_a_parsed_prefix_fail() {
    let parsed = prefix("!{partitionKeyFromQuery:cust}/");
    let evaluate =
        |ms, values: &[(&str, &str)]| parsed.evaluate(ms, &Zone::utc(), b"", &partitions(values), None).unwrap_err();
    assert_eq!(evaluate(0, &[]), EvaluateError::NoPartitionValue { id: "cust".to_owned() });
    assert_eq!(evaluate(0, &[("cust", "")]), EvaluateError::EmptyPartitionValue { id: "cust".to_owned() });
    assert_eq!(evaluate(0, &[("cust", &"x".repeat(498))]), EvaluateError::TooLong { chars: 513 });
    assert_eq!(evaluate(i64::MAX, &[("cust", "1")]), EvaluateError::InstantOutOfRange { instant_ms: i64::MAX });

    let errors = PrefixExpression::parse(PrefixKind::ErrorPrefix, "!{firehose:error-output-type}/").unwrap();
    let untyped = errors.evaluate(0, &Zone::utc(), b"", &BTreeMap::new(), None);
    assert_eq!(untyped, Err(EvaluateError::NoErrorOutputType));
}

#[test]
fn the_length_of_an_evaluated_prefix_counts_characters() {
    let parsed = prefix(&format!("{}/!{{partitionKeyFromQuery:cust}}/", "é".repeat(400)));
    let length = |chars: usize| {
        let values = partitions(&[("cust", &"é".repeat(chars))]);
        parsed.evaluate(0, &Zone::utc(), b"", &values, None).map(|evaluated| evaluated.chars().count())
    };
    assert_eq!(length(96), Ok(512));
    assert_eq!(length(97), Err(EvaluateError::TooLong { chars: 513 }));
}

fn warnings(kind: PrefixKind, source: &str) -> Vec<(usize, Warning)> {
    let parsed = PrefixExpression::parse(kind, source).unwrap();
    parsed.warnings().iter().map(|warning| (warning.offset, warning.reason)).collect()
}

#[test]
fn what_is_probably_not_meant_is_warned_about() {
    let cases: &[(&str, usize, Warning)] = &[
        ("!{timestamp:YYYY/MM/dd/}", 12, Warning::WeekYear),
        ("!{timestamp:yyyy-'W'ww/}", 20, Warning::WeekWithoutWeekYear),
        ("!{timestamp:YYYY-'W'ww/}", 12, Warning::WeeksOfALanguage),
        ("!{timestamp:yyyy/MM/W/}", 20, Warning::WeeksOfALanguage),
        ("!{timestamp:yyyy/MM/e/}", 20, Warning::WeeksOfALanguage),
        ("é/!{timestamp:yyyy/MM/DD/}", 22, Warning::DayOfYear),
        ("!{timestamp:yyyy/DDD/}", 17, Warning::DayOfYear),
        ("!{timestamp:yyyy/MM/dd/hh/}", 23, Warning::HalfDayHour),
        ("!{timestamp:yyyy/MM/dd/KK/}", 23, Warning::HalfDayHour),
        ("!{timestamp:yyyy/MM/dd/kk/}", 23, Warning::HourFrom1To24),
        ("!{timestamp:yyyy/mm/dd/HH/}", 17, Warning::MinuteForMonth),
        ("y=!{timestamp:yyyy}/m=!{timestamp:mm}/d=!{timestamp:dd}/", 34, Warning::MinuteForMonth),
        ("!{timestamp:mm/}", 12, Warning::MinuteForMonth),
        ("!{timestamp:yyyy/MM/dd/HH-MM/}", 26, Warning::MonthForMinute),
        ("!{timestamp:yyyy/MM/dd/HH-mm-SS/}", 29, Warning::FractionForSecond),
        ("!{timestamp:yyyy/MM/F/}", 20, Warning::MeaningChanged),
        ("!{timestamp:yyyy/MM/dd/B/}", 23, Warning::RecentLetter),
        ("!{timestamp:yyyy/MM/dd/z/}", 23, Warning::ZoneAbbreviation),
        ("!{timestamp:day=dd/}", 12, Warning::WordAsPattern),
        ("!{timestamp:%Y/%m/%d/}", 12, Warning::Strftime),
        ("${timestamp:yyyy}/", 2, Warning::LooksLikeExpression),
        ("logs/yyyy/MM/dd/", 5, Warning::LooksLikePattern),
        ("raw", 3, Warning::NoSlashAtEnd),
        ("p/!{timestamp:yyyy}", 19, Warning::NoSlashAtEnd),
    ];
    for (source, offset, reason) in cases {
        let found = warnings(PrefixKind::Prefix, source);
        assert!(found.contains(&(*offset, *reason)), "{source}: {found:?}");
    }
    // Beside a week-based year, the ordinary year is no slip; a reason is told once.
    let both = warnings(PrefixKind::Prefix, "!{timestamp:yyyy/YYYY-'W'ww-e/}");
    assert_eq!(both, [(17, Warning::WeeksOfALanguage)]);
    let plain = warnings(PrefixKind::ErrorPrefix, "errors/");
    assert_eq!(plain, [(7, Warning::ErrorPrefixWithoutType)]);
}

#[test]
fn what_is_right_is_not_warned_about() {
    for source in [
        "",
        "clicks/",
        "clicks/!{timestamp:yyyy/MM/dd/HH/}",
        "clicks/!{timestamp:yyyy/MM/dd/HH/mm/ss/SSS}/",
        "clicks/!{timestamp:yyyy/MM/dd/hh-a/}",
        "clicks/!{timestamp:'day='dd'/'}",
        "clicks/!{timestamp:yyyy-MM-dd'T'HH-mm}/",
        "dt=!{timestamp:yyyy-MM-dd}/h=!{timestamp:HH}/m=!{timestamp:mm}/",
        "!{firehose:random-string}/!{timestamp:yyyyMMdd}/!{partitionKeyFromQuery:day}/",
        "!{timestamp:HH/dd/MM/yyyy/}",
        "!{timestamp:eeee/MMMM/}",
    ] {
        assert_eq!(warnings(PrefixKind::Prefix, source), [], "{source}");
    }
    assert_eq!(warnings(PrefixKind::ErrorPrefix, "errors/!{firehose:error-output-type}/"), []);
}

#[test]
fn messages_say_where_and_what() {
    let error = refused(PrefixKind::Prefix, "a/!{timestmap:yyyy}/");
    assert_eq!(error.to_string(), "at character 5: there is no namespace `timestmap`; did you mean `timestamp`?");
    let parsed = prefix("!{timestamp:YYYY/}");
    assert!(parsed.warnings()[0].to_string().starts_with("at character 13: `Y` is the week-based year"));
}
