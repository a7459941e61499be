//! What a worker looks at before it works: the streams, the lease table, who assigns its leases, the gap ledger. What is wrong here
//! ends it, with one clear error.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use penstock_core::coordinator::api::LeaseMode;
use penstock_core::ids::StreamName;
use penstock_core::random::Random;
use penstock_core::time::UnixMillis;

use crate::clock::Clock;
use crate::kcl_watch;
use crate::ports::{ErrorClass, GapLedger, LeaseTable, SeamError, ShardSource, StreamDescription, TableProblem};
use crate::settings::TimeOuts;
use crate::shard::context::{backoff, chain};

/// A worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The streams that were configured cannot be read together.
    #[error("{0}")]
    Streams(String),
    /// There is no such stream.
    #[error("the stream {stream} does not exist")]
    StreamMissing {
        /// Its name.
        stream: StreamName,
        /// What the service said.
        #[source]
        error: SeamError,
    },
    /// A stream may not be described.
    #[error("the stream {stream} may not be read")]
    StreamDenied {
        /// Its name.
        stream: StreamName,
        /// What the service said.
        #[source]
        error: SeamError,
    },
    /// A stream could not be described for another reason, however often it was tried.
    #[error("the stream {stream} cannot be described")]
    StreamUnavailable {
        /// Its name.
        stream: StreamName,
        /// What the service said.
        #[source]
        error: SeamError,
    },
    /// The lease table is foreign or cannot be used.
    #[error("the lease table cannot be used")]
    Table(#[source] TableProblem),
    /// The gap ledger is foreign or cannot be used.
    #[error("the gap ledger cannot be used")]
    Gaps(#[source] TableProblem),
    /// It cannot be told who assigns the leases.
    #[error("it cannot be told whether a KCL 3 leader assigns the leases")]
    KclVersion(#[source] SeamError),
    /// A leader of the KCL 3 assigns the leases of the table.
    #[error("{0}")]
    LedByKcl(String),
    /// What the first look at the leases showed does not allow this worker to be there: keys of the other form, or a worker
    /// that is not penstock's in exclusive mode.
    #[error("{0}")]
    Refused(String),
    /// The lease table cannot be read.
    #[error("the leases cannot be read")]
    Leases(#[source] SeamError),
    /// The leases belong to a stream of the same name that was created at another time.
    #[error(
        "the leases belong to a stream {stream} that was created at {rows}; the one that is there was created at {created}: \
         use another application name, or remove the leases of the old stream"
    )]
    StreamRecreated {
        /// The stream.
        stream: StreamName,
        /// The creation time in the rows.
        rows: UnixMillis,
        /// The creation time of the stream that is there.
        created: UnixMillis,
    },
}

/// Tries the steps of the start again for a while: what starts beside us may be late.
pub(crate) struct Starter {
    pub(crate) clock: Clock,
    pub(crate) time_outs: TimeOuts,
    pub(crate) random: Random,
}

impl Starter {
    pub(crate) async fn describe(
        &mut self,
        stream: &StreamName,
        source: &dyn ShardSource,
    ) -> Result<StreamDescription, StartError> {
        let limit = self.time_outs.describe;
        let described = self.patiently(|| {
            let describe = tokio::time::timeout(limit, source.describe());
            let late = move |_| Err(SeamError::timed_out("DescribeStreamSummary", "the stream", limit));
            describe.map(move |described| described.unwrap_or_else(late)).boxed()
        });
        let stream = stream.clone();
        described.await.map_err(|error| match error.class {
            ErrorClass::NotFound => StartError::StreamMissing { stream, error },
            ErrorClass::Denied => StartError::StreamDenied { stream, error },
            ErrorClass::Throttled
            | ErrorClass::Transient
            | ErrorClass::Expired
            | ErrorClass::Rejected
            | ErrorClass::Fatal => StartError::StreamUnavailable { stream, error },
        })
    }

    pub(crate) async fn prepare(&mut self, table: &dyn LeaseTable) -> Result<(), StartError> {
        // A table that is created has to become active: that takes as long as a step of the start may take.
        let limit = self.time_outs.start;
        let prepared = self.patiently(|| {
            let prepare = tokio::time::timeout(limit, table.prepare());
            let late = move |_| Err(SeamError::timed_out("prepare", "the lease table", limit).into());
            prepare.map(move |prepared| prepared.unwrap_or_else(late)).boxed()
        });
        prepared.await.map_err(StartError::Table)
    }

    pub(crate) async fn prepare_gaps(&mut self, gaps: &dyn GapLedger) -> Result<(), StartError> {
        let limit = self.time_outs.start;
        let prepared = self.patiently(|| {
            let prepare = tokio::time::timeout(limit, gaps.prepare());
            let late = move |_| Err(SeamError::timed_out("prepare", "the gap ledger", limit).into());
            prepare.map(move |prepared| prepared.unwrap_or_else(late)).boxed()
        });
        prepared.await.map_err(StartError::Gaps)
    }

    /// Makes sure that no leader of the KCL 3 assigns the leases, unless nobody else is meant to be on the table.
    pub(crate) async fn look_who_assigns(&mut self, table: &dyn LeaseTable, mode: LeaseMode) -> Result<(), StartError> {
        let limit = self.time_outs.lease;
        let looked = self.patiently(|| kcl_watch::look(table, limit).boxed());
        match kcl_watch::judge(looked.await, mode) {
            kcl_watch::Verdict::GoOn => Ok(()),
            kcl_watch::Verdict::Refused(problem) => Err(StartError::LedByKcl(problem)),
            kcl_watch::Verdict::Unknown(error) if mode == LeaseMode::Peer && error.class != ErrorClass::Denied => {
                Err(StartError::KclVersion(error))
            }
            kcl_watch::Verdict::Unknown(error) => {
                tracing::warn!(
                    error = %error,
                    "it cannot be told whether a KCL 3 leader assigns the leases: let this worker read the KCL's \
                     coordinator state table, or be sure that there is none"
                );
                Ok(())
            }
        }
    }

    async fn patiently<'s, T, E: Passing>(
        &mut self,
        mut step: impl FnMut() -> BoxFuture<'s, Result<T, E>>,
    ) -> Result<T, E> {
        let pauses = backoff(Duration::from_millis(500), Duration::from_secs(5));
        let until = self.clock.now().instant.after(self.time_outs.start);
        let mut attempt = 0_u32;
        loop {
            let error = match step().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let pause = pauses.delay(attempt, &mut self.random);
            attempt = attempt.saturating_add(1);
            if !error.may_pass() || self.clock.now().instant.after(pause) >= until {
                return Err(error);
            }
            tracing::warn!(error = %chain(&error), again = ?pause, "a step of the start failed");
            self.clock.sleep(pause).await;
        }
    }
}

/// An error that may be gone in a moment.
trait Passing: std::error::Error + 'static {
    fn may_pass(&self) -> bool;
}

impl Passing for SeamError {
    fn may_pass(&self) -> bool {
        matches!(self.class, ErrorClass::Throttled | ErrorClass::Transient)
    }
}

impl Passing for TableProblem {
    fn may_pass(&self) -> bool {
        match self {
            Self::Foreign { .. } => false,
            Self::Unusable(error) => error.may_pass(),
        }
    }
}
