use penstock_core::aggregate::{Deaggregation, deaggregate};
use penstock_core::checkpoint::{Admission, CheckpointTracker};
use penstock_core::chunk::ChunkBuilder;
use penstock_core::intent::OutsideHashRange;
use penstock_core::position::Position;
use tokio::task::JoinHandle;

use super::*;
use crate::fakes::*;
use crate::gate::SinkFacts;
use crate::ports::CallTarget;
use crate::shard::context::ShardContext;

struct Packing {
    ctx: Arc<ShardContext>,
    sink: Arc<FakeCalls>,
    handle: PackerHandle,
    task: JoinHandle<()>,
}

fn packing() -> Packing {
    let (ctx, _keeper) = shard(&FakeStream::new(&[]), Position::TrimHorizon);
    let sink = Arc::new(FakeCalls::default());
    let worker = &ctx.worker;
    let (packer, handle) = Packer::new(PackerParts {
        sink: sink.clone(),
        settings: worker.settings.calls.clone(),
        time_out: Duration::from_secs(5),
        clock: worker.clock.clone(),
        gate: SinkGate::open(SinkFacts { target: Some(CallTarget { packable: Some(false) }) }),
        board: Arc::clone(&worker.board),
        metrics: Arc::clone(&worker.metrics),
        random: Random::seeded(1),
    });
    Packing { ctx, sink, handle, task: tokio::spawn(packer.run()) }
}

/// Any: nobody asks for progress here.
fn ticket() -> Ticket {
    let admission = Admission { first: position(1), last: position(1), arrival: START, records: 1 };
    CheckpointTracker::new(Position::TrimHorizon).admit(admission, Instant::default()).unwrap()
}

impl Packing {
    async fn load(&self, run: RunId, payloads: &[&str], deadline: &DeliveryDeadline) -> oneshot::Receiver<LoadOutcome> {
        let mut builder = ChunkBuilder::default();
        for (index, payload) in payloads.iter().enumerate() {
            builder.push(&sequence(index as u64 + 1), "key", payload.as_bytes(), START);
        }
        let plain = Deaggregation { enabled: false, outside_hash_range: OutsideHashRange::Deliver, hash_range: None };
        let chunk = Arc::new(deaggregate(builder.build(), &plain, None));
        let permit = self.ctx.worker.budget.acquire_fill(10_000).await;
        let (reply, outcome) = oneshot::channel();
        let range = 0..payloads.len();
        let (ticket, progress) = (ticket(), mpsc::unbounded_channel().0);
        let load = Load { run, chunk, range, deadline: deadline.clone(), permit, ticket, progress, reply };
        self.handle.reserve().await.unwrap().send(PackerMessage::Load(load));
        outcome
    }

    fn calls(&self) -> u64 {
        *self.sink.calls.lock().unwrap()
    }

    fn deadline_in(&self, from_now: Duration) -> DeliveryDeadline {
        DeliveryDeadline::new(self.ctx.worker.clock.now().instant.after(from_now))
    }
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_call_ends_before_the_deadline_of_every_lease_in_it_or_does_not_begin() {
    let packing = packing();
    let (soon, later) = (packing.deadline_in(Duration::from_millis(300)), packing.deadline_in(LONG));
    let one = packing.load(packing.handle.register(), &["a"], &soon).await;
    let _other = packing.load(packing.handle.register(), &["b"], &later).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(packing.calls(), 0);
    soon.extend(packing.ctx.worker.clock.now().instant.after(Duration::from_secs(2)));
    assert_eq!(one.await.unwrap().delivered, 1);
    let limit = packing.sink.limits_of_calls.lock().unwrap()[0];
    assert!(limit <= Duration::from_secs(2), "{limit:?}");
}

#[tokio::test(start_paused = true)]
async fn the_records_of_a_shard_that_is_gone_are_not_sent_and_those_of_others_are() {
    let packing = packing();
    let deadline = packing.deadline_in(LONG);
    drop(packing.load(packing.handle.register(), &["gone"], &deadline).await);
    let stays = packing.load(packing.handle.register(), &["stays"], &deadline).await;
    assert_eq!(stays.await.unwrap().delivered, 1);
    assert_eq!(*packing.sink.taken.lock().unwrap(), vec![b"stays\n".to_vec()]);
    assert_eq!(packing.ctx.worker.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_unknown_outcome_is_sent_again() {
    let packing = packing();
    packing.sink.call_faults.add(ErrorClass::Transient, 1);
    let deadline = packing.deadline_in(LONG);
    let outcome = packing.load(packing.handle.register(), &["a", "b"], &deadline).await;
    assert_eq!(outcome.await.unwrap().delivered, 2);
    assert_eq!(packing.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_denies_is_shown_as_down_until_it_takes_a_call() {
    let packing = packing();
    packing.sink.call_faults.add(ErrorClass::Denied, 1);
    let deadline = packing.deadline_in(LONG);
    let outcome = packing.load(packing.handle.register(), &["a"], &deadline).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sink = || packing.ctx.worker.board.handle().snapshot().sink;
    assert!(matches!(sink(), SinkStatus::Down(_)));
    assert_eq!(outcome.await.unwrap().delivered, 1);
    assert_eq!(sink(), SinkStatus::Ready);
}

#[tokio::test(start_paused = true)]
async fn too_large_records_come_back_at_once_beside_those_that_are_sent() {
    let packing = packing();
    let large = "x".repeat(200);
    let deadline = packing.deadline_in(LONG);
    let outcome = packing.load(packing.handle.register(), &["a", &large, "b"], &deadline).await.await.unwrap();
    assert_eq!(outcome.delivered, 2);
    assert_eq!(outcome.refused, vec![(1, SetAsideReason::TooLarge { bytes: 201, limit: 100 })]);
    packing.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_the_linger() {
    let packing = packing();
    let began = tokio::time::Instant::now();
    let deadline = packing.deadline_in(LONG);
    let outcome = packing.load(packing.handle.register(), &["a"], &deadline).await;
    packing.handle.reserve().await.unwrap().send(PackerMessage::Flush);
    outcome.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_the_sink_took_is_counted_as_it_is_billed_and_what_it_did_not_take_as_throttled() {
    let recorder = crate::metrics::recorded::Recorded::default();
    let packing = metrics::with_local_recorder(&recorder, packing);
    packing.sink.partial.lock().unwrap().push_back(vec![0]);
    let deadline = packing.deadline_in(LONG);
    // Of 5, 10 and 11 bytes and a delimiter each, of which the first is taken at the second attempt; the fake bills steps of 10.
    let outcome = packing.load(packing.handle.register(), &["12345", "1234567890", "1234567890a"], &deadline).await;
    assert_eq!(outcome.await.unwrap().delivered, 3);
    assert_eq!(recorder.counter("penstock_firehose_records_total{}"), 3);
    assert_eq!(recorder.counter("penstock_firehose_payload_bytes_total{}"), 6 + 11 + 12);
    assert_eq!(recorder.counter("penstock_firehose_billed_bytes_total{}"), 10 + 20 + 20);
    assert_eq!(recorder.counter("penstock_throttles_total{service=firehose}"), 1);
    assert_eq!(recorder.counter("penstock_delivery_errors_total{class=partial}"), 1);
    packing.task.abort();
}
