//! What must hold at every step, and what has to be remembered to tell: the invariants of the protocol.
//!
//! Nothing here looks into a worker. What a worker may believe follows from its writes that the table took, and when each was
//! first sent. Deliveries are checked here, rows in `rows`, wishes in `wishes`, gaps in `gaps`.

mod gaps;
mod rows;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
use penstock_core::lease::LeaseWrite;
use penstock_core::time::UnixMillis;

use crate::stream::{ShardNumber, Streams};
use crate::world::Violation;

pub use self::rows::{Heard, Made, Sent};
use self::wishes::Wish;

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
pub const ONE_OWNER: &str = "two live owners never, but where one does not answer and is taken from by force";
/// See the text.
pub const NOT_BY_ITSELF: &str = "no worker loses a lease to a write of its own";
/// See the text.
pub const ONLY_A_WISH: &str = "a wish changes nothing but the wish";
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
pub const TOLD_FIRST: &str = "a gap is in the ledger before a shard starts on it or a checkpoint passes it";
/// See the text.
pub const SAME_OBJECT: &str = "two different objects never meet under one key";
/// See the text.
pub const ROWS_STAY: &str = "rows of listed shards are never deleted nor created again";

/// One delivery of a record by a call.
#[derive(Debug, Clone)]
struct Delivery {
    worker: WorkerId,
    tenure: u64,
    call: usize,
}

/// Whose a lease is.
#[derive(Debug)]
struct Holder {
    worker: WorkerId,
    /// Whether it was taken from one that may still believe in it, as the protocol allows only where that one does not answer.
    by_force: bool,
}

/// A row that somebody took away.
#[derive(Debug, Clone, Copy)]
struct Erased {
    at: Duration,
    /// How many gaps the gap ledger held then.
    told: usize,
}

/// A lease that went from one worker to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// When.
    pub at: Duration,
    /// The lease.
    pub key: LeaseKey,
    /// Who had it before.
    pub from: WorkerId,
    /// Who has it now.
    pub to: WorkerId,
}

/// What is remembered of all effects.
#[derive(Debug, Default)]
pub struct Ledger {
    failover: Duration,
    /// Whether the rules of the protocol are checked beside what they are good for.
    rules: bool,
    /// The user records that are settled.
    settled: BTreeSet<u64>,
    objects: BTreeMap<u64, String>,
    deliveries: BTreeMap<u64, Vec<Delivery>>,
    answered_calls: BTreeSet<usize>,
    /// The calls that a worker waits for, with the shards and tenures of their records.
    open_calls: BTreeMap<usize, (WorkerId, BTreeSet<(ShardNumber, u64)>)>,
    /// The tenure of each shard whose records are in a call, as the call began.
    begun: BTreeMap<(usize, ShardNumber), u64>,
    /// The settled user records of each shard up to the first that is not.
    prefix: BTreeMap<ShardNumber, usize>,
    ended: BTreeSet<ShardNumber>,
    created: BTreeSet<LeaseKey>,
    /// The highest counter that a row under each key ever had.
    counters: BTreeMap<LeaseKey, LeaseCounter>,
    /// When the last write of a worker that the table took was first sent.
    proven: BTreeMap<(LeaseKey, WorkerId), Duration>,
    /// The same of the last one of which its worker heard that the table took it.
    acknowledged: BTreeMap<(LeaseKey, WorkerId), Duration>,
    tenures: BTreeMap<LeaseKey, u64>,
    holders: BTreeMap<LeaseKey, Holder>,
    last_holders: BTreeMap<LeaseKey, WorkerId>,
    /// The wishes that no holder has answered.
    wishes: BTreeMap<(LeaseKey, WorkerId), Wish>,
    /// When a worker first asked the present owner for a lease, whatever became of it.
    asked: BTreeMap<(LeaseKey, WorkerId), Duration>,
    /// The last write of each row that was applied, and the tenure then.
    last_writes: BTreeMap<LeaseKey, (WorkerId, u64, LeaseWrite)>,
    /// Rows that a stranger wrote since they were taken. It may have left what a renewal of unknown outcome would have: such a
    /// lease counts as proven although nobody wrote it when its holder believes.
    touched: BTreeSet<LeaseKey>,
    /// Rows that a tool wrote since they were taken: that ended the tenure.
    tooled: BTreeSet<LeaseKey>,
    /// Rows that somebody else changed so that whoever held the lease does not know yet: who takes it next does so by force.
    unknowing: BTreeSet<LeaseKey>,
    /// Shards whose row was taken away by somebody else: what was read of them may repeat.
    disturbed: BTreeSet<ShardNumber>,
    /// When somebody who is no worker took a row away.
    erased: BTreeMap<LeaseKey, Erased>,
    /// Rows that were created again by somebody who had seen the one before.
    recreated: BTreeSet<LeaseKey>,
    /// Rows that somebody took away, as workers have seen.
    noticed: BTreeSet<(WorkerId, LeaseKey)>,
    /// Leases of rows that their workers know not to be the first, of which the gap ledger has to hold an entry from this place on.
    to_tell: BTreeMap<LeaseKey, (WorkerId, usize)>,
    /// The times to which starts without a position are pinned.
    pinned: BTreeMap<LeaseKey, UnixMillis>,
    /// The keys that stand in an intent that was recorded.
    announced: BTreeSet<String>,
    /// Records that a checkpoint which is not ours passed before they were settled: somebody else has them.
    passed: BTreeSet<u64>,
    /// Records that were trimmed before they were settled.
    trimmed: BTreeSet<u64>,
    /// Records that the operator's own rule leaves out.
    left_out: BTreeSet<u64>,
    /// Records that are set aside, in objects of their own.
    strays: BTreeSet<u64>,
    /// The keys of the intents that were open then: their objects still are what was announced, and may hold such records.
    excused: BTreeSet<String>,
    /// The gaps that the gap ledger holds.
    told: Vec<penstock_core::gap::GapEntry>,
    /// Shards in which a worker of another make has read on.
    overtaken: BTreeSet<ShardNumber>,
    /// How often a record was delivered again.
    pub repeats: u64,
    /// Every lease that went from one worker to another.
    pub moves: Vec<Move>,
}

impl Ledger {
    /// A ledger for workers with this failover time. `rules`: whether to check the protocol's rules beside what they are good
    /// for.
    #[must_use]
    pub fn new(failover: Duration, rules: bool) -> Self {
        Self { failover, rules, ..Self::default() }
    }

    /// The user records that are settled.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.settled.len()
    }

    /// The user records that are not.
    pub fn missing<'a>(&'a self, streams: &'a Streams) -> impl Iterator<Item = u64> + 'a {
        (0..streams.written() as u64).filter(|id| !self.settled.contains(id))
    }

    /// Whether a worker of another make has read on in a child, as it does where the row of a parent is gone: then nobody reads
    /// what is left of the parent.
    #[must_use]
    pub fn is_read_beyond(&self, streams: &Streams, parent: ShardNumber) -> bool {
        self.overtaken.iter().any(|child| streams.shards()[*child].parents.contains(&parent))
    }

    /// Whether the end of a shard was stored.
    #[must_use]
    pub fn has_ended(&self, shard: ShardNumber) -> bool {
        self.ended.contains(&shard)
    }

    /// Whether a row was ever created under a key.
    #[must_use]
    pub fn was_created(&self, key: &LeaseKey) -> bool {
        self.created.contains(key)
    }

    /// Whether somebody who is no worker ever took a row under a key away.
    #[must_use]
    pub fn was_erased(&self, key: &LeaseKey) -> bool {
        self.erased.contains_key(key)
    }

    fn settle(&mut self, streams: &Streams, shard: ShardNumber, id: u64) {
        self.settled.insert(id);
        let users = &streams.shards()[shard].users;
        let prefix = self.prefix.entry(shard).or_default();
        while users.get(*prefix).is_some_and(|(_, id)| self.settled.contains(id)) {
            *prefix += 1;
        }
    }

    fn prefix(&self, shard: ShardNumber) -> usize {
        self.prefix.get(&shard).copied().unwrap_or(0)
    }

    // === Deliveries ===

    /// A worker begins a delivery of records of one lease that it will give up after `lasts`.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_begin(&self, worker: &WorkerId, key: &LeaseKey, now: Duration, lasts: Duration) -> Found {
        let other = self.holders.get(key).filter(|holder| holder.worker != *worker && !holder.by_force);
        require(other.is_none(), ONE_OWNER, || {
            format!("{worker} begins to deliver {key}, which belongs to {other:?}")
        })?;
        self.told_before_start(worker, key)?;
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

    /// A new object stands in the store. `aside`: whether it is one of records that are set aside.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_object(&mut self, streams: &Streams, object: &str, ids: &[u64], aside: bool) -> Found {
        let mut next = None;
        for id in ids {
            let (shard, index) = place(streams, *id)?;
            require(!self.left_out.contains(id) && self.strays.contains(id) == aside, EXACTLY_ONCE, || {
                format!("{object} holds record {id}, which is to be dropped, or to be set aside elsewhere")
            })?;
            if !self.disturbed.contains(&shard) && !streams.is_of_recreated(shard) {
                require(!self.objects.contains_key(id), EXACTLY_ONCE, || {
                    format!("{object} holds record {id} of shard {shard}, and so does {}", self.objects[id])
                })?;
                let expected = next.unwrap_or_else(|| (shard, self.next(streams, shard, self.prefix(shard))));
                // What was read before it was trimmed may still come.
                let held = self.trimmed.contains(id) || self.excused.contains(object);
                let resumes = next.is_none() && self.passed.contains(id) && held;
                let excused = resumes || self.leaves_out_trimmed(streams, expected, (shard, index));
                require(aside || (shard, index) == expected || excused, IN_ORDER, || {
                    format!("{object} holds record {id}, which is {index} of shard {shard}; expected is {expected:?}")
                })?;
            }
            next = Some((shard, self.next(streams, shard, index + 1)));
            self.parents_ended(streams, shard)?;
        }
        for id in ids {
            self.objects.insert(*id, object.to_owned());
            let (shard, _) = place(streams, *id)?;
            self.settle(streams, shard, *id);
        }
        Ok(())
    }

    /// Whether between two places of one shard there is nothing but what was trimmed before it was read. That the gap ledger names it
    /// is asked for before it is passed.
    fn leaves_out_trimmed(
        &self,
        streams: &Streams,
        (shard, from): (ShardNumber, usize),
        (of, to): (ShardNumber, usize),
    ) -> bool {
        let between = streams.shards()[shard].users.get(from..to);
        shard == of
            && between.is_some_and(|users| {
                let elsewhere = |id| self.left_out.contains(id) || self.strays.contains(id);
                let unread = |id| self.trimmed.contains(id) && !self.objects.contains_key(id);
                users.iter().all(|(_, id)| elsewhere(id) || unread(id))
            })
    }

    /// The place of the first record of a shard from `index` on that is neither left out nor set aside.
    fn next(&self, streams: &Streams, shard: ShardNumber, index: usize) -> usize {
        let elsewhere = |(_, id): &&(_, u64)| self.left_out.contains(id) || self.strays.contains(id);
        index + streams.shards()[shard].users[index..].iter().take_while(elsewhere).count()
    }

    /// A worker begins a call with records: none of them may be known to it to be delivered.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_begin_call(&mut self, streams: &Streams, worker: &WorkerId, call: usize, ids: &[u64]) -> Found {
        for id in ids {
            let (shard, _) = place(streams, *id)?;
            let tenure = self.tenure(streams, shard);
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
        streams: &Streams,
        worker: &WorkerId,
        call: usize,
        shards: &BTreeSet<ShardNumber>,
        ordered: bool,
    ) -> Found {
        // What an earlier tenure left on its way is as unknown as what another worker did.
        let tenures: BTreeSet<(ShardNumber, u64)> =
            shards.iter().map(|shard| (*shard, self.tenure(streams, *shard))).collect();
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

    fn tenure(&self, streams: &Streams, shard: ShardNumber) -> u64 {
        self.tenure_of(&streams.shards()[shard].key)
    }

    fn tenure_of(&self, key: &LeaseKey) -> u64 {
        self.tenures.get(key).copied().unwrap_or(0)
    }

    /// A call took records.
    ///
    /// # Errors
    /// The invariant that this breaks.
    pub fn on_call(&mut self, streams: &Streams, worker: &WorkerId, call: usize, ids: &[u64]) -> Found {
        for id in ids {
            let (shard, _) = place(streams, *id)?;
            self.parents_ended(streams, shard)?;
            let tenure = self.begun.get(&(call, shard)).copied().unwrap_or(0);
            let earlier = self.deliveries.entry(*id).or_default();
            self.repeats += u64::from(!earlier.is_empty());
            earlier.push(Delivery { worker: worker.clone(), tenure, call });
            self.settle(streams, shard, *id);
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
    pub fn on_set_aside(&mut self, streams: &Streams, ids: &[u64]) -> Found {
        for id in ids {
            let (shard, _) = place(streams, *id)?;
            self.parents_ended(streams, shard)?;
            // It was read before it was trimmed.
            self.trimmed.remove(id);
            self.settle(streams, shard, *id);
        }
        Ok(())
    }

    /// The operator's own rule leaves this record out.
    pub fn on_dropped(&mut self, streams: &Streams, shard: ShardNumber, id: u64) {
        self.left_out.insert(id);
        self.settle(streams, shard, id);
    }

    /// The operator's own rule sets this record aside.
    pub fn on_stray(&mut self, id: u64) {
        self.strays.insert(id);
    }

    fn parents_ended(&self, streams: &Streams, number: ShardNumber) -> Found {
        let shard = &streams.shards()[number];
        // What expired before it had a row, or whose row somebody took away, is nothing to wait for.
        let has_row = |key: &LeaseKey| self.created.contains(key) && !self.erased.contains_key(key);
        // Where somebody else has read on, a parent that is listed without a row is taken for read.
        let listed = |parent: ShardNumber| streams.is_listed(parent) && !self.overtaken.contains(&number);
        let exists = |parent: ShardNumber| listed(parent) || has_row(&streams.shards()[parent].key);
        let open = shard.parents.iter().find(|parent| !self.ended.contains(*parent) && exists(**parent));
        require(open.is_none(), PARENTS_FIRST, || {
            format!("{} is delivered before the end of shard {open:?}", shard.key)
        })
    }
}

fn place(streams: &Streams, id: u64) -> Result<(ShardNumber, usize), Violation> {
    streams
        .place(id)
        .ok_or_else(|| Violation { invariant: EXACTLY_ONCE, seen: format!("record {id} was never written") })
}
