//! Where a reader stands: sequence numbers, positions of user records, and the sentinels of the lease table.
//!
//! Sequence numbers are longer than any machine integer (up to 129 digits) and ordered numerically within one shard.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest sequence number that the service's model allows, in decimal digits.
pub const MAX_SEQUENCE_DIGITS: usize = 129;

/// A record's place in its shard: a decimal number, kept as it was written.
///
/// AWS writes no leading zeros. Where another service does, it gets its number back with them, and order and equality look past
/// them, as the KCL's do.
#[derive(Debug, Clone)]
pub struct SequenceNumber(Box<str>);

/// The text is not a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sequence number: decimal digits, at most {MAX_SEQUENCE_DIGITS}")]
pub struct InvalidSequenceNumber(pub String);

impl SequenceNumber {
    /// Reads a sequence number.
    ///
    /// # Errors
    /// If the text is empty, longer than 129 digits, or has anything but digits.
    pub fn parse(text: &str) -> Result<Self, InvalidSequenceNumber> {
        if is_sequence_number(text) { Ok(Self(text.into())) } else { Err(InvalidSequenceNumber(text.to_owned())) }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_sequence_number(text: &str) -> bool {
    let digits = text.as_bytes();
    !digits.is_empty() && digits.len() <= MAX_SEQUENCE_DIGITS && digits.iter().all(u8::is_ascii_digit)
}

/// Compares two sequence numbers as numbers, without allocating.
#[must_use]
pub fn compare_sequence_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_sequence_numbers(&self.0, &other.0)
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.trim_start_matches('0').hash(state);
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of one user record: its record's sequence number and its index within an aggregate (0 for a plain record).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordPosition {
    /// The sequence number of the record that carried it.
    pub sequence: SequenceNumber,
    /// The index of the user record within its record, from 0.
    pub subsequence: u64,
}

impl RecordPosition {
    /// Reads `SEQ` or `SEQ/SUB`, the form that [`fmt::Display`] writes.
    ///
    /// # Errors
    /// If either part is not a number of its kind.
    pub fn parse(text: &str) -> Result<Self, InvalidSequenceNumber> {
        let (sequence, subsequence) = match text.split_once('/') {
            Some((sequence, sub)) => (sequence, sub.parse().map_err(|_| InvalidSequenceNumber(text.to_owned()))?),
            None => (text, 0),
        };
        Ok(Self { sequence: SequenceNumber::parse(sequence)?, subsequence })
    }
}

impl fmt::Display for RecordPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subsequence {
            0 => self.sequence.fmt(f),
            sub => write!(f, "{}/{sub}", self.sequence),
        }
    }
}

/// What a lease's checkpoint holds: all up to it is settled.
///
/// The order is the KCL's: `AT_TIMESTAMP < TRIM_HORIZON < LATEST <` any number `< SHARD_END`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// Nothing is settled; start at the time that is pinned in the lease.
    AtTimestamp,
    /// Nothing is settled; start at the oldest record.
    TrimHorizon,
    /// Nothing is settled; start at the tip, as it was at the time that is pinned in the lease.
    Latest,
    /// All up to and including this user record is settled.
    After(RecordPosition),
    /// The shard was closed and everything in it is settled.
    ShardEnd,
}

impl Position {
    /// The record position, unless this is a sentinel.
    #[must_use]
    pub const fn record(&self) -> Option<&RecordPosition> {
        match self {
            Self::After(position) => Some(position),
            Self::AtTimestamp | Self::TrimHorizon | Self::Latest | Self::ShardEnd => None,
        }
    }

    /// Whether something of the shard was settled: a record position or the shard's end.
    #[must_use]
    pub const fn has_progress(&self) -> bool {
        matches!(self, Self::After(_) | Self::ShardEnd)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtTimestamp => f.write_str("AT_TIMESTAMP"),
            Self::TrimHorizon => f.write_str("TRIM_HORIZON"),
            Self::Latest => f.write_str("LATEST"),
            Self::After(position) => position.fmt(f),
            Self::ShardEnd => f.write_str("SHARD_END"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence() -> impl Strategy<Value = SequenceNumber> {
        let digits = prop_oneof![
            Just("0".to_owned()),
            "[1-9][0-9]{0,3}",
            "[1-9][0-9]{54,56}",
            "[1-9][0-9]{0,128}",
            "0{1,3}[1-9]?[0-9]?"
        ];
        digits.prop_map(|text| SequenceNumber::parse(&text).unwrap())
    }

    fn position() -> impl Strategy<Value = Position> {
        let record =
            (sequence(), 0_u64..3).prop_map(|(sequence, subsequence)| RecordPosition { sequence, subsequence });
        prop_oneof![
            1 => prop::sample::select(vec![Position::AtTimestamp, Position::TrimHorizon, Position::Latest, Position::ShardEnd]),
            3 => record.prop_map(Position::After),
        ]
    }

    /// The number with as many zeros in front as make all texts equally long: their order is that of the numbers.
    fn padded(sequence: &SequenceNumber) -> String {
        format!("{:0>width$}", sequence.as_str(), width = MAX_SEQUENCE_DIGITS)
    }

    /// The KCL's way: a number for each sentinel, big integers for the rest, then the subsequence.
    fn rank(position: &Position) -> (u8, String, u64) {
        match position {
            Position::AtTimestamp => (0, String::new(), 0),
            Position::TrimHorizon => (1, String::new(), 0),
            Position::Latest => (2, String::new(), 0),
            Position::After(record) => (3, padded(&record.sequence), record.subsequence),
            Position::ShardEnd => (4, String::new(), 0),
        }
    }

    proptest! {
        #[test]
        fn sequence_numbers_are_ordered_as_numbers(a in sequence(), b in sequence()) {
            prop_assert_eq!(a.cmp(&b), padded(&a).cmp(&padded(&b)));
            if let (Ok(small_a), Ok(small_b)) = (a.as_str().parse::<u128>(), b.as_str().parse::<u128>()) {
                prop_assert_eq!(a.cmp(&b), small_a.cmp(&small_b));
            }
        }

        #[test]
        fn the_successor_of_a_number_comes_behind_it(number in any::<u128>()) {
            let [a, b] = [number.to_string(), number.saturating_add(1).to_string()].map(|text| SequenceNumber::parse(&text).unwrap());
            prop_assert!(a < b || number == u128::MAX);
        }

        #[test]
        fn positions_are_ordered_as_the_kcl_orders_them(a in position(), b in position()) {
            prop_assert_eq!(a.cmp(&b), rank(&a).cmp(&rank(&b)));
            prop_assert_eq!(a == b, rank(&a) == rank(&b));
        }

        #[test]
        fn a_record_position_is_read_as_it_is_written(sequence in sequence(), subsequence: u64) {
            let position = RecordPosition { sequence, subsequence };
            prop_assert_eq!(RecordPosition::parse(&position.to_string()), Ok(position));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in ".{0,140}") {
            let _ = (SequenceNumber::parse(&text).is_ok(), RecordPosition::parse(&text).is_ok());
        }
    }

    #[test]
    fn zeros_in_front_are_kept_and_mean_nothing() {
        let [long, short] = ["0007", "7"].map(|text| SequenceNumber::parse(text).unwrap());
        assert_eq!((long.as_str(), short.as_str()), ("0007", "7"));
        assert_eq!(long, short);
        let hash = |number: &SequenceNumber| {
            let mut hasher = std::hash::DefaultHasher::new();
            number.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&long), hash(&short));
    }

    #[test]
    fn what_is_not_a_sequence_number_is_refused() {
        for text in ["", "-1", "+1", "1 ", "1.0", "٣", "SHARD_END", &"9".repeat(MAX_SEQUENCE_DIGITS + 1)] {
            assert!(SequenceNumber::parse(text).is_err(), "{text:?}");
        }
        for text in ["0", "1", &"9".repeat(MAX_SEQUENCE_DIGITS)] {
            assert_eq!(SequenceNumber::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_not_a_record_position_is_refused() {
        for text in ["", "/1", "1/", "1/x", "1/-1", "1/18446744073709551616", "1/2/3"] {
            assert!(RecordPosition::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_a_record_or_the_end_is_progress() {
        let after = Position::After(RecordPosition::parse("7/1").unwrap());
        let progress = [Position::AtTimestamp, Position::TrimHorizon, Position::Latest, after, Position::ShardEnd]
            .map(|position| (position.to_string(), position.has_progress(), position.record().is_some()));
        let expected = [
            ("AT_TIMESTAMP", false, false),
            ("TRIM_HORIZON", false, false),
            ("LATEST", false, false),
            ("7/1", true, true),
            ("SHARD_END", true, false),
        ];
        assert_eq!(progress, expected.map(|(text, has_progress, record)| (text.to_owned(), has_progress, record)));
    }
}
