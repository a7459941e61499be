//! SplitShard, MergeShards and UpdateShardCount. All are done when they answer: a stream is never UPDATING here.

use bytes::Bytes;
use serde::Deserialize;

use super::hash;
use super::service::{KinesisService, nothing};
use super::stream::{Stream, StreamMode, shard_number};
use crate::wire::{ApiError, Call, Checks, decode, encode};

/// The most shards a stream is scaled to.
const MAX_SHARDS: i64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SplitShardRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_split: Option<String>,
    new_starting_hash_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MergeShardsRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_merge: Option<String>,
    adjacent_shard_to_merge: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateShardCountRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    target_shard_count: Option<i64>,
    scaling_type: Option<String>,
}

impl KinesisService {
    pub(super) fn split_shard(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: SplitShardRequest = decode(body)?;
        let at = request.new_starting_hash_key.as_deref().and_then(hash::parse);
        let shown = request.new_starting_hash_key.as_deref().unwrap_or_default();
        Checks::default()
            .required("shardToSplit", request.shard_to_split.as_ref())
            .required("newStartingHashKey", request.new_starting_hash_key.as_ref())
            .that(
                request.new_starting_hash_key.is_none() || at.is_some(),
                "newStartingHashKey",
                &shown,
                "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})",
            )
            .finish()?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        provisioned(stream)?;
        let number = number(stream, request.shard_to_split.as_deref())?;
        stream.split(number, at.unwrap_or_default(), call.now)?;
        Ok(nothing())
    }

    pub(super) fn merge_shards(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: MergeShardsRequest = decode(body)?;
        Checks::default()
            .required("shardToMerge", request.shard_to_merge.as_ref())
            .required("adjacentShardToMerge", request.adjacent_shard_to_merge.as_ref())
            .finish()?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        provisioned(stream)?;
        let one = number(stream, request.shard_to_merge.as_deref())?;
        let adjacent = number(stream, request.adjacent_shard_to_merge.as_deref())?;
        stream.merge(one, adjacent, call.now)?;
        Ok(nothing())
    }

    pub(super) fn update_shard_count(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: UpdateShardCountRequest = decode(body)?;
        let scaling = request.scaling_type.as_deref();
        Checks::default()
            .required("targetShardCount", request.target_shard_count.as_ref())
            .range("targetShardCount", request.target_shard_count, 1, MAX_SHARDS)
            .required("scalingType", scaling.as_ref())
            .that(
                scaling.is_none_or(|scaling| scaling == "UNIFORM_SCALING"),
                "scalingType",
                &scaling.unwrap_or_default(),
                "Member must satisfy enum value set: [UNIFORM_SCALING]",
            )
            .finish()?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        provisioned(stream)?;
        let current = stream.open_count();
        let target = request.target_shard_count.and_then(|target| u32::try_from(target).ok()).unwrap_or(1);
        stream.rescale(target, self.settings.throttle, call.now)?;
        encode(&serde_json::json!({
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "CurrentShardCount": current,
            "TargetShardCount": target,
        }))
    }
}

fn provisioned(stream: &Stream) -> Result<(), ApiError> {
    if stream.mode == StreamMode::Provisioned {
        return Ok(());
    }
    Err(ApiError::validation(format!("Stream {} is in ON_DEMAND mode; its shards are the service's own.", stream.name)))
}

fn number(stream: &Stream, id: Option<&str>) -> Result<u32, ApiError> {
    let id = id.unwrap_or_default();
    shard_number(id).ok_or_else(|| stream.no_shard(id))
}
