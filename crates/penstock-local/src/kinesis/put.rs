//! PutRecord and PutRecords: sizes are checked for the call, rates and routing for each record.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::hash;
use super::service::KinesisService;
use super::shard::NewRecord;
use super::stream::{Stream, shard_id};
use crate::faults::Service;
use crate::limits::{KIB, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS};
use crate::wire::{ApiError, Call, Checks, decode, encode};

/// A text that is borrowed from the body where it has no escapes.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordRequest<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsRequest<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    records: Option<Vec<Entry<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsAnswer {
    failed_record_count: usize,
    records: Vec<PutResult>,
}

/// What became of one record.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PutResult {
    #[serde(rename_all = "PascalCase")]
    Taken { sequence_number: String, shard_id: String },
    #[serde(rename_all = "PascalCase")]
    Refused { error_code: String, error_message: String },
}

impl KinesisService {
    pub(super) fn put_record(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: PutRecordRequest<'_> = decode(body)?;
        let PutRecordRequest { stream_name, stream_arn, data, partition_key, explicit_hash_key } = request;
        let entries = [Entry { data, partition_key, explicit_hash_key }];
        let mut records = decode_entries(&entries, |_, member| member.to_owned())?;
        let mut state = self.state();
        let stream = state.find(stream_name.as_deref(), stream_arn.as_deref(), call.now)?;
        check_sizes(&records, stream)?;
        let Some(record) = records.pop() else { return Err(ApiError::internal("a record was lost")) };
        match stream.put(record, self.settings.throttle, call.now) {
            Ok((shard, sequence)) => {
                encode(&PutResult::Taken { sequence_number: sequence.text(), shard_id: shard_id(shard) })
            }
            Err(shard) => Err(ApiError::throughput_exceeded(self.rate_exceeded(shard, stream))),
        }
    }

    pub(super) fn put_records(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: PutRecordsRequest<'_> = decode(body)?;
        let PutRecordsRequest { stream_name, stream_arn, records: entries } = request;
        let entries = entries.as_deref();
        let length = "Member must have length less than or equal to 500 and greater than or equal to 1";
        let count = entries.map_or(1, <[_]>::len);
        Checks::default()
            .required("records", entries.as_ref())
            .that((1..=PUT_RECORDS_MAX_RECORDS).contains(&count), "records", &count, length)
            .finish()?;
        let member = |index: usize, member: &str| format!("records.{}.member.{member}", index + 1);
        let records = decode_entries(entries.unwrap_or_default(), member)?;
        let refused = call.partial.as_ref().map(|partial| partial.pick(records.len()));
        let results: Vec<PutResult> = {
            let mut state = self.state();
            let stream = state.find(stream_name.as_deref(), stream_arn.as_deref(), call.now)?;
            check_sizes(&records, stream)?;
            let put = |(index, record): (usize, NewRecord)| {
                let refuse = refused.as_ref().is_some_and(|refused| refused[index]);
                let code = call.partial.as_ref().filter(|_| refuse).map(|partial| partial.code(Service::Kinesis));
                self.put_one(stream, record, code, call)
            };
            records.into_iter().enumerate().map(put).collect()
        };
        let failed_record_count = results.iter().filter(|one| matches!(one, PutResult::Refused { .. })).count();
        encode(&PutRecordsAnswer { failed_record_count, records: results })
    }

    fn put_one(&self, stream: &mut Stream, record: NewRecord, refuse: Option<String>, call: &Call) -> PutResult {
        if let Some(error_code) = refuse {
            return PutResult::Refused { error_code, error_message: "Refused by an injected fault.".into() };
        }
        match stream.put(record, self.settings.throttle, call.now) {
            Ok((shard, sequence)) => PutResult::Taken { sequence_number: sequence.text(), shard_id: shard_id(shard) },
            Err(shard) => PutResult::Refused {
                error_code: "ProvisionedThroughputExceededException".into(),
                error_message: self.rate_exceeded(shard, stream),
            },
        }
    }

    pub(super) fn rate_exceeded(&self, shard: u32, stream: &Stream) -> String {
        let account = &self.settings.account;
        format!("Rate exceeded for shard {} in stream {} under account {account}.", shard_id(shard), stream.name)
    }
}

/// Decodes all entries into one buffer, of which each record is a slice.
fn decode_entries(entries: &[Entry<'_>], member: impl Fn(usize, &str) -> String) -> Result<Vec<NewRecord>, ApiError> {
    check_entries(entries, &member)?;
    let encoded =
        |entry: &Entry<'_>| text(entry.data.as_ref()).len() * 3 / 4 + 3 + text(entry.partition_key.as_ref()).len();
    let mut buffer = Vec::with_capacity(entries.iter().map(encoded).sum());
    let mut ends = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let key = text(entry.partition_key.as_ref());
        buffer.extend_from_slice(key.as_bytes());
        STANDARD
            .decode_vec(text(entry.data.as_ref()), &mut buffer)
            .map_err(|error| ApiError::serialization(format!("{} is not base64: {error}", member(index, "data"))))?;
        ends.push((key.len(), buffer.len(), hash_of(key, entry.explicit_hash_key.as_ref())?));
    }
    let mut rest = Bytes::from(buffer);
    let mut taken = 0;
    let slice = |(key_bytes, end, hash): (usize, usize, u128)| {
        let body = rest.split_to(end - taken);
        taken = end;
        NewRecord { body, key_bytes, hash }
    };
    Ok(ends.into_iter().map(slice).collect())
}

fn check_entries(entries: &[Entry<'_>], member: &impl Fn(usize, &str) -> String) -> Result<(), ApiError> {
    for (index, entry) in entries.iter().enumerate() {
        let key = entry.partition_key.as_ref().map(|key| &*key.0);
        // The names of members are only spelled out for a record that breaks a rule.
        if entry.data.is_some() && key.is_some_and(|key| (1..=256).contains(&key.len())) {
            continue;
        }
        Checks::default()
            .required(&member(index, "data"), entry.data.as_ref())
            .required(&member(index, "partitionKey"), entry.partition_key.as_ref())
            .length(&member(index, "partitionKey"), key, 1, 256)
            .finish()?;
    }
    Ok(())
}

/// The record limit is the stream's, the call limit the service's.
fn check_sizes(records: &[NewRecord], stream: &Stream) -> Result<(), ApiError> {
    let largest = u64::from(stream.max_record_kib) * KIB;
    if let Some(record) = records.iter().find(|record| record.body.len() as u64 > largest) {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value of {} bytes at 'data' failed to satisfy constraint: data and partition key \
             must have length less than or equal to {largest}",
            record.body.len()
        )));
    }
    let total: u64 = records.iter().map(|record| record.body.len() as u64).sum();
    if total > PUT_RECORDS_MAX_BYTES {
        return Err(ApiError::invalid_argument(format!(
            "Records size of {total} bytes exceeds {PUT_RECORDS_MAX_BYTES} bytes (partition keys included)."
        )));
    }
    Ok(())
}

fn hash_of(key: &str, explicit: Option<&Text<'_>>) -> Result<u128, ApiError> {
    let Some(Text(explicit)) = explicit else { return Ok(hash::of_partition_key(key)) };
    hash::parse(explicit).ok_or_else(|| {
        ApiError::invalid_argument(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {explicit}"
        ))
    })
}

fn text<'a>(value: Option<&'a Text<'_>>) -> &'a str {
    value.map_or("", |text| &text.0)
}
