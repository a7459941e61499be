//! The files that we ship say what the schema says.

use super::super::layers::environment_name;
use super::super::problem::Origin;
use super::super::schema::{Fallback, KEYS, Key, Kind};
use super::super::unit;
use super::super::value::{self, Value};
use super::{LEAST, load_text};
use config::ValueKind;
use std::path::PathBuf;

fn shipped(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// === config/penstock.toml ===

/// The shipped file with only the sink block of this type live. Code that is commented out has no blank after `#`.
fn with_sink(text: &str, sink_type: &str) -> String {
    let mut live = None;
    let mut chosen = String::new();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let code = line.strip_prefix('#').filter(|code| !code.starts_with(' ')).unwrap_or(line);
        if code == "[sink]" {
            let next = lines[index + 1].trim_start_matches('#');
            live = Some(next.starts_with(&format!("type = {sink_type:?}")));
        } else if code.is_empty() || code.starts_with('[') {
            live = None;
        }
        let line = match live {
            Some(true) => code.to_owned(),
            Some(false) => format!("# {line}"),
            None => (*line).to_owned(),
        };
        chosen.push_str(&line);
        chosen.push('\n');
    }
    chosen
}

/// The value that nobody has to write down; `None` for a key that has to be given.
fn default_of(key: &Key) -> Option<Value> {
    match (&key.fallback, &key.kind) {
        (Fallback::Required, _) => None,
        (Fallback::Value(text), _) => {
            let raw = ValueKind::String((*text).to_owned());
            Some(value::convert(key, &raw, &Origin::Default).unwrap())
        }
        (_, Kind::List(_)) => Some(Value::List(Vec::new())),
        _ => Some(Value::Text(String::new())),
    }
}

fn converted(key: &Key, found: &toml::Value) -> Value {
    let raw = match found {
        toml::Value::String(text) => ValueKind::String(text.clone()),
        toml::Value::Integer(number) => ValueKind::I64(*number),
        toml::Value::Boolean(value) => ValueKind::Boolean(*value),
        other => panic!("{} = {other}", key.path),
    };
    let origin = Origin::File { name: "penstock.toml".to_owned(), line: 1 };
    value::convert(key, &raw, &origin).unwrap()
}

#[test]
fn the_shipped_file_holds_every_key_with_its_default_for_each_sink() {
    let text = shipped("config/penstock.toml");
    for (sink_type, _) in LEAST {
        let live = with_sink(&text, sink_type);
        load_text(&live).unwrap_or_else(|problems| panic!("{sink_type}: {problems}\n{live}"));
        let table: toml::Table = live.parse().unwrap();
        for key in KEYS.iter().filter(|key| key.belongs_to(sink_type)) {
            let found = key
                .path
                .split('.')
                .try_fold(&toml::Value::Table(table.clone()), |value, name| value.get(name))
                .cloned();
            let Some(found) = found else { panic!("{} is not in the [{sink_type}] form of the file", key.path) };
            let start = format!("{} = ", key.name());
            let marked = |line: &str| line.starts_with(&start) && line.contains("# required");
            match default_of(key) {
                Some(default) => assert_eq!(converted(key, &found), default, "{}", key.path),
                None => assert!(live.lines().any(marked), "{} is not marked as required", key.path),
            }
        }
    }
}

#[test]
fn the_shipped_file_says_required_only_where_it_is() {
    for line in shipped("config/penstock.toml").lines().filter(|line| line.contains("# required")) {
        let name = line.trim_start_matches('#').split(" = ").next().unwrap();
        let is_required = |key: &Key| key.name() == name && matches!(key.fallback, Fallback::Required);
        assert!(KEYS.iter().any(is_required), "{line}");
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load_text(&std::fs::read_to_string(&path).unwrap());
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
        assert_eq!(loaded.warnings, [], "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples");
}

// === docs/configuration.md ===

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "text",
        Kind::List(_) => "list",
        Kind::Choice(_) => "word",
        Kind::Boolean => "boolean",
        Kind::Integer(..) => "number",
        Kind::Duration(..) => "duration",
        Kind::Size(..) => "size",
    }
}

/// The key's row as the documentation has to hold it.
fn row(key: &Key) -> String {
    let default = match key.fallback {
        Fallback::Required => "**required**".to_owned(),
        Fallback::Value(text) => match key.kind {
            Kind::Boolean | Kind::Integer(..) => format!("`{text}`"),
            _ => format!("`{}`", value::quote(text)),
        },
        Fallback::Derived(from) => format!("from {from}"),
        Fallback::Unset => "not set".to_owned(),
    };
    let allowed = match &key.kind {
        // The one bound that is a sum, which the chapter on memory explains.
        Kind::Size(0, most) => format!("64MiB to {}", unit::format_size(*most)),
        kind => kind.allowed(),
    };
    let sinks = if key.sinks.is_empty() { String::new() } else { format!("*{}*: ", key.sinks.join(", ")) };
    format!("| `{}` | {} | {default} | {allowed} | {sinks}{} |", key.path, kind_name(&key.kind), key.meaning)
}

/// What stands between these two lines is made from the schema.
const BEGIN: &str = "<!-- keys of ";
const END: &str = "<!-- end of keys -->";

/// The page with its tables as the schema has them, and the sections that it has tables of.
fn with_tables(page: &str) -> (String, Vec<String>) {
    let mut made = String::new();
    let mut sections = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        made += &format!("{line}\n");
        let Some(names) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        made += "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n";
        for name in names.split(", ") {
            sections.push(name.to_owned());
            let rows = KEYS.iter().filter(|key| key.section() == name).map(|key| row(key) + "\n");
            made.extend(rows);
        }
        assert!(lines.any(|line| line == END), "the table of {names} has no end");
        made += &format!("{END}\n");
    }
    (made, sections)
}

#[test]
fn the_documentation_holds_what_the_schema_says() {
    const PAGE: &str = "docs/configuration.md";
    let page = shipped(PAGE);
    let (made, sections) = with_tables(&page);
    let mut expected: Vec<&str> = KEYS.iter().map(Key::section).collect();
    expected.dedup();
    assert_eq!(sections, expected, "{PAGE} has a table of each section, once, in the schema's order");
    if std::env::var_os("PENSTOCK_WRITE_REFERENCE").is_some() {
        std::fs::write(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE), &made).unwrap();
    } else {
        assert!(page == made, "{PAGE} is not what the schema says: `make reference` writes it anew");
    }
}

#[test]
fn a_table_that_differs_is_made_anew_and_prose_is_left_alone() {
    let page = format!("# Prose\n\n{BEGIN}log -->\n| a lie |\n{END}\nmore prose\n");
    let (made, sections) = with_tables(&page);
    assert_eq!(sections, ["log"]);
    assert!(made.starts_with("# Prose\n\n") && made.ends_with("more prose\n") && !made.contains("a lie"), "{made}");
    assert!(made.contains("| `log.level` | word | `\"info\"` | error, warn, info, debug, trace |"), "{made}");
    assert_eq!(with_tables(&made).0, made);
}

#[test]
fn the_names_of_environment_variables_follow_from_the_keys() {
    let names: Vec<String> = KEYS.iter().map(environment_name).collect();
    assert!(names.contains(&"PENSTOCK__SINK__BUCKET".to_owned()));
    assert!(names.contains(&"PENSTOCK__AWS__ENDPOINTS__S3".to_owned()));
}
