//! A local server with a plain HTTP client, over a raw socket: what goes over the wire is what the tests see.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "test support, of which each file uses a part"
)]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_local::clock::{Clock, Time};
use penstock_local::server::{LocalOptions, LocalServer};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const JSON: &str = "application/x-amz-json-1.1";

/// A running server, its clock and the directory it delivers to.
pub(crate) struct Local {
    pub(crate) server: LocalServer,
    pub(crate) clock: Clock,
    pub(crate) dir: TempDir,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).expect("a JSON body") }
    }

    pub(crate) fn code(&self) -> String {
        self.json()["__type"].as_str().unwrap_or_default().to_owned()
    }
}

/// 2026-09-21, on a whole second.
pub(crate) fn start() -> Time {
    Time::from_millis(1_790_000_000_000)
}

impl Local {
    /// A server whose clock stands still unless it is moved.
    pub(crate) async fn start(change: impl FnOnce(&mut LocalOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(start());
        let mut options = LocalOptions { clock: clock.clone(), ..LocalOptions::new(dir.path()) };
        change(&mut options);
        Self { server: LocalServer::start(options).await.unwrap(), clock, dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub(crate) fn send(&self, target: &str, content_type: &str, body: &[u8]) -> io::Result<Reply> {
        send(self.addr(), target, content_type, body)
    }

    pub(crate) fn kinesis(&self, operation: &str, body: &Value) -> Reply {
        self.send(&format!("Kinesis_20131202.{operation}"), JSON, body.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn firehose(&self, operation: &str, body: &Value) -> Reply {
        self.send(&format!("Firehose_20150804.{operation}"), JSON, body.to_string().as_bytes()).unwrap()
    }

    /// The answer of a Kinesis call that has to succeed.
    pub(crate) fn ok(&self, operation: &str, body: &Value) -> Value {
        let reply = self.kinesis(operation, body);
        assert_eq!(reply.status, 200, "{operation} {body}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// The code of a Kinesis call that has to fail.
    pub(crate) fn refused(&self, operation: &str, body: &Value) -> String {
        let reply = self.kinesis(operation, body);
        assert!(reply.status >= 400, "{operation} {body}: {}", reply.json());
        reply.code()
    }

    pub(crate) fn create(&self, stream: &str, shards: u32) {
        self.ok("CreateStream", &json!({ "StreamName": stream, "ShardCount": shards }));
    }

    /// Puts one record at a hash key; gives the answer.
    pub(crate) fn put(&self, stream: &str, hash: u128, payload: &[u8]) -> Value {
        let record = json!({ "StreamName": stream, "Data": STANDARD.encode(payload), "PartitionKey": "k",
            "ExplicitHashKey": hash.to_string() });
        self.ok("PutRecord", &record)
    }

    pub(crate) fn iterator(&self, stream: &str, shard: u32, more: &Value) -> String {
        let mut body = json!({ "StreamName": stream, "ShardId": format!("shardId-{shard:012}"),
            "ShardIteratorType": "TRIM_HORIZON" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ok("GetShardIterator", &body)["ShardIterator"].as_str().unwrap().to_owned()
    }

    pub(crate) fn shard_ids(&self, body: &Value) -> Vec<u32> {
        let answer = self.ok("ListShards", body);
        answer["Shards"].as_array().unwrap().iter().map(|shard| number(&shard["ShardId"])).collect()
    }
}

pub(crate) fn send(addr: SocketAddr, target: &str, content_type: &str, body: &[u8]) -> io::Result<Reply> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {addr}\r\nX-Amz-Target: {target}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(body)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    parse(&answer)
}

/// Fails if the body is shorter than announced, as any client would.
fn parse(answer: &[u8]) -> io::Result<Reply> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = header("content-length:").unwrap_or("0").parse().map_err(io::Error::other)?;
    let body = answer[end + 4..].to_vec();
    if body.len() < length {
        return Err(cut());
    }
    let status = head[9..12].parse().map_err(io::Error::other)?;
    Ok(Reply { status, head, body })
}

/// The number in a shard's id.
pub(crate) fn number(id: &Value) -> u32 {
    id.as_str().unwrap().strip_prefix("shardId-").unwrap().parse().unwrap()
}

/// The payloads in a GetRecords answer.
pub(crate) fn payloads(page: &Value) -> Vec<Vec<u8>> {
    let records = page["Records"].as_array().unwrap();
    records.iter().map(|record| STANDARD.decode(record["Data"].as_str().unwrap()).unwrap()).collect()
}
