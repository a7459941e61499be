//! A store of objects that refuses to replace one, and the sink over it as one worker reaches it.
//!
//! An object holds the payloads of its user records, one a line. Its key contains the intent's random id: a batch that is cut
//! again never hides under the key of the first cut.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::chunk::{UserRecord, UserRecords};
use penstock_core::ids::{ApplicationName, LeaseKey, WorkerId};
use penstock_core::intent::{Compression, Content, Destination, Encoding, Intent, IntentObject, OutsideHashRange};
use penstock_core::mutant::{self, Mutant};
use penstock_core::position::RecordPosition;
use penstock_engine::ports::{
    DeliveryPermit, ErrorClass, ObjectSink, ObjectWriter, PreparedObject, Put, SealRequest, SealedBatch, SeamError,
    SetAsideReason, ShardIdentity, WriterError,
};

use crate::ledger::{EXACTLY_ONCE, SAME_OBJECT};
use crate::network::{Link, Seam};
use crate::stream;
use crate::world::{State, World};

/// Where all objects go.
fn bucket() -> Destination {
    Destination::S3 { bucket: "lake".to_owned(), region: String::new() }
}

/// All objects.
#[derive(Debug, Default)]
pub struct ObjectStore {
    objects: BTreeMap<String, [u8; 32]>,
    /// Those that are marked as what was left of a trimmed intent.
    partial: BTreeSet<String>,
}

/// Where an object names its lease.
const LEASE: &str = "penstock-lease";
/// How an object of records that are set aside is marked.
const ASIDE: &str = "set-aside";
/// How what was left of a trimmed intent is marked.
const PARTIAL: &str = "penstock-partial";

fn is_partial(object: &PreparedObject) -> bool {
    object.metadata.iter().any(|(name, _)| *name == PARTIAL)
}

impl ObjectStore {
    /// The number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl State {
    fn put_object(&mut self, name: &str, object: &PreparedObject) -> Result<Put, SeamError> {
        let key = &object.key;
        if let Some(there) = self.store.objects.get(key) {
            if *there == object.sha256 {
                self.note(name, format_args!("put {key}: it is there"));
                return Ok(Put::AlreadyThere);
            }
            // What could be read of a trimmed intent meets the whole object: that one stays.
            if !is_partial(object) && !self.store.partial.contains(key) {
                self.broke(SAME_OBJECT, format!("{name} puts another {key}"));
            }
            return Err(SeamError::new("PutObject", key, ErrorClass::Rejected, "another object stands there"));
        }
        match stream::ids(&object.body.concat()) {
            Ok(ids) => {
                self.note(name, format_args!("put {key}: {} records", ids.len()));
                let aside = object.metadata.iter().any(|(name, _)| *name == ASIDE);
                let found = self.ledger.on_object(&self.streams, key, &ids, aside);
                self.check(found);
            }
            Err(line) => self.broke(EXACTLY_ONCE, format!("{key} holds {line:?}")),
        }
        self.store.objects.insert(key.clone(), object.sha256);
        if is_partial(object) {
            self.store.partial.insert(key.clone());
        }
        Ok(Put::Written)
    }
}

/// The store as one worker reaches it.
#[derive(Debug)]
pub struct LinkedObjects {
    link: Arc<Link>,
    worker: WorkerId,
    application: ApplicationName,
    delimiter: &'static [u8],
    outside: OutsideHashRange,
}

impl LinkedObjects {
    /// The store behind `link`; each user record is followed by `delimiter`, and those that hash outside their shard go where
    /// `outside` says.
    #[must_use]
    pub const fn new(
        link: Arc<Link>,
        worker: WorkerId,
        application: ApplicationName,
        delimiter: &'static [u8],
        outside: OutsideHashRange,
    ) -> Self {
        Self { link, worker, application, delimiter, outside }
    }
}

#[async_trait]
impl ObjectSink for LinkedObjects {
    fn destination(&self) -> Destination {
        bucket()
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            delimiter: self.delimiter.to_vec(),
            deaggregate: true,
            outside_hash_range: self.outside,
            hash_range: None,
            compression: Compression::None,
            level: 0,
            time_zone: "UTC".to_owned(),
        }
    }

    fn writer(&self, shard: &ShardIdentity, encoding: &Encoding) -> Result<Box<dyn ObjectWriter>, WriterError> {
        Ok(Box::new(LineWriter {
            shard: shard.clone(),
            application: self.application.clone(),
            encoding: encoding.clone(),
            open: OpenBatch::default(),
        }))
    }

    async fn probe(&self, _destination: &Destination) -> Result<bool, SeamError> {
        self.link.call(Seam::Sink, "HeadBucket", String::new(), |_| Ok(true)).await
    }

    async fn put(
        &self,
        _: DeliveryPermit,
        _destination: &Destination,
        object: &PreparedObject,
    ) -> Result<Put, SeamError> {
        let lease = object.metadata.iter().find(|(name, _)| *name == LEASE);
        let lease = LeaseKey::new(lease.map_or("", |(_, lease)| lease.as_str()));
        self.link.world.with(|state| {
            state.note(&self.link.name, format_args!("begins to put {}", object.key));
            let found = state
                .ledger
                .on_begin(&self.worker, &lease, state.now, Duration::ZERO)
                .and_then(|()| state.ledger.on_begin_put(&self.worker, &object.key));
            state.check(found);
        });
        let (name, object) = (self.link.name.clone(), object.clone());
        let key = object.key.clone();
        let effect = move |world: &World| world.with(|state| state.put_object(&name, &object));
        self.link.call(Seam::Sink, "PutObject", key, effect).await
    }

    async fn digest_of(&self, _destination: &Destination, key: &str) -> Result<Option<[u8; 32]>, SeamError> {
        let (key, subject) = (key.to_owned(), key.to_owned());
        let effect = move |world: &World| Ok(world.with(|state| state.store.objects.get(&key).copied()));
        self.link.call(Seam::Sink, "HeadObject", subject, effect).await
    }
}

/// Writes user records as lines: those to deliver into one object, those to set aside into another.
struct LineWriter {
    shard: ShardIdentity,
    application: ApplicationName,
    encoding: Encoding,
    open: OpenBatch,
}

#[derive(Default)]
struct OpenBatch {
    delivered: Lines,
    aside: Lines,
}

/// What becomes one object.
#[derive(Default)]
struct Lines {
    content: Vec<u8>,
    range: Option<(RecordPosition, RecordPosition)>,
    records: u64,
}

impl Lines {
    fn push(&mut self, record: &UserRecord<'_>, delimiter: &[u8]) {
        self.content.extend_from_slice(record.data);
        self.content.extend_from_slice(delimiter);
        self.records += 1;
        let position = record.position();
        match &mut self.range {
            Some((_, last)) => *last = position,
            None => self.range = Some((position.clone(), position)),
        }
    }

    fn object(&self, content: Content, key: String) -> Option<IntentObject> {
        let (first, last) = self.range.clone()?;
        let (partition, sha256) = (BTreeMap::new(), digest(&self.content));
        Some(IntentObject { content, key, partition, first, last, records: self.records, sha256 })
    }
}

impl OpenBatch {
    fn lines(&self, content: Content) -> &Lines {
        match content {
            Content::Records => &self.delivered,
            Content::SetAside => &self.aside,
        }
    }

    fn len(&self) -> u64 {
        (self.delivered.content.len() + self.aside.content.len()) as u64
    }
}

impl LineWriter {
    fn prepared(&self, open: &OpenBatch, object: &IntentObject) -> PreparedObject {
        let mut metadata = vec![(LEASE, self.shard.lease.to_string())];
        if object.content == Content::SetAside {
            metadata.push((ASIDE, "true".to_owned()));
        }
        PreparedObject {
            key: object.key.clone(),
            body: vec![Bytes::from(open.lines(object.content).content.clone())],
            metadata,
            sha256: object.sha256,
        }
    }

    fn cannot_rebuild(&self, problem: impl Into<String>) -> WriterError {
        WriterError::CannotRebuild { shard: self.shard.shard.to_string(), problem: problem.into() }
    }

    /// The key of a recorded object: the recorded one, whatever this version would make of it.
    fn key(recorded: &IntentObject) -> String {
        if mutant::is(Mutant::KeyNotInIntent) {
            return format!("{}-by-another-version", recorded.key);
        }
        recorded.key.clone()
    }
}

impl ObjectWriter for LineWriter {
    fn append(&mut self, records: &UserRecords, range: Range<usize>) -> u64 {
        for index in range {
            self.open.delivered.push(&records.get(index), &self.encoding.delimiter);
        }
        self.open.len()
    }

    fn set_aside(&mut self, record: &UserRecord<'_>, _reason: &SetAsideReason) -> u64 {
        self.open.aside.push(record, &self.encoding.delimiter);
        self.open.len()
    }

    fn records(&self) -> u64 {
        self.open.delivered.records + self.open.aside.records
    }

    fn memory(&self) -> u64 {
        (self.open.delivered.content.capacity() + self.open.aside.content.capacity()) as u64
    }

    fn seal(&mut self, request: &SealRequest) -> Result<SealedBatch, WriterError> {
        let open = std::mem::take(&mut self.open);
        let SealRequest { id, from, first, last, chain, time } = request.clone();
        let key = format!("{}-{first}-{last}-{:02x}{:02x}{:02x}", self.shard.lease, id.0[0], id.0[1], id.0[2]);
        let aside = open.aside.object(Content::SetAside, format!("errors/{key}"));
        let objects: Vec<IntentObject> =
            open.delivered.object(Content::Records, key).into_iter().chain(aside).collect();
        let prepared = objects.iter().map(|object| self.prepared(&open, object)).collect();
        let intent = Intent {
            id,
            application: self.application.clone(),
            stream: self.shard.stream.clone(),
            lease: self.shard.lease.clone(),
            from,
            first,
            last,
            chain,
            time,
            destination: bucket(),
            encoding: self.encoding.clone(),
            objects,
        };
        let (delivered, delivered_bytes) = (open.delivered.records, open.delivered.content.len() as u64);
        let set_aside = match open.aside.records {
            0 => Vec::new(),
            count => vec![(SetAsideReason::OutsideHashRange, count)],
        };
        Ok(SealedBatch { intent, objects: prepared, delivered, delivered_bytes, set_aside })
    }

    fn rebuild(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError> {
        let open = std::mem::take(&mut self.open);
        let rebuilt =
            |recorded: &IntentObject| match open.lines(recorded.content).object(recorded.content, recorded.key.clone())
            {
                Some(built) if built == *recorded => {
                    Ok(self.prepared(&open, &IntentObject { key: Self::key(recorded), ..built }))
                }
                built => Err(self.cannot_rebuild(format!("it would be {built:?}, recorded is {recorded:?}"))),
            };
        intent.objects.iter().map(rebuilt).collect()
    }

    fn rebuild_partial(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError> {
        let open = std::mem::take(&mut self.open);
        let mut left = Vec::new();
        for recorded in &intent.objects {
            // Of some objects nothing may be left.
            let Some(lines) = open.lines(recorded.content).object(recorded.content, recorded.key.clone()) else {
                continue;
            };
            if lines.last != recorded.last {
                return Err(self.cannot_rebuild("what is left does not end as it was recorded"));
            }
            let mut object = self.prepared(&open, &lines);
            object.metadata.push((PARTIAL, "true".to_owned()));
            left.push(object);
        }
        Ok(left)
    }
}

/// Tells contents apart; no defence against anybody.
fn digest(content: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (lane, out) in digest.chunks_exact_mut(8).enumerate() {
        let seed = 0xcbf2_9ce4_8422_2325_u64.wrapping_add(lane as u64);
        let hash =
            content.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        out.copy_from_slice(&hash.to_be_bytes());
    }
    digest
}
