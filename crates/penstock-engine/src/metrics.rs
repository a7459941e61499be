//! All metrics of the engine: names, units and descriptions, and the handles that components keep.
//!
//! Series of single shards are not registered with the recorder, which has no way to take one out again: they are rendered from
//! the worker's status at the moment they are asked for ([`ShardSeries`]), so those of shards no longer held are gone at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use penstock_core::aggregate::DropReason;
use penstock_core::batch::SealReason;
use penstock_core::coordinator::api::{GapReason, LossReason};

use crate::ports::SetAsideReason;
use crate::shard::pulse::Wait;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
    };
}

/// The names, fixed for good.
pub mod name {
    names! {
        /// The largest distance from the tip over held shards.
        LAG = "penstock_lag_milliseconds";
        /// The distance of one shard from its tip.
        ITERATOR_AGE = "penstock_iterator_age_milliseconds";
        /// The age of the oldest record of one shard that is not settled.
        OLDEST_UNSETTLED = "penstock_oldest_unsettled_age_seconds";
        /// User records that were read.
        RECORDS_FETCHED = "penstock_records_fetched_total";
        /// Their payload.
        FETCHED_BYTES = "penstock_fetched_bytes_total";
        /// User records that the sink has.
        RECORDS_DELIVERED = "penstock_records_delivered_total";
        /// Their payload.
        DELIVERED_BYTES = "penstock_delivered_bytes_total";
        /// User records that were set aside.
        RECORDS_SET_ASIDE = "penstock_records_set_aside_total";
        /// User records that were dropped by rule.
        RECORDS_DROPPED = "penstock_records_dropped_total";
        /// User records that were given up unsettled.
        RECORDS_ABANDONED = "penstock_records_abandoned_total";
        /// User records that are not settled.
        RECORDS_IN_FLIGHT = "penstock_records_in_flight";
        /// Leases of this worker.
        LEASES_HELD = "penstock_leases_held";
        /// Leases without a live owner.
        LEASES_UNOWNED = "penstock_leases_unowned";
        /// Leases that this worker asked others for.
        LEASES_WANTED = "penstock_leases_wanted_total";
        /// Leases that this worker gave to another one.
        LEASES_HANDED_OVER = "penstock_leases_handed_over_total";
        /// The time from the last owner's end of reading to the first answer of this one.
        HANDOFF_GAP = "penstock_handoff_gap_seconds";
        /// Leases that were lost.
        LEASE_LOSSES = "penstock_lease_losses_total";
        /// Checkpoints that were stored.
        CHECKPOINTS = "penstock_checkpoints_total";
        /// Bytes held in flight.
        MEMORY_USED = "penstock_memory_used_bytes";
        /// Objects that were put.
        OBJECTS = "penstock_objects_total";
        /// Gaps that were noticed.
        GAPS = "penstock_gaps_total";
        /// Entries of the gap ledger that nobody acknowledged.
        GAPS_OPEN = "penstock_gaps_open";
        /// Shards that made no progress, by what they waited for.
        SHARD_STALLS = "penstock_shard_stalls_total";
        /// Calls of a seam that failed.
        CALL_ERRORS = "penstock_call_errors_total";
        /// Time that readers waited for memory.
        BUDGET_WAIT = "penstock_budget_wait_milliseconds_total";
        /// Time that shards waited for the sink.
        SINK_WAIT = "penstock_sink_wait_milliseconds_total";
    }
}

/// Tells the installed recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(
        name::LAG,
        Unit::Milliseconds,
        "largest distance from the tip over held shards, growing while nothing is read"
    );
    describe_gauge!(name::RECORDS_IN_FLIGHT, Unit::Count, "user records read and not yet settled");
    describe_gauge!(name::LEASES_HELD, Unit::Count, "leases that this worker holds");
    describe_gauge!(
        name::LEASES_UNOWNED,
        Unit::Count,
        "leases without a live owner, as this worker last saw the table"
    );
    describe_counter!(name::LEASES_WANTED, Unit::Count, "leases that this worker asked another one for");
    describe_counter!(name::LEASES_HANDED_OVER, Unit::Count, "leases that this worker gave to another one in order");
    describe_histogram!(
        name::HANDOFF_GAP,
        Unit::Seconds,
        "time for which nobody read a shard that changed hands, up to the first answer of the new owner"
    );
    describe_gauge!(
        name::GAPS_OPEN,
        Unit::Count,
        "entries of the gap ledger that are not acknowledged, by reason, as this worker last read it"
    );
    describe_gauge!(name::MEMORY_USED, Unit::Bytes, "bytes of the memory budget that are taken");
    describe_counter!(
        name::RECORDS_FETCHED,
        Unit::Count,
        "user records read, those at or before the checkpoint left out"
    );
    describe_counter!(name::FETCHED_BYTES, Unit::Bytes, "payload of the user records read");
    describe_counter!(name::RECORDS_DELIVERED, Unit::Count, "user records that the sink has");
    describe_counter!(
        name::DELIVERED_BYTES,
        Unit::Bytes,
        "payload of the user records that the sink has, delimiters included"
    );
    describe_counter!(name::RECORDS_SET_ASIDE, Unit::Count, "user records set aside, by reason");
    describe_counter!(name::RECORDS_DROPPED, Unit::Count, "user records dropped by the operator's own rule, by reason");
    describe_counter!(
        name::RECORDS_ABANDONED,
        Unit::Count,
        "user records given up unsettled, to be read again from the checkpoint, by reason"
    );
    describe_counter!(name::LEASE_LOSSES, Unit::Count, "leases lost, by reason");
    describe_counter!(name::CHECKPOINTS, Unit::Count, "checkpoints stored");
    describe_counter!(name::OBJECTS, Unit::Count, "objects put, by what closed their batch");
    describe_counter!(
        name::GAPS,
        Unit::Count,
        "ranges of records that may be missing by someone else's doing, by reason"
    );
    describe_counter!(
        name::SHARD_STALLS,
        Unit::Count,
        "shards that made no progress beyond all time-outs, by what they waited for"
    );
    describe_counter!(name::CALL_ERRORS, Unit::Count, "failed calls, by operation and class");
    describe_counter!(name::BUDGET_WAIT, Unit::Milliseconds, "time that readers waited for memory");
    describe_counter!(
        name::SINK_WAIT,
        Unit::Milliseconds,
        "time that shards held a full batch and waited for the sink"
    );
}

/// Makes the series of every known reason, at zero: an alarm on the first event needs a zero before it.
fn announce() {
    use AbandonReason::{GracePeriod, LeaseLost, Restart};
    let set_aside = [
        SetAsideReason::OutsideHashRange,
        SetAsideReason::TooLarge { bytes: 0, limit: 0 },
        SetAsideReason::Rejected { code: String::new(), message: String::new() },
    ];
    let dropped = [DropReason::OutsideHashRange, DropReason::EmptyAggregate].map(DropReason::as_str);
    let abandoned = [LeaseLost, Restart, GracePeriod].map(AbandonReason::as_str);
    let lost = [LossReason::Taken, LossReason::Expired, LossReason::Deleted, LossReason::Changed];
    let closed_by =
        [SealReason::Size, SealReason::Interval, SealReason::Memory, SealReason::ShardEnd, SealReason::Drain];
    let zero = |name: &'static str, label: &'static str, values: &[&'static str]| {
        values.iter().for_each(|value| counter!(name, label => *value).increment(0));
    };
    zero(name::RECORDS_SET_ASIDE, "reason", &set_aside.each_ref().map(SetAsideReason::as_str));
    zero(name::RECORDS_DROPPED, "reason", &dropped);
    zero(name::RECORDS_ABANDONED, "reason", &abandoned);
    zero(name::LEASE_LOSSES, "reason", &lost.map(LossReason::as_str));
    zero(name::OBJECTS, "closed_by", &closed_by.map(SealReason::as_str));
    zero(name::OBJECTS, "closed_by", &["replay"]);
    zero(name::GAPS, "reason", &GapReason::ALL.map(GapReason::as_str));
    zero(name::SHARD_STALLS, "on", &Wait::counted().map(Wait::as_str).collect::<Vec<_>>());
}

/// A counter with one label.
#[derive(Debug)]
struct Family {
    name: &'static str,
    label: &'static str,
    series: Mutex<BTreeMap<&'static str, (Counter, u64)>>,
}

impl Family {
    const fn new(name: &'static str, label: &'static str) -> Self {
        Self { name, label, series: Mutex::new(BTreeMap::new()) }
    }

    fn add(&self, value: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let (counter, total) = series.entry(value).or_insert_with(|| (counter!(self.name, self.label => value), 0));
        counter.increment(count);
        *total += count;
    }

    fn totals(&self) -> BTreeMap<&'static str, u64> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.iter().map(|(value, (_, total))| (*value, *total)).collect()
    }
}

/// The handles of one worker. What must add up is also kept as plain numbers ([`Metrics::totals`]).
#[derive(Debug)]
pub struct Metrics {
    pub(crate) lag: Gauge,
    pub(crate) leases_held: Gauge,
    pub(crate) leases_unowned: Gauge,
    pub(crate) memory_used: Gauge,
    pub(crate) leases_wanted: Counter,
    pub(crate) leases_handed_over: Counter,
    pub(crate) handoff_gap: Histogram,
    pub(crate) checkpoints: Counter,
    pub(crate) budget_wait: Counter,
    pub(crate) sink_wait: Counter,
    fetched: Counter,
    fetched_bytes: Counter,
    delivered: Counter,
    delivered_bytes: Counter,
    in_flight: Gauge,
    set_aside: Family,
    dropped: Family,
    abandoned: Family,
    lease_losses: Family,
    objects: Family,
    gaps: Family,
    stalls: Family,
    gaps_open: Vec<(GapReason, Gauge)>,
    fetched_total: AtomicU64,
    delivered_total: AtomicU64,
    in_flight_total: AtomicU64,
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
            lag: gauge!(name::LAG),
            leases_held: gauge!(name::LEASES_HELD),
            leases_unowned: gauge!(name::LEASES_UNOWNED),
            memory_used: gauge!(name::MEMORY_USED),
            leases_wanted: counter!(name::LEASES_WANTED),
            leases_handed_over: counter!(name::LEASES_HANDED_OVER),
            handoff_gap: histogram!(name::HANDOFF_GAP),
            checkpoints: counter!(name::CHECKPOINTS),
            budget_wait: counter!(name::BUDGET_WAIT),
            sink_wait: counter!(name::SINK_WAIT),
            fetched: counter!(name::RECORDS_FETCHED),
            fetched_bytes: counter!(name::FETCHED_BYTES),
            delivered: counter!(name::RECORDS_DELIVERED),
            delivered_bytes: counter!(name::DELIVERED_BYTES),
            in_flight: gauge!(name::RECORDS_IN_FLIGHT),
            set_aside: Family::new(name::RECORDS_SET_ASIDE, "reason"),
            dropped: Family::new(name::RECORDS_DROPPED, "reason"),
            abandoned: Family::new(name::RECORDS_ABANDONED, "reason"),
            lease_losses: Family::new(name::LEASE_LOSSES, "reason"),
            objects: Family::new(name::OBJECTS, "closed_by"),
            gaps: Family::new(name::GAPS, "reason"),
            stalls: Family::new(name::SHARD_STALLS, "on"),
            gaps_open: GapReason::ALL
                .into_iter()
                .filter(|reason| !reason.is_information())
                .map(|reason| (reason, gauge!(name::GAPS_OPEN, "reason" => reason.as_str())))
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

    pub(crate) fn objects_put(&self, closed_by: &'static str, count: u64) {
        self.objects.add(closed_by, count);
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

    pub(crate) fn call_failed(&self, operation: &'static str, class: &'static str) {
        counter!(name::CALL_ERRORS, "operation" => operation, "class" => class).increment(1);
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

/// One series of a single shard, as it stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardSeries {
    /// The metric's name.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// The stream.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// The value.
    pub value: f64,
}

/// The descriptions of the series of single shards.
pub(crate) const ITERATOR_AGE_HELP: &str = "milliseconds behind the tip of the shard, by its last answer";
/// See [`ITERATOR_AGE_HELP`].
pub(crate) const OLDEST_UNSETTLED_HELP: &str =
    "age of the oldest record of the shard that is not settled, 0 without one";

#[cfg(test)]
mod tests {
    use metrics::{Histogram, Key, KeyName, Metadata, Recorder, SharedString};

    use super::*;

    /// Keeps counters and gauges by name and labels.
    #[derive(Default)]
    struct Recorded(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorded {
        fn cell(&self, key: &Key) -> Arc<AtomicU64> {
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            Arc::clone(self.0.lock().unwrap().entry(name).or_default())
        }

        fn counter(&self, name: &str) -> u64 {
            self.0.lock().unwrap()[name].load(Ordering::Relaxed)
        }

        fn gauge(&self, name: &str) -> f64 {
            f64::from_bits(self.counter(name))
        }
    }

    impl Recorder for Recorded {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn records_add_up_whatever_becomes_of_them_also_at_the_recorder() {
        let recorder = Recorded::default();
        metrics::with_local_recorder(&recorder, || {
            let metrics = Arc::new(Metrics::register());
            let mut account = Account::open(Arc::clone(&metrics));
            account.fetched(10, 100);
            account.delivered(4, 44);
            account.set_aside("too_large", 1);
            account.dropped("outside_hash_range", 2);
            assert!(metrics.totals().add_up());
            assert_eq!(metrics.totals().in_flight, 3);
            assert!((recorder.gauge("penstock_records_in_flight{}") - 3.0).abs() < f64::EPSILON);
            account.abandon_as(AbandonReason::LeaseLost);
            drop(account);
            let totals = metrics.totals();
            assert!(totals.add_up(), "{totals:?}");
            assert_eq!((totals.in_flight, totals.abandoned["lease_lost"]), (0, 3));
        });
        assert_eq!(recorder.counter("penstock_records_fetched_total{}"), 10);
        assert_eq!(recorder.counter("penstock_fetched_bytes_total{}"), 100);
        assert_eq!(recorder.counter("penstock_records_delivered_total{}"), 4);
        assert_eq!(recorder.counter("penstock_delivered_bytes_total{}"), 44);
        assert_eq!(recorder.counter("penstock_records_set_aside_total{reason=too_large}"), 1);
        assert_eq!(recorder.counter("penstock_records_dropped_total{reason=outside_hash_range}"), 2);
        assert_eq!(recorder.counter("penstock_records_abandoned_total{reason=lease_lost}"), 3);
        assert!(recorder.gauge("penstock_records_in_flight{}").abs() < f64::EPSILON);
    }
}
