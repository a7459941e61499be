//! Chaos by the clock, for `make chaos`: three workers are killed, frozen, woken, drained and started at random while shards split and
//! merge and the stand-ins of the table and the sinks are stopped and started; then every record is looked for.
//!
//! `PENSTOCK_CHAOS_SECONDS` sets how long (120), `PENSTOCK_CHAOS_SEED` repeats the choices of a run.

#![expect(clippy::print_stderr, reason = "what happened, and the seed that repeats it")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use penstock_core::random::Random;
use penstock_standins::{Ministack, s3_put_bucket};
use support::{Account, Job, Local, Place, Reader, Services, Stream, Teller, Worker, firehose_to_bucket};

const WORKERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(180);
const APPLICATION: &str = "chaos";
const DELIVERY_STREAM: &str = "to-lake";
const MOST_SHARDS: usize = 12;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// One of the processes, under a new label at each start.
struct Slot {
    worker: Worker,
    stands_still: bool,
}

/// All that chaos is made of.
struct World {
    random: Random,
    standins: Ministack,
    stream: Stream,
    job: Job,
    slots: Vec<Slot>,
    started: u64,
    /// How often each thing happened.
    counts: std::collections::BTreeMap<&'static str, u32>,
}

impl World {
    fn start(&mut self) -> Slot {
        self.started += 1;
        Slot { worker: Worker::start(&self.job, &format!("worker-{}", self.started)), stands_still: false }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("a small number")
    }

    fn step(&mut self) {
        let chosen = self.below(WORKERS);
        let what = if self.slots[chosen].stands_still { 9 } else { self.below(9) };
        let what = match what {
            0 | 1 => {
                self.slots[chosen].worker.kill_9();
                self.slots[chosen] = self.start();
                "kill -9"
            }
            2 | 3 => {
                self.slots[chosen].worker.signal("STOP");
                self.slots[chosen].stands_still = true;
                "SIGSTOP"
            }
            4 => {
                // Not waited for at the door of a table that is away: whatever the exit code, its successor goes on.
                self.slots[chosen].worker.drain();
                self.slots[chosen] = self.start();
                "drain"
            }
            5 | 6 => self.reshard(),
            7 => {
                self.standins.stop();
                thread::sleep(Duration::from_millis(500 + self.random.below(3_000)));
                self.standins.restart();
                "restart of the stand-ins"
            }
            8 => "nothing",
            _ => {
                self.slots[chosen].worker.signal("CONT");
                self.slots[chosen].stands_still = false;
                "SIGCONT"
            }
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn reshard(&mut self) -> &'static str {
        let mut open = self.stream.open_shards();
        open.sort_by_key(|shard| shard.hash_range.0);
        let chosen = self.below(open.len());
        if open.len() < MOST_SHARDS && (open.len() < 3 || self.random.below(2) == 0) {
            self.stream.split(&open[chosen]);
            return "split";
        }
        let left = chosen.min(open.len() - 2);
        self.stream.merge(&open[left], &open[left + 1]);
        "merge"
    }

    /// Wakes who sleeps, and ends all in order.
    fn end(&mut self, reader: &mut Reader, teller: &Teller) {
        for slot in self.slots.iter_mut().filter(|slot| slot.stands_still) {
            slot.worker.signal("CONT");
            slot.stands_still = false;
        }
        reader.wait_for_all(teller, PATIENCE);
        for slot in &mut self.slots {
            slot.worker.drain_cleanly();
        }
    }
}

fn chaos(name: &str, sink: impl FnOnce(&Ministack, &Account) -> (String, Place)) -> (Reader, Teller, World) {
    let seed = number("PENSTOCK_CHAOS_SEED", u64::from(std::process::id()));
    let lasts = Duration::from_secs(number("PENSTOCK_CHAOS_SECONDS", 120));
    eprintln!("{name}: PENSTOCK_CHAOS_SEED={seed}, {lasts:?}");
    let (account, local, standins) = (Account::new(), Local::start(&[]), Ministack::start_persistent());
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 3);
    let (sink, place) = sink(&standins, &account);
    let services = Services { kinesis: local.endpoint(), ..Services::at(&standins.endpoint()) };
    let job =
        Job::new(&account, &services, APPLICATION, "clicks", &format!("[leases]\nfailover_time = \"2s\"\n{sink}"));
    let mut world = World {
        random: Random::seeded(seed),
        standins,
        stream: stream.clone(),
        job,
        slots: Vec::new(),
        started: 0,
        counts: std::collections::BTreeMap::new(),
    };
    for _ in 0..WORKERS {
        let slot = world.start();
        world.slots.push(slot);
    }
    let stop = AtomicBool::new(false);
    let teller = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut teller = Teller::aggregating();
            while !stop.load(Ordering::Relaxed) {
                teller.tell(&stream, 400, 100);
                thread::sleep(Duration::from_millis(150));
            }
            teller
        });
        let until = Instant::now() + lasts;
        let story = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while Instant::now() < until {
                world.step();
                thread::sleep(Duration::from_millis(500 + world.random.below(2_500)));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let teller = load.join().expect("the load ends in order");
        story.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        teller
    });
    let mut reader = Reader::new(place);
    eprintln!("{name}: {} records; {:?}", teller.told(), world.counts);
    world.end(&mut reader, &teller);
    (reader, teller, world)
}

#[test]
#[ignore = "two minutes by the clock: make chaos"]
fn chaos_leaves_every_record_exactly_once_in_objects() {
    let (mut reader, teller, _world) = chaos("objects", |standins, account| {
        let bucket = account.bucket("lake");
        s3_put_bucket(&standins.endpoint(), account.id(), &bucket);
        let sink =
            format!("[sink]\ntype = \"s3\"\nbucket = \"{bucket}\"\nbuffer_interval = \"1s\"\nbuffer_size = \"1MiB\"\n");
        (sink, Place::bucket(&standins.endpoint(), account, &bucket))
    });
    reader.assert_exactly_once(&teller);
}

#[test]
#[ignore = "two minutes by the clock: make chaos"]
fn chaos_leaves_every_record_at_least_once_in_firehose() {
    let (mut reader, teller, _world) = chaos("firehose", |standins, account| {
        let bucket = account.bucket("lake");
        s3_put_bucket(&standins.endpoint(), account.id(), &bucket);
        firehose_to_bucket(&standins.endpoint(), account, DELIVERY_STREAM, &bucket);
        let sink =
            format!("[sink]\ntype = \"firehose\"\ndelivery_stream = \"{DELIVERY_STREAM}\"\nlinger = \"200ms\"\n");
        (sink, Place::bucket(&standins.endpoint(), account, &bucket))
    });
    let verdict = reader.verdict(&teller);
    eprintln!("firehose: {} repeats of {}", verdict.repeats, teller.told());
    verdict.assert_at_least_once();
}
