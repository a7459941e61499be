//! One suite for every Kinesis that is not AWS's: our local server and kinesis-local, over the wire and through the product's
//! source. What a stand-in is known to do otherwise is listed by name, and must go on deviating: a deviation that is mended
//! fails here until it is struck off.

#[path = "kinesis_conformance/absence.rs"]
mod absence;
#[path = "kinesis_conformance/descriptions.rs"]
mod descriptions;
#[path = "kinesis_conformance/iterators.rs"]
mod iterators;
#[path = "kinesis_conformance/records.rs"]
mod records;
#[path = "kinesis_conformance/reshards.rs"]
mod reshards;
#[path = "kinesis_conformance/stream.rs"]
mod stream;
mod support;

use std::future::Future;
use std::pin::Pin;

use stream::{Outcome, Stream};
use support::{kinesis_local, local_server};

/// What a stand-in does otherwise than AWS, and why that is borne.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("kinesis-local", "a_time_to_come_is_refused", "it takes any time; nothing of ours asks for one to come"),
    (
        "kinesis-local",
        "a_sequence_number_of_another_shard_is_refused",
        "it takes any; the local server shows the refusal",
    ),
    ("kinesis-local", "an_iterator_that_is_none_is_refused", "it answers HTTP 500, which is retried"),
    (
        "kinesis-local",
        "the_distance_to_the_tip_counts_to_the_present",
        "it counts to the newest record; lag is tried on ministack and the local server",
    ),
    (
        "kinesis-local",
        "a_closed_shard_is_listed_with_its_last_sequence_number",
        "it lists 2^63-1, below any of its records; nothing of ours compares with it",
    ),
    (
        "kinesis-local",
        "a_merged_child_is_listed_from_after_its_parents",
        "the first number it lists is older than the parents' last records; the records themselves are in order",
    ),
    ("kinesis-local", "a_shard_cannot_be_split_at_its_first_key", "it splits; only tests split"),
    (
        "kinesis-local",
        "the_shards_of_the_horizon_are_those_open_then",
        "it lists every shard; we list without a filter",
    ),
    ("kinesis-local", "a_put_of_more_than_500_records_is_refused", "it takes 501; only tests put"),
];

type Check = fn(Stream) -> Pin<Box<dyn Future<Output = Outcome>>>;

macro_rules! checks {
    ($($topic:ident { $($name:ident($shards:expr),)* })*) => {
        /// Name, shards of its stream, and the check itself.
        const CHECKS: &[(&str, u32, Check)] =
            &[$($((stringify!($name), $shards, |stream| Box::pin($topic::$name(stream))),)*)*];
    };
}

checks! {
    descriptions {
        ranges_of_a_new_stream_cover_all_hash_keys(4),
        a_stream_is_described_by_name_and_by_arn(1),
        shards_are_listed_in_pages_by_token_alone(5),
        the_shards_of_the_horizon_are_those_open_then(1),
        the_shards_of_the_tip_are_those_open_now(1),
    }
    records {
        sequence_numbers_have_the_length_of_the_services(1),
        records_come_in_the_order_of_their_sequence_numbers(1),
        what_was_put_comes_back(1),
        an_explicit_hash_key_decides_the_shard(3),
        a_partition_key_decides_by_its_md5(2),
        a_put_of_more_than_500_records_is_refused(1),
    }
    iterators {
        an_iterator_begins_at_the_horizon(1),
        an_iterator_begins_at_or_after_a_record(1),
        an_iterator_begins_at_a_time(1),
        a_time_to_come_is_refused(1),
        an_iterator_begins_at_the_tip(1),
        a_sequence_number_of_another_shard_is_refused(2),
        an_iterator_that_is_none_is_refused(1),
        a_limit_is_kept(1),
        a_limit_above_ten_thousand_is_refused(1),
        an_empty_shard_gives_nothing_and_goes_on(1),
        the_distance_to_the_tip_ends_at_zero(1),
        the_distance_to_the_tip_counts_to_the_present(1),
    }
    reshards {
        a_split_leaves_two_children_and_a_closed_parent(1),
        a_closed_shard_is_listed_with_its_last_sequence_number(1),
        a_split_parent_ends_with_its_children(1),
        an_empty_parent_ends_with_its_children(1),
        a_merge_leaves_one_child_of_both(2),
        both_merged_parents_end_with_the_same_child(2),
        a_closed_shard_can_be_opened_anywhere(1),
        sequence_numbers_grow_across_reshards(1),
        a_merged_child_is_listed_from_after_its_parents(2),
        a_child_has_only_what_came_after_the_split(1),
        a_shard_cannot_be_split_at_its_first_key(1),
        shards_that_are_not_adjacent_cannot_be_merged(3),
        a_shard_count_can_be_doubled(2),
    }
    absence {
        a_missing_stream_is_not_found(1),
        a_missing_shard_is_not_found(1),
        an_iterator_does_not_outlive_its_stream(1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinesis_local_conforms() {
    conforms("kinesis-local", kinesis_local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_local_server_conforms() {
    conforms("penstock-local", local_server()).await;
}

async fn conforms(stand_in: &'static str, endpoint: String) {
    let mut wrong = Vec::new();
    for (index, (name, shards, check)) in CHECKS.iter().enumerate() {
        let stream = Stream::create(&endpoint, &format!("stream-{index}"), *shards).await;
        let outcome = check(stream).await;
        let deviation = DEVIATIONS.iter().find(|(of, what, _)| of == &stand_in && what == name);
        match (outcome, deviation) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(problem), None) => wrong.push(format!("{name}: {problem}")),
            (Ok(()), Some(_)) => wrong.push(format!("{name}: conforms now; strike it off the list")),
        }
    }
    assert!(wrong.is_empty(), "{stand_in} deviates:\n  {}", wrong.join("\n  "));
}

#[test]
fn each_listed_deviation_is_of_a_check_and_has_a_reason() {
    for (_, name, reason) in DEVIATIONS {
        assert!(CHECKS.iter().any(|(check, _, _)| check == name), "{name} is no check");
        assert!(!reason.is_empty());
    }
}
