//! What is read through a lease, as the KCL 3 records it: KiB per second with at most six decimals, smoothed over renewals.

use std::fmt;
use std::time::Duration;

/// Millionths of a KiB per second. An integer, so that rows can be compared whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Throughput(u64);

impl Throughput {
    /// So many millionths of a KiB per second.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Millionths of a KiB per second.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// KiB per second.
    #[must_use]
    pub fn kib_per_second(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `bytes` read within a time; `None` for no time.
    #[must_use]
    pub fn of(bytes: u64, within: Duration) -> Option<Self> {
        let nanos = within.as_nanos();
        // micro-KiB per second = bytes / 1024 * 1e6 / seconds, rounded half up.
        let scaled = u128::from(bytes) * 1_000_000 * 1_000_000_000;
        let divisor = nanos.checked_mul(1024).filter(|divisor| *divisor > 0)?;
        Some(Self(u64::try_from((scaled + divisor / 2) / divisor).unwrap_or(u64::MAX)))
    }

    /// Half of this and half of the latest: the KCL's smoothing.
    #[must_use]
    pub const fn smoothed(self, latest: Self) -> Self {
        Self(self.0.midpoint(latest.0))
    }

    /// Reads a decimal number of KiB per second, further decimals rounded half up. `None` if it is none, or below zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: f64 = text.parse().ok()?;
        let micros = (value * 1e6).round();
        (micros.is_finite() && micros >= 0.0 && micros < u64::MAX as f64).then_some(Self(micros as u64))
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{micros:06}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_over_time_in_kib() {
        assert_eq!(Throughput::of(2048, Duration::from_secs(1)), Some(Throughput(2_000_000)));
        assert_eq!(Throughput::of(1, Duration::from_secs(3)), Some(Throughput(326)));
        assert_eq!(Throughput::of(1, Duration::ZERO), None);
    }

    #[test]
    fn the_text_is_a_decimal_number_that_reads_back() {
        for (micros, text) in [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (326, "0.000326"), (12_000_000, "12")] {
            assert_eq!(Throughput(micros).to_string(), text);
            assert_eq!(Throughput::parse(text), Some(Throughput(micros)));
        }
        assert_eq!(Throughput::parse("1E+2"), Some(Throughput(100_000_000)));
        for text in ["", "fast", "-1", "NaN", "inf"] {
            assert_eq!(Throughput::parse(text), None, "{text}");
        }
    }

    #[test]
    fn smoothing_halves_what_was() {
        assert_eq!(Throughput(10).smoothed(Throughput(20)), Throughput(15));
    }
}
