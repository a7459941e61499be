//! What is lost by somebody else's doing, and that the gap ledger names it before a checkpoint passes it.

use bytes::Bytes;
use penstock_core::gap::{GapEnd, GapEntry, GapReason};
use penstock_core::ids::{LeaseKey, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;

use super::rows::decoded;
use super::{Found, Ledger, TOLD_FIRST, require};
use crate::stream::{Shard, ShardNumber, Streams};
use crate::world::Violation;

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
        let untold = |(position, id): &(RecordPosition, u64)| {
            self.was_lost(*id) && !self.names(&after.key, position, shard.arrival_of(position))
        };
        let expired = unread && !streams.is_listed(number) && shard.users.iter().any(untold);
        require(!expired, TOLD_FIRST, || format!("{} expired unread, and the ledger does not know", after.key))?;
        let lost = passed_by(shard, before, after)?.into_iter().find(|index| untold(&shard.users[*index]));
        require(lost.is_none(), TOLD_FIRST, || {
            let record = lost.map(|index| &shard.users[index]);
            format!("checkpoint {} of {} passes the trimmed record {record:?}", after.checkpoint, after.key)
        })
    }

    /// Whether a record was trimmed, and not read before that: what was read was delivered all the same.
    fn was_lost(&self, id: u64) -> bool {
        self.trimmed.contains(&id) && !self.objects.contains_key(&id) && !self.deliveries.contains_key(&id)
    }

    fn has_told(&self, key: &LeaseKey, reason: GapReason) -> bool {
        self.told.iter().any(|entry| entry.lease == *key && entry.reason == reason)
    }

    // === Before a shard starts ===

    /// A worker has seen that a row is gone, or that it is not the one of before.
    pub fn on_noticed(&mut self, worker: &WorkerId, key: &LeaseKey) {
        // What is deleted in order needs no word.
        if self.erased.contains_key(key) {
            self.noticed.insert((worker.clone(), key.clone()));
        }
    }

    /// A worker took a lease: what it has seen of the row is to be told before it does anything else with it.
    pub(super) fn on_known_take(&mut self, worker: &WorkerId, key: &LeaseKey) {
        if self.noticed.contains(&(worker.clone(), key.clone())) {
            let since = self.erased.get(key).map_or(0, |erased| erased.told);
            self.to_tell.insert(key.clone(), (worker.clone(), since));
        } else {
            self.to_tell.remove(key);
        }
    }

    /// A worker begins to deliver what a shard holds: the gap ledger holds what it has seen of the row, and what the row leaves out.
    pub(super) fn told_before_start(&self, worker: &WorkerId, key: &LeaseKey) -> Found {
        let to_tell = self.to_tell.get(key).filter(|(knows, _)| knows == worker);
        let recreated = |entry: &GapEntry| entry.lease == *key && entry.reason == GapReason::RowRecreated;
        let told = to_tell.is_none_or(|(_, since)| self.told[*since..].iter().any(recreated));
        require(told, TOLD_FIRST, || {
            format!("{worker} reads {key}, knows that its row is another one, and told nobody")
        })?;
        let holds = self.holders.get(key).is_some_and(|holder| holder.worker == *worker);
        let start = self.pinned.get(key).filter(|start| start.0 > 0 && holds);
        let late = |entry: &GapEntry, start: UnixMillis| {
            entry.reason == GapReason::StartedLate && entry.range.end == GapEnd::Until(start)
        };
        let noted = |start: &UnixMillis| self.told.iter().any(|entry| entry.lease == *key && late(entry, *start));
        require(start.is_none_or(noted), TOLD_FIRST, || {
            format!("{worker} reads {key} from {start:?} on, and the ledger does not know")
        })
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

/// The user records that a write passes, by their place in the shard.
fn passed_by(shard: &Shard, before: &LeaseRow, after: &LeaseRow) -> Result<Vec<usize>, Violation> {
    let users = &shard.users;
    // Who never had a position starts at the oldest record there is; but what arrived after all was settled that was there is missed.
    let known = |settled: Option<UnixMillis>| settled.map_or(users.len(), |settled| shard.users_before(settled));
    let beyond = |row: &LeaseRow| match &row.checkpoint {
        Position::After(position) => shard.users_up_to(position),
        Position::TrimHorizon => known(row.arrival),
        Position::Latest | Position::AtTimestamp => known(row.arrival.max(row.start.filter(|start| start.0 > 0))),
        Position::ShardEnd => users.len(),
    };
    let first = |intent: &Bytes| Ok(decoded(intent)?.first).map(|first| users.partition_point(|(at, _)| *at < first));
    let mut passed = Vec::new();
    let until = match &after.checkpoint {
        Position::After(last) => Some(shard.users_up_to(last)),
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
