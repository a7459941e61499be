//! `/api/status`: the worker's snapshot as JSON.

use std::time::Duration;

use penstock_core::coordinator::api::LeaseStatus;
use penstock_engine::status::{ShardStatus, SinkStatus, Status};
use serde_json::{Value, json};

/// The snapshot. Durations in milliseconds, sizes in bytes, as the names say.
pub(super) fn json(status: &Status) -> Value {
    let (sink, sink_problem) = match &status.sink {
        SinkStatus::Unknown => ("unknown", None),
        SinkStatus::Ready => ("ready", None),
        SinkStatus::Down(problem) => ("down", Some(problem)),
    };
    json!({
        "worker": status.worker.as_str(),
        "stream": status.stream.as_ref().map(|stream| stream.as_str()),
        "started": status.started,
        "draining": status.draining,
        "keeper_idle_milliseconds": status.keeper_idle.map(millis),
        "lag_milliseconds": millis(status.lag),
        "memory": { "used_bytes": status.memory_used, "budget_bytes": status.memory_budget },
        "sink": { "state": sink, "problem": sink_problem },
        "problems": {
            "leases": status.lease_problem,
            "stream": status.stream_problem,
        },
        "records": {
            "fetched": status.totals.fetched,
            "delivered": status.totals.delivered,
            "set_aside": status.totals.set_aside,
            "dropped": status.totals.dropped,
            "abandoned": status.totals.abandoned,
            "in_flight": status.totals.in_flight,
        },
        "gaps": status.totals.gaps,
        "workers": status.workers,
        "leases_unowned": status.unowned,
        "shards": status.shards.iter().map(shard).collect::<Vec<_>>(),
        "leases": status.leases.iter().map(|of| lease(of, status)).collect::<Vec<_>>(),
    })
}

fn shard(shard: &ShardStatus) -> Value {
    json!({
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
        "checkpoint": lease.checkpoint.to_string(),
        "held": lease.held,
        "waits_for_parents": lease.waits_for_parents,
        "intent_open": lease.intent_open,
        "problem": given_up.map(|(_, reason)| format!("given up: {reason}")),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
