//! The admin server as a scraper sees it: one GET a connection, and the page of metrics read strictly.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// Status and body of a page.
pub(crate) fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(LIMIT))?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    Ok((status, body.to_owned()))
}

/// A page of metrics in Prometheus's text format.
#[derive(Debug, Default)]
pub(crate) struct Page {
    types: BTreeMap<String, String>,
    helped: Vec<String>,
    series: BTreeMap<String, BTreeMap<Labels, f64>>,
}

/// The labels of one series.
pub(crate) type Labels = BTreeMap<String, String>;

impl Page {
    /// Reads a page and refuses what a scraper would refuse, and what its linter would complain about: a type told twice or
    /// after its series, series of one name in two places, a series told twice, a name or a label that is none.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let name = rest.split(' ').next().unwrap_or_default().to_owned();
                assert!(!page.helped.contains(&name), "help for {name} is told twice");
                page.helped.push(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
                assert!(!page.series.contains_key(name), "the type of {name} comes after its series");
                assert!(page.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two types");
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let (name, labels, value) = series(line);
                if name != current {
                    assert!(!page.series.contains_key(&name), "the series of {name} stand in two places");
                    current.clone_from(&name);
                }
                let earlier = page.series.entry(name).or_default().insert(labels, value);
                assert!(earlier.is_none(), "a series is told twice: {line}");
            }
        }
        page
    }

    /// The type of a metric.
    pub(crate) fn type_of(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }

    /// Whether a metric has a description.
    pub(crate) fn has_help(&self, name: &str) -> bool {
        self.helped.iter().any(|helped| helped == name)
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// The series of a name; none if it has none.
    pub(crate) fn series(&self, name: &str) -> Vec<(&Labels, f64)> {
        self.series.get(name).into_iter().flatten().map(|(labels, value)| (labels, *value)).collect()
    }

    /// The sum over all series of a name; 0 without one.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.series(name).iter().map(|(_, value)| value).sum()
    }
}

fn series(line: &str) -> (String, Labels, f64) {
    let wrong = || -> ! { panic!("not a series: {line}") };
    let (head, labels, value) = match line.split_once('{') {
        Some((name, rest)) => {
            let Some((labels, value)) = rest.rsplit_once('}') else { wrong() };
            (name, labels, value)
        }
        None => {
            let Some((name, value)) = line.split_once(' ') else { wrong() };
            (name, "", value)
        }
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == ':')
    };
    if !is_name(head) {
        wrong();
    }
    let mut found = Labels::new();
    for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
        let Some((label, value)) = pair.split_once('=') else { wrong() };
        let Some(value) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else { wrong() };
        if !is_name(label) || found.insert(label.to_owned(), value.to_owned()).is_some() {
            wrong();
        }
    }
    let Ok(value) = value.trim().parse() else { wrong() };
    (head.to_owned(), found, value)
}
