//! The watchdog of a shard: its parts say in a word what they wait for, and the pipeline looks whether they still move.
//!
//! A part says it once per batch or call, never per record, and without a lock or a look at a clock. What stands still is
//! measured in looks: a machine that was suspended, or a process that was stopped, stands still in nobody's eyes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::settings::TimeOuts;

/// Looks at a shard until it is said to stand still.
const LOOKS: u32 = 8;
/// The least time until then, whatever the time-outs.
const LEAST_BOUND: Duration = Duration::from_secs(300);

/// What works by itself within a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What comes before reading: the sink, the row, a replay. And the end.
    Pipeline,
    /// The reader.
    Reader,
    /// The deliverer.
    Deliverer,
    /// The batch in flight.
    Flight,
}

const PARTS: [Part; 4] = [Part::Pipeline, Part::Reader, Part::Deliverer, Part::Flight];

/// What a part waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    /// Nothing: it has not begun, or another part goes on in its place.
    Idle,
    /// Nothing: it computes.
    Working,
    /// A call to the stream, which has a time-out.
    Stream,
    /// A fetch, which has a time-out.
    Fetch,
    /// The time of the next fetch or attempt, which is near.
    Pause,
    /// A write of the lease row, which is answered or costs the lease.
    Lease,
    /// The end of the shard in its row, which comes after the rows of its children, however long they take.
    ShardEnd,
    /// A put, which has a time-out.
    Put,
    /// The sink, which is not there or does not take what it is sent; whoever sends it says so.
    Sink,
    /// Somebody who mends permissions, keys or the stream.
    Operator,
    /// Room in the memory budget.
    Memory,
    /// One of the fetches that may be under way.
    FetchSlot,
    /// The gap ledger.
    Ledger,
    /// The replay of another shard.
    Replays,
    /// Whoever takes chunks.
    Deliverer,
    /// Whoever gives chunks.
    Records,
    /// The batch in flight.
    Flight,
    /// The configuration: a record can neither be delivered nor set aside.
    Halted,
}

const WAITS: [Wait; 18] = [
    Wait::Idle,
    Wait::Working,
    Wait::Stream,
    Wait::Fetch,
    Wait::Pause,
    Wait::Lease,
    Wait::ShardEnd,
    Wait::Put,
    Wait::Sink,
    Wait::Operator,
    Wait::Memory,
    Wait::FetchSlot,
    Wait::Ledger,
    Wait::Replays,
    Wait::Deliverer,
    Wait::Records,
    Wait::Flight,
    Wait::Halted,
];

/// How long something may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For ever, and nobody needs to hear of it: it is no wait, or whoever is waited for is looked at himself.
    Endless,
    /// For ever, but it is worth a word: to start again would not bring it nearer.
    Told,
    /// As long as its time-outs allow. Beyond that something is wrong with the part.
    Bounded,
}

impl Wait {
    /// What is waited for, as a metric label and in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "nothing",
            Self::Working => "itself",
            Self::Stream => "stream",
            Self::Fetch => "fetch",
            Self::Pause => "pause",
            Self::Lease => "lease_table",
            Self::ShardEnd => "shard_end",
            Self::Put => "put",
            Self::Sink => "sink",
            Self::Operator => "operator",
            Self::Memory => "memory_budget",
            Self::FetchSlot => "fetch_slot",
            Self::Ledger => "gap_ledger",
            Self::Replays => "other_replays",
            Self::Deliverer => "deliverer",
            Self::Records => "records",
            Self::Flight => "batch_in_flight",
            Self::Halted => "configuration",
        }
    }

    const fn patience(self) -> Patience {
        match self {
            // A pause ends by itself, and a halted shard has said so for good.
            Self::Idle | Self::Pause | Self::Deliverer | Self::Records | Self::Flight | Self::Halted => {
                Patience::Endless
            }
            Self::Sink
            | Self::Operator
            | Self::Memory
            | Self::FetchSlot
            | Self::Ledger
            | Self::Replays
            | Self::ShardEnd => Patience::Told,
            Self::Working | Self::Stream | Self::Fetch | Self::Lease | Self::Put => Patience::Bounded,
        }
    }

    /// Those that are counted when they last too long.
    pub(crate) fn counted() -> impl Iterator<Item = Self> {
        WAITS.into_iter().filter(|wait| wait.patience() != Patience::Endless)
    }

    fn read(value: u64) -> Self {
        WAITS.into_iter().find(|wait| *wait as u64 == value & 0xff).unwrap_or(Self::Idle)
    }
}

/// What each part of a shard waits for.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// For each part a number of steps, and in the last byte what it waits for.
    parts: [AtomicU64; PARTS.len()],
}

impl Pulse {
    /// A part begins to wait. A wait that may last and is begun again goes on.
    pub(crate) fn waits(&self, part: Part, wait: Wait) {
        let cell = &self.parts[part as usize];
        // Only the part itself writes.
        let old = cell.load(Ordering::Relaxed);
        if Wait::read(old) == wait && wait.patience() != Patience::Bounded {
            return;
        }
        cell.store(((old >> 8).wrapping_add(1) << 8) | wait as u64, Ordering::Relaxed);
    }

    /// No part does anything: a run has ended.
    pub(crate) fn rest(&self) {
        PARTS.iter().for_each(|part| self.waits(*part, Wait::Idle));
    }

    /// What a part said last that it waits for.
    pub(crate) fn last(&self, part: Part) -> Wait {
        Wait::read(self.parts[part as usize].load(Ordering::Relaxed))
    }

    fn read(&self) -> [u64; PARTS.len()] {
        self.parts.each_ref().map(|part| part.load(Ordering::Relaxed))
    }
}

/// What is to be done about a wait that has lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Well,
    /// Say what is waited for.
    Waits(Wait, Duration),
    /// Start again.
    StandsStill(Wait, Duration),
}

/// Judges a part that has waited for the same thing for so long.
fn stalled(wait: Wait, lasted: Duration, bound: Duration) -> Verdict {
    match wait.patience() {
        _ if lasted < bound => Verdict::Well,
        Patience::Endless => Verdict::Well,
        Patience::Told => Verdict::Waits(wait, lasted),
        Patience::Bounded => Verdict::StandsStill(wait, lasted),
    }
}

/// Looks at one run of a shard.
#[derive(Debug)]
pub(crate) struct Watchdog {
    bound: Duration,
    /// What was seen of each part, and how many looks ago it was seen first.
    seen: [(u64, u32); PARTS.len()],
}

impl Watchdog {
    pub(crate) fn new(time_outs: &TimeOuts) -> Self {
        Self { bound: bound(time_outs), seen: [(u64::MAX, 0); PARTS.len()] }
    }

    /// The time between two looks.
    pub(crate) fn interval(&self) -> Duration {
        self.bound / LOOKS
    }

    /// Looks once: the worst of what the parts show.
    pub(crate) fn look(&mut self, pulse: &Pulse) -> Verdict {
        let interval = self.interval();
        let mut worst = Verdict::Well;
        for (seen, value) in self.seen.iter_mut().zip(pulse.read()) {
            *seen = if seen.0 == value { (value, seen.1.saturating_add(1)) } else { (value, 0) };
            let verdict = stalled(Wait::read(value), interval * seen.1, self.bound);
            if matches!((verdict, worst), (Verdict::StandsStill(..), _) | (Verdict::Waits(..), Verdict::Well)) {
                worst = verdict;
            }
        }
        worst
    }
}

/// Three times the longest that a single call may take.
fn bound(time_outs: &TimeOuts) -> Duration {
    let TimeOuts { describe, fetch, lease, scan, put, call, probe, start: _, .. } = time_outs;
    let longest = [describe, fetch, lease, scan, put, call, probe].into_iter().max().copied().unwrap_or_default();
    LEAST_BOUND.max(longest * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(360);

    #[test]
    fn a_call_may_take_its_time_outs_and_no_longer() {
        assert_eq!(stalled(Wait::Fetch, BOUND - Duration::from_secs(1), BOUND), Verdict::Well);
        assert_eq!(stalled(Wait::Fetch, BOUND, BOUND), Verdict::StandsStill(Wait::Fetch, BOUND));
        assert_eq!(stalled(Wait::Working, BOUND, BOUND), Verdict::StandsStill(Wait::Working, BOUND));
    }

    #[test]
    fn what_others_must_give_is_waited_for_and_told() {
        let told =
            [Wait::Sink, Wait::Operator, Wait::Memory, Wait::FetchSlot, Wait::Ledger, Wait::Replays, Wait::ShardEnd];
        for wait in told {
            assert_eq!(stalled(wait, BOUND * 100, BOUND), Verdict::Waits(wait, BOUND * 100));
        }
        for wait in [Wait::Idle, Wait::Pause, Wait::Records, Wait::Deliverer, Wait::Flight, Wait::Halted] {
            assert_eq!(stalled(wait, BOUND * 100, BOUND), Verdict::Well);
        }
    }

    #[test]
    fn the_bound_is_three_times_the_longest_call_and_at_least_five_minutes() {
        let time_outs = TimeOuts::default();
        assert_eq!(bound(&time_outs), Duration::from_secs(360));
        let short = TimeOuts { put: Duration::from_secs(1), ..time_outs };
        assert_eq!(bound(&short), LEAST_BOUND);
    }

    #[test]
    fn every_wait_is_read_as_it_was_written() {
        for wait in WAITS {
            let pulse = Pulse::default();
            pulse.waits(Part::Reader, wait);
            assert_eq!(Wait::read(pulse.read()[Part::Reader as usize]), wait);
        }
    }

    #[test]
    fn a_part_that_takes_steps_is_well_and_one_of_several_that_stands_still_is_found() {
        let (pulse, mut dog) = (Pulse::default(), Watchdog::new(&TimeOuts::default()));
        for _ in 0..3 * LOOKS {
            pulse.waits(Part::Reader, Wait::Fetch);
            pulse.waits(Part::Deliverer, Wait::Records);
            assert_eq!(dog.look(&pulse), Verdict::Well);
        }
        pulse.waits(Part::Flight, Wait::Put);
        for _ in 0..LOOKS {
            pulse.waits(Part::Reader, Wait::Fetch);
            assert_eq!(dog.look(&pulse), Verdict::Well);
        }
        pulse.waits(Part::Reader, Wait::Fetch);
        assert_eq!(dog.look(&pulse), Verdict::StandsStill(Wait::Put, dog.bound));
    }

    #[test]
    fn a_wait_that_is_begun_again_goes_on() {
        let (pulse, mut dog) = (Pulse::default(), Watchdog::new(&TimeOuts::default()));
        for _ in 0..=LOOKS {
            pulse.waits(Part::Deliverer, Wait::Memory);
            dog.look(&pulse);
        }
        pulse.waits(Part::Deliverer, Wait::Memory);
        assert!(matches!(dog.look(&pulse), Verdict::Waits(Wait::Memory, lasted) if lasted > dog.bound));
        pulse.waits(Part::Deliverer, Wait::Records);
        assert_eq!(dog.look(&pulse), Verdict::Well);
    }
}
