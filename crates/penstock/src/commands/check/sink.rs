//! The sink: what of it can be tried without leaving anything behind.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use penstock_aws::probe::{DeliveryProbe, Refusal, Tried};
use penstock_engine::ports::{CallSink, ErrorClass, ObjectSink, SeamError, SinkPort};

use super::arn;
use super::iam::{self, Action};
use super::judge::{self, Call};
use super::online::{Client, limited};
use super::report::{Outcome, Row};
use crate::config::settings::{AccessSettings, FirehoseSettings, ObjectSettings, Settings, SinkSettings};
use crate::telemetry::one_line;
use crate::wiring::aws::Aws;
use crate::wiring::ports;

/// How long a probe of the sink itself may take.
const SINK_LIMIT: Duration = Duration::from_secs(8);
/// An object that nobody has.
const NOBODY: &str = "penstock-check";

/// The rows of the sink.
pub(super) async fn rows(settings: &Settings, aws: &Aws, client: Option<&Client>) -> Vec<Row> {
    let local = matches!(settings.sink, SinkSettings::Directory { .. } | SinkSettings::Stdout);
    if client.is_none() && !local {
        return Vec::new();
    }
    let port = match ports::sink(settings, aws).await {
        Ok((port, _)) => port,
        Err(problem) => return vec![Row::failed("sink", "[sink]", one_line(&problem))],
    };
    match (&settings.sink, port, client) {
        (SinkSettings::Firehose(firehose), SinkPort::Calls(sink), Some(client)) => {
            delivery(firehose, sink.as_ref(), client).await
        }
        (SinkSettings::S3 { bucket, access, objects }, SinkPort::Objects(sink), Some(client)) => {
            bucket_rows(&Bucket { name: bucket, access, objects }, &sink, aws, client).await
        }
        (SinkSettings::Directory { path, .. }, SinkPort::Objects(sink), _) => {
            vec![reach_directory(path, &sink).await]
        }
        (_, SinkPort::Objects(sink), _) => vec![reach(&sink).await],
        (_, SinkPort::Calls(_), _) => vec![Row::good("sink", "standard output", "always there")],
    }
}

/// The sink's own probe.
async fn probe(sink: &Arc<dyn ObjectSink>) -> Result<bool, SeamError> {
    let destination = sink.destination();
    tokio::time::timeout(SINK_LIMIT, sink.probe(&destination))
        .await
        .unwrap_or_else(|_| Err(SeamError::timed_out("probe", destination.to_string(), SINK_LIMIT)))
}

async fn reach(sink: &Arc<dyn ObjectSink>) -> Row {
    let destination = sink.destination().to_string();
    match probe(sink).await {
        Ok(true) => Row::good("sink", destination, "can be written to"),
        Ok(false) => Row::failed("sink", destination, "it does not exist").fix("create it, or correct [sink]"),
        Err(error) => Row::failed("sink", destination, error.message),
    }
}

/// The daemon makes a directory that is not there. Here it would belong to whoever checks, often root, so that it goes again.
async fn reach_directory(path: &std::path::Path, sink: &Arc<dyn ObjectSink>) -> Row {
    let mut made = Vec::new();
    for directory in path.ancestors().filter(|directory| !directory.as_os_str().is_empty()) {
        // A file system that hangs is the probe's to tell.
        let there = tokio::time::timeout(Duration::from_secs(1), tokio::fs::try_exists(directory)).await;
        match there {
            Ok(Ok(false)) => made.push(directory),
            _ => break,
        }
    }
    let row = reach(sink).await;
    if row.outcome == Outcome::Good {
        for directory in made {
            // What is no longer empty is somebody's by now, and stays.
            drop(tokio::fs::remove_dir(directory).await);
        }
    }
    row
}

async fn delivery(firehose: &FirehoseSettings, sink: &dyn CallSink, client: &Client) -> Vec<Row> {
    let name = firehose.delivery_stream.as_str();
    let probe = DeliveryProbe::new(&client.config, name);
    let resource = arn::of("firehose", &client.place.region, client.account(), &format!("deliverystream/{name}"));
    let call = |action: Action| Call { action, on: name, resource: &resource, place: &client.place };
    let (seen, put) = tokio::join!(limited(probe.describe()), limited(probe.put_nothing()));
    let mut rows = Vec::new();
    match &seen {
        Ok(seen) => {
            let packs = tokio::time::timeout(SINK_LIMIT, sink.probe()).await;
            let packs = packs.ok().and_then(Result::ok).and_then(|target| target.packable);
            rows.push(call(iam::DESCRIBE_DELIVERY).row(&Ok(()), |()| "allowed".to_owned()));
            rows.push(judge::delivery(name, seen, packs));
            rows.extend(judge::region(name, &seen.arn, &client.place, "sink.region"));
        }
        Err(refusal) => rows.push(undescribed(&call(iam::DESCRIBE_DELIVERY), refusal)),
    }
    rows.push(judge::put_records(&call(iam::PUT_RECORDS), &put));
    if firehose.set_aside.is_none() {
        rows.push(
            Row::warning(
                "set aside",
                name,
                "there is no place for records that Firehose cannot take: a shard stops at one",
            )
            .fix("set sink.set_aside_bucket or sink.set_aside_path"),
        );
    }
    rows
}

/// The permission is for a look alone: records go without it, but are not packed unasked.
fn undescribed(call: &Call<'_>, refusal: &Refusal) -> Row {
    let row = call.refused(refusal);
    if refusal.class == ErrorClass::NotFound {
        return row.fix("create the delivery stream, or correct sink.delivery_stream and sink.region");
    }
    row
}

struct Bucket<'a> {
    name: &'a str,
    access: &'a AccessSettings,
    objects: &'a ObjectSettings,
}

impl Bucket<'_> {
    /// The part of all keys that no expression changes.
    fn fixed_prefix(&self) -> &str {
        let prefix = self.objects.prefix.split("!{").next().unwrap_or_default();
        prefix.rfind('/').map_or("", |slash| &prefix[..=slash])
    }
}

async fn bucket_rows(bucket: &Bucket<'_>, sink: &Arc<dyn ObjectSink>, aws: &Aws, client: &Client) -> Vec<Row> {
    let region = client.place.region.as_str();
    let name = format!("s3://{}", bucket.name);
    let objects = arn::of_bucket(region, &format!("{}/{}*", bucket.name, bucket.fixed_prefix()));
    let whole = arn::of_bucket(region, bucket.name);
    let store = match store(bucket, aws).await {
        Ok(store) => store,
        Err(problem) => return vec![Row::failed("sink", name, problem)],
    };
    let key = Path::from(format!("{}{NOBODY}", bucket.fixed_prefix()));
    let (put, list, head) = tokio::join!(probe(sink), limited(list(&store, &key)), limited(head(&store, &key)));
    let call = |action, resource| Call { action, on: name.as_str(), resource, place: &client.place };
    let mut rows = vec![put_row(&call(iam::PUT_OBJECT, &objects), &put)];
    // What a bucket that is missing or elsewhere says to the others is the same again.
    if !matches!(&put, Ok(true)) && !is_denied(&put) {
        return rows;
    }
    let lists = list.is_ok();
    rows.push(call(iam::LIST_BUCKET, &whole).row(&list, |()| "allowed; one page was listed".to_owned()));
    rows.push(match &head {
        Err(refusal) if refusal.is_missing_permission() && !lists => {
            let says = "cannot be told from a missing object as long as s3:ListBucket is missing";
            Row::not_tried(iam::GET_OBJECT.name, &name, says)
        }
        head => {
            call(iam::GET_OBJECT, &objects).row(head, |()| "allowed; an object that nobody has is not there".to_owned())
        }
    });
    rows.push(
        Row::not_tried(
            iam::KMS_OF_BUCKET.name,
            &name,
            "only a real object shows whether the bucket encrypts with a KMS key",
        )
        .fix(format!("if it does: {} has what is needed", iam::KMS_OF_BUCKET.policy)),
    );
    rows
}

fn is_denied(put: &Result<bool, SeamError>) -> bool {
    matches!(put, Err(error) if error.message.starts_with("AccessDenied") || error.message.starts_with("Forbidden"))
}

/// A put on a condition that no object fulfils.
fn put_row(call: &Call<'_>, put: &Result<bool, SeamError>) -> Row {
    match put {
        Ok(true) => {
            Row::good(call.action.name, call.on, "allowed; nothing was put, on a condition that no object fulfils")
        }
        Ok(false) => Row::failed(call.action.name, call.on, "there is no such bucket")
            .fix("create the bucket, or correct sink.bucket"),
        Err(_) if is_denied(put) => {
            let message = put.as_ref().err().map_or("", |error| error.message.as_str());
            Row::failed(call.action.name, call.on, message).granting(call.action.on(call.resource))
        }
        Err(error) => {
            let silent = error.class == ErrorClass::Transient;
            let refusal = Refusal {
                class: error.class,
                code: (!silent).then(|| error.message.split(':').next().unwrap_or_default().to_owned()),
                message: error.message.clone(),
            };
            call.refused(&refusal)
        }
    }
}

/// A client that asks once and says what came back.
async fn store(bucket: &Bucket<'_>, aws: &Aws) -> Result<Arc<dyn ObjectStore>, String> {
    let s3 = aws.s3(bucket.access).await.map_err(|error| error.message)?;
    let plain = s3.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket.name)
        .with_region(&s3.region)
        .with_credentials(s3.credentials)
        .with_client_options(ClientOptions::new().with_allow_http(plain))
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_virtual_hosted_style_request(s3.endpoint.is_none() && !bucket.name.contains('.'));
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>).map_err(|error| error.to_string())
}

/// ListObjectsV2 of a folder that nobody has.
async fn list(store: &Arc<dyn ObjectStore>, key: &Path) -> Tried<()> {
    store.list_with_delimiter(Some(key)).await.map(drop).map_err(|error| refusal(&error))
}

/// HeadObject of an object that nobody has.
async fn head(store: &Arc<dyn ObjectStore>, key: &Path) -> Tried<()> {
    match store.head(key).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &object_store::Error) -> Refusal {
    use object_store::Error;
    let message = one_line(&anyhow::anyhow!("{error}"));
    let (class, code) = match error {
        Error::PermissionDenied { .. } => (ErrorClass::Denied, Some("AccessDenied")),
        Error::Unauthenticated { .. } => (ErrorClass::Denied, Some("Unauthenticated")),
        Error::NotFound { .. } => (ErrorClass::NotFound, Some("NotFound")),
        // The error of a listing keeps its status in its text alone.
        _ if message.contains("403 Forbidden") => (ErrorClass::Denied, Some("AccessDenied")),
        _ if message.contains("non-2xx status") => (ErrorClass::Rejected, Some("refused")),
        _ => (ErrorClass::Transient, None),
    };
    Refusal { class, code: code.map(str::to_owned), message }
}
