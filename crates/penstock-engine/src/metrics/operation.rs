//! The calls that the seams make, by the names that their errors carry, and the service behind each.
//!
//! A call that is not in the list is counted as [`OTHER`], so that the number of series stays what the catalogue says.

/// What a call is counted as that is not in the list.
pub(super) const OTHER: &str = "other";

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Kinesis,
    DynamoDb,
    Firehose,
    S3,
    /// A file of this host: leases in SQLite, credentials, settings.
    Here,
}

impl Service {
    /// Those that can refuse a call for its pace.
    pub(super) const REMOTE: [Self; 4] = [Self::Kinesis, Self::DynamoDb, Self::Firehose, Self::S3];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDb => "dynamodb",
            Self::Firehose => "firehose",
            Self::S3 => "s3",
            Self::Here => "here",
        }
    }

    /// Whether records are delivered to it.
    pub(super) const fn is_sink(self) -> bool {
        matches!(self, Self::Firehose | Self::S3)
    }
}

/// Words in lower case are the engine's own: a seam's method whose time-out ran out, whatever it called. Those of a directory or
/// of standard output stand beside those of S3 and Firehose: they are the sink.
const OPERATIONS: &[(&str, Service)] = &[
    ("GetRecords", Service::Kinesis),
    ("GetShardIterator", Service::Kinesis),
    ("ListShards", Service::Kinesis),
    ("DescribeStreamSummary", Service::Kinesis),
    ("CreateTable", Service::DynamoDb),
    ("DeleteItem", Service::DynamoDb),
    ("DescribeTable", Service::DynamoDb),
    ("GetItem", Service::DynamoDb),
    ("PutItem", Service::DynamoDb),
    ("Query", Service::DynamoDb),
    ("Scan", Service::DynamoDb),
    ("UpdateItem", Service::DynamoDb),
    ("create", Service::DynamoDb),
    ("delete", Service::DynamoDb),
    ("kcl version", Service::DynamoDb),
    ("prepare", Service::DynamoDb),
    ("read gaps", Service::DynamoDb),
    ("record gap", Service::DynamoDb),
    ("scan", Service::DynamoDb),
    ("want", Service::DynamoDb),
    ("write", Service::DynamoDb),
    ("DescribeDeliveryStream", Service::Firehose),
    ("PutRecordBatch", Service::Firehose),
    ("print", Service::Firehose),
    ("DeleteObject", Service::S3),
    ("GetObject", Service::S3),
    ("HeadObject", Service::S3),
    ("ListObjectsV2", Service::S3),
    ("PutObject", Service::S3),
    ("connect", Service::S3),
    ("probe", Service::S3),
    ("put", Service::S3),
    ("read", Service::S3),
    ("set aside", Service::S3),
    ("DELETE leases", Service::Here),
    ("INSERT leases", Service::Here),
    ("SELECT leases", Service::Here),
    ("UPDATE leases", Service::Here),
    ("INSERT gap_entries", Service::Here),
    ("SELECT gap_entries", Service::Here),
    ("UPDATE gap_entries", Service::Here),
    ("open", Service::Here),
    ("credentials", Service::Here),
    ("configuration", Service::Here),
    (OTHER, Service::Here),
];

/// All names that a call is counted under.
pub(super) fn all() -> Vec<&'static str> {
    OPERATIONS.iter().map(|(name, _)| *name).collect()
}

/// What a call is counted under, and who answers it.
pub(super) fn of(operation: &str) -> (&'static str, Service) {
    let known = OPERATIONS.iter().find(|(name, _)| *name == operation);
    known.copied().unwrap_or((OTHER, Service::Here))
}
