//! One stream: its shards, routing by hash key, resharding and retention. Pure: handed the time.
//! The open shards cover the whole hash key space at every moment, without overlap.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hash::{HashRange, uniform_ranges};
use super::sequence::SequenceNumber;
use super::shard::{NewRecord, Shard};
use crate::clock::Time;
use crate::wire::ApiError;

/// Hours of retention of a new stream, and the fewest.
pub(crate) const MIN_RETENTION_HOURS: u32 = 24;
/// The most hours of retention.
pub(crate) const MAX_RETENTION_HOURS: u32 = 8760;
/// UpdateShardCount calls a stream allows within 24 hours.
const RESCALES_PER_DAY: usize = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a stream's capacity is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamMode {
    Provisioned,
    OnDemand,
}

impl StreamMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// What a stream is created with.
#[derive(Debug)]
pub(crate) struct NewStream {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) shards: u32,
    pub(crate) mode: StreamMode,
    pub(crate) max_record_kib: u32,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) created: Time,
    /// Tells the stream from an earlier one of the same name.
    pub(crate) incarnation: u64,
    pub(crate) mode: StreamMode,
    pub(crate) retention_hours: u32,
    pub(crate) max_record_kib: u32,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) shards: BTreeMap<u32, Shard>,
    /// The open shards by the end of their range.
    routes: Vec<(u128, u32)>,
    next_shard: u32,
    rescaled: Vec<Time>,
}

impl Stream {
    pub(crate) fn new(new: NewStream, account: &str, incarnation: u64, epoch: u64, now: Time) -> Self {
        let NewStream { name, region, shards, mode, max_record_kib, tags } = new;
        let mut stream = Self {
            arn: format!("arn:aws:kinesis:{region}:{account}:stream/{name}"),
            name,
            created: now,
            incarnation,
            mode,
            retention_hours: MIN_RETENTION_HOURS,
            max_record_kib,
            tags,
            shards: BTreeMap::new(),
            routes: Vec::new(),
            next_shard: 0,
            rescaled: Vec::new(),
        };
        for range in uniform_ranges(shards) {
            stream.open(range, Vec::new(), epoch, now);
        }
        stream.route();
        stream
    }

    pub(crate) fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.is_open())
    }

    pub(crate) fn open_count(&self) -> u32 {
        u32::try_from(self.routes.len()).unwrap_or(u32::MAX)
    }

    /// The largest epoch any shard had: a later stream of this name begins above it.
    pub(crate) fn last_epoch(&self) -> u64 {
        self.shards.values().map(|shard| shard.epoch).max().unwrap_or(0)
    }

    /// The moment before which records and closed shards are gone.
    pub(crate) fn horizon(&self, hour: Duration, now: Time) -> Time {
        now.before(hour * self.retention_hours)
    }

    /// Drops what has outlived the retention.
    pub(crate) fn expire(&mut self, hour: Duration, now: Time) {
        let horizon = self.horizon(hour, now);
        self.shards.retain(|_, shard| !shard.is_expired(horizon));
        for shard in self.shards.values_mut() {
            shard.trim(horizon);
        }
    }

    /// Takes a record into the shard its hash falls in, or says which shard would have taken it.
    pub(crate) fn put(&mut self, record: NewRecord, throttle: bool, now: Time) -> Result<(u32, SequenceNumber), u32> {
        let at = self.routes.partition_point(|&(end, _)| end < record.hash);
        let number = self.routes.get(at).map_or(0, |&(_, number)| number);
        let shard = self.shards.get_mut(&number).ok_or(number)?;
        shard.put(record, throttle, now).map(|sequence| (number, sequence)).map_err(|_| number)
    }

    /// The open shard of that number.
    pub(crate) fn open_shard(&self, number: u32) -> Result<&Shard, ApiError> {
        let shard = self.shard(number)?;
        if shard.is_open() {
            return Ok(shard);
        }
        Err(ApiError::in_use(format!("{} in stream {} is not open", shard_id(number), self.arn)))
    }

    /// The shard of that number, open or closed.
    pub(crate) fn shard(&self, number: u32) -> Result<&Shard, ApiError> {
        self.shards.get(&number).ok_or_else(|| self.no_shard(&shard_id(number)))
    }

    /// `ResourceNotFoundException` for a shard.
    pub(crate) fn no_shard(&self, id: &str) -> ApiError {
        ApiError::not_found(format!("Shard {id} in stream {} does not exist", self.arn))
    }

    /// Splits an open shard before hash key `at`, as a caller of SplitShard may.
    pub(crate) fn split(&mut self, number: u32, at: u128, now: Time) -> Result<(), ApiError> {
        let range = self.open_shard(number)?.range;
        if at.saturating_sub(range.start) < 2 || at >= range.end {
            return Err(ApiError::invalid_argument(format!(
                "NewStartingHashKey {at} used in SplitShard() on shard {} in stream {} is not both greater than one plus \
                 the shard's StartingHashKey {} and less than the shard's EndingHashKey {}.",
                shard_id(number),
                self.arn,
                range.start,
                range.end
            )));
        }
        self.cut(number, at, now);
        self.route();
        Ok(())
    }

    /// Merges two open shards whose ranges are adjacent.
    pub(crate) fn merge(&mut self, number: u32, adjacent: u32, now: Time) -> Result<(), ApiError> {
        let (one, other) = (self.open_shard(number)?.range, self.open_shard(adjacent)?.range);
        let Some(range) = one.join(&other) else {
            return Err(ApiError::invalid_argument(format!(
                "Shards {} and {} in stream {} are not an adjacent pair of shards eligible for merging",
                shard_id(number),
                shard_id(adjacent),
                self.arn
            )));
        };
        self.replace(&[number, adjacent], &[range], now);
        self.route();
        Ok(())
    }

    /// Brings the stream to `target` shards of equal range: first a split at each boundary that is missing, then a merge
    /// at each that is left over. The shards in between are closed at once, as with the service.
    pub(crate) fn rescale(&mut self, target: u32, throttle: bool, now: Time) -> Result<(), ApiError> {
        self.check_rescale(target, throttle, now)?;
        let wanted: Vec<u128> = uniform_ranges(target).iter().map(|range| range.start).collect();
        for &start in &wanted {
            let at = self.open_shards().find(|shard| shard.range.contains(start) && shard.range.start != start);
            if let Some(number) = at.map(|shard| shard.number) {
                self.cut(number, start, now);
            }
        }
        self.route();
        let surplus: Vec<u128> = self.open_shards().map(|shard| shard.range.start).collect();
        for start in surplus.into_iter().filter(|start| wanted.binary_search(start).is_err()) {
            self.join_at(start, now);
        }
        self.route();
        self.rescaled.push(now);
        Ok(())
    }

    fn check_rescale(&mut self, target: u32, throttle: bool, now: Time) -> Result<(), ApiError> {
        let open = self.open_count();
        if target > open.saturating_mul(2) || target < open.div_ceil(2) {
            return Err(ApiError::invalid_argument(format!(
                "UpdateShardCount cannot scale over double or below half of the open shard count. \
                 Open shards: {open}, target: {target}"
            )));
        }
        self.rescaled.retain(|&at| now.since(at) < DAY);
        if throttle && self.rescaled.len() >= RESCALES_PER_DAY {
            return Err(ApiError::limit_exceeded(format!(
                "UpdateShardCount was already called {RESCALES_PER_DAY} times within 24 hours on stream {}",
                self.arn
            )));
        }
        Ok(())
    }

    /// Merges the two open shards that meet before hash key `start`.
    fn join_at(&mut self, start: u128, now: Time) {
        let ending = self.open_shards().find(|shard| shard.range.end.checked_add(1) == Some(start));
        let starting = self.open_shards().find(|shard| shard.range.start == start);
        let (Some(low), Some(high)) = (ending, starting) else { return };
        let (range, pair) = (low.range.join(&high.range), [low.number, high.number]);
        if let Some(range) = range {
            self.replace(&pair, &[range], now);
        }
    }

    fn cut(&mut self, number: u32, at: u128, now: Time) {
        if let Some(range) = self.shards.get(&number).map(|shard| shard.range) {
            self.replace(&[number], &range.split_at(at), now);
        }
    }

    /// Closes `parents` and opens their children, above them in epoch.
    fn replace(&mut self, parents: &[u32], ranges: &[HashRange], now: Time) {
        let newest = parents.iter().filter_map(|number| self.shards.get(number)).map(|shard| shard.epoch).max();
        let epoch = newest.map_or(0, |epoch| epoch + 1).max(now.as_millis() / 1000);
        let children: Vec<u32> = ranges.iter().map(|&range| self.open(range, parents.to_vec(), epoch, now)).collect();
        for number in parents {
            if let Some(shard) = self.shards.get_mut(number) {
                shard.close(children.clone(), now);
            }
        }
    }

    fn open(&mut self, range: HashRange, parents: Vec<u32>, epoch: u64, now: Time) -> u32 {
        let number = self.next_shard;
        self.next_shard += 1;
        self.shards.insert(number, Shard::new(number, range, parents, epoch, now));
        number
    }

    fn route(&mut self) {
        self.routes = self.open_shards().map(|shard| (shard.range.end, shard.number)).collect();
        self.routes.sort_unstable();
    }
}

/// A shard's id on the wire.
pub(crate) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number in a shard's id; `None` for what is not one.
pub(crate) fn shard_number(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-")?;
    let number = digits.parse().ok()?;
    (shard_id(number) == id).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Time {
        Time::from_millis((1_790_000_000 + seconds) * 1000)
    }

    fn stream(shards: u32) -> Stream {
        let new = NewStream {
            name: "clicks".into(),
            region: "us-east-1".into(),
            shards,
            mode: StreamMode::Provisioned,
            max_record_kib: 1024,
            tags: BTreeMap::new(),
        };
        Stream::new(new, "000000000000", 1, 1_790_000_000, at(0))
    }

    fn put(stream: &mut Stream, hash: u128, now: Time) -> (u32, SequenceNumber) {
        stream.put(NewRecord { body: Bytes::from_static(b"kv"), key_bytes: 1, hash }, true, now).unwrap()
    }

    fn assert_covered(stream: &Stream) {
        let mut ranges: Vec<HashRange> = stream.open_shards().map(|shard| shard.range).collect();
        ranges.sort_by_key(|range| range.start);
        assert_eq!(ranges[0].start, 0);
        assert_eq!(ranges[ranges.len() - 1].end, u128::MAX);
        assert!(ranges.windows(2).all(|pair| pair[0].end + 1 == pair[1].start));
        assert_eq!(stream.open_count() as usize, ranges.len());
    }

    #[test]
    fn records_go_where_their_hash_falls() {
        let mut stream = stream(4);
        for shard in stream.shards.values().map(|shard| (shard.number, shard.range)).collect::<Vec<_>>() {
            assert_eq!(put(&mut stream, shard.1.start, at(1)).0, shard.0);
            assert_eq!(put(&mut stream, shard.1.end, at(1)).0, shard.0);
        }
    }

    #[test]
    fn a_split_closes_the_parent_and_its_children_come_after_it() {
        let mut stream = stream(1);
        let (_, before) = put(&mut stream, 5, at(0));
        stream.split(0, 1 << 127, at(0)).unwrap();
        assert_covered(&stream);
        let closed = stream.shards[&0].closed.clone().unwrap();
        assert_eq!(closed.children, [1, 2]);
        assert_eq!(stream.shards[&1].parents, [0]);
        let (low, after) = put(&mut stream, 5, at(0));
        let (high, _) = put(&mut stream, u128::MAX, at(0));
        assert_eq!((low, high), (1, 2));
        assert!(
            before.text() < closed.last.text() && closed.last.text() < stream.shards[&1].starting_sequence().text()
        );
        assert!(stream.shards[&1].starting_sequence().text() < after.text(), "within the same second, too");
    }

    #[test]
    fn a_merge_has_two_parents_and_comes_after_both() {
        let mut stream = stream(3);
        let [a, b] = [0, 1].map(|number| stream.shards[&number].range.start);
        let old = [put(&mut stream, a, at(0)).1, put(&mut stream, b, at(0)).1];
        stream.merge(1, 0, at(0)).unwrap();
        assert_covered(&stream);
        assert_eq!(stream.shards[&3].parents, [1, 0]);
        let (number, new) = put(&mut stream, a, at(0));
        assert_eq!(number, 3);
        assert!(old.iter().all(|old| old.text() < new.text()));
    }

    #[test]
    fn what_cannot_be_split_or_merged_is_refused() {
        let mut stream = stream(3);
        let range = stream.shards[&0].range;
        for wrong in [range.start, range.start + 1, range.end, range.end + 1] {
            assert_eq!(stream.split(0, wrong, at(0)).unwrap_err().code, "InvalidArgumentException");
        }
        assert_eq!(stream.merge(0, 2, at(0)).unwrap_err().code, "InvalidArgumentException");
        assert_eq!(stream.merge(0, 9, at(0)).unwrap_err().code, "ResourceNotFoundException");
        stream.split(0, range.start + 2, at(0)).unwrap();
        assert_eq!(stream.split(0, range.start + 2, at(0)).unwrap_err().code, "ResourceInUseException");
        assert_eq!(stream.merge(0, 1, at(0)).unwrap_err().code, "ResourceInUseException");
    }

    #[test]
    fn rescaling_ends_in_uniform_shards_and_keeps_lineage() {
        for (from, to) in [(4, 8), (4, 2), (4, 6), (6, 4), (3, 5), (5, 3), (2, 2), (1, 2)] {
            let mut stream = stream(from);
            stream.rescale(to, true, at(1)).unwrap();
            assert_covered(&stream);
            let mut ranges: Vec<HashRange> = stream.open_shards().map(|shard| shard.range).collect();
            ranges.sort_by_key(|range| range.start);
            assert_eq!(ranges, uniform_ranges(to), "{from} to {to}");
            for shard in stream.shards.values() {
                let parents: Vec<&Shard> = shard.parents.iter().map(|parent| &stream.shards[parent]).collect();
                assert!(parents.iter().all(|parent| {
                    parent.epoch < shard.epoch
                        && parent.closed.as_ref().is_some_and(|closed| closed.children.contains(&shard.number))
                }));
            }
        }
    }

    #[test]
    fn rescaling_is_limited() {
        let mut stream = stream(4);
        assert_eq!(stream.rescale(9, true, at(0)).unwrap_err().code, "InvalidArgumentException");
        assert_eq!(stream.rescale(1, true, at(0)).unwrap_err().code, "InvalidArgumentException");
        for _ in 0..10 {
            stream.rescale(4, true, at(0)).unwrap();
        }
        assert_eq!(stream.rescale(4, true, at(86_399)).unwrap_err().code, "LimitExceededException");
        stream.rescale(4, false, at(86_399)).unwrap();
        stream.rescale(5, true, at(86_400)).unwrap();
    }

    #[test]
    fn retention_drops_records_and_closed_shards() {
        let mut stream = stream(1);
        put(&mut stream, 5, at(0));
        stream.split(0, 1 << 127, at(10)).unwrap();
        put(&mut stream, 5, at(20));
        let day = 24 * 3600;
        stream.expire(HOUR, at(day + 10));
        assert_eq!(stream.shards.len(), 3);
        stream.expire(HOUR, at(day + 11));
        assert_eq!(stream.shards.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(stream.shards.get_mut(&1).unwrap().read(0, 9, true, at(day + 11)).unwrap().records.len(), 1);
        stream.expire(HOUR, at(day + 21));
        assert_eq!(stream.shards.get_mut(&1).unwrap().read(0, 9, true, at(day + 21)).unwrap().records.len(), 0);
    }

    #[test]
    fn shard_ids_are_read_back() {
        assert_eq!(shard_number(&shard_id(12)), Some(12));
        for wrong in ["", "shardId-", "shardId-1", "shard-000000000001", "shardId-+00000000001"] {
            assert_eq!(shard_number(wrong), None, "{wrong}");
        }
    }
}
