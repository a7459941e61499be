//! What is read through a held lease, as its row is to say: a rate over the time since it was measured last, smoothed.

use std::time::Duration;

use super::timing::Timing;
use crate::throughput::Throughput;
use crate::time::Instant;

/// Counts what is read between two measurements.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes since the last measurement that was stored; `None` if nothing was said of them.
    read: Option<u64>,
    /// When the last one that was stored was made.
    measured: Instant,
}

impl Meter {
    pub(super) const fn new(now: Instant) -> Self {
        Self { read: None, measured: now }
    }

    /// More was read.
    pub(super) fn on_read(&mut self, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.read = Some(self.read.unwrap_or(0).saturating_add(bytes));
        }
    }

    /// The bytes read since the last measurement and the rate to record, if it is time for one. Rows are written at any
    /// time; rates over moments would say nothing.
    pub(super) fn measure(
        &self,
        now: Instant,
        timing: &Timing,
        stored: Option<Throughput>,
    ) -> Option<(u64, Throughput)> {
        let within = now.since(self.measured);
        let read = self.read.filter(|_| within >= timing.measured_over())?;
        let latest = Throughput::of(read, within.max(Duration::from_millis(1)))?;
        Some((read, stored.map_or(latest, |stored| stored.smoothed(latest))))
    }

    /// A rate over so many bytes was stored; it was measured then.
    pub(super) fn on_stored(&mut self, read: Option<u64>, measured: Instant) {
        let Some(read) = read else { return };
        self.measured = measured;
        let left = self.read.map_or(0, |all| all.saturating_sub(read));
        self.read = (left > 0).then_some(left);
    }
}
