//! The stream of one check, and what checks say: each has a stream of its own in an account of its own, which it changes by the
//! bare protocol and reads through the product's source.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_aws::kinesis::{KinesisSource, StreamRef};
use penstock_core::ids::ShardId;
use penstock_core::position::SequenceNumber;
use penstock_core::shard::{ChildShard, ShardListing};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, Fetched, OpenAt, SeamError, ShardIterator, ShardSource};
use penstock_standins::{try_call, unique_account};
use serde_json::{Value, json};

use crate::support::{config, kinesis, wait_until};

/// The first hash key of the upper half.
pub(crate) const HALF: u128 = 1 << 127;

pub(crate) type Outcome = Result<(), String>;

/// A stream of its own for one check.
pub(crate) struct Stream {
    pub(crate) endpoint: String,
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) source: KinesisSource,
}

impl Stream {
    pub(crate) async fn create(endpoint: &str, name: &str, shards: u32) -> Self {
        let account = unique_account();
        kinesis(endpoint, &account, "CreateStream", &json!({"StreamName": name, "ShardCount": shards}));
        let source = KinesisSource::new(&config(endpoint, &account).await, StreamRef::new(name));
        let stream = Self { endpoint: endpoint.to_owned(), account, name: name.to_owned(), source };
        stream.settle();
        stream
    }

    /// Waits until a change of the shards is done.
    pub(crate) fn settle(&self) {
        wait_until("the stream is active", || {
            self.call("DescribeStreamSummary", json!({}))["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
        });
    }

    pub(crate) fn call(&self, operation: &str, mut body: Value) -> Value {
        body["StreamName"] = json!(self.name);
        kinesis(&self.endpoint, &self.account, operation, &body)
    }

    pub(crate) fn try_call(&self, operation: &str, body: &Value) -> (u16, Value) {
        try_call(&self.endpoint, &self.account, &format!("Kinesis_20131202.{operation}"), body)
    }

    /// Whether the service refuses this with a code.
    pub(crate) fn refuses(&self, operation: &str, body: &Value, code: &str) -> Outcome {
        let (status, answer) = self.try_call(operation, body);
        let kind = answer["__type"].as_str().unwrap_or_default();
        check(status == 400 && kind.ends_with(code), format!("{operation} {body}: {status} {answer}"))
    }

    /// Puts one record by its hash key; gives its shard and number.
    pub(crate) fn put(&self, data: &str, hash_key: u128) -> (ShardId, SequenceNumber) {
        let body =
            json!({"PartitionKey": "k", "ExplicitHashKey": hash_key.to_string(), "Data": base64(data.as_bytes())});
        let answer = self.call("PutRecord", body);
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (ShardId::new(&text("ShardId")), SequenceNumber::parse(&text("SequenceNumber")).expect("a sequence number"))
    }

    pub(crate) fn put_all(&self, data: &[&str]) -> Vec<SequenceNumber> {
        data.iter().map(|data| self.put(data, 0).1).collect()
    }

    pub(crate) fn split(&self, number: usize, at: u128) {
        let body = json!({"ShardToSplit": shard(number).as_str(), "NewStartingHashKey": at.to_string()});
        self.call("SplitShard", body);
        self.settle();
    }

    pub(crate) fn merge(&self, one: usize, adjacent: usize) {
        let body = json!({"ShardToMerge": shard(one).as_str(), "AdjacentShardToMerge": shard(adjacent).as_str()});
        self.call("MergeShards", body);
        self.settle();
    }

    pub(crate) async fn shards(&self) -> Result<Vec<ShardListing>, String> {
        let mut shards = self.source.list_shards().await.map_err(said)?;
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(shards)
    }

    pub(crate) async fn open(&self, number: usize, at: &OpenAt) -> Result<ShardIterator, SeamError> {
        patiently(async || self.source.open(&shard(number), at).await).await
    }

    pub(crate) async fn fetch(&self, number: usize, iterator: &ShardIterator, most: u32) -> Result<Fetched, SeamError> {
        patiently(async || self.source.fetch(&shard(number), iterator, most).await).await
    }

    pub(crate) async fn fetch_from(&self, number: usize, at: &OpenAt, most: u32) -> Result<Fetched, SeamError> {
        let iterator = self.open(number, at).await?;
        self.fetch(number, &iterator, most).await
    }

    /// Reads from a position until the tip or the end of the shard.
    pub(crate) async fn read(&self, number: usize, at: &OpenAt) -> Result<Read, String> {
        let iterator = self.open(number, at).await.map_err(said)?;
        self.read_on(number, iterator).await
    }

    pub(crate) async fn read_on(&self, number: usize, mut iterator: ShardIterator) -> Result<Read, String> {
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
pub(crate) struct Read {
    pub(crate) data: Vec<String>,
    pub(crate) sequences: Vec<SequenceNumber>,
    /// Only at the end of the shard.
    pub(crate) children: Option<Vec<ChildShard>>,
}

pub(crate) fn check(holds: bool, problem: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(problem.into()) }
}

pub(crate) fn said(error: SeamError) -> String {
    error.to_string()
}

pub(crate) fn shard(number: usize) -> ShardId {
    ShardId::new(&format!("shardId-{number:012}"))
}

pub(crate) fn refused_as<T>(result: Result<T, SeamError>, class: ErrorClass) -> Outcome {
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

pub(crate) fn base64(bytes: &[u8]) -> String {
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

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis(i64::try_from(since.as_millis()).expect("before the year 292277026"))
}
