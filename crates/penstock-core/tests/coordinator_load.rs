//! What thousands of leases cost: one worker that holds 5,000 for a simulated minute, with progress from each every second.
//!
//! `make sim-scale` prints the share of a core, which is worth something on a machine that has nothing else to do. What the
//! table is asked is held against the page on leases.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use penstock_core::coordinator::Coordinator;
use penstock_core::coordinator::api::{
    Command, CoordinatorSettings, Event, InitialPosition, LeaseMode, Progress, StreamSettings, WriteResult,
};
use penstock_core::ids::{HashRange, LeaseCounter, LeaseKey, LeaseToken, ShardId, StreamName, WorkerId};
use penstock_core::lease::{LeaseRow, Scan, WriteOutcome};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::shard::ShardListing;
use penstock_core::time::{Instant, Now, UnixMillis};

const STEP: Duration = Duration::from_millis(10);
const FAILOVER: Duration = Duration::from_secs(10);

/// A worker, its table, and the time that the worker alone took.
struct Bench {
    coordinator: Coordinator,
    table: BTreeMap<LeaseKey, LeaseRow>,
    tokens: Vec<LeaseToken>,
    now: Now,
    spent: Duration,
    /// The writes of each second.
    writes: Vec<usize>,
    scans: usize,
}

impl Bench {
    fn new(leases: u32, failover_time: Duration) -> Self {
        let worker = WorkerId::new("me");
        let streams = vec![StreamSettings {
            name: StreamName::new("orders"),
            id: None,
            created: UnixMillis(1),
            initial_position: InitialPosition::TrimHorizon,
        }];
        let settings = CoordinatorSettings {
            worker,
            failover_time,
            max_leases: None,
            max_steals_per_cycle: 1,
            streams,
            mode: LeaseMode::Peer,
            longest_linger: Duration::ZERO,
            seed: 1,
        };
        let rows = (0..leases).map(|number| {
            let key = LeaseKey::new(&format!("shardId-{number:012}"));
            let mut row = LeaseRow::new(key, LeaseCounter(1), Position::After(at(1)));
            row.parents = [ShardId::new(&format!("shardId-{:012}", number + 100_000))].into();
            row.hash_range = Some(range(number));
            row.stream_created = Some(UnixMillis(1));
            (row.key.clone(), row)
        });
        Self {
            coordinator: Coordinator::new(settings),
            table: rows.collect(),
            tokens: Vec::new(),
            now: Now { instant: Instant::from_nanos(1), wall: UnixMillis(1_700_000_000_000) },
            spent: Duration::ZERO,
            writes: Vec::new(),
            scans: 0,
        }
    }

    /// Hands an event in, and everything that follows from it at once.
    #[expect(clippy::disallowed_methods, reason = "what the coordinator costs is measured, not decided by it")]
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let begun = std::time::Instant::now();
            self.coordinator.handle(event, self.now);
            let commands: Vec<Command> = std::iter::from_fn(|| self.coordinator.poll()).collect();
            self.spent += begun.elapsed();
            events.extend(commands.into_iter().filter_map(|command| self.carry_out(command)));
        }
    }

    fn carry_out(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::ScanLeases => {
                self.scans += 1;
                let scan = Scan { rows: self.table.values().cloned().collect(), unreadable: Vec::new() };
                Some(Event::LeasesScanned { started: self.now.instant, scan: Some(scan) })
            }
            Command::ListShards(stream) => {
                let shards = self.table.values().map(listing).collect();
                Some(Event::ShardsListed { stream, shards: Some(shards) })
            }
            Command::WriteLease { id, write } => {
                *self.writes.last_mut()? += 1;
                let row = self.table.get_mut(&write.key)?;
                assert!(write.expect.holds(row));
                *row = write.change.apply(row);
                let result = WriteResult::Answered(WriteOutcome::Applied(Box::new(row.clone())));
                Some(Event::LeaseWritten { id, result })
            }
            Command::StartShard(held) => {
                self.tokens.push(held.token);
                None
            }
            _ => None,
        }
    }

    /// One simulated second. Each shard tells its progress once in it, if there is any.
    fn run_second(&mut self, progress: Option<&Progress>) {
        self.writes.push(0);
        for step in 0..100 {
            self.now.instant = self.now.instant.after(STEP);
            self.now.wall.0 += 10;
            while self.coordinator.next_deadline().is_some_and(|due| due <= self.now.instant) {
                self.handle(Event::Tick);
            }
            let Some(progress) = progress else { continue };
            for index in (step..self.tokens.len()).step_by(100) {
                self.handle(Event::ShardProgressed { token: self.tokens[index], progress: progress.clone() });
            }
        }
    }

    /// Writes and scans a second, over so many of them; `progress` says what each shard tells in each.
    fn rates(&mut self, seconds: u32, progress: impl Fn(u64) -> Option<Progress>) -> (f64, f64) {
        self.writes.clear();
        self.scans = 0;
        for second in 0..u64::from(seconds) {
            self.run_second(progress(second).as_ref());
        }
        let seconds = f64::from(seconds);
        (self.writes.iter().sum::<usize>() as f64 / seconds, self.scans as f64 / seconds)
    }
}

/// A shard has read on, and settled all of it.
fn progress(sequence: u64) -> Progress {
    Progress { settled: Some((at(sequence), UnixMillis(1))), lag: Some(sequence), read: Some(100_000), urgent: false }
}

fn at(sequence: u64) -> RecordPosition {
    RecordPosition { sequence: SequenceNumber::parse(&sequence.to_string()).expect("digits"), subsequence: 0 }
}

fn range(number: u32) -> HashRange {
    let width = u128::MAX / 5_000;
    HashRange { start: width * u128::from(number), end: width * u128::from(number) + (width - 1) }
}

fn listing(row: &LeaseRow) -> ShardListing {
    ShardListing {
        id: row.key.shard_id(),
        parents: row.parents.clone(),
        hash_range: row.hash_range.expect("every row has one"),
        starting_sequence: SequenceNumber::parse("1").expect("digits"),
        ending_sequence: None,
    }
}

/// The time that this thread has run on a processor: others may want one too. Linux alone says so.
fn thread_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what the coordinator costs is measured, not decided by it")]
#[ignore = "says what it costs, which is worth something in an optimised build alone"]
fn five_thousand_leases_cost_less_than_a_fiftieth_of_a_core() {
    let mut bench = Bench::new(5_000, FAILOVER);
    for second in 0..10 {
        bench.run_second(Some(&progress(2 + second)));
    }
    assert_eq!(bench.coordinator.held(), 5_000);
    println!("the first 10 s: {:?}", std::mem::take(&mut bench.spent));
    bench.writes.clear();
    let (begun, ran) = (std::time::Instant::now(), thread_time());
    for second in 10..70 {
        bench.run_second(Some(&progress(2 + second)));
    }
    // Of the time that passed, the table's and the streams' included, the thread was running for so much.
    let ran = thread_time().zip(ran).map(|(after, before)| after - before);
    let running = ran.map_or(1.0, |ran| ran.as_secs_f64() / begun.elapsed().as_secs_f64());
    let share = bench.spent.as_secs_f64() * running / 60.0;
    println!("then 60 s: {:.2} s of a processor, {:.2} % of a core", share * 60.0, share * 100.0);
    println!("writes in a second: {:?} to {:?}", bench.writes.iter().min(), bench.writes.iter().max());
    assert!(share < 0.02);
}

#[test]
fn renewals_of_leases_that_were_taken_together_are_spread() {
    let mut bench = Bench::new(600, FAILOVER);
    for second in 0..40 {
        bench.run_second(Some(&progress(2 + second)));
    }
    // Once in three seconds or a little more often: 200 in a second and somewhat more.
    let writes = &bench.writes[6..];
    assert!(writes.iter().all(|writes| (100..=320).contains(writes)), "{writes:?}");
}

// === What the table is asked ===

/// Read units of a look at the table: 1,000 rows of 720 bytes, read consistently, in steps of 4 KiB for each page together.
const UNITS_OF_A_SCAN: f64 = 176.0;

/// What the page on leases says of 1,000 idle shards: writes a second, and read units a second of each worker.
fn documented(failover: Duration) -> (f64, f64) {
    let row = format!("| penstock, `failover_time = \"{}s\"` |", failover.as_secs());
    let page = include_str!("../../../docs/leases.md");
    let mut cells = page.lines().find_map(|line| line.strip_prefix(&row)).expect("such a row").split('|');
    let mut number = |before: &str| {
        let cell = cells.next().and_then(|cell| cell.trim().strip_prefix(before)).expect("such a cell");
        cell.parse().expect("a number")
    };
    (number(""), number("4 × "))
}

#[track_caller]
fn assert_about(found: f64, said: f64) {
    // What the page says is a whole number.
    assert!((found - said).abs() <= 0.05 * said + 0.5, "{found} a second, and {said} is what is said of it");
}

/// A worker that has held 1,000 leases for a while.
fn thousand(failover: Duration) -> Bench {
    let mut bench = Bench::new(1_000, failover);
    (0..2 * failover.as_secs()).for_each(|_| bench.run_second(None));
    assert_eq!(bench.coordinator.held(), 1_000);
    bench
}

#[test]
fn a_thousand_idle_leases_ask_the_table_for_what_the_page_on_leases_says() {
    for failover in [FAILOVER, 3 * FAILOVER] {
        let (writes, units) = documented(failover);
        let (written, scanned) = thousand(failover).rates(20 * failover.as_secs() as u32, |_| None);
        assert_about(written, writes);
        assert_about(scanned * UNITS_OF_A_SCAN, units);
    }
}

#[test]
fn leases_that_are_checkpointed_more_often_than_they_are_renewed_are_not_renewed() {
    let urgent = |sequence| Progress { urgent: true, ..progress(sequence) };
    let mut bench = thousand(FAILOVER);
    let (idle, _) = documented(FAILOVER);
    let (written, scanned) = bench.rates(60, |second| Some(urgent(2 + second)));
    assert_about(written, 1_000.0);
    assert_about(scanned * UNITS_OF_A_SCAN, documented(FAILOVER).1);
    // Those that are checkpointed less often are: no more than the sum of both.
    let (written, _) = bench.rates(120, |second| (second % 8 == 0).then(|| urgent(100 + second)));
    assert!(written > idle && written < idle + 1_000.0 / 8.0, "{written}");
}
