//! `penstock cost`: what a pipeline costs a month on penstock, on Lambda, and on Firehose alone, line by line. Asks nobody but, if it is
//! told to, a running worker.

mod bill;
mod model;
mod observed;
mod prices;
mod print;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use crate::cli::{CostArgs, CostSink};
use crate::config::settings::{Compression, LeaseStoreSettings, ObjectSettings, Pack, Settings, SinkSettings};
use crate::config::{Surroundings, load};
use bill::{Pipeline, Sink};
use model::Load;
use observed::Observed;
use prices::PriceList;

const MIB: f64 = 1_048_576.0;

/// Prints the bill.
///
/// # Errors
/// If a price, a Region or the load is not known, the worker does not answer, or the configuration is wrong.
pub(crate) fn run(args: &CostArgs) -> anyhow::Result<ExitCode> {
    let text = if args.print_prices { prices::EMBEDDED.to_owned() } else { reckon(args)? };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn reckon(args: &CostArgs) -> anyhow::Result<String> {
    let own = args.prices.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("--prices {} cannot be read", path.display()))
    });
    let list = PriceList::load(own.transpose()?.as_deref(), args.fallback_region.as_deref()).with_context(|| {
        args.prices.as_ref().map_or_else(String::new, |path| format!("--prices {}", path.display()))
    })?;
    let settings = match &args.file {
        Some(file) => Some(load(file, &args.settings, &Surroundings::of_this_process())?.settings),
        None => None,
    };
    let (load, from) = load_of(args, settings.as_ref())?;
    let pipeline = pipeline(args, settings.as_ref(), load)?;
    let bill = bill::bill(&pipeline, &list)?;
    Ok(match args.json {
        true => format!("{:#}\n", print::json(&pipeline, &bill, &list, &from)),
        false => print::text(&pipeline, &bill, &list, &from),
    })
}

/// The load and where it is known from: numbers, or a worker that runs.
fn load_of(args: &CostArgs, settings: Option<&Settings>) -> anyhow::Result<(Load, String)> {
    let mut from = "by the numbers given".to_owned();
    let observed = match (args.records_per_day, args.record_bytes) {
        (Some(records), Some(bytes)) => {
            // Exact up to 2^53, which nobody's records reach.
            #[expect(clippy::cast_precision_loss, reason = "see above")]
            let (records, bytes) = (records as f64, bytes as f64);
            Observed { records_per_second: records / 86_400.0, record_bytes: bytes, shards: None, workers: None }
        }
        _ => {
            let url = url(args, settings)?;
            let (observed, how) = observed::ask(&url, args.look_seconds)?;
            from = how;
            observed
        }
    };
    let mut load = Load {
        records_per_second: observed.records_per_second,
        record_bytes: observed.record_bytes,
        shards: 1.0,
        workers: args.workers.map(f64::from).or(observed.workers).unwrap_or(1.0),
    };
    load.shards = args.shards.map(f64::from).or(observed.shards).unwrap_or_else(|| load.least_shards());
    Ok((load, from))
}

/// The worker to ask: the one that is named, or the one of this configuration on this machine.
fn url(args: &CostArgs, settings: Option<&Settings>) -> anyhow::Result<String> {
    match (&args.url, settings) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(settings)) if settings.admin.listen.port() != 0 => {
            let mut address = settings.admin.listen;
            if address.ip().is_unspecified() {
                address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            Ok(format!("http://{address}"))
        }
        _ => bail!(
            "how much flows is not known: give --records-per-day and --record-bytes, or --url of a running worker"
        ),
    }
}

fn pipeline(args: &CostArgs, settings: Option<&Settings>, load: Load) -> anyhow::Result<Pipeline> {
    let configured =
        settings.and_then(|settings| settings.source.access.region.clone().or(settings.aws.region.clone()));
    let region = args.region.clone().or(configured).ok_or_else(|| {
        anyhow!(
            "the stream's Region is not known: give --region, or set aws.region or source.region in the configuration"
        )
    })?;
    let sink_region =
        args.sink_region.clone().or_else(|| settings.and_then(sink_region)).unwrap_or_else(|| region.clone());
    let sink = match (args.sink, settings.map(|settings| &settings.sink)) {
        (Some(CostSink::Firehose), Some(SinkSettings::Firehose(firehose)))
        | (None, Some(SinkSettings::Firehose(firehose))) => {
            // What `auto` finds is not known here; the figure for the other case stands beside.
            Sink::Firehose { pack: firehose.pack != Pack::Never, linger: firehose.linger.as_secs_f64() }
        }
        (Some(CostSink::S3), Some(SinkSettings::S3 { objects, .. }))
        | (None, Some(SinkSettings::S3 { objects, .. })) => s3(objects),
        (Some(CostSink::S3), _) => Sink::S3 { object_bytes: 64.0 * MIB, interval: 300.0, compressed: false },
        (Some(CostSink::Firehose), _) | (None, None) => Sink::Firehose { pack: true, linger: 1.0 },
        (None, Some(SinkSettings::Directory { .. } | SinkSettings::Stdout)) => {
            bail!("sink.type is neither s3 nor firehose: nothing to compare with; say which to reckon with --sink")
        }
    };
    let failover = settings.map_or(10.0, |settings| settings.leases.failover_time.as_secs_f64());
    let dynamodb = settings.is_none_or(|settings| matches!(settings.leases.store, LeaseStoreSettings::DynamoDb { .. }));
    Ok(Pipeline { load, region, sink_region, sink, failover, dynamodb })
}

fn sink_region(settings: &Settings) -> Option<String> {
    match &settings.sink {
        SinkSettings::S3 { access, .. } => access.region.clone(),
        SinkSettings::Firehose(firehose) => firehose.access.region.clone(),
        SinkSettings::Directory { .. } | SinkSettings::Stdout => None,
    }
}

fn s3(objects: &ObjectSettings) -> Sink {
    #[expect(clippy::cast_precision_loss, reason = "sizes of objects are far below 2^53")]
    let object_bytes = objects.buffer_size as f64;
    Sink::S3 {
        object_bytes,
        interval: objects.buffer_interval.as_secs_f64(),
        compressed: objects.compression != Compression::None,
    }
}
