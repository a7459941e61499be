//! Where records go: objects with a recorded intent, or calls whose outcome settles records.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::chunk::{UserRecord, UserRecords};
use penstock_core::ids::{LeaseKey, ShardId, StreamName};
use penstock_core::intent::{Destination, Encoding, Intent, IntentId};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;

use super::{DeliveryPermit, ErrorClass, SeamError};

/// The sink of a worker. The two shapes differ in what they promise: exactly once, or at least once.
#[derive(Clone)]
pub enum SinkPort {
    /// Batches with a recorded intent: exactly once.
    Objects(Arc<dyn ObjectSink>),
    /// Calls whose outcome settles records: at least once.
    Calls(Arc<dyn CallSink>),
}

impl fmt::Debug for SinkPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Objects(_) => "SinkPort::Objects",
            Self::Calls(_) => "SinkPort::Calls",
        })
    }
}

/// The shard that a writer or a batch belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIdentity {
    /// The stream.
    pub stream: StreamName,
    /// The lease.
    pub lease: LeaseKey,
    /// The shard.
    pub shard: ShardId,
}

// === Objects ===

/// A store of objects that refuses to replace one.
#[async_trait]
pub trait ObjectSink: Send + Sync + 'static {
    /// The destination of new objects.
    fn destination(&self) -> Destination;

    /// The settings that new objects are encoded with, but for the shard's hash range (left `None`; the engine fills it in).
    fn encoding(&self) -> Encoding;

    /// A writer for one shard that encodes as told: with the settings of this sink for new batches, with those of an intent
    /// for its replay.
    ///
    /// # Errors
    /// [`WriterError::CannotRebuild`] if this version does not know one of the settings.
    fn writer(&self, shard: &ShardIdentity, encoding: &Encoding) -> Result<Box<dyn ObjectWriter>, WriterError>;

    /// Asks whether a destination exists and could be written to, without leaving anything there that a reader would take for an
    /// object. `Ok(false)` only if it provably does not exist.
    ///
    /// # Errors
    /// What the store said; `Denied` without permission.
    async fn probe(&self, destination: &Destination) -> Result<bool, SeamError>;

    /// Puts an object if there is none under its key, and answers only once one stands there. "Already exists" is a hint that
    /// is followed up: the object there has the digest of this one, or the call fails.
    ///
    /// # Errors
    /// `Transient` if the outcome is unknown (put again); `Rejected` if another object stands under the key; `NotFound` if the
    /// destination does not exist; `Denied` without permission.
    async fn put(
        &self,
        permit: DeliveryPermit,
        destination: &Destination,
        object: &PreparedObject,
    ) -> Result<Put, SeamError>;

    /// The digest (SHA-256 of the uncompressed content) of the object that stands under a key; `None` if none does. Asked only
    /// when records of an intent are gone, to tell whether they stand in its object already.
    ///
    /// # Errors
    /// What the store said. A sink that cannot tell says `Rejected`, and the records count as missing.
    async fn digest_of(&self, destination: &Destination, key: &str) -> Result<Option<[u8; 32]>, SeamError> {
        let message = "this sink cannot tell what stands under a key";
        Err(SeamError::new("HeadObject", format!("{destination}/{key}"), super::ErrorClass::Rejected, message))
    }
}

/// How a put ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// This call wrote the object.
    Written,
    /// The same object stood there already.
    AlreadyThere,
}

/// Fills the open batch of one shard. Synchronous: encoding is computation.
pub trait ObjectWriter: Send {
    /// Appends the user records `range` (indices, end exclusive) and returns the encoded bytes of the open batch so far.
    fn append(&mut self, records: &UserRecords, range: std::ops::Range<usize>) -> u64;

    /// Sets one user record aside: it becomes a line of the batch's error object. Returns the encoded bytes so far.
    fn set_aside(&mut self, record: &UserRecord<'_>, reason: &SetAsideReason) -> u64;

    /// The user records appended and set aside since the last seal.
    fn records(&self) -> u64;

    /// The bytes that the open batch holds in memory.
    fn memory(&self) -> u64;

    /// Closes the open batch: names and digests its objects and writes its intent. The writer is empty afterwards. A batch
    /// without objects has an intent without objects, which is not recorded.
    ///
    /// # Errors
    /// [`WriterError::Key`] if a key breaks the store's rules.
    fn seal(&mut self, request: &SealRequest) -> Result<SealedBatch, WriterError>;

    /// Closes the open batch as the objects of `intent`, under its recorded keys. The writer is empty afterwards.
    ///
    /// # Errors
    /// [`WriterError::CannotRebuild`] if any digest, count or position differs from the recorded one: nothing may be put then.
    fn rebuild(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError>;

    /// Closes the open batch as far as it could be read, under the recorded keys, marked `penstock-partial`: for a replay whose
    /// first records were trimmed. The writer is empty afterwards.
    ///
    /// # Errors
    /// [`WriterError::CannotRebuild`] if what was read does not belong to the intent.
    fn rebuild_partial(&mut self, intent: &Intent) -> Result<Vec<PreparedObject>, WriterError>;
}

/// What the engine knows about a batch that is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealRequest {
    /// A new random id.
    pub id: IntentId,
    /// The row's checkpoint.
    pub from: Position,
    /// The first user record that the batch covers, dropped ones included.
    pub first: RecordPosition,
    /// The last user record that the batch covers, dropped ones included.
    pub last: RecordPosition,
    /// The end of the last earlier batch that left an object.
    pub chain: Option<RecordPosition>,
    /// The wall clock.
    pub time: UnixMillis,
}

/// A batch that will not change any more.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// Its intent.
    pub intent: Intent,
    /// Its objects, as the intent lists them.
    pub objects: Vec<PreparedObject>,
    /// User records in its objects of records.
    pub delivered: u64,
    /// Payload bytes of those, delimiters included, before compression.
    pub delivered_bytes: u64,
    /// User records set aside, by reason.
    pub set_aside: Vec<(SetAsideReason, u64)>,
}

/// An object that is ready to be put.
#[derive(Debug, Clone)]
pub struct PreparedObject {
    /// Its key.
    pub key: String,
    /// Its content, as stored, in slices.
    pub body: Vec<Bytes>,
    /// Its metadata: names without the store's own prefix, in order.
    pub metadata: Vec<(&'static str, String)>,
    /// SHA-256 of its uncompressed content: the digest that tells it from every other object.
    pub sha256: [u8; 32],
}

impl PreparedObject {
    /// The stored size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.body.iter().map(|part| part.len() as u64).sum()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A writer could not close a batch.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// A key breaks the store's rules.
    #[error("the object of {shard} cannot be named: {problem}")]
    Key {
        /// The shard.
        shard: String,
        /// What is wrong with the key.
        problem: String,
    },
    /// The objects of an intent cannot be built as they were recorded.
    #[error("the intent of {shard} cannot be rebuilt: {problem}")]
    CannotRebuild {
        /// The shard.
        shard: String,
        /// What differs, or which setting this version does not know.
        problem: String,
    },
}

// === Calls ===

/// A sink that takes records by calls; each entry of a call has an outcome of its own.
#[async_trait]
pub trait CallSink: Send + Sync + 'static {
    /// What one call may hold.
    fn limits(&self) -> CallLimits;

    /// Asks whether the sink exists and may be written to, and how it treats what it gets.
    ///
    /// # Errors
    /// What the service said.
    async fn probe(&self) -> Result<CallTarget, SeamError>;

    /// One call. The answer has an outcome for each entry, in order.
    ///
    /// # Errors
    /// `Throttled` if certainly nothing was taken, `Transient` if the outcome of all entries is unknown.
    async fn call(
        &self,
        permit: DeliveryPermit,
        entries: &[Bytes],
        time_out: Duration,
    ) -> Result<Vec<EntryOutcome>, SeamError>;
}

/// The limits of one call, all inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Entries of one call.
    pub max_entries: usize,
    /// Raw bytes of one call.
    pub max_call_bytes: usize,
    /// Raw bytes of one entry.
    pub max_entry_bytes: usize,
    /// The bytes in steps of which the service bills each entry; `None` if it does not.
    pub billed_step: Option<NonZeroU64>,
}

/// What is known of the place behind a call sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTarget {
    /// Whether the boundaries of entries have no meaning there, so that many records may share one entry. `None`: not known.
    pub packable: Option<bool>,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryOutcome {
    /// The sink has it.
    Delivered,
    /// Not taken this time: send it again.
    Failed {
        /// Why, as far as it matters: for its pace, or by a fault of the service.
        class: ErrorClass,
        /// The service's code.
        code: String,
        /// Its text.
        message: String,
    },
    /// Never to be taken.
    Rejected {
        /// The service's code.
        code: String,
        /// Its text.
        message: String,
    },
}

// === Set aside ===

/// Where records of a call sink go that it cannot take. (An object sink sets aside within its batch.)
#[async_trait]
pub trait SetAside: Send + Sync + 'static {
    /// Stores the records as one object, if absent, under a name that follows from their positions; answers once it stands there.
    ///
    /// # Errors
    /// What the store said; nothing may settle then.
    async fn set_aside(&self, permit: DeliveryPermit, batch: &SetAsideBatch) -> Result<(), SeamError>;
}

/// Records of one shard to set aside together, in order.
#[derive(Debug, Clone)]
pub struct SetAsideBatch {
    /// Whose they are.
    pub shard: ShardIdentity,
    /// The records; never empty.
    pub records: Vec<SetAsideRecord>,
}

/// One record to set aside.
#[derive(Debug, Clone)]
pub struct SetAsideRecord {
    /// Its place.
    pub position: RecordPosition,
    /// When the service took it.
    pub arrival: UnixMillis,
    /// Its payload as it was read.
    pub data: Bytes,
    /// Why.
    pub reason: SetAsideReason,
}

/// Why a record is set aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetAsideReason {
    /// It hashes outside the shard that its aggregate came through.
    OutsideHashRange,
    /// It is larger than the sink takes.
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The largest that the sink takes.
        limit: u64,
    },
    /// The sink refuses it for good.
    Rejected {
        /// The service's code.
        code: String,
        /// Its text.
        message: String,
    },
}

impl fmt::Display for SetAsideReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideHashRange => f.write_str("it hashes outside the shard that its aggregate came through"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "its {bytes} bytes are more than the {limit} that the sink takes")
            }
            Self::Rejected { code, message } => write!(f, "the sink refuses it: {code}: {message}"),
        }
    }
}

impl SetAsideReason {
    /// All reasons as words.
    pub const WORDS: [&'static str; 3] = ["outside_hash_range", "too_large", "rejected"];

    /// The reason as a metric label and as `errorCode` of the error object.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OutsideHashRange => "outside_hash_range",
            Self::TooLarge { .. } => "too_large",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// Firehose's error-output-type of it.
    #[must_use]
    pub const fn error_output_type(&self) -> &'static str {
        match self {
            Self::OutsideHashRange => "processing-failed",
            Self::TooLarge { .. } | Self::Rejected { .. } => "delivery-failed",
        }
    }
}
