//! One running worker: the owner of every task, from the first look at the stream to the last release of a lease.
//!
//! The tree: the worker owns the lease keeper, the probe of the sink, the packer of calls, and a pipeline for each held lease; a
//! pipeline owns its reader and deliverer. Dropping the future of [`Worker::run`] ends them all at once, as a crash would.

mod build;
mod ending;
mod running;

use std::sync::Arc;

use penstock_core::coordinator::api::{InitialPosition, StreamIndex};
use penstock_core::ids::{ShardId, StreamName};
use penstock_core::position::Position;
use penstock_core::random::Random;
use tokio_util::sync::CancellationToken;

use self::running::Running;
use crate::budget::{BudgetTooSmall, MemoryBudget};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::ports::{GapLedger, LeaseTable, SetAside, ShardSource, SinkPort};
use crate::settings::{KeyForm, WorkerSettings};
use crate::shard::context::Stream;
use crate::start::{StartError, Starter};
use crate::status::{Board, StatusHandle};

/// What a worker works with.
pub struct Ports {
    /// The streams; at least one, and none twice.
    pub sources: Vec<StreamSource>,
    /// The lease table.
    pub leases: Arc<dyn LeaseTable>,
    /// The gap ledger beside it.
    pub gaps: Arc<dyn GapLedger>,
    /// The sink.
    pub sink: SinkPort,
    /// Where a call sink's records go that it cannot take; `None` halts the shard at such a record.
    pub set_aside: Option<Arc<dyn SetAside>>,
}

/// A stream to read.
pub struct StreamSource {
    /// Its name.
    pub name: StreamName,
    /// The way to it.
    pub source: Arc<dyn ShardSource>,
    /// Where its shards start that nobody has read.
    pub initial_position: InitialPosition,
}

impl StreamSource {
    /// A stream that is read from its beginning.
    #[must_use]
    pub fn whole(name: StreamName, source: Arc<dyn ShardSource>) -> Self {
        Self { name, source, initial_position: InitialPosition::TrimHorizon }
    }
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// All that was read is settled.
    Clean,
    /// The grace period ran out before that.
    Undelivered {
        /// The shards that had not ended.
        shards: Vec<UndeliveredShard>,
    },
    /// What was found at the leases while it ran does not allow it to be there. It ended in order.
    Refused {
        /// What was found, and what to do.
        problem: String,
    },
    /// A task that serves all shards failed, which is a fault of the program: nothing can go on without it.
    Failed {
        /// What it said.
        problem: String,
    },
}

/// A shard that had not ended when the grace period did. What was read of it is read again from its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeliveredShard {
    /// Its stream.
    pub stream: StreamName,
    /// The shard.
    pub shard: ShardId,
    /// Its checkpoint.
    pub checkpoint: Position,
    /// User records that were read and not settled.
    pub records: u64,
}

/// A worker that has not started.
pub struct Worker {
    settings: WorkerSettings,
    ports: Ports,
    clock: Clock,
    metrics: Arc<Metrics>,
    budget: MemoryBudget,
    board: Arc<Board>,
}

impl Worker {
    /// A worker with its metrics registered at the recorder of this thread.
    ///
    /// # Errors
    /// If the memory budget cannot hold what the least working process needs.
    pub fn new(settings: WorkerSettings, ports: Ports, clock: Clock) -> Result<Self, BudgetTooSmall> {
        let metrics = Arc::new(Metrics::register());
        let budget = MemoryBudget::new(settings.memory_budget, clock.clone(), metrics.memory_used.clone())?;
        let streams: Vec<StreamName> = ports.sources.iter().map(|source| source.name.clone()).collect();
        let board = Board::new(&settings, &streams, clock.clone(), Arc::clone(&metrics), budget.clone());
        Ok(Self { settings, ports, clock, metrics, budget, board })
    }

    /// Looks at this worker from outside, also while it runs and after it has ended.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.board.handle()
    }

    /// Works until `shutdown` is cancelled and everything is drained, or the grace period is over. Dropping the future is like a
    /// crash: every task ends where it is.
    ///
    /// # Errors
    /// What is wrong at the start. Once started, nothing external ends a worker.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Exit, StartError> {
        tokio::select! {
            // Biased: whoever is told to end before the start has nothing to drain.
            biased;
            () = shutdown.cancelled() => Ok(Exit::Clean),
            streams = self.start() => {
                let running = Running::new(self, streams?, &shutdown);
                running.run().await
            }
        }
    }

    async fn start(&self) -> Result<Vec<Arc<Stream>>, StartError> {
        self.check_streams()?;
        let mut starter = Starter {
            clock: self.clock.clone(),
            time_outs: self.settings.time_outs.clone(),
            random: Random::seeded(self.settings.seed ^ 0x7374_6172_7400),
        };
        let mut streams = Vec::new();
        for (index, StreamSource { name, source, .. }) in self.ports.sources.iter().enumerate() {
            let description = starter.describe(name, source.as_ref()).await?;
            streams.push(Arc::new(Stream::new(StreamIndex(index), Arc::clone(source), description)));
        }
        starter.prepare(self.ports.leases.as_ref()).await?;
        starter.look_who_assigns(self.ports.leases.as_ref(), self.settings.leases.mode).await?;
        starter.prepare_gaps(self.ports.gaps.as_ref()).await?;
        for stream in &streams {
            let (name, created) = (&stream.description.name, stream.description.created);
            tracing::info!(worker = %self.settings.worker, stream = %name, %created, "worker starts");
        }
        Ok(streams)
    }

    /// What a configuration refuses, too: none may slip in another way.
    fn check_streams(&self) -> Result<(), StartError> {
        let mut names: Vec<&StreamName> = self.ports.sources.iter().map(|source| &source.name).collect();
        names.sort();
        let problem = if names.is_empty() {
            "no stream is configured".to_owned()
        } else if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            format!("the stream {} is configured twice", twice[0])
        } else if names.len() > 1 && self.settings.leases.keys == KeyForm::Single {
            let streams = names.len();
            format!(
                "leases.keys = \"single\" serves one stream, and {streams} are configured: set leases.keys = \"multi\""
            )
        } else {
            return Ok(());
        };
        Err(StartError::Streams(problem))
    }
}

#[cfg(test)]
mod tests;
