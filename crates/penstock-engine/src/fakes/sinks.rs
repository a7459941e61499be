//! Sinks in memory, of both shapes, and a place to set aside.

use std::num::NonZeroU64;

use super::*;

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

    async fn put(&self, _: DeliveryPermit, _: &Destination, object: &PreparedObject) -> Result<Put, SeamError> {
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
            limits: CallLimits {
                max_entries: 5,
                max_call_bytes: 1_000,
                max_entry_bytes: 100,
                billed_step: NonZeroU64::new(10),
            },
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

    async fn call(
        &self,
        _: DeliveryPermit,
        entries: &[Bytes],
        time_out: Duration,
    ) -> Result<Vec<EntryOutcome>, SeamError> {
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
                return EntryOutcome::Failed { class: ErrorClass::Throttled, code, message };
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
    async fn set_aside(&self, _: DeliveryPermit, batch: &SetAsideBatch) -> Result<(), SeamError> {
        self.faults.next("PutObject")?;
        self.batches.lock().unwrap().push(batch.clone());
        Ok(())
    }
}
