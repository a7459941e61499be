//! The table of all keys, in the order in which they are shown. Bounds that are not a service's own carry their reason.

use super::Fallback::{Derived, Required, Unset, Value};
use super::Kind::{Boolean, Choice, Duration, Integer, List, Size, Text};
use super::{Fallback, Form, Key, Kind};
use std::time::Duration as Time;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MINUTE: Time = Time::from_secs(60);
const HOUR: Time = Time::from_secs(3600);

const fn key(path: &'static str, kind: Kind, fallback: Fallback, meaning: &'static str) -> Key {
    Key { path, kind, fallback, sinks: &[], meaning }
}

impl Key {
    const fn of(mut self, sinks: &'static [&'static str]) -> Self {
        self.sinks = sinks;
        self
    }
}

const OBJECTS: &[&str] = &["s3", "directory"];
const S3: &[&str] = &["s3"];
const FIREHOSE: &[&str] = &["firehose"];
const REMOTE: &[&str] = &["s3", "firehose"];
const WITH_ERRORS: &[&str] = &["s3", "directory", "firehose"];

/// Every key that exists.
pub(crate) static KEYS: &[Key] = &[
    key(
        "application.name",
        Text(Form::TableName),
        Required,
        "The name under which workers share their leases. As with the Kinesis Client Library it is also the lease \
         table's name, and it stands in every object's key.",
    ),
    key(
        "application.worker_id",
        Text(Form::Label),
        Derived("the host name"),
        "A label for this worker. The lease owner is this and 8 random hex digits, new at each start.",
    ),
    key(
        "aws.region",
        Text(Form::Region),
        Derived("the SDK's chain"),
        "The Region of everything that names none of its own: AWS_REGION, the profile or the instance, if this is \
         empty.",
    ),
    key(
        "aws.profile",
        Text(Form::Any),
        Derived("the SDK's chain"),
        "The profile of the shared AWS files. Credentials come from the SDK's default chain, never from this \
         file.",
    ),
    key(
        "aws.endpoints.kinesis",
        Text(Form::Url),
        Unset,
        "Where Kinesis is, if not at its public endpoint: a local stand-in or a VPC endpoint.",
    ),
    key("aws.endpoints.dynamodb", Text(Form::Url), Unset, "The same for DynamoDB."),
    key("aws.endpoints.firehose", Text(Form::Url), Unset, "The same for Firehose."),
    key("aws.endpoints.s3", Text(Form::Url), Unset, "The same for S3."),
    key(
        "source.streams",
        List(Form::Stream),
        Required,
        "The streams to read, by name or ARN, all with the same Region and role. One worker shares its budget and its \
         sink among them.",
    ),
    key(
        "source.region",
        Text(Form::Region),
        Derived("the stream's ARN, else aws.region"),
        "The stream's Region, where it differs from aws.region. It has to agree with the ARN's.",
    ),
    key("source.role_arn", Text(Form::RoleArn), Unset, "A role to assume for reading, in another account for example."),
    key("source.external_id", Text(Form::ExternalId), Unset, "The external id that the role asks for."),
    key(
        "source.start",
        Text(Form::Start),
        Value("TRIM_HORIZON"),
        "Where a shard without a checkpoint starts: at the oldest record, at the tip, or at a time. LATEST and a \
         time are pinned in the lease at the first start, so that a restart skips nothing.",
    ),
    // Kinesis gives a shard five fetches a second; an iterator lives five minutes.
    key(
        "source.fetch_interval",
        Duration(Time::from_millis(200), Time::from_secs(240)),
        Value("250ms"),
        "The least time between two fetches of one shard. All polling consumers of a shard share five fetches a \
         second: what is left is theirs.",
    ),
    key(
        "source.idle_interval",
        Duration(Time::from_millis(200), Time::from_secs(240)),
        Value("1s"),
        "The time between two fetches of a shard that is caught up; at least source.fetch_interval.",
    ),
    key(
        "source.max_records_per_fetch",
        Integer(1, 10_000),
        Value("10000"),
        "The most records that one fetch asks for.",
    ),
    key(
        "source.deaggregate",
        Boolean,
        Value("true"),
        "Unpacks records that the Kinesis Producer Library has aggregated.",
    ),
    key(
        "source.outside_hash_range",
        Choice(&["deliver", "set-aside", "drop"]),
        Value("deliver"),
        "What to do with user records of an aggregate whose key hashes outside the shard, which happens around a \
         reshard. The Kinesis Client Library drops them. set-aside needs a sink with a place for it.",
    ),
    key(
        "leases.store",
        Choice(&["dynamodb", "sqlite"]),
        Value("dynamodb"),
        "Where leases and checkpoints live. sqlite is for the processes of one host, without DynamoDB.",
    ),
    key(
        "leases.table",
        Text(Form::TableName),
        Derived("application.name"),
        "The DynamoDB table; created if it is missing.",
    ),
    key(
        "leases.path",
        Text(Form::Path),
        Value("penstock-leases.db"),
        "The SQLite file, which all workers of the host share; created if it is missing.",
    ),
    // A third of it is the renewal interval, which below a second costs more than it wins; beyond ten minutes a dead
    // worker's shards stand still too long.
    key(
        "leases.failover_time",
        Duration(Time::from_secs(1), Time::from_secs(600)),
        Value("10s"),
        "How long a lease that is not renewed stays its owner's. A lease is renewed three times within it. The \
         same for every worker on the table, Java included.",
    ),
    key(
        "leases.max_leases",
        Integer(0, 1_000_000),
        Value("0"),
        "The most leases that this worker holds; 0 is no limit.",
    ),
    key(
        "leases.max_steals_per_cycle",
        Integer(1, 1_000),
        Value("1"),
        "The most leases that this worker asks busier ones for at a time.",
    ),
    key(
        "leases.billing_mode",
        Choice(&["PAY_PER_REQUEST"]),
        Value("PAY_PER_REQUEST"),
        "How a table that penstock creates is billed. A table that exists keeps its mode, provisioned too.",
    ),
    key(
        "leases.mode",
        Choice(&["peer", "exclusive"]),
        Value("peer"),
        "Who else may be on the table. peer: workers of penstock and of the KCL's 2.x protocol; refused where a KCL 3 leader \
         assigns the leases. exclusive: penstock alone, which such a table needs to be taken over; nothing is taken before no \
         other's lease has moved for three failover times, and the worker ends when one does.",
    ),
    key(
        "leases.keys",
        Choice(&["single", "multi"]),
        Derived("the number of streams"),
        "The form of the lease keys: the shard id, or as the KCL writes them for several streams \
         <account>:<stream>:<creation time>:<shard id>. `penstock leases convert` changes a table from one to the other.",
    ),
    key("sink.type", Choice(&["s3", "directory", "firehose", "stdout"]), Required, "Where records go."),
    key(
        "sink.delimiter",
        Text(Form::Delimiter),
        Value("\n"),
        "Appended to each record that does not already end in it; empty for none. In the environment and in \
         --set, `\\n` `\\r` `\\t` `\\\\` are read as in the file.",
    ),
    key("sink.bucket", Text(Form::Bucket), Required, "The bucket.").of(S3),
    key("sink.path", Text(Form::Path), Required, "The directory; created if it is missing.").of(&["directory"]),
    key("sink.delivery_stream", Text(Form::DeliveryStream), Required, "The delivery stream's name.").of(FIREHOSE),
    key(
        "sink.region",
        Text(Form::Region),
        Derived("aws.region"),
        "The Region of the bucket or delivery stream, where it differs. Delivery into another Region is ordinary.",
    )
    .of(REMOTE),
    key("sink.role_arn", Text(Form::RoleArn), Unset, "A role to assume for writing, in another account for example.")
        .of(REMOTE),
    key("sink.external_id", Text(Form::ExternalId), Unset, "The external id that the role asks for.").of(REMOTE),
    key(
        "sink.set_aside_bucket",
        Text(Form::Bucket),
        Unset,
        "The bucket, in sink.region, for records that Firehose cannot take. Without a place to set them aside, a \
         shard stops at such a record.",
    )
    .of(FIREHOSE),
    key("sink.set_aside_path", Text(Form::Path), Unset, "A directory in place of sink.set_aside_bucket.").of(FIREHOSE),
    key(
        "sink.prefix",
        Text(Form::Any),
        Unset,
        "What comes before an object's name, in Firehose's expression language: \
         `clicks/!{timestamp:yyyy/MM/dd/HH}/`.",
    )
    .of(OBJECTS),
    key(
        "sink.error_prefix",
        Text(Form::Any),
        Unset,
        "The same for records that are set aside: \
         `errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}/`.",
    )
    .of(WITH_ERRORS),
    key("sink.time_zone", Text(Form::TimeZone), Value("UTC"), "The time zone of the times in object keys.")
        .of(WITH_ERRORS),
    // One put takes 5 GiB at most, and objects of less than 1 MiB cost more in requests than in storage.
    key(
        "sink.buffer_size",
        Size(MIB, 5 * GIB),
        Value("64MiB"),
        "The size, per shard, at which an object is closed: as stored, after compression. memory.budget has to \
         hold it.",
    )
    .of(OBJECTS),
    // What fills an object stays in the stream until it is stored: half of the shortest retention, which is 24 hours.
    key(
        "sink.buffer_interval",
        Duration(Time::from_secs(1), HOUR.saturating_mul(12)),
        Value("300s"),
        "The age, per shard, at which an object is closed, from the first record in it. An idle shard writes \
         nothing.",
    )
    .of(OBJECTS),
    key("sink.compression", Choice(&["none", "gzip", "zstd"]), Value("none"), "How objects are compressed.")
        .of(OBJECTS),
    // zstd above 19 needs memory that no budget of ours counts.
    key(
        "sink.compression_level",
        Integer(0, 19),
        Value("0"),
        "1 to 12 for gzip, 1 to 19 for zstd; 0 is the codec's default, 3 and 1.",
    )
    .of(OBJECTS),
    key(
        "sink.file_extension",
        Text(Form::Extension),
        Derived("sink.compression"),
        "What comes after an object's name: by default nothing, .gz or .zst.",
    )
    .of(OBJECTS),
    key(
        "sink.pack",
        Choice(&["auto", "true", "false"]),
        Value("auto"),
        "Packs many records into one Firehose record, whose bill counts steps of 5 KiB. auto: only where the \
         delivery stream is plain to S3, without processing, conversion or partitioning.",
    )
    .of(FIREHOSE),
    key(
        "sink.pack_size",
        Size(5 * KIB, 1000 * KIB),
        Value("1000KiB"),
        "The size of a packed record; best a multiple of 5 KiB.",
    )
    .of(FIREHOSE),
    key("sink.linger", Duration(Time::ZERO, MINUTE), Value("1s"), "The longest wait to fill a call.").of(FIREHOSE),
    key(
        "sink.max_calls_in_flight",
        Integer(1, 64),
        Value("4"),
        "How many calls the worker has under way at a time. memory.budget has to hold them.",
    )
    .of(FIREHOSE),
    key(
        "sink.ordering",
        Choice(&["relaxed", "per-shard"]),
        Value("relaxed"),
        "per-shard: one call in flight per shard, so that its records stay in order.",
    )
    .of(FIREHOSE),
    key(
        "memory.budget",
        Size(0, 1 << 40),
        Value("256MiB"),
        "The most bytes held in flight, whatever the number of shards: a quarter for fetches, the rest for what \
         fills and flies. At least 64MiB, and what the sink needs.",
    ),
    key(
        "shutdown.grace_period",
        Duration(Time::from_secs(1), MINUTE.saturating_mul(15)),
        Value("25s"),
        "How long a stop waits for records in flight; below the time after which the supervisor kills (30 s on \
         ECS and Kubernetes).",
    ),
    key(
        "admin.listen",
        Text(Form::Listen),
        Value("127.0.0.1:9464"),
        "Where /metrics, /livez, /readyz and /api/status are served; port 0 picks one and logs it.",
    ),
    key(
        "admin.per_shard_metrics",
        Boolean,
        Value("true"),
        "Gives a series per shard for the iterator age and the oldest unsettled record.",
    ),
    key("log.format", Choice(&["text", "json"]), Value("text"), "The form of the log on stderr."),
    key(
        "log.level",
        Choice(&["error", "warn", "info", "debug", "trace"]),
        Value("info"),
        "The least severe level that is logged.",
    ),
];
