//! What metrics show of a worker when somebody asks: gauges that are set then, and the series of single shards.

use std::sync::atomic::Ordering;
use std::time::Duration;

use penstock_core::time::Instant;

use super::{ShardStatus, SinkStatus, StatusHandle};
use crate::metrics::{Sample, catalogue, count_as_f64, unix_seconds};

impl StatusHandle {
    /// Brings the gauges up to date that nobody sets as things happen. Called before metrics are rendered, and now and then.
    pub fn refresh_gauges(&self) {
        self.refresh_shards();
        self.refresh_facts();
        let gauges = &self.board.metrics.gauges;
        gauges.memory_budget.set(count_as_f64(self.board.budget.budget()));
        gauges.ready.set(flag(self.obstacles().is_empty()));
        let moved = self.board.keeper_moved.load(Ordering::Relaxed);
        let idle =
            if moved == 0 { Duration::ZERO } else { self.board.clock.now().instant.since(Instant::from_nanos(moved)) };
        gauges.keeper_idle.set(idle.as_secs_f64());
    }

    fn refresh_shards(&self) {
        let gauges = &self.board.metrics.gauges;
        let shards = self.board.shard_statuses(self.board.clock.now());
        let lag = shards.iter().map(|shard| shard.lag).max().unwrap_or_default();
        gauges.lag.set(lag.as_secs_f64() * 1000.0);
        let unsettled = shards.iter().map(|shard| shard.oldest_unsettled).max().unwrap_or_default();
        gauges.unsettled.set(unsettled.as_secs_f64());
        for (phase, gauge) in &gauges.shards {
            gauge.set(count(shards.iter().filter(|shard| shard.phase == *phase).count()));
        }
    }

    fn refresh_facts(&self) {
        let now = self.board.clock.now();
        let gauges = &self.board.metrics.gauges;
        let facts = self.board.facts();
        gauges.leases_given_up.set(count(facts.given_up(now.instant).count()));
        gauges.waiting_for_parents.set(count(facts.leases.iter().filter(|lease| lease.waits_for_parents).count()));
        let unavailable = facts.streams.iter().filter(|stream| stream.problem(now.instant).is_some()).count();
        gauges.streams_unavailable.set(count(unavailable));
        let last_scan = facts.scanned.map_or(0.0, |at| unix_seconds(now.wall) - now.instant.since(at).as_secs_f64());
        gauges.last_scan.set(last_scan);
        gauges.sink_up.set(flag(facts.sink == SinkStatus::Ready));
        gauges.gap_ledger_up.set(flag(facts.gap_problem.is_none()));
    }

    /// The series of single shards, as they stand now: only those of shards that are held; none if they are not wanted.
    #[must_use]
    pub fn shard_series(&self) -> Vec<Sample> {
        if !self.board.per_shard_metrics {
            return Vec::new();
        }
        let sample = |metric, shard: &ShardStatus, value| Sample {
            metric,
            labels: vec![shard.stream.to_string(), shard.shard.to_string()],
            value,
        };
        let shards = self.board.shard_statuses(self.board.clock.now());
        let ages = shards.iter().filter_map(|shard| {
            let behind = shard.behind?;
            Some(sample(&catalogue::ITERATOR_AGE, shard, behind.as_secs_f64() * 1000.0))
        });
        let unsettled = shards
            .iter()
            .map(|shard| sample(&catalogue::OLDEST_UNSETTLED, shard, shard.oldest_unsettled.as_secs_f64()));
        ages.chain(unsettled).collect()
    }
}

fn count(of: usize) -> f64 {
    count_as_f64(of as u64)
}

const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
