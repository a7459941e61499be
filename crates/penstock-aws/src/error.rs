//! The services' errors as classes of the engine: the one place that knows their codes.
//!
//! Codes and reactions: the services' API models and error tables. Nothing is matched on message text.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use penstock_engine::ports::{ErrorClass, SeamError};

/// Turns an SDK error into the engine's, keeping the service's code, text and request id.
pub fn seam_error<E>(operation: &'static str, subject: &str, error: SdkError<E, Response>) -> SeamError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (class, message) = describe(&error);
    SeamError::new(operation, subject, class, message).with_source(error)
}

fn describe<E>(error: &SdkError<E, Response>) -> (ErrorClass, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::TimeoutError(_) => (ErrorClass::Transient, "the call timed out".to_owned()),
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let status = service.raw().status().as_u16();
            let code = meta.code().unwrap_or("no error code");
            let text = meta.message().unwrap_or("no message");
            let request = meta.extra("aws_request_id").map_or(String::new(), |id| format!(", request {id}"));
            (class_of_code(code, status), format!("{code}: {text} (HTTP {status}{request})"))
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            (ErrorClass::Fatal, format!("the answer cannot be read (HTTP {status}): {}", chain(error)))
        }
        _ if has_cause::<CredentialsError>(error) => {
            (ErrorClass::Denied, format!("no credentials could be had: {}", chain(error)))
        }
        SdkError::DispatchFailure(_) => (ErrorClass::Transient, format!("no answer: {}", chain(error))),
        _ => (ErrorClass::Fatal, chain(error)),
    }
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

        _ if status >= 500 => ErrorClass::Transient,
        _ if status == 429 => ErrorClass::Throttled,
        _ if status >= 400 => ErrorClass::Rejected,
        _ => ErrorClass::Fatal,
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
    line
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
}
