//! Every metric there is, as data: its name, type, labels with their values, and what it means.
//!
//! A handle can be had from an entry of this list and in no other way, so nothing is recorded that is not described, and the number
//! of series is known before anything runs. `docs/metrics.md` is held against this list by a test.

use metrics::{Counter, Gauge, Histogram, Unit};
use penstock_core::aggregate::DropReason;
use penstock_core::batch::SealReason;
use penstock_core::coordinator::api::{GapReason, LossReason};

use super::AbandonReason;
use super::operation::{self, Service};
use crate::ports::{ErrorClass, SetAsideReason};
use crate::shard::pulse::Wait;
use crate::status::ShardPhase;

/// Seconds: from a handover in order, through the failover time of a killed worker, to what somebody has to look into.
const HANDOFF_GAP: &[f64] = &[0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0];
/// Seconds: from a call on the spot to the longest time-out.
const SINK_CALL: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Bytes: powers of four, from what an idle shard leaves to more than any sensible `sink.buffer_size`.
const OBJECT_BYTES: &[f64] =
    &[1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0, 268_435_456.0];

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, fixed for good.
    pub name: &'static str,
    /// What it counts or shows.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it means, in one line.
    pub help: &'static str,
    /// Where its series come from.
    pub origin: Origin,
    unit: Unit,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by size: in these buckets and one for everything.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The type as Prometheus calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Where the series of a metric come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The recorder; there from the start of the worker.
    Worker,
    /// The recorder; there once it happened.
    Event,
    /// The worker's status, when the page is asked for: one series for each shard that is held.
    Shard,
    /// The process, when the page is asked for.
    Process,
}

/// A label.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All values that it can have; none if they are names of the outside, of which a series has one.
    pub values: fn() -> Vec<&'static str>,
}

macro_rules! catalogue {
    ($($name:ident = $metric:expr;)*) => {
        $(pub(crate) static $name: Metric = $metric;)*

        /// All metrics, in the order in which they are documented.
        pub static CATALOGUE: &[&Metric] = &[$(&$name),*];
    };
}

catalogue! {
    // How far behind, and whether it moves.
    LAG = gauge("penstock_lag_milliseconds", Unit::Milliseconds,
        "largest distance from the tip over held shards, growing while nothing is read");
    ITERATOR_AGE = gauge("penstock_iterator_age_milliseconds", Unit::Milliseconds,
        "milliseconds behind the tip of the shard, by its last answer").of_shards();
    OLDEST_UNSETTLED = gauge("penstock_oldest_unsettled_age_seconds", Unit::Seconds,
        "age of the oldest record of the shard that is not settled, 0 without one").of_shards();
    UNSETTLED = gauge("penstock_unsettled_age_seconds", Unit::Seconds,
        "age of the oldest record that is not settled, over all held shards, 0 without one");
    LAST_CHECKPOINT = gauge("penstock_last_checkpoint_timestamp_seconds", Unit::Seconds,
        "Unix time at which a checkpoint of this worker was stored last, 0 before the first");
    SHARDS = gauge("penstock_shards", Unit::Count, "held shards by what they are about").by(&[PHASE]);
    SHARD_STALLS = counter("penstock_shard_stalls_total", Unit::Count,
        "shards that made no progress beyond all time-outs, by what they waited for").by(&[STALLED_ON]);
    SHARD_RESTARTS = counter("penstock_shard_restarts_total", Unit::Count,
        "shards that failed and started again from their checkpoint");

    // Records.
    FETCHES = counter("penstock_fetches_total", Unit::Count, "fetches that were answered");
    RECORDS_FETCHED = counter("penstock_records_fetched_total", Unit::Count,
        "user records read, those at or before the checkpoint left out");
    FETCHED_BYTES = counter("penstock_fetched_bytes_total", Unit::Bytes, "payload of the user records read");
    RECORDS_DELIVERED = counter("penstock_records_delivered_total", Unit::Count, "user records that the sink has");
    DELIVERED_BYTES = counter("penstock_delivered_bytes_total", Unit::Bytes,
        "payload of the user records that the sink has, delimiters included");
    RECORDS_SET_ASIDE = counter("penstock_records_set_aside_total", Unit::Count,
        "user records set aside, by reason").by(&[SET_ASIDE]);
    RECORDS_DROPPED = counter("penstock_records_dropped_total", Unit::Count,
        "user records dropped by the operator's own rule, by reason").by(&[DROPPED]);
    RECORDS_ABANDONED = counter("penstock_records_abandoned_total", Unit::Count,
        "user records given up unsettled, to be read again from the checkpoint, by reason").by(&[ABANDONED]);
    RECORDS_IN_FLIGHT = gauge("penstock_records_in_flight", Unit::Count, "user records read and not yet settled");

    // Leases.
    LEASES_HELD = gauge("penstock_leases_held", Unit::Count, "leases that this worker holds");
    LEASES_OPEN = gauge("penstock_leases_open", Unit::Count,
        "leases of the table whose shards are not read to their end, as this worker last saw it");
    LEASES_UNOWNED = gauge("penstock_leases_unowned", Unit::Count,
        "leases without a live owner, as this worker last saw the table");
    LEASES_GIVEN_UP = gauge("penstock_leases_given_up", Unit::Count,
        "leases that this worker cannot go on with and leaves to others for a while");
    WAITING_FOR_PARENTS = gauge("penstock_shards_waiting_for_parents", Unit::Count,
        "shards that wait until their parents are read to the end, as this worker last saw the table");
    WORKERS = gauge("penstock_workers", Unit::Count, "workers with a live lease, as this worker last saw the table");
    LAST_SCAN = gauge("penstock_last_scan_timestamp_seconds", Unit::Seconds,
        "Unix time at which the lease table was last seen whole, 0 before the first time");
    LEASES_TAKEN = counter("penstock_leases_taken_total", Unit::Count,
        "leases taken: that were free or given, or stolen from a live owner").by(&[TAKEN]);
    LEASES_WANTED = counter("penstock_leases_wanted_total", Unit::Count,
        "leases that this worker asked another one for");
    LEASES_HANDED_OVER = counter("penstock_leases_handed_over_total", Unit::Count,
        "leases that this worker gave to another one in order");
    LEASE_LOSSES = counter("penstock_lease_losses_total", Unit::Count, "leases lost, by reason").by(&[LOST]);
    HANDOFF_GAP_SECONDS = histogram("penstock_handoff_gap_seconds", Unit::Seconds, HANDOFF_GAP,
        "time for which nobody read a shard that changed hands, up to the first answer of the new owner");
    CHECKPOINTS = counter("penstock_checkpoints_total", Unit::Count, "checkpoints stored");

    // The sink.
    SINK_UP = gauge("penstock_sink_up", Unit::Count,
        "1 while the sink takes what is delivered, 0 while it does not or was not asked yet");
    SINK_CALL_SECONDS = histogram("penstock_sink_call_seconds", Unit::Seconds, SINK_CALL,
        "how long calls to the sink took that were answered");
    DELIVERY_ERRORS = counter("penstock_delivery_errors_total", Unit::Count,
        "calls to the sink that failed, by class").by(&[DELIVERY_CLASS]);
    OBJECTS = counter("penstock_objects_total", Unit::Count,
        "objects put, by what closed their batch").by(&[CLOSED_BY]);
    OBJECT_SIZE = histogram("penstock_object_bytes", Unit::Bytes, OBJECT_BYTES, "size of the objects put, as stored");
    SINK_WAIT = counter("penstock_sink_wait_milliseconds_total", Unit::Milliseconds,
        "time that shards held a full batch and waited for the sink");
    FIREHOSE_RECORDS = counter("penstock_firehose_records_total", Unit::Count,
        "Firehose records that the delivery stream took, each of one or many user records");
    FIREHOSE_PAYLOAD = counter("penstock_firehose_payload_bytes_total", Unit::Bytes,
        "content of the Firehose records that the delivery stream took");
    FIREHOSE_BILLED = counter("penstock_firehose_billed_bytes_total", Unit::Bytes,
        "the same as Firehose bills it, each of its records rounded up to the next 5 KiB");

    // Calls.
    CALL_ERRORS = counter("penstock_call_errors_total", Unit::Count,
        "failed calls, by operation and class").by(&[OPERATION, CLASS]).on_event();
    THROTTLES = counter("penstock_throttles_total", Unit::Count,
        "calls that a service refused for their pace, by service").by(&[SERVICE]);

    // Memory.
    MEMORY_USED = gauge("penstock_memory_used_bytes", Unit::Bytes, "bytes of the memory budget that are taken");
    MEMORY_BUDGET = gauge("penstock_memory_budget_bytes", Unit::Bytes, "the memory budget");
    BUDGET_WAIT = counter("penstock_budget_wait_milliseconds_total", Unit::Milliseconds,
        "time that readers waited for memory");

    // Gaps.
    GAPS = counter("penstock_gaps_total", Unit::Count,
        "ranges of records that may be missing by someone else's doing, by reason").by(&[GAP]);
    GAPS_OPEN = gauge("penstock_gaps_open", Unit::Count,
        "entries of the gap ledger that are not acknowledged, by reason, as this worker last read it").by(&[OPEN_GAP]);
    GAP_LEDGER_UP = gauge("penstock_gap_ledger_up", Unit::Count,
        "1 if the gap ledger could be read at the last attempt");

    // The worker and its process.
    READY = gauge("penstock_ready", Unit::Count, "1 while /readyz answers 200");
    STREAMS_UNAVAILABLE = gauge("penstock_streams_unavailable", Unit::Count,
        "streams that are gone, or were created again, so that nothing of them is read");
    KEEPER_IDLE = gauge("penstock_keeper_idle_seconds", Unit::Seconds,
        "time since the lease keeper's loop moved; /livez fails above 30");
    BUILD = gauge("penstock_build_info", Unit::Count,
        "always 1; which build this is").by(&[VERSION, COMMIT]).of_process();
    PROCESS_CPU = counter("process_cpu_seconds_total", Unit::Seconds, "CPU time of the process").of_process();
    PROCESS_MEMORY = gauge("process_resident_memory_bytes", Unit::Bytes,
        "memory of the process that is in RAM").of_process();
    PROCESS_START = gauge("process_start_time_seconds", Unit::Seconds,
        "Unix time at which the process started").of_process();
    PROCESS_OPEN_FDS = gauge("process_open_fds", Unit::Count, "file descriptors in use").of_process();
    PROCESS_MAX_FDS = gauge("process_max_fds", Unit::Count,
        "file descriptors that the process may have").of_process();
}

// === Labels ===

const PHASE: Label = Label { name: "phase", values: || ShardPhase::ALL.map(ShardPhase::as_str).to_vec() };
const STALLED_ON: Label = Label { name: "on", values: || Wait::counted().map(Wait::as_str).collect() };
const SET_ASIDE: Label = Label { name: "reason", values: || SetAsideReason::WORDS.to_vec() };
const DROPPED: Label = Label {
    name: "reason",
    values: || [DropReason::OutsideHashRange, DropReason::EmptyAggregate].map(DropReason::as_str).to_vec(),
};
const ABANDONED: Label = Label { name: "reason", values: || AbandonReason::ALL.map(AbandonReason::as_str).to_vec() };
const TAKEN: Label = Label { name: "how", values: || vec![FREE, STOLEN] };
const LOST: Label = Label {
    name: "reason",
    values: || {
        let all = [LossReason::Taken, LossReason::Expired, LossReason::Deleted, LossReason::Changed];
        all.map(LossReason::as_str).to_vec()
    },
};
const CLOSED_BY: Label = Label {
    name: "closed_by",
    values: || {
        let all = [SealReason::Size, SealReason::Interval, SealReason::Memory, SealReason::ShardEnd, SealReason::Drain];
        all.into_iter().map(SealReason::as_str).chain([REPLAY]).collect()
    },
};
const GAP: Label = Label { name: "reason", values: || GapReason::ALL.map(GapReason::as_str).to_vec() };
const OPEN_GAP: Label = Label {
    name: "reason",
    values: || GapReason::ALL.into_iter().filter(|reason| !reason.is_information()).map(GapReason::as_str).collect(),
};
const OPERATION: Label = Label { name: "operation", values: operation::all };
const CLASS: Label = Label { name: "class", values: classes };
const DELIVERY_CLASS: Label = Label { name: "class", values: classes };
const SERVICE: Label = Label { name: "service", values: || Service::REMOTE.map(Service::as_str).to_vec() };
const STREAM: Label = Label { name: "stream", values: Vec::new };
const SHARD: Label = Label { name: "shard", values: Vec::new };
const VERSION: Label = Label { name: "version", values: Vec::new };
const COMMIT: Label = Label { name: "commit", values: Vec::new };

/// A lease that nobody had, that expired, or that its owner gave.
pub(super) const FREE: &str = "free";
/// A lease whose owner was alive.
pub(super) const STOLEN: &str = "stolen";
/// What carrying out an intent counts as.
pub(crate) const REPLAY: &str = "replay";
/// A call of which a part was not taken.
pub(crate) const PARTIAL: &str = "partial";

fn classes() -> Vec<&'static str> {
    ErrorClass::ALL.into_iter().map(ErrorClass::as_str).chain([PARTIAL]).collect()
}

// === Entries ===

const fn metric(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, labels: &[], help, origin: Origin::Worker, unit }
}

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    metric(name, Kind::Counter, unit, help)
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    metric(name, Kind::Gauge, unit, help)
}

const fn histogram(name: &'static str, unit: Unit, buckets: &'static [f64], help: &'static str) -> Metric {
    metric(name, Kind::Histogram(buckets), unit, help)
}

impl Metric {
    const fn by(mut self, labels: &'static [Label]) -> Self {
        self.labels = labels;
        self
    }

    const fn from(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    const fn of_shards(self) -> Self {
        self.by(&[STREAM, SHARD]).from(Origin::Shard)
    }

    const fn of_process(self) -> Self {
        self.from(Origin::Process)
    }

    const fn on_event(self) -> Self {
        self.from(Origin::Event)
    }

    /// The largest number of lines that it has on a page of one worker that holds so many shards.
    #[must_use]
    pub fn most_series(&self, shards: usize) -> usize {
        let values = |label: &Label| (label.values)().len().max(1);
        let series: usize = self.labels.iter().map(values).product();
        match (self.origin, self.kind) {
            (Origin::Shard, _) => shards,
            // Its buckets, the one for everything, sum and count.
            (_, Kind::Histogram(buckets)) => series * (buckets.len() + 3),
            (_, Kind::Counter | Kind::Gauge) => series,
        }
    }

    /// Tells the installed recorder what it means.
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram(_) => metrics::describe_histogram!(self.name, self.unit, self.help),
        }
    }

    /// The handle of its one series.
    pub(super) fn counter(&self) -> Counter {
        debug_assert!(self.kind == Kind::Counter && self.labels.is_empty(), "{}", self.name);
        metrics::counter!(self.name)
    }

    /// The handle of its one series.
    pub(super) fn gauge(&self) -> Gauge {
        debug_assert!(self.kind == Kind::Gauge && self.labels.is_empty(), "{}", self.name);
        metrics::gauge!(self.name)
    }

    /// The handle of its one series.
    pub(super) fn histogram(&self) -> Histogram {
        debug_assert!(matches!(self.kind, Kind::Histogram(_)) && self.labels.is_empty(), "{}", self.name);
        metrics::histogram!(self.name)
    }

    /// The handle of the series with this value of its one label.
    pub(super) fn counter_of(&self, value: &'static str) -> Counter {
        debug_assert!(self.kind == Kind::Counter && self.allows(&[value]), "{} of {value}", self.name);
        metrics::counter!(self.name, self.labels[0].name => value)
    }

    /// The handle of the series with this value of its one label.
    pub(super) fn gauge_of(&self, value: &'static str) -> Gauge {
        debug_assert!(self.kind == Kind::Gauge && self.allows(&[value]), "{} of {value}", self.name);
        metrics::gauge!(self.name, self.labels[0].name => value)
    }

    /// The handle of the series with these values of its two labels.
    pub(super) fn counter_of_both(&self, values: [&'static str; 2]) -> Counter {
        debug_assert!(self.kind == Kind::Counter && self.allows(&values), "{} of {values:?}", self.name);
        let [first, second] = values;
        metrics::counter!(self.name, self.labels[0].name => first, self.labels[1].name => second)
    }

    fn allows(&self, values: &[&str]) -> bool {
        self.labels.len() == values.len()
            && self.labels.iter().zip(values).all(|(label, value)| (label.values)().contains(value))
    }
}
