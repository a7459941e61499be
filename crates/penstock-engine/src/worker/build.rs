//! What a worker is built of: what shards deliver into, and what the coordinator and its calls are told.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::coordinator::api::{CoordinatorSettings, InitialPosition, StreamSettings};
use penstock_core::random::Random;
use tokio::task::JoinSet;

use super::running::Service;
use crate::packer::{Packer, PackerParts};
use crate::ports::{SetAside, SinkPort};
use crate::settings::{KeyForm, TimeOuts, WorkerSettings};
use crate::shard::context::{Stream, WorkerContext};
use crate::shard::deliverer::calls::CallRoute;
use crate::shard::pipeline::ShardSink;

/// What shards deliver into; for a call sink with its packer, which serves all of them.
pub(super) fn shard_sink(
    ctx: &Arc<WorkerContext>,
    sink: SinkPort,
    set_aside: Option<Arc<dyn SetAside>>,
    services: &mut JoinSet<Service>,
) -> ShardSink {
    let sink = match sink {
        SinkPort::Objects(sink) => return ShardSink::Objects(sink),
        SinkPort::Calls(sink) => sink,
    };
    let (packer, handle) = Packer::new(PackerParts {
        sink,
        settings: ctx.settings.calls.clone(),
        time_out: ctx.settings.time_outs.call,
        clock: ctx.clock.clone(),
        gate: ctx.gate.clone(),
        board: Arc::clone(&ctx.board),
        metrics: Arc::clone(&ctx.metrics),
        random: Random::seeded(ctx.settings.seed ^ 0x7061_636b_0000),
    });
    services.spawn(async move {
        packer.run().await;
        Service::Done
    });
    ShardSink::Calls(CallRoute { packer: handle, set_aside })
}

pub(super) fn coordinator_settings(
    settings: &WorkerSettings,
    streams: &[Arc<Stream>],
    starts: &[InitialPosition],
) -> CoordinatorSettings {
    let leases = &settings.leases;
    let stream = |(stream, initial_position): (&Arc<Stream>, &InitialPosition)| StreamSettings {
        name: stream.description.name.clone(),
        id: (leases.keys == KeyForm::Multi).then(|| stream.description.stream_id()),
        created: stream.description.created,
        initial_position: *initial_position,
    };
    CoordinatorSettings {
        worker: settings.worker.clone(),
        failover_time: leases.failover_time,
        max_leases: leases.max_leases,
        max_steals_per_cycle: leases.max_steals_per_cycle,
        streams: streams.iter().zip(starts).map(stream).collect(),
        mode: leases.mode,
        longest_linger: longest_linger(settings),
        seed: settings.seed,
    }
}

/// A worker that ends leaves most of the grace period for settling; others need a failover time at most to take over.
fn longest_linger(settings: &WorkerSettings) -> Duration {
    (settings.grace_period / 3).min(settings.leases.failover_time)
}

/// A lease must survive a write that hangs: it is sent again well before the lease could expire.
pub(super) fn lease_time_outs(settings: &WorkerSettings) -> TimeOuts {
    let lease = settings.time_outs.lease.min(settings.leases.failover_time / 4);
    TimeOuts { lease, ..settings.time_outs.clone() }
}
