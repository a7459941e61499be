//! Settings from checked values. `None` only if a value is missing that the walk should have refused; the caller
//! reports that instead of starting on half a configuration.

use super::form;
use super::settings::{
    AccessSettings, AdminSettings, ApplicationSettings, AwsSettings, Compression, EndpointSettings, FirehoseSettings,
    KeyForm, LeaseSettings, LeaseStoreSettings, LogFormat, LogLevel, LogSettings, ObjectSettings, Ordering,
    OutsideHashRange, Pack, SetAsidePlace, Settings, SinkSettings, SourceSettings, StartPosition, StreamSettings,
};
use super::value::Values;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Builds the settings.
pub(crate) fn settings(values: &Values) -> Option<Settings> {
    Some(Settings {
        application: ApplicationSettings {
            name: owned(values, "application.name")?,
            worker_id: owned(values, "application.worker_id")?,
        },
        aws: aws(values),
        source: source(values)?,
        leases: leases(values)?,
        delimiter: owned(values, "sink.delimiter").unwrap_or_default(),
        sink: sink(values)?,
        memory_budget: values.size("memory.budget")?,
        grace_period: values.duration("shutdown.grace_period")?,
        admin: AdminSettings {
            listen: values.text("admin.listen")?.parse().ok()?,
            per_shard_metrics: values.boolean("admin.per_shard_metrics")?,
        },
        log: LogSettings { format: log_format(values)?, level: log_level(values)? },
    })
}

fn owned(values: &Values, path: &str) -> Option<String> {
    values.text(path).map(str::to_owned)
}

fn aws(values: &Values) -> AwsSettings {
    AwsSettings {
        region: owned(values, "aws.region"),
        profile: owned(values, "aws.profile"),
        endpoints: EndpointSettings {
            kinesis: owned(values, "aws.endpoints.kinesis"),
            dynamodb: owned(values, "aws.endpoints.dynamodb"),
            firehose: owned(values, "aws.endpoints.firehose"),
            s3: owned(values, "aws.endpoints.s3"),
        },
    }
}

fn source(values: &Values) -> Option<SourceSettings> {
    let stream = |text: &String| {
        let arn = form::parse_stream_arn(text);
        let name = arn.as_ref().map_or(text.as_str(), |arn| arn.name).to_owned();
        StreamSettings { name, arn: arn.map(|_| text.clone()) }
    };
    let streams: Vec<StreamSettings> = values.list("source.streams").iter().map(stream).collect();
    if streams.is_empty() {
        return None;
    }
    Some(SourceSettings {
        streams,
        access: AccessSettings {
            region: owned(values, "source.region"),
            role_arn: owned(values, "source.role_arn"),
            external_id: owned(values, "source.external_id"),
        },
        start: match values.text("source.start")? {
            "TRIM_HORIZON" => StartPosition::TrimHorizon,
            "LATEST" => StartPosition::Latest,
            time => StartPosition::AtTimestamp { unix_millis: form::parse_time(time)? },
        },
        fetch_interval: values.duration("source.fetch_interval")?,
        idle_interval: values.duration("source.idle_interval")?,
        max_records_per_fetch: values.integer("source.max_records_per_fetch")?,
        deaggregate: values.boolean("source.deaggregate")?,
        outside_hash_range: match values.text("source.outside_hash_range")? {
            "deliver" => OutsideHashRange::Deliver,
            "set-aside" => OutsideHashRange::SetAside,
            "drop" => OutsideHashRange::Drop,
            _ => return None,
        },
    })
}

fn leases(values: &Values) -> Option<LeaseSettings> {
    Some(LeaseSettings {
        store: match values.text("leases.store")? {
            "dynamodb" => LeaseStoreSettings::DynamoDb { table: owned(values, "leases.table")? },
            "sqlite" => LeaseStoreSettings::Sqlite { path: PathBuf::from(values.text("leases.path")?) },
            _ => return None,
        },
        failover_time: values.duration("leases.failover_time")?,
        max_leases: NonZeroU32::new(values.integer("leases.max_leases")?),
        max_steals_per_cycle: values.integer("leases.max_steals_per_cycle")?,
        exclusive: values.text("leases.mode")? == "exclusive",
        keys: match values.text("leases.keys")? {
            "single" => KeyForm::Single,
            "multi" => KeyForm::Multi,
            _ => return None,
        },
    })
}

fn sink(values: &Values) -> Option<SinkSettings> {
    Some(match values.text("sink.type")? {
        "s3" => SinkSettings::S3 {
            bucket: owned(values, "sink.bucket")?,
            access: sink_access(values),
            objects: objects(values)?,
        },
        "directory" => {
            SinkSettings::Directory { path: PathBuf::from(values.text("sink.path")?), objects: objects(values)? }
        }
        "firehose" => SinkSettings::Firehose(firehose(values)?),
        "stdout" => SinkSettings::Stdout,
        _ => return None,
    })
}

fn sink_access(values: &Values) -> AccessSettings {
    AccessSettings {
        region: owned(values, "sink.region"),
        role_arn: owned(values, "sink.role_arn"),
        external_id: owned(values, "sink.external_id"),
    }
}

fn objects(values: &Values) -> Option<ObjectSettings> {
    let level: u8 = values.integer("sink.compression_level")?;
    let level = (level != 0).then_some(level);
    Some(ObjectSettings {
        prefix: owned(values, "sink.prefix").unwrap_or_default(),
        error_prefix: owned(values, "sink.error_prefix").unwrap_or_default(),
        time_zone: owned(values, "sink.time_zone")?,
        buffer_size: values.size("sink.buffer_size")?,
        buffer_interval: values.duration("sink.buffer_interval")?,
        compression: match values.text("sink.compression")? {
            "none" => Compression::None,
            "gzip" => Compression::Gzip { level },
            "zstd" => Compression::Zstd { level },
            _ => return None,
        },
        file_extension: owned(values, "sink.file_extension").unwrap_or_default(),
    })
}

fn firehose(values: &Values) -> Option<FirehoseSettings> {
    let bucket = owned(values, "sink.set_aside_bucket").map(SetAsidePlace::Bucket);
    let directory = values.text("sink.set_aside_path").map(|path| SetAsidePlace::Directory(PathBuf::from(path)));
    Some(FirehoseSettings {
        delivery_stream: owned(values, "sink.delivery_stream")?,
        access: sink_access(values),
        pack: match values.text("sink.pack")? {
            "auto" => Pack::Auto,
            "true" => Pack::Always,
            "false" => Pack::Never,
            _ => return None,
        },
        pack_size: values.size("sink.pack_size")?,
        linger: values.duration("sink.linger")?,
        max_calls_in_flight: values.integer("sink.max_calls_in_flight")?,
        ordering: match values.text("sink.ordering")? {
            "relaxed" => Ordering::Relaxed,
            "per-shard" => Ordering::PerShard,
            _ => return None,
        },
        set_aside: bucket.or(directory),
        error_prefix: owned(values, "sink.error_prefix").unwrap_or_default(),
        time_zone: owned(values, "sink.time_zone")?,
    })
}

fn log_format(values: &Values) -> Option<LogFormat> {
    match values.text("log.format")? {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn log_level(values: &Values) -> Option<LogLevel> {
    match values.text("log.level")? {
        "error" => Some(LogLevel::Error),
        "warn" => Some(LogLevel::Warn),
        "info" => Some(LogLevel::Info),
        "debug" => Some(LogLevel::Debug),
        "trace" => Some(LogLevel::Trace),
        _ => None,
    }
}
