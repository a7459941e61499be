//! What the program takes of the machine: memory with many idle shards and with a backlog, CPU for each GB. Memory is held
//! against `memory.budget` and a fixed base; CPU is only told.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{Account, Job, Local, Place, SOON, Services, Stream, Worker, wait_until};

const MIB: u64 = 1024 * 1024;
/// What the program takes beside its budget: code, the runtime, connections and TLS, 200 shards, an encoder's block, and what the
/// allocator keeps.
const BASE: u64 = 96 * MIB;
const BUDGET: u64 = 128 * MIB;
const RECORD: usize = 1_000;
const IDLE_SHARDS: u32 = 200;
/// A backlog may take this long; the machine may be busy, and an unoptimised build is slow.
const PATIENCE: Duration = Duration::from_secs(900);

/// What one run took.
#[derive(Debug)]
struct Row {
    what: String,
    delivered_bytes: f64,
    took: Duration,
    peak: u64,
    cpu: f64,
}

fn job(account: &Account, local: &Local, sink: &str) -> Job {
    let sections = format!(
        "[leases]\nstore = \"sqlite\"\n[memory]\nbudget = \"{}MiB\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"2s\"\nbuffer_size = \"16MiB\"\n{sink}",
        BUDGET / MIB
    );
    Job::new(account, &Services::at(&local.endpoint()), "footprint", "clicks", &sections)
}

/// The peak of the resident set, in bytes, and the CPU time so far, in seconds.
fn taken(worker: &Worker) -> (u64, f64) {
    let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", worker.pid())).expect("it runs, on Linux");
    let status = proc("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("proc(5) has it");
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number of kB");
    // Behind the name, which may hold anything: utime and stime are the 14th and 15th field, in hundredths of a second.
    let stat = proc("stat");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("a count of ticks"));
    (kib * 1024, ticks.sum::<f64>() / 100.0)
}

/// Many shards with nothing in them, until each was fetched often enough to be called idle.
fn idle() -> Row {
    let (account, local) = (Account::new(), Local::start(&["--no-limits"]));
    Stream::create(&local.endpoint(), &account, "clicks", IDLE_SHARDS);
    let job = job(&account, &local, "");
    let mut worker = Worker::start(&job, "idle");
    let started = Instant::now();
    let held = f64::from(IDLE_SHARDS);
    wait_until("all shards are held", SOON * 3, || worker.metrics().sum("penstock_leases_held") == held);
    wait_until("every shard has answered", SOON, || {
        let page = worker.metrics();
        page.series("penstock_iterator_age_milliseconds").len() == IDLE_SHARDS as usize
    });
    let ready = Instant::now();
    wait_until("they idle for a while", SOON, || ready.elapsed() > Duration::from_secs(5));
    let (peak, cpu) = taken(&worker);
    worker.drain_cleanly();
    Row { what: format!("{IDLE_SHARDS} idle shards"), delivered_bytes: 0.0, took: started.elapsed(), peak, cpu }
}

/// A backlog in four shards, read from its beginning.
fn backlog(mib: u64, compression: &str) -> Row {
    let (account, local) = (Account::new(), Local::start(&["--no-limits"]));
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 4);
    let calls = (mib * MIB).div_ceil(500 * RECORD as u64);
    for call in 0..calls {
        let records: Vec<_> = (0..500).map(|nth| (format!("key-{nth}"), record(call * 500 + nth))).collect();
        stream.put(&records);
    }
    let job = job(&account, &local, &format!("compression = \"{compression}\"\n"));
    let started = Instant::now();
    let mut worker = Worker::start(&job, "backlog");
    let told = (calls * 500) as f64;
    wait_until("the backlog is delivered", PATIENCE, || {
        worker.metrics().sum("penstock_records_delivered_total") >= told
    });
    let took = started.elapsed();
    let (peak, cpu) = taken(&worker);
    let page = worker.metrics();
    assert_eq!(page.sum("penstock_records_delivered_total"), told);
    worker.drain_cleanly();
    assert!(!Place::directory(job.out()).keys().is_empty());
    Row {
        what: format!("{mib} MiB backlog, {compression}"),
        delivered_bytes: page.sum("penstock_delivered_bytes_total"),
        took,
        peak,
        cpu,
    }
}

/// JSON of about a kilobyte that compresses as logs do.
fn record(number: u64) -> Vec<u8> {
    let mut text = format!("{{\"id\":{number},\"path\":\"/products/{}\"", number % 977);
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while text.len() < RECORD - 1 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!(",\"field\":\"{:016x}\"", state));
    }
    text.truncate(RECORD - 1);
    text.push('}');
    text.into_bytes()
}

#[expect(clippy::print_stderr, reason = "the table is what this is run for")]
fn show(rows: &[Row]) {
    eprintln!("{:<28} {:>8} {:>10} {:>10} {:>12}", "", "took", "peak RSS", "CPU", "CPU per GB");
    for Row { what, delivered_bytes, took, peak, cpu } in rows {
        let per_gb = match *delivered_bytes > 0.0 {
            true => format!("{:.2} s", cpu / (delivered_bytes / 1e9)),
            false => "-".to_owned(),
        };
        eprintln!("{what:<28} {:>6.1} s {:>6} MiB {cpu:>8.1} s {per_gb:>12}", took.as_secs_f64(), peak / MIB);
    }
    eprintln!("memory.budget is {} MiB; beside it the program may take {} MiB", BUDGET / MIB, BASE / MIB);
}

#[track_caller]
fn assert_within_budget(rows: &[Row]) {
    for Row { what, peak, .. } in rows {
        assert!(*peak <= BUDGET + BASE, "{what}: {} MiB", peak / MIB);
    }
}

#[test]
fn memory_stays_within_the_budget_and_a_base() {
    let rows = [idle(), backlog(48, "gzip")];
    show(&rows);
    assert!(rows[0].peak <= BASE, "idle shards hold no records: {} MiB", rows[0].peak / MIB);
    assert_within_budget(&rows);
}

#[test]
#[ignore = "takes minutes: make bench, with PENSTOCK_BENCH_MIB of backlog"]
fn memory_stays_within_the_budget_with_a_large_backlog() {
    let mib = std::env::var("PENSTOCK_BENCH_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(2048);
    let rows = [idle(), backlog(mib, "none"), backlog(mib, "gzip"), backlog(mib, "zstd")];
    show(&rows);
    assert_within_budget(&rows);
}
