//! The admin server: metrics, probes, `/api/status`, the status page, and the log level. It changes nothing but that.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use penstock_engine::status::StatusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::answers::{Answer, text, with_type, wrong_method};
use crate::config::settings::{Settings, SinkSettings};
use crate::telemetry::LogControl;

mod answers;
mod log_level;
mod page;
mod process;
mod series;
mod status;

/// The keeper looks around at least this often; a loop that stands still longer than this is stuck.
const LIVE_LIMIT: Duration = Duration::from_secs(30);
/// A connection is for one request; a client that does not send it, or does not read its answer, is cut off after this.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Connections at a time; a scraper and a few people need a handful.
const MAX_CONNECTIONS: usize = 64;
/// What the pages say while there is no worker yet.
const STARTING: &str = "starting\n";
/// What there is beside the page itself.
const PATHS: &str = "/\n/metrics\n/livez\n/readyz\n/api/status\n/api/log-level\n";

/// What the server shows.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The recorder's series.
    pub(crate) metrics: PrometheusHandle,
    /// The worker, once there is one: before that it is being put together, which waits for credentials.
    pub(crate) status: Arc<OnceLock<StatusHandle>>,
    /// Whether there are series per shard.
    pub(crate) per_shard_metrics: bool,
    /// What is logged.
    pub(crate) log: LogControl,
    /// What the configuration says of the worker.
    pub(crate) about: About,
}

/// What the configuration says of the worker.
#[derive(Debug, Clone)]
pub(crate) struct About {
    application: String,
    destination: String,
}

impl About {
    /// From the settings.
    pub(crate) fn of(settings: &Settings) -> Self {
        let destination = match &settings.sink {
            SinkSettings::S3 { bucket, .. } => format!("s3://{bucket}"),
            SinkSettings::Directory { path, .. } => format!("directory {}", path.display()),
            SinkSettings::Firehose(firehose) => format!("Firehose {}", firehose.delivery_stream),
            SinkSettings::Stdout => "standard output".to_owned(),
        };
        Self { application: settings.application.name.clone(), destination }
    }
}

/// Binds the address, so that a start fails at once if it is in use.
///
/// # Errors
/// If the address cannot be had, saying what to do.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("admin.listen: {address} cannot be used; choose another address or port, or port 0 for any free one")
    })
}

/// What serves all connections.
struct Admin {
    sources: Sources,
    last_status: status::LastAnswer,
}

/// Serves until `shutdown`; connections that are open then are cut.
pub(crate) async fn serve(listener: TcpListener, sources: Sources, shutdown: CancellationToken) {
    let admin = Arc::new(Admin { sources, last_status: status::LastAnswer::default() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(stream, peer, Arc::clone(&admin)));
                }
                // Out of file descriptors, most likely: others will be freed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, admin: Arc<Admin>) {
    let service = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(request, peer).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIMIT)
        // Idle connections of browsers would take the places of those who ask.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that went away, or is too slow, is nobody's concern.
    let _ = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let path = request.uri().path();
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        if path == "/api/log-level" {
            return match *request.method() {
                Method::GET | Method::HEAD | Method::POST => log_level::answer(request, peer, &self.sources.log).await,
                _ => wrong_method("GET, HEAD, POST"),
            };
        }
        let Some(answer) = self.read(path) else {
            return text(StatusCode::NOT_FOUND, format!("there is no {path} here; there is\n{PATHS}"));
        };
        if reads { answer } else { wrong_method("GET, HEAD") }
    }

    fn read(&self, path: &str) -> Option<Answer> {
        match path {
            "/metrics" => {
                let body = self.metrics();
                Some(with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body))
            }
            "/livez" => Some(livez(self.sources.status.get(), LIVE_LIMIT)),
            "/readyz" => Some(self.readyz()),
            "/api/status" => Some(self.status()),
            path => page::file(path),
        }
    }

    fn metrics(&self) -> String {
        let mut samples = process::samples();
        if let Some(status) = self.sources.status.get() {
            status.refresh_gauges();
            if self.sources.per_shard_metrics {
                samples.extend(status.shard_series());
            }
        }
        let mut page = self.sources.metrics.render();
        series::render(&mut page, &samples);
        page
    }

    fn readyz(&self) -> Answer {
        let Some(status) = self.sources.status.get() else { return text(StatusCode::SERVICE_UNAVAILABLE, STARTING) };
        let obstacles = status.obstacles();
        if obstacles.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", obstacles.join("\n")))
    }

    fn status(&self) -> Answer {
        let Some(status) = self.sources.status.get() else {
            return with_type(StatusCode::SERVICE_UNAVAILABLE, "application/json", "{\"state\":\"starting\"}\n");
        };
        let body = self.last_status.get(&self.sources.about, status);
        with_type(StatusCode::OK, "application/json", body)
    }
}

/// Whether the lease keeper moves. What the worker waits for does not matter: to start it again would not bring it nearer.
fn livez(worker: Option<&StatusHandle>, limit: Duration) -> Answer {
    match worker {
        None => text(StatusCode::OK, STARTING),
        Some(status) if status.is_live(limit) => text(StatusCode::OK, "alive\n"),
        Some(_) => {
            let stuck = format!("the lease keeper has not moved for more than {} s\n", limit.as_secs());
            text(StatusCode::SERVICE_UNAVAILABLE, stuck)
        }
    }
}

#[cfg(test)]
mod tests;
