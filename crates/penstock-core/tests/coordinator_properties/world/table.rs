//! The table and the stream of a world: what happens to a request on its way, what the table makes of it, and who may own what.

use super::*;

impl World {
    /// A request goes out: it may arrive late or never, and its answer may be lost.
    pub(super) fn send(&mut self, index: usize, request: Request) {
        let (delay, late) = (1 + self.below(60), self.below(30_000));
        if !self.chance(self.plan.fault_percent) {
            return self.schedule(delay, Item::Arrive(index, Box::new(request), true));
        }
        let retryable = matches!(request, Request::Write(..));
        if self.plan.erasures > 0 && matches!(request, Request::Create(_)) {
            // One that comes after its row was deleted would have the counter of the first.
            return self.schedule(delay, Item::Arrive(index, Box::new(request), true));
        }
        let failure = failure(&request, retryable && delay < 15);
        match delay % 4 {
            _ if retryable && delay < 15 => {}
            0 => {}
            1 => self.schedule(late, Item::Arrive(index, Box::new(request), false)),
            _ => self.schedule(delay, Item::Arrive(index, Box::new(request), false)),
        }
        self.schedule(TIMEOUT, Item::Deliver(index, Box::new(failure)));
    }

    pub(super) fn arrive(&mut self, index: usize, request: Request, answered: bool) {
        let delay = 1 + self.below(60);
        let event = match request {
            Request::Scan(started, rows) => {
                // Half of the rows are read at one moment, the others at another.
                let (first, second): (Vec<_>, Vec<_>) = self.table.values().cloned().partition(|row| row.key < pivot());
                let Some(mut rows) = rows else {
                    let request = Request::Scan(started, Some(first));
                    return self.schedule(delay, Item::Arrive(index, Box::new(request), answered));
                };
                rows.extend(second);
                Event::LeasesScanned { started, scan: Some(Scan { rows, unreadable: Vec::new() }) }
            }
            Request::List => Event::ShardsListed {
                stream: StreamIndex::default(),
                shards: Some(self.shards.values().cloned().collect()),
            },
            Request::Want(want) => self.want(want),
            Request::Gap(entry) => self.record_gap(entry),
            Request::Create(row) => self.create(row),
            Request::Write(id, write, tenure) => {
                let outcome = self.write(index, id, &write, tenure);
                Event::LeaseWritten { id, result: WriteResult::Answered(outcome) }
            }
            Request::Delete(key, counter) => {
                let kept = |row: &LeaseRow| row.counter != counter || row.checkpoint != Position::ShardEnd;
                let gone = !self.table.get(&key).is_some_and(kept);
                if gone {
                    self.table.remove(&key);
                }
                Event::LeaseDeleted { key, gone: Some(gone) }
            }
        };
        if answered {
            self.schedule(delay, Item::Deliver(index, Box::new(event)));
        }
    }

    /// A wish leaves everything but itself alone.
    pub(super) fn want(&mut self, want: LeaseWant) -> Event {
        let key = want.key.clone();
        let stands = match self.table.get_mut(&key) {
            Some(row) if want.holds(row) => {
                if want.wanted == want.owner {
                    self.wishes.remove(&want.key);
                } else {
                    let before = self.wishes.insert(want.key.clone(), (want.wanted.clone(), self.now));
                    let long = |since: Instant| self.now.since(since) >= FAILOVER * 2 / 3;
                    if let Some((before, _)) = before.filter(|(before, since)| *before != want.wanted && long(*since)) {
                        self.outdone.insert((want.key, before));
                    }
                }
                row.wanted = Some(want.wanted);
                true
            }
            Some(_) | None => false,
        };
        Event::LeaseWanted { key, stands: Some(stands) }
    }

    pub(super) fn create(&mut self, row: LeaseRow) -> Event {
        let key = row.key.clone();
        let outcome = if self.table.contains_key(&key) {
            CreateOutcome::Exists
        } else {
            let shard = key.shard_id();
            let listed = self.shards.contains_key(&shard);
            assert!(!listed || !self.ended.contains(&shard), "{key} comes back after it was consumed");
            self.strangers.on_made(&row);
            self.table.insert(key.clone(), row);
            CreateOutcome::Created
        };
        Event::LeaseCreated { key, outcome: Some(outcome) }
    }

    pub(super) fn write(
        &mut self,
        index: usize,
        id: WriteId,
        write: &LeaseWrite,
        tenure: Option<Tenure>,
    ) -> WriteOutcome {
        let Some(before) = &self.table.get(&write.key).cloned() else { return WriteOutcome::Conflict(None) };
        if !write.expect.holds(before) {
            return WriteOutcome::Conflict(Some(Box::new(before.clone())));
        }
        let mut after = write.change.apply(before);
        assert!(after.counter > before.counter, "the counter of {} falls", write.key);
        assert!(after.checkpoint >= before.checkpoint, "the checkpoint of {} goes back", write.key);
        if is_take(index, write) {
            self.check_single_owner(index, before);
            self.tenures.insert(write.key.clone(), Tenure(index, id));
        } else {
            assert_eq!(
                self.tenures.get(&write.key),
                tenure.as_ref(),
                "a write of a lost tenure of {} lands",
                write.key
            );
        }
        if after.owner != Some(worker_id(index)) {
            self.tenures.remove(&write.key);
        }
        if before.owner != after.owner && after.owner.is_some() {
            self.moves += 1;
        }
        if after.wanted.is_none() {
            self.wishes.remove(&write.key);
            self.outdone.retain(|(key, _)| *key != write.key);
        }
        if let Some(granted) = &after.granted {
            let mine = after.owner.as_ref().is_none_or(|owner| *owner == worker_id(index));
            assert!(mine && *granted != worker_id(index), "{} is granted away by somebody else", write.key);
        }
        if after.checkpoint == Position::ShardEnd && self.ended.insert(write.key.shard_id()) {
            self.schedule(40_000, Item::Trim(write.key.shard_id()));
        }
        self.table.insert(write.key.clone(), after.clone());
        if self.plan.deaf && index == 0 {
            after.wanted = None;
        }
        WriteOutcome::Applied(Box::new(after))
    }

    /// Whoever loses a lease has stopped believing in it, unless it is taken by force: its holder lives, and the taker's wish
    /// has stood in the row for two renewals without an answer.
    pub(super) fn check_single_owner(&mut self, taker: usize, before: &LeaseRow) {
        let key = &before.key;
        let wish = self.wishes.get(key).filter(|(wanted, _)| before.owner.is_some() && *wanted == worker_id(taker));
        let stood = wish.is_some_and(|(_, since)| self.now.since(*since) >= FAILOVER * 2 / 3);
        let outdone = before.owner.is_some() && self.outdone.contains(&(key.clone(), worker_id(taker)));
        let unanswered = (stood || outdone) && before.granted.is_none();
        // A shard that asked for its release or its end delivers no more.
        let delivers = |running: &Running| !matches!(running.waiting, Some(Waiting::Other));
        let believes = |running: &Running| running.key == *key && running.until > self.now && delivers(running);
        let others = self.alive().filter(|index| *index != taker);
        let running = others.flat_map(|index| self.workers[index].running.iter().map(move |entry| (index, entry)));
        let is_robbed = |running: &Running| running.tenure.is_some_and(|tenure| self.robbed.contains(&tenure));
        let believers = running.filter(|(_, (_, running))| believes(running) && !is_robbed(running));
        let believers: Vec<_> = believers.map(|(index, (token, _))| (index, *token)).collect();
        assert!(believers.is_empty() || unanswered, "{key} has two live owners, {believers:?} and {taker}");
        self.forced += believers.len();
        if unanswered {
            // Also one whose shard waits for a parent, and is started before the loss is heard of.
            self.robbed.extend(self.tenures.get(key));
        }
    }

    /// Splits a shard, or merges two.
    pub(super) fn reshard(&mut self) {
        let open: Vec<ShardId> =
            self.shards.values().filter(|shard| shard.is_open()).map(|shard| shard.id.clone()).collect();
        let next = self.shards.keys().last().map_or(0, |last| number(last) + 1);
        let chosen = self.below(open.len() as u64) as usize;
        let parents: Vec<u32> = if self.below(2) == 0 && open.len() > 1 {
            vec![number(&open[chosen]), number(&open[(chosen + 1) % open.len()])]
        } else {
            vec![number(&open[chosen])]
        };
        for parent in &parents {
            let closed = self.shards.get_mut(&shard_id(*parent)).expect("an open shard is listed");
            closed.ending_sequence = Some(SequenceNumber::parse("9999").expect("digits"));
        }
        for child in 0..(3 - parents.len() as u32) {
            let child = listing(next + child, &parents);
            self.shards.insert(child.id.clone(), child);
        }
    }
}

/// What a worker hears of a request that came to nothing, or of which nothing is known.
fn failure(request: &Request, refused: bool) -> Event {
    match request {
        Request::Scan(started, _) => Event::LeasesScanned { started: *started, scan: None },
        Request::List => Event::ShardsListed { stream: StreamIndex::default(), shards: None },
        Request::Want(want) => Event::LeaseWanted { key: want.key.clone(), stands: None },
        Request::Gap(entry) => Event::GapRecorded { id: entry.id(), stored: false },
        Request::Create(row) => Event::LeaseCreated { key: row.key.clone(), outcome: None },
        Request::Write(id, ..) => {
            let result = if refused { WriteResult::NotApplied } else { WriteResult::Unknown };
            Event::LeaseWritten { id: *id, result }
        }
        Request::Delete(key, _) => Event::LeaseDeleted { key: key.clone(), gone: None },
    }
}

fn pivot() -> LeaseKey {
    LeaseKey::single_stream(&shard_id(3))
}
