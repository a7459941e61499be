//! Small seams for tests of the engine: a table, a stream and sinks in memory, each with faults to hand out in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::chunk::{ChunkBuilder, UserRecord, UserRecords};
use penstock_core::coordinator::api::{HeldLease, StreamIndex};
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::ids::{
    ApplicationName, HashRange, LeaseCounter, LeaseKey, LeaseToken, ShardId, StreamName, WorkerId,
};
use penstock_core::intent::{Compression, Content, Destination, Encoding, Intent, IntentObject, OutsideHashRange};
use penstock_core::lease::{CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};
use penstock_core::position::{Position, RecordPosition, SequenceNumber};
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::{Instant, UnixMillis};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::budget::MemoryBudget;
use crate::clock::Clock;
use crate::gate::{SinkFacts, SinkGate};
use crate::metrics::Metrics;
use crate::ports::*;
use crate::settings::WorkerSettings;
use crate::shard::context::{GapLog, ShardContext, Stream, WorkerContext};
use crate::shard::tenure::{DeliveryDeadline, KeeperMessage, Tenure};
use crate::status::{Board, ShardCell};

pub(crate) const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// A list of faults, handed out one by one; none left means success.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<VecDeque<ErrorClass>>);

impl Faults {
    pub(crate) fn add(&self, class: ErrorClass, times: usize) {
        self.lock().extend(std::iter::repeat_n(class, times));
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ErrorClass>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, operation: &'static str) -> Result<(), SeamError> {
        self.lock().pop_front().map_or(Ok(()), |class| Err(SeamError::new(operation, "fake", class, "as told")))
    }
}

// === Leases ===

#[derive(Debug)]
pub(crate) struct FakeTable {
    pub(crate) rows: Mutex<BTreeMap<LeaseKey, LeaseRow>>,
    pub(crate) scan_faults: Faults,
    pub(crate) write_faults: Faults,
    pub(crate) version: Mutex<KclVersion>,
    pub(crate) version_faults: Faults,
    /// How long a call takes.
    pub(crate) slow: Mutex<Duration>,
    /// No call is answered any more.
    pub(crate) hangs: AtomicBool,
    /// When the last write was applied.
    pub(crate) wrote_at: Mutex<Option<tokio::time::Instant>>,
    /// Writes under way, and the most of them at once.
    pub(crate) writing: Mutex<(usize, usize)>,
    /// Applies the next write and panics then.
    pub(crate) panics: AtomicBool,
}

impl Default for FakeTable {
    fn default() -> Self {
        Self {
            rows: Mutex::default(),
            scan_faults: Faults::default(),
            write_faults: Faults::default(),
            version: Mutex::new(KclVersion::Unrecorded),
            version_faults: Faults::default(),
            slow: Mutex::new(Duration::from_millis(5)),
            hangs: AtomicBool::new(false),
            wrote_at: Mutex::default(),
            writing: Mutex::default(),
            panics: AtomicBool::new(false),
        }
    }
}

impl FakeTable {
    async fn answer(&self) {
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn row(&self, shard: &str) -> LeaseRow {
        self.rows.lock().unwrap()[&LeaseKey::new(shard)].clone()
    }
}

#[async_trait]
impl LeaseTable for FakeTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(())
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        self.answer().await;
        self.scan_faults.next("scan")?;
        Ok(Scan { rows: self.rows.lock().unwrap().values().cloned().collect(), unreadable: Vec::new() })
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        self.answer().await;
        let mut rows = self.rows.lock().unwrap();
        if rows.contains_key(&row.key) {
            return Ok(CreateOutcome::Exists);
        }
        rows.insert(row.key.clone(), row.clone());
        Ok(CreateOutcome::Created)
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let _writing = Writing::begin(&self.writing);
        self.answer().await;
        self.write_faults.next("write")?;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.get_mut(&write.key) else { return Ok(WriteOutcome::Conflict(None)) };
        if !write.expect.holds(row) {
            return Ok(WriteOutcome::Conflict(Some(Box::new(row.clone()))));
        }
        *row = write.change.apply(row);
        let after = Box::new(row.clone());
        *self.wrote_at.lock().unwrap() = Some(tokio::time::Instant::now());
        drop(rows);
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a table that panics");
        Ok(WriteOutcome::Applied(after))
    }

    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        self.answer().await;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.get_mut(&want.key) else { return Ok(false) };
        if want.holds(row) {
            row.wanted = Some(want.wanted.clone());
        }
        Ok(row.owner.as_ref() == Some(&want.owner) && row.wanted.as_ref() == Some(&want.wanted))
    }

    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        self.delete(key, counter).await
    }

    async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
        self.answer().await;
        self.version_faults.next("GetItem")?;
        Ok(self.version.lock().unwrap().clone())
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let mut rows = self.rows.lock().unwrap();
        if rows.get(key).is_some_and(|row| row.counter == counter) {
            rows.remove(key);
        }
        Ok(!rows.contains_key(key))
    }
}

/// Counts writes under way, those that nobody waits for any more left out.
struct Writing<'a>(&'a Mutex<(usize, usize)>);

impl<'a> Writing<'a> {
    fn begin(count: &'a Mutex<(usize, usize)>) -> Self {
        let mut counts = count.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Self(count)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
    }
}

// === Gaps ===

#[derive(Debug, Default)]
pub(crate) struct FakeGaps {
    pub(crate) entries: Mutex<BTreeMap<GapId, GapEntry>>,
    pub(crate) prepare_faults: Faults,
    pub(crate) faults: Faults,
}

#[async_trait]
impl GapLedger for FakeGaps {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(self.prepare_faults.next("prepare gaps")?)
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.faults.next("record gap")?;
        self.entries.lock().unwrap().entry(entry.id()).or_insert_with(|| entry.clone());
        Ok(())
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        let mut entries: Vec<GapEntry> = self.entries.lock().unwrap().values().cloned().collect();
        entries.sort_by_key(|entry| entry.noticed);
        Ok((entries, Vec::new()))
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        let mut entries = self.entries.lock().unwrap();
        let Some(entry) = entries.get_mut(&id) else { return Ok(false) };
        entry.acknowledged = entry.acknowledged.or(Some(at));
        Ok(true)
    }
}

// === Stream ===

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
            retention: Duration::from_secs(24 * 3600),
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
        let mut shards = self.shards.lock().unwrap();
        let shard = shards.get_mut(&ShardId::new(shard)).unwrap();
        shard.records.extend(numbers.map(|number| (sequence(number), format!("r{number}").into_bytes(), START)));
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
        let number = SequenceNumber::parse(number).unwrap();
        let start = records.partition_point(|(of, ..)| *of < number || (how == "after" && *of == number));
        let end = records.len().min(start + self.page.min(max_records as usize));
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
            behind: if at_end { Duration::ZERO } else { Duration::from_secs(60) },
            children: if ended { children.clone() } else { Vec::new() },
        })
    }
}

// === Objects ===

#[derive(Debug, Default)]
pub(crate) struct FakeObjects {
    pub(crate) stored: Mutex<BTreeMap<String, PreparedObject>>,
    pub(crate) put_faults: Faults,
    pub(crate) probe_faults: Faults,
    /// How long a put takes.
    pub(crate) slow: Mutex<Duration>,
    /// How much longer it takes for each line.
    pub(crate) slow_by_line: Mutex<Duration>,
    pub(crate) puts: Mutex<u64>,
    /// The payload at which a writer panics, once.
    pub(crate) panics_at: Arc<Mutex<Option<Vec<u8>>>>,
}

impl FakeObjects {
    /// The payloads of everything stored, in the order of keys.
    pub(crate) fn lines(&self) -> Vec<String> {
        let stored = self.stored.lock().unwrap();
        let bodies = stored.values().flat_map(|object| object.body.iter());
        bodies
            .flat_map(|body| String::from_utf8(body.to_vec()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

#[async_trait]
impl ObjectSink for FakeObjects {
    fn destination(&self) -> Destination {
        Destination::Directory { path: "/fake".to_owned() }
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            delimiter: b"\n".to_vec(),
            deaggregate: true,
            outside_hash_range: OutsideHashRange::Deliver,
            hash_range: None,
            compression: Compression::None,
            level: 0,
            time_zone: "UTC".to_owned(),
        }
    }

    fn writer(&self, shard: &ShardIdentity, encoding: &Encoding) -> Result<Box<dyn ObjectWriter>, WriterError> {
        Ok(Box::new(FakeWriter {
            shard: shard.clone(),
            encoding: encoding.clone(),
            body: Vec::new(),
            positions: Vec::new(),
            panics_at: Arc::clone(&self.panics_at),
        }))
    }

    async fn probe(&self, _: &Destination) -> Result<bool, SeamError> {
        self.probe_faults.next("probe").map(|()| true)
    }

    async fn put(&self, _: &Destination, object: &PreparedObject) -> Result<Put, SeamError> {
        let lines = object.body.iter().flat_map(|body| body.iter()).filter(|byte| **byte == b'\n').count();
        let slow = *self.slow.lock().unwrap() + *self.slow_by_line.lock().unwrap() * u32::try_from(lines).unwrap();
        tokio::time::sleep(slow).await;
        *self.puts.lock().unwrap() += 1;
        self.put_faults.next("PutObject")?;
        let mut stored = self.stored.lock().unwrap();
        match stored.get(&object.key) {
            Some(there) if there.sha256 == object.sha256 => Ok(Put::AlreadyThere),
            Some(_) => {
                Err(SeamError::new("PutObject", object.key.clone(), ErrorClass::Rejected, "another stands there"))
            }
            None => {
                stored.insert(object.key.clone(), object.clone());
                Ok(Put::Written)
            }
        }
    }

    async fn digest_of(&self, _: &Destination, key: &str) -> Result<Option<[u8; 32]>, SeamError> {
        Ok(self.stored.lock().unwrap().get(key).map(|object| object.sha256))
    }
}

struct FakeWriter {
    shard: ShardIdentity,
    encoding: Encoding,
    body: Vec<u8>,
    positions: Vec<RecordPosition>,
    panics_at: Arc<Mutex<Option<Vec<u8>>>>,
}

/// Tells bodies apart, no more.
fn digest(body: &[u8]) -> [u8; 32] {
    let mut digest = [0_u8; 32];
    for (index, byte) in body.iter().enumerate() {
        let of = &mut digest[index % 32];
        *of = of.wrapping_mul(31).wrapping_add(*byte);
    }
    digest[0] = digest[0].wrapping_add(u8::try_from(body.len() % 251).unwrap());
    digest
}

impl FakeWriter {
    fn object(&mut self, key: String) -> PreparedObject {
        let body = std::mem::take(&mut self.body);
        self.positions.clear();
        PreparedObject { key, sha256: digest(&body), body: vec![Bytes::from(body)], metadata: Vec::new() }
    }
}

impl ObjectWriter for FakeWriter {
    fn append(&mut self, records: &UserRecords, range: std::ops::Range<usize>) -> u64 {
        for index in range {
            let record = records.get(index);
            let panics = self.panics_at.lock().unwrap().take_if(|payload| payload.as_slice() == record.data).is_some();
            assert!(!panics, "a writer that panics");
            self.body.extend_from_slice(record.data);
            self.body.extend_from_slice(&self.encoding.delimiter);
            self.positions.push(record.position());
        }
        self.body.len() as u64
    }

    fn set_aside(&mut self, _: &UserRecord<'_>, _: &SetAsideReason) -> u64 {
        self.body.len() as u64
    }

    fn records(&self) -> u64 {
        self.positions.len() as u64
    }

    fn memory(&self) -> u64 {
        self.body.len() as u64
    }

    fn seal(&mut self, request: &SealRequest) -> Result<SealedBatch, WriterError> {
        let key = format!("{}-{:0>12}", self.shard.shard, request.first.to_string());
        let (records, bytes) = (self.positions.len() as u64, self.body.len() as u64);
        let (first, last) = (self.positions.first().cloned(), self.positions.last().cloned());
        let object = self.object(key.clone());
        let objects = match (first, last) {
            (Some(first), Some(last)) => vec![IntentObject {
                content: Content::Records,
                key,
                partition: BTreeMap::new(),
                first,
                last,
                records,
                sha256: object.sha256,
            }],
            _ => Vec::new(),
        };
        let prepared = if objects.is_empty() { Vec::new() } else { vec![object] };
        let intent = Intent {
            id: request.id,
            application: ApplicationName::new("test"),
            stream: self.shard.stream.clone(),
            lease: self.shard.lease.clone(),
            from: request.from.clone(),
            first: request.first.clone(),
            last: request.last.clone(),
            chain: request.chain.clone(),
            time: request.time,
            destination: Destination::Directory { path: "/fake".to_owned() },
            encoding: self.encoding.clone(),
            objects,
        };
        Ok(SealedBatch { intent, objects: prepared, delivered: records, delivered_bytes: bytes, set_aside: Vec::new() })
    }

    fn rebuild(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError> {
        let of = &intent.objects[0];
        let object = self.object(of.key.clone());
        if object.sha256 == of.sha256 {
            return Ok(vec![object]);
        }
        Err(WriterError::CannotRebuild {
            shard: self.shard.shard.to_string(),
            problem: "the digest differs".to_owned(),
        })
    }

    fn rebuild_partial(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError> {
        Ok(vec![self.object(intent.objects[0].key.clone())])
    }
}

// === Calls ===

#[derive(Debug)]
pub(crate) struct FakeCalls {
    pub(crate) taken: Mutex<Vec<Vec<u8>>>,
    pub(crate) call_faults: Faults,
    /// Entries that fail this time, by their index in the call; one set per call.
    pub(crate) partial: Mutex<VecDeque<Vec<usize>>>,
    /// Payloads that are refused for good.
    pub(crate) poison: Mutex<Vec<Vec<u8>>>,
    pub(crate) limits: CallLimits,
    pub(crate) packable: Option<bool>,
    pub(crate) calls: Mutex<u64>,
    /// What each call was allowed to take.
    pub(crate) limits_of_calls: Mutex<Vec<Duration>>,
    /// When each call began.
    pub(crate) called_at: Mutex<Vec<tokio::time::Instant>>,
}

impl Default for FakeCalls {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
            call_faults: Faults::default(),
            partial: Mutex::default(),
            poison: Mutex::default(),
            limits: CallLimits { max_entries: 5, max_call_bytes: 1_000, max_entry_bytes: 100 },
            packable: Some(false),
            calls: Mutex::default(),
            limits_of_calls: Mutex::default(),
            called_at: Mutex::default(),
        }
    }
}

#[async_trait]
impl CallSink for FakeCalls {
    fn limits(&self) -> CallLimits {
        self.limits
    }

    async fn probe(&self) -> Result<CallTarget, SeamError> {
        Ok(CallTarget { packable: self.packable })
    }

    async fn call(&self, entries: &[Bytes], time_out: Duration) -> Result<Vec<EntryOutcome>, SeamError> {
        *self.calls.lock().unwrap() += 1;
        self.limits_of_calls.lock().unwrap().push(time_out);
        self.called_at.lock().unwrap().push(tokio::time::Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.call_faults.next("PutRecordBatch")?;
        let failing = self.partial.lock().unwrap().pop_front().unwrap_or_default();
        let poison = self.poison.lock().unwrap().clone();
        let outcome = |(index, entry): (usize, &Bytes)| {
            let (code, message) = ("Code".to_owned(), "as told".to_owned());
            if failing.contains(&index) {
                return EntryOutcome::Failed { code, message };
            }
            if poison.contains(&entry.to_vec()) {
                return EntryOutcome::Rejected { code, message };
            }
            self.taken.lock().unwrap().push(entry.to_vec());
            EntryOutcome::Delivered
        };
        Ok(entries.iter().enumerate().map(outcome).collect())
    }
}

#[derive(Debug, Default)]
pub(crate) struct FakeSetAside {
    pub(crate) batches: Mutex<Vec<SetAsideBatch>>,
    pub(crate) faults: Faults,
}

#[async_trait]
impl SetAside for FakeSetAside {
    async fn set_aside(&self, batch: &SetAsideBatch) -> Result<(), SeamError> {
        self.faults.next("PutObject")?;
        self.batches.lock().unwrap().push(batch.clone());
        Ok(())
    }
}

pub(crate) fn settings(worker: &str) -> WorkerSettings {
    let mut settings = WorkerSettings::new(ApplicationName::new("test"), WorkerId::new(worker), 7);
    settings.objects.buffer_interval = Duration::from_secs(5);
    settings.calls.linger = Duration::from_millis(200);
    settings
}

// === One shard without a worker ===

/// The context of a shard that is held until the end of time, with the keeper's end of its mailbox.
pub(crate) fn shard(
    stream: &Arc<FakeStream>,
    checkpoint: Position,
) -> (Arc<ShardContext>, mpsc::Receiver<KeeperMessage>) {
    shard_with(stream, checkpoint, Arc::default())
}

/// The same with a gap ledger of the caller's.
pub(crate) fn shard_with(
    stream: &Arc<FakeStream>,
    checkpoint: Position,
    ledger: Arc<FakeGaps>,
) -> (Arc<ShardContext>, mpsc::Receiver<KeeperMessage>) {
    let clock = Clock::simulated(START);
    let settings = settings("w-1");
    let metrics = Arc::new(Metrics::register());
    let budget = MemoryBudget::new(settings.memory_budget, clock.clone(), metrics.memory_used.clone()).unwrap();
    let board =
        Board::new(&settings, &[StreamName::new("clicks")], clock.clone(), Arc::clone(&metrics), budget.clone());
    let key = LeaseKey::new("shardId-000000000000");
    let worker = Arc::new(WorkerContext {
        clock,
        streams: vec![Arc::new(Stream::new(StreamIndex(0), stream.clone(), stream.description()))],
        ledger,
        budget,
        metrics,
        board,
        gate: SinkGate::open(SinkFacts { target: None }),
        fetches: Semaphore::new(1),
        replays: Semaphore::new(1),
        gaps: GapLog::default(),
        out_of_grace: AtomicBool::new(false),
        settings,
    });
    let row = LeaseRow::new(key.clone(), LeaseCounter(1), checkpoint.clone());
    let until = Instant::from_nanos(u64::MAX);
    let (keeper, mailbox) = mpsc::channel(8);
    let cut = CancellationToken::new();
    let ctx = ShardContext {
        identity: ShardIdentity { stream: StreamName::new("clicks"), lease: key.clone(), shard: key.shard_id() },
        tenure: Arc::new(Tenure::new(
            HeldLease { token: LeaseToken(1), row, until, stream: StreamIndex(0), silent_since: None },
            DeliveryDeadline::new(until),
            keeper,
        )),
        cell: ShardCell::new(key, StreamName::new("clicks"), checkpoint, None, worker.clock.now().instant),
        stream: Arc::clone(&worker.streams[0]),
        drain: cut.child_token(),
        close_early: cut.child_token(),
        cut,
        worker,
    };
    (Arc::new(ctx), mailbox)
}
