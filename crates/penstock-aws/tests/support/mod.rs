//! What the tests against stand-ins share: configurations, one of each stand-in per process, and how errors are read.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use penstock_aws::clients::{self, AwsSettings};
use penstock_engine::ports::SeamError;
use penstock_standins::{DynamoDbLocal, KinesisLocal, Microburst, Ministack, REGION, SECRET_ACCESS_KEY, call};
use serde_json::{Value, json};

/// The product's own configuration, with the credentials of `account` and one endpoint for everything.
pub async fn config(endpoint: &str, account: &str) -> SdkConfig {
    let settings = AwsSettings { region: Some(REGION.to_owned()), profile: None };
    let credentials = Credentials::new(account, SECRET_ACCESS_KEY, None, None, "test");
    clients::load(&settings)
        .await
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .build()
}

pub fn dynamodb_local() -> String {
    static SHARED: OnceLock<DynamoDbLocal> = OnceLock::new();
    SHARED.get_or_init(DynamoDbLocal::start).endpoint()
}

pub fn kinesis_local() -> String {
    static SHARED: OnceLock<KinesisLocal> = OnceLock::new();
    SHARED.get_or_init(KinesisLocal::start).endpoint()
}

pub fn ministack() -> String {
    Ministack::shared().endpoint()
}

/// A proxy with its rules, for one test at a time.
pub struct Faults {
    microburst: MutexGuard<'static, Microburst>,
}

impl Faults {
    /// The one in front of ministack.
    pub fn of_ministack() -> Self {
        static SHARED: OnceLock<Mutex<Microburst>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Mutex::new(Microburst::start(&ministack())));
        let microburst = shared.lock().unwrap_or_else(PoisonError::into_inner);
        microburst.clear();
        Self { microburst }
    }

    pub fn endpoint(&self) -> String {
        self.microburst.endpoint()
    }

    /// The next call of `operation` meets `fault`: the rule's fields beside service and operation.
    pub fn once(&self, service: &str, operation: &str, fault: Value) {
        let mut rule = json!({"service": service, "operation": operation, "times": 1});
        rule.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
        self.microburst.clear();
        self.microburst.set_rules(&json!([rule]));
    }

    pub fn fired(&self) -> usize {
        self.microburst.fired().len()
    }
}

/// An error is one line that an operator can read.
pub fn line(error: &SeamError) -> String {
    let line = error.to_string();
    assert!(!line.contains(['\n', '\r']), "not one line: {line:?}");
    assert!(line.len() < 600, "too long to read: {line}");
    line
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls Kinesis by the bare protocol.
pub fn kinesis(endpoint: &str, account: &str, operation: &str, body: &Value) -> Value {
    call(endpoint, account, &format!("Kinesis_20131202.{operation}"), body)
}

/// Calls DynamoDB by the bare protocol.
pub fn dynamodb(endpoint: &str, account: &str, operation: &str, body: &Value) -> Value {
    call(endpoint, account, &format!("DynamoDB_20120810.{operation}"), body)
}

/// Calls Firehose by the bare protocol.
pub fn firehose(endpoint: &str, account: &str, operation: &str, body: &Value) -> Value {
    call(endpoint, account, &format!("Firehose_20150804.{operation}"), body)
}
