//! What must hold at every step, and what has to be remembered to tell: the invariants of the protocol.
//!
//! Nothing here looks into a worker. What a worker may believe follows from its writes that the table took, and when each was
//! first sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use penstock_core::ids::{LeaseKey, ShardId, WorkerId};
use penstock_core::intent::{Intent, codec};
use penstock_core::lease::LeaseRow;
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;

use crate::stream::Stream;
use crate::world::Violation;

type Found = Result<(), Violation>;

fn require(holds: bool, invariant: &'static str, seen: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(Violation { invariant, seen: seen() }) }
}

/// Each user record stands in exactly one object, in order, without a hole.
pub const EXACTLY_ONCE: &str = "every record is in exactly one object";
/// See the text.
pub const IN_ORDER: &str = "objects follow upon each other without a hole or an overlap";
/// See the text.
pub const DELIVERED_FIRST: &str = "nothing is checkpointed before it is delivered";
/// See the text.
pub const ONLY_GROWS: &str = "checkpoints and counters only grow";
/// See the text.
pub const FENCED: &str = "no write lands after its writer lost the lease";
/// See the text.
pub const PARENTS_FIRST: &str = "nothing of a child before its parents' end is stored";
/// See the text.
pub const PROVEN: &str = "deliveries begin only under a lease that is proven until they end";
/// See the text.
pub const RECORDED_FIRST: &str = "nothing is put before its intent is recorded";
/// See the text.
pub const NO_IDLE_REPEAT: &str = "a record is repeated only if its outcome was unknown or its lease moved";
/// See the text.
pub const ONE_CALL: &str = "where order is asked for, one call with records of a shard is under way";
/// See the text.
pub const PINNED: &str = "a start without a position is pinned to a time that has come";
/// See the text.
pub const TOLD_FIRST: &str = "a gap is told before a checkpoint passes it";
/// See the text.
pub const SAME_OBJECT: &str = "two different objects never meet under one key";
/// See the text.
pub const ROWS_STAY: &str = "rows of listed shards are never deleted nor created again";

/// What is known of a write as its worker sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When the same bytes were first sent.
    pub first: Duration,
    /// Whether it makes its worker the owner, perhaps once more.
    pub takes: bool,
    /// The gaps that its worker had told of.
    pub gaps: u64,
}

/// One delivery of a record by a call.
#[derive(Debug, Clone)]
struct Delivery {
    worker: WorkerId,
    tenure: u64,
    call: usize,
}

/// What is remembered of all effects.
#[derive(Debug)]
pub struct Ledger {
    failover: Duration,
    /// Whether the rules of the protocol are checked beside what they are good for.
    rules: bool,
    /// The object or call that each user record is settled by.
    settled: BTreeSet<u64>,
    objects: BTreeMap<u64, String>,
    deliveries: BTreeMap<u64, Vec<Delivery>>,
    answered_calls: BTreeSet<usize>,
    /// The calls that a worker waits for, with the shards and tenures of their records.
    open_calls: BTreeMap<usize, (WorkerId, BTreeSet<(usize, u64)>)>,
    /// The tenure of each shard whose records are in a call, as the call began.
    begun: BTreeMap<(usize, usize), u64>,
    /// The settled user records of each shard up to the first that is not.
    prefix: BTreeMap<usize, usize>,
    ended: BTreeSet<ShardId>,
    created: BTreeSet<LeaseKey>,
    /// When the last write of a worker that the table took was first sent.
    proven: BTreeMap<(LeaseKey, WorkerId), Duration>,
    tenures: BTreeMap<LeaseKey, u64>,
    /// Rows that a stranger wrote since they were taken. It may have left what a renewal of unknown outcome would have: such a
    /// lease counts as proven although nobody wrote it when its holder believes.
    touched: BTreeSet<LeaseKey>,
    /// The keys that stand in an intent that was recorded.
    announced: BTreeSet<String>,
    /// Records that a checkpoint which is not ours passed before they were settled: somebody else has them.
    passed: BTreeSet<u64>,
    /// Records that were trimmed before they were settled.
    trimmed: BTreeSet<u64>,
    /// The keys of the intents that were open then: their objects still are what was announced, and may hold such records.
    excused: BTreeSet<String>,
    /// How often a record was delivered again.
    pub repeats: u64,
}

impl Ledger {
    /// A ledger for workers with this failover time. `rules`: whether to check the protocol's rules beside what they are good
    /// for.
    #[must_use]
    pub const fn new(failover: Duration, rules: bool) -> Self {
        Self {
            failover,
            rules,
            settled: BTreeSet::new(),
            objects: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            answered_calls: BTreeSet::new(),
            open_calls: BTreeMap::new(),
            begun: BTreeMap::new(),
            prefix: BTreeMap::new(),
            ended: BTreeSet::new(),
            created: BTreeSet::new(),
            proven: BTreeMap::new(),
            tenures: BTreeMap::new(),
            touched: BTreeSet::new(),
            announced: BTreeSet::new(),
            passed: BTreeSet::new(),
            trimmed: BTreeSet::new(),
            excused: BTreeSet::new(),
            repeats: 0,
        }
    }

    /// The user records that are settled.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.settled.len()
    }

    /// The user records of `stream` that are not.
    pub fn missing<'a>(&'a self, stream: &'a Stream) -> impl Iterator<Item = u64> + 'a {
        (0..stream.written() as u64).filter(|id| !self.settled.contains(id))
    }

    /// Whether the end of a shard was stored.
    #[must_use]
    pub fn has_ended(&self, shard: &ShardId) -> bool {
        self.ended.contains(shard)
    }

    fn settle(&mut self, stream: &Stream, shard: usize, id: u64) {
        self.settled.insert(id);
        let users = &stream.shards()[shard].users;
        let prefix = self.prefix.entry(shard).or_default();
        while users.get(*prefix).is_some_and(|(_, id)| self.settled.contains(id)) {
            *prefix += 1;
        }
    }

    fn prefix(&self, shard: usize) -> usize {
        self.prefix.get(&shard).copied().unwrap_or(0)
    }

    // === Deliveries ===

    /// A worker begins a delivery of records of one lease that it will give up after `lasts`.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_begin(&self, worker: &WorkerId, key: &LeaseKey, now: Duration, lasts: Duration) -> Found {
        let proven = self.proven.get(&(key.clone(), worker.clone())).copied();
        let holds = proven.is_some_and(|proven| now + lasts <= proven + self.failover);
        require(!self.rules || holds || self.touched.contains(key), PROVEN, || {
            format!("{worker} begins to deliver {key} at {now:?} for {lasts:?}, its lease was proven at {proven:?}")
        })
    }

    /// A worker begins to put an object.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_begin_put(&self, worker: &WorkerId, object: &str) -> Found {
        let announced = !self.rules || self.announced.contains(object);
        require(announced, RECORDED_FIRST, || format!("{worker} begins to put {object}, which no intent names"))
    }

    /// A new object stands in the store.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_object(&mut self, stream: &Stream, object: &str, ids: &[u64]) -> Found {
        let mut next = None;
        for id in ids {
            let (shard, index) = place(stream, *id)?;
            require(!self.objects.contains_key(id), EXACTLY_ONCE, || {
                format!("{object} holds record {id} of {shard}, and so does {}", self.objects[id])
            })?;
            let expected = next.unwrap_or_else(|| (shard, self.prefix(shard)));
            let excused = next.is_none() && self.passed.contains(id) && self.excused.contains(object);
            require((shard, index) == expected || excused, IN_ORDER, || {
                format!("{object} holds record {id}, which is {index} of shard {shard}; expected is {expected:?}")
            })?;
            next = Some((shard, index + 1));
            self.parents_ended(stream, shard)?;
        }
        for id in ids {
            self.objects.insert(*id, object.to_owned());
            let (shard, _) = place(stream, *id)?;
            self.settle(stream, shard, *id);
        }
        Ok(())
    }

    /// A worker begins a call with records: none of them may be known to it to be delivered.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_begin_call(&mut self, stream: &Stream, worker: &WorkerId, call: usize, ids: &[u64]) -> Found {
        for id in ids {
            let (shard, _) = place(stream, *id)?;
            let tenure = self.tenure(stream, shard);
            self.begun.insert((call, shard), tenure);
            let known = self.deliveries.get(id).into_iter().flatten().find(|earlier| {
                earlier.worker == *worker && earlier.tenure == tenure && self.answered_calls.contains(&earlier.call)
            });
            require(known.is_none(), NO_IDLE_REPEAT, || {
                format!("{worker} sends record {id} again, known to be delivered: {known:?}")
            })?;
        }
        Ok(())
    }

    /// A worker begins to wait for a call with records of these shards. `ordered`: whether it promised to wait for one at a time.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_wait(
        &mut self,
        stream: &Stream,
        worker: &WorkerId,
        call: usize,
        shards: &BTreeSet<usize>,
        ordered: bool,
    ) -> Found {
        // What an earlier tenure left on its way is as unknown as what another worker did.
        let tenures: BTreeSet<(usize, u64)> =
            shards.iter().map(|shard| (*shard, self.tenure(stream, *shard))).collect();
        let overtakes = self.open_calls.iter().find(|(_, (who, open))| who == worker && !open.is_disjoint(&tenures));
        let found = require(!ordered || overtakes.is_none(), ONE_CALL, || {
            format!("{worker} begins call {call} with records of {tenures:?} while {overtakes:?} is under way")
        });
        self.open_calls.insert(call, (worker.clone(), tenures));
        found
    }

    /// A worker waits no more for a call, whether or not it heard how it ended.
    pub fn on_wait_ended(&mut self, call: usize) {
        self.open_calls.remove(&call);
    }

    fn tenure(&self, stream: &Stream, shard: usize) -> u64 {
        let key = LeaseKey::single_stream(&stream.shards()[shard].id);
        self.tenures.get(&key).copied().unwrap_or(0)
    }

    /// A call took records.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_call(&mut self, stream: &Stream, worker: &WorkerId, call: usize, ids: &[u64]) -> Found {
        for id in ids {
            let (shard, _) = place(stream, *id)?;
            self.parents_ended(stream, shard)?;
            let tenure = self.begun.get(&(call, shard)).copied().unwrap_or(0);
            let earlier = self.deliveries.entry(*id).or_default();
            self.repeats += u64::from(!earlier.is_empty());
            earlier.push(Delivery { worker: worker.clone(), tenure, call });
            self.settle(stream, shard, *id);
        }
        Ok(())
    }

    /// A worker heard how a call ended.
    pub fn on_call_answered(&mut self, call: usize) {
        self.answered_calls.insert(call);
    }

    /// Records were set aside.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_set_aside(&mut self, stream: &Stream, ids: &[u64]) -> Found {
        for id in ids {
            let (shard, _) = place(stream, *id)?;
            self.parents_ended(stream, shard)?;
            self.settle(stream, shard, *id);
        }
        Ok(())
    }

    fn parents_ended(&self, stream: &Stream, shard: usize) -> Found {
        let shard = &stream.shards()[shard];
        let open = shard.parents.iter().find(|parent| !self.ended.contains(*parent));
        require(open.is_none(), PARENTS_FIRST, || format!("{} is delivered before the end of {open:?}", shard.id))
    }

    // === Rows ===

    /// A stranger wrote a row.
    pub fn on_touch(&mut self, key: &LeaseKey) {
        self.touched.insert(key.clone());
    }

    /// A row was created. One that starts without a position leaves out what arrived before the time that it is pinned to, and
    /// nothing else, ever.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_create(&mut self, stream: &Stream, row: &LeaseRow, now: UnixMillis) -> Found {
        let key = &row.key;
        require(self.created.insert(key.clone()), ROWS_STAY, || format!("{key} was created a second time"))?;
        if matches!(row.checkpoint, Position::TrimHorizon) {
            return Ok(());
        }
        let pinned = row.start.filter(|start| *start <= now);
        let (Some(start), Some(number)) = (pinned, stream.number(&key.shard_id())) else {
            return require(false, PINNED, || format!("{key} starts at {} of {:?}", row.checkpoint, row.start));
        };
        let shard = &stream.shards()[number];
        for (_, id) in &shard.users[..shard.users_before(start)] {
            self.settle(stream, number, *id);
        }
        Ok(())
    }

    /// A worker of another make wrote a checkpoint: it processed by itself what it passed.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_foreign_checkpoint(&mut self, stream: &Stream, row: &LeaseRow) -> Found {
        let (Some(number), Position::After(position)) = (stream.number(&row.key.shard_id()), &row.checkpoint) else {
            return Ok(());
        };
        let shard = &stream.shards()[number];
        for (_, id) in &shard.users[..shard.users_up_to(position)] {
            if !self.settled.contains(id) {
                self.passed.insert(*id);
                self.settle(stream, number, *id);
            }
        }
        self.excuse(row)
    }

    /// What arrived before `until` is gone.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_trim(&mut self, stream: &Stream, until: UnixMillis, rows: &[LeaseRow]) -> Found {
        for (number, shard) in stream.shards().iter().enumerate() {
            for (_, id) in &shard.users[..shard.users_before(until)] {
                if !self.settled.contains(id) {
                    self.passed.insert(*id);
                    self.trimmed.insert(*id);
                    self.settle(stream, number, *id);
                }
            }
        }
        rows.iter().try_for_each(|row| self.excuse(row))
    }

    fn excuse(&mut self, row: &LeaseRow) -> Found {
        let Some(intent) = &row.intent else { return Ok(()) };
        let intent = decoded(intent)?;
        self.excused.extend(intent.objects.into_iter().map(|object| object.key));
        Ok(())
    }

    /// A write of `worker` was applied.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_write(
        &mut self,
        stream: &Stream,
        worker: &WorkerId,
        before: &LeaseRow,
        after: &LeaseRow,
        sent: Sent,
    ) -> Found {
        let Sent { first: first_sent, takes, gaps } = sent;
        let key = &after.key;
        if takes {
            self.touched.remove(key);
            *self.tenures.entry(key.clone()).or_default() += 1;
        }
        let proven = self.proven.entry((key.clone(), worker.clone())).or_default();
        *proven = first_sent.max(*proven);
        if let Some(intent) = &after.intent {
            self.announce(intent)?;
        }
        require(takes || before.owner.as_ref() == Some(worker), FENCED, || {
            format!("{worker} wrote {key}, which belongs to {:?}", before.owner)
        })?;
        require(after.counter > before.counter, ONLY_GROWS, || {
            format!("{worker} wrote counter {} of {key} over {}", after.counter, before.counter)
        })?;
        require(after.checkpoint >= before.checkpoint, ONLY_GROWS, || {
            format!("{worker} wrote checkpoint {} of {key} over {}", after.checkpoint, before.checkpoint)
        })?;
        self.told(stream, before, after, gaps)?;
        if after.checkpoint == before.checkpoint { Ok(()) } else { self.on_checkpoint(stream, worker, after) }
    }

    fn announce(&mut self, intent: &Bytes) -> Found {
        let intent = decoded(intent)?;
        self.announced.extend(intent.objects.into_iter().map(|object| object.key));
        Ok(())
    }

    /// What an intent leaves out before its first record is told before it is recorded, what its objects lack before its commit.
    fn told(&self, stream: &Stream, before: &LeaseRow, after: &LeaseRow, gaps: u64) -> Found {
        let Some(number) = stream.number(&after.key.shard_id()) else { return Ok(()) };
        let users = &stream.shards()[number].users;
        // Who never had a position starts at the oldest record there is, and that is no gap.
        let beyond = |row: &LeaseRow| match &row.checkpoint {
            Position::After(position) => count_while(users, |at| at <= position),
            Position::TrimHorizon | Position::Latest | Position::AtTimestamp | Position::ShardEnd => users.len(),
        };
        let first = |intent: &Bytes| Ok(decoded(intent)?.first).map(|first| count_while(users, |at| *at < first));
        let mut passed = Vec::new();
        if let Position::After(last) = &after.checkpoint
            && before.checkpoint != after.checkpoint
        {
            let from = before.intent.as_ref().map_or_else(|| Ok(beyond(before)), first)?;
            passed.extend(from..count_while(users, |at| at <= last));
        }
        if let Some(intent) = after.intent.as_ref().filter(|intent| before.intent.as_ref() != Some(*intent)) {
            passed.extend(beyond(after)..first(intent)?);
        }
        let lost = |index: &&usize| {
            let id = users[**index].1;
            self.trimmed.contains(&id) && !self.objects.contains_key(&id)
        };
        let lost = passed.iter().find(lost).map(|index| users[*index].1);
        require(lost.is_none() || gaps > 0, TOLD_FIRST, || {
            format!("checkpoint {} of {} passes the trimmed record {lost:?}", after.checkpoint, after.key)
        })
    }

    fn on_checkpoint(&mut self, stream: &Stream, worker: &WorkerId, row: &LeaseRow) -> Found {
        let id = row.key.shard_id();
        let Some(number) = stream.number(&id) else {
            return require(false, DELIVERED_FIRST, || format!("{id} is no shard"));
        };
        let shard = &stream.shards()[number];
        let covered = match &row.checkpoint {
            Position::After(position) => shard.users_up_to(position),
            Position::ShardEnd => {
                self.ended.insert(id.clone());
                require(shard.is_closed(), DELIVERED_FIRST, || format!("{worker} ended {id}, which is open"))?;
                shard.users.len()
            }
            Position::AtTimestamp | Position::TrimHorizon | Position::Latest => 0,
        };
        let prefix = self.prefix(number);
        require(covered <= prefix, DELIVERED_FIRST, || {
            format!("{worker} wrote checkpoint {} of {id}: {covered} records, {prefix} are delivered", row.checkpoint)
        })
    }
}

fn count_while(users: &[(RecordPosition, u64)], before: impl Fn(&RecordPosition) -> bool) -> usize {
    users.partition_point(|(at, _)| before(at))
}

fn decoded(intent: &Bytes) -> Result<Intent, Violation> {
    let unreadable =
        |problem| Violation { invariant: RECORDED_FIRST, seen: format!("an intent cannot be read: {problem}") };
    codec::decode(intent).map_err(unreadable)
}

fn place(stream: &Stream, id: u64) -> Result<(usize, usize), Violation> {
    stream
        .place(id)
        .ok_or_else(|| Violation { invariant: EXACTLY_ONCE, seen: format!("record {id} was never written") })
}
