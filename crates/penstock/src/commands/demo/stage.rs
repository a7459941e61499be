//! Where the demo plays: the local services, the stream, and the workers over them, each with a configuration file of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use penstock_aws::clients::{self, SdkConfig};
use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_aws::producer::{Producer, create_delivery_stream};
use penstock_engine::clock::Clock;
use penstock_engine::ports::ShardSource;
use penstock_engine::start::StartError;
use penstock_engine::status::StatusHandle;
use penstock_engine::worker::{Exit, Ports, Worker};
use penstock_local::server::{LocalOptions, LocalServer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoSink;
use crate::config::{Surroundings, load};
use crate::wiring::aws::Aws;
use crate::wiring::{ports, settings};

const REGION: &str = "eu-west-1";
/// The stream.
pub(super) const STREAM: &str = "clicks";
const DELIVERY_STREAM: &str = "to-lake";
const BUCKET: &str = "lake";

/// Everything that the demo plays on.
pub(super) struct Stage {
    /// Where all files are.
    pub(super) dir: PathBuf,
    /// Kinesis and Firehose.
    pub(super) server: LocalServer,
    /// Writes to the stream.
    pub(super) producer: Producer,
    /// Reads the stream's shards.
    pub(super) source: Arc<dyn ShardSource>,
    sink: DemoSink,
}

/// A worker that runs.
pub(super) struct Actor {
    /// What it shows of itself.
    pub(super) status: StatusHandle,
    task: JoinHandle<Result<Exit, StartError>>,
    shutdown: CancellationToken,
}

impl Stage {
    /// Starts the services and creates the stream.
    pub(super) async fn set(dir: PathBuf, shards: u32, sink: DemoSink) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        if std::fs::read_dir(&dir)?.next().is_some() {
            bail!("{} is not empty; the demo wants a directory of its own", dir.display());
        }
        let listen = "127.0.0.1:0".parse().context("a loopback address")?;
        let options = LocalOptions { listen, ..LocalOptions::new(dir.join("firehose")) };
        let server = LocalServer::start(options).await?;
        let config = local_config(&server.url()).await;
        let producer = Producer::new(&config, STREAM);
        producer.create_stream(shards).await?;
        if sink == DemoSink::Firehose {
            create_delivery_stream(&config, DELIVERY_STREAM, BUCKET).await?;
        }
        let source = Arc::new(KinesisSource::new(&config, StreamRef::new(STREAM)));
        Ok(Self { dir, server, producer, source, sink })
    }

    /// Whether records go to the local Firehose.
    pub(super) fn is_firehose(&self) -> bool {
        self.sink == DemoSink::Firehose
    }

    /// Where delivered records end up.
    pub(super) fn delivered(&self) -> PathBuf {
        match self.sink {
            DemoSink::Directory => self.dir.join("objects"),
            DemoSink::Firehose => self.dir.join("firehose").join(BUCKET),
        }
    }

    /// The configuration file of a worker, as a user would write it.
    fn configuration(&self, name: &str) -> String {
        let sink = match self.sink {
            DemoSink::Directory => format!(
                "type = \"directory\"\npath = {:?}\nprefix = \"clicks/!{{timestamp:yyyy/MM/dd/HH}}/\"\n\
                 error_prefix = \"errors/!{{firehose:error-output-type}}/\"\n\
                 buffer_size = \"1MiB\"\nbuffer_interval = \"1s\"\n",
                self.delivered()
            ),
            DemoSink::Firehose => {
                format!("type = \"firehose\"\ndelivery_stream = \"{DELIVERY_STREAM}\"\nlinger = \"200ms\"\n")
            }
        };
        format!(
            "[application]\nname = \"demo\"\nworker_id = \"{name}\"\n\n[aws]\nregion = \"{REGION}\"\n\n\
             [aws.endpoints]\nkinesis = \"{url}\"\nfirehose = \"{url}\"\n\n\
             [source]\nstreams = [\"{STREAM}\"]\nidle_interval = \"250ms\"\n\n\
             [leases]\nstore = \"sqlite\"\npath = {leases:?}\nfailover_time = \"2s\"\n\n[sink]\n{sink}",
            url = self.server.url(),
            leases = self.dir.join("leases.db"),
        )
    }

    /// Starts a worker.
    pub(super) async fn start_worker(&self, name: &str) -> anyhow::Result<Actor> {
        let file = self.dir.join(format!("{name}.toml"));
        std::fs::write(&file, self.configuration(name)).with_context(|| format!("writing {}", file.display()))?;
        let settings = load(&file, &[], &Surroundings::default())?.settings;
        let aws = Aws::local(&settings.aws).await;
        let (sink, set_aside) = ports::sink(&settings, &aws).await?;
        let sources = ports::sources(&settings, &aws).await?;
        let leases = ports::leases(&settings, &aws).await?;
        let gaps = ports::gaps(&settings, &aws).await?;
        let ports = Ports { sources, leases, gaps, sink, set_aside };
        let worker = Worker::new(settings::worker_settings(&settings), ports, Clock::Boot)?;
        let shutdown = CancellationToken::new();
        let status = worker.status();
        Ok(Actor { status, task: tokio::spawn(worker.run(shutdown.clone())), shutdown })
    }
}

async fn local_config(url: &str) -> SdkConfig {
    let base = clients::load_local(REGION).await;
    let service = clients::ServiceSettings { endpoint: Some(url.to_owned()), ..clients::ServiceSettings::default() };
    clients::for_service(&base, &service).await
}

impl Actor {
    /// Kills it: its tasks are dropped where they stand, nothing is released, nobody is told.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Stops it in order.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        match self.task.await.context("the worker panicked")?? {
            Exit::Clean => Ok(()),
            Exit::Undelivered { shards } => bail!("{} shards were left undelivered", shards.len()),
            Exit::Refused { problem } => bail!("the worker was refused: {problem}"),
            Exit::Failed { problem } => bail!("the worker failed: {problem}"),
        }
    }

    /// Whether it ended by itself, which it never should.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

/// The files below a directory that are finished: names without a dot in front, in order.
pub(super) fn finished_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}
