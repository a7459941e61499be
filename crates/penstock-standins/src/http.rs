//! As much of an HTTP/1.1 client as the stand-ins' control interfaces need: one request a connection, on loopback.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// One request. `headers` are whole lines without their ends.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [String],
    pub(crate) body: &'a [u8],
}

/// A request without headers or body.
pub(crate) fn plain<'a>(method: &'a str, path: &'a str) -> Request<'a> {
    Request { method, path, headers: &[], body: b"" }
}

/// Sends a request to a loopback port and waits for the whole answer; each read and write may take `limit`.
pub(crate) fn send(port: u16, request: &Request<'_>, limit: Duration) -> io::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.set_write_timeout(Some(limit))?;
    connection.write_all(encode_head(port, request).as_bytes())?;
    connection.write_all(request.body)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    decode(&answer)
}

fn encode_head(port: u16, request: &Request<'_>) -> String {
    let Request { method, path, headers, body } = request;
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
}

fn decode(answer: &[u8]) -> io::Result<Answer> {
    let (head, body) = split_at(answer, b"\r\n\r\n").ok_or_else(|| wrong("no end of the headers"))?;
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| wrong("no status"))?;
    let headers: Vec<_> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let value_of = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let body = if value_of("transfer-encoding") == Some("chunked") {
        join_chunks(body)?
    } else {
        let length = value_of("content-length").and_then(|length| length.parse().ok());
        if length.is_some_and(|length: usize| body.len() < length) {
            return Err(wrong("a body cut short"));
        }
        body.to_vec()
    };
    Ok(Answer { status, headers, body })
}

fn join_chunks(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (size, after) = split_at(rest, b"\r\n").ok_or_else(|| wrong("no chunk size"))?;
        let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| wrong("a chunk size that is no number"))?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(after.get(..size).ok_or_else(|| wrong("a chunk cut short"))?);
        rest = after.get(size + 2..).ok_or_else(|| wrong("no end after a chunk"))?;
    }
}

/// What is before and after the first `mark`.
fn split_at<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_is_read() {
        let answer = decode(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").unwrap();
        assert_eq!((answer.status, answer.text().as_ref()), (404, "no"));
        assert_eq!(answer.headers, [("content-length".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn chunks_are_joined() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = decode(format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(answer.text(), "abcde");
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        let cut_chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc";
        let cut_body = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        for answer in ["", "HTTP/1.1 200 OK\r\n", cut_chunk, cut_body] {
            assert!(decode(answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
