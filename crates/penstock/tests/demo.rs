//! `penstock demo` proves itself: that it ends well, soon, says what it has proved, and leaves nothing behind that nobody asked for.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Account, Job, SOON, penstock, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn job() -> Job {
    Job::bare(&Account::new()).without_credentials()
}

/// What demos wrote into directories of their own. The temporary directory is the job's.
fn scratch(job: &Job) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(job.dir()).expect("the job's directory").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.to_string_lossy().contains("penstock-demo-")).collect()
}

#[track_caller]
fn demo(job: &Job, arguments: &[&str]) -> String {
    let started = Instant::now();
    let output = run(job, &[&["demo"], arguments].concat());
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
    let job = job();
    let out = job.dir().join("demo");
    let table = demo(&job, &["--out", &out.display().to_string()]);
    assert_eq!(number(&table, "records told"), 20_000, "{table}");
    for nothing in ["missing", "repeated", "out of order"] {
        assert_eq!(number(&table, nothing), 0, "{table}");
    }
    assert!(out.join("objects").is_dir() && table.contains(&out.display().to_string()), "{table}");
}

#[test]
fn the_firehose_demo_proves_at_least_once_and_counts_the_repeats() {
    let job = job();
    let table = demo(&job, &["--sink", "firehose"]);
    assert_eq!((number(&table, "records told"), number(&table, "missing")), (20_000, 0), "{table}");
    assert!(number(&table, "repeated") < 20_000, "{table}");
    assert_eq!(scratch(&job), [] as [PathBuf; 0], "nobody asked for the files");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let job = job();
    let mut child =
        penstock(job.dir()).arg("demo").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    wait_until("the demo writes", SOON, || scratch(&job).iter().any(|dir| dir.join("leases.db").exists()));
    let sent = Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(sent.expect("kill starts").success());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert_eq!(scratch(&job), [] as [PathBuf; 0]);
}
