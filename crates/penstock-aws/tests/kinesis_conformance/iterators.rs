//! Iterators: where they begin, what they refuse, how much one fetch gives, and how far it says that the tip is.

use std::time::Duration;

use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, OpenAt, ShardIterator};
use serde_json::json;

use crate::stream::{Outcome, Stream, check, now, refused_as, said, shard};

pub(crate) async fn an_iterator_begins_at_the_horizon(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b", "c"]);
    let read = stream.read(0, &OpenAt::TrimHorizon).await?;
    check(read.data == ["a", "b", "c"] && read.children.is_none(), format!("{read:?}"))
}

pub(crate) async fn an_iterator_begins_at_or_after_a_record(stream: Stream) -> Outcome {
    let put = stream.put_all(&["a", "b", "c"]);
    let at = stream.read(0, &OpenAt::At(put[1].clone())).await?;
    check(at.data == ["b", "c"], format!("at: {at:?}"))?;
    let after = stream.read(0, &OpenAt::After(put[1].clone())).await?;
    check(after.data == ["c"], format!("after: {after:?}"))?;
    let last = stream.read(0, &OpenAt::After(put[2].clone())).await?;
    check(last.data.is_empty() && last.children.is_none(), format!("after the last: {last:?}"))
}

pub(crate) async fn an_iterator_begins_at_a_time(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let between = UnixMillis(now().0 - 100);
    stream.put_all(&["b", "c"]);
    let read = stream.read(0, &OpenAt::Timestamp(between)).await?;
    check(read.data == ["b", "c"], format!("between: {read:?}"))?;
    let read = stream.read(0, &OpenAt::Timestamp(UnixMillis(1_000_000_000_000))).await?;
    check(read.data == ["a", "b", "c"], format!("before the horizon: {read:?}"))
}

pub(crate) async fn a_time_to_come_is_refused(stream: Stream) -> Outcome {
    let at = OpenAt::Timestamp(UnixMillis(now().0 + 3_600_000));
    refused_as(stream.open(0, &at).await, ErrorClass::Rejected)
}

pub(crate) async fn an_iterator_begins_at_the_tip(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b"]);
    let answer = stream.call("GetShardIterator", json!({"ShardId": shard(0).as_str(), "ShardIteratorType": "LATEST"}));
    let iterator = ShardIterator(answer["ShardIterator"].as_str().unwrap_or_default().to_owned());
    stream.put_all(&["c"]);
    let read = stream.read_on(0, iterator).await?;
    check(read.data == ["c"], format!("{read:?}"))
}

pub(crate) async fn a_sequence_number_of_another_shard_is_refused(stream: Stream) -> Outcome {
    let (of, sequence) = stream.put("a", u128::MAX);
    check(of == shard(1), format!("went to {of}"))?;
    for at in [OpenAt::At(sequence.clone()), OpenAt::After(sequence)] {
        refused_as(stream.fetch_from(0, &at, 1).await, ErrorClass::Rejected)?;
    }
    Ok(())
}

pub(crate) async fn an_iterator_that_is_none_is_refused(stream: Stream) -> Outcome {
    let iterator = ShardIterator("AAAAAAAAAAG".to_owned());
    refused_as(stream.fetch(0, &iterator, 1).await, ErrorClass::Rejected)
}

pub(crate) async fn a_limit_is_kept(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b", "c"]);
    let first = stream.fetch_from(0, &OpenAt::TrimHorizon, 2).await.map_err(said)?;
    check(first.chunk.len() == 2, format!("{} records", first.chunk.len()))?;
    let next = first.next.ok_or("no next iterator")?;
    let second = stream.fetch(0, &next, 2).await.map_err(said)?;
    check(second.chunk.len() == 1 && second.chunk.record(0).data == b"c", "the rest does not follow")
}

pub(crate) async fn a_limit_above_ten_thousand_is_refused(stream: Stream) -> Outcome {
    refused_as(stream.fetch_from(0, &OpenAt::TrimHorizon, 10_001).await, ErrorClass::Rejected)
}

pub(crate) async fn an_empty_shard_gives_nothing_and_goes_on(stream: Stream) -> Outcome {
    let fetched = stream.fetch_from(0, &OpenAt::TrimHorizon, 10).await.map_err(said)?;
    check(fetched.chunk.is_empty() && fetched.next.is_some() && fetched.behind.is_zero(), format!("{fetched:?}"))?;
    stream.put_all(&["a"]);
    let read = stream.read_on(0, fetched.next.ok_or("no iterator")?).await?;
    check(read.data == ["a"], format!("{read:?}"))
}

pub(crate) async fn the_distance_to_the_tip_ends_at_zero(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.put_all(&["b"]);
    let first = stream.fetch_from(0, &OpenAt::TrimHorizon, 1).await.map_err(said)?;
    check(!first.behind.is_zero(), "caught up with a record to come")?;
    let second = stream.fetch(0, &first.next.ok_or("no iterator")?, 1).await.map_err(said)?;
    check(second.chunk.len() == 1 && second.behind.is_zero(), format!("{second:?}"))
}

pub(crate) async fn the_distance_to_the_tip_counts_to_the_present(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b"]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let first = stream.fetch_from(0, &OpenAt::TrimHorizon, 1).await.map_err(said)?;
    check(first.behind >= Duration::from_millis(600), format!("{:?} after 700 ms", first.behind))
}
