use std::time::Duration;

use penstock_core::gap::{GapEnd, GapEntry, GapRange};
use penstock_core::ids::ShardId;
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;
use tokio::task::JoinHandle;

use super::*;
use crate::fakes::*;
use crate::ports::GapLedger;

const SHARD: &str = "shardId-000000000000";

/// Settled up to a time that the stream still keeps, and one that it does not.
const YOUNG: UnixMillis = UnixMillis(START.0 - 23 * 3_600_000);
const OLD: UnixMillis = UnixMillis(START.0 - 25 * 3_600_000);

struct Reading {
    ctx: Arc<ShardContext>,
    ledger: Arc<FakeGaps>,
    arrival: Option<UnixMillis>,
    start: UnixMillis,
    items: mpsc::Receiver<ReaderItem>,
    task: JoinHandle<()>,
}

async fn read(stream: &Arc<FakeStream>, checkpoint: Position, arrival: Option<UnixMillis>) -> Reading {
    let mut reading = begin(stream, checkpoint, arrival);
    reading.start().await;
    reading
}

/// A shard whose reader is still to be started.
fn begin(stream: &Arc<FakeStream>, checkpoint: Position, arrival: Option<UnixMillis>) -> Reading {
    let ledger = Arc::<FakeGaps>::default();
    let (ctx, _keeper) = shard_with(stream, checkpoint, Arc::clone(&ledger));
    let (_, items) = mpsc::channel(CHUNKS_IN_CHANNEL);
    Reading { ctx, ledger, arrival, start: START, items, task: tokio::spawn(async {}) }
}

impl Reading {
    /// Starts the reader, again if it was started before.
    async fn start(&mut self) {
        self.task.abort();
        let row: LeaseRow = self.ctx.tenure.row().await.unwrap();
        let from = ReadFrom::row(&LeaseRow { arrival: self.arrival, start: Some(self.start), ..row }).unwrap();
        let (out, items) = mpsc::channel(CHUNKS_IN_CHANNEL);
        self.items = items;
        self.task = tokio::spawn(Reader::new(Arc::clone(&self.ctx), from, out).run());
    }

    /// What the ledger has, in the order of the first record that is there.
    fn ranges(&self) -> Vec<GapRange> {
        let entries = self.ledger.entries.lock().unwrap();
        let mut ranges: Vec<GapRange> = entries.values().map(|entry| entry.range.clone()).collect();
        ranges.sort();
        ranges
    }
}

impl Reading {
    /// The payloads of the next chunks, until so many are there.
    async fn records(&mut self, count: usize) -> Vec<String> {
        let mut records = Vec::new();
        while records.len() < count {
            if let ReaderItem::Chunk { chunk, .. } = self.items.recv().await.unwrap() {
                records.extend(chunk.records().map(|record| String::from_utf8(record.data.to_vec()).unwrap()));
            }
        }
        records
    }

    /// How often it is told within ten minutes that an operator is needed; nothing else is.
    async fn blocked_in_ten_minutes(&mut self) -> usize {
        let until = tokio::time::Instant::now() + Duration::from_secs(600);
        let mut told = 0;
        while let Ok(item) = tokio::time::timeout_at(until, self.items.recv()).await {
            let Some(ReaderItem::Blocked(problem)) = item else { panic!("{item:?}") };
            assert!(problem.contains("created again"), "{problem}");
            told += 1;
        }
        told
    }

    fn gaps(&self, reason: &str) -> u64 {
        self.ctx.worker.metrics.totals().gaps.get(reason).copied().unwrap_or(0)
    }
}

fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("r{number}")).collect()
}

/// The times between fetches.
fn pauses(stream: &FakeStream) -> Vec<Duration> {
    let at = stream.fetched_at.lock().unwrap();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_fetched_quickly_while_behind_and_slowly_at_the_tip() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=40);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(40).await, lines(1..=40));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let pauses = pauses(&stream);
    assert!(pauses[..3].iter().all(|pause| *pause == Duration::from_millis(250)), "{pauses:?}");
    assert!(pauses[3..].iter().all(|pause| *pause == Duration::from_secs(1)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_large_page_the_shard_gets_the_time_that_its_bytes_need() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=20);
    for record in &mut stream.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().records {
        record.1 = vec![0; 1024 * 1024];
    }
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    reading.records(20).await;
    assert_eq!(pauses(&stream)[0], Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn throttling_is_waited_out_for_a_second_at_least_and_five_after_a_full_page() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=20);
    stream.fetch_faults.add(ErrorClass::Throttled, 2);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(20).await, lines(1..=20));
    assert!(pauses(&stream)[..2].iter().all(|pause| *pause >= Duration::from_secs(1)), "{:?}", pauses(&stream));
    assert_eq!(stream.opened.lock().unwrap().len(), 1, "the iterator stays good");
    reading.ctx.cell.note(|_| {});
    let full = FakeStream::new(&[SHARD]);
    full.put(SHARD, 1..=20);
    for record in &mut full.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().records {
        record.1 = vec![0; 1024 * 1024];
    }
    let mut reading = read(&full, Position::TrimHorizon, None).await;
    reading.records(10).await;
    full.fetch_faults.add(ErrorClass::Throttled, 1);
    reading.records(10).await;
    assert!(pauses(&full)[1] >= Duration::from_secs(5), "{:?}", pauses(&full));
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_is_replaced_behind_what_was_handed_on() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=30);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    let mut records = reading.records(10).await;
    stream.fetch_faults.add(ErrorClass::Expired, 1);
    records.extend(reading.records(20).await);
    assert_eq!(records, lines(1..=30));
    let opened = stream.opened.lock().unwrap().clone();
    assert_eq!(opened[0], OpenAt::TrimHorizon);
    assert!(matches!(&opened[1], OpenAt::After(_)), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn an_iterator_that_expires_before_the_first_record_goes_back_to_the_pinned_start() {
    let stream = FakeStream::new(&[SHARD]);
    stream.fetch_faults.add(ErrorClass::Expired, 2);
    let mut reading = read(&stream, Position::Latest, None).await;
    assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
    assert_eq!(*stream.opened.lock().unwrap(), vec![OpenAt::Timestamp(START); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_iterator_is_replaced_once_and_then_left_to_an_operator() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    stream.fetch_faults.add(ErrorClass::Rejected, 2);
    let began = tokio::time::Instant::now();
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(10).await, lines(1..=10));
    assert!(began.elapsed() >= OPERATOR_PAUSE);
    assert_eq!(stream.opened.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_read_and_denials_lose_nothing() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=30);
    stream.fetch_faults.add(ErrorClass::Fatal, 3);
    stream.fetch_faults.add(ErrorClass::Denied, 1);
    stream.fetch_faults.add(ErrorClass::Transient, 3);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(30).await, lines(1..=30));
    assert_eq!(stream.opened.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_gone_ends_with_a_gap_but_one_that_is_listed_does_not() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    stream.fetch_faults.add(ErrorClass::NotFound, 1);
    let began = tokio::time::Instant::now();
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(10).await, lines(1..=10));
    assert!(began.elapsed() >= OPERATOR_PAUSE);
    assert_eq!(reading.gaps("shard_expired"), 0);
    stream.shards.lock().unwrap().clear();
    let Some(ReaderItem::End { children }) = reading.items.recv().await else { panic!("no end") };
    assert!(children.is_empty());
    assert_eq!(reading.gaps("shard_expired"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_created_again_does_not_end_its_shards() {
    let stream = FakeStream::new(&[SHARD]);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
    *stream.created.lock().unwrap() = START;
    stream.shards.lock().unwrap().clear();
    assert_eq!(reading.blocked_in_ten_minutes().await, 10);
    let problem = reading.ctx.cell.snapshot(reading.ctx.worker.clock.now()).problem.unwrap();
    assert!(problem.contains("created again"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn of_a_stream_that_was_created_again_nothing_is_read_when_an_iterator_is_replaced() {
    for class in [ErrorClass::Expired, ErrorClass::Rejected, ErrorClass::NotFound] {
        let stream = FakeStream::new(&[SHARD]);
        let mut reading = read(&stream, Position::TrimHorizon, None).await;
        assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
        let created = std::mem::replace(&mut *stream.created.lock().unwrap(), START);
        stream.fetch_faults.add(class, 1);
        // Also the second attempt to open is one after trouble.
        stream.open_faults.add(ErrorClass::Transient, 1);
        stream.put(SHARD, 1..=10);
        assert!(reading.blocked_in_ten_minutes().await > 0, "{class:?}");
        let problem = reading.ctx.cell.snapshot(reading.ctx.worker.clock.now()).problem.unwrap();
        assert!(problem.contains("created again"), "{class:?}: {problem}");
        let status = reading.ctx.worker.board.handle();
        assert_eq!(status.snapshot().streams[0].problem, Some(problem));
        *stream.created.lock().unwrap() = created;
        assert_eq!(reading.records(10).await, lines(1..=10), "{class:?}");
        assert_eq!(status.snapshot().streams[0].problem, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_record_is_gone_is_a_gap_unless_all_was_settled_within_the_retention() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=30);
    let mut reading = read(&stream, Position::After(position(5)), Some(OLD)).await;
    assert_eq!(reading.records(6).await[0], "r5", "the checkpointed record is read again");
    assert_eq!(reading.gaps("trimmed"), 0, "it is there, and so is all behind it");
    stream.trim(SHARD, 9);
    let range = GapRange { after: Position::After(position(5)), end: GapEnd::Before(sequence(10)) };
    for (settled, gaps) in [(Some(OLD), vec![range.clone()]), (None, vec![range]), (Some(YOUNG), vec![])] {
        let mut reading = read(&stream, Position::After(position(5)), settled).await;
        assert_eq!(reading.records(6).await[0], "r10");
        assert_eq!(reading.gaps("trimmed"), gaps.len() as u64, "{settled:?}");
        assert_eq!(reading.ranges(), gaps, "{settled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_left_behind_an_old_checkpoint_is_a_gap_and_behind_a_young_one_is_none() {
    let stream = FakeStream::new(&[SHARD]);
    let range = GapRange { after: Position::After(position(5)), end: GapEnd::Unknown };
    for (settled, gaps) in [(Some(YOUNG), vec![]), (Some(OLD), vec![range.clone()]), (None, vec![range])] {
        let mut reading = read(&stream, Position::After(position(5)), settled).await;
        assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
        assert_eq!(reading.ranges(), gaps, "{settled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_on_before_the_ledger_has_the_gap_and_no_memory_is_held_meanwhile() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=30);
    stream.trim(SHARD, 9);
    let mut reading = begin(&stream, Position::After(position(5)), Some(OLD));
    reading.ledger.faults.add(ErrorClass::Throttled, 1_000_000);
    reading.start().await;
    let early = tokio::time::timeout(Duration::from_secs(3_600), reading.items.recv()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!((reading.ctx.worker.budget.used(), reading.gaps("trimmed")), (0, 0));
    let problem = reading.ctx.cell.snapshot(reading.ctx.worker.clock.now()).problem.unwrap();
    assert!(problem.contains("waits until the gap after 5 before 10 stands in the ledger"), "{problem}");
    // Meanwhile more is trimmed.
    stream.trim(SHARD, 12);
    reading.ledger.faults.clear();
    assert_eq!(reading.records(6).await[0], "r13");
    let ranges =
        [10, 13].map(|next| GapRange { after: Position::After(position(5)), end: GapEnd::Before(sequence(next)) });
    assert_eq!(reading.ranges(), ranges);
    assert_eq!(reading.ctx.cell.snapshot(reading.ctx.worker.clock.now()).problem, None);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_counted_once_however_often_the_shard_starts() {
    let stream = FakeStream::new(&[SHARD]);
    let mut reading = begin(&stream, Position::After(position(5)), Some(OLD));
    for _ in 0..3 {
        reading.start().await;
        assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
    }
    assert_eq!((reading.gaps("trimmed"), reading.ranges().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_was_acknowledged_is_opened_again_by_the_next_tenure_and_not_by_the_one_that_told_it() {
    let stream = FakeStream::new(&[SHARD]);
    let mut reading = begin(&stream, Position::After(position(5)), Some(OLD));
    let is_open = |ledger: &FakeGaps| ledger.entries.lock().unwrap().values().all(GapEntry::is_open);
    reading.start().await;
    assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
    let id = *reading.ledger.entries.lock().unwrap().keys().next().unwrap();
    assert!(reading.ledger.acknowledge(id, START).await.unwrap());
    reading.start().await;
    assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
    assert!(!is_open(&reading.ledger), "a run that failed is no reason");
    let (ctx, _keeper) = shard_with(&stream, Position::After(position(5)), Arc::clone(&reading.ledger));
    let mut next = Reading { ctx, ..reading };
    next.start().await;
    assert!(matches!(next.items.recv().await, Some(ReaderItem::NothingThere)));
    assert!(is_open(&next.ledger));
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_a_checkpoint_is_not_read_before_the_stream_is_known_to_be_the_same() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    let mut reading = begin(&stream, Position::TrimHorizon, None);
    let created = std::mem::replace(&mut *stream.created.lock().unwrap(), START);
    reading.start().await;
    assert!(reading.blocked_in_ten_minutes().await > 0);
    *stream.created.lock().unwrap() = created;
    assert_eq!(reading.records(10).await, lines(1..=10));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_lies_idle_tells_that_it_is_at_its_tip() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(10).await, lines(1..=10));
    let Some(ReaderItem::AtTip(until)) = reading.items.recv().await else { panic!("not told") };
    let now = reading.ctx.worker.clock.now().wall;
    assert_eq!(now.since(until).as_secs(), TIP_SLACK.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_nothing_was_ever_written_to_tells_that_it_is_at_its_tip() {
    for checkpoint in [Position::TrimHorizon, Position::Latest] {
        let mut reading = read(&FakeStream::new(&[SHARD]), checkpoint, None).await;
        assert!(matches!(reading.items.recv().await, Some(ReaderItem::NothingThere)));
        assert!(matches!(reading.items.recv().await, Some(ReaderItem::AtTip(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_before_the_first_position_is_a_gap_and_nothing_is_where_none_was_to_be_read() {
    use Position::{AtTimestamp, Latest, TrimHorizon};
    let never = UnixMillis(0);
    for (checkpoint, start, arrival, created, gap) in [
        (Latest, OLD, None, OLD, true),
        (AtTimestamp, OLD, None, OLD, true),
        (AtTimestamp, OLD, Some(OLD), OLD, true),
        // A child that carries what is known of its parent.
        (TrimHorizon, START, Some(OLD), OLD, true),
        (Latest, YOUNG, None, OLD, false),
        (Latest, OLD, Some(YOUNG), OLD, false),
        (TrimHorizon, START, Some(YOUNG), OLD, false),
        // First rows at the oldest record.
        (TrimHorizon, OLD, None, OLD, false),
        (AtTimestamp, never, None, OLD, false),
        // Of a time when there was no stream.
        (AtTimestamp, OLD, None, YOUNG, false),
    ] {
        for (left, end) in [(true, GapEnd::Before(sequence(10))), (false, GapEnd::Unknown)] {
            let stream = FakeStream::new(&[SHARD]);
            *stream.created.lock().unwrap() = created;
            if left {
                stream.put(SHARD, 10..=19);
            }
            let mut reading = begin(&stream, checkpoint.clone(), arrival);
            reading.start = start;
            reading.start().await;
            let first = reading.items.recv().await;
            assert_eq!(matches!(first, Some(ReaderItem::Chunk { .. })), left);
            let range = GapRange { after: checkpoint.clone(), end };
            let expected = if gap { vec![range] } else { Vec::new() };
            assert_eq!(reading.ranges(), expected, "{checkpoint} of {start:?}, {arrival:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_while_nobody_took_chunks_is_a_gap_and_an_idle_day_is_none() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=90);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(10).await, lines(1..=10));
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    stream.trim(SHARD, 70);
    let rest = reading.records(50).await;
    assert_eq!(rest, [lines(11..=40), lines(71..=90)].concat(), "three were on their way");
    assert_eq!(reading.gaps("trimmed"), 1);
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    stream.put(SHARD, 91..=92);
    assert_eq!(reading.records(2).await, lines(91..=92));
    assert_eq!(reading.gaps("trimmed"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_trimmed_under_a_reader_that_is_far_behind_is_a_gap_whatever_the_retention_is_by_then() {
    for said in [DAY, 7 * DAY] {
        let stream = FakeStream::new(&[SHARD]);
        (*stream.retention.lock().unwrap(), *stream.behind.lock().unwrap()) = (7 * DAY, 3 * DAY);
        stream.put_at(SHARD, 1..=90, UnixMillis(START.0 - millis(3 * DAY)));
        let mut reading = read(&stream, Position::TrimHorizon, None).await;
        assert_eq!(reading.records(10).await, lines(1..=10));
        // Three chunks are on their way, each without the record that it begins with. The retention becomes shorter, and perhaps as long as before at once.
        tokio::time::sleep(Duration::from_secs(10)).await;
        stream.trim(SHARD, 60);
        *stream.retention.lock().unwrap() = said;
        assert_eq!(reading.records(57).await, [lines(11..=37), lines(61..=90)].concat());
        let range = GapRange { after: Position::After(position(37)), end: GapEnd::Before(sequence(61)) };
        assert_eq!(reading.ranges(), [range], "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_as_far_behind_as_the_stream_keeps_records_shows_that_none_is_gone() {
    let stream = FakeStream::new(&[SHARD]);
    *stream.behind.lock().unwrap() = DAY - Duration::from_secs(2);
    stream.put_at(SHARD, 1..=40, OLD);
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(40).await, lines(1..=40));
    *stream.behind.lock().unwrap() = DAY / 2;
    stream.put_at(SHARD, 41..=60, YOUNG);
    assert_eq!(reading.records(20).await, lines(41..=60));
    assert_eq!(reading.ranges(), []);
    let opened = stream.opened.lock().unwrap().clone();
    let shown: Vec<OpenAt> = [10, 19, 28, 37].map(|number| OpenAt::At(sequence(number))).into();
    assert_eq!(opened, [vec![OpenAt::TrimHorizon], shown].concat());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_far_behind_comes_through_pages_that_are_empty_and_tells_of_no_gap() {
    for behind in [3 * DAY, 7 * DAY - Duration::from_secs(5)] {
        let stream = FakeStream::new(&[SHARD]);
        *stream.retention.lock().unwrap() = 7 * DAY;
        *stream.behind.lock().unwrap() = behind;
        *stream.empty_pages.lock().unwrap() = 3;
        stream.put_at(SHARD, 1..=20, UnixMillis(START.0 - millis(behind)));
        let mut reading = read(&stream, Position::TrimHorizon, None).await;
        let records = tokio::time::timeout(Duration::from_secs(600), reading.records(20)).await;
        assert_eq!(records.unwrap(), lines(1..=20), "{behind:?}");
        assert_eq!(reading.ranges(), [], "{behind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_trimmed_behind_a_record_that_fills_a_page_is_a_gap() {
    let stream = FakeStream::new(&[SHARD]);
    *stream.retention.lock().unwrap() = 7 * DAY;
    *stream.behind.lock().unwrap() = 3 * DAY;
    *stream.empty_pages.lock().unwrap() = 1;
    stream.put_at(SHARD, 1..=20, UnixMillis(START.0 - millis(3 * DAY)));
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(4).await, lines(1..=4));
    tokio::time::sleep(Duration::from_secs(60)).await;
    *stream.retention.lock().unwrap() = DAY;
    stream.trim(SHARD, 12);
    assert_eq!(reading.records(11).await, [lines(5..=7), lines(13..=20)].concat(), "three were on their way");
    assert_eq!(reading.ranges()[0].after, Position::After(position(7)));
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_in_time_under_a_reader_that_had_nothing_to_read_is_no_gap() {
    let stream = FakeStream::new(&[SHARD]);
    *stream.retention.lock().unwrap() = 7 * DAY;
    stream.put_at(SHARD, 1..=10, UnixMillis(START.0 - millis(6 * DAY)));
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(10).await, lines(1..=10));
    // It is held up for longer than a day; the last record that it read is due meanwhile.
    stream.fetch_faults.add(ErrorClass::Denied, 3 * 24 * 60);
    tokio::time::sleep(2 * DAY).await;
    stream.trim(SHARD, 10);
    stream.put_at(SHARD, 11..=12, UnixMillis(START.0 + millis(DAY)));
    assert_eq!(reading.records(2).await, lines(11..=12));
    assert_eq!(reading.ranges(), []);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_shard_names_its_children_after_the_last_record() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    stream.close(SHARD, "shardId-000000000001");
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    assert_eq!(reading.records(10).await, lines(1..=10));
    let Some(ReaderItem::End { children }) = reading.items.recv().await else { panic!("no end") };
    assert_eq!(children[0].id.as_str(), "shardId-000000000001");
}

#[tokio::test(start_paused = true)]
async fn an_end_without_children_is_no_end() {
    let stream = FakeStream::new(&[SHARD]);
    stream.put(SHARD, 1..=10);
    stream.close(SHARD, "shardId-000000000001");
    let children = {
        let mut shards = stream.shards.lock().unwrap();
        std::mem::take(&mut shards.get_mut(&ShardId::new(SHARD)).unwrap().children)
    };
    let mut reading = read(&stream, Position::TrimHorizon, None).await;
    let early = tokio::time::timeout(Duration::from_secs(60), reading.items.recv()).await;
    assert!(early.is_err(), "{early:?}");
    stream.shards.lock().unwrap().get_mut(&ShardId::new(SHARD)).unwrap().children = children;
    assert_eq!(reading.records(10).await, lines(1..=10));
}

#[tokio::test(start_paused = true)]
async fn a_reader_holds_no_memory_while_it_waits() {
    let stream = FakeStream::new(&[SHARD]);
    stream.fetch_faults.add(ErrorClass::Throttled, 1);
    let reading = read(&stream, Position::TrimHorizon, None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stream.fetched_at.lock().unwrap().len(), 1);
    assert_eq!(reading.ctx.worker.budget.used(), 0);
}
