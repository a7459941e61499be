//! What both services share of the JSON protocol: errors with AWS's codes, decoding of bodies, and the validation
//! messages. Nothing here knows an operation.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// What one request brings beside its body.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// When the request is answered.
    pub(crate) now: Time,
    /// The Region of the signature, or the server's own.
    pub(crate) region: String,
    /// For batch puts: the entries that an injected fault refuses.
    pub(crate) partial: Option<crate::faults::PartialFailure>,
}

/// An answer that is an error: HTTP status, AWS's code, and a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    /// AWS's code, `__type` on the wire.
    pub(crate) code: Cow<'static, str>,
    /// HTTP status: 400, but for the server's faults.
    pub(crate) status: u16,
    /// For people.
    pub(crate) message: String,
}

impl ApiError {
    /// A client error (HTTP 400).
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), status: 400, message: message.into() }
    }

    /// `InvalidArgumentException`.
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    /// `ValidationException`.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// `ResourceNotFoundException`.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    /// `ResourceInUseException`.
    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new("ResourceInUseException", message)
    }

    /// `LimitExceededException`.
    pub(crate) fn limit_exceeded(message: impl Into<String>) -> Self {
        Self::new("LimitExceededException", message)
    }

    /// `ProvisionedThroughputExceededException`.
    pub(crate) fn throughput_exceeded(message: impl Into<String>) -> Self {
        Self::new("ProvisionedThroughputExceededException", message)
    }

    /// `SerializationException`: the body is not what the operation's members are.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    /// `UnknownOperationException`.
    pub(crate) fn unknown_operation(target: &str) -> Self {
        Self::new("UnknownOperationException", format!("penstock local does not serve {target:?}"))
    }

    /// `ServiceUnavailableException`, Firehose's throttle (HTTP 503).
    pub(crate) fn service_unavailable(message: impl Into<String>) -> Self {
        Self { status: 503, ..Self::new("ServiceUnavailableException", message) }
    }

    /// `InternalFailure` (HTTP 500).
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { status: 500, ..Self::new("InternalFailure", message) }
    }

    /// The body on the wire.
    pub(crate) fn body(&self) -> Bytes {
        Bytes::from(serde_json::json!({ "__type": self.code, "message": self.message }).to_string())
    }
}

/// Reads a request's body. Unreadable JSON and members of a wrong type are both `SerializationException`, as on AWS;
/// members are optional here, since a missing one is the operation's to refuse.
pub(crate) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::serialization(error.to_string()))
}

/// Writes an answer's body.
pub(crate) fn encode<T: Serialize>(answer: &T) -> Result<Bytes, ApiError> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| ApiError::internal(error.to_string()))
}

/// The violations of a request's declared constraints, told together as AWS does.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    problems: Vec<String>,
}

impl Checks {
    /// Notes a violation unless `holds`.
    pub(crate) fn that(
        &mut self,
        holds: bool,
        member: &str,
        value: &dyn std::fmt::Display,
        constraint: &str,
    ) -> &mut Self {
        if !holds {
            self.problems.push(format!("Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"));
        }
        self
    }

    /// Notes a violation if the member is absent.
    pub(crate) fn required<T>(&mut self, member: &str, value: Option<&T>) -> &mut Self {
        if value.is_none() {
            self.problems
                .push(format!("Value null at '{member}' failed to satisfy constraint: Member must not be null"));
        }
        self
    }

    /// Notes a violation if a number is outside `min..=max`.
    pub(crate) fn range(&mut self, member: &str, value: Option<i64>, min: i64, max: i64) -> &mut Self {
        if let Some(value) = value {
            let low = format!("Member must have value greater than or equal to {min}");
            let high = format!("Member must have value less than or equal to {max}");
            self.that(value >= min, member, &value, &low).that(value <= max, member, &value, &high);
        }
        self
    }

    /// Notes a violation if a text's length in characters is outside `min..=max`.
    pub(crate) fn length(&mut self, member: &str, value: Option<&str>, min: usize, max: usize) -> &mut Self {
        if let Some(value) = value {
            // Characters are never more than bytes, so the count is only needed near the bounds.
            let long = value.len() > max && value.chars().count() > max;
            let short = value.chars().take(min).count() < min;
            let low = format!("Member must have length greater than or equal to {min}");
            let high = format!("Member must have length less than or equal to {max}");
            self.that(!short, member, &value, &low).that(!long, member, &value, &high);
        }
        self
    }

    /// Notes a violation if a name has other characters than letters, digits, `_`, `.` and `-`, or a wrong length.
    pub(crate) fn name(&mut self, member: &str, value: Option<&str>, max: usize) -> &mut Self {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if let Some(name) = value {
            self.that(plain(name), member, &name, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+");
        }
        self.length(member, value, 1, max)
    }

    /// `ValidationException` with all violations, if there are any.
    pub(crate) fn finish(&mut self) -> Result<(), ApiError> {
        let problems = std::mem::take(&mut self.problems);
        match problems.len() {
            0 => Ok(()),
            1 => Err(ApiError::validation(format!("1 validation error detected: {}", problems[0]))),
            count => Err(ApiError::validation(format!("{count} validation errors detected: {}", problems.join("; ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_told_together() {
        let error = Checks::default()
            .required::<u8>("streamName", None)
            .range("limit", Some(0), 1, 10)
            .name("name", Some("a b"), 128)
            .finish()
            .unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert!(error.message.starts_with("3 validation errors detected: Value null at 'streamName'"), "{error}");
        assert!(Checks::default().length("key", Some("åäö"), 1, 3).finish().is_ok());
        assert!(Checks::default().length("key", Some("åäöü"), 1, 3).finish().is_err());
        assert!(Checks::default().length("key", Some(""), 1, 3).finish().is_err());
    }
}
