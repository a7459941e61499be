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
        let now = self.board.clock.now();
        let shards = self.board.shard_statuses(now);
        let lag = self.board.lag(&shards, now.instant);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use penstock_core::coordinator::api::{LeaseStatus, StreamIndex};
    use penstock_core::ids::{LeaseKey, LeaseToken, StreamName};
    use penstock_core::position::Position;

    use super::super::{Board, ShardCell, ShardPhase};
    use super::*;
    use crate::budget::MemoryBudget;
    use crate::clock::Clock;
    use crate::fakes::{START, settings};
    use crate::metrics::Metrics;
    use crate::metrics::recorded::Recorded;

    fn board(recorder: &Recorded, per_shard_metrics: bool) -> Arc<Board> {
        let settings = crate::settings::WorkerSettings { per_shard_metrics, ..settings("w-1") };
        let clock = Clock::simulated(START);
        let metrics = metrics::with_local_recorder(recorder, || Arc::new(Metrics::register()));
        let budget = MemoryBudget::new(settings.memory_budget, clock.clone(), metrics.memory_used.clone()).unwrap();
        Board::new(&settings, &[StreamName::new("clicks")], clock, metrics, budget)
    }

    fn hold(board: &Board, shards: u64) -> Vec<Arc<ShardCell>> {
        let start = |number: u64| {
            let key = LeaseKey::new(&format!("shardId-{number:012}"));
            let now = board.clock.now();
            let cell = ShardCell::new(key, StreamName::new("clicks"), Position::TrimHorizon, None, now.instant);
            let _first = cell.answered(now, Duration::from_millis(number), 10);
            board.shard_started(LeaseToken::forged(number), Arc::clone(&cell));
            cell
        };
        (0..shards).map(start).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_has_two_series_and_none_once_it_is_given_away_or_if_they_are_not_wanted() {
        let recorder = Recorded::default();
        let board = board(&recorder, true);
        hold(&board, 5_000);
        assert_eq!(board.handle().shard_series().len(), 10_000);
        (0..4_999).for_each(|number| board.shard_stopped(LeaseToken::forged(number)));
        assert!(board.handle().shard_series().iter().all(|sample| sample.labels == ["clicks", "shardId-000000004999"]));
        let quiet = self::board(&recorder, false);
        hold(&quiet, 10);
        assert!(quiet.handle().shard_series().is_empty());
        quiet.handle().refresh_gauges();
        assert!((recorder.gauge("penstock_lag_milliseconds{}") - 9.0).abs() < f64::EPSILON, "the largest is there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_waits_for_the_ledger_falls_behind_since_it_was_taken() {
        let recorder = Recorded::default();
        let board = board(&recorder, true);
        let waits = |waits_for_ledger| LeaseStatus {
            key: LeaseKey::new("shardId-000000000000"),
            stream: StreamIndex::default(),
            owner: None,
            checkpoint: Position::TrimHorizon,
            held: true,
            waits_for_parents: false,
            waits_for_ledger,
            intent_open: false,
            hash_range: None,
            parents: Vec::new(),
            arrival: None,
            lag: None,
            throughput: None,
            wanted: None,
        };
        let lag = || {
            board.handle().refresh_gauges();
            recorder.gauge("penstock_lag_milliseconds{}")
        };
        for (waits_for_ledger, expected) in [(true, 0.0), (true, 5_000.0), (false, 0.0)] {
            board.leases_are(vec![waits(waits_for_ledger)]);
            assert!((lag() - expected).abs() < f64::EPSILON, "{}", lag());
            tokio::time::advance(Duration::from_secs(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gauges_are_those_of_the_moment_in_which_somebody_asks() {
        let recorder = Recorded::default();
        let board = board(&recorder, true);
        let cells = hold(&board, 3);
        let gauge = |name: &str| {
            board.handle().refresh_gauges();
            recorder.gauge(&format!("penstock_{name}"))
        };
        let is = |name: &str, value: f64| assert!((gauge(name) - value).abs() < 0.001, "{name}: {}", gauge(name));
        is("shards{phase=waiting_for_sink}", 3.0);
        is("sink_up{}", 0.0);
        is("ready{}", 0.0);
        is("last_scan_timestamp_seconds{}", 0.0);
        is("gap_ledger_up{}", 1.0);

        cells[0].note(|facts| {
            facts.phase = ShardPhase::Running;
            facts.oldest_unsettled = Some(START);
        });
        cells[1].halted("a record".to_owned());
        board.sink_is(SinkStatus::Ready);
        board.scanned(1, 2);
        let scanned = unix_seconds(board.clock.now().wall);
        board.keeper_moved(board.clock.now().instant);
        tokio::time::sleep(Duration::from_secs(7)).await;
        is("shards{phase=running}", 1.0);
        is("shards{phase=halted}", 1.0);
        is("unsettled_age_seconds{}", 7.0);
        is("keeper_idle_seconds{}", 7.0);
        is("sink_up{}", 1.0);
        is("ready{}", 1.0);
        is("last_scan_timestamp_seconds{}", scanned);
        is("memory_budget_bytes{}", count_as_f64(board.budget.budget()));

        let reason = "an intent that nobody can carry out".to_owned();
        board.lease_given_up(LeaseKey::new("shardId-000000000009"), reason, Duration::from_secs(60));
        board.gap_problem("denied".to_owned());
        is("leases_given_up{}", 1.0);
        is("gap_ledger_up{}", 0.0);
        is("ready{}", 0.0);
        tokio::time::sleep(Duration::from_secs(61)).await;
        is("leases_given_up{}", 0.0);
    }
}
