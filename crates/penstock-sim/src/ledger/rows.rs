//! What must hold of the rows of the lease table: who may write what, whose a lease is, and since when it is proven.

use std::time::Duration;

use bytes::Bytes;
use penstock_core::ids::{LeaseKey, WorkerId};
use penstock_core::intent::{Intent, codec};
use penstock_core::lease::{LeaseRow, LeaseWrite};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;

use super::{
    DELIVERED_FIRST, Erased, FENCED, Found, Holder, Ledger, Move, NOT_BY_ITSELF, ONE_OWNER, ONLY_GROWS, PINNED,
    RECORDED_FIRST, ROWS_STAY, require,
};
use crate::stream::{ShardNumber, Streams};
use crate::world::Violation;

/// What is known of a write as its worker sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When the same bytes were first sent.
    pub first: Duration,
    /// Whether it makes its worker the owner, perhaps once more.
    pub takes: bool,
    /// The tenure of the lease as it was sent.
    pub tenure: u64,
    /// Of when the row is that its worker went by.
    pub looked: Duration,
}

/// What is known of a create as its worker sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// When it was sent.
    pub sent: Duration,
    /// Whether its worker had heard of an earlier row under the key that was read from.
    pub seen: bool,
}

/// What a worker hears of a write that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Whether the row stood as another write of the same worker in the same tenure had left it.
    pub own_doing: bool,
    /// When it was refused.
    pub at: Duration,
}

impl Ledger {
    /// A stranger wrote a row.
    pub fn on_touch(&mut self, key: &LeaseKey) {
        self.touched.insert(key.clone());
    }

    /// A tool wrote a row, and so ended the tenure of whoever held it.
    pub fn on_tool(&mut self, key: &LeaseKey) {
        self.tooled.insert(key.clone());
        self.unknowing.insert(key.clone());
        self.holders.remove(key);
    }

    /// A worker of another make took a lease, from whoever had it.
    pub fn on_foreign_take(&mut self, key: &LeaseKey, worker: &WorkerId) {
        self.holders.insert(key.clone(), Holder { worker: worker.clone(), by_force: true });
        self.last_holders.insert(key.clone(), worker.clone());
    }

    /// Somebody who is no worker took a row away.
    pub fn on_erased(&mut self, streams: &Streams, key: &LeaseKey, now: Duration) {
        self.erased.insert(key.clone(), Erased { at: now, told: self.told.len() });
        self.noticed.retain(|(_, noticed)| noticed != key);
        self.to_tell.remove(key);
        self.pinned.remove(key);
        self.holders.remove(key);
        self.last_writes.remove(key);
        self.unknowing.insert(key.clone());
        if let Some(number) = streams.number(key) {
            self.disturbed.insert(number);
        }
    }

    /// A row was created. One that starts without a position leaves out what arrived before the time that it is pinned to, and
    /// nothing else, ever.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_create(&mut self, streams: &Streams, row: &LeaseRow, made: Made, now: UnixMillis) -> Found {
        let key = &row.key;
        let Some(number) = streams.number(key) else {
            return require(false, DELIVERED_FIRST, || format!("{key} is no shard"));
        };
        let first = self.created.insert(key.clone());
        let again = self.disturbed.contains(&number) || streams.is_of_recreated(number);
        require(first || again, ROWS_STAY, || format!("{key} was created a second time"))?;
        // Who never heard of the row that is gone has nothing to tell.
        if !first && made.seen {
            self.recreated.insert(key.clone());
        }
        // A create that was sent while there was an earlier row, and comes about when that is deleted, has the counter of its time:
        // nothing can be asked of a row that is not there.
        let late = self.erased.get(key).is_some_and(|erased| made.sent < erased.at);
        let highest = self.counters.get(key).copied().filter(|_| !late);
        require(highest.is_none_or(|highest| row.counter > highest), ONLY_GROWS, || {
            format!("{key} was created with counter {}, an earlier row had {highest:?}", row.counter)
        })?;
        self.counters.insert(key.clone(), row.counter);
        if matches!(row.checkpoint, Position::TrimHorizon) {
            return Ok(());
        }
        let pinned = row.start.filter(|start| *start <= now);
        require(pinned.is_some() || !self.rules, PINNED, || {
            format!("{key} starts at {} of {:?}", row.checkpoint, row.start)
        })?;
        // Whatever the row says: the start is when it was made, at the latest.
        self.pin(streams, number, pinned.unwrap_or(now));
        Ok(())
    }

    /// A shard starts at a time: what came before is not asked for.
    fn pin(&mut self, streams: &Streams, number: ShardNumber, start: UnixMillis) {
        let shard = &streams.shards()[number];
        self.pinned.insert(shard.key.clone(), start);
        for (_, id) in &shard.users[..shard.users_before(start)] {
            self.settle(streams, number, *id);
        }
    }

    /// Whoever takes a row of the KCL without a position pins its start.
    fn on_adopted(&mut self, streams: &Streams, (before, after): (&LeaseRow, &LeaseRow)) {
        if let (Some(number), None, Some(start)) = (streams.number(&after.key), before.start, after.start) {
            self.pin(streams, number, start);
        }
    }

    /// A worker of another make created a row, as it always does: with a counter of zero.
    pub fn on_foreign_create(&mut self, row: &LeaseRow) {
        self.created.insert(row.key.clone());
        self.counters.entry(row.key.clone()).or_insert(row.counter);
    }

    /// A completed row of a shard was deleted in order.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_delete(&mut self, streams: &Streams, row: &LeaseRow) -> Found {
        let Some(number) = streams.number(&row.key) else { return Ok(()) };
        let ended = row.checkpoint == Position::ShardEnd;
        let listed = streams.is_listed(number);
        require(!self.rules || !listed, ROWS_STAY, || format!("{} was deleted (ended: {ended})", row.key))?;
        if listed {
            // Only the effect counts then: whether anything of it is read again.
            self.created.remove(&row.key);
        } else {
            self.disturbed.insert(number);
        }
        Ok(())
    }

    /// A worker of another make wrote a checkpoint: it processed by itself what it passed.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_foreign_checkpoint(&mut self, streams: &Streams, row: &LeaseRow) -> Found {
        let (Some(number), Position::After(position)) = (streams.number(&row.key), &row.checkpoint) else {
            return Ok(());
        };
        self.overtaken.insert(number);
        // It began where it liked: how is not ours to tell any more.
        self.pinned.remove(&row.key);
        self.pass(streams, number, position);
        self.excuse(row)
    }

    /// A write of `worker` was applied.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_write(
        &mut self,
        streams: &Streams,
        worker: &WorkerId,
        (before, after): (&LeaseRow, &LeaseRow),
        write: &LeaseWrite,
        sent: Sent,
        now: Duration,
    ) -> Found {
        let key = &after.key;
        require(sent.takes || before.owner.as_ref() == Some(worker), FENCED, || {
            format!("{worker} wrote {key}, which belongs to {:?}", before.owner)
        })?;
        require(sent.takes || !self.tooled.contains(key), FENCED, || {
            format!("{worker} wrote {key}, whose tenure a tool had ended")
        })?;
        self.change_hands(worker, (before, after), sent, now)?;
        let proven = self.proven.entry((key.clone(), worker.clone())).or_default();
        *proven = sent.first.max(*proven);
        self.last_writes.insert(key.clone(), (worker.clone(), self.tenure_of(key), write.clone()));
        if let Some(intent) = &after.intent {
            self.announced.extend(decoded(intent)?.objects.into_iter().map(|object| object.key));
        }
        self.counters.insert(key.clone(), after.counter);
        require(after.counter > before.counter, ONLY_GROWS, || {
            format!("{worker} wrote counter {} of {key} over {}", after.counter, before.counter)
        })?;
        require(after.checkpoint >= before.checkpoint, ONLY_GROWS, || {
            format!("{worker} wrote checkpoint {} of {key} over {}", after.checkpoint, before.checkpoint)
        })?;
        self.on_adopted(streams, (before, after));
        self.told_first(streams, before, after)?;
        if after.checkpoint == before.checkpoint { Ok(()) } else { self.on_checkpoint(streams, worker, after) }
    }

    fn change_hands(
        &mut self,
        worker: &WorkerId,
        (before, after): (&LeaseRow, &LeaseRow),
        sent: Sent,
        now: Duration,
    ) -> Found {
        let key = &after.key;
        if sent.takes {
            let live = before.owner.as_ref().filter(|owner| **owner != *worker && self.is_live(key, owner, now));
            let asked = self.wishes.get(&(key.clone(), worker.clone())).copied();
            let unanswered = asked.is_some_and(|wish| self.is_unanswered(wish, before, sent, now));
            require(live.is_none() || unanswered, ONE_OWNER, || {
                format!("{worker} took {key} from {live:?}, which is live; asked for it: {asked:?}; {sent:?}")
            })?;
            // A take whose answer was lost is made again, and no less by force for that.
            let again = self.holders.get(key).is_some_and(|holder| holder.worker == *worker && holder.by_force);
            let by_force = self.unknowing.remove(key) || live.is_some() || again || self.was_robbed(key, worker, now);
            self.touched.remove(key);
            self.tooled.remove(key);
            self.on_known_take(worker, key);
            *self.tenures.entry(key.clone()).or_default() += 1;
            self.holders.insert(key.clone(), Holder { worker: worker.clone(), by_force });
            let last = self.last_holders.insert(key.clone(), worker.clone());
            if let Some(from) = last.filter(|last| last != worker) {
                self.moves.push(Move { at: now, key: key.clone(), from, to: worker.clone() });
            }
        } else if after.owner.as_ref() != Some(worker) {
            self.holders.remove(key);
            if let Some(next) = after.owner.clone() {
                self.holders.insert(key.clone(), Holder { worker: next, by_force: false });
            }
        }
        self.on_answer(before, after);
        Ok(())
    }

    /// Whether somebody lost a lease by force that `worker` takes from the one who did that, and still believes in it.
    fn was_robbed(&self, key: &LeaseKey, worker: &WorkerId, now: Duration) -> bool {
        let Some(robber) = self.holders.get(key).filter(|holder| holder.by_force) else { return false };
        let others = self.proven.keys().filter(|(of, other)| of == key && other != worker && *other != robber.worker);
        others.into_iter().any(|(_, other)| self.believes(key, other, now))
    }

    /// Whether a worker may still believe in a lease.
    pub(super) fn believes(&self, key: &LeaseKey, worker: &WorkerId, now: Duration) -> bool {
        self.lasts(self.proven.get(&(key.clone(), worker.clone())), now)
    }

    /// Whether a worker still believes in a lease by what it has heard.
    #[must_use]
    pub fn knows(&self, key: &LeaseKey, worker: &WorkerId, now: Duration) -> bool {
        self.lasts(self.acknowledged.get(&(key.clone(), worker.clone())), now)
    }

    /// A worker keeps a twentieth back.
    fn lasts(&self, since: Option<&Duration>, now: Duration) -> bool {
        since.is_some_and(|since| now < *since + self.failover - self.failover / 20)
    }

    /// A worker heard that the table took a write of its own.
    pub fn on_acknowledged(&mut self, worker: &WorkerId, key: &LeaseKey, sent: Sent) {
        self.acknowledged.insert((key.clone(), worker.clone()), sent.first);
    }

    /// Whether nobody else may take a lease for expired.
    fn is_live(&self, key: &LeaseKey, worker: &WorkerId, now: Duration) -> bool {
        let held = self.holders.get(key).is_none_or(|holder| holder.worker == *worker);
        let proven = self.proven.get(&(key.clone(), worker.clone()));
        held && proven.is_some_and(|proven| now < *proven + self.failover)
    }

    /// The tenure of a lease that a write belongs to which is sent now.
    #[must_use]
    pub fn tenure_now(&self, key: &LeaseKey) -> u64 {
        self.tenure_of(key)
    }

    /// A write was refused: whether by another write of the same tenure.
    #[must_use]
    pub fn on_refused(&self, worker: &WorkerId, write: &LeaseWrite, sent: Sent, now: Duration) -> Heard {
        let last = self.last_writes.get(&write.key);
        let own_doing = last.is_some_and(|(by, tenure, last)| by == worker && *tenure == sent.tenure && last != write);
        // A stranger may have written since; and of a take nothing is believed anyway.
        Heard { own_doing: own_doing && !sent.takes && !self.is_disturbed(&write.key), at: now }
    }

    fn is_disturbed(&self, key: &LeaseKey) -> bool {
        self.touched.contains(key)
            || self.tooled.contains(key)
            || self.holders.get(key).is_some_and(|holder| holder.by_force)
    }

    /// A worker heard that a write of its own was refused.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_heard(&self, worker: &WorkerId, write: &LeaseWrite, heard: Heard) -> Found {
        require(!heard.own_doing, NOT_BY_ITSELF, || {
            format!("a write of {worker} to {} at {} met another write of its own", write.key, write.expect.counter)
        })
    }

    fn on_checkpoint(&mut self, streams: &Streams, worker: &WorkerId, row: &LeaseRow) -> Found {
        let key = &row.key;
        let Some(number) = streams.number(key) else {
            return require(false, DELIVERED_FIRST, || format!("{key} is no shard"));
        };
        let shard = &streams.shards()[number];
        let covered = match &row.checkpoint {
            Position::After(position) => shard.users_up_to(position),
            Position::ShardEnd => {
                self.ended.insert(number);
                require(shard.is_closed(), DELIVERED_FIRST, || format!("{worker} ended {key}, which is open"))?;
                shard.users.len()
            }
            Position::AtTimestamp | Position::TrimHorizon | Position::Latest => 0,
        };
        let prefix = self.prefix(number);
        require(covered <= prefix, DELIVERED_FIRST, || {
            format!("{worker} wrote checkpoint {} of {key}: {covered} records, {prefix} are delivered", row.checkpoint)
        })
    }
}

pub(super) fn decoded(intent: &Bytes) -> Result<Intent, Violation> {
    let unreadable =
        |problem| Violation { invariant: RECORDED_FIRST, seen: format!("an intent cannot be read: {problem}") };
    codec::decode(intent).map_err(unreadable)
}
