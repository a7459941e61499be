//! `/api/status`: the worker's snapshot as JSON, described in `docs/status.md`.
//!
//! Written while nothing of the worker waits, and at most twice a second, however many ask: with thousands of shards it is some megabytes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use penstock_core::coordinator::api::LeaseStatus;
use penstock_core::ids::LeaseKey;
use penstock_core::position::Position;
use penstock_core::throughput::Throughput;
use penstock_engine::status::{ErrorStatus, ShardStatus, SinkStatus, Status, StatusHandle, StreamStatus};
use serde::Serialize;
use serde_json::Value;

use super::About;
use crate::commands::leases::gap_to_json;

/// How old an answer may be: below what anybody asks at, and long enough that many who look cost as much as one.
const FRESH: Duration = Duration::from_millis(500);

/// The last answer, shared by all who ask within [`FRESH`].
#[derive(Default)]
pub(super) struct LastAnswer(Mutex<Option<(Instant, Bytes)>>);

impl LastAnswer {
    /// The worker's status as JSON in a line.
    pub(super) fn get(&self, about: &About, status: &StatusHandle) -> Bytes {
        // Whoever comes meanwhile waits for this one answer; nothing of the worker waits here.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, body)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return body.clone();
        }
        // What nobody asks for is not kept twice.
        *last = None;
        let body = Bytes::from(json(about, &status.snapshot(), &status.obstacles()));
        *last = Some((Instant::now(), body.clone()));
        body
    }
}

/// The snapshot. Durations in milliseconds, sizes in bytes, as the names say.
pub(super) fn json(about: &About, status: &Status, obstacles: &[String]) -> Vec<u8> {
    let view = view(about, status, obstacles);
    let mut text = Vec::with_capacity(4096 + 700 * status.leases.len() + 600 * status.shards.len());
    serde_json::to_writer(&mut text, &view).expect("strings, numbers and lists have a JSON form");
    text.push(b'\n');
    text
}

// === What is shown, in its order ===

#[derive(Serialize)]
struct View<'a> {
    version: &'static str,
    application: &'a str,
    worker: &'a str,
    now_milliseconds: i64,
    started_at_milliseconds: i64,
    uptime_milliseconds: u64,
    started: bool,
    draining: bool,
    obstacles: &'a [String],
    keeper_idle_milliseconds: Option<u64>,
    scan_age_milliseconds: Option<u64>,
    lag_milliseconds: u64,
    workers: usize,
    leases_unowned: usize,
    memory: Memory,
    sink: Sink<'a>,
    problems: Problems<'a>,
    records: Value,
    gaps: Gaps<'a>,
    errors: Vec<ErrorView<'a>>,
    streams: Vec<Stream<'a>>,
    shards: Vec<Shard<'a>>,
    leases: Vec<Lease<'a>>,
}

#[derive(Serialize)]
struct Memory {
    used_bytes: u64,
    budget_bytes: u64,
}

#[derive(Serialize)]
struct Sink<'a> {
    destination: &'a str,
    state: &'static str,
    since_milliseconds: i64,
    problem: Option<&'a str>,
}

#[derive(Serialize)]
struct Problems<'a> {
    leases: Option<&'a str>,
    gap_ledger: Option<&'a str>,
}

#[derive(Serialize)]
struct Gaps<'a> {
    open: usize,
    entries: Vec<Value>,
    noticed_by_reason: &'a BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct ErrorView<'a> {
    operation: &'static str,
    class: &'static str,
    count: u64,
    first_milliseconds: i64,
    last_milliseconds: i64,
    message: &'a str,
    lease: Option<&'a str>,
}

#[derive(Serialize)]
struct Stream<'a> {
    stream: &'a str,
    problem: Option<&'a str>,
}

#[derive(Serialize)]
struct Shard<'a> {
    lease: &'a str,
    stream: &'a str,
    shard: String,
    phase: &'static str,
    held_milliseconds: u64,
    checkpoint: String,
    position: Option<String>,
    lag_milliseconds: u64,
    iterator_age_milliseconds: Option<u64>,
    read_bytes: u64,
    open_batch: OpenBatch,
    records_in_flight: u64,
    oldest_unsettled_milliseconds: u64,
    problem: Option<&'a str>,
    restarts: u32,
}

#[derive(Serialize)]
struct OpenBatch {
    bytes: u64,
    records: u64,
}

#[derive(Serialize)]
struct Lease<'a> {
    lease: &'a str,
    stream: Option<&'a str>,
    shard: String,
    state: &'static str,
    owner: Option<&'a str>,
    held: bool,
    wanted_by: Option<&'a str>,
    hash_range: Option<[String; 2]>,
    parents: Vec<&'a str>,
    children: Vec<String>,
    waits_for_parents: bool,
    waits_for_ledger: bool,
    checkpoint: String,
    intent_open: bool,
    arrival_milliseconds: Option<i64>,
    lag_milliseconds: Option<u64>,
    throughput_kib_per_second: Option<f64>,
    problem: Option<String>,
}

// === From the snapshot ===

fn view<'a>(about: &'a About, status: &'a Status, obstacles: &'a [String]) -> View<'a> {
    let children = children(status);
    let given_up: BTreeMap<&LeaseKey, &str> = status.given_up.iter().map(|(key, why)| (key, why.as_str())).collect();
    View {
        version: env!("CARGO_PKG_VERSION"),
        application: &about.application,
        worker: status.worker.as_str(),
        now_milliseconds: status.taken_at.0,
        started_at_milliseconds: status.started_at.0,
        uptime_milliseconds: millis(status.uptime),
        started: status.started,
        draining: status.draining,
        obstacles,
        keeper_idle_milliseconds: status.keeper_idle.map(millis),
        scan_age_milliseconds: status.scan_age.map(millis),
        lag_milliseconds: millis(status.lag),
        workers: status.workers,
        leases_unowned: status.unowned,
        memory: Memory { used_bytes: status.memory_used, budget_bytes: status.memory_budget },
        sink: sink(about, status),
        problems: Problems { leases: status.lease_problem.as_deref(), gap_ledger: status.gap_problem.as_deref() },
        records: records(status),
        gaps: Gaps {
            open: status.open_gaps,
            entries: status.gaps.iter().map(gap_to_json).collect(),
            noticed_by_reason: &status.totals.gaps,
        },
        errors: status.errors.iter().map(error).collect(),
        streams: status.streams.iter().map(stream).collect(),
        shards: status.shards.iter().map(shard).collect(),
        leases: status.leases.iter().map(|of| lease(of, status, &children, &given_up)).collect(),
    }
}

fn sink<'a>(about: &'a About, status: &'a Status) -> Sink<'a> {
    let (state, problem) = match &status.sink {
        SinkStatus::Unknown => ("unknown", None),
        SinkStatus::Ready => ("ready", None),
        SinkStatus::Down(problem) => ("down", Some(problem.as_str())),
    };
    Sink { destination: &about.destination, state, since_milliseconds: status.sink_since.0, problem }
}

fn records(status: &Status) -> Value {
    serde_json::json!({
        "fetched": status.totals.fetched,
        "delivered": status.totals.delivered,
        "set_aside": status.totals.set_aside,
        "dropped": status.totals.dropped,
        "abandoned": status.totals.abandoned,
        "in_flight": status.totals.in_flight,
    })
}

fn error(error: &ErrorStatus) -> ErrorView<'_> {
    ErrorView {
        operation: error.operation,
        class: error.class,
        count: error.count,
        first_milliseconds: error.first.0,
        last_milliseconds: error.last.0,
        message: &error.message,
        lease: error.lease.as_ref().map(LeaseKey::as_str),
    }
}

fn stream(stream: &StreamStatus) -> Stream<'_> {
    Stream { stream: stream.name.as_str(), problem: stream.problem.as_deref() }
}

fn shard(shard: &ShardStatus) -> Shard<'_> {
    Shard {
        lease: shard.lease.as_str(),
        stream: shard.stream.as_str(),
        shard: shard.shard.to_string(),
        phase: shard.phase.as_str(),
        held_milliseconds: millis(shard.held_for),
        checkpoint: shard.checkpoint.to_string(),
        position: shard.position.as_ref().map(ToString::to_string),
        lag_milliseconds: millis(shard.lag),
        iterator_age_milliseconds: shard.behind.map(millis),
        read_bytes: shard.read_bytes,
        open_batch: OpenBatch { bytes: shard.open_bytes, records: shard.open_records },
        records_in_flight: shard.in_flight,
        oldest_unsettled_milliseconds: millis(shard.oldest_unsettled),
        problem: shard.problem.as_deref(),
        restarts: shard.restarts,
    }
}

/// The children of each shard that has a lease, by stream and parent: rows name their parents.
type Children = BTreeMap<(usize, String), Vec<String>>;

fn children(status: &Status) -> Children {
    let mut children = Children::new();
    for lease in status.leases.iter() {
        for parent in &lease.parents {
            let of_parent = children.entry((lease.stream.0, parent.to_string())).or_default();
            of_parent.push(lease.key.shard_id().to_string());
        }
    }
    children
}

fn lease<'a>(
    lease: &'a LeaseStatus,
    status: &'a Status,
    children: &Children,
    given_up: &BTreeMap<&LeaseKey, &str>,
) -> Lease<'a> {
    let shard = lease.key.shard_id().to_string();
    let of_shard = (lease.stream.0, shard);
    let children = children.get(&of_shard).cloned().unwrap_or_default();
    Lease {
        lease: lease.key.as_str(),
        stream: status.streams.get(lease.stream.0).map(|stream| stream.name.as_str()),
        shard: of_shard.1,
        state: state(lease),
        owner: lease.owner.as_ref().map(|owner| owner.as_str()),
        held: lease.held,
        wanted_by: lease.wanted.as_ref().map(|worker| worker.as_str()),
        hash_range: lease.hash_range.map(|range| [range.start.to_string(), range.end.to_string()]),
        parents: lease.parents.iter().map(|parent| parent.as_str()).collect(),
        children,
        waits_for_parents: lease.waits_for_parents,
        waits_for_ledger: lease.waits_for_ledger,
        checkpoint: lease.checkpoint.to_string(),
        intent_open: lease.intent_open,
        arrival_milliseconds: lease.arrival.map(|arrival| arrival.0),
        lag_milliseconds: lease.lag,
        throughput_kib_per_second: lease.throughput.map(Throughput::kib_per_second),
        problem: given_up.get(&lease.key).map(|reason| format!("given up: {reason}")),
    }
}

/// What the row of the lease says, in a word.
fn state(lease: &LeaseStatus) -> &'static str {
    match (&lease.checkpoint, &lease.owner) {
        (Position::ShardEnd, _) => "ended",
        _ if lease.waits_for_parents => "waiting",
        (_, Some(_)) if lease.held => "held",
        (_, Some(_)) => "owned",
        (_, None) => "unowned",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use penstock_core::coordinator::api::StreamIndex;
    use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
    use penstock_core::ids::{HashRange, ShardId, StreamName, WorkerId};
    use penstock_core::position::RecordPosition;
    use penstock_core::time::UnixMillis;
    use penstock_engine::metrics::Totals;
    use penstock_engine::status::ShardPhase;

    use super::*;

    /// The rest of the answer is held against the page by a test of a running worker, which has no gap.
    #[test]
    fn the_fields_of_a_gap_are_documented() {
        let entry = GapEntry {
            stream: StreamName::new("clicks"),
            stream_created: UnixMillis(0),
            lease: LeaseKey::single_stream(&ShardId::new("shardId-000000000000")),
            range: GapRange { after: Position::TrimHorizon, end: GapEnd::Unknown },
            reason: GapReason::Trimmed,
            noticed: UnixMillis(1),
            by: WorkerId::new("one"),
            acknowledged: None,
        };
        let json = gap_to_json(&entry);
        let has: BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let page = include_str!("../../../../docs/status.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `gaps.entries[].")?.split('`').next());
        assert_eq!(rows.collect::<BTreeSet<_>>(), has);
    }

    const SHARDS: u128 = 5_000;

    /// A worker that holds every one of so many shards.
    fn large() -> Status {
        let sequence = "49590338271490256608559692538361571095921575989136588898";
        let position = RecordPosition::parse(sequence).unwrap();
        let key = |at: u128| LeaseKey::single_stream(&ShardId::new(&format!("shardId-{at:012}")));
        let worker = WorkerId::new("ip-10-0-1-17-5eed0001");
        let lease = |at: u128| LeaseStatus {
            key: key(at),
            stream: StreamIndex(0),
            owner: Some(worker.clone()),
            checkpoint: Position::After(position.clone()),
            held: true,
            waits_for_parents: false,
            waits_for_ledger: false,
            intent_open: false,
            hash_range: Some(HashRange { start: u128::MAX / SHARDS * at, end: u128::MAX / SHARDS * (at + 1) - 1 }),
            parents: vec![ShardId::new("shardId-000000000000")],
            arrival: Some(UnixMillis(1_795_326_272_190)),
            lag: Some(175),
            throughput: None,
            wanted: None,
        };
        let shard = |at: u128| ShardStatus {
            lease: key(at),
            stream: StreamName::new("clicks"),
            shard: key(at).shard_id(),
            phase: ShardPhase::Running,
            checkpoint: Position::After(position.clone()),
            position: Some(position.clone()),
            lag: Duration::from_millis(175),
            behind: Some(Duration::ZERO),
            read_bytes: 1 << 40,
            held_for: Duration::from_secs(86_400),
            open_bytes: 1 << 20,
            open_records: 4_096,
            in_flight: 4_096,
            oldest_unsettled: Duration::from_secs(60),
            problem: None,
            restarts: 0,
        };
        Status {
            worker: worker.clone(),
            streams: vec![StreamStatus { name: StreamName::new("clicks"), problem: None }],
            taken_at: UnixMillis(0),
            started_at: UnixMillis(0),
            uptime: Duration::ZERO,
            started: true,
            scan_age: None,
            draining: false,
            keeper_idle: None,
            leases: (0..SHARDS).map(lease).collect(),
            unowned: 0,
            workers: 1,
            shards: (0..SHARDS).map(shard).collect(),
            sink: SinkStatus::Ready,
            sink_since: UnixMillis(0),
            lease_problem: None,
            gaps: Vec::new(),
            errors: Vec::new(),
            open_gaps: 0,
            gap_problem: None,
            given_up: Vec::new(),
            lag: Duration::ZERO,
            memory_used: 0,
            memory_budget: 1,
            totals: Totals::default(),
        }
    }

    #[test]
    fn five_thousand_shards_are_some_megabytes_and_each_knows_its_children() {
        let about = About { application: "clicks-to-s3".to_owned(), destination: "s3://lake".to_owned() };
        let status = large();
        let began = Instant::now();
        let text = json(&about, &status, &[]);
        let took = began.elapsed();
        assert!(text.len() < 7_000_000, "{} bytes", text.len());
        // Without optimization, on a busy machine; it must not grow with the square of the shards.
        assert!(took < Duration::from_secs(5), "{took:?}");
        let answer: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(answer["leases"][0]["children"].as_array().map(Vec::len), Some(SHARDS as usize));
        assert_eq!(answer["leases"][4_999]["children"], serde_json::json!([]));
        assert_eq!((&answer["leases"][7]["state"], &answer["shards"][7]["phase"]), (&"held".into(), &"running".into()));
    }
}
