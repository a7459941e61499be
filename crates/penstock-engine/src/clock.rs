//! The clock of a worker: one that also runs while the machine is suspended, or tokio's own time for simulations.
//!
//! Read once per event and handed to core as [`Now`]; nothing else in the engine reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_core::time::{Instant, Now, UnixMillis};

/// How long the process sleeps at most before it looks at the clock again. Timers do not count suspended time, so this is how
/// late a deadline is noticed after a suspend.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// Where a worker's time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's: `CLOCK_BOOTTIME` and the wall clock.
    Boot,
    /// Tokio's time, which a test can pause, and a wall clock that runs along with it.
    Simulated {
        /// The zero of the clock.
        origin: tokio::time::Instant,
        /// The wall clock at `origin`.
        wall: UnixMillis,
    },
}

impl Clock {
    /// A clock that follows tokio's time from here on; its wall clock starts at `wall`.
    #[must_use]
    pub fn simulated(wall: UnixMillis) -> Self {
        Self::Simulated { origin: tokio::time::Instant::now(), wall }
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::Boot => Now { instant: boot_instant(), wall: wall_clock() },
            Self::Simulated { origin, wall } => {
                let elapsed = origin.elapsed();
                let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
                Now { instant: Instant::default().after(elapsed), wall: UnixMillis(wall.0.saturating_add(millis)) }
            }
        }
    }

    /// Waits until the clock has reached `at`, looking again after every nap: a suspended machine is late by one nap at most.
    ///
    /// Cancel-safe.
    pub async fn sleep_until(&self, at: Instant) {
        loop {
            let left = at.since(self.now().instant);
            if left.is_zero() {
                return;
            }
            let nap = match self {
                Self::Boot => left.min(LONGEST_NAP),
                Self::Simulated { .. } => left,
            };
            tokio::time::sleep(nap).await;
        }
    }

    /// Waits for `duration` on this clock. Cancel-safe, but starts anew each time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().instant.after(duration)).await;
    }

    /// Waits until `at`, or for ever if there is nothing to wait for. Cancel-safe.
    pub async fn sleep_until_some(&self, at: Option<Instant>) {
        match at {
            Some(at) => self.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(target_os = "linux")]
const SUSPEND_AWARE: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// Where there is no `CLOCK_BOOTTIME`, the monotonic clock: on macOS it counts suspended time.
#[cfg(not(target_os = "linux"))]
const SUSPEND_AWARE: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

fn boot_instant() -> Instant {
    let time = rustix::time::clock_gettime(SUSPEND_AWARE);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_moves_with_tokio_on_both_clocks() {
        let clock = Clock::simulated(UnixMillis(1_000));
        let before = clock.now();
        clock.sleep(Duration::from_millis(2_500)).await;
        let after = clock.now();
        assert_eq!(after.instant.since(before.instant), Duration::from_millis(2_500));
        assert_eq!((before.wall, after.wall), (UnixMillis(1_000), UnixMillis(3_500)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_past_is_not_waited_for() {
        let clock = Clock::simulated(UnixMillis(0));
        clock.sleep(Duration::from_secs(5)).await;
        let before = clock.now();
        clock.sleep_until(Instant::from_nanos(1)).await;
        assert_eq!(clock.now(), before);
    }

    #[test]
    fn the_boot_clock_does_not_go_back() {
        let (one, other) = (Clock::Boot.now(), Clock::Boot.now());
        assert!(other.instant >= one.instant);
        assert!(one.wall.0 > 1_500_000_000_000);
    }
}
