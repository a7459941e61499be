//! One fault rule: which requests it meets, how often it fires, and what it does then. The JSON shape is that of the
//! microburst proxy where it has the same idea; `hang` and `partial` are our own. What is not known is refused.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::short;

/// One of the services that the server plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Kinesis Data Streams.
    Kinesis,
    /// Firehose.
    Firehose,
}

/// What happens to a request that a rule meets.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing but the rule's latency.
    Delay,
    /// The request is not carried out; this is the answer.
    Error {
        /// AWS's code; `None`: the operation's own throttle.
        code: Option<String>,
        /// HTTP status; `None`: what goes with the code.
        status: Option<u16>,
        /// Further members of the answer.
        fields: Map<String, Value>,
    },
    /// The request is carried out, and the connection breaks after this fraction of the answer.
    Abort(f64),
    /// The request is carried out, and only this fraction of the answer's body is sent, as if it were all.
    Truncate(f64),
    /// The request is not carried out, and the connection is closed.
    Reset,
    /// The request is not carried out and never answered.
    Hang,
    /// PutRecords and PutRecordBatch: about this fraction of the entries is refused, the others are taken.
    Partial {
        /// 0 to 1. Of two entries or more, at least one is refused and one taken.
        fraction: f64,
        /// The refused entries' code; `None`: the service's throttle.
        code: Option<String>,
    },
}

/// A rule of fault injection.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    /// The service it meets; `None`: both.
    pub service: Option<Service>,
    /// The operation it meets; `None`: all.
    pub operation: Option<String>,
    /// How often it fires at most.
    pub times: Option<u64>,
    /// How probably it fires, 0 to 1.
    pub probability: f64,
    /// Of each `fail + pass` requests it meets, it fires at the first `fail`.
    pub sequence: Option<(u64, u64)>,
    /// A wait before anything else.
    pub latency: Duration,
    /// What it does.
    pub effect: Effect,
}

/// Why a text is not a fault rule; the message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultRuleError(pub(super) String);

const KINESIS_OPERATIONS: [&str; 18] = [
    "AddTagsToStream",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteStream",
    "DescribeLimits",
    "DescribeStream",
    "DescribeStreamSummary",
    "GetRecords",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListShards",
    "ListStreams",
    "ListTagsForStream",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "SplitShard",
    "UpdateShardCount",
];
const FIREHOSE_OPERATIONS: [&str; 6] = [
    "CreateDeliveryStream",
    "DeleteDeliveryStream",
    "DescribeDeliveryStream",
    "ListDeliveryStreams",
    "PutRecord",
    "PutRecordBatch",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleJson {
    service: Option<String>,
    operation: Option<String>,
    times: Option<u64>,
    probability: Option<f64>,
    sequence: Option<SequenceJson>,
    /// Milliseconds.
    latency: Option<u64>,
    error: Option<ErrorJson>,
    response: Option<ResponseJson>,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    hang: bool,
    partial: Option<PartialJson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequenceJson {
    fail: u64,
    pass: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorJson {
    code: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    fields: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseJson {
    abort_frac: Option<f64>,
    truncate_frac: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartialJson {
    fraction: Option<f64>,
    code: Option<String>,
}

impl Service {
    /// The name in rules and ARNs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::Firehose => "firehose",
        }
    }

    fn operations(self) -> &'static [&'static str] {
        match self {
            Self::Kinesis => &KINESIS_OPERATIONS,
            Self::Firehose => &FIREHOSE_OPERATIONS,
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, FaultRuleError> {
        match name {
            "kinesis" => Ok(Self::Kinesis),
            "firehose" => Ok(Self::Firehose),
            other => Err(FaultRuleError(format!("{other:?} is not a service: kinesis or firehose"))),
        }
    }
}

impl FaultRule {
    /// A rule that fires at each request it meets.
    pub fn new(effect: Effect) -> Self {
        Self {
            service: None,
            operation: None,
            times: None,
            probability: 1.0,
            sequence: None,
            latency: Duration::ZERO,
            effect,
        }
    }

    /// Whether the rule is about such a request.
    pub(super) fn meets(&self, service: Service, operation: &str) -> bool {
        let batch = matches!(operation, "PutRecords" | "PutRecordBatch");
        self.service.is_none_or(|own| own == service)
            && self.operation.as_ref().is_none_or(|own| own == operation)
            && (batch || !matches!(self.effect, Effect::Partial { .. }))
    }

    /// Refuses rules that could never fire or mean nothing.
    pub(super) fn check(self) -> Result<Self, FaultRuleError> {
        if let Some(operation) = &self.operation {
            check_operation(self.service, operation)?;
            let batch = matches!(operation.as_str(), "PutRecords" | "PutRecordBatch");
            if matches!(self.effect, Effect::Partial { .. }) && !batch {
                return Err(FaultRuleError(format!(
                    "a partial failure needs PutRecords or PutRecordBatch, not {operation}"
                )));
            }
        }
        fraction("probability", self.probability)?;
        match &self.effect {
            Effect::Abort(value) => fraction("abort_frac", *value)?,
            Effect::Truncate(value) => fraction("truncate_frac", *value)?,
            Effect::Partial { fraction: value, .. } => fraction("fraction", *value)?,
            Effect::Error { status: Some(status), .. } if !(200..=599).contains(status) => {
                return Err(FaultRuleError(format!("status {status} is not 200 to 599")));
            }
            Effect::Delay if self.latency.is_zero() => {
                return Err(FaultRuleError(
                    "the rule does nothing: give one of error, response, reset, hang, partial, or a latency".into(),
                ));
            }
            _ => {}
        }
        if self.sequence.is_some_and(|(fail, _)| fail == 0) {
            return Err(FaultRuleError("sequence: fail is at least 1".into()));
        }
        Ok(self)
    }
}

fn check_operation(service: Option<Service>, operation: &str) -> Result<(), FaultRuleError> {
    let services = service.map_or(vec![Service::Kinesis, Service::Firehose], |service| vec![service]);
    let known: Vec<&str> = services.iter().flat_map(|service| service.operations()).copied().collect();
    if known.contains(&operation) {
        return Ok(());
    }
    Err(FaultRuleError(format!("{operation:?} is not an operation: * or one of {}", known.join(", "))))
}

fn fraction(name: &str, value: f64) -> Result<(), FaultRuleError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(FaultRuleError(format!("{name} {value} is not 0 to 1"))) }
}

impl TryFrom<RuleJson> for FaultRule {
    type Error = FaultRuleError;

    fn try_from(json: RuleJson) -> Result<Self, FaultRuleError> {
        let RuleJson {
            service,
            operation,
            times,
            probability,
            sequence,
            latency,
            error,
            response,
            reset,
            hang,
            partial,
        } = json;
        let mut effects = Vec::new();
        effects.extend(error.map(|ErrorJson { code, status, fields }| Effect::Error { code, status, fields }));
        if let Some(ResponseJson { abort_frac, truncate_frac }) = response {
            effects.extend(abort_frac.map(Effect::Abort));
            effects.extend(truncate_frac.map(Effect::Truncate));
        }
        effects.extend(reset.then_some(Effect::Reset));
        effects.extend(hang.then_some(Effect::Hang));
        effects.extend(
            partial.map(|PartialJson { fraction, code }| Effect::Partial { fraction: fraction.unwrap_or(0.5), code }),
        );
        if effects.len() > 1 {
            return Err(FaultRuleError(
                "a rule has one of error, response, reset, hang and partial, not several".into(),
            ));
        }
        let rule = Self {
            service: service.as_deref().map(Service::parse).transpose()?,
            operation: operation.filter(|operation| operation != "*"),
            times,
            probability: probability.unwrap_or(1.0),
            sequence: sequence.map(|SequenceJson { fail, pass }| (fail, pass)),
            latency: Duration::from_millis(latency.unwrap_or(0)),
            effect: effects.pop().unwrap_or(Effect::Delay),
        };
        rule.check()
    }
}

impl FromStr for FaultRule {
    type Err = FaultRuleError;

    /// Reads `{…}` as JSON and anything else as the short form `service.Operation:kind:option=value,…`.
    fn from_str(text: &str) -> Result<Self, FaultRuleError> {
        let text = text.trim();
        if !text.starts_with('{') {
            return short::parse(text);
        }
        let json: RuleJson = serde_json::from_str(text).map_err(|error| FaultRuleError(error.to_string()))?;
        json.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FaultRule {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<FaultRule>().unwrap_err().to_string()
    }

    #[test]
    fn rules_of_the_proxy_are_read() {
        let throttle = rule(
            r#"{"service":"kinesis","operation":"GetRecords","times":1,
                "error":{"code":"ProvisionedThroughputExceededException"}}"#,
        );
        assert_eq!((throttle.service, throttle.times), (Some(Service::Kinesis), Some(1)));
        assert!(matches!(throttle.effect, Effect::Error { code: Some(_), status: None, .. }));
        assert_eq!(rule(r#"{"response":{"abort_frac":0.0}}"#).effect, Effect::Abort(0.0));
        assert_eq!(rule(r#"{"response":{"truncate_frac":0.5}}"#).effect, Effect::Truncate(0.5));
        assert_eq!(rule(r#"{"operation":"*","reset":true,"probability":0.25}"#).probability, 0.25);
        assert_eq!(rule(r#"{"latency":1500}"#).latency, Duration::from_millis(1500));
        assert_eq!(rule(r#"{"sequence":{"fail":2,"pass":1},"hang":true}"#).sequence, Some((2, 1)));
        let partial = rule(r#"{"service":"firehose","error":{"code":"X","status":200,"fields":{"FailedPutCount":1}}}"#);
        assert!(matches!(partial.effect, Effect::Error { status: Some(200), .. }));
    }

    #[test]
    fn wrong_rules_are_refused_with_what_is_allowed() {
        for (text, part) in [
            (r#"{"services":"kinesis"}"#, "expected one of `service`"),
            (r#"{"service":"s3","reset":true}"#, "kinesis or firehose"),
            (r#"{"service":"firehose","operation":"GetRecords","reset":true}"#, "one of CreateDeliveryStream"),
            (r#"{"service":"kinesis"}"#, "the rule does nothing"),
            (r#"{"reset":true,"hang":true}"#, "not several"),
            (r#"{"reset":true,"probability":1.5}"#, "probability 1.5 is not 0 to 1"),
            (r#"{"response":{"truncate_frac":-1}}"#, "truncate_frac -1 is not 0 to 1"),
            (r#"{"error":{"status":99}}"#, "status 99"),
            (r#"{"sequence":{"fail":0,"pass":1},"reset":true}"#, "fail is at least 1"),
            (r#"{"operation":"GetRecords","partial":{}}"#, "needs PutRecords or PutRecordBatch"),
            ("{", "EOF"),
        ] {
            assert!(refusal(text).contains(part), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn a_rule_meets_its_own_requests_only() {
        let rule = rule(r#"{"service":"kinesis","operation":"PutRecord","reset":true}"#);
        assert!(rule.meets(Service::Kinesis, "PutRecord"));
        assert!(!rule.meets(Service::Firehose, "PutRecord"));
        assert!(!rule.meets(Service::Kinesis, "PutRecords"));
        assert!(FaultRule::new(Effect::Reset).meets(Service::Firehose, "PutRecord"));
        let partial = FaultRule::new(Effect::Partial { fraction: 0.5, code: None });
        assert!(partial.meets(Service::Firehose, "PutRecordBatch"));
        assert!(!partial.meets(Service::Kinesis, "GetRecords"));
    }
}
