//! What the code asks of AWS, read from its source: a call without a permission, or a permission without a call, fails a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::tools::path;

/// Files that only development uses, against stand-ins, and what uses them.
const DEVELOPMENT: [(&str, &str); 1] = [("producer.rs", "`penstock demo` writes to the local Kinesis and Firehose")];

/// The operations of each service that `penstock-aws` calls outside its tests, as IAM names them: `kinesis:GetRecords`.
pub(crate) fn called() -> BTreeSet<String> {
    by_file().into_values().flatten().collect()
}

/// Those that these files call.
pub(crate) fn called_in(files: &[&str]) -> BTreeSet<String> {
    let found = by_file();
    files.iter().flat_map(|file| found.get(*file).unwrap_or_else(|| panic!("{file} is gone")).clone()).collect()
}

fn by_file() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    collect(&path("crates/penstock-aws/src"), &mut found);
    for (file, why) in DEVELOPMENT {
        assert!(found.contains_key(file), "{file} is gone ({why})");
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let file = entry.expect("an entry").path();
        if file.is_dir() {
            collect(&file, found);
        } else {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
            let text = fs::read_to_string(&file).expect("source is text");
            let operations =
                if DEVELOPMENT.iter().any(|(dev, _)| *dev == name) { BTreeSet::new() } else { operations(&text) };
            found.entry(name).or_default().extend(operations);
        }
    }
}

/// `client.get_records()`, however it is broken into lines, in a file that names `aws_sdk_kinesis`.
fn operations(source: &str) -> BTreeSet<String> {
    let shipped = source.split("#[cfg(test)]").next().unwrap_or_default();
    let text: String = shipped.split_whitespace().collect();
    let sdk: BTreeSet<&str> = text
        .split("aws_sdk_")
        .skip(1)
        .map(|rest| &rest[..rest.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(rest.len())])
        .collect();
    let calls = text.split("client.").skip(1).filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_')?;
        rest[end..].starts_with("()").then(|| &rest[..end])
    });
    let calls: Vec<&str> = calls.filter(|call| !matches!(*call, "clone" | "config")).collect();
    if calls.is_empty() {
        return BTreeSet::new();
    }
    assert!(sdk.len() == 1, "a file that calls {calls:?} has to name one SDK, not {sdk:?}");
    calls.into_iter().flat_map(|call| sdk.iter().map(move |sdk| format!("{sdk}:{}", camel(call)))).collect()
}

fn camel(snake: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    snake.split('_').map(capital).collect()
}

#[test]
fn calls_are_found_however_they_are_broken_into_lines() {
    let source = "use aws_sdk_kinesis::Client;\nself.client\n    .get_records()\n    .send(); self.client.clone(); \
                  #[cfg(test)] mod tests { client.put_records() }";
    assert_eq!(operations(source), BTreeSet::from(["kinesis:GetRecords".to_owned()]));
}
