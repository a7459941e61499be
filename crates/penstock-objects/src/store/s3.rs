//! S3 through `object_store`: conditional puts, checksums, a time-out on each request, and no retries of its own: one
//! loop, the engine's, repeats and pauses.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AwsCredential, Checksum, S3ConditionalPut};
use object_store::client::CredentialProvider;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use penstock_engine::ports::{ErrorClass, SeamError};

use watch::WatchedConnector;

pub(crate) mod answer;
pub(crate) mod watch;

/// The longest wait for a connection.
const CONNECT_TIME_OUT: Duration = Duration::from_secs(5);

/// How S3 is reached.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// Asked before each request. A provider that has no credentials answers with `object_store::Error::Unauthenticated`,
    /// which is told to the operator as such; any other error counts as passing.
    pub credentials: Arc<dyn CredentialProvider<Credential = AwsCredential>>,
    /// The Region of buckets whose destination names none.
    pub region: String,
    /// Another address than AWS's, such as `http://127.0.0.1:4566`; buckets are then named in the path.
    pub endpoint: Option<String>,
    /// The longest wait for the answer to a request without a body. A put, and the reading of an object, may take as long again
    /// for each 8 MiB.
    pub time_out: Duration,
}

impl S3Settings {
    /// A client for one bucket.
    pub(crate) fn open(&self, bucket: &str, region: &str) -> Result<Arc<dyn ObjectStore>, SeamError> {
        let region = if region.is_empty() { &self.region } else { region };
        let plain_http = self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let options = ClientOptions::new()
            .with_allow_http(plain_http)
            .with_connect_timeout(CONNECT_TIME_OUT)
            // The watched client has time-outs that know how much there is to send.
            .with_timeout_disabled();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_credentials(Arc::clone(&self.credentials))
            .with_client_options(options)
            .with_http_connector(WatchedConnector { time_out: self.time_out })
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::CRC64NVME)
            // TLS and the checksum guard the body; a SHA-256 of it would cost more than all else.
            .with_unsigned_payload(!plain_http)
            // A certificate for `*.s3…` covers no bucket with a dot.
            .with_virtual_hosted_style_request(self.endpoint.is_none() && !bucket.contains('.'));
        if let Some(endpoint) = self.endpoint.clone().or_else(|| china(bucket, region)) {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| {
            let subject = format!("s3://{bucket}");
            SeamError::new("connect", subject, ErrorClass::Rejected, error.to_string()).with_source(error)
        })?;
        Ok(Arc::new(store))
    }
}

/// The endpoint of a bucket in China, which `object_store` does not know. The style is that of [`S3Settings::open`].
fn china(bucket: &str, region: &str) -> Option<String> {
    region.starts_with("cn-").then(|| match bucket.contains('.') {
        true => format!("https://s3.{region}.amazonaws.com.cn"),
        false => format!("https://{bucket}.s3.{region}.amazonaws.com.cn"),
    })
}
