//! The local endpoint: one port that plays Kinesis and Firehose, told apart by `X-Amz-Target`. Embeddable; state lives and
//! ends with it, but for what Firehose has delivered. Signatures are not checked: listen on loopback.

mod connection;
mod dispatch;
mod reply;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::faults::FaultRule;
use dispatch::Endpoint;

/// How often Firehose looks for buffers that are old enough.
const DELIVERY_TICK: Duration = Duration::from_millis(100);
/// How long requests may take to end once the server shuts down.
const GRACE: Duration = Duration::from_secs(1);

/// What a local server is started with. [`LocalOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// Where Firehose delivers: a directory per bucket.
    pub dir: PathBuf,
    /// Whether rates are enforced. Sizes, counts and ranges always are.
    pub limits: bool,
    /// Faults to inject, the first that fires wins.
    pub faults: Vec<FaultRule>,
    /// Decides the faults' choices.
    pub seed: u64,
    /// Twelve digits, in ARNs.
    pub account: String,
    /// The Region of streams whose CreateStream was not signed for one.
    pub region: String,
    /// How long a shard iterator is good for.
    pub iterator_life: Duration,
    /// What counts as one hour of retention; a test may shorten it.
    pub retention_hour: Duration,
    /// Tells the time.
    pub clock: Clock,
}

impl LocalOptions {
    /// The service's limits, no faults, on a free loopback port.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            dir: dir.into(),
            limits: true,
            faults: Vec::new(),
            seed: 0,
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            iterator_life: Duration::from_secs(300),
            retention_hour: Duration::from_secs(3600),
            clock: Clock::system(),
        }
    }
}

/// Why a local server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A running local server. Dropped, it shuts down behind the caller's back; [`LocalServer::shutdown`] waits for it.
///
/// What differs from the services: streams and delivery streams are ready, and resharding and deleting are done, when the
/// call answers; on-demand streams keep their four shards; control operations have rates by account only; a delivery
/// stream has one S3 destination, written as uncompressed files, and runs no processor but AppendDelimiterToRecord; there
/// are no consumers with enhanced fan-out, no encryption, no resource policies, and no CBOR.
#[derive(Debug)]
pub struct LocalServer {
    address: SocketAddr,
    endpoint: Arc<Endpoint>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl LocalServer {
    /// Starts a server; it takes requests when this returns.
    pub async fn start(options: LocalOptions) -> Result<Self, StartError> {
        let asked = options.listen;
        let failed = |source| StartError::Listen { address: asked, source };
        let listener = TcpListener::bind(asked).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Tokens and object names of one run must not be taken for those of another.
        let run = RandomState::new().hash_one(address);
        let stop = CancellationToken::new();
        let endpoint = Arc::new(Endpoint::new(options, run));
        let task = tokio::spawn(serve(listener, Arc::clone(&endpoint), stop.clone()));
        Ok(Self { address, endpoint, stop, task: Some(task) })
    }

    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint URL to give to clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the fault rules; those fired so far are forgotten.
    pub fn set_faults(&self, rules: Vec<FaultRule>, seed: u64) {
        self.endpoint.set_faults(rules, seed);
    }

    /// Stops taking requests, lets those under way end, and writes what Firehose still holds.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the local server ended badly");
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Owns everything that runs: connections and deliveries.
async fn serve(listener: TcpListener, endpoint: Arc<Endpoint>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let delivering = tokio::spawn(deliver(Arc::clone(&endpoint), stop.clone()));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection::serve(stream, Arc::clone(&endpoint), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
    if let Err(error) = delivering.await {
        tracing::error!(%error, "the delivery task ended badly");
    }
    // What the last requests brought.
    if let Err(error) = write_due(&endpoint, true).await {
        tracing::error!(%error, "Firehose ends with records that it could not write");
    }
}

/// Writes Firehose's buffers as they come due; of failures in a row it tells the first.
async fn deliver(endpoint: Arc<Endpoint>, stop: CancellationToken) {
    let mut failing = false;
    while stop.run_until_cancelled(tokio::time::sleep(DELIVERY_TICK)).await.is_some() {
        let written = write_due(&endpoint, false).await;
        if let Err(error) = &written
            && !failing
        {
            tracing::warn!(%error, "Firehose could not write; it keeps the records and goes on trying");
        }
        failing = written.is_err();
    }
}

async fn write_due(endpoint: &Arc<Endpoint>, all: bool) -> Result<(), String> {
    let endpoint = Arc::clone(endpoint);
    let written = tokio::task::spawn_blocking(move || endpoint.write_due(all)).await;
    written.unwrap_or_else(|error| Err(error.to_string()))
}
