//! The handles that components keep of their metrics, and the account of records that must add up.
//!
//! Series of single shards are not registered with the recorder, which has no way to take one out again: they are rendered from
//! the worker's status at the moment they are asked for ([`Sample`]), so those of shards no longer held are gone at once.

pub mod catalogue;
mod operation;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram};
/// For whoever renders metrics, to do so without a recorder of the whole process.
pub use metrics::{Recorder, with_local_recorder};
use penstock_core::coordinator::api::GapReason;
use penstock_core::time::UnixMillis;

use self::catalogue::{CATALOGUE, Kind, Metric, Origin};
use self::operation::Service;
use crate::ports::ErrorClass;
use crate::status::ShardPhase;

/// Tells the installed recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    CATALOGUE
        .iter()
        .filter(|metric| matches!(metric.origin, Origin::Worker | Origin::Event))
        .for_each(|it| it.describe());
}

/// Makes the series of every known value, at zero: an alarm on the first event needs a zero before it.
fn announce() {
    for metric in CATALOGUE.iter().filter(|metric| metric.origin == Origin::Worker) {
        let values = metric.labels.iter().flat_map(|label| (label.values)());
        match metric.kind {
            Kind::Counter => values.for_each(|value| metric.counter_of(value).increment(0)),
            Kind::Gauge => values.for_each(|value| metric.gauge_of(value).set(0.0)),
            Kind::Histogram(_) => {}
        }
    }
}

/// A counter with one label: a series for each value that there can be, made at once.
#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    series: BTreeMap<&'static str, (Counter, AtomicU64)>,
}

impl Family {
    fn new(metric: &'static Metric) -> Self {
        let values = metric.labels.iter().flat_map(|label| (label.values)());
        let series = values.map(|value| (value, (metric.counter_of(value), AtomicU64::new(0)))).collect();
        Self { metric, series }
    }

    fn add(&self, value: &'static str, count: u64) {
        let Some((counter, total)) = self.series.get(value) else {
            debug_assert!(false, "{} is not said to have the value {value}", self.metric.name);
            return;
        };
        counter.increment(count);
        total.fetch_add(count, Ordering::Relaxed);
    }

    /// Those that something was counted of.
    fn totals(&self) -> BTreeMap<&'static str, u64> {
        let totals = self.series.iter().map(|(value, (_, total))| (*value, total.load(Ordering::Relaxed)));
        totals.filter(|(_, total)| *total > 0).collect()
    }
}

/// The handles of one worker. What must add up is also kept as plain numbers ([`Metrics::totals`]).
#[derive(Debug)]
pub struct Metrics {
    pub(crate) gauges: Gauges,
    pub(crate) memory_used: Gauge,
    pub(crate) leases_held: Gauge,
    leases_open: Gauge,
    leases_unowned: Gauge,
    workers: Gauge,
    last_checkpoint: Gauge,
    pub(crate) leases_wanted: Counter,
    pub(crate) leases_handed_over: Counter,
    pub(crate) handoff_gap: Histogram,
    checkpoints: Counter,
    pub(crate) fetches: Counter,
    pub(crate) shard_restarts: Counter,
    pub(crate) budget_wait: Counter,
    pub(crate) sink_wait: Counter,
    pub(crate) sink_call: Histogram,
    fetched: Counter,
    fetched_bytes: Counter,
    delivered: Counter,
    delivered_bytes: Counter,
    in_flight: Gauge,
    set_aside: Family,
    dropped: Family,
    abandoned: Family,
    leases_taken: Family,
    lease_losses: Family,
    objects: Family,
    object_bytes: Histogram,
    delivery_errors: Family,
    throttles: Family,
    firehose: FirehoseCounters,
    gaps: Family,
    stalls: Family,
    gaps_open: Vec<(GapReason, Gauge)>,
    fetched_total: AtomicU64,
    delivered_total: AtomicU64,
    in_flight_total: AtomicU64,
}

/// What is set when somebody looks: see [`StatusHandle::refresh_gauges`](crate::status::StatusHandle::refresh_gauges).
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) lag: Gauge,
    pub(crate) unsettled: Gauge,
    pub(crate) shards: Vec<(ShardPhase, Gauge)>,
    pub(crate) leases_given_up: Gauge,
    pub(crate) waiting_for_parents: Gauge,
    pub(crate) last_scan: Gauge,
    pub(crate) sink_up: Gauge,
    pub(crate) memory_budget: Gauge,
    pub(crate) gap_ledger_up: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) streams_unavailable: Gauge,
    pub(crate) keeper_idle: Gauge,
}

impl Gauges {
    fn register() -> Self {
        Self {
            lag: catalogue::LAG.gauge(),
            unsettled: catalogue::UNSETTLED.gauge(),
            shards: ShardPhase::ALL
                .into_iter()
                .map(|phase| (phase, catalogue::SHARDS.gauge_of(phase.as_str())))
                .collect(),
            leases_given_up: catalogue::LEASES_GIVEN_UP.gauge(),
            waiting_for_parents: catalogue::WAITING_FOR_PARENTS.gauge(),
            last_scan: catalogue::LAST_SCAN.gauge(),
            sink_up: catalogue::SINK_UP.gauge(),
            memory_budget: catalogue::MEMORY_BUDGET.gauge(),
            gap_ledger_up: catalogue::GAP_LEDGER_UP.gauge(),
            ready: catalogue::READY.gauge(),
            streams_unavailable: catalogue::STREAMS_UNAVAILABLE.gauge(),
            keeper_idle: catalogue::KEEPER_IDLE.gauge(),
        }
    }
}

#[derive(Debug)]
struct FirehoseCounters {
    records: Counter,
    payload: Counter,
    billed: Counter,
}

/// The sum of every user record that was read: `fetched` is always the sum of all the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Read, after filtering at the checkpoint.
    pub fetched: u64,
    /// The sink has them.
    pub delivered: u64,
    /// Set aside, by reason.
    pub set_aside: BTreeMap<&'static str, u64>,
    /// Dropped by rule, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Given up unsettled, by reason; they are read again from the checkpoint.
    pub abandoned: BTreeMap<&'static str, u64>,
    /// Not settled.
    pub in_flight: u64,
    /// Gaps that were noticed, by reason.
    pub gaps: BTreeMap<&'static str, u64>,
    /// Leases that were lost, by reason.
    pub lease_losses: BTreeMap<&'static str, u64>,
    /// How often a shard made no progress, by what it waited for.
    pub stalls: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// Whether every record that was read is accounted for. Exact while nothing moves.
    #[must_use]
    pub fn add_up(&self) -> bool {
        let sum = |family: &BTreeMap<&'static str, u64>| family.values().sum::<u64>();
        self.fetched
            == self.delivered + sum(&self.set_aside) + sum(&self.dropped) + sum(&self.abandoned) + self.in_flight
    }
}

impl Metrics {
    /// Registers all series with the recorder of this thread.
    #[must_use]
    pub fn register() -> Self {
        announce();
        Self {
            gauges: Gauges::register(),
            memory_used: catalogue::MEMORY_USED.gauge(),
            leases_held: catalogue::LEASES_HELD.gauge(),
            leases_open: catalogue::LEASES_OPEN.gauge(),
            leases_unowned: catalogue::LEASES_UNOWNED.gauge(),
            workers: catalogue::WORKERS.gauge(),
            last_checkpoint: catalogue::LAST_CHECKPOINT.gauge(),
            leases_wanted: catalogue::LEASES_WANTED.counter(),
            leases_handed_over: catalogue::LEASES_HANDED_OVER.counter(),
            handoff_gap: catalogue::HANDOFF_GAP_SECONDS.histogram(),
            checkpoints: catalogue::CHECKPOINTS.counter(),
            fetches: catalogue::FETCHES.counter(),
            shard_restarts: catalogue::SHARD_RESTARTS.counter(),
            budget_wait: catalogue::BUDGET_WAIT.counter(),
            sink_wait: catalogue::SINK_WAIT.counter(),
            sink_call: catalogue::SINK_CALL_SECONDS.histogram(),
            fetched: catalogue::RECORDS_FETCHED.counter(),
            fetched_bytes: catalogue::FETCHED_BYTES.counter(),
            delivered: catalogue::RECORDS_DELIVERED.counter(),
            delivered_bytes: catalogue::DELIVERED_BYTES.counter(),
            in_flight: catalogue::RECORDS_IN_FLIGHT.gauge(),
            set_aside: Family::new(&catalogue::RECORDS_SET_ASIDE),
            dropped: Family::new(&catalogue::RECORDS_DROPPED),
            abandoned: Family::new(&catalogue::RECORDS_ABANDONED),
            leases_taken: Family::new(&catalogue::LEASES_TAKEN),
            lease_losses: Family::new(&catalogue::LEASE_LOSSES),
            objects: Family::new(&catalogue::OBJECTS),
            object_bytes: catalogue::OBJECT_SIZE.histogram(),
            delivery_errors: Family::new(&catalogue::DELIVERY_ERRORS),
            throttles: Family::new(&catalogue::THROTTLES),
            firehose: FirehoseCounters {
                records: catalogue::FIREHOSE_RECORDS.counter(),
                payload: catalogue::FIREHOSE_PAYLOAD.counter(),
                billed: catalogue::FIREHOSE_BILLED.counter(),
            },
            gaps: Family::new(&catalogue::GAPS),
            stalls: Family::new(&catalogue::SHARD_STALLS),
            gaps_open: GapReason::ALL
                .into_iter()
                .filter(|reason| !reason.is_information())
                .map(|reason| (reason, catalogue::GAPS_OPEN.gauge_of(reason.as_str())))
                .collect(),
            fetched_total: AtomicU64::new(0),
            delivered_total: AtomicU64::new(0),
            in_flight_total: AtomicU64::new(0),
        }
    }

    /// The plain numbers behind the counters.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            fetched: self.fetched_total.load(Ordering::Relaxed),
            delivered: self.delivered_total.load(Ordering::Relaxed),
            set_aside: self.set_aside.totals(),
            dropped: self.dropped.totals(),
            abandoned: self.abandoned.totals(),
            in_flight: self.in_flight_total.load(Ordering::Relaxed),
            gaps: self.gaps.totals(),
            lease_losses: self.lease_losses.totals(),
            stalls: self.stalls.totals(),
        }
    }

    pub(crate) fn lease_lost(&self, reason: &'static str) {
        self.lease_losses.add(reason, 1);
    }

    /// The lease table was seen: its leases that are open, and the workers that hold them.
    pub(crate) fn scanned(&self, open: usize, unowned: usize, workers: usize) {
        self.leases_open.set(count_as_f64(open as u64));
        self.leases_unowned.set(count_as_f64(unowned as u64));
        self.workers.set(count_as_f64(workers as u64));
    }

    pub(crate) fn checkpoint_stored(&self, at: UnixMillis) {
        self.checkpoints.increment(1);
        self.last_checkpoint.set(unix_seconds(at));
    }

    pub(crate) fn lease_taken(&self, stolen: bool) {
        self.leases_taken.add(if stolen { catalogue::STOLEN } else { catalogue::FREE }, 1);
    }

    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    pub(crate) fn object_put(&self, closed_by: &'static str, bytes: u64) {
        self.objects.add(closed_by, 1);
        self.object_bytes.record(bytes as f64);
    }

    /// Entries of these sizes were taken by a sink that bills each in steps.
    pub(crate) fn billed(&self, step: NonZeroU64, sizes: impl Iterator<Item = u64>) {
        let (mut records, mut payload, mut billed) = (0, 0, 0);
        for size in sizes {
            records += 1;
            payload += size;
            billed += size.next_multiple_of(step.get());
        }
        self.firehose.records.increment(records);
        self.firehose.payload.increment(payload);
        self.firehose.billed.increment(billed);
    }

    pub(crate) fn gap(&self, reason: &'static str) {
        self.gaps.add(reason, 1);
    }

    /// How many entries of the ledger are open, by reason; those that are never open have no series.
    pub(crate) fn gaps_open(&self, count: impl Fn(GapReason) -> usize) {
        for (reason, gauge) in &self.gaps_open {
            gauge.set(count_as_f64(count(*reason) as u64));
        }
    }

    pub(crate) fn stalled(&self, on: &'static str) {
        self.stalls.add(on, 1);
    }

    /// A call failed, or a part of it did ([`PARTIAL`](catalogue::PARTIAL)).
    pub(crate) fn call_failed(&self, operation: &'static str, class: &'static str) {
        let (operation, service) = operation::of(operation);
        catalogue::CALL_ERRORS.counter_of_both([operation, class]).increment(1);
        if service.is_sink() {
            self.delivery_errors.add(class, 1);
        }
        if class == ErrorClass::Throttled.as_str() {
            self.throttled(operation);
        }
    }

    /// A service refused something for its pace.
    pub(crate) fn throttled(&self, operation: &'static str) {
        let (_, service) = operation::of(operation);
        if Service::REMOTE.contains(&service) {
            self.throttles.add(service.as_str(), 1);
        }
    }

    fn move_in_flight(&self, add: u64, sub: u64) {
        if add > 0 {
            self.in_flight_total.fetch_add(add, Ordering::Relaxed);
            self.in_flight.increment(count_as_f64(add));
        }
        if sub > 0 {
            self.in_flight_total.fetch_sub(sub, Ordering::Relaxed);
            self.in_flight.decrement(count_as_f64(sub));
        }
    }
}

/// Gauges are doubles; a count of records in flight is far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
pub(crate) const fn count_as_f64(count: u64) -> f64 {
    count as f64
}

/// As Prometheus wants a time.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
pub(crate) fn unix_seconds(at: UnixMillis) -> f64 {
    at.0 as f64 / 1000.0
}

/// Why records were given up unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AbandonReason {
    /// The lease is lost.
    LeaseLost,
    /// The shard starts again from its checkpoint.
    Restart,
    /// The grace period ran out.
    GracePeriod,
}

impl AbandonReason {
    const ALL: [Self; 3] = [Self::LeaseLost, Self::Restart, Self::GracePeriod];

    const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseLost => "lease_lost",
            Self::Restart => "restart",
            Self::GracePeriod => "grace_period",
        }
    }
}

/// The account of the user records of one run of a shard: each is settled once, and what is left when the account is
/// dropped counts as abandoned. So the sum holds on every path, panics included.
#[derive(Debug)]
pub(crate) struct Account {
    metrics: Arc<Metrics>,
    in_flight: u64,
    abandon: AbandonReason,
}

impl Account {
    pub(crate) const fn open(metrics: Arc<Metrics>) -> Self {
        Self { metrics, in_flight: 0, abandon: AbandonReason::Restart }
    }

    pub(crate) fn fetched(&mut self, records: u64, bytes: u64) {
        self.metrics.fetched.increment(records);
        self.metrics.fetched_bytes.increment(bytes);
        self.metrics.fetched_total.fetch_add(records, Ordering::Relaxed);
        self.metrics.move_in_flight(records, 0);
        self.in_flight += records;
    }

    pub(crate) fn delivered(&mut self, records: u64, bytes: u64) {
        self.metrics.delivered.increment(records);
        self.metrics.delivered_bytes.increment(bytes);
        self.metrics.delivered_total.fetch_add(records, Ordering::Relaxed);
        self.settle(records);
    }

    pub(crate) fn set_aside(&mut self, reason: &'static str, records: u64) {
        self.metrics.set_aside.add(reason, records);
        self.settle(records);
    }

    pub(crate) fn dropped(&mut self, reason: &'static str, records: u64) {
        self.metrics.dropped.add(reason, records);
        self.settle(records);
    }

    /// Why whatever is left unsettled was given up.
    pub(crate) const fn abandon_as(&mut self, reason: AbandonReason) {
        self.abandon = reason;
    }

    /// The user records that are not settled.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn settle(&mut self, records: u64) {
        debug_assert!(records <= self.in_flight, "{records} records settled of {}", self.in_flight);
        let records = records.min(self.in_flight);
        self.in_flight -= records;
        self.metrics.move_in_flight(0, records);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.metrics.abandoned.add(self.abandon.as_str(), self.in_flight);
        self.metrics.move_in_flight(0, self.in_flight);
    }
}

/// One series that the recorder does not keep, as it stands now.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The metric.
    pub metric: &'static Metric,
    /// The values of its labels, in their order.
    pub labels: Vec<String>,
    /// The value.
    pub value: f64,
}

/// Samples of the process, which the engine does not look at.
pub mod process {
    use super::Sample;
    use super::catalogue::{
        BUILD, Metric, PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_MEMORY, PROCESS_OPEN_FDS, PROCESS_START,
    };

    const fn sample(metric: &'static Metric, value: f64) -> Sample {
        Sample { metric, labels: Vec::new(), value }
    }

    /// Which build this is.
    #[must_use]
    pub fn build(version: &str, commit: &str) -> Sample {
        Sample { metric: &BUILD, labels: vec![version.to_owned(), commit.to_owned()], value: 1.0 }
    }

    /// CPU time in seconds.
    #[must_use]
    pub const fn cpu(seconds: f64) -> Sample {
        sample(&PROCESS_CPU, seconds)
    }

    /// Bytes in RAM.
    #[must_use]
    pub const fn memory(bytes: f64) -> Sample {
        sample(&PROCESS_MEMORY, bytes)
    }

    /// The start, in Unix seconds.
    #[must_use]
    pub const fn start(seconds: f64) -> Sample {
        sample(&PROCESS_START, seconds)
    }

    /// File descriptors in use.
    #[must_use]
    pub const fn open_fds(count: f64) -> Sample {
        sample(&PROCESS_OPEN_FDS, count)
    }

    /// File descriptors that there may be.
    #[must_use]
    pub const fn max_fds(count: f64) -> Sample {
        sample(&PROCESS_MAX_FDS, count)
    }
}

#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
mod tests;
