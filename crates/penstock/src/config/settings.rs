//! The settings that the rest of the program is built from. Plain data: every value is converted and checked, and
//! nothing in here remembers how it was written down. Durations and byte counts carry no unit in their names.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Who we are.
    pub(crate) application: ApplicationSettings,
    /// How AWS is reached where a section says nothing of its own.
    pub(crate) aws: AwsSettings,
    /// What is read.
    pub(crate) source: SourceSettings,
    /// Where leases live and how they move.
    pub(crate) leases: LeaseSettings,
    /// Appended to each record that does not end in it; may be empty.
    pub(crate) delimiter: String,
    /// Where records go.
    pub(crate) sink: SinkSettings,
    /// The most bytes held in flight.
    pub(crate) memory_budget: u64,
    /// How long a stop waits for records in flight.
    pub(crate) grace_period: Duration,
    /// The admin server.
    pub(crate) admin: AdminSettings,
    /// The log.
    pub(crate) log: LogSettings,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplicationSettings {
    /// The name under which workers share one lease table.
    pub(crate) name: String,
    /// The label before the random part of the lease owner's name.
    pub(crate) worker_id: String,
}

/// How AWS is reached where a section says nothing of its own. `None` leaves it to the SDK's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsSettings {
    /// The Region.
    pub(crate) region: Option<String>,
    /// The profile of the shared AWS files.
    pub(crate) profile: Option<String>,
    /// Addresses in place of the public endpoints.
    pub(crate) endpoints: EndpointSettings,
}

/// Addresses in place of the public endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointSettings {
    /// Kinesis.
    pub(crate) kinesis: Option<String>,
    /// DynamoDB.
    pub(crate) dynamodb: Option<String>,
    /// Firehose.
    pub(crate) firehose: Option<String>,
    /// S3.
    pub(crate) s3: Option<String>,
}

/// Region and identity for one side, source or sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessSettings {
    /// The Region, defaults applied; `None` leaves it to the SDK's chain.
    pub(crate) region: Option<String>,
    /// A role to assume.
    pub(crate) role_arn: Option<String>,
    /// The external id that the role asks for; only ever beside a role.
    pub(crate) external_id: Option<String>,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceSettings {
    /// The streams; at least one.
    pub(crate) streams: Vec<StreamSettings>,
    /// Region and identity for reading.
    pub(crate) access: AccessSettings,
    /// Where a shard without a checkpoint starts.
    pub(crate) start: StartPosition,
    /// The least time between two fetches of one shard.
    pub(crate) fetch_interval: Duration,
    /// The time between two fetches of a shard that is caught up.
    pub(crate) idle_interval: Duration,
    /// The most records that one fetch asks for.
    pub(crate) max_records_per_fetch: u32,
    /// Whether aggregated records are unpacked.
    pub(crate) deaggregate: bool,
    /// What happens to user records that hash outside their shard.
    pub(crate) outside_hash_range: OutsideHashRange,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamSettings {
    /// Its name.
    pub(crate) name: String,
    /// Its ARN, if it was given by one.
    pub(crate) arn: Option<String>,
}

/// Where a shard without a checkpoint starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartPosition {
    /// At the oldest record.
    TrimHorizon,
    /// At the tip, pinned at the first start.
    Latest,
    /// At the first record that arrived at this time or later, in milliseconds since 1970.
    AtTimestamp {
        /// Milliseconds since 1970.
        unix_millis: u64,
    },
}

/// What happens to user records of an aggregate that hash outside the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutsideHashRange {
    /// They are delivered.
    Deliver,
    /// They are set aside.
    SetAside,
    /// They are dropped and counted.
    Drop,
}

/// Where leases live and how they move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseSettings {
    /// Where they live.
    pub(crate) store: LeaseStoreSettings,
    /// How long a counter may stand still until its lease is expired.
    pub(crate) failover_time: Duration,
    /// The most leases that this worker holds; `None` for no limit.
    pub(crate) max_leases: Option<NonZeroU32>,
    /// The most leases asked for in one cycle.
    pub(crate) max_steals_per_cycle: u32,
    /// Whether only penstock is on the table.
    pub(crate) exclusive: bool,
    /// The form of the lease keys.
    pub(crate) keys: KeyForm,
}

/// The form of the lease keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// The shard id.
    Single,
    /// Account, stream, creation time and shard id.
    Multi,
}

/// Where leases live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseStoreSettings {
    /// A DynamoDB table of the KCL's shape, created on demand-billing if it is missing.
    DynamoDb {
        /// The table's name.
        table: String,
    },
    /// A SQLite file that all workers of one host share.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SinkSettings {
    /// Objects in a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// Region and identity for writing.
        access: AccessSettings,
        /// How objects are filled and named.
        objects: ObjectSettings,
    },
    /// Objects as files.
    Directory {
        /// The directory.
        path: PathBuf,
        /// How objects are filled and named.
        objects: ObjectSettings,
    },
    /// A Firehose delivery stream.
    Firehose(FirehoseSettings),
    /// Standard output, for looking.
    Stdout,
}

/// How objects are filled and named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectSettings {
    /// The prefix expression; may be empty.
    pub(crate) prefix: String,
    /// The prefix expression of what is set aside; may be empty.
    pub(crate) error_prefix: String,
    /// The time zone of times in keys, an IANA name.
    pub(crate) time_zone: String,
    /// The encoded size at which an object is closed.
    pub(crate) buffer_size: u64,
    /// The age at which an object is closed.
    pub(crate) buffer_interval: Duration,
    /// How objects are compressed.
    pub(crate) compression: Compression,
    /// What comes after an object's name; may be empty.
    pub(crate) file_extension: String,
}

/// How objects are compressed. `None` as the level is the codec's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// Concatenated gzip members.
    Gzip {
        /// 1 to 12.
        level: Option<u8>,
    },
    /// Zstandard frames.
    Zstd {
        /// 1 to 19.
        level: Option<u8>,
    },
}

/// A Firehose delivery stream and how it is fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirehoseSettings {
    /// The delivery stream's name.
    pub(crate) delivery_stream: String,
    /// Region and identity for writing.
    pub(crate) access: AccessSettings,
    /// Whether many records are packed into one of Firehose's.
    pub(crate) pack: Pack,
    /// The size of a packed record.
    pub(crate) pack_size: u64,
    /// The longest wait to fill a call.
    pub(crate) linger: Duration,
    /// How many calls the worker has under way at a time.
    pub(crate) max_calls_in_flight: u32,
    /// Whether a shard's records stay in order.
    pub(crate) ordering: Ordering,
    /// Where records go that Firehose cannot take; without it, a shard stops at such a record.
    pub(crate) set_aside: Option<SetAsidePlace>,
    /// The prefix expression of what is set aside; may be empty.
    pub(crate) error_prefix: String,
    /// The time zone of times in keys, an IANA name.
    pub(crate) time_zone: String,
}

/// Whether many records are packed into one Firehose record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pack {
    /// Where the delivery stream is plain to S3.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether the records of a shard stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// Calls overtake each other.
    Relaxed,
    /// One call in flight per shard.
    PerShard,
}

/// Where records go that Firehose cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SetAsidePlace {
    /// A bucket, in the sink's Region and with its identity.
    Bucket(String),
    /// A directory.
    Directory(PathBuf),
}

/// The admin server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminSettings {
    /// Where it listens; port 0 picks one.
    pub(crate) listen: SocketAddr,
    /// Whether there are series per shard.
    pub(crate) per_shard_metrics: bool,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// Its form.
    pub(crate) format: LogFormat,
    /// The least severe level that is logged.
    pub(crate) level: LogLevel,
}

/// The log's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// Look at it now.
    Error,
    /// Look at it tomorrow.
    Warn,
    /// Ownership and lifecycle.
    Info,
    /// Per fetch and batch.
    Debug,
    /// Everything.
    Trace,
}
