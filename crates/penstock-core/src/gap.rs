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
    /// The row of a lease vanished and was created again.
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
}
