//! DescribeStream and ListShards: which shards a filter means, and paging.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::hash::HashKeyRangeJson;
use super::manage::description;
use super::service::KinesisService;
use super::shard::Shard;
use super::stream::{Stream, shard_id, shard_number};
use crate::clock::Time;
use crate::wire::{ApiError, Call, Checks, decode, encode};

/// The most shards on one page of ListShards.
const LIST_PAGE: usize = 1000;
/// The most shards on one page of DescribeStream.
const DESCRIBE_PAGE: usize = 100;
/// How long a paging token is good for.
const TOKEN_MILLIS: u64 = 300_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStreamRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    limit: Option<i64>,
    exclusive_start_shard_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShardsRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<i64>,
    stream_creation_timestamp: Option<f64>,
    shard_filter: Option<ShardFilterJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilterJson {
    #[serde(rename = "Type")]
    kind: Option<String>,
    shard_id: Option<String>,
    timestamp: Option<f64>,
}

/// Which shards are asked for. Times are milliseconds since the epoch, so that a token holds them exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ShardFilter {
    /// Open at the horizon.
    AtTrimHorizon,
    /// All that are not expired.
    FromTrimHorizon,
    /// Open at present.
    AtLatest,
    /// Open at that time.
    AtTimestamp(u64),
    /// Open at that time or later.
    FromTimestamp(u64),
}

/// Where a listing goes on.
#[derive(Debug, Serialize, Deserialize)]
struct ListToken {
    stream: String,
    incarnation: u64,
    after: u32,
    filter: ShardFilter,
    issued_millis: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShardJson {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: HashKeyRangeJson,
    sequence_number_range: SequenceNumberRangeJson,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRangeJson {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

impl ShardFilter {
    /// Whether the filter means `shard`, of a stream whose horizon is `horizon` (not before its creation).
    pub(crate) fn admits(self, shard: &Shard, horizon: Time) -> bool {
        match self {
            Self::FromTrimHorizon => true,
            Self::AtLatest => shard.is_open(),
            Self::AtTrimHorizon => open_at(shard, horizon),
            Self::AtTimestamp(millis) => open_at(shard, Time::from_millis(millis).max(horizon)),
            Self::FromTimestamp(millis) => {
                let time = Time::from_millis(millis).max(horizon);
                shard.closed.as_ref().is_none_or(|closed| closed.at >= time)
            }
        }
    }
}

fn open_at(shard: &Shard, time: Time) -> bool {
    shard.opened <= time && shard.closed.as_ref().is_none_or(|closed| closed.at > time)
}

impl KinesisService {
    pub(super) fn describe_stream(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: DescribeStreamRequest = decode(body)?;
        Checks::default().range("limit", request.limit, 1, 10_000).finish()?;
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DESCRIBE_PAGE);
        let after = start_after(request.exclusive_start_shard_id.as_deref())?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        let mut left = stream.shards.values().filter(|shard| after.is_none_or(|after| shard.number > after));
        let page: Vec<ShardJson> = left.by_ref().take(limit.min(DESCRIBE_PAGE)).map(shard_json).collect();
        let mut answer = description(stream);
        answer["Shards"] = json!(page);
        answer["HasMoreShards"] = json!(left.next().is_some());
        encode(&json!({ "StreamDescription": answer }))
    }

    pub(super) fn list_shards(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: ListShardsRequest = decode(body)?;
        Checks::default().range("maxResults", request.max_results, 1, 10_000).finish()?;
        let limit = request.max_results.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIST_PAGE);
        let token =
            request.next_token.as_deref().map(|token| self.list_token(token, &request, call.now)).transpose()?;
        let mut state = self.state();
        let name = token.as_ref().map_or(request.stream_name.as_deref(), |token| Some(token.stream.as_str()));
        let stream = state.find(name, request.stream_arn.as_deref(), call.now)?;
        let (after, filter) = match &token {
            Some(token) if token.incarnation != stream.incarnation => {
                return Err(ApiError::not_found("The token is of an earlier stream of that name."));
            }
            Some(token) => (Some(token.after), token.filter),
            None => first_page(&request, stream, call.now)?,
        };
        let horizon = stream.horizon(self.settings.retention_hour, call.now).max(stream.created);
        let (page, next) = page_of(stream, after, filter, limit.min(LIST_PAGE), horizon);
        let mut answer = json!({ "Shards": page });
        if let Some(after) = next {
            let (stream, incarnation) = (stream.name.clone(), stream.incarnation);
            let issued_millis = call.now.as_millis();
            answer["NextToken"] =
                json!(self.tokens.write(&ListToken { stream, incarnation, after, filter, issued_millis }));
        }
        encode(&answer)
    }

    /// The token alone says where to go on; a name or an ARN beside it is refused.
    fn list_token(&self, token: &str, request: &ListShardsRequest, now: Time) -> Result<ListToken, ApiError> {
        let beside = [
            ("StreamName", request.stream_name.is_some()),
            ("StreamARN", request.stream_arn.is_some()),
            ("StreamCreationTimestamp", request.stream_creation_timestamp.is_some()),
            ("ExclusiveStartShardId", request.exclusive_start_shard_id.is_some()),
        ];
        if let Some((member, _)) = beside.iter().find(|(_, given)| *given) {
            return Err(ApiError::invalid_argument(format!("NextToken and {member} cannot be provided together.")));
        }
        let read: Option<ListToken> = self.tokens.read(token);
        let token = read.ok_or_else(|| ApiError::invalid_argument("NextToken is invalid."))?;
        if now.as_millis().saturating_sub(token.issued_millis) > TOKEN_MILLIS {
            return Err(ApiError::new("ExpiredNextTokenException", "NextToken has expired; list from the start."));
        }
        Ok(token)
    }
}

fn first_page(request: &ListShardsRequest, stream: &Stream, now: Time) -> Result<(Option<u32>, ShardFilter), ApiError> {
    check_creation(stream, request.stream_creation_timestamp)?;
    let after = start_after(request.exclusive_start_shard_id.as_deref())?;
    let Some(filter) = &request.shard_filter else { return Ok((after, ShardFilter::FromTrimHorizon)) };
    let kind = filter.kind.as_deref();
    Checks::default().required("shardFilter.type", kind.as_ref()).finish()?;
    let timestamp = || {
        let missing = || ApiError::invalid_argument("Timestamp is required for this type of shard filter.");
        let time = Time::from_seconds(filter.timestamp.ok_or_else(missing)?);
        let time = time.filter(|time| time.as_millis() <= now.as_millis());
        let future = || ApiError::invalid_argument("Timestamp of the shard filter cannot be in the future.");
        time.map(Time::as_millis).ok_or_else(future)
    };
    match kind.unwrap_or_default() {
        "AT_TRIM_HORIZON" => Ok((after, ShardFilter::AtTrimHorizon)),
        "FROM_TRIM_HORIZON" => Ok((after, ShardFilter::FromTrimHorizon)),
        "AT_LATEST" => Ok((after, ShardFilter::AtLatest)),
        "AT_TIMESTAMP" => Ok((after, ShardFilter::AtTimestamp(timestamp()?))),
        "FROM_TIMESTAMP" => Ok((after, ShardFilter::FromTimestamp(timestamp()?))),
        "AFTER_SHARD_ID" => {
            let Some(id) = filter.shard_id.as_deref() else {
                return Err(ApiError::invalid_argument("ShardId is required for shard filter AFTER_SHARD_ID."));
            };
            Ok((start_after(Some(id))?.max(after), ShardFilter::FromTrimHorizon))
        }
        other => Err(ApiError::validation(format!(
            "1 validation error detected: Value '{other}' at 'shardFilter.type' failed to satisfy constraint: Member must \
             satisfy enum value set: [AT_TRIM_HORIZON, FROM_TRIM_HORIZON, AT_LATEST, AT_TIMESTAMP, FROM_TIMESTAMP, \
             AFTER_SHARD_ID]"
        ))),
    }
}

/// A page, and the shard after which the next one begins if there is one.
fn page_of(
    stream: &Stream,
    after: Option<u32>,
    filter: ShardFilter,
    limit: usize,
    horizon: Time,
) -> (Vec<ShardJson>, Option<u32>) {
    let from = after.map_or(0, |after| after.saturating_add(1));
    let mut left = stream.shards.range(from..).map(|(_, shard)| shard).filter(|shard| filter.admits(shard, horizon));
    let page: Vec<&Shard> = left.by_ref().take(limit).collect();
    let next = left.next().and(page.last()).map(|shard| shard.number);
    (page.into_iter().map(shard_json).collect(), next)
}

fn start_after(id: Option<&str>) -> Result<Option<u32>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    let number = shard_number(id).ok_or_else(|| ApiError::invalid_argument(format!("{id:?} is not a shard id.")))?;
    Ok(Some(number))
}

fn check_creation(stream: &Stream, given: Option<f64>) -> Result<(), ApiError> {
    let same = |given| {
        Time::from_seconds(given).is_some_and(|time| time.as_millis() / 1000 == stream.created.as_millis() / 1000)
    };
    if given.is_none_or(same) {
        return Ok(());
    }
    Err(ApiError::not_found(format!("Stream {} was created at another time.", stream.arn)))
}

fn shard_json(shard: &Shard) -> ShardJson {
    let mut parents = shard.parents.iter().map(|&parent| shard_id(parent));
    ShardJson {
        shard_id: shard_id(shard.number),
        parent_shard_id: parents.next(),
        adjacent_parent_shard_id: parents.next(),
        hash_key_range: shard.range.json(),
        sequence_number_range: SequenceNumberRangeJson {
            starting_sequence_number: shard.starting_sequence().text(),
            ending_sequence_number: shard.closed.as_ref().map(|closed| closed.last.text()),
        },
    }
}
