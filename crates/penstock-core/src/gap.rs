//! An entry of the gap ledger: records that may be missing, or may repeat, by someone else's doing.
//!
//! An entry has a deterministic id, so that writing it twice, by two workers even, leaves one. It is stored before any checkpoint
//! passes what it names.

use std::fmt;

use uuid::Uuid;

use crate::ids::{LeaseKey, StreamName, WorkerId};
use crate::position::{Position, RecordPosition, SequenceNumber};
use crate::time::UnixMillis;

/// The namespace of the ids: itself the version 5 uuid of `penstock gap` in the namespace of DNS names.
const NAMESPACE: &str = "penstock gap";

/// The words of an encoded [`GapEnd`].
const UNKNOWN: &str = "unknown";
const THROUGH: &str = "through";
const BEFORE: &str = "before";
const UNTIL: &str = "until";

/// The id of an entry: a version 5 uuid over stream, its creation time, lease, reason and range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GapId(Uuid);

impl GapId {
    /// Reads an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for GapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Why records may be missing or repeated by someone else's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// Retention ran out under a checkpoint.
    Trimmed,
    /// A shard expired before it was read to its end.
    ShardExpired,
    /// The row of a lease vanished by somebody else's doing, or is not the one of before.
    RowRecreated,
    /// An operator abandoned an intent.
    IntentAbandoned,
    /// An operator set a position: what lies between was skipped.
    PositionSet,
    /// The application began at the tip, or at a time: what was there before is left out as asked. Never open.
    StartedLate,
}

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Trimmed,
        Self::ShardExpired,
        Self::RowRecreated,
        Self::IntentAbandoned,
        Self::PositionSet,
        Self::StartedLate,
    ];

    /// The reason as a metric label and in stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::ShardExpired => "shard_expired",
            Self::RowRecreated => "row_recreated",
            Self::IntentAbandoned => "intent_abandoned",
            Self::PositionSet => "position_set",
            Self::StartedLate => "started_late",
        }
    }

    /// Reads what [`Self::as_str`] gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// Whether an entry is for information only, and never open.
    #[must_use]
    pub const fn is_information(self) -> bool {
        matches!(self, Self::StartedLate)
    }
}

/// What is known of where the records lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GapRange {
    /// They lie behind this: a checkpoint, exclusive.
    pub after: Position,
    /// And end here.
    pub end: GapEnd,
}

/// Where a range ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapEnd {
    /// Nobody knows.
    Unknown,
    /// At this record, inclusive.
    Through(RecordPosition),
    /// Before this record, which is there.
    Before(SequenceNumber),
    /// Before this time of arrival.
    Until(UnixMillis),
}

impl GapRange {
    /// The two texts that stores keep.
    #[must_use]
    pub fn encode(&self) -> (String, String) {
        (self.after.to_string(), self.end.encode())
    }

    /// Reads what [`Self::encode`] gives.
    #[must_use]
    pub fn parse(after: &str, end: &str) -> Option<Self> {
        let sentinels = [Position::AtTimestamp, Position::TrimHorizon, Position::Latest, Position::ShardEnd];
        let after = match sentinels.into_iter().find(|sentinel| sentinel.to_string() == after) {
            Some(sentinel) => sentinel,
            None => Position::After(RecordPosition::parse(after).ok()?),
        };
        Some(Self { after, end: GapEnd::parse(end)? })
    }
}

impl GapEnd {
    /// The text that stores keep: a word, and a position, a sequence number or milliseconds since 1970 behind it.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Unknown => UNKNOWN.to_owned(),
            Self::Through(last) => format!("{THROUGH} {last}"),
            Self::Before(next) => format!("{BEFORE} {next}"),
            Self::Until(time) => format!("{UNTIL} {}", time.0),
        }
    }

    /// Reads what [`Self::encode`] gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None => (text == UNKNOWN).then_some(Self::Unknown),
            Some((THROUGH, last)) => RecordPosition::parse(last).ok().map(Self::Through),
            Some((BEFORE, next)) => SequenceNumber::parse(next).ok().map(Self::Before),
            Some((UNTIL, time)) => time.parse().ok().map(|millis| Self::Until(UnixMillis(millis))),
            Some(_) => None,
        }
    }
}

impl fmt::Display for GapRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = &self.after;
        match &self.end {
            GapEnd::Unknown => write!(f, "unknown since {after}"),
            GapEnd::Through(last) => write!(f, "after {after} through {last}"),
            GapEnd::Before(next) => write!(f, "after {after} before {next}"),
            GapEnd::Until(time) => write!(f, "after {after} before what arrived at {time}"),
        }
    }
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapEntry {
    /// The stream.
    pub stream: StreamName,
    /// When the stream was created.
    pub stream_created: UnixMillis,
    /// The lease; it names the shard.
    pub lease: LeaseKey,
    /// Where the records lie.
    pub range: GapRange,
    /// Why.
    pub reason: GapReason,
    /// When it was noticed, on the wall clock of who noticed it.
    pub noticed: UnixMillis,
    /// By which worker or tool.
    pub by: WorkerId,
    /// When an operator acknowledged it.
    pub acknowledged: Option<UnixMillis>,
}

impl GapEntry {
    /// The id: the same for whoever notices the same gap, whenever.
    #[must_use]
    pub fn id(&self) -> GapId {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_DNS, NAMESPACE.as_bytes());
        let Self { stream, stream_created, lease, range, reason, .. } = self;
        // Each value with its length, so that no two entries give the same bytes.
        let values = [stream.to_string(), stream_created.0.to_string(), lease.to_string()];
        let values = values.into_iter().chain([reason.as_str().to_owned(), range.to_string()]);
        let name: String = values.map(|value| format!("{}:{value},", value.len())).collect();
        GapId(Uuid::new_v5(&namespace, name.as_bytes()))
    }

    /// Whether an operator has yet to look at it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.acknowledged.is_none() && !self.reason.is_information()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> GapEntry {
        GapEntry {
            stream: StreamName::new("clicks"),
            stream_created: UnixMillis(1_700_000_000_000),
            lease: LeaseKey::new("shardId-000000000000"),
            range: GapRange { after: Position::TrimHorizon, end: GapEnd::Unknown },
            reason: GapReason::Trimmed,
            noticed: UnixMillis(1),
            by: WorkerId::new("a"),
            acknowledged: None,
        }
    }

    #[test]
    fn who_notices_and_when_does_not_change_the_id() {
        let later = GapEntry { noticed: UnixMillis(2), by: WorkerId::new("b"), ..entry() };
        assert_eq!(later.id(), entry().id());
        assert_eq!(GapId::parse(&entry().id().to_string()), Some(entry().id()));
    }

    #[test]
    fn whatever_else_differs_changes_it() {
        let other = [
            GapEntry { stream: StreamName::new("click"), ..entry() },
            GapEntry { stream_created: UnixMillis(1), ..entry() },
            GapEntry { lease: LeaseKey::new("shardId-000000000001"), ..entry() },
            GapEntry { reason: GapReason::ShardExpired, ..entry() },
            GapEntry { range: GapRange { after: Position::Latest, end: GapEnd::Unknown }, ..entry() },
        ];
        for other in other {
            assert_ne!(other.id(), entry().id(), "{other:?}");
        }
    }

    #[test]
    fn a_late_start_is_never_open_and_anything_else_is_until_it_is_acknowledged() {
        for reason in GapReason::ALL {
            let entry = GapEntry { reason, ..entry() };
            assert_eq!(entry.is_open(), reason != GapReason::StartedLate);
            assert!(!GapEntry { acknowledged: Some(UnixMillis(3)), ..entry }.is_open());
            assert_eq!(GapReason::parse(reason.as_str()), Some(reason));
        }
    }

    fn ranges() -> Vec<GapRange> {
        let record = |text: &str| RecordPosition::parse(text).unwrap();
        let digits = "9".repeat(129);
        let ends = [
            GapEnd::Unknown,
            GapEnd::Through(record(&digits)),
            GapEnd::Through(record("0/18446744073709551615")),
            GapEnd::Before(SequenceNumber::parse("007").unwrap()),
            GapEnd::Until(UnixMillis(1_700_000_000_123)),
            GapEnd::Until(UnixMillis(-1)),
            GapEnd::Until(UnixMillis(i64::MAX)),
        ];
        let afters = [
            Position::AtTimestamp,
            Position::TrimHorizon,
            Position::Latest,
            Position::After(record("12/3")),
            Position::ShardEnd,
        ];
        let range = |(after, end): (&Position, &GapEnd)| GapRange { after: after.clone(), end: end.clone() };
        afters.iter().flat_map(|after| ends.iter().map(move |end| (after, end))).map(range).collect()
    }

    #[test]
    fn a_range_is_read_as_it_is_written() {
        for range in ranges() {
            let (after, end) = range.encode();
            let read = GapRange::parse(&after, &end);
            assert_eq!(read.as_ref(), Some(&range), "{after}, {end}");
            // The id is made of the text, and must not change on the way through a store.
            assert_eq!(read.map(|read| read.to_string()), Some(range.to_string()));
        }
    }

    #[test]
    fn what_is_no_range_is_not_read_as_one() {
        for end in
            ["", "Unknown", "unknown 1", "through", "through x", "through 1 2", "before 1/2", "until", "until 1.5"]
        {
            assert_eq!(GapEnd::parse(end), None, "{end}");
        }
        for after in ["", "trim_horizon", "1/", "-1"] {
            assert_eq!(GapRange::parse(after, "unknown"), None, "{after}");
        }
    }
}
