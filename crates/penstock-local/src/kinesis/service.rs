//! The operations of the local Kinesis by name. State lies behind one lock, held only while the state works: bodies are
//! decoded before and answers encoded after.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::streams::{Settings, Streams};
use super::token::Tokens;
use crate::wire::{ApiError, Call};

/// The local Kinesis.
#[derive(Debug)]
pub(crate) struct KinesisService {
    pub(super) settings: Settings,
    pub(super) tokens: Tokens,
    state: Mutex<Streams>,
}

impl KinesisService {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { tokens: Tokens::new(settings.token_key), state: Mutex::new(Streams::new(settings.clone())), settings }
    }

    /// Answers one request.
    pub(crate) fn handle(&self, operation: &str, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        self.state().admit(operation, call.now)?;
        match operation {
            "AddTagsToStream" => self.add_tags(body, call),
            "CreateStream" => self.create_stream(body, call),
            "DecreaseStreamRetentionPeriod" => self.decrease_retention(body, call),
            "DeleteStream" => self.delete_stream(body, call),
            "DescribeLimits" => self.describe_limits(),
            "DescribeStream" => self.describe_stream(body, call),
            "DescribeStreamSummary" => self.describe_stream_summary(body, call),
            "GetRecords" => self.get_records(body, call),
            "GetShardIterator" => self.get_shard_iterator(body, call),
            "IncreaseStreamRetentionPeriod" => self.increase_retention(body, call),
            "ListShards" => self.list_shards(body, call),
            "ListStreams" => self.list_streams(body, call),
            "ListTagsForStream" => self.list_tags(body, call),
            "MergeShards" => self.merge_shards(body, call),
            "PutRecord" => self.put_record(body, call),
            "PutRecords" => self.put_records(body, call),
            "SplitShard" => self.split_shard(body, call),
            "UpdateShardCount" => self.update_shard_count(body, call),
            other => Err(ApiError::unknown_operation(other)),
        }
    }

    /// The state. A panic under the lock would be a bug, but not one that should take the other requests with it.
    pub(super) fn state(&self) -> MutexGuard<'_, Streams> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an operation that answers nothing.
pub(super) fn nothing() -> Bytes {
    Bytes::new()
}
