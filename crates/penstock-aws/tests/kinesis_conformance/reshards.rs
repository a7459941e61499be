//! Splits and merges: what becomes of parents and children, how a closed shard ends, and how sequence numbers go on.

use std::collections::BTreeSet;

use penstock_core::ids::HashRange;
use penstock_core::shard::ChildShard;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::OpenAt;
use serde_json::json;

use crate::stream::{HALF, Outcome, Stream, check, said, shard};

pub(crate) async fn a_split_leaves_two_children_and_a_closed_parent(stream: Stream) -> Outcome {
    let (_, last) = stream.put("a", 0);
    stream.split(0, HALF);
    let shards = stream.shards().await?;
    let [parent, lower, upper] = shards.as_slice() else { return Err(format!("{} shards", shards.len())) };
    check(parent.parents.is_empty() && parent.hash_range == HashRange::ALL, format!("{parent:?}"))?;
    check(!parent.is_open(), "the parent is still open")?;
    check(parent.starting_sequence <= last, format!("{last} is not within {parent:?}"))?;
    for child in [lower, upper] {
        check(child.is_open() && child.parents == BTreeSet::from([shard(0)]), format!("{child:?}"))?;
    }
    check(lower.hash_range == HashRange { start: 0, end: HALF - 1 }, format!("{lower:?}"))?;
    check(upper.hash_range == HashRange { start: HALF, end: u128::MAX }, format!("{upper:?}"))
}

pub(crate) async fn a_closed_shard_is_listed_with_its_last_sequence_number(stream: Stream) -> Outcome {
    let (_, last) = stream.put("a", 0);
    stream.split(0, HALF);
    let ending = stream.shards().await?[0].ending_sequence.clone().ok_or("the parent is still open")?;
    check(ending >= last, format!("{ending} is below {last}"))
}

fn split_children() -> Vec<ChildShard> {
    let child = |number, start, end| ChildShard {
        id: shard(number),
        parents: [shard(0)].into(),
        hash_range: HashRange { start, end },
    };
    vec![child(1, 0, HALF - 1), child(2, HALF, u128::MAX)]
}

fn in_order(mut children: Vec<ChildShard>) -> Vec<ChildShard> {
    children.sort_by(|one, other| one.id.cmp(&other.id));
    children
}

pub(crate) async fn a_split_parent_ends_with_its_children(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b"]);
    let early = stream.open(0, &OpenAt::TrimHorizon).await.map_err(said)?;
    stream.split(0, HALF);
    // An iterator from before the split leads to the end too.
    let read = stream.read_on(0, early).await?;
    check(read.data == ["a", "b"], format!("{read:?}"))?;
    let children = in_order(read.children.ok_or("no end")?);
    check(children == split_children(), format!("{children:?}"))
}

pub(crate) async fn an_empty_parent_ends_with_its_children(stream: Stream) -> Outcome {
    stream.split(0, HALF);
    let read = stream.read(0, &OpenAt::TrimHorizon).await?;
    check(read.data.is_empty(), format!("{read:?}"))?;
    check(in_order(read.children.ok_or("no end")?) == split_children(), "other children")
}

pub(crate) async fn a_merge_leaves_one_child_of_both(stream: Stream) -> Outcome {
    stream.merge(0, 1);
    let shards = stream.shards().await?;
    let [one, other, child] = shards.as_slice() else { return Err(format!("{} shards", shards.len())) };
    check(!one.is_open() && !other.is_open() && child.is_open(), format!("{shards:?}"))?;
    check(child.parents == BTreeSet::from([shard(0), shard(1)]), format!("{child:?}"))?;
    check(child.hash_range == HashRange::ALL, format!("{child:?}"))
}

pub(crate) async fn both_merged_parents_end_with_the_same_child(stream: Stream) -> Outcome {
    stream.put("a", 0);
    stream.put("b", u128::MAX);
    stream.merge(0, 1);
    for (number, data) in [(0, "a"), (1, "b")] {
        let read = stream.read(number, &OpenAt::TrimHorizon).await?;
        check(read.data == [data], format!("{read:?}"))?;
        let child = ChildShard { id: shard(2), parents: [shard(0), shard(1)].into(), hash_range: HashRange::ALL };
        check(read.children.as_deref() == Some(&[child]), format!("{:?}", read.children))?;
    }
    Ok(())
}

pub(crate) async fn a_closed_shard_can_be_opened_anywhere(stream: Stream) -> Outcome {
    let put = stream.put_all(&["a", "b"]);
    stream.split(0, HALF);
    for (at, expected) in [
        (OpenAt::TrimHorizon, &["a", "b"][..]),
        (OpenAt::At(put[1].clone()), &["b"]),
        (OpenAt::After(put[0].clone()), &["b"]),
        (OpenAt::After(put[1].clone()), &[]),
        (OpenAt::Timestamp(UnixMillis(1_000_000_000_000)), &["a", "b"]),
    ] {
        let read = stream.read(0, &at).await?;
        check(read.data == expected, format!("{at:?}: {read:?}"))?;
        check(read.children.is_some_and(|children| children.len() == 2), format!("{at:?}: no end"))?;
    }
    Ok(())
}

pub(crate) async fn sequence_numbers_grow_across_reshards(stream: Stream) -> Outcome {
    let (_, before) = stream.put("a", 0);
    stream.split(0, HALF);
    let (_, in_lower) = stream.put("b", 0);
    let (_, in_upper) = stream.put("c", u128::MAX);
    stream.merge(1, 2);
    let (to, after) = stream.put("d", 0);
    check(to == shard(3), format!("went to {to}"))?;
    check(before < in_lower && before < in_upper, "a child's record is below its parent's")?;
    check(in_lower < after && in_upper < after, "the merged child's record is below its parents'")
}

pub(crate) async fn a_merged_child_is_listed_from_after_its_parents(stream: Stream) -> Outcome {
    let (_, before) = stream.put("a", 0);
    stream.merge(0, 1);
    let (_, after) = stream.put("b", 0);
    let child = stream.shards().await?.pop().ok_or("no shards")?;
    check(child.starting_sequence > before && child.starting_sequence <= after, format!("{child:?}"))
}

pub(crate) async fn a_child_has_only_what_came_after_the_split(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    stream.split(0, HALF);
    stream.put_all(&["b"]);
    let lower = stream.read(1, &OpenAt::TrimHorizon).await?;
    check(lower.data == ["b"], format!("{lower:?}"))?;
    let upper = stream.read(2, &OpenAt::TrimHorizon).await?;
    check(upper.data.is_empty(), format!("{upper:?}"))
}

pub(crate) async fn a_shard_cannot_be_split_at_its_first_key(stream: Stream) -> Outcome {
    let body = json!({"StreamName": stream.name, "ShardToSplit": shard(0).as_str(), "NewStartingHashKey": "0"});
    stream.refuses("SplitShard", &body, "InvalidArgumentException")
}

pub(crate) async fn shards_that_are_not_adjacent_cannot_be_merged(stream: Stream) -> Outcome {
    let body = json!({
        "StreamName": stream.name, "ShardToMerge": shard(0).as_str(), "AdjacentShardToMerge": shard(2).as_str(),
    });
    stream.refuses("MergeShards", &body, "InvalidArgumentException")
}

pub(crate) async fn a_shard_count_can_be_doubled(stream: Stream) -> Outcome {
    stream.call("UpdateShardCount", json!({"TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING"}));
    stream.settle();
    let shards = stream.shards().await?;
    let mut open: Vec<_> = shards.iter().filter(|shard| shard.is_open()).collect();
    open.sort_by_key(|shard| shard.hash_range.start);
    check(open.len() == 4, format!("{} open shards", open.len()))?;
    check(open.iter().all(|shard| !shard.parents.is_empty()), "a child without a parent")?;
    let mut next = Some(0);
    for shard in open {
        check(next == Some(shard.hash_range.start), format!("a hole before {:?}", shard.hash_range))?;
        next = shard.hash_range.end.checked_add(1);
    }
    check(next.is_none(), "the last range does not end at the last key")
}
