//! What a worker is told at its start: plain values that were checked where they were read.
//!
//! Nothing here reads configuration; defaults are those of the documented file.

use std::num::NonZeroUsize;
use std::time::Duration;

use penstock_core::coordinator::api::LeaseMode;
use penstock_core::ids::{ApplicationName, WorkerId};
use penstock_core::intent::OutsideHashRange;

/// Everything that one worker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The application.
    pub application: ApplicationName,
    /// This worker's owner string, new at each start.
    pub worker: WorkerId,
    /// How leases are shared.
    pub leases: LeaseSettings,
    /// How shards are read.
    pub source: SourceSettings,
    /// How batches of an object sink close.
    pub objects: ObjectSettings,
    /// How calls of a call sink are filled and sent.
    pub calls: CallSettings,
    /// The bytes that may be held in flight.
    pub memory_budget: u64,
    /// How long a drain may take.
    pub grace_period: Duration,
    /// Whether iterator age and the like are kept per shard.
    pub per_shard_metrics: bool,
    /// The limits of all waits.
    pub time_outs: TimeOuts,
    /// Feeds all jitter, shuffling and ids: random in production, chosen in a simulation.
    pub seed: u64,
}

impl WorkerSettings {
    /// The defaults of the documented file, for an application and an owner string.
    #[must_use]
    pub fn new(application: ApplicationName, worker: WorkerId, seed: u64) -> Self {
        Self {
            application,
            worker,
            leases: LeaseSettings::default(),
            source: SourceSettings::default(),
            objects: ObjectSettings::default(),
            calls: CallSettings::default(),
            memory_budget: 256 * 1024 * 1024,
            grace_period: Duration::from_secs(25),
            per_shard_metrics: true,
            time_outs: TimeOuts::default(),
            seed,
        }
    }
}

/// How leases are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a counter may stand still until the lease is expired; the same for every worker on the table.
    pub failover_time: Duration,
    /// The most leases of this worker; `None` for no limit.
    pub max_leases: Option<usize>,
    /// The most leases that are stolen in one cycle.
    pub max_steals_per_cycle: usize,
    /// The form of the lease keys.
    pub keys: KeyForm,
    /// Who else may be on the table.
    pub mode: LeaseMode,
}

/// The form of the lease keys of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyForm {
    /// The shard id alone: the table serves one stream.
    #[default]
    Single,
    /// The stream id before it: the table may serve several.
    Multi,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            failover_time: Duration::from_secs(10),
            max_leases: None,
            max_steals_per_cycle: 1,
            keys: KeyForm::default(),
            mode: LeaseMode::default(),
        }
    }
}

/// How shards are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// The least time between two fetches of a shard that is behind.
    pub fetch_interval: Duration,
    /// The time between two fetches of a shard that is caught up.
    pub idle_interval: Duration,
    /// The most records that one fetch asks for.
    pub max_records_per_fetch: u32,
    /// The most fetches under way in this process.
    pub max_fetches_in_flight: NonZeroUsize,
    /// Whether aggregates are taken apart.
    pub deaggregate: bool,
    /// What happens to user records of an aggregate that hash outside the shard.
    pub outside_hash_range: OutsideHashRange,
    /// No stream keeps records for less.
    pub least_retention: Duration,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            fetch_interval: Duration::from_millis(250),
            idle_interval: Duration::from_secs(1),
            max_records_per_fetch: 10_000,
            max_fetches_in_flight: NonZeroUsize::new(32).expect("32 is not zero"),
            deaggregate: true,
            // <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
            least_retention: Duration::from_secs(24 * 3600),
            outside_hash_range: OutsideHashRange::Deliver,
        }
    }
}

/// How batches of an object sink close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSettings {
    /// The stored size of an object that closes its batch.
    pub buffer_size: u64,
    /// The age of a batch, from its first record, that closes it.
    pub buffer_interval: Duration,
}

impl Default for ObjectSettings {
    fn default() -> Self {
        Self { buffer_size: 64 * 1024 * 1024, buffer_interval: Duration::from_secs(300) }
    }
}

/// How calls of a call sink are filled and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSettings {
    /// Whether many records share one entry.
    pub pack: Pack,
    /// The size up to which records share an entry.
    pub pack_size: usize,
    /// The longest wait to fill a call.
    pub linger: Duration,
    /// The most calls under way in this process.
    pub max_calls_in_flight: NonZeroUsize,
    /// Whether calls of one shard may overtake each other.
    pub ordering: Ordering,
    /// Appended to each record unless it already ends in it.
    pub delimiter: Vec<u8>,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            pack: Pack::Auto,
            pack_size: 1000 * 1024,
            linger: Duration::from_secs(1),
            max_calls_in_flight: NonZeroUsize::new(4).expect("4 is not zero"),
            ordering: Ordering::Relaxed,
            delimiter: b"\n".to_vec(),
        }
    }
}

/// Whether many records share one entry of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pack {
    /// Only where the sink says that boundaries of entries have no meaning.
    #[default]
    Auto,
    /// Always.
    True,
    /// Never.
    False,
}

/// Whether calls of one shard may overtake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// They may.
    #[default]
    Relaxed,
    /// One call with records of a shard at a time.
    PerShard,
}

/// The limits of single calls. A call that outlives its limit counts as one of unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeOuts {
    /// Describing the stream, listing shards, opening an iterator.
    pub describe: Duration,
    /// One fetch.
    pub fetch: Duration,
    /// One read or write of the lease table.
    pub lease: Duration,
    /// One scan of the lease table, all pages.
    pub scan: Duration,
    /// Putting one object.
    pub put: Duration,
    /// One delivery call of a call sink.
    pub call: Duration,
    /// Asking whether the sink is there.
    pub probe: Duration,
    /// All attempts of one step of the start.
    pub start: Duration,
}

impl Default for TimeOuts {
    fn default() -> Self {
        Self {
            describe: Duration::from_secs(10),
            fetch: Duration::from_secs(20),
            lease: Duration::from_secs(3),
            scan: Duration::from_secs(10),
            put: Duration::from_secs(120),
            call: Duration::from_secs(5),
            probe: Duration::from_secs(10),
            start: Duration::from_secs(30),
        }
    }
}
