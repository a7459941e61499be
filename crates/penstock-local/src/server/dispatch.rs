//! From target to answer: which service, which fault, which operation. Synchronous; the connection does the waiting.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::LocalOptions;
use super::reply::Outcome;
use crate::clock::Clock;
use crate::faults::{Effect, FaultPlan, FaultRule, Injected, PartialFailure, Service};
use crate::firehose::{self, FirehoseService};
use crate::kinesis::{self, KinesisService};
use crate::wire::{ApiError, Call};

const KINESIS_TARGET: &str = "Kinesis_20131202";
const FIREHOSE_TARGET: &str = "Firehose_20150804";
/// Operations of Kinesis whose throttle is the shard's, not the account's.
const SHARD_OPERATIONS: [&str; 4] = ["GetRecords", "GetShardIterator", "PutRecord", "PutRecords"];

/// Both services, and the faults in front of them.
#[derive(Debug)]
pub(super) struct Endpoint {
    kinesis: KinesisService,
    firehose: Arc<FirehoseService>,
    faults: Mutex<FaultPlan>,
    clock: Clock,
    region: String,
    run: u64,
    requests: AtomicU64,
}

/// A request whose target is understood.
#[derive(Debug)]
pub(super) struct Asked {
    service: Service,
    operation: String,
    pub(super) injected: Option<Injected>,
}

/// What a fault does before the body is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    GoOn,
    Cut,
    Hang,
}

/// What is sent back.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(Outcome),
    /// Only this fraction, as if it were all.
    Truncated(Outcome, f64),
    /// Only this fraction, then the connection breaks.
    Broken(Outcome, f64),
}

impl Asked {
    pub(super) fn ahead(&self) -> Ahead {
        match self.effect() {
            Some(Effect::Reset) => Ahead::Cut,
            Some(Effect::Hang) => Ahead::Hang,
            _ => Ahead::GoOn,
        }
    }

    fn effect(&self) -> Option<&Effect> {
        self.injected.as_ref().map(|injected| &injected.effect)
    }

    fn partial(&self) -> Option<PartialFailure> {
        let injected = self.injected.as_ref()?;
        match &injected.effect {
            Effect::Partial { fraction, code } => Some(PartialFailure::new(*fraction, code.clone(), injected.seed)),
            _ => None,
        }
    }
}

impl Endpoint {
    pub(super) fn new(options: LocalOptions, run: u64) -> Self {
        let LocalOptions {
            listen: _,
            dir,
            limits,
            faults,
            seed,
            account,
            region,
            iterator_life,
            retention_hour,
            clock,
        } = options;
        let kinesis = kinesis::Settings {
            account: account.clone(),
            throttle: limits,
            iterator_life,
            retention_hour,
            token_key: run,
        };
        let firehose = firehose::Settings { account, throttle: limits, seed: run };
        Self {
            kinesis: KinesisService::new(kinesis),
            firehose: Arc::new(FirehoseService::new(firehose, dir)),
            faults: Mutex::new(FaultPlan::new(faults, seed)),
            clock,
            region,
            run,
            requests: AtomicU64::new(0),
        }
    }

    pub(super) fn set_faults(&self, rules: Vec<FaultRule>, seed: u64) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = FaultPlan::new(rules, seed);
    }

    /// A new request's id, in the shape of the service's.
    pub(super) fn request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        uuid::Uuid::from_u64_pair(self.run, number).to_string()
    }

    /// Understands the target, and decides on a fault.
    pub(super) fn ask(&self, target: &str, content_type: &str) -> Result<Asked, ApiError> {
        if content_type.starts_with("application/x-amz-cbor") {
            return Err(ApiError::serialization(
                "penstock local speaks JSON (application/x-amz-json-1.1), not CBOR: switch CBOR off in the client, for Java \
                 by -Daws.cborEnabled=false or CBOR_ENABLED=false",
            ));
        }
        let (service, operation) = match target.split_once('.') {
            Some((KINESIS_TARGET, operation)) => (Service::Kinesis, operation),
            Some((FIREHOSE_TARGET, operation)) => (Service::Firehose, operation),
            _ => return Err(ApiError::unknown_operation(target)),
        };
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let injected = faults.decide(service, operation);
        if let Some(injected) = &injected {
            tracing::debug!(service = service.as_str(), operation, ?injected, "a fault is injected");
        }
        Ok(Asked { service, operation: operation.to_owned(), injected })
    }

    /// Carries the request out, unless its fault is an error, and says how to answer.
    pub(super) fn answer(&self, asked: &Asked, body: &[u8], authorization: &str) -> Answer {
        if let Some(Effect::Error { code, status, fields }) = asked.effect() {
            return Answer::Whole(injected_error(asked, code.as_deref(), *status, fields));
        }
        let outcome = Outcome::from(self.carry_out(asked, body, authorization));
        match asked.effect() {
            Some(Effect::Truncate(fraction)) => Answer::Truncated(outcome, *fraction),
            Some(Effect::Abort(fraction)) => Answer::Broken(outcome, *fraction),
            _ => Answer::Whole(outcome),
        }
    }

    fn carry_out(&self, asked: &Asked, body: &[u8], authorization: &str) -> Result<Bytes, ApiError> {
        let region = signed_region(authorization).unwrap_or(&self.region).to_owned();
        let call = Call { now: self.clock.now(), region, partial: asked.partial() };
        match asked.service {
            Service::Kinesis => self.kinesis.handle(&asked.operation, body, &call),
            Service::Firehose => self.firehose.handle(&asked.operation, body, &call),
        }
    }

    /// Writes what Firehose has due, or all of it. Blocks.
    pub(super) fn write_due(&self, all: bool) -> Result<(), String> {
        self.firehose.write_due(all, self.clock.now())
    }
}

/// The Region of a signature: `… Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn signed_region(authorization: &str) -> Option<&str> {
    let (_, scope) = authorization.split_once("Credential=")?;
    let region = scope.split(['/', ',']).nth(2)?;
    let plain = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (plain && !region.is_empty()).then_some(region)
}

fn injected_error(asked: &Asked, code: Option<&str>, status: Option<u16>, fields: &Map<String, Value>) -> Outcome {
    let shard = SHARD_OPERATIONS.contains(&asked.operation.as_str());
    let throttle = match asked.service {
        Service::Firehose => "ServiceUnavailableException",
        Service::Kinesis if shard => "ProvisionedThroughputExceededException",
        Service::Kinesis => "LimitExceededException",
    };
    let code = code.unwrap_or(throttle);
    let own_status = match code {
        "ServiceUnavailableException" | "ServiceUnavailable" => 503,
        "InternalFailure" | "InternalFailureException" | "InternalServerError" => 500,
        _ => 400,
    };
    let status = status.unwrap_or(own_status);
    let error = ApiError { code: Cow::Owned(code.to_owned()), status, message: "Injected fault.".to_owned() };
    let mut body = fields.clone();
    if status >= 300 {
        body.insert("__type".to_owned(), code.into());
        body.entry("message").or_insert(error.message.into());
    }
    let error_code = (status >= 300).then(|| code.to_owned());
    Outcome { status, error_code, body: Bytes::from(Value::Object(body).to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_that_of_the_signature() {
        let header =
            "AWS4-HMAC-SHA256 Credential=AKID/20261121/ap-northeast-1/kinesis/aws4_request, SignedHeaders=host";
        assert_eq!(signed_region(header), Some("ap-northeast-1"));
        for wrong in ["", "Credential=", "Credential=a/b", "Credential=a/b//c", "Credential=a/b/../c"] {
            assert_eq!(signed_region(wrong), None, "{wrong}");
        }
    }
}
