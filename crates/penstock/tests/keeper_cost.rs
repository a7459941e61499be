//! What keeping many leases costs: the CPU time of the real program that holds the leases of shards with nothing to read, with the
//! calls of the SDK. For people to look at: `make keeper-cost`. `make sim-scale` tells the same without those, and of the coordinator alone.

#[path = "keeper_cost/dynamodb.rs"]
mod dynamodb;
mod support;

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use dynamodb::Answerer;
use support::{Account, Job, Local, Services, Stream, Worker, wait_until};

/// How many leases, if not 5,000: for a machine that is too slow or too busy to keep so many.
const LEASES: &str = "PENSTOCK_LEASES";
/// Rows are made, taken and first fetched within this, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(300);
const WITH_SCANS: Duration = Duration::from_secs(60);
const WITHOUT_SCANS: Duration = Duration::from_secs(30);

/// What a stretch of time took.
struct Stretch {
    wall: Duration,
    cpu: Duration,
    writes: u64,
    scans: u64,
}

impl Stretch {
    fn measure(worker: &Worker, answerer: &Answerer, duration: Duration) -> Self {
        let (began, cpu, (writes, scans)) = (Instant::now(), cpu_time(worker), answerer.counts());
        thread::sleep(duration);
        let (wall, now) = (began.elapsed(), answerer.counts());
        Self { wall, cpu: cpu_time(worker) - cpu, writes: now.0 - writes, scans: now.1 - scans }
    }

    /// CPU time for each second, in percent of a core.
    fn share(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn writes_per_second(&self) -> f64 {
        self.writes as f64 / self.wall.as_secs_f64()
    }

    /// The CPU time of a write with all that belongs to it, in microseconds.
    fn per_write(&self) -> f64 {
        10_000.0 * self.share() / self.writes_per_second()
    }
}

/// User and system time so far.
fn cpu_time(worker: &Worker) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", worker.pid())).expect("it runs, on Linux");
    // Behind the name, which may hold anything: utime and stime are the 14th and 15th field, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a count of ticks"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}

#[test]
#[ignore = "takes minutes, and tells rather than checks: make keeper-cost"]
fn held_leases_with_the_calls_of_the_sdk() {
    let shards = std::env::var(LEASES).map_or(5_000, |leases| leases.parse::<u32>().expect("a number of leases"));
    let (account, local, answerer) = (Account::new(), Local::start(&["--no-limits"]), Answerer::start());
    Stream::create(&local.endpoint(), &account, "clicks", shards);
    let services = Services { kinesis: local.endpoint(), dynamodb: answerer.endpoint(), ..Services::default() };
    let job = Job::new(&account, &services, "keeper-cost", "clicks", "[sink]\ntype = \"directory\"\npath = \"out\"\n");
    // Nothing is fetched again while the time is taken; failover time is what it is by default.
    let quiet = ["source.idle_interval=240s", "admin.per_shard_metrics=false", "memory.budget=1GiB"];
    let mut worker = Worker::start_with(&job, "keeper", &quiet);
    let all = f64::from(shards);
    wait_until("all leases are held", PATIENCE, || worker.metrics().sum("penstock_leases_held") == all);
    wait_until("every shard was fetched", PATIENCE, || worker.metrics().sum("penstock_fetches_total") >= all);

    let mut out = std::io::stdout();
    let mut tell = |what: &str, stretch: &Stretch| {
        let (share, writes, each) = (stretch.share(), stretch.writes_per_second(), stretch.per_write());
        let (seconds, scans) = (stretch.wall.as_secs(), stretch.scans);
        writeln!(
            out,
            "{shards} leases, {what}: {share:.1} % of a core in {seconds} s, {writes:.0} writes a second, {scans} scans, \
             {each:.0} µs of CPU for each write"
        )
        .expect("standard output");
    };
    let whole = Stretch::measure(&worker, &answerer, WITH_SCANS);
    assert!(whole.scans > 0 && whole.writes > u64::from(shards), "nothing was measured");
    tell("writes and scans", &whole);
    answerer.refuse_scans();
    let writes = Stretch::measure(&worker, &answerer, WITHOUT_SCANS);
    tell("writes alone", &writes);
    assert_eq!(worker.metrics().sum("penstock_leases_held"), all, "leases were lost: the machine is too busy");
    worker.kill_9();
}
