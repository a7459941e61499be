//! Logs and metrics of the process: the one place that installs a subscriber and a recorder.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use penstock_engine::metrics::catalogue::{CATALOGUE, Kind};
use penstock_engine::ports::SeamError;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use self::level::LogControl;
use self::repeats::Repeats;
use crate::config::Problems;
use crate::config::settings::{LogFormat, LogLevel, LogSettings};

mod journal;
mod level;
mod repeats;

/// Sends events to stderr in the configured form, repeats of trouble counted. Of what libraries log only errors are shown: we say
/// what their failures mean for us. `RUST_LOG` overrides all of it at the start.
///
/// # Errors
/// If a subscriber is installed already.
pub(crate) fn install_log(settings: LogSettings) -> anyhow::Result<LogControl> {
    let (filter, control) = LogControl::new(level(settings.level), std::env::var("RUST_LOG").ok());
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let form = settings.format;
    let result = match form {
        LogFormat::Text if journal::is_stderr() => {
            registry.with(layer.with_ansi(false).event_format(Repeats::new(journal::Lines::default(), form))).try_init()
        }
        LogFormat::Text => {
            // Colours are for people; a file or a collector gets plain text.
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let lines = fmt::format().with_target(false).with_ansi(colours);
            registry.with(layer.with_ansi(colours).event_format(Repeats::new(lines, form))).try_init()
        }
        LogFormat::Json => {
            let lines = fmt::format().json().flatten_event(true);
            registry.with(layer.fmt_fields(JsonFields::new()).event_format(Repeats::new(lines, form))).try_init()
        }
    };
    result.context("installing the log")?;
    Ok(control)
}

const fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// Installs the recorder that `/metrics` is rendered from.
///
/// # Errors
/// If a recorder is installed already.
pub(crate) fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = with_buckets()?.install_recorder().context("installing the metrics recorder")?;
    penstock_engine::metrics::describe();
    Ok(handle)
}

/// A recorder that knows the buckets of each histogram.
///
/// # Errors
/// If a histogram has none.
pub(crate) fn with_buckets() -> anyhow::Result<PrometheusBuilder> {
    let mut builder = PrometheusBuilder::new();
    for metric in CATALOGUE {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets).context("buckets of a metric")?;
        }
    }
    Ok(builder)
}

/// An error with its causes in one line, each said once: an outer message often has the inner one in it already. What lies behind
/// an error of a seam is left out, since its message says it in words for an operator. A list of configuration problems stays a
/// list.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    if error.is::<Problems>() {
        return error.to_string();
    }
    let seam = error.chain().position(|cause| cause.is::<SeamError>()).unwrap_or(usize::MAX);
    let causes = error.chain().take(seam.saturating_add(1)).map(|cause| unbroken(&cause.to_string()));
    causes.fold(String::new(), |line, cause| match (line.is_empty(), line.contains(&cause)) {
        (true, _) => cause,
        (false, true) => line,
        (false, false) => format!("{line}: {cause}"),
    })
}

fn unbroken(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use penstock_engine::ports::ErrorClass;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let error = anyhow!("refused\n  by all").context("asking failed: refused by all").context("starting");
        assert_eq!(one_line(&error), "starting: asking failed: refused by all");
    }

    #[test]
    fn behind_an_error_of_a_seam_there_is_nothing_for_an_operator() {
        let cause = std::io::Error::other("Error { code: 7 }");
        let error = SeamError::new("GetRecords", "clicks", ErrorClass::Denied, "not allowed").with_source(cause);
        let error = anyhow::Error::new(error).context("starting");
        assert_eq!(one_line(&error), "starting: GetRecords on clicks failed: not allowed");
    }
}
