//! The operations of the local Firehose by name, and the writing of what is due.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::{Builder, Uuid};

use super::destination::Destination;
use super::files;
use super::streams::{Delivery, DeliveryStreams, Settings};
use crate::clock::Time;
use crate::faults::Service;
use crate::limits::{BATCH_MAX_BYTES, BATCH_MAX_RECORDS, FIREHOSE_MAX_RECORD_BYTES};
use crate::wire::{ApiError, Call, Checks, decode, encode};

/// The local Firehose.
#[derive(Debug)]
pub(crate) struct FirehoseService {
    directory: PathBuf,
    seed: u64,
    state: Mutex<DeliveryStreams>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateRequest {
    delivery_stream_name: Option<String>,
    delivery_stream_type: Option<String>,
    #[serde(rename = "S3DestinationConfiguration")]
    s3: Option<Map<String, Value>>,
    #[serde(rename = "ExtendedS3DestinationConfiguration")]
    extended_s3: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedRequest {
    delivery_stream_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest {
    limit: Option<i64>,
    delivery_stream_type: Option<String>,
    exclusive_start_delivery_stream_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordRequest {
    delivery_stream_name: Option<String>,
    record: Option<RecordJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatchRequest {
    delivery_stream_name: Option<String>,
    records: Option<Vec<RecordJson>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordJson {
    data: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchAnswer {
    failed_put_count: usize,
    encrypted: bool,
    request_responses: Vec<Entry>,
}

/// What became of one record.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry {
    #[serde(rename_all = "PascalCase")]
    Taken { record_id: String },
    #[serde(rename_all = "PascalCase")]
    Refused { error_code: String, error_message: String },
}

impl FirehoseService {
    /// A Firehose that writes below `directory`.
    pub(crate) fn new(settings: Settings, directory: PathBuf) -> Self {
        Self { directory, seed: settings.seed, state: Mutex::new(DeliveryStreams::new(settings)) }
    }

    /// Answers one request.
    pub(crate) fn handle(&self, operation: &str, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        match operation {
            "CreateDeliveryStream" => self.create(body, call),
            "DeleteDeliveryStream" => self.delete(body, call),
            "DescribeDeliveryStream" => self.describe(body),
            "ListDeliveryStreams" => self.list(body),
            "PutRecord" => self.put_record(body, call),
            "PutRecordBatch" => self.put_record_batch(body, call),
            other => Err(ApiError::unknown_operation(other)),
        }
    }

    /// Writes everything that is due, or everything. An object that cannot be written is kept, and the error told; the
    /// next call tries again. Blocks on the file system.
    pub(crate) fn write_due(self: &Arc<Self>, all: bool, now: Time) -> Result<(), String> {
        loop {
            let Some(delivery) = self.state().next_delivery(all, now) else { return Ok(()) };
            let id = self.object_id(&delivery);
            let path = delivery.destination.path(&delivery.stream, delivery.filled.opened, id);
            let written = path.and_then(|path| {
                let target = self.directory.join(&path);
                files::write(&self.directory, &path, &delivery.filled.content)
                    .map_err(|error| format!("{}: {error}", target.display()))
            });
            if let Err(error) = written {
                self.state().put_back(delivery);
                return Err(error);
            }
        }
    }

    fn create(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: CreateRequest = decode(body)?;
        let name = checked_name(request.delivery_stream_name.as_deref())?;
        if request.delivery_stream_type.as_deref().is_some_and(|kind| kind != "DirectPut") {
            return Err(ApiError::invalid_argument("penstock local serves delivery streams of type DirectPut only."));
        }
        let configuration = match (&request.extended_s3, &request.s3) {
            (Some(_), Some(_)) => return Err(ApiError::invalid_argument("Only one destination may be given.")),
            (Some(configuration), None) | (None, Some(configuration)) => configuration,
            (None, None) => {
                return Err(ApiError::invalid_argument(
                    "ExtendedS3DestinationConfiguration or S3DestinationConfiguration is required: penstock local delivers \
                     to a directory under S3 keys.",
                ));
            }
        };
        let destination = Destination::parse(configuration)?;
        // Whether every evaluated key stays below the directory is known only here, where refusing it helps.
        destination
            .path(name, call.now, Uuid::nil())
            .map_err(|error| ApiError::invalid_argument(format!("Prefix: {error}.")))?;
        if !destination.ignored_processors.is_empty() {
            tracing::warn!(delivery_stream = name, processors = ?destination.ignored_processors,
                "these are not run here: records are delivered as they came");
        }
        let arn = self.state().create(name, &call.region, destination, call.now)?;
        encode(&json!({ "DeliveryStreamARN": arn }))
    }

    fn delete(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: NamedRequest = decode(body)?;
        self.state().delete(checked_name(request.delivery_stream_name.as_deref())?, call.now)?;
        encode(&json!({}))
    }

    fn describe(&self, body: &[u8]) -> Result<Bytes, ApiError> {
        let request: NamedRequest = decode(body)?;
        let state = self.state();
        let stream = state.find(checked_name(request.delivery_stream_name.as_deref())?)?;
        encode(&json!({ "DeliveryStreamDescription": {
            "DeliveryStreamName": stream.name,
            "DeliveryStreamARN": stream.arn,
            "DeliveryStreamStatus": "ACTIVE",
            "DeliveryStreamEncryptionConfiguration": { "Status": "DISABLED" },
            "DeliveryStreamType": "DirectPut",
            "VersionId": "1",
            "CreateTimestamp": stream.created.as_seconds(),
            "Destinations": stream.destination.describe(),
            "HasMoreDestinations": false,
        }}))
    }

    fn list(&self, body: &[u8]) -> Result<Bytes, ApiError> {
        let request: ListRequest = decode(body)?;
        Checks::default().range("limit", request.limit, 1, 10_000).finish()?;
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
        let after = request.exclusive_start_delivery_stream_name.unwrap_or_default();
        let other_type = request.delivery_stream_type.is_some_and(|kind| kind != "DirectPut");
        let state = self.state();
        let mut left = state.names_after(&after).filter(|_| !other_type);
        let names: Vec<&str> = left.by_ref().take(limit).collect();
        let has_more = left.next().is_some();
        encode(&json!({ "DeliveryStreamNames": names, "HasMoreDeliveryStreams": has_more }))
    }

    fn put_record(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: PutRecordRequest = decode(body)?;
        let name = checked_name(request.delivery_stream_name.as_deref())?;
        Checks::default().required("record", request.record.as_ref()).finish()?;
        let records: Vec<RecordJson> = request.record.into_iter().collect();
        let payloads = payloads(&records)?;
        let mut state = self.state();
        state.admit_request(name, call.now)?;
        let record_id = state.put(name, payloads.first().map_or(&[], Vec::as_slice), call.now)?;
        encode(&json!({ "RecordId": record_id, "Encrypted": false }))
    }

    fn put_record_batch(&self, body: &[u8], call: &Call) -> Result<Bytes, ApiError> {
        let request: PutRecordBatchRequest = decode(body)?;
        let name = checked_name(request.delivery_stream_name.as_deref())?;
        let count = request.records.as_ref().map_or(1, Vec::len);
        let length = "Member must have length less than or equal to 500 and greater than or equal to 1";
        Checks::default()
            .required("records", request.records.as_ref())
            .that((1..=BATCH_MAX_RECORDS).contains(&count), "records", &count, length)
            .finish()?;
        let payloads = payloads(&request.records.unwrap_or_default())?;
        let total: usize = payloads.iter().map(Vec::len).sum();
        if total as u64 > BATCH_MAX_BYTES {
            return Err(ApiError::invalid_argument(format!(
                "Records size of {total} bytes exceeds the limit of {BATCH_MAX_BYTES} bytes of one call."
            )));
        }
        let request_responses = self.put_all(name, &payloads, call)?;
        let failed_put_count = request_responses.iter().filter(|one| matches!(one, Entry::Refused { .. })).count();
        encode(&BatchAnswer { failed_put_count, encrypted: false, request_responses })
    }

    fn put_all(&self, name: &str, payloads: &[Vec<u8>], call: &Call) -> Result<Vec<Entry>, ApiError> {
        let refused =
            call.partial.as_ref().map(|partial| (partial.pick(payloads.len()), partial.code(Service::Firehose)));
        let mut state = self.state();
        state.admit_request(name, call.now)?;
        let put = |(index, payload): (usize, &Vec<u8>)| match &refused {
            Some((refused, code)) if refused[index] => {
                Entry::Refused { error_code: code.clone(), error_message: "Refused by an injected fault.".to_owned() }
            }
            _ => match state.put(name, payload, call.now) {
                Ok(record_id) => Entry::Taken { record_id },
                Err(error) => Entry::Refused { error_code: error.code.into_owned(), error_message: error.message },
            },
        };
        Ok(payloads.iter().enumerate().map(put).collect())
    }

    /// An object's own id: the same when it is tried again, another for each object of each run.
    fn object_id(&self, delivery: &Delivery) -> Uuid {
        use md5::{Digest as _, Md5};
        let digest =
            Md5::new().chain_update(self.seed.to_be_bytes()).chain_update(delivery.number.to_be_bytes()).finalize();
        Builder::from_random_bytes(digest.into()).into_uuid()
    }

    fn state(&self) -> MutexGuard<'_, DeliveryStreams> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checked_name(name: Option<&str>) -> Result<&str, ApiError> {
    Checks::default().required("deliveryStreamName", name.as_ref()).name("deliveryStreamName", name, 64).finish()?;
    Ok(name.unwrap_or_default())
}

fn payloads(records: &[RecordJson]) -> Result<Vec<Vec<u8>>, ApiError> {
    let payload = |(index, record): (usize, &RecordJson)| {
        let member = format!("records.{}.member.data", index + 1);
        Checks::default().required(&member, record.data.as_ref()).finish()?;
        let decoded = STANDARD
            .decode(record.data.as_deref().unwrap_or_default())
            .map_err(|error| ApiError::serialization(format!("{member} is not base64: {error}")))?;
        if decoded.len() as u64 > FIREHOSE_MAX_RECORD_BYTES {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value of {} bytes at '{member}' failed to satisfy constraint: Member must have \
                 length less than or equal to {FIREHOSE_MAX_RECORD_BYTES}",
                decoded.len()
            )));
        }
        Ok(decoded)
    };
    records.iter().enumerate().map(payload).collect()
}
