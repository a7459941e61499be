//! Logs and metrics of the process: the one place that installs a subscriber and a recorder.

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::{LogFormat, LogLevel, LogSettings};

/// Sends events to stderr in the configured form. What libraries log is shown from `warn` on; `RUST_LOG` overrides all of it.
///
/// # Errors
/// If a subscriber is installed already.
pub(crate) fn install_log(settings: LogSettings) -> anyhow::Result<()> {
    let level = level(settings.level);
    let ours = ["penstock", "penstock_core", "penstock_engine", "penstock_objects", "penstock_aws", "penstock_local"];
    let filter = std::env::var("RUST_LOG").ok().and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| {
        let others = level.min(LevelFilter::WARN);
        EnvFilter::new(ours.iter().fold(others.to_string(), |filter, name| format!("{filter},{name}={level}")))
    });
    let registry = tracing_subscriber::registry().with(filter);
    let result = match settings.format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false)).try_init(),
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
        }
    };
    result.context("installing the log")
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Installs the recorder that `/metrics` is rendered from.
///
/// # Errors
/// If a recorder is installed already.
pub(crate) fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new().install_recorder().context("installing the metrics recorder")?;
    penstock_engine::metrics::describe();
    Ok(handle)
}
