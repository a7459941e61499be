//! A model of one stream: shards with records, splits and merges, iterators that expire.
//!
//! Every user record has an id of its own, which is its payload; so whatever is delivered tells which records it holds.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use penstock_core::aggregate::{self, AggregateEntry};
use penstock_core::chunk::ChunkBuilder;
use penstock_core::ids::{HashRange, ShardId, StreamName};
use penstock_core::position::{RecordPosition, SequenceNumber};
use penstock_core::random::Random;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator, StreamDescription};

use crate::world::EPOCH;

/// How long records stay unless a plan says otherwise.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The number of a shard: its place in the list of all shards ever.
pub type ShardNumber = usize;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    shards: Vec<Shard>,
    /// Where each user record is, by id: its shard and its index there.
    users: Vec<(ShardNumber, usize)>,
    next_sequence: u64,
    iterator_life: Duration,
    retention: Duration,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// Its parents.
    pub parents: BTreeSet<ShardId>,
    /// What it covers.
    pub range: HashRange,
    /// Its user records in order, and which id each has.
    pub users: Vec<(RecordPosition, u64)>,
    records: Vec<Record>,
    /// How many of its records are gone.
    trimmed: usize,
    starting: SequenceNumber,
    closed: Option<SequenceNumber>,
    children: Vec<ChildShard>,
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

impl Stream {
    /// A stream with `shards` open shards that share the hash keys evenly.
    #[must_use]
    pub fn new(shards: usize, iterator_life: Duration) -> Self {
        // Just below a power of ten: sequence numbers are numbers, not texts.
        let mut stream =
            Self { shards: Vec::new(), users: Vec::new(), next_sequence: 9_980, iterator_life, retention: DAY };
        let step = u128::MAX / shards as u128;
        for index in 0..shards as u128 {
            let end = if index + 1 == shards as u128 { u128::MAX } else { (index + 1) * step - 1 };
            stream.add_shard(BTreeSet::new(), HashRange { start: index * step, end });
        }
        stream
    }

    fn sequence(&mut self) -> SequenceNumber {
        self.next_sequence += 1;
        SequenceNumber::parse(&self.next_sequence.to_string()).expect("a number")
    }

    fn add_shard(&mut self, parents: BTreeSet<ShardId>, range: HashRange) -> ChildShard {
        let id = ShardId::new(&format!("shardId-{:012}", self.shards.len()));
        let starting = self.sequence();
        let child = ChildShard { id: id.clone(), parents: parents.clone(), hash_range: range };
        let shard = Shard {
            id,
            parents,
            range,
            users: Vec::new(),
            records: Vec::new(),
            trimmed: 0,
            starting,
            closed: None,
            children: Vec::new(),
        };
        self.shards.push(shard);
        child
    }

    /// All shards ever.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard with this id.
    #[must_use]
    pub fn number(&self, id: &ShardId) -> Option<ShardNumber> {
        self.shards.iter().position(|shard| shard.id == *id)
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
        (0..self.shards.len()).filter(|number| self.shards[*number].closed.is_none()).collect()
    }

    // === Writing ===

    /// Writes one record that carries `users` user records (more than one: an aggregate) to an open shard.
    pub fn put(&mut self, users: u64, wall: UnixMillis, random: &mut Random) {
        let open = self.open_shards();
        let number = open[usize::try_from(random.below(open.len() as u64)).expect("few shards")];
        let sequence = self.sequence();
        let first = self.users.len() as u64;
        let payloads: Vec<Vec<u8>> = (first..first + users).map(payload).collect();
        let entries: Vec<AggregateEntry<'_>> = payloads
            .iter()
            .map(|data| AggregateEntry { partition_key: "key", explicit_hash_key: None, data })
            .collect();
        let data = if users == 1 { payloads[0].clone() } else { aggregate::encode(&entries) };
        for subsequence in 0..users {
            let shard = &mut self.shards[number];
            self.users.push((number, shard.users.len()));
            shard.users.push((RecordPosition { sequence: sequence.clone(), subsequence }, first + subsequence));
        }
        self.shards[number].records.push(Record { sequence, data, arrival: wall });
    }

    // === Resharding ===

    /// Splits an open shard; the children take records at once.
    pub fn split(&mut self, number: ShardNumber) {
        let HashRange { start, end } = self.shards[number].range;
        let middle = start + (end - start) / 2;
        let parents = BTreeSet::from([self.shards[number].id.clone()]);
        let low = self.add_shard(parents.clone(), HashRange { start, end: middle });
        let high = self.add_shard(parents, HashRange { start: middle + 1, end });
        self.close(number, vec![low, high]);
    }

    /// Merges two open shards; they need not be neighbours here, the hash range only says who covers what.
    pub fn merge(&mut self, one: ShardNumber, other: ShardNumber) {
        let (a, b) = (&self.shards[one], &self.shards[other]);
        let range = HashRange { start: a.range.start.min(b.range.start), end: a.range.end.max(b.range.end) };
        let child = self.add_shard(BTreeSet::from([a.id.clone(), b.id.clone()]), range);
        self.close(one, vec![child.clone()]);
        self.close(other, vec![child]);
    }

    /// An open shard and its open neighbour above, if there are any.
    #[must_use]
    pub fn neighbours(&self) -> Vec<(ShardNumber, ShardNumber)> {
        let open = self.open_shards();
        let above = |one: &ShardNumber| {
            let end = self.shards[*one].range.end;
            let next = open.iter().find(|other| end != u128::MAX && self.shards[**other].range.start == end + 1)?;
            Some((*one, *next))
        };
        open.iter().filter_map(above).collect()
    }

    fn close(&mut self, number: ShardNumber, children: Vec<ChildShard>) {
        let closed = self.sequence();
        let shard = &mut self.shards[number];
        shard.closed = Some(closed);
        shard.children = children;
    }

    /// Forgets what arrived before `until`. The stream keeps records for `retention` now.
    pub fn trim(&mut self, until: UnixMillis, retention: Duration) {
        self.retention = retention;
        for shard in &mut self.shards {
            shard.trimmed = shard.records.partition_point(|record| record.arrival < until);
        }
    }

    // === Reading ===

    /// What the service says of the stream.
    #[must_use]
    pub fn describe(&self) -> StreamDescription {
        let retention = self.retention;
        StreamDescription {
            name: StreamName::new("clicks"),
            arn: None,
            created: UnixMillis(EPOCH.0 - 60_000),
            retention,
        }
    }

    /// All shards.
    #[must_use]
    pub fn list(&self) -> Vec<ShardListing> {
        let listing = |shard: &Shard| ShardListing {
            id: shard.id.clone(),
            parents: shard.parents.clone(),
            hash_range: shard.range,
            starting_sequence: shard.starting.clone(),
            ending_sequence: shard.closed.clone(),
        };
        self.shards.iter().map(listing).collect()
    }

    /// An iterator.
    ///
    /// # Errors
    /// If there is no such shard.
    pub fn open(&self, id: &ShardId, at: &OpenAt, now: Duration) -> Result<ShardIterator, SeamError> {
        let shard = self.shard(id)?;
        let index = match at {
            OpenAt::TrimHorizon => 0,
            OpenAt::Timestamp(time) => shard.records.partition_point(|record| record.arrival < *time),
            OpenAt::At(sequence) => shard.records.partition_point(|record| record.sequence < *sequence),
            OpenAt::After(sequence) => shard.records.partition_point(|record| record.sequence <= *sequence),
        };
        Ok(self.iterator(index, now))
    }

    fn iterator(&self, index: usize, now: Duration) -> ShardIterator {
        ShardIterator(format!("{index}@{}", (now + self.iterator_life).as_millis()))
    }

    /// The next records.
    ///
    /// # Errors
    /// If there is no such shard, or the iterator is too old.
    pub fn fetch(
        &self,
        id: &ShardId,
        iterator: &ShardIterator,
        most: usize,
        now: Duration,
    ) -> Result<Fetched, SeamError> {
        let shard = self.shard(id)?;
        let error = |class, message: &str| SeamError::new("GetRecords", id.as_str(), class, message);
        let parsed = iterator.0.split_once('@').and_then(|(at, until)| Some((at.parse().ok()?, until.parse().ok()?)));
        let (index, until): (usize, u128) = parsed.ok_or_else(|| error(ErrorClass::Rejected, "not an iterator"))?;
        if now.as_millis() > until {
            return Err(error(ErrorClass::Expired, "the iterator is too old"));
        }
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
        Ok(Fetched {
            chunk: chunk.build(),
            next: (!at_end).then(|| self.iterator(range.end, now)),
            behind: Duration::from_millis(behind),
            children: if at_end { shard.children.clone() } else { Vec::new() },
        })
    }

    fn shard(&self, id: &ShardId) -> Result<&Shard, SeamError> {
        let missing = || SeamError::new("GetRecords", id.as_str(), ErrorClass::NotFound, "no such shard");
        self.shards.iter().find(|shard| shard.id == *id).ok_or_else(missing)
    }
}

impl Shard {
    /// Whether the shard takes no more records.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed.is_some()
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
