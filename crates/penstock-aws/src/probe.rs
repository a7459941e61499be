//! Calls that show whether a permission is there and leave nothing behind: reads of one item, writes on conditions that no item fulfils.
//!
//! What an answer means is decided elsewhere: these say what came back, by the service's own code.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use penstock_engine::ports::ErrorClass;

use crate::error::describe;

mod clock;
mod delivery;
mod identity;
mod stream;
mod table;

pub use delivery::{DeliveryProbe, DeliverySeen};
pub use identity::{Caller, CredentialsSeen, caller, credentials};
pub use stream::{ReadFrom, ReadSeen, StreamProbe, StreamSeen};
pub use table::{TableProbe, TableSeen};

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it means for the engine.
    pub class: ErrorClass,
    /// The service's code; `None` if nobody answered, or not in the service's words.
    pub code: Option<String>,
    /// What happened, in one line.
    pub message: String,
}

/// What came of a call.
pub type Tried<T> = Result<T, Refusal>;

impl Refusal {
    fn of<E>(error: &SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (class, message) = describe(error);
        let answered = matches!(error, SdkError::ServiceError(_));
        let code = error.meta().code().filter(|_| answered).map(str::to_owned);
        Self { class, code, message: message.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// An answer that is none of the service's.
    fn broken(problem: impl Into<String>) -> Self {
        Self { class: ErrorClass::Fatal, code: None, message: problem.into() }
    }

    /// Whether the permission for the call is missing, by the service's own word.
    #[must_use]
    pub fn is_missing_permission(&self) -> bool {
        matches!(self.code.as_deref(), Some("AccessDeniedException" | "AccessDenied"))
    }

    /// Whether nobody answered.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        self.class == ErrorClass::Transient && self.code.is_none()
    }
}
