//! Properties of prefixes: parsing never panics, text stays text, evaluation is a function.

use std::collections::BTreeMap;

use penstock_core::prefix::{DateTimePattern, ErrorOutputType, PrefixExpression, PrefixKind, Zone};
use proptest::prelude::*;

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["UTC", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"])
}

/// Text made of what expressions are made of, so that many are almost right.
fn almost_a_prefix() -> impl Strategy<Value = String> {
    let pieces = vec![
        "!{",
        "}",
        "{",
        "timestamp:",
        "firehose:",
        "random-string",
        "error-output-type",
        "partitionKeyFromQuery:",
        "yyyy",
        "MM",
        "p",
        "'",
        "[",
        "]",
        "/",
        "é",
        ".",
        "id",
        ":",
        "B",
        "ZZZZ",
        "'x'",
        "\u{0}",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..20).prop_map(|pieces| pieces.concat())
}

fn any_prefix() -> impl Strategy<Value = String> {
    let whole = "[a-z]{0,5}/!\\{timestamp:[yMdHmsSEaQDwWeXxOG/.-]{1,8}\\}/";
    prop_oneof![".*", almost_a_prefix(), whole]
}

proptest! {
    #[test]
    fn parsing_and_evaluating_never_panic_and_offsets_lie_in_the_source(
        source in any_prefix(), errors: bool, ms: i64, zone in zones(),
    ) {
        let kind = if errors { PrefixKind::ErrorPrefix } else { PrefixKind::Prefix };
        let chars = source.chars().count();
        match PrefixExpression::parse(kind, &source) {
            Err(error) => prop_assert!(error.offset <= chars, "{}", error),
            Ok(parsed) => {
                prop_assert!(parsed.warnings().iter().all(|warning| warning.offset <= chars));
                let values = BTreeMap::from([("id".to_owned(), "v".to_owned())]);
                let kind = Some(ErrorOutputType::ProcessingFailed);
                let _ = parsed.evaluate(ms, &Zone::named(zone).unwrap(), b"", &values, kind);
            }
        }
    }

    #[test]
    fn a_pattern_that_parses_prints_at_any_instant_of_the_common_era(
        pattern in "[GuyYDMLdgQqwWEecFaBhKkHmsSAnNVOXxZzp'/ \\[\\]]{1,10}",
        ms in -62_135_500_000_000_i64..253_370_600_000_000, zone in zones(),
    ) {
        if let Ok(parsed) = DateTimePattern::parse(&pattern) {
            let local = Zone::named(zone).unwrap().local(ms).unwrap();
            prop_assert_eq!(parsed.format(&local), parsed.format(&local));
        }
    }

    #[test]
    fn literal_text_stays_as_it_is(folders in prop::collection::vec("[^/!\\p{Cc}.]{1,8}", 0..8)) {
        let source: String = folders.iter().map(|folder| format!("{folder}/")).collect();
        let parsed = PrefixExpression::parse(PrefixKind::Prefix, &source).unwrap();
        let evaluated = parsed.evaluate(0, &Zone::utc(), b"", &BTreeMap::new(), None).unwrap();
        prop_assert_eq!(evaluated, format!("{source}1970/01/01/00/"));

        let errors = PrefixExpression::parse(PrefixKind::ErrorPrefix, &source).unwrap();
        prop_assert_eq!(errors.evaluate(0, &Zone::utc(), b"", &BTreeMap::new(), None).unwrap(), source);
    }

    #[test]
    fn quoted_text_in_a_pattern_stays_as_it_is(text in "[^'}!{]{1,20}") {
        let local = Zone::utc().local(0).unwrap();
        prop_assert_eq!(DateTimePattern::parse(&format!("'{text}'")).unwrap().format(&local), text);
    }

    #[test]
    fn evaluation_is_a_function_of_its_arguments(
        ms in 0_i64..4_102_444_800_000, zone in zones(), seed: Vec<u8>, value in "[a-z]{1,9}",
    ) {
        let source = "!{partitionKeyFromQuery:id}/!{firehose:random-string}/!{timestamp:yyyy-MM-dd HH:mm:ss.SSS VV}/";
        let values = BTreeMap::from([("id".to_owned(), value)]);
        let evaluate = || {
            let parsed = PrefixExpression::parse(PrefixKind::Prefix, source).unwrap();
            parsed.evaluate(ms, &Zone::named(zone).unwrap(), &seed, &values, None).unwrap()
        };
        prop_assert_eq!(evaluate(), evaluate());
    }
}
