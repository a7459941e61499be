//! Carries records from Kinesis Data Streams into Firehose or S3.
fn main() {}
