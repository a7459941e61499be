//! What the tests against stand-ins share: configurations, one of each stand-in per process, and how errors are read.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use penstock_aws::clients::{self, AwsSettings};
use penstock_engine::ports::SeamError;
use penstock_local::server::{LocalOptions, LocalServer};
use penstock_standins::{
    DynamoDbLocal, KinesisLocal, Microburst, Ministack, REGION, SECRET_ACCESS_KEY, call, try_call,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The product's own configuration, with the credentials of `account` and one endpoint for everything.
pub(crate) async fn config(endpoint: &str, account: &str) -> SdkConfig {
    let settings = AwsSettings { region: Some(REGION.to_owned()), profile: None };
    let credentials = Credentials::new(account, SECRET_ACCESS_KEY, None, None, "test");
    clients::load(&settings)
        .await
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .build()
}

pub(crate) fn dynamodb_local() -> String {
    static SHARED: OnceLock<DynamoDbLocal> = OnceLock::new();
    SHARED.get_or_init(DynamoDbLocal::start).endpoint()
}

pub(crate) fn kinesis_local() -> String {
    static SHARED: OnceLock<KinesisLocal> = OnceLock::new();
    SHARED.get_or_init(KinesisLocal::start).endpoint()
}

pub(crate) fn ministack() -> String {
    Ministack::shared().endpoint()
}

/// A proxy with its rules, for one test at a time.
pub(crate) struct Faults {
    microburst: MutexGuard<'static, Microburst>,
}

impl Faults {
    /// The one in front of ministack.
    pub(crate) fn of_ministack() -> Self {
        static SHARED: OnceLock<Mutex<Microburst>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Mutex::new(Microburst::start(&ministack())));
        let microburst = shared.lock().unwrap_or_else(PoisonError::into_inner);
        microburst.clear();
        Self { microburst }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.microburst.endpoint()
    }

    /// The next call of `operation` meets `fault`: the rule's fields beside service and operation.
    pub(crate) fn once(&self, service: &str, operation: &str, fault: Value) {
        let mut rule = json!({"service": service, "operation": operation, "times": 1});
        rule.as_object_mut().expect("an object").extend(fault.as_object().expect("an object").clone());
        self.microburst.clear();
        self.microburst.set_rules(&json!([rule]));
    }

    pub(crate) fn fired(&self) -> usize {
        self.microburst.fired().len()
    }
}

/// An error is one line that an operator can read.
pub(crate) fn line(error: &SeamError) -> String {
    let line = error.to_string();
    assert!(!line.contains(['\n', '\r']), "not one line: {line:?}");
    assert!(line.len() < 600, "too long to read: {line}");
    line
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls Kinesis by the bare protocol, as slowly as its quotas ask for.
pub(crate) fn kinesis(endpoint: &str, account: &str, operation: &str, body: &Value) -> Value {
    let target = format!("Kinesis_20131202.{operation}");
    for _ in 0..40 {
        let (status, answer) = try_call(endpoint, account, &target, body);
        let code = answer["__type"].as_str().unwrap_or_default();
        if status == 200 || !(code.ends_with("LimitExceededException") || code.ends_with("ThroughputExceededException"))
        {
            assert_eq!(status, 200, "{target} {body} answered {answer}");
            return answer;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    call(endpoint, account, &target, body)
}

/// Calls DynamoDB by the bare protocol.
pub(crate) fn dynamodb(endpoint: &str, account: &str, operation: &str, body: &Value) -> Value {
    call(endpoint, account, &format!("DynamoDB_20120810.{operation}"), body)
}

/// Calls Firehose by the bare protocol.
pub(crate) fn firehose(endpoint: &str, account: &str, operation: &str, body: &Value) -> Value {
    call(endpoint, account, &format!("Firehose_20150804.{operation}"), body)
}

/// Our own local server, on threads of its own, so that blocking calls reach it.
pub(crate) struct Local {
    pub(crate) server: LocalServer,
    /// Where its Firehose delivers: a directory per bucket.
    pub(crate) dir: TempDir,
    _runtime: Runtime,
}

pub(crate) fn local() -> &'static Local {
    static SHARED: OnceLock<Local> = OnceLock::new();
    // Not on the caller's thread, which may drive a runtime of its own.
    SHARED.get_or_init(|| std::thread::spawn(start_local).join().expect("a local server"))
}

fn start_local() -> Local {
    let dir = TempDir::with_prefix("penstock-local-").expect("a directory");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let server = runtime.block_on(LocalServer::start(LocalOptions::new(dir.path()))).expect("a local server");
    Local { server, dir, _runtime: runtime }
}

pub(crate) fn local_server() -> String {
    local().server.url()
}
