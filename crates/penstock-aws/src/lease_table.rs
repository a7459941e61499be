//! The KCL's lease table on DynamoDB: conditional writes of single attributes, so that what we do not know survives.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ProvisionedThroughput,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableDescription, TableStatus,
};
use penstock_core::ids::{LeaseCounter, LeaseKey};
use penstock_core::lease::{
    Change, CreateOutcome, Expect, Field, LeaseRow, LeaseWrite, Scan, UnreadableRow, WriteOutcome,
};
use penstock_engine::ports::{ErrorClass, LeaseTable, SeamError, TableProblem};

use crate::error::Place;
use crate::lease_item::{self as item, Decoded, Item};
use crate::limits::TABLE_WAIT;

/// How a table is billed that penstock creates; an existing table is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Billing {
    /// On demand.
    #[default]
    PayPerRequest,
    /// Ten read and ten write units, the KCL's default.
    Provisioned,
}

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

    async fn describe(&self) -> Result<Option<TableDescription>, SeamError> {
        match self.client.describe_table().table_name(&self.table).send().await {
            Ok(output) => Ok(output.table),
            Err(error) => match self.place.error("DescribeTable", &self.table, error) {
                missing if missing.class == ErrorClass::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn create_table(&self) -> Result<(), SeamError> {
        let call = self
            .client
            .create_table()
            .table_name(&self.table)
            .attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(item::LEASE_KEY)
                    .attribute_type(ScalarAttributeType::S)
                    .build()
                    .map_err(|error| self.impossible("CreateTable", &error))?,
            )
            .key_schema(
                KeySchemaElement::builder()
                    .attribute_name(item::LEASE_KEY)
                    .key_type(KeyType::Hash)
                    .build()
                    .map_err(|error| self.impossible("CreateTable", &error))?,
            );
        let call = match self.billing {
            Billing::PayPerRequest => call.billing_mode(BillingMode::PayPerRequest),
            Billing::Provisioned => call.billing_mode(BillingMode::Provisioned).provisioned_throughput(
                ProvisionedThroughput::builder()
                    .read_capacity_units(10)
                    .write_capacity_units(10)
                    .build()
                    .map_err(|error| self.impossible("CreateTable", &error))?,
            ),
        };
        match call.send().await {
            Ok(_) => Ok(()),
            // Another worker was quicker.
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => Ok(()),
            Err(error) => Err(self.place.error("CreateTable", &self.table, error)),
        }
    }

    fn impossible(&self, operation: &'static str, error: &dyn std::error::Error) -> SeamError {
        SeamError::new(operation, self.table.as_str(), ErrorClass::Fatal, error.to_string())
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

    fn subject(&self, key: &LeaseKey) -> String {
        format!("{}/{key}", self.table)
    }

    fn still(&self, status: Option<&TableStatus>, waited: Duration) -> SeamError {
        let status = status.map_or("missing", TableStatus::as_str);
        let message = format!("the table is still {status} after {} s", waited.as_secs());
        SeamError::new("DescribeTable", self.table.as_str(), ErrorClass::Transient, message)
    }

    fn unusable(&self, status: &TableStatus) -> SeamError {
        let message = format!("the table is {status}; restore it, or set leases.table to another name");
        SeamError::new("DescribeTable", self.table.as_str(), ErrorClass::Rejected, message)
    }
}

#[async_trait]
impl LeaseTable for DynamoLeaseTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        // Two looks a second for a local stand-in, and no more than the quota's ten on AWS.
        const PAUSE: Duration = Duration::from_millis(500);
        let mut waited = Duration::ZERO;
        let mut created = false;
        loop {
            match self.describe().await? {
                Some(table) => {
                    check_schema(&self.table, &table)?;
                    match table.table_status() {
                        // Some stand-ins tell no status.
                        None | Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                        Some(
                            status @ (TableStatus::Archived
                            | TableStatus::Archiving
                            | TableStatus::InaccessibleEncryptionCredentials),
                        ) => return Err(self.unusable(status).into()),
                        _ if waited < TABLE_WAIT => {}
                        status => return Err(self.still(status, waited).into()),
                    }
                }
                None if !created => {
                    self.create_table().await?;
                    created = true;
                    continue;
                }
                None if waited < TABLE_WAIT => {}
                None => return Err(self.still(None, waited).into()),
            }
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
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
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(WriteOutcome::Applied),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    self.found(&write.key, failed.item.clone())
                }
                _ => Err(self.place.error("UpdateItem", &self.subject(&write.key), error)),
            },
        }
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let result = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(item::LEASE_KEY, item::string(key.as_str()))
            .condition_expression("#counter = :counter AND #checkpoint = :end")
            .expression_attribute_names("#counter", item::LEASE_COUNTER)
            .expression_attribute_names("#checkpoint", item::CHECKPOINT)
            .expression_attribute_values(":counter", item::number(counter.0))
            .expression_attribute_values(":end", item::shard_end())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(failed.item.as_ref().is_none_or(HashMap::is_empty))
                }
                _ => Err(self.place.error("DeleteItem", &self.subject(key), error)),
            },
        }
    }
}

/// A lease table has one key, `leaseKey`, a string.
fn check_schema(name: &str, table: &TableDescription) -> Result<(), TableProblem> {
    let keys: Vec<String> =
        table.key_schema().iter().map(|key| format!("{} ({})", key.attribute_name(), key.key_type())).collect();
    let is_string = table
        .attribute_definitions()
        .iter()
        .any(|it| it.attribute_name() == item::LEASE_KEY && *it.attribute_type() == ScalarAttributeType::S);
    if keys == [format!("{} (HASH)", item::LEASE_KEY)] && is_string {
        return Ok(());
    }
    let problem = format!(
        "its key is {}, not {} (a string); set leases.table or application.name to a name of its own",
        keys.join(", "),
        item::LEASE_KEY
    );
    Err(TableProblem::Foreign { table: name.to_owned(), problem })
}

/// The expressions of one conditional write. Every name goes through a placeholder, since some are reserved words.
#[derive(Debug, Default)]
struct Expression {
    condition: String,
    update: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn of(write: &LeaseWrite) -> Self {
        let mut expression = Self::default();
        expression.condition = expression.condition_of(&write.expect);
        expression.update = expression.update_of(&write.change);
        expression
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn equals(&mut self, attribute: &str, value: AttributeValue) -> String {
        let name = self.name(attribute);
        let placeholder = format!(":is_{attribute}");
        self.values.insert(placeholder.clone(), value);
        format!("{name} = {placeholder}")
    }

    fn absent(&mut self, attribute: &str) -> String {
        format!("attribute_not_exists({})", self.name(attribute))
    }

    fn condition_of(&mut self, expect: &Expect) -> String {
        let Expect { counter, owner, checkpoint, intent, no_checkpoint_owner } = expect;
        let mut terms = vec![self.equals(item::LEASE_COUNTER, item::number(counter.0))];
        match owner {
            None => {}
            Some(None) => terms.push(self.absent(item::LEASE_OWNER)),
            Some(Some(owner)) => terms.push(self.equals(item::LEASE_OWNER, item::string(owner.as_str()))),
        }
        if let Some(position) = checkpoint {
            let (sequence, subsequence) = item::checkpoint_values(position);
            terms.push(self.equals(item::CHECKPOINT, sequence));
            let term = self.equals(item::CHECKPOINT_SUB, subsequence);
            // Rows of other writers may lack it, and then it means 0.
            match position.record().is_none_or(|position| position.subsequence == 0) {
                true => terms.push(format!("({term} OR {})", self.absent(item::CHECKPOINT_SUB))),
                false => terms.push(term),
            }
        }
        match intent {
            None => {}
            Some(None) => terms.push(self.absent(item::INTENT)),
            Some(Some(intent)) => terms.push(self.equals(item::INTENT, item::binary(intent))),
        }
        if *no_checkpoint_owner {
            terms.push(self.absent(item::CHECKPOINT_OWNER));
        }
        terms.join(" AND ")
    }

    fn update_of(&mut self, change: &Change) -> String {
        let Change {
            counter,
            owner,
            owner_switches,
            checkpoint,
            children,
            hash_range,
            end_handoff,
            start,
            stream_created,
            arrival,
            lag,
            chain,
            intent,
            wanted,
        } = change;
        let mut update = Update { expression: self, sets: Vec::new(), removes: Vec::new() };
        update.set(item::LEASE_COUNTER, item::number(counter.0));
        update.field(item::LEASE_OWNER, owner, |owner| item::string(owner.as_str()));
        if let Some(switches) = owner_switches {
            update.set(item::OWNER_SWITCHES, item::number(switches));
        }
        if let Some(position) = checkpoint {
            let (sequence, subsequence) = item::checkpoint_values(position);
            update.set(item::CHECKPOINT, sequence);
            update.set(item::CHECKPOINT_SUB, subsequence);
            item::PENDING.iter().for_each(|name| update.remove(name));
        }
        match children.as_ref().map(item::shard_ids) {
            None => {}
            Some(Some(children)) => update.set(item::CHILDREN, children),
            Some(None) => update.remove(item::CHILDREN),
        }
        if let Some(range) = hash_range {
            update.set(item::HASH_START, item::string(&range.start.to_string()));
            update.set(item::HASH_END, item::string(&range.end.to_string()));
        }
        if *end_handoff {
            update.remove(item::CHECKPOINT_OWNER);
        }
        update.field(item::START, start, |at| item::number(at.0));
        update.field(item::STREAM, stream_created, |at| item::number(at.0));
        update.field(item::ARRIVAL, arrival, |at| item::number(at.0));
        update.field(item::LAG, lag, |lag| item::number(lag));
        update.field(item::CHAIN, chain, |chain| item::string(&chain.to_string()));
        update.field(item::INTENT, intent, item::binary);
        update.field(item::WANTED, wanted, |worker| item::string(worker.as_str()));
        update.text()
    }
}

/// Collects the clauses of an update expression.
struct Update<'a> {
    expression: &'a mut Expression,
    sets: Vec<String>,
    removes: Vec<String>,
}

impl Update<'_> {
    fn set(&mut self, attribute: &str, value: AttributeValue) {
        let name = self.expression.name(attribute);
        let placeholder = format!(":to_{attribute}");
        self.expression.values.insert(placeholder.clone(), value);
        self.sets.push(format!("{name} = {placeholder}"));
    }

    fn remove(&mut self, attribute: &str) {
        let name = self.expression.name(attribute);
        self.removes.push(name);
    }

    fn field<T>(&mut self, attribute: &str, field: &Field<T>, value: impl Fn(&T) -> AttributeValue) {
        match field {
            Field::Keep => {}
            Field::Set(to) => self.set(attribute, value(to)),
            Field::Remove => self.remove(attribute),
        }
    }

    fn text(self) -> String {
        let mut text = format!("SET {}", self.sets.join(", "));
        if !self.removes.is_empty() {
            text.push_str(" REMOVE ");
            text.push_str(&self.removes.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use penstock_core::ids::WorkerId;
    use penstock_core::position::{Position, RecordPosition};

    use super::*;

    #[test]
    fn a_renewal_asks_for_counter_owner_and_no_handoff_and_changes_the_counter_alone() {
        let expect = Expect {
            owner: Some(Some(WorkerId::new("me"))),
            no_checkpoint_owner: true,
            ..Expect::counter(LeaseCounter(4))
        };
        let write = LeaseWrite { key: LeaseKey::new("k"), expect, change: Change::counter(LeaseCounter(5)) };
        let expression = Expression::of(&write);
        assert_eq!(
            expression.condition,
            "#leaseCounter = :is_leaseCounter AND #leaseOwner = :is_leaseOwner AND attribute_not_exists(#checkpointOwner)"
        );
        assert_eq!(expression.update, "SET #leaseCounter = :to_leaseCounter");
        assert_eq!(expression.values[":is_leaseCounter"], item::number(4));
        assert_eq!(expression.values[":to_leaseCounter"], item::number(5));
    }

    #[test]
    fn a_commit_removes_the_intent_and_the_pending_attributes_of_the_kcl() {
        let at = RecordPosition::parse("123/4").expect("sound");
        let change =
            Change { checkpoint: Some(Position::After(at)), intent: Field::Remove, ..Change::counter(LeaseCounter(2)) };
        let expect = Expect {
            checkpoint: Some(Position::TrimHorizon),
            intent: Some(Some(Bytes::from_static(b"i"))),
            ..Expect::counter(LeaseCounter(1))
        };
        let expression = Expression::of(&LeaseWrite { key: LeaseKey::new("k"), expect, change });
        for removed in [item::INTENT, item::PENDING[0], item::PENDING[1], item::PENDING[2]] {
            let removes = expression.update.split(" REMOVE ").nth(1).expect("removes something");
            assert!(removes.contains(&format!("#{removed}")), "{removed}");
        }
        assert_eq!(expression.values[":to_checkpoint"], item::string("123"));
        assert_eq!(expression.values[":to_checkpointSubSequenceNumber"], item::number(4));
        assert_eq!(expression.values[":is_checkpoint"], item::string("TRIM_HORIZON"));
    }
}
