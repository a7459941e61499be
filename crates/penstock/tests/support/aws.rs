//! Streams, delivery streams and lease rows by the bare protocols.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_standins::{call, try_call, unique_account};
use serde_json::{Value, json};

use super::{SOON, wait_until};

/// An account that no other test has: its streams, tables and buckets need no names of their own.
#[derive(Debug, Clone)]
pub(crate) struct Account(String);

impl Account {
    pub(crate) fn new() -> Self {
        Self(unique_account())
    }

    /// A bucket's name of this account's own: buckets have one namespace over all accounts.
    pub(crate) fn bucket(&self, name: &str) -> String {
        format!("{name}-{}", self.0)
    }

    /// Twelve digits, which are also the access key id.
    pub(crate) fn id(&self) -> &str {
        &self.0
    }
}

/// A stream to write to and to reshard.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    endpoint: String,
    account: String,
    pub(crate) name: String,
}

/// One shard as the service lists it.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) parents: Vec<String>,
    pub(crate) hash_range: (u128, u128),
    pub(crate) is_open: bool,
}

impl Stream {
    /// Creates a stream and waits until it is active.
    pub(crate) fn create(endpoint: &str, account: &Account, name: &str, shards: u32) -> Self {
        let stream = Self { endpoint: endpoint.to_owned(), account: account.id().to_owned(), name: name.to_owned() };
        stream.call("CreateStream", &json!({"StreamName": name, "ShardCount": shards}));
        stream.wait_until_active();
        stream
    }

    fn call(&self, operation: &str, body: &Value) -> Value {
        call(&self.endpoint, &self.account, &format!("Kinesis_20131202.{operation}"), body)
    }

    pub(crate) fn wait_until_active(&self) {
        wait_until("the stream is active", SOON, || {
            let answer = self.call("DescribeStreamSummary", &json!({"StreamName": self.name}));
            answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
        });
    }

    /// Puts records of distinct partition keys; those refused for pace are put again.
    pub(crate) fn put(&self, records: &[(String, Vec<u8>)]) {
        for call in records.chunks(500) {
            let mut left: Vec<&(String, Vec<u8>)> = call.iter().collect();
            wait_until("the stream takes the records", SOON, || {
                left = self.put_once(&left);
                left.is_empty()
            });
        }
    }

    fn put_once<'a>(&self, records: &[&'a (String, Vec<u8>)]) -> Vec<&'a (String, Vec<u8>)> {
        let entries: Vec<Value> =
            records.iter().map(|(key, data)| json!({"PartitionKey": key, "Data": STANDARD.encode(data)})).collect();
        let answer = self.call("PutRecords", &json!({"StreamName": self.name, "Records": entries}));
        let outcomes = answer["Records"].as_array().expect("PutRecords answers with records");
        assert_eq!(outcomes.len(), records.len());
        let refused = outcomes.iter().zip(records).filter(|(outcome, _)| outcome["ErrorCode"].is_string());
        refused.map(|(_, record)| *record).collect()
    }

    /// All shards that the service lists.
    pub(crate) fn shards(&self) -> Vec<Shard> {
        let answer = self.call("ListShards", &json!({"StreamName": self.name}));
        assert!(answer["NextToken"].is_null(), "a test has less than a page of shards");
        let shards = answer["Shards"].as_array().expect("ListShards answers with shards");
        shards.iter().map(shard).collect()
    }

    pub(crate) fn open_shards(&self) -> Vec<Shard> {
        self.shards().into_iter().filter(|shard| shard.is_open).collect()
    }

    /// Splits a shard in the middle of its range, and waits until that is done.
    pub(crate) fn split(&self, shard: &Shard) {
        let (low, high) = shard.hash_range;
        let middle = low + (high - low) / 2;
        self.call(
            "SplitShard",
            &json!({"StreamName": self.name, "ShardToSplit": shard.id, "NewStartingHashKey": middle.to_string()}),
        );
        self.wait_until_active();
    }

    /// Merges two adjacent shards, and waits until that is done.
    pub(crate) fn merge(&self, left: &Shard, right: &Shard) {
        self.call(
            "MergeShards",
            &json!({"StreamName": self.name, "ShardToMerge": left.id, "AdjacentShardToMerge": right.id}),
        );
        self.wait_until_active();
    }

    pub(crate) fn delete(&self) {
        self.call("DeleteStream", &json!({"StreamName": self.name}));
    }
}

fn shard(shard: &Value) -> Shard {
    let text = |member: &str| shard[member].as_str().map(str::to_owned);
    let hash = |member: &str| {
        let hash = shard["HashKeyRange"][member].as_str().expect("a shard has a hash range");
        hash.parse().expect("a hash key is a number")
    };
    Shard {
        id: text("ShardId").expect("a shard has an id"),
        parents: [text("ParentShardId"), text("AdjacentParentShardId")].into_iter().flatten().collect(),
        hash_range: (hash("StartingHashKey"), hash("EndingHashKey")),
        is_open: shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null(),
    }
}

/// Creates a delivery stream that is plain to a bucket.
pub(crate) fn firehose_to_bucket(endpoint: &str, account: &Account, name: &str, bucket: &str) {
    call(
        endpoint,
        account.id(),
        "Firehose_20150804.CreateDeliveryStream",
        &json!({
            "DeliveryStreamName": name,
            "ExtendedS3DestinationConfiguration": {
                "RoleARN": format!("arn:aws:iam::{}:role/delivery", account.id()),
                "BucketARN": format!("arn:aws:s3:::{bucket}"),
                "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1},
            },
        }),
    );
    wait_until("the delivery stream is active", SOON, || {
        let body = json!({"DeliveryStreamName": name});
        let answer = call(endpoint, account.id(), "Firehose_20150804.DescribeDeliveryStream", &body);
        answer["DeliveryStreamDescription"]["DeliveryStreamStatus"] == "ACTIVE"
    });
}

/// The rows of a lease table by their keys, each with its attributes as text; empty if there is no such table.
pub(crate) fn lease_rows(endpoint: &str, account: &Account, table: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let (status, answer) = try_call(
        endpoint,
        account.id(),
        "DynamoDB_20120810.Scan",
        &json!({"TableName": table, "ConsistentRead": true}),
    );
    if status != 200 {
        return BTreeMap::new();
    }
    let rows = answer["Items"].as_array().expect("a scan answers with items");
    rows.iter().map(attributes).map(|row| (row["leaseKey"].clone(), row)).collect()
}

fn attributes(row: &Value) -> BTreeMap<String, String> {
    let row = row.as_object().expect("an item is an object");
    let text = |value: &Value| match value.as_object().and_then(|value| value.values().next()) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    row.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// Deletes an empty bucket.
pub(crate) fn delete_bucket(endpoint: &str, account: &Account, bucket: &str) {
    use std::io::{Read, Write};

    let address = endpoint.trim_start_matches("http://");
    let mut connection = std::net::TcpStream::connect(address).expect("the stand-in takes connections");
    let id = account.id();
    write!(
        connection,
        "DELETE /{bucket} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={id}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature={:064}\r\n\r\n",
        0
    )
    .expect("it takes the request");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 204"), "deleting {bucket}: {answer}");
}
