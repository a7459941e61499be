//! What S3 said when it refused, what that means for the engine, and what an operator can do about it.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};
use penstock_engine::ports::{ErrorClass, SeamError};

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP {status} {code}: {message}")]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The service's code; made from the status where the answer has no body, as for HEAD.
    pub(crate) code: String,
    pub(crate) message: String,
    /// The bucket's Region, where the answer tells.
    pub(crate) region: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &str, region: Option<String>, request_id: Option<String>) -> Self {
        let code = element(body, "Code").unwrap_or_else(|| {
            match status {
                301 | 307 => "PermanentRedirect",
                403 => "Forbidden",
                404 => "NotFound",
                409 => "Conflict",
                412 => "PreconditionFailed",
                503 => "ServiceUnavailable",
                _ => "no code",
            }
            .to_owned()
        });
        let message = element(body, "Message").unwrap_or_else(|| "the answer has no text".to_owned());
        let request_id = request_id.or_else(|| element(body, "RequestId"));
        Self { status, code, message, region: region.or_else(|| element(body, "Region")), request_id }
    }

    /// The answer that an error goes back to.
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }

    fn class_and_advice(&self, operation: &str) -> (ErrorClass, String) {
        let redirected = matches!(self.status, 301 | 307)
            || matches!(self.code.as_str(), "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException");
        match (self.status, self.code.as_str()) {
            _ if redirected => (ErrorClass::Denied, self.region_advice()),
            (_, "NoSuchBucket") => (ErrorClass::NotFound, "; create the bucket, or correct its name".to_owned()),
            (404, _) => (ErrorClass::NotFound, String::new()),
            (_, "SlowDown" | "TooManyRequests") | (429, _) => (ErrorClass::Throttled, String::new()),
            (_, "RequestTimeout" | "BadDigest" | "XAmzContentChecksumMismatch") => {
                (ErrorClass::Transient, String::new())
            }
            (500..=599, _) if self.status != 501 => (ErrorClass::Transient, String::new()),
            (401 | 403, code) => (ErrorClass::Denied, denied_advice(code, operation).to_owned()),
            (_, "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId") => {
                (ErrorClass::Denied, denied_advice(&self.code, operation).to_owned())
            }
            (_, code) if code.starts_with("KMS.") => {
                (ErrorClass::Denied, "; look at the bucket's KMS key and its policy".to_owned())
            }
            _ => (ErrorClass::Rejected, String::new()),
        }
    }

    fn region_advice(&self) -> String {
        match &self.region {
            Some(region) => format!("; the bucket is in the Region {region}: set sink.region to that"),
            None => "; the bucket is in another Region: set sink.region to the bucket's".to_owned(),
        }
    }
}

fn denied_advice(code: &str, operation: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" => "; these credentials are not valid here",
        "ExpiredToken" => "; the credentials have expired",
        "RequestTimeTooSkewed" => "; the clock of this machine is wrong",
        _ => match operation {
            "PutObject" => "; the credentials need s3:PutObject, s3:GetObject and s3:ListBucket",
            "ListObjectsV2" => "; the credentials need s3:ListBucket",
            "DeleteObject" => "; the credentials need s3:DeleteObject, as this store knows no If-Match",
            _ => "; the credentials need s3:GetObject, and s3:ListBucket to tell that an object is missing",
        },
    }
}

/// The text of the first element of this name. S3's errors are flat and have no attributes.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" "))
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// An error of `object_store` as one clear line with its class.
pub(crate) fn seam_error(operation: &'static str, subject: String, error: Error) -> SeamError {
    let (class, message) = if let Some(answer) = Answer::of(&error) {
        let (class, advice) = answer.class_and_advice(operation);
        let request = answer.request_id.as_ref().map_or_else(String::new, |id| format!(" (request {id})"));
        let message = answer.message.trim_end_matches('.');
        (class, format!("{}: {message}{advice}{request}", answer.code))
    } else {
        let class = match &error {
            Error::NotFound { .. } => ErrorClass::NotFound,
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => ErrorClass::Denied,
            Error::NotImplemented { .. } | Error::NotSupported { .. } | Error::InvalidPath { .. } => {
                ErrorClass::Rejected
            }
            _ => ErrorClass::Transient,
        };
        (class, plain_message(&error))
    };
    SeamError::new(operation, subject, class, message).with_source(error)
}

/// The innermost cause says what happened, in fewest words.
fn plain_message(error: &Error) -> String {
    let innermost = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    match causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => format!("no connection: {innermost}"),
        _ => innermost,
    }
}
