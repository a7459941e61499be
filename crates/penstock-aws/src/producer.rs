//! The writing side of a stream, for the demo, the benchmarks and tests: create, put, split, merge; and a delivery stream to write to.
//! The daemon itself never does any of it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types as sdk;
use bytes::Bytes;
use penstock_core::ids::ShardId;
use penstock_engine::ports::SeamError;

use crate::error::seam_error;

/// A stream to write to.
#[derive(Debug, Clone)]
pub struct Producer {
    client: Client,
    stream: String,
}

/// One record to put.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Chooses the shard.
    pub partition_key: String,
    /// The hash key that chooses the shard instead, if there is one.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

/// Records of one PutRecords (Kinesis API model).
const MAX_RECORDS: usize = 500;
/// How long to wait before refused records are put again.
const PAUSE: Duration = Duration::from_millis(200);

impl Producer {
    /// A producer over a configuration that has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &SdkConfig, stream: &str) -> Self {
        Self { client: Client::new(config), stream: stream.to_owned() }
    }

    /// Creates the stream.
    ///
    /// # Errors
    /// What the service said.
    pub async fn create_stream(&self, shards: u32) -> Result<(), SeamError> {
        self.client
            .create_stream()
            .stream_name(&self.stream)
            .shard_count(i32::try_from(shards).unwrap_or(i32::MAX))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| seam_error("CreateStream", &self.stream, error))
    }

    /// Puts records in order, 500 a call; refused ones are put again until the service has taken them all. A call of unknown outcome
    /// is an error, since putting it again could repeat records.
    ///
    /// # Errors
    /// What the service said.
    pub async fn put(&self, records: &[NewRecord]) -> Result<(), SeamError> {
        for batch in records.chunks(MAX_RECORDS) {
            let mut left: Vec<&NewRecord> = batch.iter().collect();
            while !left.is_empty() {
                let refused = self.put_once(&left).await?;
                if !refused.is_empty() {
                    tokio::time::sleep(PAUSE).await;
                }
                left = refused;
            }
        }
        Ok(())
    }

    /// One call; returns the records that were refused for pace.
    async fn put_once<'a>(&self, records: &[&'a NewRecord]) -> Result<Vec<&'a NewRecord>, SeamError> {
        let entries = records.iter().map(|record| {
            sdk::PutRecordsRequestEntry::builder()
                .partition_key(&record.partition_key)
                .set_explicit_hash_key(record.explicit_hash_key.map(|key| key.to_string()))
                .data(Blob::from_maybe_shared(record.data.clone()))
                .build()
                .expect("payload and partition key are set")
        });
        let output = self
            .client
            .put_records()
            .stream_name(&self.stream)
            .set_records(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| seam_error("PutRecords", &self.stream, error))?;
        let outcomes = output.records.into_iter().zip(records);
        Ok(outcomes.filter(|(outcome, _)| outcome.error_code.is_some()).map(|(_, record)| *record).collect())
    }

    /// Splits a shard at a hash key, which becomes the lowest of the second child.
    ///
    /// # Errors
    /// What the service said.
    pub async fn split(&self, shard: &ShardId, at: u128) -> Result<(), SeamError> {
        self.client
            .split_shard()
            .stream_name(&self.stream)
            .shard_to_split(shard.as_str())
            .new_starting_hash_key(at.to_string())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| seam_error("SplitShard", shard.as_str(), error))
    }

    /// Merges two adjacent shards.
    ///
    /// # Errors
    /// What the service said.
    pub async fn merge(&self, shard: &ShardId, adjacent: &ShardId) -> Result<(), SeamError> {
        self.client
            .merge_shards()
            .stream_name(&self.stream)
            .shard_to_merge(shard.as_str())
            .adjacent_shard_to_merge(adjacent.as_str())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| seam_error("MergeShards", shard.as_str(), error))
    }
}

/// Creates a delivery stream that writes to a bucket, plainly.
///
/// # Errors
/// What the service said.
pub async fn create_delivery_stream(config: &SdkConfig, name: &str, bucket: &str) -> Result<(), SeamError> {
    use aws_sdk_firehose::types::{BufferingHints, ExtendedS3DestinationConfiguration};
    let hints = BufferingHints::builder().size_in_mbs(1).interval_in_seconds(1).build();
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn("arn:aws:iam::000000000000:role/firehose")
        .bucket_arn(format!("arn:aws:s3:::{bucket}"))
        .buffering_hints(hints)
        .build()
        .expect("role and bucket are set");
    aws_sdk_firehose::Client::new(config)
        .create_delivery_stream()
        .delivery_stream_name(name)
        .extended_s3_destination_configuration(destination)
        .send()
        .await
        .map(|_| ())
        .map_err(|error| seam_error("CreateDeliveryStream", name, error))
}
