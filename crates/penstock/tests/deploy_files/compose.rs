//! `docker-compose.yml`: judged by the real docker-compose, checked against what it mounts and starts; and the same processes, run
//! without containers.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use penstock_standins::{Ministack, s3_keys, standin_dir};
use serde_json::Value;

use super::support::{Local, wait_until};
use super::tools::{Judgement, judge, pass, path, penstock, read, seconds, toml, tool, yaml};

const CONFIGURATION: &str = "deploy/docker/penstock.toml";
const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
const LONG: Duration = Duration::from_secs(90);

fn services() -> BTreeMap<String, Value> {
    let said = pass(tool("docker-compose").args(["config", "--format", "json"]));
    let project: Value = serde_json::from_str(&said).expect("docker-compose writes JSON");
    let services = project["services"].as_object().expect("services");
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    variables.map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned())).collect()
}

#[test]
fn docker_compose_takes_the_file() {
    pass(tool("docker-compose").args(["config", "--quiet"]));
    // And the judge would notice.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wrong = dir.path().join("docker-compose.yml");
    std::fs::write(&wrong, read("docker-compose.yml").replace("init: { condition", "innit: { condition"))
        .expect("it can be written");
    let Judgement { content, said } = judge(tool("docker-compose").arg("-f").arg(&wrong).arg("config"));
    assert!(!content && said.contains("innit"), "{said}");
}

#[test]
fn what_it_mounts_and_builds_is_there_and_it_publishes_on_loopback_only() {
    for (name, service) in services() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"].as_str().expect("a path");
            assert!(std::path::Path::new(source).is_file(), "{name} mounts {source}");
            assert_eq!(volume["read_only"], true, "{name}: {source}");
        }
        if let Some(file) = service["build"]["dockerfile"].as_str() {
            assert!(path(file).is_file(), "{name}: {file}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
        // An image of others is one of a known version.
        if service.get("build").is_none() {
            let image = service["image"].as_str().expect("an image");
            assert!(image.rsplit_once(':').is_some_and(|(_, tag)| tag.contains('.')), "{name}: {image}");
        }
    }
}

#[test]
fn nobody_waits_for_a_health_that_is_never_told() {
    let services = services();
    for (name, service) in &services {
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let ends = matches!(other.as_str(), "init");
            let expected = if ends { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(how["condition"], expected, "{name} waits for {other}");
            assert!(ends || services[other]["healthcheck"]["test"].is_array(), "{other} has no health check");
        }
    }
}

#[test]
fn the_workers_fit_their_configuration_and_the_others_names() {
    let services = services();
    let endpoints = toml(CONFIGURATION)["aws"]["endpoints"].as_table().expect("endpoints").clone();
    for (service, endpoint) in endpoints {
        let endpoint = endpoint.as_str().expect("a text").to_owned();
        let (host, port) = endpoint.trim_start_matches("http://").split_once(':').expect("host and port");
        let published = services[host]["ports"].as_array().expect("ports");
        let port: u64 = port.parse().expect("a number");
        assert!(published.iter().any(|it| it["target"] == port), "{service}: {endpoint}");
    }
    let grace = toml("config/penstock.toml")["shutdown"]["grace_period"].as_str().map(seconds).expect("a default");
    for worker in WORKERS {
        let worker = &services[worker];
        let patience = worker["stop_grace_period"].as_str().map(seconds).expect("a time");
        assert!(grace + 10 <= patience, "{patience}");
        assert_eq!((&worker["read_only"], &worker["cap_drop"][0]), (&Value::Bool(true), &Value::from("ALL")));
        pass(penstock().envs(environment(worker)).args(["check", "-c"]).arg(path(CONFIGURATION)));
    }
}

#[test]
fn prometheus_scrapes_the_workers_and_grafana_finds_its_dashboard() {
    let targets: Vec<String> = yaml("deploy/prometheus/compose.yml")["scrape_configs"]
        .as_array()
        .expect("jobs")
        .iter()
        .flat_map(|job| job["static_configs"].as_array().cloned().unwrap_or_default())
        .flat_map(|group| group["targets"].as_array().cloned().unwrap_or_default())
        .map(|target| target.as_str().expect("a text").to_owned())
        .collect();
    for worker in WORKERS {
        assert!(targets.contains(&format!("{worker}:9464")), "{targets:?}");
    }
    let services = services();
    let mounted = |service: &str, source: &str| {
        let volumes = services[service]["volumes"].as_array().expect("volumes");
        let found = volumes.iter().find(|it| it["source"].as_str().is_some_and(|path| path.ends_with(source)));
        let found = found.unwrap_or_else(|| panic!("{service} does not mount {source}"));
        found["target"].as_str().expect("a path").to_owned()
    };
    // Rules are named by a path of the container, or beside the file that names them.
    let rules = yaml("deploy/prometheus/compose.yml")["rule_files"][0].as_str().expect("a path").to_owned();
    let file = mounted("prometheus", "deploy/prometheus/rules.yml");
    assert!(file == rules || file == format!("/etc/prometheus/{rules}"), "{file} {rules}");

    let provider = yaml("deploy/grafana/provisioning/dashboards/penstock.yml");
    let folder = provider["providers"][0]["options"]["path"].as_str().expect("a path").to_owned();
    let dashboard = mounted("grafana", "deploy/grafana/penstock.json");
    assert!(dashboard.starts_with(&folder), "{dashboard} {folder}");
    let source = yaml("deploy/grafana/provisioning/datasources/penstock.yml");
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
}

/// A process that ends with its test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the file sets up, starts and runs, with addresses of this machine for the names of the containers.
#[test]
fn the_same_processes_without_containers_deliver() {
    let services = services();
    let (kinesis, others) = (Local::start(&[]), Ministack::start());
    let here = |service: &str| {
        let variables = environment(&services[service]).into_iter();
        variables.map(|(name, value)| {
            let value = value
                .replace("http://kinesis:4567", &kinesis.endpoint())
                .replace("http://ministack:4566", &others.endpoint());
            (name, value)
        })
    };
    // As the health check of the service asks.
    pass(penstock().args(["health", "--url", &format!("{}/livez", kinesis.endpoint())]));

    let python = standin_dir("aws").join("bin/python");
    let script = |name: &str| {
        let mut command = Command::new(&python);
        command.arg(path(&format!("deploy/docker/{name}"))).env_clear();
        command
    };
    let init = || pass(script("init.py").envs(here("init")));
    init();
    // As `docker compose up` does with what is there.
    init();
    let _producer = Process::start(script("producer.py").envs(here("producer")).stdout(Stdio::null()));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut worker = penstock();
    worker.envs(here("worker-1")).current_dir(dir.path()).env("TMPDIR", dir.path()).stderr(Stdio::null());
    worker.args(["run", "-c"]).arg(path(CONFIGURATION)).args([
        "--set",
        "sink.buffer_interval=1s",
        "--set",
        "admin.listen=127.0.0.1:0",
    ]);
    for (service, endpoint) in [
        ("kinesis", kinesis.endpoint()),
        ("dynamodb", others.endpoint()),
        ("s3", others.endpoint()),
        ("firehose", others.endpoint()),
    ] {
        worker.arg("--set").arg(format!("aws.endpoints.{service}={endpoint}"));
    }
    let mut worker = Process::start(&mut worker);
    let account = environment(&services["worker-1"])["AWS_ACCESS_KEY_ID"].clone();
    wait_until("objects in the bucket", LONG, || {
        assert!(worker.0.try_wait().expect("a child can be waited for").is_none(), "the worker ended");
        s3_keys(&others.endpoint(), &account, "lake").iter().any(|key| key.starts_with("clicks/"))
    });
}
