//! What thousands of leases cost: one worker that holds 5,000 for a simulated minute, with progress from each every second.
//!
//! `cargo test --release -p penstock-core --test coordinator_load -- --ignored --nocapture` prints the share of a core.

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

/// A worker, its table, and the time that the worker alone took.
struct Bench {
    coordinator: Coordinator,
    table: BTreeMap<LeaseKey, LeaseRow>,
    tokens: Vec<LeaseToken>,
    now: Now,
    spent: Duration,
    /// The writes of each second.
    writes: Vec<usize>,
}

impl Bench {
    fn new(leases: u32) -> Self {
        let worker = WorkerId::new("me");
        let streams = vec![StreamSettings {
            name: StreamName::new("orders"),
            id: None,
            created: UnixMillis(1),
            initial_position: InitialPosition::TrimHorizon,
        }];
        let settings = CoordinatorSettings {
            worker,
            failover_time: Duration::from_secs(10),
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

    /// One simulated second. Each shard tells its progress once in it.
    fn run_second(&mut self, sequence: u64) {
        self.writes.push(0);
        for step in 0..100 {
            self.now.instant = self.now.instant.after(STEP);
            self.now.wall.0 += 10;
            while self.coordinator.next_deadline().is_some_and(|due| due <= self.now.instant) {
                self.handle(Event::Tick);
            }
            for index in (step..self.tokens.len()).step_by(100) {
                let progress = Progress {
                    settled: Some((at(sequence), UnixMillis(1))),
                    lag: Some(sequence),
                    read: Some(100_000),
                    urgent: false,
                };
                self.handle(Event::ShardProgressed { token: self.tokens[index], progress });
            }
        }
    }
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
    let mut bench = Bench::new(5_000);
    for second in 0..10 {
        bench.run_second(2 + second);
    }
    assert_eq!(bench.coordinator.held(), 5_000);
    println!("the first 10 s: {:?}", std::mem::take(&mut bench.spent));
    bench.writes.clear();
    let (begun, ran) = (std::time::Instant::now(), thread_time());
    for second in 10..70 {
        bench.run_second(2 + second);
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
    let mut bench = Bench::new(600);
    for second in 0..40 {
        bench.run_second(2 + second);
    }
    // Once in three seconds or a little more often: 200 in a second and somewhat more.
    let writes = &bench.writes[6..];
    assert!(writes.iter().all(|writes| (100..=320).contains(writes)), "{writes:?}");
}
