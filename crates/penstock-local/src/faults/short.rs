//! The short form of a fault rule, for a command line: `kinesis.GetRecords:throttle:p=0.1,times=3`.

use std::time::Duration;

use serde_json::Map;

use super::rule::{Effect, FaultRule, FaultRuleError, Service};

const KINDS: &str = "throttle, 5xx, hang, reply-lost, partial, truncate, reset, latency";
const SHAPE: &str = "service.Operation:kind[:option=value,…], for example kinesis.GetRecords:throttle:p=0.1";

/// Options by name, as they are read.
#[derive(Debug, Default)]
struct Options {
    probability: Option<f64>,
    times: Option<u64>,
    fail: Option<u64>,
    pass: Option<u64>,
    millis: Option<u64>,
    fraction: Option<f64>,
    status: Option<u16>,
    code: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<FaultRule, FaultRuleError> {
    let mut parts = text.splitn(3, ':');
    let (Some(target), Some(kind)) = (parts.next(), parts.next()) else {
        return Err(FaultRuleError(format!("{text:?} is not a fault rule: {SHAPE}, or a JSON object")));
    };
    let options = options(kind, parts.next().unwrap_or_default())?;
    let (service, operation) = target_of(target)?;
    let rule = FaultRule {
        service,
        operation,
        times: options.times,
        probability: options.probability.unwrap_or(1.0),
        sequence: sequence(&options)?,
        latency: Duration::from_millis(options.millis.unwrap_or(0)),
        effect: effect(kind, options)?,
    };
    rule.check()
}

fn target_of(target: &str) -> Result<(Option<Service>, Option<String>), FaultRuleError> {
    if target == "*" {
        return Ok((None, None));
    }
    let Some((service, operation)) = target.split_once('.') else {
        return Err(FaultRuleError(format!("{target:?} is not a target: service.Operation, service.*, or *")));
    };
    Ok((Some(Service::parse(service)?), Some(operation.to_owned()).filter(|operation| operation != "*")))
}

fn effect(kind: &str, options: Options) -> Result<Effect, FaultRuleError> {
    let Options { fraction, status, code, .. } = options;
    let error = |code: Option<String>, status| Effect::Error { code, status, fields: Map::new() };
    match kind {
        "throttle" => Ok(error(code, status)),
        "5xx" => Ok(error(code.or_else(|| Some("InternalFailure".into())), status.or(Some(500)))),
        "hang" => Ok(Effect::Hang),
        "reply-lost" => Ok(Effect::Abort(fraction.unwrap_or(0.0))),
        "partial" => Ok(Effect::Partial { fraction: fraction.unwrap_or(0.5), code }),
        "truncate" => Ok(Effect::Truncate(fraction.unwrap_or(0.5))),
        "reset" => Ok(Effect::Reset),
        "latency" => Ok(Effect::Delay),
        other => Err(FaultRuleError(format!("{other:?} is not a kind of fault: {KINDS}"))),
    }
}

/// The options that go with a kind, beside those that go with all.
fn options_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "throttle" | "5xx" => &["p", "times", "fail", "pass", "ms", "status", "code"],
        "partial" => &["p", "times", "fail", "pass", "ms", "fraction", "code"],
        "truncate" | "reply-lost" => &["p", "times", "fail", "pass", "ms", "fraction"],
        _ => &["p", "times", "fail", "pass", "ms"],
    }
}

fn options(kind: &str, text: &str) -> Result<Options, FaultRuleError> {
    let mut options = Options::default();
    for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let Some((name, value)) = option.split_once('=') else {
            return Err(FaultRuleError(format!("{option:?} is not an option: name=value")));
        };
        let allowed = options_of(kind);
        if !allowed.contains(&name) {
            return Err(FaultRuleError(format!("{name:?} is not an option of {kind}: {}", allowed.join(", "))));
        }
        match name {
            "p" => options.probability = Some(number(name, value)?),
            "times" => options.times = Some(number(name, value)?),
            "fail" => options.fail = Some(number(name, value)?),
            "pass" => options.pass = Some(number(name, value)?),
            "ms" => options.millis = Some(number(name, value)?),
            "fraction" => options.fraction = Some(number(name, value)?),
            "status" => options.status = Some(number(name, value)?),
            _ => options.code = Some(value.to_owned()),
        }
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, FaultRuleError> {
    value.parse().map_err(|_| FaultRuleError(format!("{name}={value}: not a number in range")))
}

fn sequence(options: &Options) -> Result<Option<(u64, u64)>, FaultRuleError> {
    match (options.fail, options.pass) {
        (None, None) => Ok(None),
        (Some(fail), Some(pass)) => Ok(Some((fail, pass))),
        _ => Err(FaultRuleError("fail and pass go together".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FaultRule {
        text.parse().unwrap()
    }

    #[test]
    fn short_rules_are_read() {
        let throttle = rule("kinesis.GetRecords:throttle:p=0.1,times=3");
        assert_eq!(throttle.service, Some(Service::Kinesis));
        assert_eq!(throttle.operation.as_deref(), Some("GetRecords"));
        assert_eq!((throttle.probability, throttle.times), (0.1, Some(3)));
        let partial = rule("firehose.PutRecordBatch:partial:p=0.2,fraction=0.5");
        assert_eq!(partial.effect, Effect::Partial { fraction: 0.5, code: None });
        assert_eq!(rule("kinesis.*:reset").operation, None);
        assert_eq!(rule("*:hang:times=1").service, None);
        assert_eq!(rule("*:reply-lost").effect, Effect::Abort(0.0));
        assert_eq!(rule("*:truncate:fraction=0.25").effect, Effect::Truncate(0.25));
        assert_eq!(rule("*:latency:ms=20").latency, Duration::from_millis(20));
        assert_eq!(rule("*:5xx:status=503,fail=2,pass=8").sequence, Some((2, 8)));
    }

    #[test]
    fn wrong_short_rules_are_refused_with_what_is_allowed() {
        for (text, part) in [
            ("", "service.Operation:kind"),
            ("kinesis.GetRecords", "service.Operation:kind"),
            ("kinesis:throttle", "service.Operation, service.*, or *"),
            ("dynamodb.PutItem:throttle", "kinesis or firehose"),
            ("kinesis.GetRecord:throttle", "GetShardIterator"),
            ("kinesis.GetRecords:slow", "throttle, 5xx, hang"),
            ("kinesis.GetRecords:throttle:often", "name=value"),
            ("kinesis.GetRecords:throttle:fraction=1", "p, times, fail"),
            ("kinesis.GetRecords:throttle:p=2", "probability 2 is not 0 to 1"),
            ("kinesis.GetRecords:throttle:times=x", "not a number"),
            ("kinesis.GetRecords:partial", "needs PutRecords"),
            ("kinesis.GetRecords:latency", "the rule does nothing"),
            ("*:reset:fail=1", "go together"),
        ] {
            let refusal = text.parse::<FaultRule>().unwrap_err().to_string();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }
}
