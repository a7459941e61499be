//! Whether hash ranges cover all hash keys: what the audit of a stream looks for.

use crate::ids::HashRange;
use crate::time::Instant;

/// How often in a row a hole is seen until it is reported.
pub(super) const SIGHTINGS: u32 = 3;

/// Hash keys that nothing covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) range: HashRange,
    /// How often it was seen in a row, each time after another attempt to close it.
    pub(super) times: u32,
    /// When the last of the attempts was begun.
    pub(super) attempt: Option<Instant>,
}

impl Hole {
    /// The hole `range` was seen, after an `attempt` to close it; `before` is what was seen the last time.
    pub(super) fn seen(range: HashRange, attempt: Option<Instant>, before: Option<Self>) -> Self {
        match before {
            // Not again before something was done about it.
            Some(before) if before.range == range && before.attempt == attempt => before,
            Some(before) if before.range == range => Self { range, times: before.times.saturating_add(1), attempt },
            Some(_) | None => Self { range, times: 1, attempt },
        }
    }
}

/// The first run of hash keys that none of the ranges covers. Overlaps are fine.
pub(super) fn first_hole(ranges: impl IntoIterator<Item = HashRange>) -> Option<HashRange> {
    let mut ranges: Vec<HashRange> = ranges.into_iter().filter(|range| range.start <= range.end).collect();
    ranges.sort_unstable();
    let mut next = 0_u128;
    for range in ranges {
        if range.start > next {
            return Some(HashRange { start: next, end: range.start - 1 });
        }
        if range.end >= next {
            match range.end.checked_add(1) {
                Some(after) => next = after,
                None => return None,
            }
        }
    }
    Some(HashRange { start: next, end: u128::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u128 = u128::MAX;

    fn hole(ranges: &[(u128, u128)]) -> Option<(u128, u128)> {
        first_hole(ranges.iter().map(|(start, end)| HashRange { start: *start, end: *end }))
            .map(|hole| (hole.start, hole.end))
    }

    #[test]
    fn a_hole_is_found_at_the_start_in_the_middle_and_at_the_end() {
        assert_eq!(hole(&[]), Some((0, MAX)));
        assert_eq!(hole(&[(0, MAX)]), None);
        assert_eq!(hole(&[(10, MAX)]), Some((0, 9)));
        assert_eq!(hole(&[(20, MAX), (0, 9)]), Some((10, 19)));
        assert_eq!(hole(&[(0, 9), (10, MAX - 1)]), Some((MAX, MAX)));
        assert_eq!(hole(&[(0, 0), (2, 2), (4, MAX)]), Some((1, 1)), "the first of two");
    }

    #[test]
    fn overlaps_are_fine() {
        assert_eq!(hole(&[(0, 50), (10, 20), (40, MAX)]), None);
        assert_eq!(hole(&[(0, MAX), (0, 5), (7, 9)]), None);
        assert_eq!(hole(&[(9, 3), (0, MAX)]), None, "a range that is none");
    }

    #[test]
    fn a_hole_counts_again_only_after_another_attempt_to_close_it() {
        let (range, at) = (HashRange::ALL, |nanos| Some(Instant::from_nanos(nanos)));
        let first = Hole::seen(range, at(1), None);
        assert_eq!(Hole::seen(range, at(1), Some(first)).times, 1);
        let second = Hole::seen(range, at(2), Some(first));
        assert_eq!(second.times, 2);
        let other = HashRange { start: 0, end: 5 };
        assert_eq!(Hole::seen(other, at(3), Some(second)).times, 1, "a hole that shifts is another");
    }
}
