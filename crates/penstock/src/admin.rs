//! The admin server: `/metrics`, `/livez`, `/readyz`, `/api/status` and a page that names them. Reads, never changes anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use penstock_engine::status::StatusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod process;
mod series;
mod status;

/// The keeper looks around at least this often; a loop that stands still longer than this is stuck.
const LIVE_LIMIT: Duration = Duration::from_secs(30);
/// A client that does not send its request, or does not read its answer, is cut off after this.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Connections at a time; a scraper and a few people need a handful.
const MAX_CONNECTIONS: usize = 64;
/// What the pages say while there is no worker yet.
const STARTING: &str = "starting\n";

/// What the server shows.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The recorder's series.
    pub(crate) metrics: PrometheusHandle,
    /// The worker, once there is one: before that it is being put together, which waits for credentials.
    pub(crate) status: Arc<OnceLock<StatusHandle>>,
    /// Whether there are series per shard.
    pub(crate) per_shard_metrics: bool,
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

/// Serves until `shutdown`; connections that are open then are cut.
pub(crate) async fn serve(listener: TcpListener, sources: Sources, shutdown: CancellationToken) {
    let sources = Arc::new(sources);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(TokioIo::new(stream), Arc::clone(&sources)));
                }
                // Out of file descriptors, most likely: others will be freed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn serve_connection(stream: TokioIo<tokio::net::TcpStream>, sources: Arc<Sources>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &sources);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIMIT)
        .serve_connection(stream, service);
    // A client that went away is nobody's concern.
    let _ = connection.await;
}

fn answer(request: &Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, "penstock\n\n/metrics\n/readyz\n/livez\n/api/status\n"),
        "/metrics" => with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics(sources)),
        "/livez" => livez(sources),
        "/readyz" => readyz(sources),
        "/api/status" => api_status(sources),
        path => text(StatusCode::NOT_FOUND, format!("there is no {path} here; see /\n")),
    }
}

fn metrics(sources: &Sources) -> String {
    let mut samples = process::samples();
    if let Some(status) = sources.status.get() {
        status.refresh_gauges();
        if sources.per_shard_metrics {
            samples.extend(status.shard_series());
        }
    }
    let mut page = sources.metrics.render();
    series::render(&mut page, &samples);
    page
}

fn livez(sources: &Sources) -> Response<Full<Bytes>> {
    match sources.status.get() {
        None => text(StatusCode::OK, STARTING),
        Some(status) if status.is_live(LIVE_LIMIT) => text(StatusCode::OK, "alive\n"),
        Some(_) => {
            let limit = LIVE_LIMIT.as_secs();
            let stuck = format!("the lease keeper has not moved for more than {limit} s\n");
            text(StatusCode::SERVICE_UNAVAILABLE, stuck)
        }
    }
}

fn readyz(sources: &Sources) -> Response<Full<Bytes>> {
    let Some(status) = sources.status.get() else { return text(StatusCode::SERVICE_UNAVAILABLE, STARTING) };
    let obstacles = status.obstacles();
    if obstacles.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", obstacles.join("\n")))
}

fn api_status(sources: &Sources) -> Response<Full<Bytes>> {
    let (code, body) = match sources.status.get() {
        Some(status) => (StatusCode::OK, status::json(&status.snapshot())),
        None => (StatusCode::SERVICE_UNAVAILABLE, json!({ "state": STARTING.trim_end() })),
    };
    with_type(code, "application/json", format!("{body:#}\n"))
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
