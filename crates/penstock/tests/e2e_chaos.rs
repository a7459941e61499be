//! Workers that are killed, stopped in their tracks, woken again, drained and started, at random, while records flow and shards
//! split: what is told is there exactly once.

mod support;

use std::time::Duration;

use penstock_core::random::Random;
use support::{Account, Job, Local, Place, Reader, Services, Stream, Teller, Worker};

const WORKERS: usize = 3;
const STEPS: u64 = 12;
const RECORDS_PER_STEP: u64 = 7_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// One of the processes, under a new label at each start.
struct Slot {
    worker: Worker,
    stands_still: bool,
}

fn start(job: &Job, count: &mut u64) -> Slot {
    *count += 1;
    Slot { worker: Worker::start(job, &format!("worker-{count}")), stands_still: false }
}

/// The seed of a run, to be set for one that failed.
fn seed() -> u64 {
    let chosen = std::env::var("PENSTOCK_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    chosen.unwrap_or_else(|| u64::from(std::process::id()))
}

#[test]
fn whatever_becomes_of_workers_every_record_is_there_exactly_once() {
    let seed = seed();
    eprintln!("PENSTOCK_CHAOS_SEED={seed}");
    let mut random = Random::seeded(seed);
    let (account, local) = (Account::new(), Local::start(&[]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 3);
    let sections = "[leases]\nstore = \"sqlite\"\nfailover_time = \"1s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\nbuffer_size = \"1MiB\"\n";
    let job = Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", sections);
    let (mut teller, mut started) = (Teller::aggregating(), 0);
    let mut slots: Vec<Slot> = (0..WORKERS).map(|_| start(&job, &mut started)).collect();
    let mut told = Vec::new();
    for step in 0..STEPS {
        // The stream takes a thousand records a second and shard: that paces the steps, two of them to a failover time.
        teller.tell(&stream, RECORDS_PER_STEP, 250);
        let chosen = usize::try_from(random.below(WORKERS as u64)).unwrap();
        let slot = &mut slots[chosen];
        let action = random.below(6);
        told.push(format!("step {step}: action {action} on worker {chosen}"));
        match action {
            _ if slot.stands_still => {
                slot.worker.signal("CONT");
                slot.stands_still = false;
            }
            0 | 1 => {
                slot.worker.kill_9();
                *slot = start(&job, &mut started);
            }
            2 | 3 => {
                slot.worker.signal("STOP");
                slot.stands_still = true;
            }
            4 => {
                slot.worker.drain_cleanly();
                *slot = start(&job, &mut started);
            }
            _ => {
                let open = stream.open_shards();
                let widest = open.iter().max_by_key(|shard| shard.hash_range.1 - shard.hash_range.0);
                stream.split(widest.expect("a stream has shards"));
            }
        }
    }
    eprintln!("{}", told.join("\n"));
    for slot in slots.iter().filter(|slot| slot.stands_still) {
        slot.worker.signal("CONT");
    }
    let mut reader = Reader::new(Place::directory(job.out()));
    reader.wait_for_all(&teller, PATIENCE);
    for slot in &mut slots {
        slot.worker.drain_cleanly();
    }
    reader.assert_exactly_once(&teller);
}
