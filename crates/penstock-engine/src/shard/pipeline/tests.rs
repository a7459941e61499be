use std::future::pending;

use penstock_core::coordinator::api::Answer;
use penstock_core::position::Position;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::fakes::*;
use crate::shard::tenure::KeeperMessage;

const SHARD: &str = "shardId-000000000000";
/// The default time-outs' bound, and a look more.
const BOUND: Duration = Duration::from_secs(360 + 45);

struct Running {
    ctx: Arc<ShardContext>,
    keeper: mpsc::Receiver<KeeperMessage>,
    objects: Arc<FakeObjects>,
    run: JoinHandle<TenureEnd>,
}

fn start(stream: &Arc<FakeStream>) -> Running {
    let (ctx, keeper) = shard(stream, Position::TrimHorizon);
    let objects = Arc::<FakeObjects>::default();
    let run = tokio::spawn(run(Arc::clone(&ctx), ShardSink::Objects(objects.clone())));
    Running { ctx, keeper, objects, run }
}

impl Running {
    async fn request(&mut self) -> (ShardRequest, oneshot::Sender<Answer>) {
        loop {
            if let KeeperMessage::Request(request) = self.keeper.recv().await.unwrap() {
                let (_, request, reply) = request.into_parts();
                return (request, reply);
            }
        }
    }

    /// Answers until `lines` stand there and are committed.
    async fn answer_until(&mut self, lines: usize) {
        loop {
            let (request, reply) = self.request().await;
            let committed = matches!(request, ShardRequest::Commit(_));
            answer(request, reply);
            if committed && self.objects.lines().len() == lines {
                return;
            }
        }
    }

    fn status(&self) -> crate::status::ShardStatus {
        self.ctx.cell.snapshot(self.ctx.worker.clock.now())
    }

    fn stalls(&self, on: &str) -> u64 {
        self.ctx.worker.metrics.totals().stalls.get(on).copied().unwrap_or(0)
    }
}

fn answer(request: ShardRequest, reply: oneshot::Sender<Answer>) {
    let checkpoint = match request {
        ShardRequest::Intend { from, .. } => from,
        ShardRequest::Commit(commit) => Position::After(commit.after),
        ShardRequest::SettleUntil { from, .. } => from,
        ShardRequest::DropIntent { .. } | ShardRequest::EndShard { .. } | ShardRequest::GiveUp { .. } => {
            Position::ShardEnd
        }
    };
    reply.send(Answer::Done { checkpoint }).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_never_returns_in_spite_of_its_time_out_ends_the_run() {
    let (ctx, _keeper) = shard(&FakeStream::new(&[SHARD]), Position::TrimHorizon);
    let hangs = async {
        ctx.pulse().waits(Place::Reader, Wait::Fetch);
        pending::<Result<(), Stopped>>().await
    };
    let began = tokio::time::Instant::now();
    let ended = watched(&ctx, hangs).await;
    assert!(matches!(ended, Err(Stopped::Failed(ShardError::StandsStill(Wait::Fetch, _)))), "{ended:?}");
    assert!(began.elapsed() <= BOUND && began.elapsed() >= Duration::from_secs(360), "{:?}", began.elapsed());
    assert_eq!(ctx.worker.metrics.totals().stalls["fetch"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_deliverer_that_hangs_is_started_again_and_delivers_everything_once() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    let mut running = start(&stream);
    let (request, reply) = running.request().await;
    assert!(matches!(request, ShardRequest::Intend { .. }));
    tokio::time::sleep(BOUND + Duration::from_secs(1)).await;
    let status = running.status();
    assert_eq!((status.restarts, running.stalls("lease_table")), (1, 1));
    assert!(status.problem.unwrap().contains("it waits for lease_table"));
    answer(request, reply);
    running.answer_until(10).await;
    assert_eq!(running.objects.lines().len(), 10);
    tokio::time::sleep(BOUND * 3).await;
    assert_eq!(running.status().restarts, 1, "an idle shard does not stand still");
    running.run.abort();
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_never_comes_is_waited_for_and_named() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    let mut running = start(&stream);
    let budget = &running.ctx.worker.budget;
    let held = [budget.acquire_fetch().await, budget.acquire_fetch().await];
    tokio::time::sleep(BOUND + Duration::from_secs(1)).await;
    let status = running.status();
    assert_eq!((status.restarts, running.stalls("memory_budget")), (0, 1));
    assert!(status.problem.unwrap().contains("waits for memory_budget"));
    tokio::time::sleep(BOUND * 5).await;
    assert_eq!(running.stalls("memory_budget"), 1, "one wait is counted once");
    drop(held);
    running.answer_until(10).await;
    tokio::time::sleep(BOUND).await;
    assert_eq!((running.status().restarts, running.status().problem), (0, None));
    running.run.abort();
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_end_of_a_shard_is_cut_with_it() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    stream.close(SHARD, "shardId-000000000001");
    let mut running = start(&stream);
    running.answer_until(10).await;
    let (request, _reply) = running.request().await;
    assert!(matches!(request, ShardRequest::EndShard { .. }));
    running.ctx.cut.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(1), running.run).await.expect("it is not waited for any more");
    assert_eq!(ended.unwrap(), TenureEnd::Cut);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_shard_may_take_its_time_and_is_named() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    stream.close(SHARD, "shardId-000000000001");
    let mut running = start(&stream);
    running.answer_until(10).await;
    let (request, reply) = running.request().await;
    // The rows of the children cannot be created.
    tokio::time::sleep(BOUND * 3).await;
    let status = running.status();
    assert_eq!((status.restarts, running.stalls("shard_end")), (0, 1));
    assert!(status.problem.unwrap().contains("waits for shard_end"));
    answer(request, reply);
    assert_eq!(running.run.await.unwrap(), TenureEnd::Ended);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_stored_after_its_run_has_failed_ends_the_shard() {
    let stream = FakeStream::new(&[SHARD]);
    let running = start(&stream);
    let Running { ctx, mut keeper, run, .. } = running;
    run.abort();
    let end = ShardRequest::EndShard { children: Vec::new() };
    assert!(tokio::time::timeout(Duration::from_secs(1), ctx.tenure.request(end)).await.is_err());
    let again = tokio::spawn(super::run(Arc::clone(&ctx), ShardSink::Objects(Arc::<FakeObjects>::default())));
    let Some(KeeperMessage::Request(request)) = keeper.recv().await else { panic!("no request") };
    let (_, request, reply) = request.into_parts();
    tokio::time::sleep(BOUND * 2).await;
    answer(request, reply);
    let ended = tokio::time::timeout(Duration::from_secs(60), again).await.expect("it is not started again and again");
    assert_eq!((ended.unwrap(), ctx.cell.snapshot(ctx.worker.clock.now()).restarts), (TenureEnd::Ended, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_holds_its_thread_is_waited_for_and_named_until_the_shard_is_cut_off() {
    let (ctx, _keeper) = shard(&FakeStream::new(&[SHARD]), Position::TrimHorizon);
    let (free, held) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        begins.send(()).unwrap();
        let _freed = held.recv();
        Part::Reader
    });
    begun.await.unwrap();
    let of_task = Arc::clone(&ctx);
    let ending = tokio::spawn(async move { end(&of_task, tasks).await });
    tokio::time::sleep(ENDS_WITHIN + Duration::from_millis(500)).await;
    assert!(!ending.is_finished(), "the next run must not go beside it");
    let problem = ctx.cell.snapshot(ctx.worker.clock.now()).problem.unwrap();
    assert!(problem.contains("holds its thread"), "{problem}");
    ctx.cut.cancel();
    tokio::time::timeout(Duration::from_secs(5), ending).await.expect("it is not waited for any more").unwrap();
    free.send(()).unwrap();
}
