//! Where records come from.

use std::time::Duration;

use async_trait::async_trait;
use penstock_core::chunk::Chunk;
use penstock_core::ids::{ShardId, StreamId, StreamName};
use penstock_core::position::SequenceNumber;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::UnixMillis;

use super::{ErrorClass, SeamError};

/// In the id of a stream without an ARN, as stand-ins have them.
const NO_ACCOUNT: &str = "000000000000";

/// One stream.
#[async_trait]
pub trait ShardSource: Send + Sync + 'static {
    /// What the service says of the stream.
    ///
    /// # Errors
    /// `NotFound` if there is no such stream, `Denied` without permission.
    async fn describe(&self) -> Result<StreamDescription, SeamError>;

    /// All shards that the service still lists, every page; in no particular order. A partial list is an error.
    ///
    /// # Errors
    /// `Throttled`, `Transient`; `NotFound` if the stream is gone.
    async fn list_shards(&self) -> Result<Vec<ShardListing>, SeamError>;

    /// An iterator at a position of a shard, open or closed.
    ///
    /// # Errors
    /// `Rejected` if the sequence number does not belong to the shard; `NotFound` if shard or stream is gone.
    async fn open(&self, shard: &ShardId, at: &OpenAt) -> Result<ShardIterator, SeamError>;

    /// The next records. An error consumes nothing: the same iterator can be used again.
    ///
    /// # Errors
    /// `Expired` if the iterator is too old; `Throttled`; `NotFound` if shard or stream is gone; `Fatal` for an answer that
    /// cannot be read whole or breaks the rules for the end of a shard (no iterator but no children either, or both).
    async fn fetch(&self, shard: &ShardId, iterator: &ShardIterator, max_records: u32) -> Result<Fetched, SeamError>;
}

/// What identifies a stream and bounds what can be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescription {
    /// Its name.
    pub name: StreamName,
    /// Its ARN, where the service gives one.
    pub arn: Option<String>,
    /// When it was created; a stream created again under the same name differs here.
    pub created: UnixMillis,
    /// How long it keeps records.
    pub retention: Duration,
}

impl StreamDescription {
    /// The stream as the KCL writes it where one table serves several. A service without ARNs is of account 000000000000.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        // arn:<partition>:kinesis:<region>:<account>:stream/<name>
        let account = self.arn.as_deref().and_then(|arn| arn.split(':').nth(4));
        let is_account = |account: &&str| !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        StreamId::of(account.filter(is_account).unwrap_or(NO_ACCOUNT), &self.name, self.created)
    }

    /// Makes sure that this is the stream that was created at `created`, and not one that was created again under its name.
    pub(crate) fn is_of(&self, created: UnixMillis) -> Result<(), SeamError> {
        if self.created == created {
            return Ok(());
        }
        let message = format!(
            "the stream was created again: this worker reads the one of {created}, there is one of {}",
            self.created
        );
        Err(SeamError::new("DescribeStreamSummary", self.name.to_string(), ErrorClass::NotFound, message))
    }
}

/// Where an iterator begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenAt {
    /// At the oldest record.
    TrimHorizon,
    /// At the first record that arrived at this time or later.
    Timestamp(UnixMillis),
    /// At this record, which is read again.
    At(SequenceNumber),
    /// Behind this record.
    After(SequenceNumber),
}

/// Kinesis's short-lived token for the next fetch; never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator(pub String);

/// What one fetch gave.
#[derive(Debug)]
pub struct Fetched {
    /// The records, perhaps none.
    pub chunk: Chunk,
    /// The iterator for the next fetch; `None` at the end of a closed shard.
    pub next: Option<ShardIterator>,
    /// How far this answer is behind the tip (`MillisBehindLatest`).
    pub behind: Duration,
    /// The children; present exactly if `next` is `None`.
    pub children: Vec<ChildShard>,
}
