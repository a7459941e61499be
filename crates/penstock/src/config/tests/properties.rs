//! Whatever is thrown at it, loading ends with settings or with problems.

use super::super::load::Loaded;
use super::super::problem::Problems;
use super::super::schema::KEYS;
use super::{lines, load_text, load_with, sound};
use proptest::prelude::*;

/// Values that are half right more often than random text is.
fn value_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(\\PC|[\n\t\"\\\\]){0,12}",
        "[0-9]{1,22}(ms|s|m|h|KiB|MiB|GiB|MB)?",
        "-?[0-9]{1,20}",
        Just("true".to_owned()),
        "[a-z0-9.:/-]{1,20}",
        "arn:aws:(kinesis|iam):[a-z0-9-]{0,12}:[0-9]{0,12}:(role|stream)/[a-z]{0,5}",
        "(a/)?!\\{(timestamp|firehose)?:?[yMdH'/ -]{0,8}\\}?",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|\\+09:00)?",
    ]
}

fn toml_value() -> impl Strategy<Value = String> {
    prop_oneof![
        value_text(),
        value_text().prop_map(|text| format!("{text:?}")),
        value_text().prop_map(|text| format!("[{text:?}, 1]")),
        Just("{ a = 1 }".to_owned()),
        Just("1.5".to_owned()),
        Just("nan".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = &'static str> {
    (0..KEYS.len()).prop_map(|index| KEYS[index].path)
}

/// Settings, or at least one problem, each on a line of its own.
fn answers_in_lines(answer: &Result<Loaded, Problems>) -> bool {
    let Err(problems) = answer else { return true };
    !problems.0.is_empty() && lines(problems).iter().all(|line| !line.contains(char::is_control))
}

proptest! {
    #[test]
    fn any_text_ends_in_an_answer(text in "(\\PC|\n){0,200}") {
        prop_assert!(answers_in_lines(&load_text(&text)));
    }

    #[test]
    fn any_values_of_known_keys_end_in_an_answer(pairs in prop::collection::vec((path(), toml_value()), 0..6)) {
        let text: String = pairs.iter().map(|(path, value)| format!("{path} = {value}\n")).collect();
        prop_assert!(answers_in_lines(&load_text(&text)));
    }

    #[test]
    fn any_environment_and_settings_end_in_an_answer(
        sink in prop::sample::select(vec!["s3", "directory", "firehose", "stdout"]),
        variables in prop::collection::vec(("PENSTOCK__[A-Z_.\\[\\]0-9-]{0,20}", value_text()), 0..4),
        settings in prop::collection::vec("(\\PC|\n){0,30}", 0..3),
        known in prop::collection::vec((path(), value_text()), 0..4),
    ) {
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let known: Vec<String> = known.iter().map(|(path, value)| format!("{path}={value}")).collect();
        let settings: Vec<&str> = settings.iter().chain(&known).map(String::as_str).collect();
        prop_assert!(answers_in_lines(&load_with(&sound(sink, ""), &variables, &settings)));
    }

    /// A configuration that is accepted is shown such that it is accepted again, and means the same.
    #[test]
    fn what_is_shown_can_be_loaded(
        sink in prop::sample::select(vec!["s3", "directory", "firehose", "stdout"]),
        known in prop::collection::vec((path(), value_text()), 1..3),
    ) {
        let known: Vec<String> = known.iter().map(|(path, value)| format!("{path}={value}")).collect();
        let settings: Vec<&str> = known.iter().map(String::as_str).collect();
        if let Ok(loaded) = load_with(&sound(sink, ""), &[], &settings) {
            let again = load_text(&loaded.effective.to_string());
            prop_assert_eq!(again.map(|again| again.settings), Ok(loaded.settings));
        }
    }
}
