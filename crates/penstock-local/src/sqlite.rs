//! The SQLite file that holds leases and gap ledgers: one connection for each store, used by one call at a time.
//!
//! A call never blocks the runtime. One that is dropped before its turn does nothing, so that calls sent again after a time-out
//! do not pile up behind a slow disk; one that is dropped half-way runs to its end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use penstock_core::ids::ApplicationName;
use penstock_engine::ports::{ErrorClass, SeamError, TableProblem};
use rusqlite::{Connection, Transaction, TransactionBehavior};

mod error;
mod file;
mod schema;

pub(crate) use error::Failure;
use file::Opened;

/// How long a call waits for the other processes that share the file. Their writes take milliseconds; what waits longer is told
/// apart from a slow disk, and is sent again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The file as one application uses it.
#[derive(Debug, Clone)]
pub(crate) struct SharedFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    application: ApplicationName,
    opened: Mutex<Option<Opened>>,
}

impl SharedFile {
    /// The file at `path`, which is opened by the first call and made by [`Self::prepare`].
    pub(crate) fn new(path: &Path, application: &ApplicationName) -> Self {
        let (path, application) = (path.to_owned(), application.clone());
        Self { shared: Arc::new(Shared { path, application, opened: Mutex::default() }) }
    }

    /// What the file is called.
    pub(crate) fn name(&self) -> String {
        self.shared.path.display().to_string()
    }

    /// Makes file and tables if they are missing, and checks what is there.
    pub(crate) async fn prepare(&self) -> Result<(), TableProblem> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.prepare()).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let message = "the call did not run to its end";
                Err(SeamError::new("open", self.name(), ErrorClass::Transient, message).with_source(error).into())
            }
        }
    }

    /// Runs `work` on a thread where it may block. One call at a time uses the connection.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        subject: impl Into<String> + Send,
        work: impl FnOnce(&mut Connection, &ApplicationName) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SeamError> {
        let shared = Arc::clone(&self.shared);
        let subject = subject.into();
        // Lives as long as somebody waits for the answer.
        let caller = Arc::new(());
        let waiting = Arc::downgrade(&caller);
        let ended = tokio::task::spawn_blocking(move || {
            shared.with_connection(|connection, application| match waiting.strong_count() {
                0 => Err(Failure::new(ErrorClass::Transient, "given up by its caller before it began")),
                _ => work(connection, application),
            })
        })
        .await;
        drop(caller);
        match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(failure.into_seam_error(operation, subject)),
            Err(error) => {
                let message = "the call did not run to its end";
                Err(SeamError::new(operation, subject, ErrorClass::Transient, message).with_source(error))
            }
        }
    }
}

impl Shared {
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&mut Connection, &ApplicationName) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // A panic under the lock rolls its transaction back, so that the connection is sound.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.as_ref().is_some_and(|opened| !opened.is_still_at(&self.path)) {
            *opened = None;
        }
        let opened = match &mut *opened {
            Some(opened) => opened,
            none => none.insert(Opened::existing(&self.path)?),
        };
        work(&mut opened.connection, &self.application)
    }

    fn prepare(&self) -> Result<(), TableProblem> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened = None;
        *opened = Some(Opened::or_created(&self.path)?);
        Ok(())
    }
}

// === Transactions ===

/// When a commit reaches the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sync {
    /// Before it is acknowledged, with all before it.
    Now,
    /// With the next one that is synced.
    Later,
}

/// Begins as a writer, so that nothing changes between what is read and what is written.
pub(crate) fn begin(connection: &mut Connection, sync: Sync) -> Result<Transaction<'_>, Failure> {
    let synchronous = match sync {
        Sync::Now => "FULL",
        Sync::Later => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous).map_err(Failure::without_effect)?;
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Failure::without_effect)
}

/// From here on a failure leaves open whether the write is stored.
pub(crate) fn commit(transaction: Transaction<'_>) -> Result<(), Failure> {
    transaction.commit().map_err(Failure::of_commit)
}
