//! HTTP: one task per connection, from bytes to a request and from an answer to bytes. Knows no operation.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::dispatch::{Ahead, Answer, Endpoint};
use super::reply::{self, ReplyBody};
use crate::wire::ApiError;

/// More than any valid request: 10 MiB as base64, with 500 keys of 256 four-byte characters.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut by an injected fault")
    }
}

impl std::error::Error for Cut {}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, endpoint: Arc<Endpoint>, stop: CancellationToken) {
    // Answers are written whole; waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let stopped = stop.clone();
    let service = service_fn(move |request| respond(request, Arc::clone(&endpoint), stopped.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn respond(
    request: Request<Incoming>,
    endpoint: Arc<Endpoint>,
    stop: CancellationToken,
) -> Result<Response<ReplyBody>, Cut> {
    let id = endpoint.request_id();
    let (head, body) = request.into_parts();
    if head.method == Method::GET && head.uri.path() == "/livez" {
        return Ok(reply::alive(&id));
    }
    if head.method != Method::POST {
        let error =
            ApiError::new("UnknownOperationException", "Kinesis and Firehose are asked by POST with X-Amz-Target");
        return Ok(reply::error(&error, &id));
    }
    let asked = match endpoint.ask(text(&head.headers, "x-amz-target"), text(&head.headers, CONTENT_TYPE.as_str())) {
        Ok(asked) => asked,
        Err(error) => return Ok(reply::error(&error, &id)),
    };
    if let Some(injected) = &asked.injected {
        tokio::time::sleep(injected.latency).await;
    }
    match asked.ahead() {
        // The body stays unread, so that the client sees a reset.
        Ahead::Cut => return Err(Cut),
        Ahead::Hang => {
            stop.cancelled().await;
            return Err(Cut);
        }
        Ahead::GoOn => {}
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(error) => return Ok(reply::error(&error, &id)),
    };
    match endpoint.answer(&asked, &body, text(&head.headers, AUTHORIZATION.as_str())) {
        Answer::Whole(answer) => Ok(reply::whole(answer, &id)),
        Answer::Truncated(answer, fraction) => Ok(reply::truncated(answer, fraction, &id)),
        Answer::Broken(answer, fraction) => reply::broken(answer, fraction, &id).ok_or(Cut),
    }
}

async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError {
            status: 413,
            ..ApiError::new("RequestEntityTooLarge", "the request is larger than any may be")
        }),
        Err(error) => Err(ApiError::serialization(format!("the body ended early: {error}"))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
