//! Splitting and merging while reading, on kinesis-local, which has lineage: leases on DynamoDB Local, objects in a directory.

mod support;

use std::collections::BTreeMap;

use penstock_standins::{DynamoDbLocal, KinesisLocal};
use support::{Account, Job, Place, Reader, SOON, Services, Stream, Teller, Worker, lease_rows, wait_until};

const APPLICATION: &str = "clicks-to-files";

#[test]
fn children_follow_their_parents_through_a_split_a_merge_and_a_kill() {
    let (kinesis, dynamodb) = (KinesisLocal::start(), DynamoDbLocal::start());
    let account = Account::new();
    let stream = Stream::create(&kinesis.endpoint(), &account, "clicks", 2);
    let services = Services { kinesis: kinesis.endpoint(), dynamodb: dynamodb.endpoint(), ..Services::default() };
    let sections =
        "[leases]\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\n";
    let job = Job::new(&account, &services, APPLICATION, "clicks", sections);
    let mut teller = Teller::aggregating().padded(20);
    let mut reader = Reader::new(Place::directory(job.out()));
    let rows = || lease_rows(&dynamodb.endpoint(), &account, APPLICATION);

    let (mut one, mut two) = (Worker::start(&job, "one"), Worker::start(&job, "two"));
    teller.tell(&stream, 300, 50);
    reader.wait_for_some(1, SOON);
    let open = stream.open_shards();
    stream.split(&open[0]);
    teller.tell(&stream, 400, 50);
    let open = stream.open_shards();
    let (left, right) = adjacent(&open);
    stream.merge(&open[left], &open[right]);
    teller.tell(&stream, 300, 50);
    one.kill_9();
    teller.tell(&stream, 200, 50);
    reader.wait_for_all(&teller, SOON);

    let shards = stream.shards();
    let closed: Vec<_> = shards.iter().filter(|shard| !shard.is_open).collect();
    assert_eq!((shards.len(), closed.len()), (5, 3), "{shards:#?}");
    wait_until("every closed shard is at its end", SOON, || {
        let rows = rows();
        closed.iter().all(|shard| rows.get(&shard.id).is_some_and(|row| row["checkpoint"] == "SHARD_END"))
    });
    two.drain_cleanly();
    reader.assert_exactly_once(&teller);

    let rows = rows();
    assert_eq!(rows.len(), shards.len(), "{rows:#?}");
    for shard in &shards {
        let row = &rows[&shard.id];
        assert_eq!(row["checkpoint"] == "SHARD_END", !shard.is_open, "{row:#?}");
        let listed = |name: &str| row.get(name).cloned().unwrap_or_default();
        for parent in &shard.parents {
            assert!(listed("parentShardId").contains(parent), "{} does not name {parent}: {row:#?}", shard.id);
            let parent_row = &rows[parent];
            assert!(
                parent_row["childShardIds"].contains(&shard.id),
                "{parent} does not name {}: {parent_row:#?}",
                shard.id
            );
        }
        assert_eq!(listed("startingHashKey"), shard.hash_range.0.to_string());
    }
    objects_of_children_come_later(
        &reader,
        &shards.iter().map(|shard| (shard.id.clone(), shard.parents.clone())).collect(),
    );
}

/// Two open shards whose ranges touch.
fn adjacent(open: &[support::Shard]) -> (usize, usize) {
    for (left, one) in open.iter().enumerate() {
        if let Some(right) = open.iter().position(|other| one.hash_range.1.checked_add(1) == Some(other.hash_range.0)) {
            return (left, right);
        }
    }
    panic!("no adjacent shards: {open:#?}");
}

/// A child's first object was written after its parents' last one.
fn objects_of_children_come_later(reader: &Reader, parents: &BTreeMap<String, Vec<String>>) {
    let written = |shard: &str| {
        let of_shard =
            reader.objects().filter(|object| object.metadata.get("penstock-shard").is_some_and(|s| s == shard));
        of_shard.map(|object| object.written).collect::<Vec<_>>()
    };
    for (child, parents) in parents {
        for parent in parents {
            if let (Some(first), Some(last)) = (written(child).into_iter().min(), written(parent).into_iter().max()) {
                assert!(first >= last, "{child} left an object before {parent} had left its last");
            }
        }
    }
}
