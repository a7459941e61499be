//! `penstock demo` proves itself: that it ends well, soon, and says what it has proved.

mod support;

use std::time::{Duration, Instant};

use support::{Account, Job, run};

const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn demo(sink: &str) -> String {
    let job = Job::bare(&Account::new()).without_credentials();
    let started = Instant::now();
    let out = job.dir().join("demo").display().to_string();
    let output = run(&job, &["demo", "--sink", sink, "--out", &out]);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(started.elapsed() < LIMIT, "it took {:?}", started.elapsed());
    // Nobody watches: progress is plain lines, each with its time, on stderr alone.
    let lines: Vec<&str> = output.stderr.lines().collect();
    let is_plain = |line: &&str| line.contains(" s  ") && !line.contains(['\u{1b}', '\r']);
    assert!(lines.iter().all(is_plain), "{}", output.stderr);
    assert!(lines.iter().any(|line| line.ends_with("of 20000 records told")), "{}", output.stderr);
    assert!(!output.stdout.contains(" s  "), "{}", output.stdout);
    output.stdout
}

/// The number at the end of the line that begins with these words.
#[track_caller]
fn number(table: &str, words: &str) -> u64 {
    let line = table.lines().find(|line| line.trim_start().starts_with(words));
    let line = line.unwrap_or_else(|| panic!("no line about {words:?} in\n{table}"));
    line.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number: {line}"))
}

#[test]
fn the_directory_demo_proves_exactly_once() {
    let table = demo("directory");
    assert_eq!(number(&table, "records told"), 20_000, "{table}");
    for nothing in ["missing", "repeated", "out of order"] {
        assert_eq!(number(&table, nothing), 0, "{table}");
    }
}

#[test]
fn the_firehose_demo_proves_at_least_once_and_counts_the_repeats() {
    let table = demo("firehose");
    assert_eq!((number(&table, "records told"), number(&table, "missing")), (20_000, 0), "{table}");
    assert!(number(&table, "repeated") < 20_000, "{table}");
}
