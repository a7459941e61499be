//! The S3 destination of a delivery stream: checked when it is configured, told back as DescribeDeliveryStream does, so
//! that a client can see whether the stream is plain to S3.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::prefix::{DateTimePattern, PrefixExpression, PrefixPair, Zone};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::Time;
use crate::limits::MIB;
use crate::wire::{ApiError, Checks};

const DEFAULT_SIZE_MIB: i64 = 5;
const DEFAULT_INTERVAL_SECONDS: i64 = 300;
/// The time in an object's name.
const NAME_TIME: &str = "yyyy-MM-dd-HH-mm-ss";

/// Where a delivery stream's records go, and when.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    bucket: String,
    prefix: PrefixExpression,
    zone: Zone,
    extension: String,
    pub(crate) buffer_bytes: u64,
    pub(crate) buffer_interval: Duration,
    /// Whether the AppendDelimiterToRecord processor is on.
    pub(crate) append_newline: bool,
    /// Processors that are configured and not run here.
    pub(crate) ignored_processors: Vec<String>,
    /// As it is described, with defaults filled in.
    described: Map<String, Value>,
}

impl Destination {
    /// Reads an S3 or extended S3 destination configuration.
    pub(crate) fn parse(configuration: &Map<String, Value>) -> Result<Self, ApiError> {
        let described = described(configuration);
        let text = |member: &str| described.get(member).and_then(Value::as_str).unwrap_or_default();
        let hint = |member: &str| described["BufferingHints"].get(member).and_then(Value::as_i64);
        let (size, interval) = (hint("SizeInMBs"), hint("IntervalInSeconds"));
        Checks::default()
            .required("roleARN", configuration.get("RoleARN"))
            .required("bucketARN", configuration.get("BucketARN"))
            .range("bufferingHints.sizeInMBs", size, 1, 128)
            .range("bufferingHints.intervalInSeconds", interval, 0, 900)
            .finish()?;
        if text("CompressionFormat") != "UNCOMPRESSED" {
            return Err(ApiError::invalid_argument("penstock local writes UNCOMPRESSED objects only."));
        }
        let pair = PrefixPair::parse(text("Prefix"), text("ErrorOutputPrefix"))
            .map_err(|error| ApiError::invalid_argument(error.to_string()))?;
        if let Some(id) = pair.prefix.partition_ids().first() {
            return Err(ApiError::invalid_argument(format!("penstock local does not partition by {id:?}.")));
        }
        let zone = match text("CustomTimeZone") {
            "" => Zone::utc(),
            name => Zone::named(name).map_err(|error| ApiError::invalid_argument(error.to_string()))?,
        };
        let processors = processors(&described);
        Ok(Self {
            bucket: bucket(text("BucketARN"))?,
            prefix: pair.prefix,
            zone,
            extension: extension(text("FileExtension"))?,
            buffer_bytes: u64::try_from(size.unwrap_or(DEFAULT_SIZE_MIB)).unwrap_or(1) * MIB,
            buffer_interval: seconds(interval.unwrap_or(DEFAULT_INTERVAL_SECONDS)),
            append_newline: processors.iter().any(|kind| kind == "AppendDelimiterToRecord"),
            ignored_processors: processors.into_iter().filter(|kind| kind != "AppendDelimiterToRecord").collect(),
            described,
        })
    }

    /// The destinations as DescribeDeliveryStream lists them.
    pub(crate) fn describe(&self) -> Value {
        let plain = [
            "RoleARN",
            "BucketARN",
            "Prefix",
            "ErrorOutputPrefix",
            "BufferingHints",
            "CompressionFormat",
            "EncryptionConfiguration",
            "CloudWatchLoggingOptions",
        ];
        let described = self.described.iter().filter(|(member, _)| plain.contains(&member.as_str()));
        let s3: Map<String, Value> = described.map(|(member, value)| (member.clone(), value.clone())).collect();
        json!([{
            "DestinationId": "destinationId-000000000001",
            "S3DestinationDescription": s3,
            "ExtendedS3DestinationDescription": self.described,
        }])
    }

    /// The path of an object below the directory: bucket, evaluated prefix, then Firehose's name. `opened` is the arrival
    /// of the oldest record in it.
    pub(crate) fn path(&self, stream: &str, opened: Time, id: Uuid) -> Result<String, String> {
        let millis = i64::try_from(opened.as_millis()).map_err(|error| error.to_string())?;
        let prefix = self
            .prefix
            .evaluate(millis, &self.zone, id.as_bytes(), &BTreeMap::new(), None)
            .map_err(|error| error.to_string())?;
        let at = self.zone.local(millis).ok_or_else(|| format!("{millis} ms is no date"))?;
        let time = DateTimePattern::parse(NAME_TIME).map_err(|error| error.to_string())?.format(&at);
        let key = format!("{prefix}{stream}-1-{time}-{id}{}", self.extension);
        if key.split('/').any(|part| part == ".." || part == ".") {
            return Err(format!("the key {key:?} leaves the directory"));
        }
        Ok(format!("{}/{}", self.bucket, key.trim_start_matches('/')))
    }
}

/// The configuration with the service's defaults, and with the names that descriptions use.
fn described(configuration: &Map<String, Value>) -> Map<String, Value> {
    let given = configuration.iter().filter(|(_, value)| !value.is_null());
    let renamed = given.map(|(member, value)| {
        let member = if member == "S3BackupConfiguration" { "S3BackupDescription" } else { member };
        (member.to_owned(), value.clone())
    });
    let mut described: Map<String, Value> = renamed.collect();
    let defaults = [
        ("BufferingHints", json!({})),
        ("CompressionFormat", json!("UNCOMPRESSED")),
        ("EncryptionConfiguration", json!({ "NoEncryptionConfig": "NoEncryption" })),
        ("CloudWatchLoggingOptions", json!({ "Enabled": false })),
        ("ProcessingConfiguration", json!({ "Enabled": false, "Processors": [] })),
        ("S3BackupMode", json!("Disabled")),
    ];
    for (member, default) in defaults {
        described.entry(member).or_insert(default);
    }
    if let Some(hints) = described.get_mut("BufferingHints").and_then(Value::as_object_mut) {
        hints.entry("SizeInMBs").or_insert(json!(DEFAULT_SIZE_MIB));
        hints.entry("IntervalInSeconds").or_insert(json!(DEFAULT_INTERVAL_SECONDS));
    }
    described
}

/// The kinds of the processors that are switched on, and dynamic partitioning and format conversion as if they were.
fn processors(described: &Map<String, Value>) -> Vec<String> {
    let enabled = |member: &str| {
        let configured = described.get(member);
        configured.filter(|configured| configured.get("Enabled").and_then(Value::as_bool).unwrap_or(false))
    };
    let list = enabled("ProcessingConfiguration").and_then(|configured| configured.get("Processors")?.as_array());
    let kinds = list.into_iter().flatten().filter_map(|processor| processor.get("Type")?.as_str());
    let others = ["DynamicPartitioningConfiguration", "DataFormatConversionConfiguration"];
    kinds.chain(others.into_iter().filter(|member| enabled(member).is_some())).map(str::to_owned).collect()
}

/// The bucket of an ARN; it becomes a directory, so it has to look like a bucket.
fn bucket(arn: &str) -> Result<String, ApiError> {
    let name = arn.strip_prefix("arn:aws:s3:::").unwrap_or_default();
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    if plain && (3..=63).contains(&name.len()) && ends(name.bytes().next()) && ends(name.bytes().last()) {
        return Ok(name.to_owned());
    }
    Err(ApiError::invalid_argument(format!("BucketARN {arn:?} is not of the form arn:aws:s3:::bucket-name.")))
}

fn extension(given: &str) -> Result<String, ApiError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!-_.*'()".contains(&b);
    if given.is_empty() || (given.starts_with('.') && given.len() <= 128 && given.bytes().all(allowed)) {
        return Ok(given.to_owned());
    }
    Err(ApiError::invalid_argument(format!("FileExtension {given:?} is not a dot and [0-9a-z!-_.*'()].")))
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn configuration(more: Value) -> Map<String, Value> {
        let mut members = json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::lake" });
        let (members, more) = (members.as_object_mut().unwrap(), more.as_object().unwrap().clone());
        members.extend(more);
        members.clone()
    }

    fn path(more: Value) -> String {
        // 2026-11-21T10:30:00Z
        let opened = Time::from_millis(1_795_257_000_000);
        Destination::parse(&configuration(more)).unwrap().path("clicks", opened, Uuid::nil()).unwrap()
    }

    #[test]
    fn objects_are_named_as_firehose_does() {
        let name = "clicks-1-2026-11-21-10-30-00-00000000-0000-0000-0000-000000000000";
        assert_eq!(path(json!({})), format!("lake/2026/11/21/10/{name}"));
        assert_eq!(path(json!({ "Prefix": "raw/" })), format!("lake/raw/2026/11/21/10/{name}"));
        assert_eq!(
            path(
                json!({ "Prefix": "dt=!{timestamp:yyyy-MM-dd}/", "ErrorOutputPrefix": "errors/", "FileExtension": ".json" })
            ),
            format!("lake/dt=2026-11-21/{name}.json")
        );
        let tokyo = path(json!({ "CustomTimeZone": "Asia/Tokyo" }));
        assert!(tokyo.starts_with("lake/2026/11/21/19/clicks-1-2026-11-21-19-30-00-"), "{tokyo}");
    }

    #[test]
    fn a_destination_is_described_with_its_defaults() {
        let destination = Destination::parse(&configuration(json!({ "BufferingHints": { "SizeInMBs": 1 } }))).unwrap();
        assert_eq!((destination.buffer_bytes, destination.buffer_interval), (MIB, Duration::from_secs(300)));
        let described = &destination.describe()[0];
        let extended = &described["ExtendedS3DestinationDescription"];
        assert_eq!(extended["ProcessingConfiguration"]["Enabled"], json!(false));
        assert_eq!(extended["BufferingHints"], json!({ "SizeInMBs": 1, "IntervalInSeconds": 300 }));
        assert_eq!(described["S3DestinationDescription"]["BucketARN"], json!("arn:aws:s3:::lake"));
        assert!(described["S3DestinationDescription"].get("S3BackupMode").is_none());
    }

    #[test]
    fn processors_are_told_apart() {
        let on = json!({ "ProcessingConfiguration": { "Enabled": true, "Processors": [
            { "Type": "AppendDelimiterToRecord", "Parameters": [] }, { "Type": "Lambda", "Parameters": [] } ] } });
        let destination = Destination::parse(&configuration(on)).unwrap();
        assert!(destination.append_newline);
        assert_eq!(destination.ignored_processors, ["Lambda"]);
        let dynamic = json!({ "DynamicPartitioningConfiguration": { "Enabled": true } });
        let destination = Destination::parse(&configuration(dynamic)).unwrap();
        assert_eq!(destination.ignored_processors, ["DynamicPartitioningConfiguration"]);
    }

    #[test]
    fn wrong_destinations_are_refused() {
        for (more, part) in [
            (json!({ "BucketARN": null }), "bucketARN"),
            (json!({ "BucketARN": "lake" }), "arn:aws:s3:::bucket-name"),
            (json!({ "BucketARN": "arn:aws:s3:::../x" }), "arn:aws:s3:::bucket-name"),
            (json!({ "BucketARN": "arn:aws:s3:::..." }), "arn:aws:s3:::bucket-name"),
            (json!({ "BufferingHints": { "SizeInMBs": 129 } }), "sizeInMBs"),
            (json!({ "BufferingHints": { "IntervalInSeconds": 901 } }), "intervalInSeconds"),
            (json!({ "CompressionFormat": "GZIP" }), "UNCOMPRESSED"),
            (json!({ "Prefix": "!{timestamp:yyyy}/" }), "error prefix"),
            (json!({ "CustomTimeZone": "Mars" }), "Mars"),
            (json!({ "FileExtension": "json" }), "FileExtension"),
        ] {
            let mut members = configuration(more.clone());
            members.retain(|_, value| !value.is_null());
            let error = Destination::parse(&members).unwrap_err().to_string();
            assert!(error.contains(part), "{more}: {error}");
        }
    }

    #[test]
    fn a_prefix_cannot_leave_the_directory() {
        for prefix in ["../../etc/", "a/../../", "!{timestamp:'..'}/"] {
            let more = json!({ "Prefix": prefix, "ErrorOutputPrefix": "errors/" });
            let destination = Destination::parse(&configuration(more));
            let path = destination.map(|destination| destination.path("clicks", Time::default(), Uuid::nil()));
            assert!(!matches!(path, Ok(Ok(_))), "{prefix}");
        }
    }
}
