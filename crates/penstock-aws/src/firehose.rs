//! A Firehose delivery stream as a call sink: PutRecordBatch, one HTTP call per call.

use std::num::NonZeroU64;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::error::ProvideErrorMetadata;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types as sdk;
use bytes::Bytes;
use penstock_engine::ports::{CallLimits, CallSink, CallTarget, DeliveryPermit, EntryOutcome, ErrorClass, SeamError};

use crate::error::{Place, class_of_code};
use crate::limits::{FIREHOSE_BILLED_STEP, FIREHOSE_MAX_CALL_BYTES, FIREHOSE_MAX_RECORD_BYTES, FIREHOSE_MAX_RECORDS};

/// One delivery stream.
#[derive(Debug, Clone)]
pub struct FirehoseSink {
    client: Client,
    delivery_stream: String,
    place: Place,
}

impl FirehoseSink {
    /// A sink over a configuration that has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, delivery_stream: &str) -> Self {
        Self { client: Client::new(config), delivery_stream: delivery_stream.to_owned(), place: Place::of(config) }
    }

    /// What a description says of how records are taken there; an error if none are.
    fn target(&self, stream: &sdk::DeliveryStreamDescription) -> Result<CallTarget, SeamError> {
        let unfit =
            |class, problem| SeamError::new("DescribeDeliveryStream", self.delivery_stream.as_str(), class, problem);
        match &stream.delivery_stream_status {
            sdk::DeliveryStreamStatus::Active => {}
            status => return Err(unfit(ErrorClass::NotFound, format!("the delivery stream is {status}, not ACTIVE"))),
        }
        match &stream.delivery_stream_type {
            sdk::DeliveryStreamType::KinesisStreamAsSource
            | sdk::DeliveryStreamType::MskAsSource
            | sdk::DeliveryStreamType::DatabaseAsSource => {
                let source = &stream.delivery_stream_type;
                let problem =
                    format!("the delivery stream takes no direct puts ({source}); name one with a direct put source");
                Err(unfit(ErrorClass::Rejected, problem))
            }
            _ => Ok(CallTarget { packable: Some(is_plain_to_s3(stream)) }),
        }
    }

    fn broken(&self, operation: &'static str, problem: &str) -> SeamError {
        SeamError::new(operation, self.delivery_stream.as_str(), ErrorClass::Fatal, problem)
    }
}

#[async_trait]
impl CallSink for FirehoseSink {
    fn limits(&self) -> CallLimits {
        CallLimits {
            max_entries: FIREHOSE_MAX_RECORDS,
            max_call_bytes: FIREHOSE_MAX_CALL_BYTES,
            max_entry_bytes: FIREHOSE_MAX_RECORD_BYTES,
            billed_step: NonZeroU64::new(FIREHOSE_BILLED_STEP),
        }
    }

    async fn probe(&self) -> Result<CallTarget, SeamError> {
        const OPERATION: &str = "DescribeDeliveryStream";
        let described = self.client.describe_delivery_stream().delivery_stream_name(&self.delivery_stream).send().await;
        match described {
            Ok(output) => match output.delivery_stream_description {
                Some(stream) => self.target(&stream),
                None => Err(self.broken(OPERATION, "the answer has no description")),
            },
            // The permission is for this look alone; without it records can still be put, but not packed unasked.
            Err(error) if matches!(error.code(), Some("AccessDeniedException" | "AccessDenied")) => {
                Ok(CallTarget { packable: None })
            }
            Err(error) => Err(self.place.error(OPERATION, &self.delivery_stream, error)),
        }
    }

    async fn call(
        &self,
        _: DeliveryPermit,
        entries: &[Bytes],
        time_out: Duration,
    ) -> Result<Vec<EntryOutcome>, SeamError> {
        const OPERATION: &str = "PutRecordBatch";
        let records = entries
            .iter()
            .map(|entry| sdk::Record::builder().data(Blob::from_maybe_shared(entry.clone())).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.broken(OPERATION, &error.to_string()))?;
        let call = self
            .client
            .put_record_batch()
            .delivery_stream_name(&self.delivery_stream)
            .set_records(Some(records))
            .send();
        let output = tokio::time::timeout(time_out, call)
            .await
            .map_err(|_| SeamError::timed_out(OPERATION, self.delivery_stream.as_str(), time_out))?
            .map_err(|error| self.place.error(OPERATION, &self.delivery_stream, error))?;
        if output.request_responses.len() != entries.len() {
            let problem = format!("{} outcomes for {} records", output.request_responses.len(), entries.len());
            return Err(self.broken(OPERATION, &problem));
        }
        Ok(output.request_responses.into_iter().map(outcome).collect())
    }
}

/// Firehose fails entries for pace or for a fault of its own, and asks for both to be sent again.
fn outcome(entry: sdk::PutRecordBatchResponseEntry) -> EntryOutcome {
    match entry.error_code {
        None => EntryOutcome::Delivered,
        Some(code) => EntryOutcome::Failed {
            // Of a whole call this code leaves the outcome open; of an entry it says "slow down".
            class: if code == "ServiceUnavailableException" {
                ErrorClass::Throttled
            } else {
                class_of_code(&code, 500)
            },
            code,
            message: entry.error_message.unwrap_or_default(),
        },
    }
}

/// Whether nothing between Firehose and S3 looks at the boundaries of its records: exactly one destination, plain S3, without
/// processors, format conversion or dynamic partitioning.
fn is_plain_to_s3(stream: &sdk::DeliveryStreamDescription) -> bool {
    let [destination] = stream.destinations.as_slice() else { return false };
    let Some(s3) = &destination.extended_s3_destination_description else {
        return destination.s3_destination_description.is_some() && !has_other_destination(destination);
    };
    let processes = s3
        .processing_configuration
        .as_ref()
        .is_some_and(|it| it.enabled.unwrap_or(true) && it.processors().iter().len() > 0);
    let converts = s3.data_format_conversion_configuration.as_ref().is_some_and(|it| it.enabled.unwrap_or(true));
    let partitions = s3.dynamic_partitioning_configuration.as_ref().is_some_and(|it| it.enabled.unwrap_or(true));
    !processes && !converts && !partitions && !has_other_destination(destination)
}

fn has_other_destination(destination: &sdk::DestinationDescription) -> bool {
    destination.redshift_destination_description.is_some()
        || destination.elasticsearch_destination_description.is_some()
        || destination.amazonopensearchservice_destination_description.is_some()
        || destination.splunk_destination_description.is_some()
        || destination.http_endpoint_destination_description.is_some()
        || destination.snowflake_destination_description.is_some()
        || destination.amazon_open_search_serverless_destination_description.is_some()
        || destination.iceberg_destination_description.is_some()
}
