//! Kinesis, DynamoDB and Firehose behind the engine's seams.
