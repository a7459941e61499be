//! When the coordinator does what: every interval is a share of the failover time, and every one is jittered.
//!
//! All instants are of one process's own clock. Wall time decides nothing here.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::mutant::{self, Mutant};
use crate::random::Random;
use crate::time::Instant;

/// How often the leader lists shards and looks for missing and superfluous rows.
const AUDIT_INTERVAL: Duration = Duration::from_secs(30);

/// The bounds of the interval of scans while a release is likely.
const SHORTEST_QUICK_SCAN: Duration = Duration::from_millis(100);
const LONGEST_QUICK_SCAN: Duration = Duration::from_millis(500);

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
        if mutant::is(Mutant::ExpiredIsRenewed) {
            return proved.after(self.failover * 10);
        }
        proved.after(self.failover - self.failover / 20)
    }

    /// Whether a row that looks the same since `since` counts as expired.
    pub(super) fn is_expired(&self, since: Instant, now: Instant) -> bool {
        now.since(since) > self.failover
    }

    /// When a row that has looked the same since `since` will count as expired.
    pub(super) fn expiry(&self, since: Instant) -> Instant {
        since.after(self.failover).after(Duration::from_nanos(1))
    }

    /// Half a failover time from now, or up to a tenth of that sooner: a lease expires a failover time after a scan that showed
    /// it alive, and that scan ended no later than half a failover time after the last write of its holder.
    pub(super) fn next_scan(&self, now: Instant, random: &mut Random) -> Instant {
        let interval = self.failover / 2;
        now.after(interval - below(interval / 10, random))
    }

    /// The interval of scans while a release is likely, if the last one took `took`. What it costs: a scan of a hundred leases
    /// reads some 50 KiB, so that a worker reads 100 KiB a second for the few seconds that a handover takes. Where a scan
    /// takes long it is not repeated at once: four fifths of the time are left to others.
    pub(super) fn quick_scan(&self, took: Duration) -> Duration {
        (self.failover / 20).clamp(SHORTEST_QUICK_SCAN, LONGEST_QUICK_SCAN).max(took.saturating_mul(4))
    }

    /// How long quick scans go on for one cause.
    pub(super) fn patience(&self) -> Duration {
        self.failover.saturating_mul(3)
    }

    /// How long a lease that has changed hands is not asked for, and not given away.
    pub(super) fn rest(&self) -> Duration {
        self.failover.saturating_mul(2)
    }

    /// How long a holder may leave a wish unanswered: two renewals.
    pub(super) fn force_after(&self) -> Duration {
        self.failover / 3 * 2
    }

    /// How long a worker that ends goes on reading, so that a scan of every other worker has shown its heirs.
    pub(super) fn linger(&self, longest: Duration) -> Duration {
        longest.min(self.failover / 2 + self.failover / 20 + LONGEST_QUICK_SCAN / 2)
    }

    /// The time over which a throughput is measured, at the least: a little less than a renewal interval.
    pub(super) fn measured_over(&self) -> Duration {
        self.failover / 4
    }

    /// When the leader lists next.
    pub(super) fn next_audit(&self, now: Instant, random: &mut Random) -> Instant {
        now.after(around(AUDIT_INTERVAL, random))
    }

    /// When to list again, or to ask the gap ledger again, after `failures` failures in a row (0 is the first): a tenth of a
    /// failover time, twice as long each time, up to the interval of the audit.
    pub(super) fn next_listing(&self, now: Instant, failures: u32, random: &mut Random) -> Instant {
        let longest = AUDIT_INTERVAL.max(self.failover / 10);
        let delay = (self.failover / 10).saturating_mul(1 << failures.min(16)).min(longest);
        now.after(around(delay, random))
    }

    /// A third of a failover time after the last proof, or up to a tenth of that sooner.
    pub(super) fn next_renewal(&self, proved: Instant, random: &mut Random) -> Instant {
        let interval = self.failover / 3;
        proved.after(interval - below(interval / 10, random))
    }

    /// When a lease that was just taken is renewed first: at any time within the interval, so that the renewals of leases that
    /// were taken together spread.
    pub(super) fn first_renewal(&self, taken: Instant, random: &mut Random) -> Instant {
        let interval = self.failover / 3;
        taken.after(interval - below(interval - interval / 10, random))
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
            assert!((13.5..=15.0).contains(&seconds(timing.next_scan(zero, &mut random))));
            assert!((27.0..=33.0).contains(&seconds(timing.next_audit(zero, &mut random))));
            assert!((9.0..=10.0).contains(&seconds(timing.next_renewal(zero, &mut random))));
            assert!((1.0..=10.0).contains(&seconds(timing.first_renewal(zero, &mut random))));
        }
    }

    #[test]
    fn quick_scans_are_bounded_and_never_take_most_of_the_time() {
        let quick = |failover, took| {
            Timing::new(Duration::from_secs(failover)).quick_scan(Duration::from_millis(took)).as_millis()
        };
        assert_eq!([quick(1, 0), quick(5, 0), quick(60, 0), quick(10, 400)], [100, 250, 500, 1_600]);
    }

    #[test]
    fn what_fails_is_asked_for_less_and_less_often() {
        let timing = Timing::new(Duration::from_secs(10));
        let (mut random, zero) = (Random::seeded(1), Instant::default());
        for (failures, seconds) in [(0, 1.0), (1, 2.0), (4, 16.0), (5, 30.0), (u32::MAX, 30.0)] {
            let delay = timing.next_listing(zero, failures, &mut random).since(zero).as_secs_f64();
            assert!((seconds * 0.9..=seconds * 1.1).contains(&delay), "{failures}: {delay}");
        }
    }

    #[test]
    fn the_shortest_and_the_longest_failover_time_make_a_timing() {
        for failover in [Duration::ZERO, Duration::MAX] {
            let timing = Timing::new(failover);
            timing.retry(Instant::default(), 50, &mut Random::seeded(1));
            timing.next_listing(Instant::default(), 50, &mut Random::seeded(1));
            timing.next_renewal(timing.until(Instant::default()), &mut Random::seeded(1));
        }
    }
}
