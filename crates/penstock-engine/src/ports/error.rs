//! The one error of the seams: what was being done, to what, and how the engine is to react.

use std::fmt;

/// How the engine reacts to an error. Decided where the service's codes are known, and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// Refused for pace, and certainly without effect: wait, then the same call again.
    Throttled,
    /// A time-out, a broken connection, a server's fault: the call **may have had its effect**. The same call again.
    Transient,
    /// The shard iterator (or page token) is too old: get a new one.
    Expired,
    /// What was named does not exist.
    NotFound,
    /// Credentials or permissions do not allow it: an operator can mend that; try again slowly, lose nothing.
    Denied,
    /// The service refuses this request for good; the same request will never pass.
    Rejected,
    /// Something that must not be, such as an answer that cannot be read whole: say so, try again slowly.
    Fatal,
}

impl ErrorClass {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Throttled, Self::Transient, Self::Expired, Self::NotFound, Self::Denied, Self::Rejected, Self::Fatal];

    /// The class as a metric label and log field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::Expired => "expired",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call of a seam failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} on {subject} failed: {message}")]
pub struct SeamError {
    /// What was called, by the service's name: `GetRecords`, `PutObject`, `UPDATE leases`.
    pub operation: &'static str,
    /// What it was about: a shard, a key, a bucket.
    pub subject: String,
    /// How to react.
    pub class: ErrorClass,
    /// What the service said (its code and text), in one line, with what to do about it where that is known.
    pub message: String,
    /// The cause, where there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SeamError {
    /// An error without a cause of its own.
    #[must_use]
    pub fn new(
        operation: &'static str,
        subject: impl Into<String>,
        class: ErrorClass,
        message: impl Into<String>,
    ) -> Self {
        Self { operation, subject: subject.into(), class, message: message.into(), source: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The engine's own time-out ended the call.
    #[must_use]
    pub fn timed_out(operation: &'static str, subject: impl Into<String>, after: std::time::Duration) -> Self {
        Self::new(operation, subject, ErrorClass::Transient, format!("no answer within {after:?}"))
    }
}
