//! Workers on fakes, in simulated time.

mod calls;
mod gaps;
mod handover;
mod keeper;
mod objects;
mod replays;
mod streams;
mod table;
mod trimmed;

use std::sync::atomic::Ordering;
use std::time::Duration;

use penstock_core::coordinator::api::InitialPosition;
use penstock_core::ids::LeaseKey;
use penstock_core::position::Position;
use tokio::task::JoinHandle;

use super::*;
use crate::fakes::*;
use crate::ports::{ErrorClass, OpenAt};
use crate::status::{ShardPhase, SinkStatus};

const SHARD: &str = "shardId-000000000000";
const CHILD: &str = "shardId-000000000001";

struct World {
    stream: Arc<FakeStream>,
    /// Other streams beside it.
    more: Vec<Arc<FakeStream>>,
    table: Arc<FakeTable>,
    gaps: Arc<FakeGaps>,
    objects: Arc<FakeObjects>,
    calls: Arc<FakeCalls>,
    aside: Arc<FakeSetAside>,
    clock: Clock,
    begins_at: InitialPosition,
}

struct Started {
    run: JoinHandle<Result<Exit, StartError>>,
    shutdown: CancellationToken,
    status: StatusHandle,
}

impl World {
    fn new(shards: &[&str]) -> Self {
        Self {
            stream: FakeStream::new(shards),
            more: Vec::new(),
            table: Arc::default(),
            gaps: Arc::default(),
            objects: Arc::default(),
            calls: Arc::default(),
            aside: Arc::default(),
            clock: Clock::simulated(START),
            begins_at: InitialPosition::TrimHorizon,
        }
    }

    fn sources(&self) -> Vec<StreamSource> {
        let source = |stream: &Arc<FakeStream>| StreamSource {
            initial_position: self.begins_at,
            ..StreamSource::whole(stream.name.clone(), stream.clone())
        };
        std::iter::once(&self.stream).chain(&self.more).map(source).collect()
    }

    fn start(&self, sink: SinkPort, set_aside: bool, settings: WorkerSettings) -> Started {
        let ports = Ports {
            sources: self.sources(),
            leases: self.table.clone(),
            gaps: self.gaps.clone(),
            sink,
            set_aside: set_aside.then(|| self.aside.clone() as Arc<dyn SetAside>),
        };
        let worker = Worker::new(settings, ports, self.clock.clone()).unwrap();
        let (status, shutdown) = (worker.status(), CancellationToken::new());
        Started { run: tokio::spawn(worker.run(shutdown.clone())), shutdown, status }
    }

    fn objects(&self, worker: &str) -> Started {
        self.start(SinkPort::Objects(self.objects.clone()), false, settings(worker))
    }

    fn calls(&self, set_aside: bool) -> Started {
        self.start(SinkPort::Calls(self.calls.clone()), set_aside, settings("w-1"))
    }

    fn checkpoint_if_there(&self, shard: &str) -> Option<Position> {
        Some(self.table.rows.lock().unwrap().get(&LeaseKey::new(shard))?.checkpoint.clone())
    }

    fn checkpoint(&self, shard: &str) -> Position {
        self.table.row(shard).checkpoint
    }
}

impl Started {
    async fn stop(self) -> Exit {
        self.shutdown.cancel();
        let exit = self.run.await.unwrap().unwrap();
        assert!(self.status.snapshot().totals.add_up(), "{:?}", self.status.snapshot().totals);
        assert_eq!(self.status.snapshot().totals.in_flight, 0);
        assert_eq!(self.status.snapshot().memory_used, 0);
        exit
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never came: {what}");
}

fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("r{number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn two_runs_with_one_seed_are_the_same() {
    async fn trace() -> Vec<Duration> {
        let world = World::new(&[SHARD, CHILD]);
        world.stream.put(SHARD, 1..=300);
        world.stream.put(CHILD, 1..=300);
        world.stream.fetch_faults.add(ErrorClass::Transient, 5);
        let began = tokio::time::Instant::now();
        let worker = world.objects("w-1");
        until("the records", || world.objects.lines().len() == 600).await;
        worker.stop().await;
        let at = world.stream.fetched_at.lock().unwrap().clone();
        at.into_iter().map(|at| at - began).collect()
    }
    assert_eq!(trace().await, trace().await);
}
