//! The KCL's lease table on DynamoDB: conditional writes of single attributes, so that what we do not know survives.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use penstock_core::ids::{LeaseCounter, LeaseKey};
use penstock_core::lease::{CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, UnreadableRow, WriteOutcome};
use penstock_engine::ports::{ErrorClass, KclVersion, LeaseTable, SeamError, TableProblem};

use crate::error::Place;
use crate::kcl_version;
use crate::lease_item::{self as item, Decoded, Item};
pub use crate::table::Billing;
use crate::table::Schema;

mod expression;

use expression::Expression;

/// A lease table.
#[derive(Debug, Clone)]
pub struct DynamoLeaseTable {
    client: Client,
    table: String,
    billing: Billing,
    place: Place,
}

impl DynamoLeaseTable {
    /// A table over a configuration that has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &SdkConfig, table: &str, billing: Billing) -> Self {
        Self { client: Client::new(config), table: table.to_owned(), billing, place: Place::of(config) }
    }

    async fn delete_if(&self, key: &LeaseKey, condition: Condition) -> Result<bool, SeamError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(item::LEASE_KEY, item::string(key.as_str()))
            .expression_attribute_names("#counter", item::LEASE_COUNTER)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let call = match condition {
            Condition::Counter(counter) => call
                .condition_expression("#counter = :counter")
                .expression_attribute_values(":counter", item::number(counter.0)),
            Condition::EndAndCounter(counter) => call
                .condition_expression("#counter = :counter AND #checkpoint = :end")
                .expression_attribute_values(":counter", item::number(counter.0))
                .expression_attribute_names("#checkpoint", item::CHECKPOINT)
                .expression_attribute_values(":end", item::shard_end()),
        };
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(failed.item.as_ref().is_none_or(HashMap::is_empty))
                }
                _ => Err(self.place.error("DeleteItem", &self.subject(key), error)),
            },
        }
    }

    /// The row that came back with a rejection; `None` if there is none. Nothing was written, even if what stands there cannot be
    /// read.
    fn found(&self, key: &LeaseKey, found: Option<Item>) -> Result<WriteOutcome, SeamError> {
        let Some(found) = found.filter(|found| !found.is_empty()) else { return Ok(WriteOutcome::Conflict(None)) };
        let problem = match item::decode(found) {
            Decoded::Lease(row) => return Ok(WriteOutcome::Conflict(Some(row))),
            Decoded::Other => "an item of another kind stands under this key".to_owned(),
            Decoded::Unreadable { problem, .. } => format!("the lease under this key cannot be read: {problem}"),
        };
        Err(SeamError::new("UpdateItem", self.subject(key), ErrorClass::Rejected, problem))
    }

    /// The row that a write left. It is stored, and what stands there beside our attributes cannot be read: the writer knows its row
    /// no longer, so that for it the outcome is open. It can write nothing on the counter that it has, and its lease runs out.
    fn left(&self, key: &LeaseKey, left: Option<Item>) -> Result<WriteOutcome, SeamError> {
        let problem = match item::decode(left.unwrap_or_default()) {
            Decoded::Lease(row) => return Ok(WriteOutcome::Applied(row)),
            Decoded::Other => "the item became one of another kind".to_owned(),
            Decoded::Unreadable { problem, .. } => format!("the row that it left cannot be read: {problem}"),
        };
        Err(SeamError::new("UpdateItem", self.subject(key), ErrorClass::Fatal, problem))
    }

    fn subject(&self, key: &LeaseKey) -> String {
        format!("{}/{key}", self.table)
    }
}

#[async_trait]
impl LeaseTable for DynamoLeaseTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Schema { partition: item::LEASE_KEY, sort: None, foreign }
            .prepare(&self.client, &self.table, self.billing, &self.place)
            .await
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        let mut scan = Scan::default();
        let mut from: Option<Item> = None;
        loop {
            let output = self
                .client
                .scan()
                .table_name(&self.table)
                // What is concluded from a row's absence (a parent that is done, a lost lease) must not rest on an old copy.
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| self.place.error("Scan", &self.table, error))?;
            for found in output.items.unwrap_or_default() {
                match item::decode(found) {
                    Decoded::Lease(row) => scan.rows.push(*row),
                    Decoded::Other => {}
                    Decoded::Unreadable { key, problem } => {
                        scan.unreadable.push(UnreadableRow { key: LeaseKey::new(&key), problem });
                    }
                }
            }
            from = output.last_evaluated_key;
            if from.is_none() {
                scan.rows.sort_by(|a, b| a.key.cmp(&b.key));
                return Ok(scan);
            }
        }
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::encode_new(row)))
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", item::LEASE_KEY)
            .send()
            .await;
        match result {
            Ok(_) => Ok(CreateOutcome::Created),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(CreateOutcome::Exists),
                _ => Err(self.place.error("PutItem", &self.subject(&row.key), error)),
            },
        }
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let expression = Expression::of(write);
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(item::LEASE_KEY, item::string(write.key.as_str()))
            .condition_expression(expression.condition)
            .update_expression(expression.update)
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(Some(expression.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(output) => self.left(&write.key, output.attributes),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    self.found(&write.key, failed.item.clone())
                }
                _ => Err(self.place.error("UpdateItem", &self.subject(&write.key), error)),
            },
        }
    }

    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        let expression = Expression::of_want(want);
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(item::LEASE_KEY, item::string(want.key.as_str()))
            .condition_expression(expression.condition)
            .update_expression(expression.update)
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(Some(expression.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                // A row that cannot be read has no wish that we could wait for.
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(failed.item.clone().is_some_and(|found| match item::decode(found) {
                        Decoded::Lease(row) => want.stands_in(&row),
                        Decoded::Other | Decoded::Unreadable { .. } => false,
                    }))
                }
                _ => Err(self.place.error("UpdateItem", &self.subject(&want.key), error)),
            },
        }
    }

    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        self.delete_if(key, Condition::Counter(counter)).await
    }

    async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
        kcl_version::look_up(&self.client, &self.table, &self.place).await
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        self.delete_if(key, Condition::EndAndCounter(counter)).await
    }
}

/// What is asked of a row that is to be deleted.
#[derive(Debug, Clone, Copy)]
enum Condition {
    Counter(LeaseCounter),
    EndAndCounter(LeaseCounter),
}

/// What is wrong with a table of another schema, and what to do.
fn foreign(keys: &str) -> String {
    let key = item::LEASE_KEY;
    format!("its key is {keys}, not {key} (a string); set leases.table or application.name to a name of its own")
}
