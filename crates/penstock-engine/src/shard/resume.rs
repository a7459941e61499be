//! Where a shard is read from: from its checkpoint, from its pinned start, or from the first record of an intent.

use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;

use crate::ports::OpenAt;

/// Where a reader begins, and what it has to find there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadFrom {
    /// Where the first iterator is opened.
    pub(crate) at: OpenAt,
    /// The checkpoint whose record must be the first that is read, or records were trimmed.
    pub(crate) checkpoint: Option<Checkpointed>,
    /// What a gap begins behind that is noticed before a record is; `None` if somebody else looks for gaps.
    pub(crate) gaps_after: Option<Position>,
}

/// A checkpoint at a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpointed {
    /// The record, which is read again and left out.
    pub(crate) position: RecordPosition,
    /// All that arrived up to this time is settled, where that is known: the arrival time of the record, or later.
    pub(crate) arrival: Option<UnixMillis>,
}

/// A row cannot be read from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoStart {
    /// To read from the tip as it is now would skip what was written since.
    #[error("the lease row stands at {0} and names no time to start from")]
    NotPinned(Position),
    /// There is nothing left to read.
    #[error("the lease row stands at SHARD_END")]
    Ended,
}

impl ReadFrom {
    /// Where a shard with this row goes on.
    pub(crate) fn row(row: &LeaseRow) -> Result<Self, NoStart> {
        let gaps_after = Some(row.checkpoint.clone());
        match &row.checkpoint {
            Position::TrimHorizon => Ok(Self { at: OpenAt::TrimHorizon, checkpoint: None, gaps_after }),
            Position::Latest | Position::AtTimestamp => match row.start {
                Some(start) => Ok(Self { at: OpenAt::Timestamp(start), checkpoint: None, gaps_after }),
                None => Err(NoStart::NotPinned(row.checkpoint.clone())),
            },
            Position::After(position) => Ok(Self {
                // AT, not AFTER: a record that is gone is noticed, and the rest of an aggregate is still read.
                at: OpenAt::At(position.sequence.clone()),
                checkpoint: Some(Checkpointed { position: position.clone(), arrival: row.arrival }),
                gaps_after,
            }),
            Position::ShardEnd => Err(NoStart::Ended),
        }
    }

    /// Where the records of an intent begin. Its replay knows best what is missing of it.
    pub(crate) fn intent(first: &RecordPosition) -> Self {
        Self { at: OpenAt::At(first.sequence.clone()), checkpoint: None, gaps_after: None }
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::ids::{LeaseCounter, LeaseKey};

    use super::*;

    fn row(checkpoint: Position) -> LeaseRow {
        LeaseRow::new(LeaseKey::new("shardId-000000000001"), LeaseCounter(1), checkpoint)
    }

    #[test]
    fn the_tip_is_always_the_pinned_time_and_never_the_tip_of_now() {
        let mut row = row(Position::Latest);
        assert_eq!(ReadFrom::row(&row), Err(NoStart::NotPinned(Position::Latest)));
        row.start = Some(UnixMillis(42));
        assert_eq!(ReadFrom::row(&row).unwrap().at, OpenAt::Timestamp(UnixMillis(42)));
    }

    #[test]
    fn a_checkpoint_is_read_again_so_that_its_absence_is_noticed() {
        let position = RecordPosition::parse("17/3").unwrap();
        let from = ReadFrom::row(&row(Position::After(position.clone()))).unwrap();
        assert_eq!(from.at, OpenAt::At(position.sequence.clone()));
        assert_eq!(from.checkpoint, Some(Checkpointed { position, arrival: None }));
    }
}
