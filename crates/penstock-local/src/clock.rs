//! Time of the local endpoints: a moment, and the clock that is asked for it once per request.
//! State never reads a clock; it is handed a `Time`. A clock never goes back, so that arrival times and throttles
//! are ordered even if the system's time is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A moment: nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The moment so many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// The moment so many seconds after the Unix epoch, as the JSON protocol writes timestamps; rounded to the
    /// millisecond. `None` if it is before the epoch or not a number.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let millis = (seconds * 1000.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        (0.0..1e15).contains(&millis).then(|| Self::from_millis(millis as u64))
    }

    /// Whole milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / NANOS_PER_MILLI
    }

    /// Seconds since the Unix epoch with milliseconds as fraction, as the JSON protocol writes timestamps.
    pub fn as_seconds(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 need 41 bits")]
        let millis = self.as_millis() as f64;
        millis / 1000.0
    }

    /// The moment `span` later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The moment `span` earlier, at least the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// How long ago `earlier` was; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells the time to the endpoints: the system's, or one that a test moves.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System { latest: AtomicU64 },
    Manual { now: AtomicU64 },
}

impl Clock {
    /// The system's clock, kept from going back.
    pub fn system() -> Self {
        Self(Arc::new(Source::System { latest: AtomicU64::new(0) }))
    }

    /// A clock that stands at `start` until it is moved by [`Clock::advance`].
    pub fn manual(start: Time) -> Self {
        Self(Arc::new(Source::Manual { now: AtomicU64::new(start.0) }))
    }

    /// The present moment; never before one told earlier.
    pub fn now(&self) -> Time {
        match &*self.0 {
            Source::System { latest } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
                Time(latest.fetch_max(now, Ordering::Relaxed).max(now))
            }
            Source::Manual { now } => Time(now.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock forward; the system's clock is left alone.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual { now } = &*self.0 {
            now.fetch_add(nanos(span), Ordering::Relaxed);
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_the_millisecond() {
        let time = Time::from_millis(1_790_000_000_123);
        assert_eq!(Time::from_seconds(time.as_seconds()), Some(time));
        assert_eq!(Time::from_seconds(-1.0), None);
        assert_eq!(Time::from_seconds(f64::NAN), None);
        assert_eq!(Time::from_seconds(1e300), None);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Time::from_millis(5));
        assert_eq!(clock.now(), Time::from_millis(5));
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.now(), Time::from_millis(12));
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first > Time::from_millis(1_600_000_000_000));
    }
}
