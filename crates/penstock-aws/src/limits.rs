//! Numbers of the services, each with its source.

/// Records of one PutRecordBatch (Firehose quotas).
pub const FIREHOSE_MAX_RECORDS: usize = 500;

/// Raw bytes of one PutRecordBatch. The quota is 4 MiB, and the documentation does not say whether before or after base64; this
/// leaves a margin below it.
pub const FIREHOSE_MAX_CALL_BYTES: usize = 4_000_000;

/// Raw bytes of one Firehose record: 1,000 KiB (Firehose API model).
pub const FIREHOSE_MAX_RECORD_BYTES: usize = 1_024_000;

/// The bytes up to a multiple of which each Firehose record is rounded on the bill (Firehose pricing).
pub const FIREHOSE_BILLED_STEP: u64 = 5 * 1024;

/// Records of one GetRecords (Kinesis API model).
pub const KINESIS_MAX_RECORDS: u32 = 10_000;

/// Shards of one ListShards page (Kinesis API model).
pub const KINESIS_MAX_SHARDS_PER_PAGE: i32 = 1_000;

/// How long a new lease table may take to become active; the KCL waits as long.
pub const TABLE_WAIT: std::time::Duration = std::time::Duration::from_secs(600);
