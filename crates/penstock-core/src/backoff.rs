//! How long to wait before trying again: exponential growth with full jitter.
//!
//! Only the schedule: whether to retry, and how often, is the caller's decision. No clock is read here.

use std::time::Duration;

use crate::random::Random;

/// A schedule of delays that grow by `factor` from `base` up to `cap`.
///
/// Each delay is drawn evenly from zero up to the ceiling of its attempt ("full jitter"), which spreads a crowd of
/// clients better than jitter around the ceiling:
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base_nanos: u64,
    cap_nanos: u64,
    factor: u32,
}

/// Why a [`Backoff`] cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// The first ceiling would be zero, and every later one with it.
    #[error("the base of a backoff must be longer than zero")]
    ZeroBase,
    /// The delays would start above what they may grow to.
    #[error("the cap of a backoff ({cap:?}) is below its base ({base:?})")]
    CapBelowBase {
        /// The first ceiling asked for.
        base: Duration,
        /// The last ceiling asked for.
        cap: Duration,
    },
    /// The cap does not fit 64 bits of nanoseconds (584 years).
    #[error("the cap of a backoff ({cap:?}) is too long")]
    CapTooLong {
        /// The last ceiling asked for.
        cap: Duration,
    },
    /// A factor of 0 would shrink the delays to nothing.
    #[error("the factor of a backoff must be at least 1")]
    ZeroFactor,
}

impl Backoff {
    /// Makes a schedule, or says why these numbers are none. A `factor` of 1 keeps the ceiling at `base`.
    pub fn try_new(base: Duration, cap: Duration, factor: u32) -> Result<Self, BackoffError> {
        if base.is_zero() {
            return Err(BackoffError::ZeroBase);
        }
        if cap < base {
            return Err(BackoffError::CapBelowBase { base, cap });
        }
        if factor == 0 {
            return Err(BackoffError::ZeroFactor);
        }
        let nanos =
            |duration: Duration| u64::try_from(duration.as_nanos()).map_err(|_| BackoffError::CapTooLong { cap });
        Ok(Self { base_nanos: nanos(base)?, cap_nanos: nanos(cap)?, factor })
    }

    /// The longest delay before attempt `attempt`; 0 is the first retry.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let grown = u64::from(self.factor).saturating_pow(attempt).saturating_mul(self.base_nanos);
        Duration::from_nanos(grown.min(self.cap_nanos))
    }

    /// A delay before attempt `attempt` (0 is the first retry), anywhere from zero to its ceiling, both included.
    pub fn delay(&self, attempt: u32, random: &mut Random) -> Duration {
        // The ceiling was made from a u64 of nanoseconds; the saturation only matters at 584 years.
        let ceiling = u64::try_from(self.ceiling(attempt).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random.below(ceiling.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(base: u64, cap: u64, factor: u32) -> Result<Backoff, BackoffError> {
        Backoff::try_new(Duration::from_secs(base), Duration::from_secs(cap), factor)
    }

    #[test]
    fn ceilings_grow_by_the_factor_up_to_the_cap() {
        let backoff = seconds(1, 30, 3).unwrap();
        let ceilings: Vec<u64> = (0..6).map(|attempt| backoff.ceiling(attempt).as_secs()).collect();
        assert_eq!(ceilings, [1, 3, 9, 27, 30, 30]);
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn a_factor_of_one_stays_at_the_base() {
        assert_eq!(seconds(2, 30, 1).unwrap().ceiling(99), Duration::from_secs(2));
    }

    #[test]
    fn delays_fill_the_whole_range_below_their_ceiling() {
        let backoff = seconds(1, 8, 2).unwrap();
        let mut random = Random::seeded(1);
        let delays: Vec<Duration> = (0..1_000).map(|_| backoff.delay(3, &mut random)).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(8)));
        assert!(delays.iter().any(|delay| *delay < Duration::from_millis(100)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(7_900)));
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let backoff = seconds(1, 8, 2).unwrap();
        let delays = |seed| {
            let mut random = Random::seeded(seed);
            (0..20).map(|attempt| backoff.delay(attempt, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(delays(9), delays(9));
        assert_ne!(delays(9), delays(10));
    }

    #[test]
    fn the_longest_cap_does_not_overflow() {
        let longest = Duration::from_nanos(u64::MAX);
        let backoff = Backoff::try_new(longest, longest, u32::MAX).unwrap();
        assert!(backoff.delay(u32::MAX, &mut Random::seeded(1)) <= longest);
    }

    #[test]
    fn nonsense_is_refused_at_construction() {
        assert_eq!(seconds(0, 1, 2), Err(BackoffError::ZeroBase));
        assert!(matches!(seconds(2, 1, 2), Err(BackoffError::CapBelowBase { .. })));
        assert_eq!(seconds(1, 2, 0), Err(BackoffError::ZeroFactor));
        assert!(matches!(seconds(1, u64::MAX, 2), Err(BackoffError::CapTooLong { .. })));
    }
}
