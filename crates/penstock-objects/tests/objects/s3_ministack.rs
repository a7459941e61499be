//! S3 against an independent stand-in: the suite, real answers, and objects read by other tools than ours.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use penstock_core::intent::{Compression, Destination};
use penstock_engine::ports::{DeliveryPermit, ErrorClass, ObjectSink, Put};
use penstock_objects::readback::records;
use penstock_objects::{ObjectSinkSettings, S3Settings, StoreSink};
use penstock_standins::{
    Microburst, Ministack, REGION, SECRET_ACCESS_KEY, s3_get, s3_head, s3_keys, s3_put_bucket, unique_account,
};
use serde_json::json;

use crate::suite::{batch, conforms, metadata, settings};

fn s3(endpoint: &str, account: &str) -> S3Settings {
    let credential =
        AwsCredential { key_id: account.to_owned(), secret_key: SECRET_ACCESS_KEY.to_owned(), token: None };
    S3Settings {
        credentials: Arc::new(StaticCredentialProvider::new(credential)),
        region: REGION.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        time_out: Duration::from_secs(20),
    }
}

fn bucket(name: &str) -> Destination {
    Destination::S3 { bucket: name.to_owned(), region: String::new() }
}

fn sink_with(s3: S3Settings, into: &str, change: impl FnOnce(&mut ObjectSinkSettings)) -> StoreSink {
    let mut settings = settings(bucket(into));
    change(&mut settings);
    StoreSink::new(settings, Some(s3)).unwrap()
}

/// A bucket in an account of its own on the shared server. The names of buckets are shared by all accounts.
struct Lake {
    endpoint: String,
    account: String,
    bucket: String,
}

impl Lake {
    fn new() -> Self {
        let account = unique_account();
        let lake = Self { endpoint: Ministack::shared().endpoint(), bucket: format!("lake-{account}"), account };
        s3_put_bucket(&lake.endpoint, &lake.account, &lake.bucket);
        lake
    }

    fn sink(&self, change: impl FnOnce(&mut ObjectSinkSettings)) -> StoreSink {
        self.sink_through(s3(&self.endpoint, &self.account), change)
    }

    fn sink_through(&self, s3: S3Settings, change: impl FnOnce(&mut ObjectSinkSettings)) -> StoreSink {
        sink_with(s3, &self.bucket, change)
    }

    fn keys(&self) -> Vec<String> {
        s3_keys(&self.endpoint, &self.account, &self.bucket)
    }

    fn get(&self, key: &str) -> Vec<u8> {
        s3_get(&self.endpoint, &self.account, &self.bucket, key)
    }
}

#[tokio::test]
async fn s3_conforms() {
    let lake = Lake::new();
    conforms(|change| Arc::new(lake.sink(change))).await;
}

#[tokio::test]
async fn an_object_has_its_metadata_its_type_and_no_encoding() {
    let lake = Lake::new();
    let sink = lake.sink(|settings| settings.compression = Compression::Gzip);
    assert!(sink.probe(&sink.destination()).await.unwrap());
    assert_eq!(lake.keys(), [""; 0], "a probe leaves nothing");
    let object = batch(&sink, 1, &[b"a", b"b"], None).objects.remove(0);
    assert_eq!(sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap(), Put::Written);
    assert_eq!(lake.keys(), [object.key.as_str()]);
    let headers = s3_head(&lake.endpoint, &lake.account, &lake.bucket, &object.key);
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert_eq!(headers.get("content-encoding"), None);
    for (name, value) in &object.metadata {
        assert_eq!(&headers[&format!("x-amz-meta-{name}")], value, "{name}");
    }
}

/// What another program makes of these bytes.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program} ended with {}", output.status);
    output.stdout
}

#[tokio::test]
async fn large_objects_are_read_by_other_tools() {
    let lake = Lake::new();
    // Some members and frames, and a last one that is not full.
    let lines: Vec<Vec<u8>> = (0..60_000_u32)
        .map(|number| format!("{{\"number\":{number},\"page\":\"/p/{}\"}}", number % 97).into_bytes())
        .collect();
    let payloads: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let content = lines.join(&b'\n');
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let sink = lake.sink(|settings| settings.compression = compression);
        let first = 1 + compression as u64 * 100_000;
        let object = batch(&sink, first, &payloads, None).objects.remove(0);
        assert_eq!(sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap(), Put::Written);
        let stored = lake.get(&object.key);
        assert!(stored == object.body.concat());
        if compression != Compression::None {
            assert!(stored.len() < content.len() / 2);
        }
        let read = match compression {
            Compression::None => stored,
            Compression::Gzip => piped("gzip", &["-dc"], &stored),
            Compression::Zstd => piped("zstd", &["-dc"], &stored),
        };
        assert!(records(&read, b"\n") == payloads, "{compression:?}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_an_answer_to_a_probe_and_not_found_to_a_put() {
    let lake = Lake::new();
    let misspelt = format!("{}-misspelt", lake.bucket);
    let sink = sink_with(s3(&lake.endpoint, &lake.account), &misspelt, |_| {});
    let destination = sink.destination();
    assert!(!sink.probe(&destination).await.unwrap());
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    let error = sink.put(DeliveryPermit::unproven(), &destination, &object).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    let line = error.to_string();
    assert!(line.contains("NoSuchBucket") && line.contains("create the bucket, or correct its name"), "{line}");
    // Corrected by whoever creates it.
    s3_put_bucket(&lake.endpoint, &lake.account, &misspelt);
    assert!(sink.probe(&destination).await.unwrap());
    assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &object).await.unwrap(), Put::Written);
}

#[tokio::test]
async fn a_bucket_of_another_region_is_named() {
    let lake = Lake::new();
    let elsewhere = Destination::S3 { bucket: lake.bucket.clone(), region: "eu-west-1".to_owned() };
    let sink = lake.sink(|settings| settings.destination = elsewhere);
    let destination = sink.destination();
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    for error in [
        sink.probe(&destination).await.unwrap_err(),
        sink.put(DeliveryPermit::unproven(), &destination, &object).await.unwrap_err(),
    ] {
        assert_eq!(error.class, ErrorClass::Denied);
        assert!(error.to_string().contains(&format!("in the Region {REGION}: set sink.region")), "{error}");
    }
}

#[tokio::test]
async fn an_object_that_is_not_ours_is_never_replaced() {
    let lake = Lake::new();
    let sink = lake.sink(|_| {});
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    // Put by another program, through the same protocol: it has no metadata of ours.
    let client = object_store::aws::AmazonS3Builder::new()
        .with_endpoint(&lake.endpoint)
        .with_allow_http(true)
        .with_bucket_name(&lake.bucket)
        .with_access_key_id(&lake.account)
        .with_secret_access_key(SECRET_ACCESS_KEY)
        .build()
        .unwrap();
    use object_store::ObjectStoreExt as _;
    client.put(&object_store::path::Path::parse(&object.key).unwrap(), "foreign".into()).await.unwrap();
    let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected);
    assert!(error.to_string().contains("no penstock-sha256"), "{error}");
    assert!(error.to_string().contains(metadata(&object, "penstock-sha256").unwrap()), "{error}");
    assert_eq!(lake.get(&object.key), b"foreign");
    assert!(sink.digest_of(&sink.destination(), &object.key).await.is_err(), "it cannot tell");
}

#[tokio::test]
async fn faults_on_the_way_have_their_class_and_are_not_repeated_below_us() {
    let lake = Lake::new();
    let faults = Microburst::start(&lake.endpoint);
    let sink = lake.sink_through(s3(&faults.endpoint(), &lake.account), |_| {});
    let destination = sink.destination();
    let faulty = [
        (json!({"error": {"code": "SlowDown", "status": 503}}), ErrorClass::Throttled),
        (json!({"error": {"code": "InternalError", "status": 500}}), ErrorClass::Transient),
        (json!({"error": {"code": "AccessDenied", "status": 403}}), ErrorClass::Denied),
        (json!({"error": {"code": "InvalidAccessKeyId", "status": 403}}), ErrorClass::Denied),
        (json!({"reset": true}), ErrorClass::Transient),
    ];
    for (first, (mut rule, class)) in (1..).zip(faulty) {
        rule["service"] = json!("s3");
        rule["operation"] = json!("PutObject");
        rule["times"] = json!(1);
        let object = batch(&sink, first, &[b"a"], None).objects.remove(0);
        faults.set_rules(&json!([rule]));
        let error = sink.put(DeliveryPermit::unproven(), &destination, &object).await.unwrap_err();
        assert_eq!(error.class, class, "{rule}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        assert_eq!(faults.fired().len(), 1, "one request, not repeated below us: {rule}");
        faults.clear();
        assert_eq!(sink.put(DeliveryPermit::unproven(), &destination, &object).await.unwrap(), Put::Written, "{rule}");
    }
}

/// Passes one connection on to `upstream`, and breaks it when the answer begins; the others it passes on whole. The address
/// to use.
fn losing_the_first_reply(upstream: &str) -> String {
    let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&upstream).unwrap());
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::thread::spawn(move || {
                if number == 0 {
                    server.read_exact(&mut [0; 16]).unwrap();
                } else {
                    // Until either side ends it.
                    let _ = std::io::copy(&mut server, &mut client);
                }
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_put_whose_reply_was_lost_finds_itself_when_it_is_repeated() {
    let lake = Lake::new();
    let sink = lake.sink_through(s3(&losing_the_first_reply(&lake.endpoint), &lake.account), |_| {});
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert_eq!(sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap(), Put::AlreadyThere);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_waited_for() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut s3 = s3(&format!("http://{}", silent.local_addr().unwrap()), "000000000001");
    s3.time_out = Duration::from_millis(500);
    let sink = sink_with(s3, "lake", |_| {});
    let object = batch(&sink, 1, &[b"a"], None).objects.remove(0);
    let started = Instant::now();
    let error = sink.put(DeliveryPermit::unproven(), &sink.destination(), &object).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.to_string().contains("no answer within 500ms"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_said_so() {
    let sink = sink_with(s3("http://127.0.0.1:9", "000000000001"), "lake", |_| {});
    let error = sink.probe(&sink.destination()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.to_string().contains("no connection"), "{error}");
}
