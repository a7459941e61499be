//! The alarms and the dashboard against a real Prometheus: the files are what promtool accepts, each alarm fires and is silent as its
//! test says, and while `scripts/stack` runs every query of rules and dashboard finds series, and an alarm fires.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use penstock_standins::{standin_dir, workspace_dir};
use serde_json::Value;
use tempfile::TempDir;

/// The bound of a wait for something that should take seconds; the machine may be busy.
const SOON: Duration = Duration::from_secs(90);
const JOB: &str = "clicks-to-s3";

fn deploy(file: &str) -> PathBuf {
    workspace_dir().join("deploy").join(file)
}

// === Files ===

#[track_caller]
fn promtool(arguments: &[&str]) -> String {
    let program = standin_dir("prometheus").join("bin/promtool");
    let output = Command::new(program).current_dir(deploy("prometheus")).args(arguments).output().expect("promtool");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}

#[test]
fn promtool_accepts_rules_and_configurations() {
    assert!(promtool(&["check", "rules", "rules.yml"]).contains("SUCCESS"));
    for configuration in ["prometheus.yml", "compose.yml"] {
        assert!(promtool(&["check", "config", configuration]).contains("SUCCESS: 1 rule files found"));
    }
}

#[test]
fn a_wrong_call_of_the_stack_is_one_of_usage() {
    for wrong in [&["--bogus"][..], &["--ports"], &["--ports", "1,2"]] {
        let output = Command::new(workspace_dir().join("scripts/stack")).args(wrong).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("--help"), "{wrong:?}: {said}");
    }
}

#[test]
fn each_alarm_fires_when_it_should_and_only_then() {
    assert!(promtool(&["test", "rules", "rules_test.yml"]).contains("SUCCESS"));
}

/// Both files list the workers of one application, one of them by the names of the compose network.
#[test]
fn the_configurations_differ_in_their_targets_alone() {
    let told = |file: &str| {
        let text = fs::read_to_string(deploy("prometheus").join(file)).expect("a configuration");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("targets"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told("prometheus.yml"), told("compose.yml"));
}

/// What a dashboard asks for: of each panel the title and the queries.
fn dashboard() -> (Value, Vec<(String, String)>) {
    let text = fs::read_to_string(deploy("grafana/penstock.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title").to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((title.clone(), target["expr"].as_str().expect("a query").to_owned()));
        }
    }
    (dashboard, queries)
}

#[test]
fn the_dashboard_is_whole() {
    let (dashboard, queries) = dashboard();
    assert!(queries.len() > 50, "{}", queries.len());
    assert_eq!(dashboard["uid"], "penstock");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "application", "instance"]);
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let (title, place) = (&panel["title"], &panel["gridPos"]);
        let of = |side: &str| place[side].as_u64().unwrap_or_else(|| panic!("{title}: {place}"));
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is another's");
        assert!(of("x") + of("w") <= 24, "{title}: {place}");
        for (column, line) in
            (of("x")..of("x") + of("w")).flat_map(|x| (of("y")..of("y") + of("h")).map(move |y| (x, y)))
        {
            assert!(places.insert((column, line)), "{title} lies over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 3), "{title} is not explained");
        let sources = panel["targets"].as_array().expect("targets").iter().chain([panel]);
        assert!(sources.map(|it| &it["datasource"]["uid"]).all(|uid| uid == "${datasource}"), "{title}");
    }
    // One application at a time, and the workers that are asked for.
    for (title, query) in queries {
        assert!(query.contains("job=\"$application\""), "{title}: {query}");
    }
}

// === A run ===

/// A running `scripts/stack`. Dropped, it is ended, and what is left of it killed.
struct Stack {
    child: Child,
    dir: TempDir,
    prometheus: u16,
    ports: [u16; 5],
}

impl Stack {
    fn start(rules: &str) -> Self {
        let dir = TempDir::with_prefix("penstock-stack-").expect("a temporary directory");
        let rules_file = dir.path().join("rules-of-the-test.yml");
        fs::write(&rules_file, rules).expect("a file in the temporary directory");
        for standin in ["ministack", "aws", "prometheus"] {
            standin_dir(standin);
        }
        let ports = free_ports();
        let listed = ports.map(|port| port.to_string()).join(",");
        let mut child = Command::new(workspace_dir().join("scripts/stack"))
            .env("PENSTOCK", env!("CARGO_BIN_EXE_penstock"))
            .args(["--until-eof", "--interval", "1s", "--ports", &listed])
            // So that a call fails now and then: its series is there only once one has.
            .args(["--fault", "kinesis.GetRecords:throttle:p=0.1"])
            .arg("--dir")
            .arg(dir.path())
            .arg("--rules")
            .arg(&rules_file)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("scripts/stack starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let stack = Self { child, dir, prometheus: ports[4], ports };
        // It says so when everything answers, and ends if something does not.
        let ready = output.lines().map_while(Result::ok).any(|line| line.contains("Ctrl-C ends all of it"));
        assert!(ready, "the stack did not start; see above");
        stack
    }

    fn pid(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.pid"))).expect("a process id").trim().to_owned()
    }

    fn worker(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.ports[1 + number])
    }

    fn api(&self, path: &str) -> Value {
        let body = get(self.prometheus, path).unwrap_or_else(|error| panic!("Prometheus does not answer: {error}"));
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The series that a query finds.
    fn query(&self, query: &str) -> Vec<Value> {
        let data = self.api(&format!("/api/v1/query?query={}", encoded(query)));
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// Ends it by closing its input, which also happens when this process is killed. Its exit code.
    fn end(&mut self) -> i32 {
        drop(self.child.stdin.take());
        let started = Instant::now();
        while started.elapsed() < SOON {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code().unwrap_or(-1);
            }
            thread::sleep(Duration::from_millis(50));
        }
        -1
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.end() == -1 {
            // All of it is in one process group, which the script leads.
            drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status());
            drop(self.child.wait());
        }
        if thread::panicking() {
            for name in ["worker-1", "worker-2", "producer", "prometheus"] {
                let log = fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                #[expect(clippy::print_stderr, reason = "the failing test's reader has to find the log")]
                {
                    eprintln!("--- {name}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
                }
            }
        }
    }
}

/// Ports that nobody listened on a moment ago.
fn free_ports() -> [u16; 5] {
    let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

/// The body of a page. HTTP/1.0, so that it comes in one piece.
fn get(port: u16, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer))
}

fn encoded(query: &str) -> String {
    query
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < SOON, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(250));
    }
}

/// The metrics that an expression asks for, each with its matchers.
fn selectors(expression: &str) -> Vec<String> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(|char: char| char.is_ascii_alphabetic()) {
        let word = &rest[at..];
        let end = word.find(|char: char| !is_name(char)).unwrap_or(word.len());
        let (name, behind) = word.split_at(end);
        let matchers = behind.starts_with('{').then(|| behind.find('}').map_or("", |end| &behind[..=end]));
        if name.contains("penstock_") || name.starts_with("process_") {
            found.push(format!("{name}{}", matchers.unwrap_or_default()));
        }
        // Not into the matchers, whose values are no metrics.
        rest = &behind[matchers.map_or(0, str::len)..];
    }
    found
}

#[test]
fn selectors_are_found_with_their_matchers() {
    let expression = r#"a_b > 0 and sum by (job) (rate(penstock_x_total{class=~"a|penstock_b"}[5m])) / job:penstock_lag:max - process_y"#;
    assert_eq!(
        selectors(expression),
        [r#"penstock_x_total{class=~"a|penstock_b"}"#, "job:penstock_lag:max", "process_y"]
    );
}

/// Waits until everything that is asked for is there; then nothing may be missing.
fn assert_every_query_finds_series(stack: &Stack) {
    let (_, queries) = dashboard();
    let resolved =
        |query: &str| query.replace("$application", JOB).replace("$instance", ".+").replace("$__rate_interval", "20s");
    let rules = stack.api("/api/v1/rules");
    let groups = rules["groups"].as_array().expect("groups").iter();
    let rules: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() > 25, "{}", rules.len());
    let of_rules = rules.iter().flat_map(|rule| selectors(rule["query"].as_str().expect("a query")));
    let recorded = rules.iter().filter(|rule| rule["type"] == "recording");
    let recorded = recorded.map(|rule| rule["name"].as_str().expect("a name").to_owned());
    let mut asked: Vec<(String, String)> =
        queries.iter().map(|(title, query)| (title.clone(), resolved(query))).collect();
    asked.extend(of_rules.chain(recorded).map(|query| ("rules.yml".to_owned(), query)));
    let mut missing = asked;
    let started = Instant::now();
    while !missing.is_empty() {
        missing.retain(|(_, query)| stack.query(query).is_empty());
        assert!(started.elapsed() < SOON, "nothing is found by {missing:#?}");
        thread::sleep(Duration::from_millis(500));
    }
    for rule in rules {
        assert!(rule["lastError"].is_null() && rule["health"] != "err", "{rule:#}");
    }
}

/// Prometheus's own linter on a worker's page. It minds a unit, of names that were given when there was no page yet.
fn assert_linter_minds_only_milliseconds(page: &str) {
    let mut linter = Command::new(standin_dir("prometheus").join("bin/promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    linter.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = linter.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    let minded: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    let known = [
        "penstock_budget_wait_milliseconds_total",
        "penstock_iterator_age_milliseconds",
        "penstock_lag_milliseconds",
        "penstock_sink_wait_milliseconds_total",
    ];
    assert_eq!(minded, known, "{said}");
}

fn firing(stack: &Stack, alarm: &str) -> Option<Value> {
    let alerts = stack.api("/api/v1/alerts");
    let alerts = alerts["alerts"].as_array().cloned().unwrap_or_default();
    alerts.into_iter().find(|alert| alert["labels"]["alertname"] == alarm && alert["state"] == "firing")
}

/// The rules with every wait shortened to a moment.
fn impatient_rules() -> String {
    let rules = fs::read_to_string(deploy("prometheus/rules.yml")).expect("the rules");
    let lines = rules.lines().map(|line| if line.trim().starts_with("for: ") { "        for: 2s" } else { line });
    let rules = lines.collect::<Vec<_>>().join("\n");
    assert!(rules.matches("for: 2s").count() > 10, "{rules}");
    rules
}

#[test]
fn a_real_prometheus_finds_all_that_is_asked_for_and_an_alarm_fires_when_a_worker_is_killed() {
    const DOWN: &str = "PenstockWorkerDown";
    let mut stack = Stack::start(&impatient_rules());
    wait_for("records are delivered", || {
        let delivered = stack.query("sum(penstock_records_delivered_total)");
        delivered.first()?["value"][1].as_str()?.parse::<f64>().ok().filter(|records| *records > 0.0)
    });
    assert_every_query_finds_series(&stack);
    assert_eq!(stack.query(&format!("penstock_ready{{job=\"{JOB}\"}} == 1")).len(), 2, "two workers, both well");
    assert_eq!(firing(&stack, DOWN), None);
    assert_linter_minds_only_milliseconds(&get(stack.ports[2], "/metrics").expect("a page of metrics"));

    let killed = Command::new("kill").args(["-KILL", &stack.pid("worker-1")]).status().expect("kill");
    assert!(killed.success());
    let alert = wait_for("the alarm fires", || firing(&stack, DOWN));
    assert_eq!(alert["labels"]["instance"], stack.worker(1), "{alert:#}");
    let summary = alert["annotations"]["summary"].as_str().expect("a summary");
    assert!(summary.contains(&stack.worker(1)) && summary.contains(JOB), "{summary}");
    wait_for("the other worker takes over", || {
        let held = stack.query(&format!("penstock_leases_held{{instance=\"{}\"}} == 4", stack.worker(2)));
        held.first().cloned()
    });

    let ids = ["kinesis", "ministack", "worker-2", "producer", "prometheus"].map(|name| stack.pid(name));
    assert_eq!(stack.end(), 0);
    for id in ids {
        assert!(!Path::new("/proc").join(&id).exists(), "process {id} is left");
    }
}
