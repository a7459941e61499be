//! Source, lease table and sink, as the configuration names them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use penstock_aws::clients::{self, SdkConfig};
use penstock_aws::firehose::FirehoseSink;
use penstock_aws::gap_table::DynamoGapLedger;
use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_aws::lease_table::{Billing, DynamoLeaseTable};
use penstock_core::ids::{ApplicationName, StreamName};
use penstock_core::intent::{self, Destination};
use penstock_core::prefix::{PrefixPair, Zone};
use penstock_engine::ports::{GapLedger, LeaseTable, SeamError, SetAside, SinkPort};
use penstock_engine::worker::StreamSource;
use penstock_local::gap_ledger::SqliteGapLedger;
use penstock_local::lease_table::SqliteLeaseTable;
use penstock_objects::{ObjectSinkSettings, S3Settings, SetAsideSettings, StoreSetAside, StoreSink};

use super::aws::{Aws, Service};
use super::settings::{initial_position, outside_hash_range};
use crate::config::settings::{
    Compression, FirehoseSettings, LeaseStoreSettings, ObjectSettings, SetAsidePlace, Settings, SinkSettings,
    StreamSettings,
};
use crate::stdout_sink::StdoutSink;

/// The streams, in the order of the configuration.
///
/// # Errors
/// If there are no credentials, or no Region.
pub(crate) async fn sources(settings: &Settings, aws: &Aws) -> anyhow::Result<Vec<StreamSource>> {
    let source = &settings.source;
    let config = aws.service(Service::Kinesis, Some(&source.access)).await;
    let names: Vec<&str> = source.streams.iter().map(|stream| stream.name.as_str()).collect();
    check(&config, &format!("reading {}", names.join(", "))).await?;
    let initial_position = initial_position(source.start);
    let stream = |stream: &StreamSettings| StreamSource {
        name: StreamName::new(&stream.name),
        source: Arc::new(KinesisSource::new(&config, StreamRef::new(stream.arn.as_ref().unwrap_or(&stream.name)))),
        initial_position,
    };
    Ok(source.streams.iter().map(stream).collect())
}

/// The lease table.
///
/// # Errors
/// If there are no credentials, or no Region.
pub(crate) async fn leases(settings: &Settings, aws: &Aws) -> anyhow::Result<Arc<dyn LeaseTable>> {
    match &settings.leases.store {
        LeaseStoreSettings::DynamoDb { table } => {
            let config = aws.service(Service::DynamoDb, None).await;
            check(&config, &format!("the lease table {table}")).await?;
            Ok(Arc::new(DynamoLeaseTable::new(&config, table, Billing::PayPerRequest)))
        }
        LeaseStoreSettings::Sqlite { path } => {
            let application = ApplicationName::new(&settings.application.name);
            Ok(Arc::new(SqliteLeaseTable::new(path, &application)))
        }
    }
}

/// The gap ledger beside the lease table.
///
/// # Errors
/// If there are no credentials, or no Region.
pub(crate) async fn gaps(settings: &Settings, aws: &Aws) -> anyhow::Result<Arc<dyn GapLedger>> {
    match &settings.leases.store {
        LeaseStoreSettings::DynamoDb { table } => {
            let config = aws.service(Service::DynamoDb, None).await;
            check(&config, &format!("the gap ledger of the lease table {table}")).await?;
            Ok(Arc::new(DynamoGapLedger::new(&config, table, Billing::PayPerRequest)))
        }
        LeaseStoreSettings::Sqlite { path } => {
            let application = ApplicationName::new(&settings.application.name);
            Ok(Arc::new(SqliteGapLedger::new(path, &application)))
        }
    }
}

/// A missing Region or missing credentials are one line at the start, not a failure of the first call.
async fn check(config: &SdkConfig, what_for: &str) -> anyhow::Result<()> {
    let plainly = |error: SeamError| anyhow!("{what_for}: {}", error.message);
    clients::region(config, what_for).map_err(plainly)?;
    clients::check_credentials(config, what_for).await.map_err(plainly)
}

/// The sink, and where it sets aside what it cannot take.
///
/// # Errors
/// If it cannot be made. Nothing is asked of it yet: a sink that is not there is waited for.
pub(crate) async fn sink(settings: &Settings, aws: &Aws) -> anyhow::Result<(SinkPort, Option<Arc<dyn SetAside>>)> {
    match &settings.sink {
        SinkSettings::S3 { bucket, access, objects } => {
            let s3 = aws.s3(access).await?;
            let destination = Destination::S3 { bucket: bucket.clone(), region: s3.region.clone() };
            Ok((SinkPort::Objects(Arc::new(objects_sink(settings, objects, destination, Some(s3))?)), None))
        }
        SinkSettings::Directory { path, objects } => {
            let destination = Destination::Directory { path: absolute(path)? };
            Ok((SinkPort::Objects(Arc::new(objects_sink(settings, objects, destination, None)?)), None))
        }
        SinkSettings::Firehose(firehose) => {
            let config = aws.service(Service::Firehose, Some(&firehose.access)).await;
            let sink = FirehoseSink::new(&config, &firehose.delivery_stream);
            Ok((SinkPort::Calls(Arc::new(sink)), set_aside(settings, firehose, aws).await?))
        }
        SinkSettings::Stdout => Ok((SinkPort::Calls(Arc::new(StdoutSink)), None)),
    }
}

fn objects_sink(
    settings: &Settings,
    objects: &ObjectSettings,
    destination: Destination,
    s3: Option<S3Settings>,
) -> anyhow::Result<StoreSink> {
    let (compression, level) = compression(objects.compression);
    let sink_settings = ObjectSinkSettings {
        application: ApplicationName::new(&settings.application.name),
        destination,
        prefixes: PrefixPair::parse(&objects.prefix, &objects.error_prefix)?,
        zone: Zone::named(&objects.time_zone)?,
        file_extension: objects.file_extension.clone(),
        delimiter: settings.delimiter.clone().into_bytes(),
        deaggregate: settings.source.deaggregate,
        outside_hash_range: outside_hash_range(settings.source.outside_hash_range),
        compression,
        compression_level: level,
    };
    StoreSink::new(sink_settings, s3).context("[sink]")
}

fn compression(compression: Compression) -> (intent::Compression, i32) {
    match compression {
        Compression::None => (intent::Compression::None, 0),
        Compression::Gzip { level } => (intent::Compression::Gzip, level.map_or(0, i32::from)),
        Compression::Zstd { level } => (intent::Compression::Zstd, level.map_or(0, i32::from)),
    }
}

async fn set_aside(
    settings: &Settings,
    firehose: &FirehoseSettings,
    aws: &Aws,
) -> anyhow::Result<Option<Arc<dyn SetAside>>> {
    let Some(place) = &firehose.set_aside else { return Ok(None) };
    let (destination, s3) = match place {
        SetAsidePlace::Bucket(bucket) => {
            let s3 = aws.s3(&firehose.access).await?;
            (Destination::S3 { bucket: bucket.clone(), region: s3.region.clone() }, Some(s3))
        }
        SetAsidePlace::Directory(path) => (Destination::Directory { path: absolute(path)? }, None),
    };
    let place = SetAsideSettings {
        application: ApplicationName::new(&settings.application.name),
        destination,
        error_prefix: PrefixPair::parse("", &firehose.error_prefix)?.error_prefix,
        zone: Zone::named(&firehose.time_zone)?,
    };
    Ok(Some(Arc::new(StoreSetAside::new(place, s3)?)))
}

/// A path is recorded in intents, which another process with another working directory may carry out.
fn absolute(path: &Path) -> anyhow::Result<String> {
    let absolute: PathBuf =
        std::path::absolute(path).with_context(|| format!("the directory {} has no absolute path", path.display()))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("the directory {} is not UTF-8", Path::new(&path).display()))
}
