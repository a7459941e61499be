//! What is not there is said to be not found: streams, shards, and iterators of a stream that is gone.

use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_engine::ports::{ErrorClass, OpenAt, ShardSource};
use serde_json::json;

use crate::stream::{Outcome, Stream, refused_as, said, shard};
use crate::support::{config, wait_until};

pub(crate) async fn a_missing_stream_is_not_found(stream: Stream) -> Outcome {
    let config = config(&stream.endpoint, &stream.account).await;
    let missing = KinesisSource::new(&config, StreamRef::new("nobodys"));
    refused_as(missing.describe().await, ErrorClass::NotFound)?;
    refused_as(missing.list_shards().await, ErrorClass::NotFound)?;
    refused_as(missing.open(&shard(0), &OpenAt::TrimHorizon).await, ErrorClass::NotFound)
}

pub(crate) async fn a_missing_shard_is_not_found(stream: Stream) -> Outcome {
    refused_as(stream.open(7, &OpenAt::TrimHorizon).await, ErrorClass::NotFound)
}

pub(crate) async fn an_iterator_does_not_outlive_its_stream(stream: Stream) -> Outcome {
    let iterator = stream.open(0, &OpenAt::TrimHorizon).await.map_err(said)?;
    stream.call("DeleteStream", json!({}));
    wait_until("the stream is gone", || {
        stream.try_call("DescribeStreamSummary", &json!({"StreamName": stream.name})).0 == 400
    });
    refused_as(stream.fetch(0, &iterator, 1).await, ErrorClass::NotFound)
}
