//! An intent: what is about to be put, recorded in the lease row before the first attempt.
//!
//! The intent alone decides what its objects are: keys, ranges, digests and every setting that touches bytes stand in it, so
//! that any worker, with whatever settings of its own, rebuilds the same objects or none. The encoding is in [`codec`].

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::{ApplicationName, HashRange, LeaseKey, StreamName};
use crate::position::{Position, RecordPosition};
use crate::time::UnixMillis;

pub mod codec;

/// The largest encoded intent, in bytes; a batch whose intent would be larger is sealed earlier.
pub const MAX_ENCODED_INTENT: usize = 64 * 1024;

/// The random id of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub [u8; 16]);

/// What is about to be put, and how to build it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Tells this intent from every other.
    pub id: IntentId,
    /// The application that wrote it.
    pub application: ApplicationName,
    /// The stream.
    pub stream: StreamName,
    /// The lease.
    pub lease: LeaseKey,
    /// The row's checkpoint: the batch begins after it.
    pub from: Position,
    /// The first user record that the batch covers, counted before any rule drops one.
    pub first: RecordPosition,
    /// The last user record that the batch covers: the checkpoint that the commit leaves. For an aggregate its last index.
    pub last: RecordPosition,
    /// The end of the last earlier batch that left an object; `None` if there was none.
    pub chain: Option<RecordPosition>,
    /// When the intent was made; the only time that an object may show beside arrival times.
    pub time: UnixMillis,
    /// Where the objects go.
    pub destination: Destination,
    /// Every setting that touches bytes.
    pub encoding: Encoding,
    /// The objects, in the order of their parts. Never empty: a batch without objects needs no intent.
    pub objects: Vec<IntentObject>,
}

impl Intent {
    /// The number of user records in its objects.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.objects.iter().map(|object| object.records).sum()
    }
}

/// Where the objects of an intent go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// Its Region; empty if the sink does not name one.
        region: String,
    },
    /// A directory that all workers see.
    Directory {
        /// Its absolute path.
        path: String,
    },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, .. } => write!(f, "s3://{bucket}"),
            Self::Directory { path } => f.write_str(path),
        }
    }
}

/// How records become the bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Appended to each record unless it already ends in it.
    pub delimiter: Vec<u8>,
    /// Whether aggregates are taken apart.
    pub deaggregate: bool,
    /// What happens to user records of an aggregate that hash outside the shard.
    pub outside_hash_range: OutsideHashRange,
    /// The range that they are held against; `None` if it is not known, and then none is outside.
    pub hash_range: Option<HashRange>,
    /// The compression of the objects.
    pub compression: Compression,
    /// Its level; the meaning of 0 is fixed per compression.
    pub level: i32,
    /// The time zone of the keys.
    pub time_zone: String,
}

/// What happens to user records of an aggregate that hash outside the shard's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutsideHashRange {
    /// They are delivered like any other.
    #[default]
    Deliver,
    /// They are set aside.
    SetAside,
    /// The whole aggregate is dropped, as the KCL does, and counted.
    Drop,
}

/// The compression of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Stored as it is.
    #[default]
    None,
    /// Concatenated gzip members.
    Gzip,
    /// One zstd frame per block.
    Zstd,
}

/// One object of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentObject {
    /// What stands in it.
    pub content: Content,
    /// Its key, as evaluated at the seal; it decides from then on.
    pub key: String,
    /// The values that chose its partition.
    pub partition: BTreeMap<String, String>,
    /// The position of its first user record.
    pub first: RecordPosition,
    /// The position of its last user record.
    pub last: RecordPosition,
    /// The number of its user records.
    pub records: u64,
    /// SHA-256 of its uncompressed content.
    pub sha256: [u8; 32],
}

/// What stands in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Delivered records.
    Records,
    /// Records that were set aside, as NDJSON in Firehose's error shape.
    SetAside,
}
