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
    GET_ITEM = "dynamodb:GetItem";
    SCAN = "dynamodb:Scan";
    QUERY = "dynamodb:Query";
    PUT_ITEM = "dynamodb:PutItem";
    UPDATE_ITEM = "dynamodb:UpdateItem";
    DELETE_ITEM = "dynamodb:DeleteItem";
}
actions! { "leases-create.json": CREATE_TABLE = "dynamodb:CreateTable"; }
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
actions! { "assume-source-role.json": ASSUME_SOURCE = "sts:AssumeRole"; }
actions! { "assume-sink-role.json": ASSUME_SINK = "sts:AssumeRole"; }

/// Whom a role that is assumed has to trust.
pub(super) const TRUST: &str = "deploy/iam/assumed-role.trust.json";

/// What the stream's own policy has to allow to another account.
pub(super) const CROSS_ACCOUNT: &str = "deploy/iam/source-cross-account.resource-policy.json";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn allowed(file: &str) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let policy: serde_json::Value = serde_json::from_str(&text).unwrap();
        let actions = policy["Statement"].as_array().unwrap().iter().map(|statement| match &statement["Action"] {
            serde_json::Value::Array(actions) => {
                actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect()
            }
            action => vec![action.as_str().unwrap().to_owned()],
        });
        actions.collect::<Vec<_>>().concat()
    }

    #[test]
    fn each_action_stands_in_the_file_that_is_named_for_it() {
        for action in [
            DESCRIBE_STREAM,
            LIST_SHARDS,
            GET_ITERATOR,
            GET_RECORDS,
            DECRYPT_STREAM,
            DESCRIBE_TABLE,
            CREATE_TABLE,
            GET_ITEM,
            SCAN,
            QUERY,
            PUT_ITEM,
            UPDATE_ITEM,
            DELETE_ITEM,
            DESCRIBE_DELIVERY,
            PUT_RECORDS,
            PUT_OBJECT,
            GET_OBJECT,
            LIST_BUCKET,
            KMS_OF_BUCKET,
            ASSUME_SOURCE,
            ASSUME_SINK,
        ] {
            assert!(allowed(action.policy).iter().any(|allowed| allowed == action.name), "{action:?}");
        }
        assert!(allowed(TRUST).iter().any(|allowed| allowed == ASSUME_SOURCE.name));
        assert!(allowed(CROSS_ACCOUNT).iter().any(|allowed| allowed == GET_RECORDS.name));
    }
}
