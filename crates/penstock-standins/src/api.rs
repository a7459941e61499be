//! Calls to the stand-ins, and to our own local endpoints, by the bare protocol: what a test sets up and reads back goes
//! another way than the code under test. Nothing is signed, only named: no stand-in checks signatures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Answer, Request};

/// kinesis-local may take seconds for a large call.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Calls an operation of DynamoDB, Kinesis or Firehose, for example `Kinesis_20131202.CreateStream`, as `account`, an
/// access key id.
///
/// # Panics
///
/// If there is no answer, or one of an error.
pub fn call(endpoint: &str, account: &str, target: &str, body: &Value) -> Value {
    let (status, answer) = try_call(endpoint, account, target, body);
    assert!(status == 200, "{target} {body} answered {status} {answer}");
    answer
}

/// As [`call`], but gives the HTTP status with the answer, which for an error holds its `__type`.
///
/// # Panics
///
/// If there is no answer.
pub fn try_call(endpoint: &str, account: &str, target: &str, body: &Value) -> (u16, Value) {
    let answer = send(endpoint, account, target, body.to_string().as_bytes());
    // Some operations answer nothing at all.
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status, body)
}

/// Creates an S3 bucket.
///
/// # Panics
///
/// If it is refused.
pub fn s3_put_bucket(endpoint: &str, account: &str, bucket: &str) {
    let answer = send_s3(endpoint, account, "PUT", &format!("/{bucket}"), &[]);
    assert!(answer.status == 200, "creating {bucket} answered {} {}", answer.status, answer.text());
}

/// The keys of all objects of a bucket, in order. Keys may hold what stands unescaped in a URL and in XML.
///
/// # Panics
///
/// If it cannot be listed.
pub fn s3_keys(endpoint: &str, account: &str, bucket: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut token = String::new();
    loop {
        let answer = send_s3(endpoint, account, "GET", &format!("/{bucket}?list-type=2{token}"), &[]);
        let page = answer.text();
        assert!(answer.status == 200, "listing {bucket} answered {} {page}", answer.status);
        keys.extend(elements(&page, "Key").into_iter().map(str::to_owned));
        let Some(next) = elements(&page, "NextContinuationToken").first().copied() else {
            return keys;
        };
        token = format!("&continuation-token={}", percent_encode(next));
    }
}

/// The content of an object.
///
/// # Panics
///
/// If it cannot be read.
pub fn s3_get(endpoint: &str, account: &str, bucket: &str, key: &str) -> Vec<u8> {
    let answer = send_s3(endpoint, account, "GET", &format!("/{bucket}/{}", percent_encode(key)), &[]);
    assert!(answer.status == 200, "reading {bucket}/{key} answered {} {}", answer.status, answer.text());
    answer.body
}

/// The headers of an object by their names in lower case, `x-amz-meta-…` among them.
///
/// # Panics
///
/// If it cannot be read.
pub fn s3_head(endpoint: &str, account: &str, bucket: &str, key: &str) -> BTreeMap<String, String> {
    // Not by HEAD: its answer tells the length of a body that does not come.
    let path = format!("/{bucket}/{}", percent_encode(key));
    let answer = send_s3(endpoint, account, "GET", &path, &[]);
    assert!(answer.status == 200, "reading {bucket}/{key} answered {} {}", answer.status, answer.text());
    answer.headers.into_iter().collect()
}

pub(crate) fn send(endpoint: &str, account: &str, target: &str, body: &[u8]) -> Answer {
    let service = target.split('_').next().unwrap_or_default().to_ascii_lowercase();
    let headers = [
        format!("X-Amz-Target: {target}"),
        "Content-Type: application/x-amz-json-1.1".to_owned(),
        "X-Amz-Date: 20260101T000000Z".to_owned(),
        named_as(account, &service),
    ];
    send_to(endpoint, &Request { method: "POST", path: "/", headers: &headers, body })
}

pub(crate) fn send_s3(endpoint: &str, account: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    send_to(endpoint, &Request { method, path, headers: &[named_as(account, "s3")], body })
}

fn send_to(endpoint: &str, request: &Request<'_>) -> Answer {
    let port = endpoint.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
    let port = port.unwrap_or_else(|| panic!("{endpoint} is no http://127.0.0.1:<port>"));
    let Request { method, path, .. } = request;
    http::send(port, request, CALL_LIMIT)
        .unwrap_or_else(|error| panic!("no answer to {method} {endpoint}{path}: {error}"))
}

fn named_as(account: &str, service: &str) -> String {
    format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={account}/20260101/us-east-1/{service}/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={:064}",
        0,
    )
}

/// The contents of all elements of this name in an XML document of S3's plain kind.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(content, _)| content).collect()
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_in_order() {
        let page = "<L><Contents><Key>a/1</Key></Contents><Contents><Key>b</Key></Contents></L>";
        assert_eq!(elements(page, "Key"), ["a/1", "b"]);
        assert!(elements(page, "NextContinuationToken").is_empty());
    }

    #[test]
    fn only_what_needs_it_is_escaped() {
        assert_eq!(percent_encode("a/b-1_2.gz~"), "a/b-1_2.gz~");
        assert_eq!(percent_encode("k=v +"), "k%3Dv%20%2B");
    }
}
