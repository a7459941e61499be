//! A model of the streams: shards with records, splits and merges, iterators that expire, retention that ends.
//!
//! Every user record has an id of its own, which is its payload; so whatever is delivered tells which records it holds. The shards
//! of all streams stand in one list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use penstock_core::aggregate::{self, AggregateEntry};
use penstock_core::chunk::ChunkBuilder;
use penstock_core::ids::{HashRange, LeaseKey, ShardId, StreamId, StreamName};
use penstock_core::position::{RecordPosition, SequenceNumber};
use penstock_core::random::Random;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator, StreamDescription};

use crate::world::EPOCH;

/// How long records stay unless a plan says otherwise.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The account that all streams belong to, as it stands in the lease keys where there are several.
const ACCOUNT: &str = "123456789012";

/// How iterators end that begin at a record.
const AT_A_RECORD: &str = "!";

/// The number of a shard: its place in the list of all shards ever.
pub type ShardNumber = usize;

/// The number of a stream.
pub type StreamNumber = usize;

/// All streams.
#[derive(Debug)]
pub struct Streams {
    streams: Vec<Stream>,
    shards: Vec<Shard>,
    /// The shard that each lease stands for.
    keys: BTreeMap<LeaseKey, ShardNumber>,
    open: BTreeSet<ShardNumber>,
    /// Where each user record is, by id: its shard and its index there.
    users: Vec<(ShardNumber, usize)>,
    next_sequence: u64,
    iterator_life: Duration,
}

/// One stream.
#[derive(Debug)]
struct Stream {
    name: StreamName,
    /// What the keys of its leases begin with.
    id: Option<StreamId>,
    created: UnixMillis,
    retention: Duration,
    /// Its shards that the service lists.
    listed: BTreeMap<ShardId, ShardNumber>,
    made: usize,
    /// Whether it was deleted and created again under its name.
    recreated: bool,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    /// Its stream.
    pub stream: StreamNumber,
    /// Its id.
    pub id: ShardId,
    /// The key of its lease.
    pub key: LeaseKey,
    /// Its parents.
    pub parents: Vec<ShardNumber>,
    /// What it covers.
    pub range: HashRange,
    /// Its user records in order, and which id each has.
    pub users: Vec<(RecordPosition, u64)>,
    records: Vec<Record>,
    /// How many of its records are gone.
    trimmed: usize,
    starting: SequenceNumber,
    closed: Option<(SequenceNumber, UnixMillis)>,
    children: Vec<ChildShard>,
    /// When somebody last fetched from it.
    fetched: Option<Duration>,
    /// The longest that nobody did, since somebody first did.
    silence: Duration,
}

#[derive(Debug)]
struct Record {
    sequence: SequenceNumber,
    data: Vec<u8>,
    arrival: UnixMillis,
}

/// The payload of the user record `id`.
fn payload(id: u64) -> Vec<u8> {
    format!("r{id}").into_bytes()
}

/// The ids that stand in `content`, one a line.
///
/// # Errors
/// The line that is not a user record of this world.
pub fn ids(content: &[u8]) -> Result<Vec<u64>, String> {
    let text = String::from_utf8_lossy(content);
    let id = |line: &str| line.strip_prefix('r').and_then(|id| id.parse().ok()).ok_or_else(|| line.to_owned());
    text.lines().map(id).collect()
}

impl Streams {
    /// `count` streams with `shards` open shards each that share the hash keys evenly.
    #[must_use]
    pub fn new(count: usize, shards: usize, iterator_life: Duration) -> Self {
        // Just below a power of ten: sequence numbers are numbers, not texts.
        let mut streams = Self {
            streams: Vec::new(),
            shards: Vec::new(),
            keys: BTreeMap::new(),
            open: BTreeSet::new(),
            users: Vec::new(),
            next_sequence: 9_980,
            iterator_life,
        };
        for number in 0..count {
            let name = if number == 0 { "clicks".to_owned() } else { format!("clicks-{number}") };
            streams.create(StreamName::new(&name), count > 1, UnixMillis(EPOCH.0 - 60_000), shards);
        }
        streams
    }

    fn create(&mut self, name: StreamName, named: bool, created: UnixMillis, shards: usize) {
        let id = named.then(|| StreamId::of(ACCOUNT, &name, created));
        self.streams.push(Stream {
            name,
            id,
            created,
            retention: DAY,
            listed: BTreeMap::new(),
            made: 0,
            recreated: false,
        });
        self.fill(self.streams.len() - 1, shards);
    }

    fn fill(&mut self, stream: StreamNumber, shards: usize) {
        let step = u128::MAX / shards as u128;
        for index in 0..shards as u128 {
            let end = if index + 1 == shards as u128 { u128::MAX } else { (index + 1) * step - 1 };
            self.add_shard(stream, Vec::new(), HashRange { start: index * step, end });
        }
    }

    /// Deletes a stream and creates it again under its name, with as many shards as were open.
    pub fn recreate(&mut self, number: StreamNumber, now: UnixMillis) {
        let gone: Vec<ShardNumber> =
            self.open.iter().copied().filter(|shard| self.shards[*shard].stream == number).collect();
        let stream = &mut self.streams[number];
        stream.recreated = true;
        stream.created = now;
        stream.id = stream.id.is_some().then(|| StreamId::of(ACCOUNT, &stream.name, now));
        stream.listed.clear();
        stream.made = 0;
        for shard in &gone {
            self.open.remove(shard);
        }
        self.fill(number, gone.len().max(1));
    }

    /// Whether a stream was deleted and created again.
    #[must_use]
    pub fn is_recreated(&self, stream: StreamNumber) -> bool {
        self.streams[stream].recreated
    }

    /// The number of streams.
    #[must_use]
    pub fn count(&self) -> usize {
        self.streams.len()
    }

    /// What the keys of the leases of a stream begin with, if there are several.
    #[must_use]
    pub fn id(&self, stream: StreamNumber) -> Option<&StreamId> {
        self.streams[stream].id.as_ref()
    }

    fn sequence(&mut self) -> SequenceNumber {
        self.next_sequence += 1;
        SequenceNumber::parse(&self.next_sequence.to_string()).expect("a number")
    }

    fn add_shard(&mut self, stream: StreamNumber, parents: Vec<ShardNumber>, range: HashRange) -> ChildShard {
        let number = self.shards.len();
        let starting = self.sequence();
        let parent_ids = self.ids_of(&parents);
        let of = &mut self.streams[stream];
        let id = ShardId::new(&format!("shardId-{:012}", of.made));
        of.made += 1;
        of.listed.insert(id.clone(), number);
        let key = LeaseKey::of(of.id.as_ref(), &id);
        self.keys.insert(key.clone(), number);
        self.open.insert(number);
        let child = ChildShard { id: id.clone(), parents: parent_ids, hash_range: range };
        self.shards.push(Shard {
            stream,
            id,
            key,
            parents,
            range,
            users: Vec::new(),
            records: Vec::new(),
            trimmed: 0,
            starting,
            closed: None,
            children: Vec::new(),
            fetched: None,
            silence: Duration::ZERO,
        });
        child
    }

    fn ids_of(&self, shards: &[ShardNumber]) -> BTreeSet<ShardId> {
        shards.iter().map(|number| self.shards[*number].id.clone()).collect()
    }

    /// All shards ever.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard that a lease stands for.
    #[must_use]
    pub fn number(&self, key: &LeaseKey) -> Option<ShardNumber> {
        self.keys.get(key).copied()
    }

    /// Whether the service still lists a shard.
    #[must_use]
    pub fn is_listed(&self, number: ShardNumber) -> bool {
        let Shard { stream, id, .. } = &self.shards[number];
        self.streams[*stream].listed.get(id) == Some(&number)
    }

    /// Whether the shard belongs to a stream that was created again, before or after.
    #[must_use]
    pub fn is_of_recreated(&self, number: ShardNumber) -> bool {
        self.streams[self.shards[number].stream].recreated
    }

    /// Where a user record is.
    #[must_use]
    pub fn place(&self, id: u64) -> Option<(ShardNumber, usize)> {
        self.users.get(usize::try_from(id).ok()?).copied()
    }

    /// The user records ever written.
    #[must_use]
    pub fn written(&self) -> usize {
        self.users.len()
    }

    /// The shards that take records.
    #[must_use]
    pub fn open_shards(&self) -> Vec<ShardNumber> {
        self.open.iter().copied().collect()
    }

    // === Writing ===

    /// Writes one record that carries `users` user records (more than one: an aggregate) to an open shard. `stray`: whether every
    /// second one of an aggregate hashes outside the shard, if there is an outside. The value names those.
    pub fn put(&mut self, users: u64, stray: bool, wall: UnixMillis, random: &mut Random) -> Vec<u64> {
        let chosen = usize::try_from(random.below(self.open.len() as u64)).expect("few shards");
        let number = *self.open.iter().nth(chosen).expect("a stream has open shards");
        let sequence = self.sequence();
        let HashRange { start, end } = self.shards[number].range;
        let outside = [(start > 0).then_some(0), (end < u128::MAX).then_some(u128::MAX)].into_iter().flatten().next();
        let first = self.users.len() as u64;
        let ids = first..first + users;
        let strays = |id: &u64| users > 1 && stray && outside.is_some() && (id - first) % 2 == first % 2;
        let keyed: Vec<(Option<u128>, Vec<u8>)> =
            ids.clone().map(|id| (if strays(&id) { outside } else { Some(start) }, payload(id))).collect();
        let entries: Vec<AggregateEntry<'_>> = keyed
            .iter()
            .map(|(explicit_hash_key, data)| AggregateEntry {
                partition_key: "key",
                explicit_hash_key: *explicit_hash_key,
                data,
            })
            .collect();
        let data = if users == 1 { payload(first) } else { aggregate::encode(&entries) };
        for subsequence in 0..users {
            let shard = &mut self.shards[number];
            self.users.push((number, shard.users.len()));
            shard.users.push((RecordPosition { sequence: sequence.clone(), subsequence }, first + subsequence));
        }
        self.shards[number].records.push(Record { sequence, data, arrival: wall });
        ids.filter(strays).collect()
    }

    // === Resharding ===

    /// Splits an open shard; the children take records at once.
    pub fn split(&mut self, number: ShardNumber, now: UnixMillis) {
        let HashRange { start, end } = self.shards[number].range;
        let (stream, middle) = (self.shards[number].stream, start + (end - start) / 2);
        let low = self.add_shard(stream, vec![number], HashRange { start, end: middle });
        let high = self.add_shard(stream, vec![number], HashRange { start: middle + 1, end });
        self.close(number, vec![low, high], now);
    }

    /// Merges two open shards of one stream; they need not be neighbours here, the hash range only says who covers what.
    pub fn merge(&mut self, one: ShardNumber, other: ShardNumber, now: UnixMillis) {
        let (a, b) = (&self.shards[one], &self.shards[other]);
        let range = HashRange { start: a.range.start.min(b.range.start), end: a.range.end.max(b.range.end) };
        let child = self.add_shard(a.stream, vec![one, other], range);
        self.close(one, vec![child.clone()], now);
        self.close(other, vec![child], now);
    }

    /// Each open shard with its open neighbour above, if it has one.
    #[must_use]
    pub fn neighbours(&self) -> Vec<(ShardNumber, ShardNumber)> {
        let starts: BTreeMap<(StreamNumber, u128), ShardNumber> = self
            .open
            .iter()
            .map(|number| ((self.shards[*number].stream, self.shards[*number].range.start), *number))
            .collect();
        let above = |one: &ShardNumber| {
            let Shard { stream, range, .. } = &self.shards[*one];
            let next = starts.get(&(*stream, range.end.checked_add(1)?))?;
            Some((*one, *next))
        };
        self.open.iter().filter_map(above).collect()
    }

    fn close(&mut self, number: ShardNumber, children: Vec<ChildShard>, now: UnixMillis) {
        let closed = self.sequence();
        let shard = &mut self.shards[number];
        shard.closed = Some((closed, now));
        shard.children = children;
        self.open.remove(&number);
    }

    /// Forgets what arrived before `until`, and the shards that were closed before. Streams keep records for `retention` now, never
    /// longer than before: what is lost by a retention that was shorter for a while is not always noticed, nor promised to be.
    pub fn trim(&mut self, until: UnixMillis, retention: Duration) {
        for stream in &mut self.streams {
            stream.retention = stream.retention.min(retention);
        }
        for shard in &mut self.shards {
            // A longer retention brings nothing back that is gone.
            shard.trimmed = shard.trimmed.max(shard.records.partition_point(|record| record.arrival < until));
            if shard.closed.as_ref().is_some_and(|(_, closed)| *closed < until) {
                self.streams[shard.stream].listed.remove(&shard.id);
            }
        }
    }

    // === Reading ===

    /// What the service says of a stream.
    #[must_use]
    pub fn describe(&self, stream: StreamNumber) -> StreamDescription {
        let Stream { name, created, retention, .. } = &self.streams[stream];
        // As the service gives it: the account of a stream stands in its ARN.
        let arn = Some(format!("arn:aws:kinesis:eu-west-1:{ACCOUNT}:stream/{name}"));
        StreamDescription { name: name.clone(), arn, created: *created, retention: *retention }
    }

    /// All shards of a stream that the service lists.
    #[must_use]
    pub fn list(&self, stream: StreamNumber) -> Vec<ShardListing> {
        let listing = |number: &ShardNumber| {
            let shard = &self.shards[*number];
            let Shard { id, parents, range, starting, closed, .. } = shard;
            ShardListing {
                id: id.clone(),
                parents: self.ids_of(parents),
                hash_range: *range,
                starting_sequence: starting.clone(),
                ending_sequence: closed.as_ref().map(|(last, _)| last.clone()),
            }
        };
        self.streams[stream].listed.values().map(listing).collect()
    }

    /// An iterator.
    ///
    /// # Errors
    /// If there is no such shard.
    pub fn open(
        &self,
        stream: StreamNumber,
        id: &ShardId,
        at: &OpenAt,
        now: Duration,
    ) -> Result<ShardIterator, SeamError> {
        let number = self.listed(stream, id)?;
        let shard = &self.shards[number];
        if let OpenAt::At(sequence) | OpenAt::After(sequence) = at
            && *sequence < shard.starting
        {
            let message = "the sequence number is invalid because it did not come from this stream";
            return Err(SeamError::new("GetShardIterator", id.as_str(), ErrorClass::Rejected, message));
        }
        let index = match at {
            OpenAt::TrimHorizon => 0,
            OpenAt::Timestamp(time) => shard.records.partition_point(|record| record.arrival < *time),
            OpenAt::At(sequence) => shard.records.partition_point(|record| record.sequence < *sequence),
            OpenAt::After(sequence) => shard.records.partition_point(|record| record.sequence <= *sequence),
        };
        let iterator = self.iterator(number, index, now);
        // Such a page has two records at least: one that is filled by its first alone is up to the tests of the reader.
        Ok(if matches!(at, OpenAt::At(_)) { ShardIterator(iterator.0 + AT_A_RECORD) } else { iterator })
    }

    fn iterator(&self, number: ShardNumber, index: usize, now: Duration) -> ShardIterator {
        ShardIterator(format!("{number}/{index}@{}", (now + self.iterator_life).as_millis()))
    }

    /// The next records.
    ///
    /// # Errors
    /// If there is no such shard, or the iterator is too old.
    pub fn fetch(
        &mut self,
        stream: StreamNumber,
        id: &ShardId,
        iterator: &ShardIterator,
        most: usize,
        now: Duration,
    ) -> Result<Fetched, SeamError> {
        let number = self.listed(stream, id)?;
        let error = |class, message: &str| SeamError::new("GetRecords", id.as_str(), class, message);
        let most = most.max(if iterator.0.ends_with(AT_A_RECORD) { 2 } else { 0 });
        let (of, index, until) = parsed(iterator).ok_or_else(|| error(ErrorClass::Rejected, "not an iterator"))?;
        if of != number {
            return Err(error(ErrorClass::NotFound, "the shard of this iterator is gone"));
        }
        if now.as_millis() > until {
            return Err(error(ErrorClass::Expired, "the iterator is too old"));
        }
        let shard = &mut self.shards[number];
        shard.heard(now);
        // What is gone is left out in silence, as the service does it.
        let index = index.max(shard.trimmed);
        let range: Range<usize> = index..shard.records.len().min(index + most);
        let mut chunk = ChunkBuilder::with_capacity(range.len(), 64 * range.len());
        for Record { sequence, data, arrival } in &shard.records[range.clone()] {
            chunk.push(sequence, "key", data, *arrival);
        }
        let wall = u64::try_from(EPOCH.0).unwrap_or(0) + u64::try_from(now.as_millis()).unwrap_or(0);
        let waiting = shard.records.get(range.end);
        let behind = waiting.map_or(0, |next| wall - u64::try_from(next.arrival.0).unwrap_or(0));
        let at_end = shard.closed.is_some() && waiting.is_none();
        let children = if at_end { shard.children.clone() } else { Vec::new() };
        Ok(Fetched {
            chunk: chunk.build(),
            next: (!at_end).then(|| self.iterator(number, range.end, now)),
            behind: Duration::from_millis(behind),
            children,
        })
    }

    fn listed(&self, stream: StreamNumber, id: &ShardId) -> Result<ShardNumber, SeamError> {
        let missing = || SeamError::new("GetRecords", id.as_str(), ErrorClass::NotFound, "no such shard");
        self.streams[stream].listed.get(id).copied().ok_or_else(missing)
    }

    /// The longest that nobody fetched from a shard while it was open: from its first fetch on, until `now`.
    #[must_use]
    pub fn longest_silence(&self, now: Duration) -> Duration {
        let silence = |(number, shard): (ShardNumber, &Shard)| {
            let last = shard.fetched.filter(|_| self.open.contains(&number));
            shard.silence.max(last.map_or(Duration::ZERO, |last| now.saturating_sub(last)))
        };
        self.shards.iter().enumerate().map(silence).max().unwrap_or_default()
    }
}

/// The shard, the index and the end of life of an iterator.
fn parsed(iterator: &ShardIterator) -> Option<(ShardNumber, usize, u128)> {
    let (of, rest) = iterator.0.split_once('/')?;
    let (at, until) = rest.trim_end_matches(AT_A_RECORD).split_once('@')?;
    Some((of.parse().ok()?, at.parse().ok()?, until.parse().ok()?))
}

impl Shard {
    /// Whether the shard takes no more records.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    fn heard(&mut self, now: Duration) {
        if let Some(last) = self.fetched.replace(now) {
            self.silence = self.silence.max(now.saturating_sub(last));
        }
    }

    /// When the record of a position arrived.
    #[must_use]
    pub fn arrival_of(&self, position: &RecordPosition) -> Option<UnixMillis> {
        let index = self.records.binary_search_by(|record| record.sequence.cmp(&position.sequence)).ok()?;
        Some(self.records[index].arrival)
    }

    /// The number of user records that arrived before `time`.
    #[must_use]
    pub fn users_before(&self, time: UnixMillis) -> usize {
        let first = self.records.partition_point(|record| record.arrival < time);
        let Some(first) = self.records.get(first) else { return self.users.len() };
        self.users.partition_point(|(at, _)| at.sequence < first.sequence)
    }

    /// The number of user records up to and including `position`.
    #[must_use]
    pub fn users_up_to(&self, position: &RecordPosition) -> usize {
        self.users.partition_point(|(at, _)| at <= position)
    }
}
