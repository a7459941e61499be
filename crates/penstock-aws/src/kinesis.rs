//! A Kinesis data stream as a shard source, by polling: each call is one HTTP call, without retries.
//!
//! The stream is named by its ARN where that is known, since a name means the caller's own account.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types as sdk;
use penstock_core::chunk::{Chunk, ChunkBuilder};
use penstock_core::ids::{HashRange, ShardId, StreamName};
use penstock_core::position::SequenceNumber;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator, ShardSource, StreamDescription};

use crate::error::Place;
use crate::limits::KINESIS_MAX_SHARDS_PER_PAGE;

/// One stream, by name or ARN.
#[derive(Debug, Clone)]
pub struct KinesisSource {
    client: Client,
    stream: StreamRef,
    place: Place,
}

/// How a stream is named in calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamRef {
    /// In the caller's own account.
    Name(String),
    /// In any account.
    Arn(String),
}

impl StreamRef {
    /// Takes a name or an ARN, told apart by the `arn:` in front.
    #[must_use]
    pub fn new(name_or_arn: &str) -> Self {
        if name_or_arn.starts_with("arn:") {
            Self::Arn(name_or_arn.to_owned())
        } else {
            Self::Name(name_or_arn.to_owned())
        }
    }

    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.clone()),
            Self::Arn(_) => None,
        }
    }

    pub(crate) fn arn(&self) -> Option<String> {
        match self {
            Self::Arn(arn) => Some(arn.clone()),
            Self::Name(_) => None,
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Arn(text) => text,
        }
    }
}

impl KinesisSource {
    /// A source over a client whose configuration has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, stream: StreamRef) -> Self {
        Self { client: Client::new(config), stream, place: Place::of(config) }
    }

    async fn page_of_shards(&self, token: Option<String>) -> Result<(Vec<sdk::Shard>, Option<String>), SeamError> {
        // A token stands alone: together with a name, an ARN or a filter the service refuses it.
        let call = match token {
            Some(token) => self.client.list_shards().next_token(token),
            None => self.client.list_shards().set_stream_name(self.stream.name()).set_stream_arn(self.stream.arn()),
        };
        let output = call
            .max_results(KINESIS_MAX_SHARDS_PER_PAGE)
            .send()
            .await
            .map_err(|error| self.place.error("ListShards", self.stream.as_str(), error))?;
        Ok((output.shards.unwrap_or_default(), output.next_token))
    }
}

#[async_trait]
impl ShardSource for KinesisSource {
    async fn describe(&self) -> Result<StreamDescription, SeamError> {
        let output = self
            .client
            .describe_stream_summary()
            .set_stream_name(self.stream.name())
            .set_stream_arn(self.stream.arn())
            .send()
            .await
            .map_err(|error| self.place.error("DescribeStreamSummary", self.stream.as_str(), error))?;
        let Some(summary) = output.stream_description_summary else {
            return Err(broken("DescribeStreamSummary", self.stream.as_str(), "the answer has no summary"));
        };
        let hours = u64::try_from(summary.retention_period_hours).unwrap_or(24);
        Ok(StreamDescription {
            name: StreamName::new(&summary.stream_name),
            arn: Some(summary.stream_arn),
            created: millis(&summary.stream_creation_timestamp),
            retention: Duration::from_secs(hours * 3600),
        })
    }

    async fn list_shards(&self) -> Result<Vec<ShardListing>, SeamError> {
        let mut listings = Vec::new();
        let mut token = None;
        loop {
            let (shards, next) = self.page_of_shards(token).await?;
            for shard in shards {
                listings.push(listing(&shard).map_err(|problem| broken("ListShards", &shard.shard_id, &problem))?);
            }
            match next {
                Some(next) => token = Some(next),
                None => return Ok(listings),
            }
        }
    }

    async fn open(&self, shard: &ShardId, at: &OpenAt) -> Result<ShardIterator, SeamError> {
        let call = self
            .client
            .get_shard_iterator()
            .set_stream_name(self.stream.name())
            .set_stream_arn(self.stream.arn())
            .shard_id(shard.as_str());
        let call = match at {
            OpenAt::TrimHorizon => call.shard_iterator_type(sdk::ShardIteratorType::TrimHorizon),
            OpenAt::Timestamp(at) => {
                call.shard_iterator_type(sdk::ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(at.0))
            }
            OpenAt::At(sequence) => call
                .shard_iterator_type(sdk::ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
            OpenAt::After(sequence) => call
                .shard_iterator_type(sdk::ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
        };
        let output = call.send().await.map_err(|error| self.place.error("GetShardIterator", shard.as_str(), error))?;
        output
            .shard_iterator
            .map(ShardIterator)
            .ok_or_else(|| broken("GetShardIterator", shard.as_str(), "the answer has no iterator"))
    }

    async fn fetch(&self, shard: &ShardId, iterator: &ShardIterator, max_records: u32) -> Result<Fetched, SeamError> {
        let output = self
            .client
            .get_records()
            .set_stream_arn(self.stream.arn())
            .shard_iterator(&iterator.0)
            .limit(i32::try_from(max_records).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| self.place.error("GetRecords", shard.as_str(), error))?;
        fetched(output).map_err(|problem| broken("GetRecords", shard.as_str(), &problem))
    }
}

fn broken(operation: &'static str, subject: &str, problem: &str) -> SeamError {
    SeamError::new(operation, subject, ErrorClass::Fatal, problem)
}

fn millis(time: &DateTime) -> UnixMillis {
    UnixMillis(time.to_millis().unwrap_or_default())
}

fn fetched(output: GetRecordsOutput) -> Result<Fetched, String> {
    let chunk = chunk(&output.records)?;
    let children = output.child_shards.unwrap_or_default().iter().map(child).collect::<Result<Vec<_>, _>>()?;
    check_end(output.next_shard_iterator.as_deref(), &children)?;
    let behind = Duration::from_millis(u64::try_from(output.millis_behind_latest.unwrap_or(0)).unwrap_or(0));
    Ok(Fetched { chunk, next: output.next_shard_iterator.map(ShardIterator), behind, children })
}

/// A shard has ended only if the iterator is gone *and* children are named that name their parents. Anything between is a
/// broken answer: the same iterator again.
fn check_end(next: Option<&str>, children: &[ChildShard]) -> Result<(), String> {
    match (next, children) {
        (None, []) => Err("no next iterator, but no child shards either: not the end of a shard".to_owned()),
        (Some(_), [_, ..]) => Err("child shards, but a next iterator too: not the end of a shard".to_owned()),
        (None, children) => match children.iter().find(|child| child.parents.is_empty()) {
            Some(child) => Err(format!("child shard {} names no parent", child.id)),
            None => Ok(()),
        },
        (Some(_), []) => Ok(()),
    }
}

fn chunk(records: &[sdk::Record]) -> Result<Chunk, String> {
    let bytes = records
        .iter()
        .map(|record| {
            record.data.as_ref().len()
                + record.sequence_number.len()
                + record.partition_key.as_deref().map_or(0, str::len)
        })
        .sum();
    let mut chunk = ChunkBuilder::with_capacity(records.len(), bytes);
    for record in records {
        let sequence = sequence(&record.sequence_number)?;
        let arrival = record
            .approximate_arrival_timestamp
            .as_ref()
            .ok_or_else(|| format!("record {sequence} has no arrival time"))?;
        chunk.push(&sequence, record.partition_key.as_deref().unwrap_or(""), record.data.as_ref(), millis(arrival));
    }
    Ok(chunk.build())
}

fn sequence(text: &str) -> Result<SequenceNumber, String> {
    SequenceNumber::parse(text).map_err(|error| error.to_string())
}

fn child(child: &sdk::ChildShard) -> Result<ChildShard, String> {
    Ok(ChildShard {
        id: ShardId::new(&child.shard_id),
        parents: child.parent_shards.iter().map(|parent| ShardId::new(parent)).collect(),
        hash_range: hash_range(child.hash_key_range.as_ref())?,
    })
}

fn listing(shard: &sdk::Shard) -> Result<ShardListing, String> {
    let range = shard.sequence_number_range.as_ref().ok_or("a shard has no sequence number range")?;
    let parents = [shard.parent_shard_id.as_deref(), shard.adjacent_parent_shard_id.as_deref()];
    Ok(ShardListing {
        id: ShardId::new(&shard.shard_id),
        parents: parents.into_iter().flatten().map(ShardId::new).collect(),
        hash_range: hash_range(shard.hash_key_range.as_ref())?,
        starting_sequence: sequence(&range.starting_sequence_number)?,
        ending_sequence: range.ending_sequence_number.as_deref().map(sequence).transpose()?,
    })
}

fn hash_range(range: Option<&sdk::HashKeyRange>) -> Result<HashRange, String> {
    let range = range.ok_or("a shard has no hash key range")?;
    let key = |text: &str| text.parse::<u128>().map_err(|_| format!("{text:?} is not a hash key"));
    Ok(HashRange { start: key(&range.starting_hash_key)?, end: key(&range.ending_hash_key)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_child(parents: &[&str]) -> ChildShard {
        ChildShard {
            id: ShardId::new("shardId-000000000001"),
            parents: parents.iter().map(|parent| ShardId::new(parent)).collect(),
            hash_range: HashRange::ALL,
        }
    }

    #[test]
    fn a_shard_ends_only_with_children_that_name_their_parents_and_without_an_iterator() {
        assert!(check_end(Some("next"), &[]).is_ok());
        assert!(check_end(None, &[a_child(&["shardId-000000000000"])]).is_ok());
        assert!(check_end(None, &[]).is_err());
        assert!(check_end(Some("next"), &[a_child(&["shardId-000000000000"])]).is_err());
        assert!(check_end(None, &[a_child(&[])]).is_err());
    }

    #[test]
    fn a_record_without_a_sequence_number_makes_the_answer_unreadable() {
        let record = sdk::Record::builder()
            .sequence_number("not one")
            .data(aws_sdk_kinesis::primitives::Blob::new(b"x".to_vec()))
            .approximate_arrival_timestamp(DateTime::from_millis(1))
            .build();
        assert!(chunk(&[record.expect("complete")]).is_err());
    }

    #[test]
    fn records_are_copied_into_one_buffer_with_their_keys_and_times() {
        let record = sdk::Record::builder()
            .sequence_number("49590338271490256608559692538361571095921575989136588898")
            .partition_key("k")
            .data(aws_sdk_kinesis::primitives::Blob::new(b"payload".to_vec()))
            .approximate_arrival_timestamp(DateTime::from_millis(1_700_000_000_123))
            .build()
            .expect("complete");
        let chunk = chunk(&[record]).expect("sound");
        let record = chunk.record(0);
        assert_eq!((record.data, record.partition_key), (&b"payload"[..], "k"));
        assert_eq!(record.arrival, UnixMillis(1_700_000_000_123));
    }
}
