//! Creating, deleting, describing and listing streams, their retention and tags. A stream is ACTIVE as soon as
//! CreateStream answers, and gone as soon as DeleteStream does.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::service::{KinesisService, nothing};
use super::stream::{MAX_RETENTION_HOURS, MIN_RETENTION_HOURS, NewStream, Stream, StreamMode};
use crate::wire::{ApiError, Call, Checks, decode, encode};

/// Shards that the account may have in one stream: the quota of the large Regions.
const SHARD_QUOTA: i64 = 20_000;
/// Shards of a new on-demand stream.
const ON_DEMAND_SHARDS: u32 = 4;
const DEFAULT_MAX_RECORD_KIB: i64 = 1024;
const MOST_MAX_RECORD_KIB: i64 = 10_240;
const MOST_TAGS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateStreamRequest {
    stream_name: Option<String>,
    shard_count: Option<i64>,
    stream_mode_details: Option<StreamModeDetails>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size_in_kib: Option<i64>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamModeDetails {
    stream_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    retention_period_hours: Option<i64>,
    tags: Option<BTreeMap<String, String>>,
    limit: Option<i64>,
    exclusive_start_tag_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreamsRequest {
    limit: Option<i64>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

impl KinesisService {
    pub(super) fn create_stream(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: CreateStreamRequest = decode(body)?;
        let details = request.stream_mode_details.as_ref();
        let mode = details.and_then(|details| details.stream_mode.as_deref());
        let modes = "Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]";
        Checks::default()
            .required("streamName", request.stream_name.as_ref())
            .name("streamName", request.stream_name.as_deref(), 128)
            .range("shardCount", request.shard_count, 1, i64::MAX)
            .range("maxRecordSizeInKiB", request.max_record_size_in_kib, DEFAULT_MAX_RECORD_KIB, MOST_MAX_RECORD_KIB)
            .that(
                mode.is_none_or(|mode| ["PROVISIONED", "ON_DEMAND"].contains(&mode)),
                "streamModeDetails.streamMode",
                &mode.unwrap_or_default(),
                modes,
            )
            .finish()?;
        let (mode, shards) = capacity(mode == Some("ON_DEMAND"), request.shard_count)?;
        let max_record_kib = request.max_record_size_in_kib.unwrap_or(DEFAULT_MAX_RECORD_KIB);
        let new = NewStream {
            name: request.stream_name.unwrap_or_default(),
            region: call.region.clone(),
            shards,
            mode,
            max_record_kib: u32::try_from(max_record_kib).unwrap_or(1024),
            tags: checked_tags(request.tags.unwrap_or_default(), 0)?,
        };
        self.state().create(new, call.now)?;
        Ok(nothing())
    }

    pub(super) fn delete_stream(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: StreamRequest = decode(body)?;
        let mut state = self.state();
        let name = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?.name.clone();
        state.delete(&name);
        Ok(nothing())
    }

    pub(super) fn describe_stream_summary(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: StreamRequest = decode(body)?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        let mut summary = description(stream);
        summary["OpenShardCount"] = json!(stream.open_count());
        summary["ConsumerCount"] = json!(0);
        summary["MaxRecordSizeInKiB"] = json!(stream.max_record_kib);
        encode(&json!({ "StreamDescriptionSummary": summary }))
    }

    pub(super) fn describe_limits(&self) -> Result<Bytes, ApiError> {
        let state = self.state();
        let open: u32 = state.iter().map(Stream::open_count).sum();
        let on_demand = state.iter().filter(|stream| stream.mode == StreamMode::OnDemand).count();
        encode(&json!({
            "ShardLimit": SHARD_QUOTA,
            "OpenShardCount": open,
            "OnDemandStreamCount": on_demand,
            "OnDemandStreamCountLimit": 50,
        }))
    }

    pub(super) fn list_streams(&self, body: &[u8], _call: &Call) -> Result<Bytes, ApiError> {
        let request: ListStreamsRequest = decode(body)?;
        Checks::default().range("limit", request.limit, 1, 10_000).finish()?;
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(100);
        let after = match &request.next_token {
            Some(token) => {
                let read = self.tokens.read::<String>(token);
                Some(read.ok_or_else(|| ApiError::invalid_argument("NextToken is invalid."))?)
            }
            None => request.exclusive_start_stream_name,
        };
        let state = self.state();
        let mut left = state.iter().filter(|stream| after.as_ref().is_none_or(|after| stream.name > *after));
        let page: Vec<&Stream> = left.by_ref().take(limit).collect();
        let has_more = left.next().is_some();
        let names: Vec<&str> = page.iter().map(|stream| stream.name.as_str()).collect();
        let mut answer = json!({
            "StreamNames": names,
            "HasMoreStreams": has_more,
            "StreamSummaries": page.iter().map(|stream| summary(stream)).collect::<Vec<_>>(),
        });
        if let Some(last) = names.last().filter(|_| has_more) {
            answer["NextToken"] = json!(self.tokens.write(last));
        }
        encode(&answer)
    }

    pub(super) fn increase_retention(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        self.set_retention(body, call, |old, new| new >= old, "shorter")
    }

    pub(super) fn decrease_retention(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        self.set_retention(body, call, |old, new| new <= old, "longer")
    }

    fn set_retention(
        &self,
        body: &[u8],
        call: &Call,
        allowed: fn(u32, u32) -> bool,
        wrong_way: &str,
    ) -> Result<Bytes, ApiError> {
        let request: StreamRequest = decode(body)?;
        let asked = request.retention_period_hours;
        Checks::default().required("retentionPeriodHours", asked.as_ref()).finish()?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        let asked = asked.unwrap_or_default();
        let hours = u32::try_from(asked).ok().filter(|h| (MIN_RETENTION_HOURS..=MAX_RETENTION_HOURS).contains(h));
        let Some(hours) = hours else {
            return Err(ApiError::invalid_argument(format!(
                "Retention period ({asked} hours) must be {MIN_RETENTION_HOURS} to {MAX_RETENTION_HOURS} hours."
            )));
        };
        if !allowed(stream.retention_hours, hours) {
            return Err(ApiError::invalid_argument(format!(
                "Requested retention period ({hours} hours) for stream {} can not be {wrong_way} than existing retention \
                 period ({} hours).",
                stream.name, stream.retention_hours
            )));
        }
        stream.retention_hours = hours;
        stream.expire(self.settings.retention_hour, call.now);
        Ok(nothing())
    }

    pub(super) fn add_tags(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: StreamRequest = decode(body)?;
        Checks::default().required("tags", request.tags.as_ref()).finish()?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        let tags = request.tags.unwrap_or_default();
        let kept = stream.tags.keys().filter(|key| !tags.contains_key(*key)).count();
        stream.tags.extend(checked_tags(tags, kept)?);
        Ok(nothing())
    }

    pub(super) fn list_tags(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: StreamRequest = decode(body)?;
        Checks::default().range("limit", request.limit, 1, 50).finish()?;
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MOST_TAGS);
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        let after = request.exclusive_start_tag_key.as_deref().unwrap_or_default();
        let mut left = stream.tags.iter().filter(|(key, _)| key.as_str() > after);
        let tags: Vec<_> =
            left.by_ref().take(limit).map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        encode(&json!({ "Tags": tags, "HasMoreTags": left.next().is_some() }))
    }
}

/// The members that both descriptions of a stream have.
pub(super) fn description(stream: &Stream) -> serde_json::Value {
    json!({
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": { "StreamMode": stream.mode.as_str() },
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": stream.created.as_seconds(),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
        "EncryptionType": "NONE",
    })
}

fn summary(stream: &Stream) -> serde_json::Value {
    json!({
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": { "StreamMode": stream.mode.as_str() },
        "StreamCreationTimestamp": stream.created.as_seconds(),
    })
}

fn capacity(on_demand: bool, shard_count: Option<i64>) -> Result<(StreamMode, u32), ApiError> {
    match (on_demand, shard_count) {
        (true, None) => Ok((StreamMode::OnDemand, ON_DEMAND_SHARDS)),
        (true, Some(_)) => Err(ApiError::validation("ShardCount must not be given for a stream in ON_DEMAND mode.")),
        (false, None) => Err(ApiError::validation("ShardCount is required for a stream in PROVISIONED mode.")),
        (false, Some(count)) => match u32::try_from(count) {
            Ok(shards) if count <= SHARD_QUOTA => Ok((StreamMode::Provisioned, shards)),
            _ => Err(ApiError::limit_exceeded(format!("ShardCount {count} is above the quota of {SHARD_QUOTA}."))),
        },
    }
}

fn checked_tags(tags: BTreeMap<String, String>, kept: usize) -> Result<BTreeMap<String, String>, ApiError> {
    let mut checks = Checks::default();
    for (key, value) in &tags {
        checks.length("tags.key", Some(key), 1, 128).length("tags.value", Some(value), 0, 256);
    }
    checks.finish()?;
    if tags.len() + kept > MOST_TAGS {
        return Err(ApiError::invalid_argument(format!("A stream has at most {MOST_TAGS} tags.")));
    }
    Ok(tags)
}
