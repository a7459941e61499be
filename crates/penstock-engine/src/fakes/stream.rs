//! A stream in memory.

use super::*;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone)]
pub(crate) struct FakeShard {
    pub(crate) listing: ShardListing,
    pub(crate) records: Vec<(SequenceNumber, Vec<u8>, UnixMillis)>,
    pub(crate) children: Vec<ChildShard>,
}

#[derive(Debug)]
pub(crate) struct FakeStream {
    pub(crate) shards: Mutex<BTreeMap<ShardId, FakeShard>>,
    pub(crate) name: StreamName,
    pub(crate) describe_faults: Faults,
    pub(crate) list_faults: Faults,
    pub(crate) open_faults: Faults,
    pub(crate) fetch_faults: Faults,
    pub(crate) opened: Mutex<Vec<OpenAt>>,
    pub(crate) fetched_at: Mutex<Vec<tokio::time::Instant>>,
    /// The same for each shard.
    pub(crate) fetched_of: Mutex<BTreeMap<ShardId, Vec<tokio::time::Instant>>>,
    pub(crate) page: usize,
    pub(crate) created: Mutex<UnixMillis>,
    pub(crate) retention: Mutex<Duration>,
    /// How far an answer is behind that leaves records for the next.
    pub(crate) behind: Mutex<Duration>,
    /// How many empty pages lie before each record that is not asked for by its number.
    pub(crate) empty_pages: Mutex<u32>,
}

pub(crate) fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::parse(&number.to_string()).unwrap()
}

pub(crate) fn position(number: u64) -> RecordPosition {
    RecordPosition { sequence: sequence(number), subsequence: 0 }
}

impl FakeStream {
    pub(crate) fn new(shards: &[&str]) -> Arc<Self> {
        Self::named("clicks", shards)
    }

    pub(crate) fn named(name: &str, shards: &[&str]) -> Arc<Self> {
        let stream = Self {
            shards: Mutex::default(),
            name: StreamName::new(name),
            describe_faults: Faults::default(),
            list_faults: Faults::default(),
            open_faults: Faults::default(),
            fetch_faults: Faults::default(),
            opened: Mutex::default(),
            fetched_at: Mutex::default(),
            fetched_of: Mutex::default(),
            page: 10,
            created: Mutex::new(UnixMillis(START.0 - 1_000)),
            retention: Mutex::new(DAY),
            behind: Mutex::new(Duration::from_secs(60)),
            empty_pages: Mutex::default(),
        };
        for shard in shards {
            stream.add_shard(shard, &[]);
        }
        Arc::new(stream)
    }

    pub(crate) fn description(&self) -> StreamDescription {
        StreamDescription {
            name: self.name.clone(),
            arn: Some(format!("arn:aws:kinesis:eu-west-1:123456789012:stream/{}", self.name)),
            created: *self.created.lock().unwrap(),
            retention: *self.retention.lock().unwrap(),
        }
    }

    pub(crate) fn add_shard(&self, shard: &str, parents: &[&str]) {
        let listing = ShardListing {
            id: ShardId::new(shard),
            parents: parents.iter().map(|parent| ShardId::new(parent)).collect(),
            hash_range: HashRange::ALL,
            starting_sequence: sequence(1),
            ending_sequence: None,
        };
        let fake = FakeShard { listing, records: Vec::new(), children: Vec::new() };
        self.shards.lock().unwrap().insert(ShardId::new(shard), fake);
    }

    /// Puts records whose sequence numbers and payloads are these numbers.
    pub(crate) fn put(&self, shard: &str, numbers: std::ops::RangeInclusive<u64>) {
        self.put_at(shard, numbers, START);
    }

    /// The same at a time of arrival.
    pub(crate) fn put_at(&self, shard: &str, numbers: std::ops::RangeInclusive<u64>, arrival: UnixMillis) {
        let mut shards = self.shards.lock().unwrap();
        let shard = shards.get_mut(&ShardId::new(shard)).unwrap();
        shard.records.extend(numbers.map(|number| (sequence(number), format!("r{number}").into_bytes(), arrival)));
    }

    /// Closes a shard; its one child continues it.
    pub(crate) fn close(&self, shard: &str, child: &str) {
        self.add_shard(child, &[shard]);
        let mut shards = self.shards.lock().unwrap();
        let closed = shards.get_mut(&ShardId::new(shard)).unwrap();
        closed.listing.ending_sequence = Some(sequence(1_000_000));
        closed.children = vec![ChildShard {
            id: ShardId::new(child),
            parents: [ShardId::new(shard)].into(),
            hash_range: HashRange::ALL,
        }];
    }

    pub(crate) fn trim(&self, shard: &str, up_to: u64) {
        let mut shards = self.shards.lock().unwrap();
        shards.get_mut(&ShardId::new(shard)).unwrap().records.retain(|(number, ..)| *number > sequence(up_to));
    }
}

#[async_trait]
impl ShardSource for FakeStream {
    async fn describe(&self) -> Result<StreamDescription, SeamError> {
        self.describe_faults.next("DescribeStreamSummary")?;
        Ok(self.description())
    }

    async fn list_shards(&self) -> Result<Vec<ShardListing>, SeamError> {
        self.list_faults.next("ListShards")?;
        Ok(self.shards.lock().unwrap().values().map(|shard| shard.listing.clone()).collect())
    }

    async fn open(&self, shard: &ShardId, at: &OpenAt) -> Result<ShardIterator, SeamError> {
        self.opened.lock().unwrap().push(at.clone());
        self.open_faults.next("GetShardIterator")?;
        let shards = self.shards.lock().unwrap();
        let gone = || SeamError::new("GetShardIterator", shard.to_string(), ErrorClass::NotFound, "gone");
        let records = &shards.get(shard).ok_or_else(gone)?.records;
        let index = match at {
            OpenAt::TrimHorizon => 0,
            OpenAt::Timestamp(time) => records.partition_point(|(_, _, arrival)| arrival < time),
            OpenAt::At(at) => records.partition_point(|(number, ..)| number < at),
            OpenAt::After(at) => records.partition_point(|(number, ..)| number <= at),
        };
        if *at == OpenAt::TrimHorizon && *self.empty_pages.lock().unwrap() > 0 {
            return Ok(ShardIterator("after 0".to_owned()));
        }
        let next = records.get(index).map_or(u64::MAX.to_string(), |(number, ..)| number.to_string());
        let end = records.last().map_or("0".to_owned(), |(number, ..)| number.to_string());
        // An iterator names the record it begins with, or what it follows upon.
        Ok(ShardIterator(if index < records.len() { format!("at {next}") } else { format!("after {end}") }))
    }

    async fn fetch(&self, shard: &ShardId, iterator: &ShardIterator, max_records: u32) -> Result<Fetched, SeamError> {
        self.fetched_at.lock().unwrap().push(tokio::time::Instant::now());
        self.fetched_of.lock().unwrap().entry(shard.clone()).or_default().push(tokio::time::Instant::now());
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.fetch_faults.next("GetRecords")?;
        let shards = self.shards.lock().unwrap();
        let gone = || SeamError::new("GetRecords", shard.to_string(), ErrorClass::NotFound, "gone");
        let FakeShard { listing, records, children } = shards.get(shard).ok_or_else(gone)?;
        let (how, number) = iterator.0.split_once(' ').unwrap();
        let (number, seen) = number.split_once('+').unwrap_or((number, "0"));
        let (number, seen) = (SequenceNumber::parse(number).unwrap(), seen.parse::<u32>().unwrap());
        let start = records.partition_point(|(of, ..)| *of < number || (how == "after" && *of == number));
        let empty_pages = *self.empty_pages.lock().unwrap();
        if how == "after" && start < records.len() && seen < empty_pages {
            let next = Some(ShardIterator(format!("after {number}+{}", seen + 1)));
            let behind = *self.behind.lock().unwrap();
            return Ok(Fetched { chunk: ChunkBuilder::default().build(), next, behind, children: Vec::new() });
        }
        let page = if empty_pages > 0 { 1 } else { self.page.min(max_records as usize) };
        let end = records.len().min(start + page);
        let mut builder = ChunkBuilder::default();
        for (number, payload, arrival) in &records[start..end] {
            builder.push(number, "key", payload, *arrival);
        }
        let last = records[start..end].last().map_or(number, |(number, ..)| number.clone());
        let at_end = end == records.len();
        let ended = at_end && !listing.is_open();
        let next =
            if records[start..end].is_empty() { iterator.clone() } else { ShardIterator(format!("after {last}")) };
        Ok(Fetched {
            chunk: builder.build(),
            next: (!ended).then_some(next),
            behind: if at_end { Duration::ZERO } else { *self.behind.lock().unwrap() },
            children: if ended { children.clone() } else { Vec::new() },
        })
    }
}
