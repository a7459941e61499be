//! Which permission a call needs, and which file of `deploy/iam/` has it.

use super::report::Grant;

/// A permission, as a policy names it, with the file that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) policy: &'static str,
}

impl Action {
    /// It, on a resource.
    pub(super) fn on(self, resource: &str) -> Grant {
        Grant { action: self.name, resource: resource.to_owned(), policy: self.policy }
    }
}

macro_rules! actions {
    ($policy:literal: $($item:ident = $name:literal;)*) => {
        $(pub(super) const $item: Action = Action { name: $name, policy: concat!("deploy/iam/", $policy) };)*
    };
}

actions! { "source-polling.json":
    DESCRIBE_STREAM = "kinesis:DescribeStreamSummary";
    LIST_SHARDS = "kinesis:ListShards";
    GET_ITERATOR = "kinesis:GetShardIterator";
    GET_RECORDS = "kinesis:GetRecords";
}
actions! { "source-kms.json": DECRYPT_STREAM = "kms:Decrypt"; }
actions! { "leases.json":
    DESCRIBE_TABLE = "dynamodb:DescribeTable";
    CREATE_TABLE = "dynamodb:CreateTable";
    GET_ITEM = "dynamodb:GetItem";
    SCAN = "dynamodb:Scan";
    QUERY = "dynamodb:Query";
    PUT_ITEM = "dynamodb:PutItem";
    UPDATE_ITEM = "dynamodb:UpdateItem";
    DELETE_ITEM = "dynamodb:DeleteItem";
}
actions! { "firehose-sink.json":
    DESCRIBE_DELIVERY = "firehose:DescribeDeliveryStream";
    PUT_RECORDS = "firehose:PutRecordBatch";
}
actions! { "s3-sink.json":
    PUT_OBJECT = "s3:PutObject";
    GET_OBJECT = "s3:GetObject";
    LIST_BUCKET = "s3:ListBucket";
}
actions! { "s3-sink-kms.json": KMS_OF_BUCKET = "kms:GenerateDataKey"; }
actions! { "assume-roles.json": ASSUME_ROLE = "sts:AssumeRole"; }

/// What the stream's own policy has to allow to another account.
pub(super) const CROSS_ACCOUNT: &str = "deploy/iam/source-cross-account.json";
