//! Metrics, their page, the alarms and the dashboard name the same things: what is in the catalogue is documented, what is documented
//! is in the catalogue, and whatever is asked for can be had.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use penstock_engine::metrics::catalogue::{CATALOGUE, Kind, Metric};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders below the root")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A row of a table of docs/metrics.md: what stands in its columns.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    labels: Vec<String>,
    kind: String,
    meaning: String,
}

fn rows() -> BTreeMap<String, Row> {
    let page = read("docs/metrics.md");
    let page = page.split("## What there is").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = line.trim_matches('|').splitn(3, " | ").collect();
        let [metric, kind, meaning] = columns[..] else { panic!("not three columns: {line}") };
        let metric = metric.trim().trim_matches('`');
        let (name, labels) = metric.split_once('{').unwrap_or((metric, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let row =
            Row { labels: labels.map(str::to_owned).collect(), kind: kind.to_owned(), meaning: meaning.to_owned() };
        assert!(rows.insert(name.to_owned(), row).is_none(), "{name} is documented twice");
    }
    rows
}

#[test]
fn every_metric_is_documented_with_type_and_labels_and_nothing_else_is() {
    let rows = rows();
    let names: BTreeSet<&str> = CATALOGUE.iter().map(|metric| metric.name).collect();
    let documented: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(documented, names, "documented on the left, in the catalogue on the right");
    for Metric { name, kind, labels, .. } in CATALOGUE {
        let row = &rows[*name];
        assert_eq!(row.kind, kind.as_str(), "{name}");
        assert!(row.labels.iter().eq(labels.iter().map(|label| label.name)), "{name}: {:?}", row.labels);
    }
}

/// Operations are the services' own names, and classes stand once, where deliveries are.
#[test]
fn every_value_of_a_label_is_documented() {
    let rows = rows();
    for metric in CATALOGUE {
        let said = &rows[metric.name].meaning;
        let values = metric.labels.iter().filter(|label| label.name != "operation").flat_map(|label| (label.values)());
        for value in values.filter(|_| metric.name != "penstock_call_errors_total") {
            assert!(said.contains(&format!("`{value}`")), "{} does not tell of {value}: {said}", metric.name);
        }
    }
}

/// The names of metrics in a text; of a histogram without what its series append.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let is_part = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    let words = text.split(|char: char| !is_part(char) && char != ':');
    let words = words.filter(|word| word.starts_with("penstock_") || word.starts_with("process_"));
    words.map(|word| histogram_of(word).unwrap_or(word)).collect()
}

fn histogram_of(series: &str) -> Option<&str> {
    let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end))?;
    CATALOGUE.iter().any(|metric| metric.name == name && matches!(metric.kind, Kind::Histogram(_))).then_some(name)
}

#[test]
fn rules_dashboard_and_pages_name_metrics_that_there_are() {
    let names: BTreeSet<&str> = CATALOGUE.iter().map(|metric| metric.name).collect();
    let mut files =
        vec!["deploy/prometheus/rules.yml", "deploy/prometheus/rules_test.yml", "deploy/grafana/penstock.json"];
    let pages: Vec<String> = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    files.extend(pages.iter().map(String::as_str));
    let mut asked = 0;
    for file in files {
        let text = read(file);
        // Crates have such names too, with paths in them.
        let crates =
            ["core", "engine", "objects", "aws", "local", "sim", "standins"].map(|it| format!("penstock_{it}"));
        let of_code = |name: &&str| crates.iter().any(|it| name.split("::").next() == Some(it));
        let named: Vec<&str> = metrics_in(&text).into_iter().filter(|name| !of_code(name)).collect();
        let unknown: Vec<&&str> = named.iter().filter(|name| !names.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} names what there is not: {unknown:?}");
        asked += named.len();
    }
    assert!(asked > 100, "{asked}");
}

/// What the dashboard leaves out would not be looked at.
#[test]
fn the_dashboard_shows_every_metric_of_the_worker() {
    let dashboard = read("deploy/grafana/penstock.json");
    let shown = metrics_in(&dashboard);
    // Per shard, the age of what is not settled is told by the worker's largest.
    let hidden = ["penstock_oldest_unsettled_age_seconds"];
    let missing: Vec<&str> = CATALOGUE.iter().map(|it| it.name).filter(|name| !shown.contains(name)).collect();
    assert_eq!(missing, hidden);
}

/// The alarms by name: the text of each.
fn alarms() -> BTreeMap<String, String> {
    let rules = read("deploy/prometheus/rules.yml");
    let blocks = rules.split("- alert: ").skip(1);
    let named = blocks.map(|block| {
        let (name, rest) = block.split_once('\n').expect("more than a name");
        (name.trim().to_owned(), rest.split("\n\n").next().unwrap_or(rest).to_owned())
    });
    named.collect()
}

#[test]
fn every_alarm_says_how_urgent_it_is_what_it_means_and_where_to_read_on() {
    let alarms = alarms();
    assert!(alarms.len() > 20, "{alarms:?}");
    for (name, text) in &alarms {
        let field = |field: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(field));
            line.unwrap_or_else(|| panic!("{name} has no {field}")).trim().to_owned()
        };
        let severity = field("labels: { severity: ");
        assert!(["critical }", "warning }", "info }"].contains(&severity.as_str()), "{name}: {severity}");
        assert!(field("summary:").len() > 20 && field("description:").len() > 20, "{name}");
        let runbook = field("runbook_url:");
        let (page, anchor) = runbook.split_once('#').unwrap_or_else(|| panic!("{name}: {runbook} has no anchor"));
        assert!(read(page).contains(&format!("<a id=\"{anchor}\"></a>\n### ")), "{name}: there is no {runbook}");
    }
}

#[test]
fn every_alarm_is_shown_firing_and_silent() {
    let tests = read("deploy/prometheus/rules_test.yml");
    for name in alarms().keys() {
        let silent = format!("alertname: {name} }}");
        let firing = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels:");
        // Among the healthy, and in a test of its own.
        assert!(tests.matches(&silent).count() >= 2, "{name} is not shown silent by itself");
        assert!(tests.contains(&firing), "{name} is not shown firing");
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_metric_is_made_but_from_the_catalogue() {
    let mut files = Vec::new();
    for crate_dir in fs::read_dir(root().join("crates")).expect("the crates") {
        sources(&crate_dir.expect("a crate").path().join("src"), &mut files);
    }
    assert!(files.len() > 100, "{}", files.len());
    let calls = ["counter!(", "gauge!(", "histogram!("];
    let makes = |path: &&PathBuf| {
        let text = fs::read_to_string(path).expect("a source");
        calls.iter().any(|call| text.contains(call))
    };
    let makers: Vec<&PathBuf> = files.iter().filter(makes).collect();
    let [catalogue] = makers[..] else { panic!("{makers:?}") };
    assert!(catalogue.ends_with("penstock-engine/src/metrics/catalogue.rs"), "{catalogue:?}");
}
