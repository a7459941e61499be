//! Where credentials and the Region come from, and what is said when they do not: each case in a process of its own, since the
//! chain reads the environment.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use penstock_aws::clients::{self, AssumedRole, AwsSettings, ServiceSettings};
use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_engine::ports::ShardSource;
use penstock_standins::unique_account;
use serde_json::json;
use support::{kinesis, ministack};

/// What the child prints before its answer.
const MARK: &str = "answer: ";

/// Starts this test program again with nothing in its environment but `variables`, and gives its one line and how long it took.
fn child(case: &str, variables: &[(&str, &str)]) -> (String, Duration) {
    let home = tempfile::tempdir().expect("a directory");
    let started = Instant::now();
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "--nocapture", "child_process"])
        .env_clear()
        .env("HOME", home.path())
        .env("CASE", case)
        .envs(variables.iter().copied())
        .output()
        .expect("a child process");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<_> = text.lines().filter_map(|line| line.split_once(MARK)).map(|(_, answer)| answer).collect();
    let [answer] = answers.as_slice() else {
        panic!("{case}: not one line: {text}\n{}", String::from_utf8_lossy(&output.stderr))
    };
    ((*answer).to_owned(), started.elapsed())
}

/// Says in one line how it went.
#[tokio::test]
#[ignore = "the child process of the tests here"]
async fn child_process() {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = AwsSettings { region: variable("SET_REGION"), profile: variable("SET_PROFILE") };
    let base = clients::load(&settings).await;
    let answer = match variable("CASE").as_deref() {
        Some("credentials") => match clients::check_credentials(&base, "the source").await {
            Ok(()) => "had".to_owned(),
            Err(error) => error.to_string(),
        },
        Some("region") => clients::region(&base, "kinesis").unwrap_or_else(|error| error.to_string()),
        Some("describe") => {
            let service = ServiceSettings {
                region: variable("SERVICE_REGION"),
                endpoint: variable("ENDPOINT"),
                role: variable("ROLE").map(|arn| AssumedRole { arn, external_id: Some("clicks".to_owned()) }),
            };
            let config = clients::for_service(&base, &service).await;
            match KinesisSource::new(&config, StreamRef::new("clicks")).describe().await {
                Ok(stream) => format!("{} {}", stream.name, stream.arn.unwrap_or_default()),
                Err(error) => error.to_string(),
            }
        }
        other => panic!("no case {other:?}"),
    };
    println!("{MARK}{answer}");
}

const NO_METADATA: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
const REGION: (&str, &str) = ("SET_REGION", "us-east-1");

#[test]
fn no_credentials_are_one_line_that_says_what_to_do() {
    let (line, took) = child("credentials", &[NO_METADATA, REGION]);
    assert!(line.starts_with("credentials on the source failed: no AWS credentials: "), "{line}");
    assert!(line.contains("give the task or instance a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"), "{line}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (line, _) = child("describe", &[NO_METADATA, REGION, ("ENDPOINT", "http://127.0.0.1:1")]);
    assert!(line.starts_with("DescribeStreamSummary on clicks failed: no credentials could be had: "), "{line}");
}

#[test]
fn instance_metadata_that_does_not_answer_is_not_waited_for() {
    // TEST-NET-1: packets to it go nowhere, as those to the metadata service do on other machines.
    let silent = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1");
    let (line, took) = child("credentials", &[silent, REGION]);
    assert!(line.contains("no AWS credentials"), "{line}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    let (line, took) = child("region", &[silent]);
    assert!(line.contains("no Region"), "{line}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_profile_that_does_not_exist_is_named() {
    let (line, _) = child("credentials", &[NO_METADATA, REGION, ("SET_PROFILE", "no-such-profile")]);
    assert!(line.contains("no AWS credentials") && line.contains("aws.profile is \"no-such-profile\""), "{line}");
    // A profile that is asked for does not stand in the way of credentials.
    let keys = [("AWS_ACCESS_KEY_ID", "123456789012"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let (line, _) =
        child("credentials", &[&keys[..], &[NO_METADATA, REGION, ("SET_PROFILE", "no-such-profile")]].concat());
    assert_eq!(line, "had");
}

#[test]
fn no_region_is_one_line_that_says_where_to_set_it() {
    let (line, _) = child("region", &[NO_METADATA]);
    assert_eq!(line, "configuration on kinesis failed: no Region: set aws.region in the configuration, or AWS_REGION");
    assert_eq!(child("region", &[NO_METADATA, ("AWS_REGION", "eu-west-1")]).0, "eu-west-1");
    assert_eq!(child("region", &[NO_METADATA, ("AWS_REGION", "eu-west-1"), REGION]).0, "us-east-1");
}

#[test]
fn a_call_without_a_region_says_so() {
    let keys = [("AWS_ACCESS_KEY_ID", "123456789012"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let (line, _) = child("describe", &[&keys[..], &[NO_METADATA]].concat());
    assert!(line.contains("Region") || line.contains("region"), "{line}");
}

#[test]
fn a_role_is_assumed_for_one_service() {
    let (endpoint, account) = (ministack(), unique_account());
    kinesis(&endpoint, &account, "CreateStream", &json!({"StreamName": "clicks", "ShardCount": 1}));
    let role = format!("arn:aws:iam::{account}:role/reader");
    let other = unique_account();
    // STS is reached by an endpoint of its own; the Region is the service's, for there is no other.
    let variables = [
        ("AWS_ACCESS_KEY_ID", other.as_str()),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
        ("ENDPOINT", endpoint.as_str()),
        ("SERVICE_REGION", "us-east-1"),
        ("ROLE", role.as_str()),
        NO_METADATA,
    ];
    let (line, _) = child("describe", &variables);
    assert_eq!(line, format!("clicks arn:aws:kinesis:us-east-1:{account}:stream/clicks"));
    let variables = variables.map(|(name, value)| match name {
        "AWS_ENDPOINT_URL_STS" => (name, "http://127.0.0.1:1"),
        _ => (name, value),
    });
    let (line, _) = child("describe", &variables);
    assert!(line.starts_with("DescribeStreamSummary on clicks failed: no credentials could be had: "), "{line}");
}
