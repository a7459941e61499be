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

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: &str, message: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>")
    }

    fn of(answer: Answer) -> SeamError {
        let source = Box::new(HttpError::new(HttpErrorKind::Unknown, answer));
        seam_error("PutObject", "s3://lake/key".to_owned(), Error::Generic { store: "S3", source })
    }

    #[test]
    fn each_refusal_has_its_class_and_says_what_to_do() {
        for (status, code, class, advice) in [
            (404, "NoSuchBucket", ErrorClass::NotFound, "create the bucket"),
            (403, "AccessDenied", ErrorClass::Denied, "s3:PutObject"),
            (403, "InvalidAccessKeyId", ErrorClass::Denied, "not valid"),
            (403, "SignatureDoesNotMatch", ErrorClass::Denied, "not valid"),
            (400, "ExpiredToken", ErrorClass::Denied, "have expired"),
            (403, "RequestTimeTooSkewed", ErrorClass::Denied, "clock"),
            (301, "PermanentRedirect", ErrorClass::Denied, "another Region"),
            (400, "AuthorizationHeaderMalformed", ErrorClass::Denied, "another Region"),
            (400, "KMS.DisabledException", ErrorClass::Denied, "KMS key"),
            (503, "SlowDown", ErrorClass::Throttled, ""),
            (503, "ServiceUnavailable", ErrorClass::Transient, ""),
            (500, "InternalError", ErrorClass::Transient, ""),
            (400, "RequestTimeout", ErrorClass::Transient, ""),
            (400, "BadDigest", ErrorClass::Transient, ""),
            (400, "EntityTooLarge", ErrorClass::Rejected, ""),
            (501, "NotImplemented", ErrorClass::Rejected, ""),
        ] {
            let error = of(Answer::new(status, &body(code, "It is so."), None, None));
            assert_eq!(error.class, class, "{code}");
            let line = error.to_string();
            assert!(line.starts_with(&format!("PutObject on s3://lake/key failed: {code}: It is so")), "{line}");
            assert!(line.contains(advice) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_right_region_is_named_where_the_answer_tells() {
        let header = Answer::new(301, "", Some("eu-west-1".to_owned()), Some("R1".to_owned()));
        let line = of(header).to_string();
        assert!(line.contains("in the Region eu-west-1: set sink.region") && line.ends_with("(request R1)"), "{line}");
        let text = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2</Region></Error>";
        assert!(of(Answer::new(400, text, None, None)).to_string().contains("in the Region eu-west-2"));
    }

    #[test]
    fn an_answer_without_a_body_goes_by_its_status() {
        for (status, code, class) in [
            (403, "Forbidden", ErrorClass::Denied),
            (404, "NotFound", ErrorClass::NotFound),
            (503, "ServiceUnavailable", ErrorClass::Transient),
        ] {
            let answer = Answer::new(status, "", None, None);
            assert_eq!(answer.code, code);
            assert_eq!(of(answer).class, class);
        }
    }

    #[test]
    fn a_text_over_several_lines_becomes_one() {
        let answer = Answer::new(400, &body("X", "a &lt;b&gt;\n   &amp;lt; c"), None, None);
        assert_eq!(answer.message, "a <b> &lt; c");
    }

    #[test]
    fn errors_without_an_answer_keep_their_meaning() {
        let late = HttpError::new(HttpErrorKind::Timeout, std::io::Error::other("no answer within 5s"));
        let error = Error::Generic { store: "S3", source: Box::new(late) };
        let error = seam_error("PutObject", "s3://lake/key".to_owned(), error);
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Transient, "no answer within 5s"));
        let none = Error::Unauthenticated { path: String::new(), source: "there are no credentials".into() };
        let error = seam_error("PutObject", "s3://lake/key".to_owned(), none);
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Denied, "there are no credentials"));
    }
}
