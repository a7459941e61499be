//! The suite of every lease table, on DynamoDB Local and on ministack: two clients each, and a stranger who comes in by the bare
//! protocol.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use penstock_aws::lease_table::{Billing, DynamoLeaseTable};
use penstock_core::ids::{LeaseKey, ShardId};
use penstock_engine::ports::LeaseTable;
use penstock_sim::conformance::lease_table::{self, Place, Stranger};
use penstock_standins::unique_account;
use serde_json::{Value, json};
use support::{config, dynamodb, dynamodb_local, ministack};

/// Another program with the table's name.
struct Program {
    endpoint: String,
    account: String,
    table: String,
}

impl Program {
    fn update(&self, key: &LeaseKey, expression: &str, values: &Value) {
        let body = json!({
            "TableName": self.table, "Key": {"leaseKey": {"S": key.as_str()}},
            "UpdateExpression": expression, "ExpressionAttributeValues": values,
        });
        dynamodb(&self.endpoint, &self.account, "UpdateItem", &body);
    }
}

#[async_trait]
impl Stranger for Program {
    async fn leave_pending(&self, key: &LeaseKey) {
        let values = json!({":p": {"S": "12"}, ":s": {"N": "0"}, ":b": {"B": "AAEC"}});
        let set = "SET pendingCheckpoint = :p, pendingCheckpointSubSequenceNumber = :s, pendingCheckpointState = :b";
        self.update(key, set, &values);
    }

    async fn leave_unknown(&self, key: &LeaseKey, value: &str) {
        self.update(key, "SET theirs = :v", &json!({":v": {"S": value}}));
    }

    async fn damage(&self, key: &LeaseKey) {
        self.update(key, "SET checkpoint = :v", &json!({":v": {"S": "EARLIEST"}}));
    }

    async fn damage_throughput(&self, key: &LeaseKey) {
        self.update(key, "SET throughputKBps = :v", &json!({":v": {"N": "-1.5"}}));
    }

    async fn name_children(&self, key: &LeaseKey, children: &[ShardId]) {
        let children: Vec<&str> = children.iter().map(ShardId::as_str).collect();
        self.update(key, "SET childShardIds = :v", &json!({":v": {"SS": children}}));
    }
}

async fn place(endpoint: String, case: &str) -> Place {
    let account = unique_account();
    let mut tables: Vec<Arc<dyn LeaseTable>> = Vec::new();
    for _worker in 0..2 {
        let table = DynamoLeaseTable::new(&config(&endpoint, &account).await, case, Billing::PayPerRequest);
        table.prepare().await.expect("a table");
        tables.push(Arc::new(table));
    }
    Place { tables, stranger: Arc::new(Program { endpoint, account, table: case.to_owned() }) }
}

#[tokio::test]
async fn dynamodb_local_keeps_the_rules() {
    lease_table::run(|case| place(dynamodb_local(), case)).await;
}

#[tokio::test]
async fn ministack_keeps_the_rules() {
    lease_table::run(|case| place(ministack(), case)).await;
}
