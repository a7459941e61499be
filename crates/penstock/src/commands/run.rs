//! `penstock run`: the daemon.

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use penstock_engine::clock::Clock;
use penstock_engine::worker::{Exit, Ports, Worker};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::EXIT_UNDELIVERED;
use crate::cli::ConfigArgs;
use crate::config::settings::Settings;
use crate::config::{Surroundings, load};
use crate::telemetry::LogControl;
use crate::wiring::aws::Aws;
use crate::wiring::{ports, settings};
use crate::{admin, systemd, telemetry};

/// Signals within this time of the first are the same request: timeout(1) sends its signal to the process and then to its whole
/// group, and a terminal's Ctrl-C comes beside that of whoever passes it on.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// What keeps the worker from starting. Once it runs, nothing external ends it.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let loaded = load(&args.file, &args.settings, &Surroundings::of_this_process())?;
    for warning in &loaded.warnings {
        writeln!(std::io::stderr(), "penstock: warning: {warning}")?;
    }
    let log = telemetry::install_log(loaded.settings.log)?;
    let metrics = telemetry::install_metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let exit = runtime.block_on(run_worker(&loaded.settings, metrics, log));
    // A blocked write to a closed disk or pipe must not hold the exit up.
    runtime.shutdown_background();
    exit
}

async fn run_worker(settings: &Settings, metrics: PrometheusHandle, log: LogControl) -> anyhow::Result<ExitCode> {
    // From the first moment on, so that a signal during the start is not the default's sudden death.
    let signals = Signals::listen()?;
    let listener = admin::bind(settings.admin.listen).await?;
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(cancel_on_signal(signals, shutdown.clone()));

    // Before the worker exists: credentials may take their time, and a probe must not end the process meanwhile.
    let status = Arc::new(OnceLock::new());
    if systemd::listens() {
        tasks.spawn(systemd::tell(Arc::clone(&status), shutdown.clone()));
    }
    let sources = admin::Sources {
        metrics,
        status: Arc::clone(&status),
        per_shard_metrics: settings.admin.per_shard_metrics,
        log,
        about: admin::About::of(settings),
    };
    serve_admin(&mut tasks, listener, sources)?;
    let worker = build(settings).await?;
    // Nobody else sets it.
    let _ = status.set(worker.status());
    match worker.run(shutdown).await? {
        Exit::Clean => {
            info!("everything that was read is settled, and all leases are released");
            Ok(ExitCode::SUCCESS)
        }
        Exit::Undelivered { shards } => {
            error!(shards = shards.len(), "the grace period ran out with records undelivered; they are read again");
            Ok(ExitCode::from(EXIT_UNDELIVERED))
        }
        Exit::Refused { problem } => bail!("{problem}"),
        Exit::Failed { problem } => bail!("the worker failed, which is a fault of penstock's own: {problem}"),
    }
}

async fn build(settings: &Settings) -> anyhow::Result<Worker> {
    let aws = Aws::load(&settings.aws).await;
    let sources = ports::sources(settings, &aws).await?;
    let leases = ports::leases(settings, &aws).await?;
    let gaps = ports::gaps(settings, &aws).await?;
    let (sink, set_aside) = ports::sink(settings, &aws).await?;
    let worker_settings = settings::worker_settings(settings);
    info!(
        application = %worker_settings.application,
        worker = %worker_settings.worker,
        streams = stream_names(settings),
        version = crate::cli::VERSION,
        "starting"
    );
    Ok(Worker::new(worker_settings, Ports { sources, leases, gaps, sink, set_aside }, Clock::Boot)?)
}

fn stream_names(settings: &Settings) -> String {
    settings.source.streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn serve_admin(tasks: &mut JoinSet<()>, listener: TcpListener, sources: admin::Sources) -> anyhow::Result<()> {
    info!(address = %listener.local_addr()?, "admin server: a status page at /, and /metrics /livez /readyz /api/status");
    // It answers to the last: until the process ends, with its tasks.
    tasks.spawn(admin::serve(listener, sources, CancellationToken::new()));
    Ok(())
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn cancel_on_signal(mut signals: Signals, shutdown: CancellationToken) {
    let signal = signals.next().await;
    info!(signal, "draining: no new leases, no new fetches; a second signal ends at once");
    shutdown.cancel();
    let begun = Instant::now();
    let mut signal = signals.next().await;
    while begun.elapsed() < SAME_SIGNAL {
        signal = signals.next().await;
    }
    warn!(signal, "ending at once; what is in flight is read again by the next owner");
    std::process::exit(i32::from(EXIT_UNDELIVERED));
}
