//! What a worker says of itself: its log at `info` with dead services, the level changed while it runs, and `/api/status` against its
//! documentation.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use penstock_standins::workspace_dir;
use serde_json::Value;
use support::{Account, Job, Local, SOON, Services, Stream, Teller, Worker, wait_until};

const SECTIONS: &str = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"lake/out\"\n\
                        buffer_interval = \"1s\"\n";

fn job(local: &Local, shards: u32) -> (Job, Stream) {
    let account = Account::new();
    let stream = Stream::create(&local.endpoint(), &account, "clicks", shards);
    (Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", SECTIONS), stream)
}

/// Status, headers in lower case, and body of a request.
fn ask(worker: &mut Worker, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut connection = TcpStream::connect(worker.admin()).expect("it listens");
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a time-out");
    let length = body.len();
    write!(connection, "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .expect("it takes the request");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers and ends the connection");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_log_level_is_changed_from_this_machine_and_by_no_page() {
    let local = Local::start(&[]);
    let (job, stream) = job(&local, 1);
    let mut worker = Worker::start(&job, "one");
    let here = format!("Host: {}\r\n", worker.admin());
    let mut level = |method: &str, headers: &str, body: &str| {
        let (status, _, said) = ask(&mut worker, method, "/api/log-level", headers, body);
        (status, said)
    };
    assert_eq!(level("GET", &here, ""), (200, "info\n".to_owned()));
    for headers in [
        "Host: example.com\r\n".to_owned(),
        format!("{here}Origin: http://example.com\r\n"),
        format!("{here}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        assert_eq!(level("POST", &headers, "trace").0, 403, "{headers}");
    }
    assert_eq!(level("POST", &here, "loud").0, 400);
    assert_eq!(level("POST", &here, &"x".repeat(10_000)).0, 413);
    assert_eq!(level("GET", &here, ""), (200, "info\n".to_owned()), "nothing of it had an effect");
    assert_eq!(level("POST", &here, "debug"), (200, "debug\n".to_owned()));
    Teller::plain().tell(&stream, 50, 50);
    worker.wait_for_line(&["DEBUG", "checkpoint stored"]);
    assert_eq!(ask(&mut worker, "POST", "/api/log-level", &here, "info").2, "info\n");
    worker.wait_for_line(&["the log level was changed", "from=\"debug\"", "to=\"info\""]);
    worker.drain_cleanly();
}

#[test]
fn paths_and_methods_are_answered_as_http_has_it() {
    let local = Local::start(&[]);
    let (job, _stream) = job(&local, 1);
    let mut worker = Worker::start(&job, "one");
    wait_until("it is ready", SOON, || worker.page("/readyz").0 == 200);
    let here = format!("Host: {}\r\n", worker.admin());
    for path in ["/", "/metrics", "/livez", "/readyz", "/api/status", "/page/page.css"] {
        let (status, head, body) = ask(&mut worker, "HEAD", path, &here, "");
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{path}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        for method in ["POST", "DELETE", "OPTIONS"] {
            let (status, head, _) = ask(&mut worker, method, path, &here, "");
            assert!(status == 405 && head.contains("allow: get, head"), "{method} {path}: {head}");
        }
    }
    let (status, head, _) = ask(&mut worker, "PUT", "/api/log-level", &here, "debug");
    assert!(status == 405 && head.contains("allow: get, head, post"), "{head}");
    let (status, _, body) = ask(&mut worker, "GET", "/nothing", &here, "");
    assert!(status == 404 && ["/metrics", "/api/log-level"].iter().all(|path| body.contains(path)), "{body}");
    let (_, head, _) = ask(&mut worker, "GET", "/", &here, "");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    worker.drain_cleanly();
}

/// Warnings and errors of a log.
fn trouble(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).collect()
}

#[test]
fn a_dead_sink_and_a_dead_stream_are_told_in_few_lines_and_counted() {
    let local = Local::start(&[]);
    let (job, stream) = job(&local, 8);
    let lake = job.dir().join("lake");
    fs::create_dir(&lake).unwrap();
    let mut worker = Worker::start(&job, "one");
    let mut teller = Teller::plain();
    teller.tell(&stream, 400, 200);
    wait_until("it delivers", SOON, || worker.metrics().sum("penstock_records_delivered_total") >= 400.0);
    let before = worker.log();
    assert!(trouble(&before).is_empty(), "{before}");
    assert!(before.lines().count() < 20, "a start is a few lines and one for each lease: {before}");

    // A file where the directory was: whatever is put fails.
    fs::rename(&lake, job.dir().join("gone")).unwrap();
    fs::write(&lake, "").unwrap();
    teller.tell(&stream, 400, 200);
    wait_until("the sink is down", SOON, || {
        let status = worker.status();
        status["sink"]["state"] == "down" && status["errors"][0]["count"].as_u64().is_some_and(|count| count >= 24)
    });
    let (code, obstacles) = worker.page("/readyz");
    assert!(code == 503 && obstacles.starts_with("sink: "), "{obstacles}");
    assert_eq!(worker.page("/livez").0, 200, "to start it again would not help");
    let (log, status) = (worker.log(), worker.status());
    let told = trouble(&log);
    let failed: u64 = status["errors"].as_array().unwrap().iter().filter_map(|error| error["count"].as_u64()).sum();
    assert!(!told.is_empty() && told.len() <= 20 && failed > told.len() as u64, "{failed} failures: {told:#?}");
    assert!(
        told.iter().all(|line| line.contains("stream=clicks shard=shardId-") && line.contains("class=\"")),
        "{told:#?}"
    );
    is_documented(&status);

    fs::remove_file(&lake).unwrap();
    fs::rename(job.dir().join("gone"), &lake).unwrap();
    wait_until("it is well again", SOON, || {
        worker.page("/readyz").0 == 200 && worker.metrics().sum("penstock_records_delivered_total") >= 800.0
    });

    // And nobody to read from.
    let so_far = trouble(&worker.log()).len();
    drop(local);
    wait_until("reading fails", SOON, || {
        let errors = worker.status()["errors"].clone();
        let of = |error: &&Value| error["operation"] == "GetRecords";
        errors.as_array().unwrap().iter().find(of).is_some_and(|error| error["count"].as_u64() >= Some(40))
    });
    let log = worker.log();
    let told = &trouble(&log)[so_far..];
    assert!(!told.is_empty() && told.len() <= 20, "{told:#?}");
    worker.signal("TERM");
    assert_eq!(worker.exit_code(SOON), 0);
}

// === docs/status.md ===

/// The fields of the table in `docs/status.md`.
fn documented() -> BTreeSet<String> {
    let text = fs::read_to_string(workspace_dir().join("docs/status.md")).expect("the page exists");
    let section = text.split("## /api/status").nth(1).expect("it has the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().expect("a field").to_owned()).collect()
}

/// The fields of a value by their paths: `a.b`, `a[].b` within lists; `a{}` for what is counted by reason.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        _ if COUNTED.contains(&path) => drop(found.insert(format!("{path}{{}}"))),
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                fields(member, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(entries) if entries.iter().any(Value::is_object) => {
            entries.iter().for_each(|entry| fields(entry, &format!("{path}[]"), found));
        }
        Value::Array(_) => drop(found.insert(format!("{path}[]"))),
        _ => drop(found.insert(path.to_owned())),
    }
}

const COUNTED: [&str; 4] = ["records.set_aside", "records.dropped", "records.abandoned", "gaps.noticed_by_reason"];

/// What a real answer has is documented, and what is documented a real answer has. There is no gap in it; the fields of an entry of the
/// ledger are held against the documentation where they are made.
#[track_caller]
fn is_documented(status: &Value) {
    let mut found = BTreeSet::new();
    fields(status, "", &mut found);
    found.remove("gaps.entries[]");
    let documented: BTreeSet<String> =
        documented().into_iter().filter(|field| !field.starts_with("gaps.entries[]")).collect();
    assert_eq!(found.difference(&documented).collect::<Vec<_>>(), [""; 0], "not documented");
    assert_eq!(documented.difference(&found).collect::<Vec<_>>(), [""; 0], "not in the answer");
}
