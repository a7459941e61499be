//! What an object says of itself: the names of its metadata, and their values for the objects of an intent.
//!
//! S3 keeps these as `x-amz-meta-…`, a directory in a sidecar. Together with the lease table they are all that it takes to
//! prove a sink complete, so names and forms are a contract with other versions.

use std::collections::BTreeMap;

use penstock_core::intent::Intent;
use penstock_core::position::RecordPosition;
use penstock_engine::ports::ShardIdentity;

use crate::hex;

/// The stream.
pub const STREAM: &str = "penstock-stream";
/// The shard.
pub const SHARD: &str = "penstock-shard";
/// Where the batch begins, exclusive: the `penstock-last` of the shard's batch before it. For the first batch that left an
/// object it is the checkpoint that the batch began at: `TRIM_HORIZON`, `LATEST`, `AT_TIMESTAMP`, or a position.
pub const AFTER: &str = "penstock-after";
/// The batch's last position, inclusive.
pub const LAST: &str = "penstock-last";
/// Which of the batch's objects this is: `k/n`, from 1.
pub const PART: &str = "penstock-part";
/// The position of this object's first user record.
pub const FIRST: &str = "penstock-first";
/// The number of this object's user records.
pub const RECORDS: &str = "penstock-records";
/// SHA-256 of the uncompressed content, in hexadecimal.
pub const SHA256: &str = "penstock-sha256";
/// The version that put the object.
pub const VERSION: &str = "penstock-version";
/// Only on an object whose first records were trimmed before they could be put: how many there are of how many, `k/n`.
pub const PARTIAL: &str = "penstock-partial";

/// What one object holds, as far as its metadata tell.
pub(crate) struct Holding<'a> {
    /// Its index among the intent's objects.
    pub(crate) index: usize,
    pub(crate) first: &'a RecordPosition,
    pub(crate) records: u64,
    pub(crate) sha256: &'a [u8; 32],
}

/// The metadata of an object of `intent`.
pub(crate) fn of(shard: &ShardIdentity, intent: &Intent, holding: &Holding<'_>) -> Vec<(&'static str, String)> {
    let Holding { index, first, records, sha256 } = *holding;
    let after = intent.chain.as_ref().map_or_else(|| intent.from.to_string(), ToString::to_string);
    let recorded = intent.objects[index].records;
    let mut metadata = vec![
        (STREAM, shard.stream.to_string()),
        (SHARD, shard.shard.to_string()),
        (AFTER, after),
        (LAST, intent.last.to_string()),
        (PART, format!("{}/{}", index + 1, intent.objects.len())),
        (FIRST, first.to_string()),
        (RECORDS, records.to_string()),
        (SHA256, hex(sha256)),
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if records < recorded {
        metadata.push((PARTIAL, format!("{records}/{recorded}")));
    }
    metadata
}

/// Metadata as they were read back from a store.
pub type Metadata = BTreeMap<String, String>;
