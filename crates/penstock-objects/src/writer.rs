//! The writer of one shard: fills the open batch, and closes it as new objects or as those of a recorded intent.
//!
//! Pure computation. A batch becomes at most one object of records and one object per error output type, in that order.
//! Nothing that a clock or this writer's past says may reach the bytes: they are a function of the records and the intent.

use std::collections::BTreeMap;
use std::ops::Range;

use penstock_core::chunk::{UserRecord, UserRecords};
use penstock_core::ids::ApplicationName;
use penstock_core::intent::{Content, Destination, Encoding, Intent, IntentObject};
use penstock_core::object_key::ObjectIdentity;
use penstock_core::position::RecordPosition;
use penstock_core::prefix::ErrorOutputType;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{
    ObjectWriter, PreparedObject, SealRequest, SealedBatch, SetAsideReason, ShardIdentity, WriterError,
};

use crate::compress::Codec;
use crate::encode::{ContentBuilder, FinishedContent};
use crate::error_lines::{Aside, ErrorLines, error_output_type};
use crate::metadata::{self, Holding};
use crate::rebuild;
use crate::settings::Namings;

/// The writer of one shard.
pub(crate) struct ShardWriter {
    shard: ShardIdentity,
    application: ApplicationName,
    destination: Destination,
    namings: Namings,
    encoding: Encoding,
    codec: Codec,
    open: OpenBatch,
    /// Stored bytes over content bytes of the last batch: the best guess for the first block of the next one. It steers when
    /// a batch is closed, never what is in it.
    ratio: f64,
}

/// What was appended since the last seal.
struct OpenBatch {
    /// When the first record arrived, whatever became of it.
    arrival: Option<UnixMillis>,
    content: ContentBuilder,
    records: Option<Covered>,
    asides: BTreeMap<ErrorOutputType, OpenAsides>,
    reasons: BTreeMap<SetAsideReason, u64>,
}

struct OpenAsides {
    lines: ErrorLines,
    covered: Covered,
}

/// The records that one object covers.
#[derive(Debug, Clone)]
pub(crate) struct Covered {
    pub(crate) first: RecordPosition,
    pub(crate) last: RecordPosition,
    pub(crate) records: u64,
}

/// An object but for its name.
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) covered: Covered,
    pub(crate) content: FinishedContent,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    Records,
    SetAside(ErrorOutputType),
}

impl PartKind {
    pub(crate) const fn content(self) -> Content {
        match self {
            Self::Records => Content::Records,
            Self::SetAside(_) => Content::SetAside,
        }
    }

    const fn error_output_type(self) -> Option<ErrorOutputType> {
        match self {
            Self::Records => None,
            Self::SetAside(error_output_type) => Some(error_output_type),
        }
    }
}

impl ShardWriter {
    pub(crate) fn new(
        shard: ShardIdentity,
        application: ApplicationName,
        destination: Destination,
        namings: Namings,
        encoding: Encoding,
    ) -> Result<Self, WriterError> {
        let codec = Codec::new(encoding.compression, encoding.level).map_err(|unknown| WriterError::CannotRebuild {
            shard: shard.shard.to_string(),
            problem: unknown.to_string(),
        })?;
        let open = OpenBatch::new(codec);
        Ok(Self { shard, application, destination, namings, encoding, codec, open, ratio: 1.0 })
    }

    /// The open batch as objects without names, and an empty one in its place.
    fn finish(&mut self, time: UnixMillis) -> Vec<Part> {
        let OpenBatch { content, records, asides, .. } = std::mem::replace(&mut self.open, OpenBatch::new(self.codec));
        let records = records.map(|covered| {
            let content = content.finish();
            self.ratio = content.stored_bytes as f64 / content.content_bytes.max(1) as f64;
            Part { kind: PartKind::Records, covered, content }
        });
        let asides = asides.into_iter().map(|(error_output_type, OpenAsides { lines, covered })| {
            let mut content = ContentBuilder::new(self.codec);
            lines.write(|_| time, |slice| content.extend(slice));
            Part { kind: PartKind::SetAside(error_output_type), covered, content: content.finish() }
        });
        records.into_iter().chain(asides).collect()
    }

    /// The kinds of the objects that the open batch will have.
    fn kinds(&self) -> Vec<PartKind> {
        let records = self.open.records.iter().map(|_| PartKind::Records);
        records.chain(self.open.asides.keys().map(|kind| PartKind::SetAside(*kind))).collect()
    }

    fn key(&self, kind: PartKind, request: &SealRequest) -> Result<String, WriterError> {
        let naming = match kind {
            PartKind::Records => &self.namings.records,
            PartKind::SetAside(_) => &self.namings.errors,
        };
        let identity = ObjectIdentity {
            lease_key: self.shard.lease.as_str(),
            after: &request.from.to_string(),
            last: &request.last.to_string(),
            partition_values: &BTreeMap::new(),
            part: 1,
            set_aside: kind.error_output_type(),
        };
        let arrival = self.open.arrival.unwrap_or(request.time);
        naming
            .key(self.shard.shard.as_str(), arrival.0, &identity)
            .map_err(|error| WriterError::Key { shard: self.shard.shard.to_string(), problem: error.to_string() })
    }

    fn intent(&self, request: &SealRequest, objects: Vec<IntentObject>) -> Intent {
        let SealRequest { id, from, first, last, chain, time } = request.clone();
        Intent {
            id,
            application: self.application.clone(),
            stream: self.shard.stream.clone(),
            lease: self.shard.lease.clone(),
            from,
            first,
            last,
            chain,
            time,
            destination: self.destination.clone(),
            encoding: self.encoding.clone(),
            objects,
        }
    }

    /// Why the objects of `intent` are not this writer's to build.
    fn check_intent(&self, intent: &Intent) -> Result<(), String> {
        if intent.lease != self.shard.lease || intent.stream != self.shard.stream {
            return Err(format!("it is of {} of the stream {}", intent.lease, intent.stream));
        }
        if intent.encoding != self.encoding {
            return Err(format!(
                "the records were encoded with {:?}, the intent recorded {:?}",
                self.encoding, intent.encoding
            ));
        }
        Ok(())
    }

    fn rebuild_with(&mut self, intent: &Intent, build: rebuild::Rebuild) -> Result<Vec<PreparedObject>, WriterError> {
        let parts = self.finish(intent.time);
        self.check_intent(intent)
            .and_then(|()| build(&self.shard, intent, parts))
            .map_err(|problem| WriterError::CannotRebuild { shard: self.shard.shard.to_string(), problem })
    }

    fn estimate(&self) -> u64 {
        let asides: u64 = self.open.asides.values().map(|asides| asides.lines.len()).sum();
        self.open.content.estimate(self.ratio) + (asides as f64 * self.ratio).ceil() as u64
    }
}

impl ObjectWriter for ShardWriter {
    fn append(&mut self, records: &UserRecords, range: Range<usize>) -> u64 {
        if !range.is_empty() {
            let (first, last) = (range.start, range.end - 1);
            let open = &mut self.open;
            open.arrival.get_or_insert_with(|| records.get(first).arrival);
            Covered::extend(&mut open.records, range.len() as u64, records.get(last).position(), || {
                records.get(first).position()
            });
            for index in range {
                open.content.push_record(records.payload(index), &self.encoding.delimiter);
            }
        }
        self.estimate()
    }

    fn set_aside(&mut self, record: &UserRecord<'_>, reason: &SetAsideReason) -> u64 {
        let open = &mut self.open;
        open.arrival.get_or_insert(record.arrival);
        let position = record.position();
        let asides = open.asides.entry(error_output_type(reason)).or_insert_with(|| OpenAsides {
            lines: ErrorLines::default(),
            covered: Covered { first: position.clone(), last: position.clone(), records: 0 },
        });
        let aside = Aside { position: &position, arrival: record.arrival, data: record.data, reason };
        asides.lines.push(&self.shard, &aside);
        asides.covered.records += 1;
        asides.covered.last = position;
        *open.reasons.entry(reason.clone()).or_default() += 1;
        self.estimate()
    }

    fn records(&self) -> u64 {
        let delivered = self.open.records.as_ref().map_or(0, |covered| covered.records);
        delivered + self.open.asides.values().map(|asides| asides.covered.records).sum::<u64>()
    }

    fn memory(&self) -> u64 {
        let asides: u64 = self.open.asides.values().map(|asides| asides.lines.memory()).sum();
        self.open.content.memory() + asides
    }

    fn seal(&mut self, request: &SealRequest) -> Result<SealedBatch, WriterError> {
        let keys: Vec<String> =
            self.kinds().into_iter().map(|kind| self.key(kind, request)).collect::<Result<_, _>>()?;
        let set_aside = std::mem::take(&mut self.open.reasons).into_iter().collect();
        let parts = self.finish(request.time);
        let objects = parts.iter().zip(keys).map(|(part, key)| part.recorded_as(key)).collect();
        let intent = self.intent(request, objects);
        let records = parts.first().filter(|part| part.kind == PartKind::Records);
        let (delivered, delivered_bytes) =
            records.map_or((0, 0), |part| (part.covered.records, part.content.content_bytes));
        let objects =
            parts.into_iter().enumerate().map(|(index, part)| part.prepare(&self.shard, &intent, index)).collect();
        Ok(SealedBatch { intent, objects, delivered, delivered_bytes, set_aside })
    }

    fn rebuild(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError> {
        self.rebuild_with(intent, rebuild::whole)
    }

    fn rebuild_partial(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError> {
        self.rebuild_with(intent, rebuild::partial)
    }
}

impl OpenBatch {
    fn new(codec: Codec) -> Self {
        Self {
            arrival: None,
            content: ContentBuilder::new(codec),
            records: None,
            asides: BTreeMap::new(),
            reasons: BTreeMap::new(),
        }
    }
}

impl Covered {
    fn extend(covered: &mut Option<Self>, records: u64, last: RecordPosition, first: impl FnOnce() -> RecordPosition) {
        match covered {
            Some(covered) => {
                covered.records += records;
                covered.last = last;
            }
            None => *covered = Some(Self { first: first(), last, records }),
        }
    }
}

impl Part {
    /// What an intent records of it.
    fn recorded_as(&self, key: String) -> IntentObject {
        let Covered { first, last, records } = self.covered.clone();
        let (content, partition) = (self.kind.content(), BTreeMap::new());
        IntentObject { content, key, partition, first, last, records, sha256: self.content.sha256 }
    }

    /// As the object at `index` of `intent`.
    pub(crate) fn prepare(self, shard: &ShardIdentity, intent: &Intent, index: usize) -> PreparedObject {
        let Self { covered: Covered { first, records, .. }, content: FinishedContent { body, sha256, .. }, .. } = self;
        let holding = Holding { index, first: &first, records, sha256: &sha256 };
        let metadata = metadata::of(shard, intent, &holding);
        PreparedObject { key: intent.objects[index].key.clone(), body, metadata, sha256 }
    }
}
