//! A stream: what it is, and one read of one record.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{EncryptionType, ShardIteratorType, StreamMode};
use penstock_core::time::UnixMillis;

use super::clock::DateWatch;
use super::{Refusal, Tried};
use crate::kinesis::StreamRef;

/// Asks about one stream.
#[derive(Debug, Clone)]
pub struct StreamProbe {
    client: Client,
    stream: StreamRef,
}

/// What a stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSeen {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, or something else.
    pub status: String,
    /// Whether it is on demand.
    pub on_demand: bool,
    /// How long it keeps records.
    pub retention: Duration,
    /// When it was created.
    pub created: UnixMillis,
    /// Shards that take records.
    pub open_shards: u32,
    /// The key that it is encrypted with, if it is: an id, an ARN or an alias.
    pub key: Option<String>,
    /// Our clock less the service's, in seconds, where the answer had a date.
    pub clock_ahead: Option<i64>,
}

/// Where the one read begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the oldest record.
    TrimHorizon,
    /// Behind a sequence number.
    After(String),
}

/// What the one read showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadSeen {
    /// 0 or 1.
    pub records: usize,
    /// How far behind the tip.
    pub behind: Duration,
}

impl StreamProbe {
    /// A probe over a configuration that has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &SdkConfig, name_or_arn: &str) -> Self {
        Self { client: Client::new(config), stream: StreamRef::new(name_or_arn) }
    }

    /// DescribeStreamSummary.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn describe(&self) -> Tried<StreamSeen> {
        let watch = DateWatch::default();
        let call = self.client.describe_stream_summary();
        let call = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn());
        let output = call.customize().interceptor(watch.clone()).send().await.map_err(|error| Refusal::of(&error))?;
        let summary = output.stream_description_summary.ok_or_else(|| Refusal::broken("the answer has no summary"))?;
        let hours = u64::try_from(summary.retention_period_hours).unwrap_or(24);
        let mode = summary.stream_mode_details.map(|details| details.stream_mode);
        Ok(StreamSeen {
            status: summary.stream_status.as_str().to_owned(),
            on_demand: mode == Some(StreamMode::OnDemand),
            retention: Duration::from_secs(hours * 3_600),
            created: UnixMillis(summary.stream_creation_timestamp.to_millis().unwrap_or_default()),
            open_shards: u32::try_from(summary.open_shard_count).unwrap_or(0),
            key: summary.key_id.filter(|_| summary.encryption_type == Some(EncryptionType::Kms)),
            clock_ahead: watch.ahead_seconds(),
            name: summary.stream_name,
            arn: summary.stream_arn,
        })
    }

    /// ListShards, its first page: the ids of the shards.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn list(&self) -> Tried<Vec<String>> {
        let call = self.client.list_shards();
        let call = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn());
        let output = call.send().await.map_err(|error| Refusal::of(&error))?;
        Ok(output.shards.unwrap_or_default().into_iter().map(|shard| shard.shard_id).collect())
    }

    /// GetShardIterator.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn iterator(&self, shard: &str, from: &ReadFrom) -> Tried<String> {
        let call = self.client.get_shard_iterator().shard_id(shard);
        let call = call.set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn());
        let call = match from {
            ReadFrom::TrimHorizon => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ReadFrom::After(sequence) => {
                call.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(sequence)
            }
        };
        let output = call.send().await.map_err(|error| Refusal::of(&error))?;
        output.shard_iterator.ok_or_else(|| Refusal::broken("the answer has no iterator"))
    }

    /// GetRecords of one record: one of the five reads that the shard gives all its consumers in a second.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn read(&self, iterator: &str) -> Tried<ReadSeen> {
        let call = self.client.get_records().shard_iterator(iterator).limit(1).set_stream_arn(self.stream.arn());
        let output = call.send().await.map_err(|error| Refusal::of(&error))?;
        let behind = u64::try_from(output.millis_behind_latest.unwrap_or(0)).unwrap_or(0);
        Ok(ReadSeen { records: output.records.len(), behind: Duration::from_millis(behind) })
    }
}
