//! Notices that records are gone which nobody read: before a chunk is handed on, by what it begins with and by the time.

use std::time::Duration;

use penstock_core::chunk::Chunk;
use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::time::{Now, UnixMillis};

use super::{Reader, TRIM_SLACK};
use crate::ports::SeamError;
use crate::shard::context::LEAST_RETENTION;
use crate::shard::pulse::Part;

/// How long an answer about the retention is good enough for a shard that is within it.
const ASK_AGAIN: Duration = Duration::from_secs(600);

impl Reader {
    /// What may be missing before an answer that came at `now`.
    pub(super) async fn gap_before(
        &mut self,
        chunk: &Chunk,
        nothing_left: bool,
        now: Now,
    ) -> Result<Option<GapEntry>, SeamError> {
        let outrun = self.is_outrun(now.wall).await?;
        if !outrun && !self.begins_behind_a_gap(chunk, nothing_left, now.wall).await? {
            return Ok(None);
        }
        let Some(after) = self.unread() else { return Ok(None) };
        let end = match chunk.records().next() {
            Some(first) => GapEnd::Before(parsed(first.sequence)),
            None => GapEnd::Unknown,
        };
        Ok(Some(self.ctx.gap(GapReason::Trimmed, GapRange { after, end })))
    }

    /// Between the last answer and this one more time has passed than the stream keeps records: the service goes on in silence
    /// with the oldest that it has.
    async fn is_outrun(&mut self, now: UnixMillis) -> Result<bool, SeamError> {
        let Some(until) = self.read_until else { return Ok(false) };
        // Less than it: whoever reads at the end of the retention is always about as old as it.
        let age = now.since(until).saturating_sub(TRIM_SLACK);
        if age <= self.ctx.stream.description.retention.min(LEAST_RETENTION) {
            return Ok(false);
        }
        // The retention may have been changed since the start. A shard that is far behind does not ask for each answer.
        let now = self.ctx.worker.clock.now().instant;
        let recent = self.kept.filter(|(asked, _)| now.since(*asked) < ASK_AGAIN);
        if recent.is_some_and(|(_, kept)| age <= kept) {
            return Ok(false);
        }
        let kept = self.retention().await?;
        self.kept = Some((now, kept));
        Ok(age > kept)
    }

    /// The checkpointed record is the first to be read, or it is gone, and then others after it may be. Where there is no
    /// checkpointed record, whatever came since the start may be gone.
    ///
    /// Nothing is if all that arrived up to a time is settled, and what arrived later is still kept: that time stands in the
    /// row. It is the arrival of the checkpointed record, or the pinned start, and where a shard lies idle its owner moves it
    /// on: see [`super::ReaderItem::AtTip`]. So a shard without records for longer than the retention has no gap at each change
    /// of its owner, though nothing was ever written to it. A row that the KCL wrote names no time beside its checkpoint, and
    /// then nobody can tell. A first row at the oldest record names none either, and nothing that came before was promised.
    async fn begins_behind_a_gap(&self, chunk: &Chunk, nothing_left: bool, now: UnixMillis) -> Result<bool, SeamError> {
        if self.arrived {
            return Ok(false);
        }
        match (chunk.records().next(), &self.from.checkpoint) {
            (Some(first), Some(checkpoint)) if parsed(first.sequence) == checkpoint.sequence => return Ok(false),
            (None, _) if !nothing_left => return Ok(false),
            (Some(_) | None, _) => {}
        }
        let settled = match (&self.from.checkpoint, self.from.settled) {
            (Some(_), Some(settled)) => settled,
            // Nothing arrived before the stream was there.
            (None, Some(settled)) => settled.max(self.ctx.stream.description.created),
            (checkpoint, None) => return Ok(checkpoint.is_some()),
        };
        let retention = self.retention().await?;
        // The service may trim a little early, but not by much of a short retention.
        let slack = TRIM_SLACK.min(retention / 100);
        Ok(now.since(settled) + slack > retention)
    }

    /// As it is now: it may have been changed since the start.
    async fn retention(&self) -> Result<Duration, SeamError> {
        Ok(self.describe().await?.retention)
    }

    /// What this shard has not read begins behind this; `None` if somebody else looks for gaps.
    fn unread(&self) -> Option<Position> {
        let gaps_after = self.from.gaps_after.clone()?;
        let handed = self.handed.as_ref().map(|sequence| {
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

fn parsed(sequence: &str) -> SequenceNumber {
    SequenceNumber::parse(sequence).expect("checked when the chunk was built")
}
