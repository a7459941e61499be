//! `/api/status`: the worker's snapshot as JSON.

use std::time::Duration;

use penstock_core::coordinator::api::LeaseStatus;
use penstock_core::throughput::Throughput;
use penstock_engine::status::{ShardStatus, SinkStatus, Status, StreamStatus};
use serde_json::{Value, json};

use crate::commands::leases::gap_to_json;

/// The snapshot. Durations in milliseconds, sizes in bytes, as the names say.
pub(super) fn json(status: &Status) -> Value {
    let (sink, sink_problem) = match &status.sink {
        SinkStatus::Unknown => ("unknown", None),
        SinkStatus::Ready => ("ready", None),
        SinkStatus::Down(problem) => ("down", Some(problem)),
    };
    json!({
        "worker": status.worker.as_str(),
        "streams": status.streams.iter().map(stream).collect::<Vec<_>>(),
        "started": status.started,
        "draining": status.draining,
        "keeper_idle_milliseconds": status.keeper_idle.map(millis),
        "lag_milliseconds": millis(status.lag),
        "memory": { "used_bytes": status.memory_used, "budget_bytes": status.memory_budget },
        "sink": { "state": sink, "problem": sink_problem },
        "problems": {
            "leases": status.lease_problem,
            "gap_ledger": status.gap_problem,
        },
        "records": {
            "fetched": status.totals.fetched,
            "delivered": status.totals.delivered,
            "set_aside": status.totals.set_aside,
            "dropped": status.totals.dropped,
            "abandoned": status.totals.abandoned,
            "in_flight": status.totals.in_flight,
        },
        "gaps": {
            "open": status.open_gaps,
            "entries": status.gaps.iter().map(gap_to_json).collect::<Vec<_>>(),
            "noticed_by_reason": status.totals.gaps,
        },
        "workers": status.workers,
        "leases_unowned": status.unowned,
        "shards": status.shards.iter().map(shard).collect::<Vec<_>>(),
        "leases": status.leases.iter().map(|of| lease(of, status)).collect::<Vec<_>>(),
    })
}

fn stream(stream: &StreamStatus) -> Value {
    json!({ "stream": stream.name.as_str(), "problem": stream.problem })
}

fn shard(shard: &ShardStatus) -> Value {
    json!({
        "lease": shard.lease.as_str(),
        "stream": shard.stream.as_str(),
        "shard": shard.shard.as_str(),
        "phase": shard.phase.as_str(),
        "checkpoint": shard.checkpoint.to_string(),
        "position": shard.position.as_ref().map(ToString::to_string),
        "lag_milliseconds": millis(shard.lag),
        "iterator_age_milliseconds": shard.behind.map(millis),
        "open_batch": { "bytes": shard.open_bytes, "records": shard.open_records },
        "records_in_flight": shard.in_flight,
        "oldest_unsettled_milliseconds": millis(shard.oldest_unsettled),
        "problem": shard.problem,
        "restarts": shard.restarts,
    })
}

fn lease(lease: &LeaseStatus, status: &Status) -> Value {
    let given_up = status.given_up.iter().find(|(key, _)| *key == lease.key);
    json!({
        "lease": lease.key.as_str(),
        "owner": lease.owner.as_ref().map(|owner| owner.as_str()),
        "stream": status.streams.get(lease.stream.0).map(|stream| stream.name.as_str()),
        "shard": lease.key.shard_id().as_str(),
        "parents": lease.parents.iter().map(|parent| parent.as_str()).collect::<Vec<_>>(),
        "hash_range": lease.hash_range.map(|range| [range.start.to_string(), range.end.to_string()]),
        "wanted_by": lease.wanted.as_ref().map(|worker| worker.as_str()),
        "checkpoint": lease.checkpoint.to_string(),
        "arrival_milliseconds": lease.arrival.map(|arrival| arrival.0),
        "lag_milliseconds": lease.lag,
        "throughput_kib_per_second": lease.throughput.map(Throughput::kib_per_second),
        "held": lease.held,
        "waits_for_parents": lease.waits_for_parents,
        "intent_open": lease.intent_open,
        "problem": given_up.map(|(_, reason)| format!("given up: {reason}")),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
