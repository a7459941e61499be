//! A DynamoDB table: what it is, reads of an item that nobody has, and writes on a condition that can never hold.
//!
//! The item's key is `penstock-check` in each part. A refused condition is the proof that the write was allowed; it costs a write
//! unit, and nothing is stored.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Refusal, Tried};

/// The value of each part of the key.
const NOBODY: &str = "penstock-check";
/// An attribute is there and is not there.
const NEVER: &str = "attribute_exists(#key) AND attribute_not_exists(#key)";
const REFUSED: &str = "ConditionalCheckFailedException";

/// Asks about one table.
#[derive(Debug, Clone)]
pub struct TableProbe {
    client: Client,
    table: String,
    /// The attributes of its key, strings all.
    key: Vec<&'static str>,
}

/// What a table says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSeen {
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, or something else; empty if it does not say.
    pub status: String,
    /// The attributes of its key.
    pub key: Vec<String>,
    /// The KMS key that it is encrypted with, if it is not DynamoDB's own.
    pub kms_key: Option<String>,
}

impl TableProbe {
    /// A lease table.
    #[must_use]
    pub fn leases(config: &SdkConfig, table: &str) -> Self {
        Self { client: Client::new(config), table: table.to_owned(), key: vec![crate::lease_item::LEASE_KEY] }
    }

    /// The gap ledger beside a lease table.
    #[must_use]
    pub fn gaps(config: &SdkConfig, lease_table: &str) -> Self {
        let (table, key) = crate::gap_table::name_and_key(lease_table);
        Self { client: Client::new(config), table, key: key.to_vec() }
    }

    /// The coordinator table of a KCL 3 application.
    #[must_use]
    pub fn coordinator(config: &SdkConfig, lease_table: &str) -> Self {
        let table = format!("{lease_table}-CoordinatorState");
        Self { client: Client::new(config), table, key: vec!["key"] }
    }

    /// Its name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The attributes that its key has to have.
    #[must_use]
    pub fn key(&self) -> &[&'static str] {
        &self.key
    }

    fn nobody(&self) -> HashMap<String, AttributeValue> {
        self.key.iter().map(|name| ((*name).to_owned(), AttributeValue::S(NOBODY.to_owned()))).collect()
    }

    fn partition(&self) -> &'static str {
        self.key.first().copied().unwrap_or_default()
    }

    /// DescribeTable.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn describe(&self) -> Tried<TableSeen> {
        let output = self.client.describe_table().table_name(&self.table).send().await;
        let table = output.map_err(|error| Refusal::of(&error))?.table;
        let table = table.ok_or_else(|| Refusal::broken("the answer has no table"))?;
        Ok(TableSeen {
            key: table.key_schema().iter().map(|part| part.attribute_name().to_owned()).collect(),
            status: table.table_status.map_or_else(String::new, |status| status.as_str().to_owned()),
            arn: table.table_arn.unwrap_or_default(),
            kms_key: table.sse_description.and_then(|sse| sse.kms_master_key_arn),
        })
    }

    /// GetItem of nobody's item.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn get(&self) -> Tried<()> {
        let call = self.client.get_item().table_name(&self.table).set_key(Some(self.nobody()));
        call.consistent_read(true).send().await.map(drop).map_err(|error| Refusal::of(&error))
    }

    /// Scan of one item.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn scan(&self) -> Tried<()> {
        let call = self.client.scan().table_name(&self.table).consistent_read(true).limit(1);
        call.send().await.map(drop).map_err(|error| Refusal::of(&error))
    }

    /// Query of nobody's items.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn query(&self) -> Tried<()> {
        let call = self.client.query().table_name(&self.table).consistent_read(true).limit(1);
        let call = call.key_condition_expression("#key = :nobody").expression_attribute_names("#key", self.partition());
        let call = call.expression_attribute_values(":nobody", AttributeValue::S(NOBODY.to_owned()));
        call.send().await.map(drop).map_err(|error| Refusal::of(&error))
    }

    /// PutItem that cannot happen.
    ///
    /// # Errors
    /// What the service refused it with, other than the condition.
    pub async fn put_nothing(&self) -> Tried<()> {
        let call = self.client.put_item().table_name(&self.table).set_item(Some(self.nobody()));
        let call = call.condition_expression(NEVER).expression_attribute_names("#key", self.partition());
        refused(call.send().await.map(drop).map_err(|error| Refusal::of(&error)))
    }

    /// UpdateItem that cannot happen.
    ///
    /// # Errors
    /// What the service refused it with, other than the condition.
    pub async fn update_nothing(&self) -> Tried<()> {
        let call = self.client.update_item().table_name(&self.table).set_key(Some(self.nobody()));
        let call = call.update_expression("REMOVE #none").expression_attribute_names("#none", "penstockNone");
        let call = call.condition_expression(NEVER).expression_attribute_names("#key", self.partition());
        refused(call.send().await.map(drop).map_err(|error| Refusal::of(&error)))
    }

    /// DeleteItem that cannot happen.
    ///
    /// # Errors
    /// What the service refused it with, other than the condition.
    pub async fn delete_nothing(&self) -> Tried<()> {
        let call = self.client.delete_item().table_name(&self.table).set_key(Some(self.nobody()));
        let call = call.condition_expression(NEVER).expression_attribute_names("#key", self.partition());
        refused(call.send().await.map(drop).map_err(|error| Refusal::of(&error)))
    }
}

/// A refused condition is what shows the permission.
fn refused(tried: Tried<()>) -> Tried<()> {
    match tried {
        Ok(()) => Err(Refusal::broken("a write was taken whose condition can never hold: this is no DynamoDB")),
        Err(refusal) if refusal.code.as_deref() == Some(REFUSED) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}
