//! The tasks of one shard: what an engine does with a lease it holds, at the worst moments, and what it puts.

use super::*;

/// The tasks of one shard.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) key: LeaseKey,
    pub(super) tenure: Option<Tenure>,
    pub(super) until: Instant,
    pub(super) checkpoint: Position,
    /// The intent that is open, with the end of its range.
    pub(super) intent: Option<Bytes>,
    pub(super) waiting: Option<Waiting>,
    pub(super) settled: u64,
    /// Until when what was read is told.
    pub(super) read_until: Instant,
    pub(super) draining: bool,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Intend(Bytes),
    Commit(Option<Bytes>),
    Other,
}

impl World {
    pub(super) fn start_shard(&mut self, index: usize, held: HeldLease) {
        self.check_told(index, &held.row);
        let HeldLease { token, row, until, .. } = held;
        for parent in &row.parents {
            assert!(self.ended.contains(parent), "{} starts before {parent} has ended", row.key);
        }
        let tenure = self.workers[index].takes.get(&row.key).map(|take| Tenure(index, *take));
        let running = Running {
            key: row.key,
            tenure,
            until,
            checkpoint: row.checkpoint,
            intent: row.intent,
            waiting: None,
            settled: 0,
            read_until: self.now,
            draining: false,
        };
        if let Some(since) = self.unread.remove(&running.key) {
            self.longest_silence = self.longest_silence.max(self.now.since(since));
        }
        self.workers[index].running.insert(token, running);
        self.schedule(10, Item::Step(index, token));
    }

    pub(super) fn stop_shard(&mut self, index: usize, token: LeaseToken, why: StopReason) {
        match why {
            // It stops at once; that it has is heard of later.
            StopReason::Lost(_) | StopReason::Ended => drop(self.workers[index].running.remove(&token)),
            StopReason::Drain | StopReason::HandOver => {
                if let Some(running) = self.workers[index].running.get_mut(&token) {
                    running.draining = true;
                }
                return;
            }
        }
        let delay = self.below(2_000);
        self.schedule(delay, Item::Stopped(index, token));
    }

    /// A shard's tasks do the next thing: what an engine does, and at the worst moments.
    pub(super) fn step(&mut self, index: usize, token: LeaseToken) {
        let (dice, delay) = (self.below(100), self.below(1_500));
        let Some(running) = self.workers[index].running.get_mut(&token) else { return };
        let full = running.position() >= RECORDS;
        if running.waiting.is_none() && running.draining && running.intent.is_none() {
            return self.schedule(delay / 4, Item::Stopped(index, token));
        }
        self.schedule(delay, Item::Step(index, token));
        let Some(running) = self.workers[index].running.get_mut(&token).filter(|running| running.waiting.is_none())
        else {
            return;
        };
        let shard = running.key.shard_id();
        let closed = self.shards.get(&shard).is_none_or(|shard| !shard.is_open());
        if running.intent.is_none() && closed && (full || dice < 20) {
            running.waiting = Some(Waiting::Other);
            let children = self.children(&shard);
            return self.deliver(index, Event::ShardRequested { token, request: ShardRequest::EndShard { children } });
        }
        if dice == 99 && self.faults {
            running.waiting = Some(Waiting::Other);
            let request = ShardRequest::GiveUp { cool_down: Duration::from_millis(delay) };
            return self.deliver(index, Event::ShardRequested { token, request });
        }
        if self.plan.intents {
            let request = running.next_request(dice);
            self.deliver(index, Event::ShardRequested { token, request });
        } else {
            running.settled = running.settled.max(running.position()) + dice % 3;
            let settled = (running.settled > 0).then(|| (at(running.settled), UnixMillis(1)));
            let progress = Progress { settled, lag: Some(dice), read: Some(running.read(self.now)), urgent: dice < 10 };
            self.deliver(index, Event::ShardProgressed { token, progress });
        }
    }

    pub(super) fn answered(&mut self, index: usize, token: LeaseToken, answer: Answer) {
        let Some(running) = self.workers[index].running.get_mut(&token) else { return };
        let waiting = running.waiting.take();
        let Answer::Done { checkpoint } = answer else { return };
        running.checkpoint = checkpoint;
        match waiting {
            Some(Waiting::Intend(intent)) => {
                running.intent = Some(intent.clone());
                let key = running.key.clone();
                self.put(&key, &intent);
            }
            Some(Waiting::Commit(next)) => {
                running.intent.clone_from(&next);
                let key = running.key.clone();
                if let Some(next) = next {
                    self.put(&key, &next);
                }
            }
            // The end of the shard is told by `StopShard`; after giving up the tasks end by themselves.
            Some(Waiting::Other) | None => {
                self.workers[index].running.remove(&token);
            }
        }
    }

    /// An object is put, or put again: it must be the same or lie beside all others.
    fn put(&mut self, key: &LeaseKey, intent: &Bytes) {
        let (from, last) = decode(intent);
        let objects = self.objects.entry(key.clone()).or_default();
        let overlap =
            objects.iter().find(|(start, end)| (*start, *end) != (from, last) && from < *end && *start < last);
        // What was read before its row was deleted is read again.
        let again = self.strangers.was_erased(key);
        assert!(overlap.is_none() || again, "{key}: ({from}, {last}] stands twice, beside {overlap:?}");
        objects.insert((from, last));
    }

    fn children(&self, shard: &ShardId) -> Vec<ChildShard> {
        let children = self.shards.values().filter(|child| child.parents.contains(shard));
        children
            .map(|child| ChildShard {
                id: child.id.clone(),
                parents: child.parents.clone(),
                hash_range: child.hash_range,
            })
            .collect()
    }
}

impl Running {
    fn position(&self) -> u64 {
        self.checkpoint.record().map_or(0, |position| position.sequence.as_str().parse().expect("small numbers"))
    }

    /// The bytes read since this was asked last: each shard has a rate of its own, which stays.
    fn read(&mut self, now: Instant) -> u64 {
        let millis = now.since(std::mem::replace(&mut self.read_until, now)).as_millis() as u64;
        millis * (20 + u64::from(number(&self.key.shard_id())) % 4 * 15)
    }

    /// Intend, commit, intend, commit, at times both in one. Every batch is cut anew, as long as chance will have it.
    fn next_request(&mut self, dice: u64) -> ShardRequest {
        let from = self.checkpoint.clone();
        let Some(intent) = self.intent.clone() else {
            let intent = encode(self.position(), self.position() + 1 + dice % 5);
            self.waiting = Some(Waiting::Intend(intent.clone()));
            return ShardRequest::Intend { from, intent };
        };
        let (_, last) = decode(&intent);
        let next = (dice < 50 && !self.draining).then(|| encode(last, last + 1 + dice % 7));
        self.waiting = Some(Waiting::Commit(next.clone()));
        let (after, chain) = (at(last), Some(at(last)));
        ShardRequest::Commit(Commit { from, after, arrival: UnixMillis(1), chain, intent: Some(intent), next })
    }
}

fn encode(from: u64, last: u64) -> Bytes {
    Bytes::from(format!("{from} {last}"))
}

fn decode(intent: &Bytes) -> (u64, u64) {
    let text = std::str::from_utf8(intent).expect("written by encode");
    let (from, last) = text.split_once(' ').expect("written by encode");
    (from.parse().expect("digits"), last.parse().expect("digits"))
}
