//! The HTTP client below `object_store`, watched: a time-out on each request that grows with its body, and the service's own
//! words kept from answers that refuse.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use super::answer::Answer;

/// Bytes of a body that allow one more time-out: slower than this is as good as stuck.
const BYTES_PER_TIME_OUT: u64 = 8 << 20;

/// Bodies of answers up to this are read within the request's own time: lists, errors, small objects.
const SMALL_BODY: u64 = 1 << 20;

/// The longest time for a request that carries, or an answer that brings, a body of this size.
pub(crate) fn limit(time_out: Duration, body_bytes: u64) -> Duration {
    time_out.saturating_mul(u32::try_from(1 + body_bytes / BYTES_PER_TIME_OUT).unwrap_or(u32::MAX))
}

/// Makes watched clients.
#[derive(Debug)]
pub(super) struct WatchedConnector {
    pub(super) time_out: Duration,
}

#[derive(Debug)]
struct Watched {
    client: HttpClient,
    time_out: Duration,
}

impl HttpConnector for WatchedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Watched { client, time_out: self.time_out }))
    }
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = limit(self.time_out, request.body().content_length() as u64);
        match tokio::time::timeout(limit, self.answered(request)).await {
            Ok(answered) => answered,
            Err(_) => {
                let late = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
                Err(HttpError::new(HttpErrorKind::Timeout, late))
            }
        }
    }
}

impl Watched {
    /// The answer; one that refuses as an [`Answer`], since `object_store` drops the Region from redirects and has no public
    /// type for the rest.
    async fn answered(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.client.execute(request).await?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (region, request_id) = (header("x-amz-bucket-region"), header("x-amz-request-id"));
        let length = header("content-length").and_then(|length| length.parse::<u64>().ok());
        if status.is_success() && length.is_some_and(|length| length > SMALL_BODY) {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        if status.is_success() {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        let answer = Answer::new(status.as_u16(), &String::from_utf8_lossy(&body), region, request_id);
        Err(HttpError::new(HttpErrorKind::Unknown, answer))
    }
}
