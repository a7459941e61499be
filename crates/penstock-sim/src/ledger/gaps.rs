//! What is lost by somebody else's doing, and that the gap ledger names it before a checkpoint passes it.

use bytes::Bytes;
use penstock_core::gap::{GapEnd, GapEntry, GapReason};
use penstock_core::ids::LeaseKey;
use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;

use super::rows::decoded;
use super::{Found, Ledger, TOLD_FIRST, require};
use crate::stream::{ShardNumber, Streams};

impl Ledger {
    /// The gap ledger holds an entry.
    pub fn on_gap(&mut self, entry: GapEntry) {
        self.told.push(entry);
    }

    /// What arrived before `until` is gone.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_trim(&mut self, streams: &Streams, until: UnixMillis, rows: &[LeaseRow]) -> Found {
        for (number, shard) in streams.shards().iter().enumerate() {
            for (_, id) in &shard.users[..shard.users_before(until)] {
                self.lose(streams, number, *id);
            }
        }
        rows.iter().try_for_each(|row| self.excuse(row))
    }

    /// A stream was deleted: what was not read of it is gone, and nobody is asked to tell.
    pub fn on_stream_gone(&mut self, streams: &Streams) {
        for (number, shard) in streams.shards().iter().enumerate() {
            if streams.is_of_recreated(number) && !streams.is_listed(number) {
                self.disturbed.insert(number);
                for (_, id) in &shard.users {
                    self.settle(streams, number, *id);
                }
            }
        }
    }

    /// A record was written to a stream that nobody is to read any more.
    pub fn on_unread(&mut self, streams: &Streams, shard: ShardNumber, id: u64) {
        self.settle(streams, shard, id);
    }

    fn lose(&mut self, streams: &Streams, shard: ShardNumber, id: u64) {
        if !self.settled.contains(&id) {
            self.passed.insert(id);
            self.trimmed.insert(id);
            self.settle(streams, shard, id);
        }
    }

    /// Somebody else answers for all up to a position.
    pub(super) fn pass(&mut self, streams: &Streams, shard: ShardNumber, position: &RecordPosition) {
        let of = &streams.shards()[shard];
        for (_, id) in &of.users[..of.users_up_to(position)] {
            if !self.settled.contains(id) {
                self.passed.insert(*id);
                self.settle(streams, shard, *id);
            }
        }
    }

    /// An operator gave up what an intent holds, or skipped to a position: all up to it is passed, and what was announced may stand
    /// in objects.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_skipped(&mut self, streams: &Streams, row: &LeaseRow, position: &RecordPosition) -> Found {
        if let Some(number) = streams.number(&row.key) {
            self.pass(streams, number, position);
        }
        self.excuse(row)
    }

    pub(super) fn excuse(&mut self, row: &LeaseRow) -> Found {
        let Some(intent) = &row.intent else { return Ok(()) };
        self.excused.extend(decoded(intent)?.objects.into_iter().map(|object| object.key));
        Ok(())
    }

    /// What an intent leaves out before its first record is told before it is recorded, what its objects lack before its commit; and
    /// that a row is not the first of its key, before anything is written of it but its owner.
    pub(super) fn told_first(&self, streams: &Streams, before: &LeaseRow, after: &LeaseRow) -> Found {
        let Some(number) = streams.number(&after.key) else { return Ok(()) };
        let moves = after.checkpoint != before.checkpoint || after.intent != before.intent;
        let known = !moves || !self.recreated.contains(&after.key) || streams.is_of_recreated(number);
        require(known || self.has_told(&after.key, GapReason::RowRecreated), TOLD_FIRST, || {
            format!("{} was created a second time, and the ledger does not know", after.key)
        })?;
        let shard = &streams.shards()[number];
        let unread = after.checkpoint == Position::ShardEnd && before.checkpoint == Position::TrimHorizon;
        let expired =
            unread && !streams.is_listed(number) && shard.users.iter().any(|(_, id)| self.trimmed.contains(id));
        require(!expired || self.has_told(&after.key, GapReason::ShardExpired), TOLD_FIRST, || {
            format!("{} expired unread, and the ledger does not know", after.key)
        })?;
        let lost = |index: &usize| {
            let (position, id) = &shard.users[*index];
            self.trimmed.contains(id)
                && !self.objects.contains_key(id)
                && !self.names(&after.key, position, shard.arrival_of(position))
        };
        let lost = self.passed_by(&shard.users, before, after)?.into_iter().find(lost);
        require(lost.is_none(), TOLD_FIRST, || {
            let record = lost.map(|index| &shard.users[index]);
            format!("checkpoint {} of {} passes the trimmed record {record:?}", after.checkpoint, after.key)
        })
    }

    /// The user records that a write passes.
    fn passed_by(
        &self,
        users: &[(RecordPosition, u64)],
        before: &LeaseRow,
        after: &LeaseRow,
    ) -> Result<Vec<usize>, crate::world::Violation> {
        // Who never had a position starts at the oldest record there is, and that is no gap.
        let beyond = |row: &LeaseRow| match &row.checkpoint {
            Position::After(position) => count_while(users, |at| at <= position),
            Position::TrimHorizon | Position::Latest | Position::AtTimestamp | Position::ShardEnd => users.len(),
        };
        let first = |intent: &Bytes| Ok(decoded(intent)?.first).map(|first| count_while(users, |at| *at < first));
        let mut passed = Vec::new();
        let until = match &after.checkpoint {
            Position::After(last) => Some(count_while(users, |at| at <= last)),
            Position::ShardEnd => Some(users.len()),
            Position::TrimHorizon | Position::Latest | Position::AtTimestamp => None,
        };
        if let Some(until) = until.filter(|_| before.checkpoint != after.checkpoint) {
            let from = before.intent.as_ref().map_or_else(|| Ok(beyond(before)), first)?;
            passed.extend(from..until);
        }
        if let Some(intent) = after.intent.as_ref().filter(|intent| before.intent.as_ref() != Some(*intent)) {
            passed.extend(beyond(after)..first(intent)?);
        }
        Ok(passed)
    }

    fn has_told(&self, key: &LeaseKey, reason: GapReason) -> bool {
        self.told.iter().any(|entry| entry.lease == *key && entry.reason == reason)
    }

    /// Whether an entry names a record.
    fn names(&self, key: &LeaseKey, position: &RecordPosition, arrival: Option<UnixMillis>) -> bool {
        self.told.iter().filter(|entry| entry.lease == *key).any(|entry| {
            let begins = match &entry.range.after {
                Position::After(after) => position > after,
                Position::TrimHorizon | Position::Latest | Position::AtTimestamp => true,
                Position::ShardEnd => false,
            };
            let ends = match &entry.range.end {
                GapEnd::Unknown => true,
                GapEnd::Through(last) => position <= last,
                GapEnd::Before(next) => position.sequence < *next,
                GapEnd::Until(time) => arrival.is_some_and(|arrival| arrival < *time),
            };
            begins && ends
        })
    }
}

fn count_while(users: &[(RecordPosition, u64)], before: impl Fn(&RecordPosition) -> bool) -> usize {
    users.partition_point(|(at, _)| before(at))
}
