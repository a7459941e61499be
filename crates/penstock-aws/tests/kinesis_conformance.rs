//! One suite for every Kinesis that is not AWS's: our local server and kinesis-local, over the wire and through the product's
//! source. What a stand-in is known to do otherwise is listed by name, and must go on deviating: a deviation that is mended
//! fails here until it is struck off.

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_core::ids::{HashRange, ShardId};
use penstock_core::position::SequenceNumber;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator, ShardSource};
use penstock_standins::{try_call, unique_account};
use serde_json::{Value, json};
use support::{config, kinesis, kinesis_local, local_server};

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

type Outcome = Result<(), String>;
type Check = fn(Stream) -> Pin<Box<dyn Future<Output = Outcome>>>;

macro_rules! checks {
    ($($name:ident($shards:expr)),* $(,)?) => {
        /// Name, shards of its stream, and the check itself.
        const CHECKS: &[(&str, u32, Check)] = &[$((stringify!($name), $shards, |stream| Box::pin($name(stream)))),*];
    };
}

checks![
    ranges_of_a_new_stream_cover_all_hash_keys(4),
    a_stream_is_described_by_name_and_by_arn(1),
    sequence_numbers_have_the_length_of_the_services(1),
    records_come_in_the_order_of_their_sequence_numbers(1),
    what_was_put_comes_back(1),
    an_explicit_hash_key_decides_the_shard(3),
    a_partition_key_decides_by_its_md5(2),
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
    shards_are_listed_in_pages_by_token_alone(5),
    the_shards_of_the_horizon_are_those_open_then(1),
    the_shards_of_the_tip_are_those_open_now(1),
    a_put_of_more_than_500_records_is_refused(1),
    a_missing_stream_is_not_found(1),
    a_missing_shard_is_not_found(1),
    an_iterator_does_not_outlive_its_stream(1),
];

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

// === a stream of one check ===

/// A stream of its own for one check.
struct Stream {
    endpoint: String,
    account: String,
    name: String,
    source: KinesisSource,
}

fn check(holds: bool, problem: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(problem.into()) }
}

fn said(error: SeamError) -> String {
    error.to_string()
}

fn shard(number: usize) -> ShardId {
    ShardId::new(&format!("shardId-{number:012}"))
}

fn refused_as<T>(result: Result<T, SeamError>, class: ErrorClass) -> Outcome {
    match result {
        Ok(_) => Err(format!("was taken, should be {class}")),
        Err(error) => check(error.class == class, format!("{} instead of {class}: {error}", error.class)),
    }
}

/// Calls until the pace of the service allows it.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, SeamError>) -> Result<T, SeamError> {
    for _ in 0..20 {
        match call().await {
            Err(error) if error.class == ErrorClass::Throttled => tokio::time::sleep(Duration::from_millis(250)).await,
            result => return result,
        }
    }
    call().await
}

impl Stream {
    async fn create(endpoint: &str, name: &str, shards: u32) -> Self {
        let account = unique_account();
        kinesis(endpoint, &account, "CreateStream", &json!({"StreamName": name, "ShardCount": shards}));
        let source = KinesisSource::new(&config(endpoint, &account).await, StreamRef::new(name));
        let stream = Self { endpoint: endpoint.to_owned(), account, name: name.to_owned(), source };
        stream.settle();
        stream
    }

    /// Waits until a change of the shards is done.
    fn settle(&self) {
        support::wait_until("the stream is active", || {
            self.call("DescribeStreamSummary", json!({}))["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
        });
    }

    fn call(&self, operation: &str, mut body: Value) -> Value {
        body["StreamName"] = json!(self.name);
        kinesis(&self.endpoint, &self.account, operation, &body)
    }

    fn try_call(&self, operation: &str, body: &Value) -> (u16, Value) {
        try_call(&self.endpoint, &self.account, &format!("Kinesis_20131202.{operation}"), body)
    }

    /// Whether the service refuses this with a code.
    fn refuses(&self, operation: &str, body: &Value, code: &str) -> Outcome {
        let (status, answer) = self.try_call(operation, body);
        let kind = answer["__type"].as_str().unwrap_or_default();
        check(status == 400 && kind.ends_with(code), format!("{operation} {body}: {status} {answer}"))
    }

    /// Puts one record by its hash key; gives its shard and number.
    fn put(&self, data: &str, hash_key: u128) -> (ShardId, SequenceNumber) {
        let body =
            json!({"PartitionKey": "k", "ExplicitHashKey": hash_key.to_string(), "Data": base64(data.as_bytes())});
        let answer = self.call("PutRecord", body);
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (ShardId::new(&text("ShardId")), SequenceNumber::parse(&text("SequenceNumber")).expect("a sequence number"))
    }

    fn put_all(&self, data: &[&str]) -> Vec<SequenceNumber> {
        data.iter().map(|data| self.put(data, 0).1).collect()
    }

    fn split(&self, number: usize, at: u128) {
        let body = json!({"ShardToSplit": shard(number).as_str(), "NewStartingHashKey": at.to_string()});
        self.call("SplitShard", body);
        self.settle();
    }

    fn merge(&self, one: usize, adjacent: usize) {
        let body = json!({"ShardToMerge": shard(one).as_str(), "AdjacentShardToMerge": shard(adjacent).as_str()});
        self.call("MergeShards", body);
        self.settle();
    }

    async fn shards(&self) -> Result<Vec<ShardListing>, String> {
        let mut shards = self.source.list_shards().await.map_err(said)?;
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(shards)
    }

    async fn open(&self, number: usize, at: &OpenAt) -> Result<ShardIterator, SeamError> {
        patiently(async || self.source.open(&shard(number), at).await).await
    }

    async fn fetch(&self, number: usize, iterator: &ShardIterator, most: u32) -> Result<Fetched, SeamError> {
        patiently(async || self.source.fetch(&shard(number), iterator, most).await).await
    }

    async fn fetch_from(&self, number: usize, at: &OpenAt, most: u32) -> Result<Fetched, SeamError> {
        let iterator = self.open(number, at).await?;
        self.fetch(number, &iterator, most).await
    }

    /// Reads from a position until the tip or the end of the shard.
    async fn read(&self, number: usize, at: &OpenAt) -> Result<Read, String> {
        let iterator = self.open(number, at).await.map_err(said)?;
        self.read_on(number, iterator).await
    }

    async fn read_on(&self, number: usize, mut iterator: ShardIterator) -> Result<Read, String> {
        let mut read = Read::default();
        for _ in 0..50 {
            let fetched = self.fetch(number, &iterator, 100).await.map_err(said)?;
            for index in 0..fetched.chunk.len() {
                let record = fetched.chunk.record(index);
                read.data.push(String::from_utf8_lossy(record.data).into_owned());
                read.sequences.push(SequenceNumber::parse(record.sequence).map_err(|error| error.to_string())?);
            }
            match fetched.next {
                None => {
                    read.children = Some(fetched.children);
                    return Ok(read);
                }
                Some(_) if fetched.chunk.is_empty() && fetched.behind.is_zero() => return Ok(read),
                Some(next) => iterator = next,
            }
        }
        Err("neither the tip nor the end after 50 fetches".to_owned())
    }
}

/// What was read of a shard.
#[derive(Debug, Default)]
struct Read {
    data: Vec<String>,
    sequences: Vec<SequenceNumber>,
    /// Only at the end of the shard.
    children: Option<Vec<ChildShard>>,
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32, shift: u32| char::from(DIGITS[(bits >> shift & 63) as usize]);
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.extend([digit(bits, 18), digit(bits, 12)]);
        text.push(if group.len() > 1 { digit(bits, 6) } else { '=' });
        text.push(if group.len() > 2 { digit(bits, 0) } else { '=' });
    }
    text
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis(i64::try_from(since.as_millis()).expect("before the year 292277026"))
}

// === the stream ===

async fn ranges_of_a_new_stream_cover_all_hash_keys(stream: Stream) -> Outcome {
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

async fn a_stream_is_described_by_name_and_by_arn(stream: Stream) -> Outcome {
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

// === records ===

async fn sequence_numbers_have_the_length_of_the_services(stream: Stream) -> Outcome {
    let (_, sequence) = stream.put("one", 0);
    check(sequence.as_str().len() == 56, format!("{sequence} has {} digits", sequence.as_str().len()))
}

async fn records_come_in_the_order_of_their_sequence_numbers(stream: Stream) -> Outcome {
    let data = ["a", "b", "c", "d", "e", "f"];
    let put = stream.put_all(&data);
    check(put.is_sorted_by(|one, other| one < other), format!("{put:?}"))?;
    let read = stream.read(0, &OpenAt::TrimHorizon).await?;
    check(read.data == data && read.sequences == put, format!("{read:?}"))
}

async fn what_was_put_comes_back(stream: Stream) -> Outcome {
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = [(every_byte.as_slice(), "k"), (b"", "ключ 🔑"), (b"\x00", "\"\\")];
    let before = now();
    let entries: Vec<_> =
        records.iter().map(|(data, key)| json!({"Data": base64(data), "PartitionKey": key})).collect();
    let answer = stream.call("PutRecords", json!({"Records": entries}));
    check(answer["FailedRecordCount"] == 0, format!("{answer}"))?;
    let fetched = stream.fetch_from(0, &OpenAt::TrimHorizon, 10).await.map_err(said)?;
    check(fetched.chunk.len() == 3, format!("{} records", fetched.chunk.len()))?;
    for (index, (data, key)) in records.iter().enumerate() {
        let record = fetched.chunk.record(index);
        check(record.data == *data && record.partition_key == *key, format!("{record:?}"))?;
        let arrival = record.arrival.0;
        check((before.0 - 1000..now().0 + 1000).contains(&arrival), format!("arrived {arrival}"))?;
        check(record.sequence == answer["Records"][index]["SequenceNumber"], "another sequence number")?;
    }
    Ok(())
}

async fn an_explicit_hash_key_decides_the_shard(stream: Stream) -> Outcome {
    for listing in stream.shards().await? {
        for key in [listing.hash_range.start, listing.hash_range.end] {
            let (to, _) = stream.put("x", key);
            check(to == listing.id, format!("{key} went to {to}, not {}", listing.id))?;
        }
    }
    for number in 0..3 {
        let read = stream.read(number, &OpenAt::TrimHorizon).await?;
        check(read.data.len() == 2, format!("{} has {}", shard(number), read.data.len()))?;
    }
    Ok(())
}

async fn a_partition_key_decides_by_its_md5(stream: Stream) -> Outcome {
    // MD5 of "a" begins with 0c, that of "b" with 92.
    for (key, number) in [("a", 0), ("b", 1)] {
        let answer = stream.call("PutRecord", json!({"PartitionKey": key, "Data": "eA=="}));
        check(answer["ShardId"] == shard(number).as_str(), format!("{key}: {answer}"))?;
    }
    Ok(())
}

async fn a_put_of_more_than_500_records_is_refused(stream: Stream) -> Outcome {
    let records: Vec<_> = (0..501).map(|_| json!({"PartitionKey": "k", "Data": "eA=="})).collect();
    let (status, answer) = stream.try_call("PutRecords", &json!({"StreamName": stream.name, "Records": records}));
    check(status == 400, format!("{status} {}", answer["FailedRecordCount"]))
}

// === iterators ===

async fn an_iterator_begins_at_the_horizon(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b", "c"]);
    let read = stream.read(0, &OpenAt::TrimHorizon).await?;
    check(read.data == ["a", "b", "c"] && read.children.is_none(), format!("{read:?}"))
}

async fn an_iterator_begins_at_or_after_a_record(stream: Stream) -> Outcome {
    let put = stream.put_all(&["a", "b", "c"]);
    let at = stream.read(0, &OpenAt::At(put[1].clone())).await?;
    check(at.data == ["b", "c"], format!("at: {at:?}"))?;
    let after = stream.read(0, &OpenAt::After(put[1].clone())).await?;
    check(after.data == ["c"], format!("after: {after:?}"))?;
    let last = stream.read(0, &OpenAt::After(put[2].clone())).await?;
    check(last.data.is_empty() && last.children.is_none(), format!("after the last: {last:?}"))
}

async fn an_iterator_begins_at_a_time(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let between = UnixMillis(now().0 - 100);
    stream.put_all(&["b", "c"]);
    let read = stream.read(0, &OpenAt::Timestamp(between)).await?;
    check(read.data == ["b", "c"], format!("between: {read:?}"))?;
    let read = stream.read(0, &OpenAt::Timestamp(UnixMillis(1_000_000_000_000))).await?;
    check(read.data == ["a", "b", "c"], format!("before the horizon: {read:?}"))
}

async fn a_time_to_come_is_refused(stream: Stream) -> Outcome {
    let at = OpenAt::Timestamp(UnixMillis(now().0 + 3_600_000));
    refused_as(stream.open(0, &at).await, ErrorClass::Rejected)
}

async fn an_iterator_begins_at_the_tip(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b"]);
    let answer = stream.call("GetShardIterator", json!({"ShardId": shard(0).as_str(), "ShardIteratorType": "LATEST"}));
    let iterator = ShardIterator(answer["ShardIterator"].as_str().unwrap_or_default().to_owned());
    stream.put_all(&["c"]);
    let read = stream.read_on(0, iterator).await?;
    check(read.data == ["c"], format!("{read:?}"))
}

async fn a_sequence_number_of_another_shard_is_refused(stream: Stream) -> Outcome {
    let (of, sequence) = stream.put("a", u128::MAX);
    check(of == shard(1), format!("went to {of}"))?;
    for at in [OpenAt::At(sequence.clone()), OpenAt::After(sequence)] {
        refused_as(stream.fetch_from(0, &at, 1).await, ErrorClass::Rejected)?;
    }
    Ok(())
}

async fn an_iterator_that_is_none_is_refused(stream: Stream) -> Outcome {
    let iterator = ShardIterator("AAAAAAAAAAG".to_owned());
    refused_as(stream.fetch(0, &iterator, 1).await, ErrorClass::Rejected)
}

async fn a_limit_is_kept(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b", "c"]);
    let first = stream.fetch_from(0, &OpenAt::TrimHorizon, 2).await.map_err(said)?;
    check(first.chunk.len() == 2, format!("{} records", first.chunk.len()))?;
    let next = first.next.ok_or("no next iterator")?;
    let second = stream.fetch(0, &next, 2).await.map_err(said)?;
    check(second.chunk.len() == 1 && second.chunk.record(0).data == b"c", "the rest does not follow")
}

async fn a_limit_above_ten_thousand_is_refused(stream: Stream) -> Outcome {
    refused_as(stream.fetch_from(0, &OpenAt::TrimHorizon, 10_001).await, ErrorClass::Rejected)
}

async fn an_empty_shard_gives_nothing_and_goes_on(stream: Stream) -> Outcome {
    let fetched = stream.fetch_from(0, &OpenAt::TrimHorizon, 10).await.map_err(said)?;
    check(fetched.chunk.is_empty() && fetched.next.is_some() && fetched.behind.is_zero(), format!("{fetched:?}"))?;
    stream.put_all(&["a"]);
    let read = stream.read_on(0, fetched.next.ok_or("no iterator")?).await?;
    check(read.data == ["a"], format!("{read:?}"))
}

async fn the_distance_to_the_tip_ends_at_zero(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.put_all(&["b"]);
    let first = stream.fetch_from(0, &OpenAt::TrimHorizon, 1).await.map_err(said)?;
    check(!first.behind.is_zero(), "caught up with a record to come")?;
    let second = stream.fetch(0, &first.next.ok_or("no iterator")?, 1).await.map_err(said)?;
    check(second.chunk.len() == 1 && second.behind.is_zero(), format!("{second:?}"))
}

async fn the_distance_to_the_tip_counts_to_the_present(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b"]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let first = stream.fetch_from(0, &OpenAt::TrimHorizon, 1).await.map_err(said)?;
    check(first.behind >= Duration::from_millis(600), format!("{:?} after 700 ms", first.behind))
}

// === reshards ===

const HALF: u128 = 1 << 127;

async fn a_split_leaves_two_children_and_a_closed_parent(stream: Stream) -> Outcome {
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

async fn a_closed_shard_is_listed_with_its_last_sequence_number(stream: Stream) -> Outcome {
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

async fn a_split_parent_ends_with_its_children(stream: Stream) -> Outcome {
    stream.put_all(&["a", "b"]);
    let early = stream.open(0, &OpenAt::TrimHorizon).await.map_err(said)?;
    stream.split(0, HALF);
    // An iterator from before the split leads to the end too.
    let read = stream.read_on(0, early).await?;
    check(read.data == ["a", "b"], format!("{read:?}"))?;
    let children = in_order(read.children.ok_or("no end")?);
    check(children == split_children(), format!("{children:?}"))
}

async fn an_empty_parent_ends_with_its_children(stream: Stream) -> Outcome {
    stream.split(0, HALF);
    let read = stream.read(0, &OpenAt::TrimHorizon).await?;
    check(read.data.is_empty(), format!("{read:?}"))?;
    check(in_order(read.children.ok_or("no end")?) == split_children(), "other children")
}

async fn a_merge_leaves_one_child_of_both(stream: Stream) -> Outcome {
    stream.merge(0, 1);
    let shards = stream.shards().await?;
    let [one, other, child] = shards.as_slice() else { return Err(format!("{} shards", shards.len())) };
    check(!one.is_open() && !other.is_open() && child.is_open(), format!("{shards:?}"))?;
    check(child.parents == BTreeSet::from([shard(0), shard(1)]), format!("{child:?}"))?;
    check(child.hash_range == HashRange::ALL, format!("{child:?}"))
}

async fn both_merged_parents_end_with_the_same_child(stream: Stream) -> Outcome {
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

async fn a_closed_shard_can_be_opened_anywhere(stream: Stream) -> Outcome {
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

async fn sequence_numbers_grow_across_reshards(stream: Stream) -> Outcome {
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

async fn a_merged_child_is_listed_from_after_its_parents(stream: Stream) -> Outcome {
    let (_, before) = stream.put("a", 0);
    stream.merge(0, 1);
    let (_, after) = stream.put("b", 0);
    let child = stream.shards().await?.pop().ok_or("no shards")?;
    check(child.starting_sequence > before && child.starting_sequence <= after, format!("{child:?}"))
}

async fn a_child_has_only_what_came_after_the_split(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    stream.split(0, HALF);
    stream.put_all(&["b"]);
    let lower = stream.read(1, &OpenAt::TrimHorizon).await?;
    check(lower.data == ["b"], format!("{lower:?}"))?;
    let upper = stream.read(2, &OpenAt::TrimHorizon).await?;
    check(upper.data.is_empty(), format!("{upper:?}"))
}

async fn a_shard_cannot_be_split_at_its_first_key(stream: Stream) -> Outcome {
    let body = json!({"StreamName": stream.name, "ShardToSplit": shard(0).as_str(), "NewStartingHashKey": "0"});
    stream.refuses("SplitShard", &body, "InvalidArgumentException")
}

async fn shards_that_are_not_adjacent_cannot_be_merged(stream: Stream) -> Outcome {
    let body = json!({
        "StreamName": stream.name, "ShardToMerge": shard(0).as_str(), "AdjacentShardToMerge": shard(2).as_str(),
    });
    stream.refuses("MergeShards", &body, "InvalidArgumentException")
}

async fn a_shard_count_can_be_doubled(stream: Stream) -> Outcome {
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

// === listing ===

async fn shards_are_listed_in_pages_by_token_alone(stream: Stream) -> Outcome {
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

async fn the_shards_of_the_horizon_are_those_open_then(stream: Stream) -> Outcome {
    stream.put_all(&["a"]);
    stream.split(0, HALF);
    let answer = stream.call("ListShards", json!({"ShardFilter": {"Type": "AT_TRIM_HORIZON"}}));
    let shards = answer["Shards"].as_array().cloned().unwrap_or_default();
    check(shards.len() == 1 && shards[0]["ShardId"] == shard(0).as_str(), format!("{} shards", shards.len()))
}

async fn the_shards_of_the_tip_are_those_open_now(stream: Stream) -> Outcome {
    stream.split(0, HALF);
    let answer = stream.call("ListShards", json!({"ShardFilter": {"Type": "AT_LATEST"}}));
    let shards = answer["Shards"].as_array().cloned().unwrap_or_default();
    check(shards.len() == 2 && shards.iter().all(|it| it["ParentShardId"] == shard(0).as_str()), format!("{answer}"))
}

// === what is not there ===

async fn a_missing_stream_is_not_found(stream: Stream) -> Outcome {
    let config = config(&stream.endpoint, &stream.account).await;
    let missing = KinesisSource::new(&config, StreamRef::new("nobodys"));
    refused_as(missing.describe().await, ErrorClass::NotFound)?;
    refused_as(missing.list_shards().await, ErrorClass::NotFound)?;
    refused_as(missing.open(&shard(0), &OpenAt::TrimHorizon).await, ErrorClass::NotFound)
}

async fn a_missing_shard_is_not_found(stream: Stream) -> Outcome {
    refused_as(stream.open(7, &OpenAt::TrimHorizon).await, ErrorClass::NotFound)
}

async fn an_iterator_does_not_outlive_its_stream(stream: Stream) -> Outcome {
    let iterator = stream.open(0, &OpenAt::TrimHorizon).await.map_err(said)?;
    stream.call("DeleteStream", json!({}));
    support::wait_until("the stream is gone", || {
        stream.try_call("DescribeStreamSummary", &json!({"StreamName": stream.name})).0 == 400
    });
    refused_as(stream.fetch(0, &iterator, 1).await, ErrorClass::NotFound)
}
