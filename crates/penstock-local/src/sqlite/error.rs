//! What went wrong with the file, and what that says of a write: certainly without effect, or perhaps applied.

use penstock_engine::ports::{ErrorClass, SeamError};
use rusqlite::ErrorCode;

/// A call that failed, without the words for what was called.
#[derive(Debug)]
pub(crate) struct Failure {
    class: ErrorClass,
    message: String,
    source: Option<rusqlite::Error>,
}

impl Failure {
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), source: None }
    }

    /// SQLite failed before the commit: the transaction is rolled back, and nothing was stored.
    pub(crate) fn without_effect(error: rusqlite::Error) -> Self {
        let class = match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => ErrorClass::Denied,
            // The same call may pass later.
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SchemaChanged
                | ErrorCode::OutOfMemory,
            ) => ErrorClass::Throttled,
            // No database, a damaged one, tables that somebody changed.
            _ => ErrorClass::Fatal,
        };
        Self { class, message: error.to_string(), source: Some(error) }
    }

    /// The commit itself failed.
    pub(crate) fn of_commit(error: rusqlite::Error) -> Self {
        Self { class: ErrorClass::Transient, message: error.to_string(), source: Some(error) }
    }

    /// The row that a write is about cannot be read. Nothing was written.
    pub(crate) fn unreadable(problem: &str) -> Self {
        Self::new(ErrorClass::Rejected, format!("the lease under this key cannot be read: {problem}"))
    }

    pub(crate) fn into_seam_error(self, operation: &'static str, subject: String) -> SeamError {
        let Self { class, message, source } = self;
        let error = SeamError::new(operation, subject, class, message);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
