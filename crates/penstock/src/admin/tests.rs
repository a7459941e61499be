//! The probe of a worker that runs, and of one that stands still.

use async_trait::async_trait;
use http_body_util::BodyExt;
use penstock_core::coordinator::api::InitialPosition;
use penstock_core::ids::{ApplicationName, ShardId, StreamName, WorkerId};
use penstock_core::shard::ShardListing;
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{Fetched, OpenAt, SeamError, ShardIterator, ShardSource, SinkPort, StreamDescription};
use penstock_engine::settings::WorkerSettings;
use penstock_engine::worker::{Ports, StreamSource, Worker};
use penstock_local::gap_ledger::SqliteGapLedger;
use penstock_local::lease_table::SqliteLeaseTable;

use super::*;
use crate::stdout_sink::StdoutSink;

/// A stream without shards.
struct NoShards;

#[async_trait]
impl ShardSource for NoShards {
    async fn describe(&self) -> Result<StreamDescription, SeamError> {
        let (name, created) = (StreamName::new("clicks"), UnixMillis(1));
        Ok(StreamDescription { name, arn: None, created, retention: Duration::from_secs(86_400) })
    }

    async fn list_shards(&self) -> Result<Vec<ShardListing>, SeamError> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &ShardId, _: &OpenAt) -> Result<ShardIterator, SeamError> {
        std::future::pending().await
    }

    async fn fetch(&self, _: &ShardId, _: &ShardIterator, _: u32) -> Result<Fetched, SeamError> {
        std::future::pending().await
    }
}

fn worker(dir: &std::path::Path) -> Worker {
    let (application, leases) = (ApplicationName::new("test"), dir.join("leases.db"));
    let source: Arc<dyn ShardSource> = Arc::new(NoShards);
    let (name, initial_position) = (StreamName::new("clicks"), InitialPosition::Latest);
    let ports = Ports {
        sources: vec![StreamSource { name, source, initial_position }],
        leases: Arc::new(SqliteLeaseTable::new(&leases, &application)),
        gaps: Arc::new(SqliteGapLedger::new(&leases, &application)),
        sink: SinkPort::Calls(Arc::new(StdoutSink)),
        set_aside: None,
    };
    Worker::new(WorkerSettings::new(application, WorkerId::new("one"), 1), ports, Clock::Boot).unwrap()
}

#[test]
fn a_worker_that_stands_still_is_not_alive() {
    let dir = tempfile::tempdir().unwrap();
    // One thread, on which nothing runs but while something is waited for on it: then the worker stands still as a whole.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = |worker: Option<&StatusHandle>, limit| {
        let answer = livez(worker, limit);
        let (status, body) = (answer.status(), runtime.block_on(answer.into_body().collect()).unwrap().to_bytes());
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let alive = (StatusCode::OK, "alive\n".to_owned());
    assert_eq!(answer(None, Duration::ZERO), (StatusCode::OK, "starting\n".to_owned()));
    let worker = worker(dir.path());
    let status = worker.status();
    assert_eq!(answer(Some(&status), Duration::ZERO), alive, "its keeper has not begun");
    let run = runtime.spawn(worker.run(CancellationToken::new()));
    while !status.snapshot().started {
        assert!(!run.is_finished());
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
    }
    assert_eq!(answer(Some(&status), LIVE_LIMIT), alive);
    let stuck = "the lease keeper has not moved for more than 0 s\n".to_owned();
    assert_eq!(answer(Some(&status), Duration::ZERO), (StatusCode::SERVICE_UNAVAILABLE, stuck));
}
