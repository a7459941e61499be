//! Notices that records are gone which nobody read: before a chunk is handed on, by what it begins with and by the time.
//!
//! The service goes on in silence with the oldest record that it has. A reader that is nearly as far behind as a stream may keep
//! records begins each fetch at the record that it handed on last: while that one is there, so is all behind it.

use std::time::Duration;

use penstock_core::chunk::Chunk;
use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::time::UnixMillis;

use super::{Reader, State, TRIM_SLACK};
use crate::ports::SeamError;
use crate::shard::pulse::Part;

impl Reader {
    /// Whether what follows upon the record that was handed on last may be gone by `now`, and the next answer may show whether it
    /// is.
    ///
    /// It does not ask what the stream keeps: that may have been changed a moment ago, and back again.
    pub(super) fn may_be_overtaken(&self, now: UnixMillis) -> bool {
        let looks = self.from.gaps_after.is_some() && self.handed.is_some() && !self.proves && !self.shown_alone;
        let least = self.ctx.worker.settings.source.least_retention;
        looks && self.read_until.is_some_and(|until| now.since(until) + slack(least) > least)
    }

    /// Reads on from the record that was handed on last.
    pub(super) const fn prove(&mut self) -> State {
        self.proves = true;
        State::Opening
    }

    /// What is missing before an answer that came at `now`. A record that only proves that nothing is, is taken out of it.
    pub(super) async fn gap_before(
        &mut self,
        chunk: &mut Chunk,
        decides: bool,
        now: UnixMillis,
    ) -> Result<Option<GapEntry>, SeamError> {
        let first = chunk.records().next().map(|first| parsed(first.sequence));
        if self.proves && first.is_some() && first.as_ref() == self.handed.as_ref().map(|(sequence, _)| sequence) {
            chunk.remove_first();
            return Ok(None);
        }
        let gone = decides && if self.proves { self.was_overtaken(now).await? } else { self.is_outrun(now).await? };
        if !gone && !self.begins_behind_a_gap(first.as_ref(), decides, now).await? {
            return Ok(None);
        }
        let Some(after) = self.unread() else { return Ok(None) };
        let end = first.map_or(GapEnd::Unknown, GapEnd::Before);
        Ok(Some(self.ctx.gap(GapReason::Trimmed, GapRange { after, end })))
    }

    /// Whether what the last answer left open has to wait for a record or the tip: an answer without either tells nothing of it.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.proves || self.shown_alone || (self.arrived && self.handed.is_none())
    }

    /// The record that was handed on last is gone. So may be others behind it, unless it was due while they are not: it may be
    /// far older than all that arrived since the last answer.
    async fn was_overtaken(&self, now: UnixMillis) -> Result<bool, SeamError> {
        let kept = self.retention().await?;
        let due = self.handed.as_ref().is_some_and(|(_, arrival)| now.since(*arrival) + slack(kept) > kept);
        Ok(!due || self.read_until.is_some_and(|until| now.since(until) > kept))
    }

    /// Where no record can be read again that would show it: between the last answer and this one more time has passed than the
    /// stream keeps records.
    async fn is_outrun(&self, now: UnixMillis) -> Result<bool, SeamError> {
        let Some(until) = self.read_until.filter(|_| self.from.gaps_after.is_some() && self.is_in_doubt()) else {
            return Ok(false);
        };
        let is_older = |kept: Duration| {
            let age = now.since(until);
            // Whoever reads at the end of the retention is always about as old as it, and whoever was at the tip is not.
            if self.handed.is_some() { age.saturating_sub(slack(kept)) > kept } else { age + slack(kept) > kept }
        };
        Ok(is_older(self.ctx.worker.settings.source.least_retention) && is_older(self.retention().await?))
    }

    /// The checkpointed record is the first to be read, or it is gone, and then others after it may be. Where there is no
    /// checkpointed record, whatever came since the start may be gone.
    ///
    /// Nothing is if all that arrived up to a time is settled, and what arrived later is still kept: that time stands in the
    /// row. It is the arrival of the checkpointed record, or the pinned start, and where a shard lies idle its owner moves it
    /// on: see [`super::ReaderItem::AtTip`]. So a shard without records for longer than the retention has no gap at each change
    /// of its owner, though nothing was ever written to it. A row that the KCL wrote names no time beside its checkpoint, and
    /// then nobody can tell. A first row at the oldest record names none either, and nothing that came before was promised.
    async fn begins_behind_a_gap(
        &self,
        first: Option<&SequenceNumber>,
        decides: bool,
        now: UnixMillis,
    ) -> Result<bool, SeamError> {
        if self.arrived || !decides {
            return Ok(false);
        }
        if first.is_some() && first == self.from.checkpoint.as_ref().map(|checkpoint| &checkpoint.sequence) {
            return Ok(false);
        }
        let settled = match (&self.from.checkpoint, self.from.settled) {
            (Some(_), Some(settled)) => settled,
            // Nothing arrived before the stream was there.
            (None, Some(settled)) => settled.max(self.ctx.stream.description.created),
            (checkpoint, None) => return Ok(checkpoint.is_some()),
        };
        let kept = self.retention().await?;
        Ok(now.since(settled) + slack(kept) > kept)
    }

    /// As it is now: it may have been changed since the start, and so may the stream.
    async fn retention(&self) -> Result<Duration, SeamError> {
        let stream = self.describe().await?;
        stream.is_of(self.ctx.stream.description.created)?;
        Ok(stream.retention)
    }

    /// What this shard has not read begins behind this; `None` if somebody else looks for gaps.
    fn unread(&self) -> Option<Position> {
        let gaps_after = self.from.gaps_after.clone()?;
        let handed = self.handed.as_ref().map(|(sequence, _)| {
            // The record, with whatever it carries.
            Position::After(RecordPosition { sequence: sequence.clone(), subsequence: 0 })
        });
        Some(handed.unwrap_or(gaps_after))
    }

    /// The shard is gone before it was read to its end.
    pub(super) async fn record_expired(&self) {
        let Some(after) = self.unread() else { return };
        let gap = self.ctx.gap(GapReason::ShardExpired, GapRange { after, end: GapEnd::Unknown });
        self.ctx.record_gap(Part::Reader, &gap).await;
    }
}

/// The service may trim a little early, but not by much of a short retention.
fn slack(retention: Duration) -> Duration {
    TRIM_SLACK.min(retention / 100)
}

pub(super) fn parsed(sequence: &str) -> SequenceNumber {
    SequenceNumber::parse(sequence).expect("checked when the chunk was built")
}
