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
    /// The checkpoint: its record, which is read again and left out, must be the first that is read, or records were trimmed.
    pub(crate) checkpoint: Option<RecordPosition>,
    /// All that arrived up to this time is settled, where that is known.
    pub(crate) settled: Option<UnixMillis>,
    /// What a gap begins behind that is noticed before a record is; `None` if somebody else looks for gaps.
    pub(crate) gaps_after: Option<Position>,
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
        let at = match (&row.checkpoint, row.start) {
            (Position::TrimHorizon, _) => OpenAt::TrimHorizon,
            (Position::Latest | Position::AtTimestamp, Some(start)) => OpenAt::Timestamp(start),
            (Position::Latest | Position::AtTimestamp, None) => return Err(NoStart::NotPinned(row.checkpoint.clone())),
            // AT, not AFTER: a record that is gone is noticed, and the rest of an aggregate is still read.
            (Position::After(position), _) => OpenAt::At(position.sequence.clone()),
            (Position::ShardEnd, _) => return Err(NoStart::Ended),
        };
        let checkpoint = row.checkpoint.record().cloned();
        Ok(Self { at, checkpoint, settled: settled_until(row), gaps_after: Some(row.checkpoint.clone()) })
    }

    /// Where the records of an intent begin. Its replay knows best what is missing of it.
    pub(crate) fn intent(first: &RecordPosition) -> Self {
        Self { at: OpenAt::At(first.sequence.clone()), checkpoint: None, settled: None, gaps_after: None }
    }
}

/// All that arrived up to this time is settled, as a row says: the arrival of the checkpointed record, or later where a shard lay
/// idle; without one, the pinned start, since what came before was not asked for. `None` of a first row at the oldest record.
pub(crate) fn settled_until(row: &LeaseRow) -> Option<UnixMillis> {
    match &row.checkpoint {
        Position::After(_) | Position::TrimHorizon => row.arrival,
        // At zero is pinned who is to begin at the oldest record.
        Position::Latest | Position::AtTimestamp => row.arrival.max(row.start.filter(|start| start.0 > 0)),
        Position::ShardEnd => None,
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
    fn a_row_without_a_position_is_settled_up_to_its_start_or_what_is_known_since() {
        let (old, young) = (Some(UnixMillis(7)), Some(UnixMillis(9)));
        for (checkpoint, arrival, start, settled) in [
            (Position::Latest, None, old, old),
            (Position::Latest, young, old, young),
            (Position::AtTimestamp, old, young, young),
            (Position::AtTimestamp, None, Some(UnixMillis(0)), None),
            (Position::TrimHorizon, None, None, None),
            (Position::TrimHorizon, old, None, old),
        ] {
            let row = LeaseRow { arrival, start, ..row(checkpoint) };
            assert_eq!(ReadFrom::row(&row).unwrap().settled, settled, "{row:?}");
        }
    }

    #[test]
    fn a_checkpoint_is_read_again_so_that_its_absence_is_noticed() {
        let position = RecordPosition::parse("17/3").unwrap();
        let from = ReadFrom::row(&row(Position::After(position.clone()))).unwrap();
        assert_eq!(from.at, OpenAt::At(position.sequence.clone()));
        assert_eq!((from.checkpoint, from.settled), (Some(position), None));
    }
}
