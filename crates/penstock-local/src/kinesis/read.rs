//! GetShardIterator and GetRecords: positions, expiry, read limits, and the end of a shard.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::hash::HashKeyRangeJson;
use super::sequence::SequenceNumber;
use super::service::KinesisService;
use super::shard::{Record, Shard};
use super::stream::{Stream, shard_id, shard_number};
use super::token::ShardIterator;
use crate::clock::Time;
use crate::limits::GET_RECORDS_MAX_RECORDS;
use crate::wire::{ApiError, Call, Checks, decode, encode};

const ITERATOR_TYPES: [&str; 5] =
    ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP", "TRIM_HORIZON", "LATEST"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIteratorRequest {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_id: Option<String>,
    shard_iterator_type: Option<String>,
    starting_sequence_number: Option<String>,
    timestamp: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecordsRequest {
    shard_iterator: Option<String>,
    limit: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChildShard {
    shard_id: String,
    parent_shards: Vec<String>,
    hash_key_range: HashKeyRangeJson,
}

/// An answer to GetRecords before it is written.
struct Fetched {
    records: Vec<Record>,
    next: Option<String>,
    millis_behind_latest: u64,
    children: Vec<ChildShard>,
}

impl KinesisService {
    pub(super) fn get_shard_iterator(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: GetShardIteratorRequest = decode(body)?;
        let kind = request.shard_iterator_type.as_deref();
        let kinds = "Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]";
        Checks::default()
            .required("shardId", request.shard_id.as_ref())
            .name("shardId", request.shard_id.as_deref(), 128)
            .required("shardIteratorType", kind.as_ref())
            .that(
                kind.is_none_or(|kind| ITERATOR_TYPES.contains(&kind)),
                "shardIteratorType",
                &kind.unwrap_or(""),
                kinds,
            )
            .finish()?;
        let mut state = self.state();
        let stream = state.find(request.stream_name.as_deref(), request.stream_arn.as_deref(), call.now)?;
        let id = request.shard_id.as_deref().unwrap_or_default();
        let number = shard_number(id).filter(|number| stream.shards.contains_key(number));
        let number = number.ok_or_else(|| stream.no_shard(id))?;
        let position = position(&request, stream, stream.shard(number)?, call.now)?;
        let admitted = stream.shards.get_mut(&number).map_or(Ok(()), |shard| shard.admit_iterator(call.now));
        if self.settings.throttle && admitted.is_err() {
            return Err(ApiError::throughput_exceeded(self.rate_exceeded(number, stream)));
        }
        let iterator = self.iterator(stream, number, position, call.now);
        drop(state);
        encode(&serde_json::json!({ "ShardIterator": iterator }))
    }

    pub(super) fn get_records(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: GetRecordsRequest = decode(body)?;
        let most = i64::try_from(GET_RECORDS_MAX_RECORDS).unwrap_or(i64::MAX);
        Checks::default()
            .required("shardIterator", request.shard_iterator.as_ref())
            .length("shardIterator", request.shard_iterator.as_deref(), 1, 512)
            .range("limit", request.limit, 1, i64::MAX)
            .finish()?;
        let limit = request.limit.unwrap_or(most);
        if limit > most {
            return Err(ApiError::invalid_argument(format!("Limit {limit} is above {most}.")));
        }
        let iterator: ShardIterator = self
            .tokens
            .read(request.shard_iterator.as_deref().unwrap_or_default())
            .ok_or_else(|| ApiError::invalid_argument("Invalid ShardIterator."))?;
        self.check_expiry(&iterator, call.now)?;
        let fetched = self.fetch(&iterator, usize::try_from(limit).unwrap_or(1), call.now)?;
        Ok(Bytes::from(fetched.json()?))
    }

    fn fetch(&self, iterator: &ShardIterator, limit: usize, now: Time) -> Result<Fetched, ApiError> {
        let mut state = self.state();
        let stream = state.find(Some(&iterator.stream), None, now)?;
        if stream.incarnation != iterator.incarnation {
            return Err(ApiError::not_found(format!("The iterator is of an earlier stream {}.", stream.name)));
        }
        let missing = stream.no_shard(&shard_id(iterator.shard));
        let shard = stream.shards.get_mut(&iterator.shard).ok_or(missing)?;
        let Ok(page) = shard.read(iterator.position, limit, self.settings.throttle, now) else {
            return Err(ApiError::throughput_exceeded(self.rate_exceeded(iterator.shard, stream)));
        };
        Ok(Fetched {
            children: if page.next.is_none() { children(stream, iterator.shard) } else { Vec::new() },
            next: page.next.map(|position| self.iterator(stream, iterator.shard, position, now)),
            records: page.records,
            millis_behind_latest: page.millis_behind_latest,
        })
    }

    fn check_expiry(&self, iterator: &ShardIterator, now: Time) -> Result<(), ApiError> {
        let life = self.settings.iterator_life;
        if now.since(iterator.issued()) <= life {
            return Ok(());
        }
        Err(ApiError::new(
            "ExpiredIteratorException",
            format!(
                "Iterator expired. The iterator was created at {} ms while right now it is {} ms, which is further in the \
                 future than the tolerated delay of {} milliseconds.",
                iterator.issued_millis,
                now.as_millis(),
                life.as_millis()
            ),
        ))
    }

    fn iterator(&self, stream: &Stream, shard: u32, position: u64, now: Time) -> String {
        self.tokens.write(&ShardIterator {
            stream: stream.name.clone(),
            incarnation: stream.incarnation,
            shard,
            position,
            issued_millis: now.as_millis(),
        })
    }
}

fn position(request: &GetShardIteratorRequest, stream: &Stream, shard: &Shard, now: Time) -> Result<u64, ApiError> {
    match request.shard_iterator_type.as_deref() {
        Some("LATEST") => Ok(shard.latest_position()),
        Some("AT_SEQUENCE_NUMBER") => sequence_position(request, stream, shard),
        Some("AFTER_SEQUENCE_NUMBER") => sequence_position(request, stream, shard).map(|position| position + 1),
        Some("AT_TIMESTAMP") => time_position(request.timestamp, shard, now),
        _ => Ok(shard.horizon_position()),
    }
}

/// The index of the starting sequence number, which has to be one this shard may have given out. One that has been
/// trimmed is accepted, and reading goes on at the horizon.
fn sequence_position(request: &GetShardIteratorRequest, stream: &Stream, shard: &Shard) -> Result<u64, ApiError> {
    let Some(text) = request.starting_sequence_number.as_deref() else {
        return Err(ApiError::invalid_argument("Must specify startingSequenceNumber for this type of iterator."));
    };
    let sequence = SequenceNumber::parse(text).filter(|&sequence| shard.owns(sequence));
    sequence.map(|sequence| sequence.index).ok_or_else(|| {
        ApiError::invalid_argument(format!(
            "StartingSequenceNumber {text} used in GetShardIterator on shard {} in stream {} is invalid because it did not \
             come from this stream.",
            shard_id(shard.number),
            stream.arn
        ))
    })
}

fn time_position(timestamp: Option<f64>, shard: &Shard, now: Time) -> Result<u64, ApiError> {
    let Some(seconds) = timestamp else {
        return Err(ApiError::invalid_argument(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp \
             parameter.",
        ));
    };
    match Time::from_seconds(seconds) {
        Some(time) if time.as_millis() <= now.as_millis() => Ok(shard.position_at(time)),
        _ => Err(ApiError::invalid_argument(format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {}, \
             currentTimestampInMillis: {}",
            seconds * 1000.0,
            now.as_millis()
        ))),
    }
}

fn children(stream: &Stream, shard: u32) -> Vec<ChildShard> {
    let closed = stream.shards.get(&shard).and_then(|shard| shard.closed.as_ref());
    let numbers = closed.map_or(&[][..], |closed| &closed.children);
    let child = |number: &u32| {
        let child = stream.shards.get(number)?;
        Some(ChildShard {
            shard_id: shard_id(child.number),
            parent_shards: child.parents.iter().map(|&parent| shard_id(parent)).collect(),
            hash_key_range: child.range.json(),
        })
    };
    numbers.iter().filter_map(child).collect()
}

impl Fetched {
    /// Written by hand: payloads go from the shard's buffers to base64 in one step.
    fn json(&self) -> Result<Vec<u8>, ApiError> {
        let payload = |record: &Record| record.payload().len() * 4 / 3 + record.partition_key().len() + 200;
        let mut out = Vec::with_capacity(self.records.iter().map(payload).sum::<usize>() + 1024);
        out.extend_from_slice(b"{\"Records\":[");
        for (i, record) in self.records.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_record(record, &mut out).map_err(|error| ApiError::internal(error.to_string()))?;
        }
        let rest = |out: &mut Vec<u8>| -> std::io::Result<()> {
            write!(out, "],\"MillisBehindLatest\":{}", self.millis_behind_latest)?;
            if let Some(next) = &self.next {
                write!(out, ",\"NextShardIterator\":\"{next}\"")?;
            } else {
                out.extend_from_slice(b",\"ChildShards\":");
                serde_json::to_writer(&mut *out, &self.children)?;
            }
            out.push(b'}');
            Ok(())
        };
        rest(&mut out).map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(out)
    }
}

fn write_record(record: &Record, out: &mut Vec<u8>) -> std::io::Result<()> {
    out.extend_from_slice(b"{\"SequenceNumber\":\"");
    out.extend_from_slice(&record.sequence.digits());
    let millis = record.arrival.as_millis();
    write!(out, "\",\"ApproximateArrivalTimestamp\":{}.{:03},\"PartitionKey\":", millis / 1000, millis % 1000)?;
    let key = std::str::from_utf8(record.partition_key()).map_err(std::io::Error::other)?;
    serde_json::to_writer(&mut *out, key)?;
    out.extend_from_slice(b",\"Data\":\"");
    let start = out.len();
    out.resize(start + record.payload().len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(record.payload(), &mut out[start..]).map_err(std::io::Error::other)?;
    out.truncate(start + written);
    out.extend_from_slice(b"\"}");
    Ok(())
}
