//! A stream and its shards as they are described: by name and by ARN, page by page, and as they were open at a time.

use std::time::Duration;

use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_engine::ports::{OpenAt, ShardSource};
use serde_json::json;

use crate::stream::{HALF, Outcome, Stream, check, now, said, shard};
use crate::support::config;

pub(crate) async fn ranges_of_a_new_stream_cover_all_hash_keys(stream: Stream) -> Outcome {
    let shards = stream.shards().await?;
    check(shards.len() == 4, format!("{} shards", shards.len()))?;
    let mut next = Some(0);
    for (number, listing) in shards.iter().enumerate() {
        check(listing.id == shard(number), format!("{} is not {}", listing.id, shard(number)))?;
        check(listing.is_open() && listing.parents.is_empty(), format!("{listing:?}"))?;
        check(next == Some(listing.hash_range.start), format!("a hole before {:?}", listing.hash_range))?;
        next = listing.hash_range.end.checked_add(1);
    }
    check(next.is_none(), "the last range does not end at the last key")
}

pub(crate) async fn a_stream_is_described_by_name_and_by_arn(stream: Stream) -> Outcome {
    let by_name = stream.source.describe().await.map_err(said)?;
    check(by_name.name.as_str() == stream.name, format!("{by_name:?}"))?;
    check(by_name.retention == Duration::from_secs(24 * 3600), format!("{by_name:?}"))?;
    let age = now().0 - by_name.created.0;
    check((-2000..60_000).contains(&age), format!("created {age} ms ago"))?;
    let arn = by_name.arn.clone().ok_or("no ARN")?;
    let config = config(&stream.endpoint, &stream.account).await;
    let of_arn = KinesisSource::new(&config, StreamRef::new(&arn));
    check(of_arn.describe().await.map_err(said)? == by_name, "the ARN describes another stream")?;
    stream.put("one", 0);
    let iterator = of_arn.open(&shard(0), &OpenAt::TrimHorizon).await.map_err(said)?;
    let fetched = of_arn.fetch(&shard(0), &iterator, 10).await.map_err(said)?;
    check(fetched.chunk.len() == 1, "nothing is read by ARN")?;
    check(of_arn.list_shards().await.map_err(said)?.len() == 1, "no shards are listed by ARN")
}

pub(crate) async fn shards_are_listed_in_pages_by_token_alone(stream: Stream) -> Outcome {
    let mut found = Vec::new();
    let mut page = stream.call("ListShards", json!({"MaxResults": 2}));
    let first_token = page["NextToken"].clone();
    loop {
        let shards = page["Shards"].as_array().cloned().unwrap_or_default();
        check(shards.len() <= 2, format!("a page of {}", shards.len()))?;
        found.extend(shards.iter().map(|shard| shard["ShardId"].as_str().unwrap_or_default().to_owned()));
        let token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
        let (status, next) = stream.try_call("ListShards", &json!({"NextToken": token, "MaxResults": 2}));
        check(status == 200, format!("by token alone: {status} {next}"))?;
        page = next;
    }
    let expected: Vec<_> = (0..5).map(|number| shard(number).to_string()).collect();
    check(found == expected, format!("{found:?}"))?;
    let both = json!({"NextToken": first_token, "StreamName": stream.name});
    stream.refuses("ListShards", &both, "InvalidArgumentException")
}

pub(crate) async fn the_shards_of_the_horizon_are_those_open_then(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    stream.split(0, HALF);
    let answer = stream.call("ListShards", json!({"ShardFilter": {"Type": "AT_TRIM_HORIZON"}}));
    let shards = answer["Shards"].as_array().cloned().unwrap_or_default();
    check(shards.len() == 1 && shards[0]["ShardId"] == shard(0).as_str(), format!("{} shards", shards.len()))
}

pub(crate) async fn the_shards_of_the_tip_are_those_open_now(stream: Stream) -> Outcome {
    stream.split(0, HALF);
    let answer = stream.call("ListShards", json!({"ShardFilter": {"Type": "AT_LATEST"}}));
    let shards = answer["Shards"].as_array().cloned().unwrap_or_default();
    check(shards.len() == 2 && shards.iter().all(|it| it["ParentShardId"] == shard(0).as_str()), format!("{answer}"))
}
