//! The services' errors as classes of the engine: the one place that knows their codes.
//!
//! Codes and reactions: the services' API models and error tables. Nothing is matched on message text.

use std::error::Error;
use std::fmt;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use penstock_engine::ports::{ErrorClass, SeamError};

/// Where a client's calls go, to be named in errors: an operator who mistyped a Region or an endpoint has to read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    region: Option<String>,
    endpoint: Option<String>,
}

impl Place {
    pub(crate) fn of(config: &SdkConfig) -> Self {
        Self { region: config.region().map(ToString::to_string), endpoint: config.endpoint_url().map(str::to_owned) }
    }

    /// [`seam_error`], naming this place where it may be what is wrong.
    pub(crate) fn error<E>(&self, operation: &'static str, subject: &str, error: SdkError<E, Response>) -> SeamError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let answered = matches!(error, SdkError::ServiceError(_));
        let mut error = seam_error(operation, subject, error);
        match error.class {
            ErrorClass::NotFound => {
                error.message.push_str(&format!("; looked {self}: check the name, the Region and the account"));
            }
            ErrorClass::Transient | ErrorClass::Fatal if !answered => error.message.push_str(&format!(" ({self})")),
            _ => {}
        }
        error
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.endpoint, &self.region) {
            (Some(endpoint), _) => write!(f, "at {endpoint}"),
            (None, Some(region)) => write!(f, "in {region}"),
            (None, None) => f.write_str("without a Region"),
        }
    }
}

/// Turns an SDK error into the engine's, keeping the service's code, text and request id, in one line, and saying what to do
/// where that is known.
pub fn seam_error<E>(operation: &'static str, subject: &str, error: SdkError<E, Response>) -> SeamError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (class, mut message) = describe(&error);
    if let Some(advice) = error.meta().code().and_then(|code| advice(operation, code)) {
        message.push_str("; ");
        message.push_str(&advice);
    }
    SeamError::new(operation, subject, class, one_line(&message)).with_source(error)
}

/// The class of an SDK error, and what happened in words, without advice.
pub(crate) fn describe<E>(error: &SdkError<E, Response>) -> (ErrorClass, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let status = service.raw().status().as_u16();
            let request = meta.extra("aws_request_id").map_or(String::new(), |id| format!(", request {id}"));
            let Some(code) = meta.code() else {
                return (
                    class_of_status(status),
                    format!("an error without a code (HTTP {status}{request}); is the endpoint the service's?"),
                );
            };
            let text = meta.message().unwrap_or("no message");
            (class_of_code(code, status), format!("{code}: {text} (HTTP {status}{request})"))
        }
        // An answer of which nothing can be read but its status, such as a web page.
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let class = if status >= 300 { class_of_status(status) } else { ErrorClass::Fatal };
            (class, format!("the answer cannot be read (HTTP {status}): {}", chain(error)))
        }
        _ if has_cause::<CredentialsError>(error) => {
            (ErrorClass::Denied, format!("no credentials could be had: {}", chain(error)))
        }
        SdkError::TimeoutError(_) => (ErrorClass::Transient, format!("the call timed out: {}", chain(error))),
        SdkError::DispatchFailure(_) => (ErrorClass::Transient, format!("no answer: {}", chain(error))),
        _ => (ErrorClass::Fatal, chain(error)),
    }
}

/// What an operator does about a code, where that is more than waiting.
fn advice(operation: &str, code: &str) -> Option<String> {
    match code {
        "AccessDeniedException" | "AccessDenied" => {
            Some(format!("allow {} to the credentials in use", iam_action(operation)))
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            Some("this access key is not known there: check where the credentials come from, and the Region".to_owned())
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
            Some("check the secret access key, and the clock".to_owned())
        }
        "ExpiredToken" | "ExpiredTokenException" => Some("renew the credentials".to_owned()),
        "RequestExpired" => Some("check the clock".to_owned()),
        "KMSAccessDeniedException" => Some("allow kms:Decrypt on the key of the stream".to_owned()),
        "KMSNotFoundException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSOptInRequired"
        | "InvalidKMSResourceException" => Some("mend the KMS key of the stream; nothing is lost meanwhile".to_owned()),
        _ => None,
    }
}

/// The name of an operation's permission.
fn iam_action(operation: &str) -> String {
    let service = match operation {
        "DescribeStreamSummary" | "ListShards" | "GetShardIterator" | "GetRecords" => "kinesis",
        "DescribeDeliveryStream" | "PutRecordBatch" => "firehose",
        _ => "dynamodb",
    };
    format!("{service}:{operation}")
}

/// The class of an answer that has a status and no code.
const fn class_of_status(status: u16) -> ErrorClass {
    match status {
        401 | 403 => ErrorClass::Denied,
        429 => ErrorClass::Throttled,
        408 | 500.. => ErrorClass::Transient,
        // Anyone may have answered here: nothing is known of what the service would have said.
        _ => ErrorClass::Fatal,
    }
}

/// The lines of a text behind each other, each parted from the next.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push_str(if line.ends_with([':', ';', ',', '.']) { " " } else { "; " });
        }
        line.push_str(part);
    }
    line
}

/// The class of an error code; codes that are not known go by the HTTP status.
#[must_use]
pub fn class_of_code(code: &str, status: u16) -> ErrorClass {
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "ThrottledException"
        | "BandwidthLimitExceeded"
        | "KMSThrottlingException"
        | "ResourceInUseException"
        | "TransactionConflictException"
        | "SlowDown" => ErrorClass::Throttled,

        "ExpiredIteratorException" | "ExpiredNextTokenException" => ErrorClass::Expired,

        "ResourceNotFoundException" => ErrorClass::NotFound,

        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "OptInRequired"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "KMSAccessDeniedException"
        | "KMSNotFoundException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSOptInRequired"
        | "InvalidKMSResourceException" => ErrorClass::Denied,

        "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ReplicatedWriteConflictException" => ErrorClass::Transient,

        _ => match class_of_status(status) {
            // The service itself refused it, and said why.
            ErrorClass::Fatal if status >= 400 => ErrorClass::Rejected,
            class => class,
        },
    }
}

/// An error with all its causes in one line, each said once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    one_line(&line)
}

fn has_cause<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<T>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_get_records_has_its_reaction() {
        let table = [
            ("ProvisionedThroughputExceededException", 400, ErrorClass::Throttled),
            ("KMSThrottlingException", 400, ErrorClass::Throttled),
            ("ExpiredIteratorException", 400, ErrorClass::Expired),
            ("ResourceNotFoundException", 400, ErrorClass::NotFound),
            ("InvalidArgumentException", 400, ErrorClass::Rejected),
            ("KMSDisabledException", 400, ErrorClass::Denied),
            ("AccessDeniedException", 400, ErrorClass::Denied),
            ("ExpiredTokenException", 400, ErrorClass::Denied),
            ("InternalFailureException", 500, ErrorClass::Transient),
            ("SomethingNew", 503, ErrorClass::Transient),
            ("SomethingNew", 400, ErrorClass::Rejected),
        ];
        for (code, status, class) in table {
            assert_eq!(class_of_code(code, status), class, "{code} {status}");
        }
    }

    #[test]
    fn an_answer_without_a_code_is_nobodys_verdict() {
        for (status, class) in [
            (400, ErrorClass::Fatal),
            (404, ErrorClass::Fatal),
            (302, ErrorClass::Fatal),
            (403, ErrorClass::Denied),
            (408, ErrorClass::Transient),
            (429, ErrorClass::Throttled),
            (502, ErrorClass::Transient),
        ] {
            assert_eq!(class_of_status(status), class, "{status}");
        }
    }

    #[test]
    fn lines_are_joined_and_stay_apart() {
        assert_eq!(one_line("tried:\n  this\r\n\n  that"), "tried: this; that");
        assert_eq!(one_line("one"), "one");
    }

    #[test]
    fn a_missing_permission_is_named_as_a_policy_names_it() {
        for (operation, action) in [
            ("GetRecords", "kinesis:GetRecords"),
            ("PutRecordBatch", "firehose:PutRecordBatch"),
            ("UpdateItem", "dynamodb:UpdateItem"),
        ] {
            assert!(advice(operation, "AccessDeniedException").is_some_and(|advice| advice.contains(action)));
        }
        assert_eq!(advice("GetRecords", "ProvisionedThroughputExceededException"), None);
    }
}
