//! When the coordinator does what: every interval is a share of the failover time, and every one is jittered.
//!
//! All instants are of one process's own clock. Wall time decides nothing here.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::random::Random;
use crate::time::Instant;

/// How often the leader lists shards and looks for missing and superfluous rows.
const AUDIT_INTERVAL: Duration = Duration::from_secs(30);

/// Longer failover times do not lengthen the delays of retries any further.
const LONGEST_FOR_BACKOFF: Duration = Duration::from_secs(3600);

/// The intervals that follow from a failover time.
#[derive(Debug)]
pub(super) struct Timing {
    failover: Duration,
    backoff: Backoff,
}

impl Timing {
    pub(super) fn new(failover: Duration) -> Self {
        let base = (failover.min(LONGEST_FOR_BACKOFF) / 40).max(Duration::from_millis(1));
        let cap = (failover.min(LONGEST_FOR_BACKOFF) / 6).max(base);
        let backoff =
            Backoff::try_new(base, cap, 2).expect("the base is above zero and the cap between base and ten minutes");
        Self { failover, backoff }
    }

    pub(super) const fn failover(&self) -> Duration {
        self.failover
    }

    /// The local deadline of a lease that a write first sent at `proved` has proved. Others may take it a failover time
    /// after they saw that write, which is later than `proved`; a twentieth is kept back for clocks that differ in speed and
    /// for what happens between a look at the deadline and its effect.
    pub(super) fn until(&self, proved: Instant) -> Instant {
        proved.after(self.failover - self.failover / 20)
    }

    /// Whether a row that looks the same since `since` counts as expired.
    pub(super) fn is_expired(&self, since: Instant, now: Instant) -> bool {
        now.since(since) > self.failover
    }

    /// Half a failover time from now, give or take a tenth.
    pub(super) fn next_scan(&self, now: Instant, random: &mut Random) -> Instant {
        now.after(around(self.failover / 2, random))
    }

    /// When the leader lists next.
    pub(super) fn next_audit(&self, now: Instant, random: &mut Random) -> Instant {
        now.after(around(AUDIT_INTERVAL, random))
    }

    /// A third of a failover time after the last proof, or up to a tenth of that sooner.
    pub(super) fn next_renewal(&self, proved: Instant, random: &mut Random) -> Instant {
        let interval = self.failover / 3;
        proved.after(interval - below(interval / 10, random))
    }

    /// When to send again after `failures` failures in a row (0 is the first).
    pub(super) fn retry(&self, now: Instant, failures: u32, random: &mut Random) -> Instant {
        now.after(self.backoff.delay(failures, random))
    }
}

/// Between nine and eleven tenths of `interval`.
fn around(interval: Duration, random: &mut Random) -> Duration {
    interval - interval / 10 + below(interval / 5, random)
}

fn below(bound: Duration, random: &mut Random) -> Duration {
    Duration::from_nanos(random.below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_deadline_comes_before_others_may_take_the_lease() {
        let timing = Timing::new(Duration::from_secs(10));
        let proved = Instant::from_nanos(5);
        assert_eq!(timing.until(proved), proved.after(Duration::from_millis(9_500)));
        assert!(!timing.is_expired(proved, proved.after(Duration::from_secs(10))));
        assert!(timing.is_expired(proved, proved.after(Duration::from_nanos(10_000_000_001))));
    }

    #[test]
    fn intervals_are_jittered_within_a_tenth() {
        let timing = Timing::new(Duration::from_secs(30));
        let (mut random, zero) = (Random::seeded(1), Instant::default());
        for _ in 0..1_000 {
            let seconds = |instant: Instant| instant.since(zero).as_secs_f64();
            assert!((13.5..=16.5).contains(&seconds(timing.next_scan(zero, &mut random))));
            assert!((27.0..=33.0).contains(&seconds(timing.next_audit(zero, &mut random))));
            assert!((9.0..=10.0).contains(&seconds(timing.next_renewal(zero, &mut random))));
        }
    }

    #[test]
    fn the_shortest_and_the_longest_failover_time_make_a_timing() {
        for failover in [Duration::ZERO, Duration::MAX] {
            let timing = Timing::new(failover);
            timing.retry(Instant::default(), 50, &mut Random::seeded(1));
            timing.next_renewal(timing.until(Instant::default()), &mut Random::seeded(1));
        }
    }
}
