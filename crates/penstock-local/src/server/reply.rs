//! Answers as HTTP responses, whole or damaged on purpose.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::wire::ApiError;

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// What an operation answered: status, the error's code if it is one, and the body.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) error_code: Option<String>,
    pub(super) body: Bytes,
}

impl From<Result<Bytes, ApiError>> for Outcome {
    fn from(result: Result<Bytes, ApiError>) -> Self {
        match result {
            Ok(body) => Self { status: 200, error_code: None, body },
            Err(error) => Self { status: error.status, body: error.body(), error_code: Some(error.code.into_owned()) },
        }
    }
}

/// A response's body: sent whole, or broken off before its announced end.
#[derive(Debug)]
pub(super) struct ReplyBody {
    left: Option<Bytes>,
    /// The length in the header, if the body breaks off before it.
    announced: Option<u64>,
    flushed: bool,
}

/// A body breaks off on purpose.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply is broken off by an injected fault")
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(bytes) = self.left.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.announced.is_none() {
            return Poll::Ready(None);
        }
        if !self.flushed {
            // Lets what was given reach the socket before the connection is torn down.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.announced.is_none() && self.left.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.as_ref().map_or(0, |bytes| bytes.len() as u64);
        SizeHint::with_exact(self.announced.unwrap_or(left))
    }
}

/// An error as a response.
pub(super) fn error(error: &ApiError, request_id: &str) -> Response<ReplyBody> {
    whole(Outcome::from(Err(error.clone())), request_id)
}

/// To whoever asks by `penstock health` whether the server is there.
pub(super) fn alive(request_id: &str) -> Response<ReplyBody> {
    whole(Outcome { status: 200, error_code: None, body: Bytes::from_static(b"{\"alive\":true}\n") }, request_id)
}

/// The answer as it is.
pub(super) fn whole(answer: Outcome, request_id: &str) -> Response<ReplyBody> {
    let body = ReplyBody { left: Some(answer.body.clone()), announced: None, flushed: false };
    response(&answer, body, request_id)
}

/// A well-formed response whose body is only the first part of the answer.
pub(super) fn truncated(answer: Outcome, fraction: f64, request_id: &str) -> Response<ReplyBody> {
    let kept = part(answer.body.len(), fraction);
    let body = ReplyBody { left: Some(answer.body.slice(..kept)), announced: None, flushed: false };
    response(&answer, body, request_id)
}

/// A response that breaks off; `None` if nothing of it is to be sent.
pub(super) fn broken(answer: Outcome, fraction: f64, request_id: &str) -> Option<Response<ReplyBody>> {
    let kept = part(answer.body.len(), fraction);
    let announced = Some(answer.body.len() as u64);
    let body = ReplyBody { left: Some(answer.body.slice(..kept)), announced, flushed: false };
    (kept > 0).then(|| response(&answer, body, request_id))
}

fn response(answer: &Outcome, body: ReplyBody, request_id: &str) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amz-id-2", id.clone());
        headers.insert("x-amzn-requestid", id);
    }
    if let Some(code) = answer.error_code.as_deref().and_then(|code| HeaderValue::from_str(code).ok()) {
        headers.insert("x-amzn-errortype", code);
    }
    response
}

/// The first `fraction` of `length`, but never all of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a length times a fraction of 0 to 1"
)]
fn part(length: usize, fraction: f64) -> usize {
    ((length as f64 * fraction) as usize).min(length.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_never_the_whole() {
        assert_eq!(part(10, 0.0), 0);
        assert_eq!(part(10, 0.5), 5);
        assert_eq!(part(10, 1.0), 9);
        assert_eq!(part(0, 1.0), 0);
    }
}
