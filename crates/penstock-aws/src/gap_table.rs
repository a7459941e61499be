//! The gap ledger on DynamoDB: the table `<lease table>-gaps`, one item for each entry, in words that people can read.
//!
//! An item's key is its lease, and the time at which it was noticed with its id. Two workers that record one gap at once may leave
//! two items: they are one entry when they are read, the older one's, and acknowledged if either is.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::ids::LeaseKey;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, GapLedger, SeamError, TableProblem};

use crate::error::Place;
use crate::lease_item::{Item, number, string};
use crate::table::{self, Billing, Schema};

mod item;

use item::{ACKNOWLEDGED, LEASE_KEY, NOTICED_AND_ID};

/// What the name of the ledger's table has behind that of the lease table.
const SUFFIX: &str = "-gaps";

/// The name of the ledger's table beside a lease table, and the attributes of its key.
pub(crate) fn name_and_key(lease_table: &str) -> (String, [&'static str; 2]) {
    (format!("{lease_table}{SUFFIX}"), [LEASE_KEY, NOTICED_AND_ID])
}

/// The gap ledger beside a lease table.
#[derive(Debug, Clone)]
pub struct DynamoGapLedger {
    client: Client,
    table: String,
    billing: Billing,
    place: Place,
}

impl DynamoGapLedger {
    /// The ledger beside the lease table of that name, over a configuration that has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &SdkConfig, lease_table: &str, billing: Billing) -> Self {
        let (table, _) = name_and_key(lease_table);
        Self { client: Client::new(config), table, billing, place: Place::of(config) }
    }

    fn subject(&self, key: &LeaseKey) -> String {
        format!("{}/{key}", self.table)
    }

    /// The keys and acknowledgements of what is stored under this id.
    async fn find(&self, lease: &LeaseKey, id: GapId) -> Result<Vec<Item>, SeamError> {
        let mut items = Vec::new();
        let mut from: Option<Item> = None;
        loop {
            let output = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("#lease = :lease")
                .projection_expression("#lease, #noticed, #at")
                .expression_attribute_names("#lease", LEASE_KEY)
                .expression_attribute_names("#noticed", NOTICED_AND_ID)
                .expression_attribute_names("#at", ACKNOWLEDGED)
                .expression_attribute_values(":lease", string(lease.as_str()))
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| self.place.error("Query", &self.subject(lease), error))?;
            items.extend(output.items.unwrap_or_default().into_iter().filter(|found| item::id(found) == Some(id)));
            from = output.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// All items, page by page.
    async fn scan(&self) -> Result<Vec<Item>, SeamError> {
        let mut items = Vec::new();
        let mut from: Option<Item> = None;
        loop {
            let call = self.client.scan().table_name(&self.table).consistent_read(true).set_exclusive_start_key(from);
            let output = call.send().await.map_err(|error| self.place.error("Scan", &self.table, error))?;
            items.extend(output.items.unwrap_or_default());
            from = output.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// Sets the time of acknowledgement unless there is one, or removes it. The value tells whether the item was there.
    async fn mark(&self, mut found: Item, at: Option<UnixMillis>) -> Result<bool, SeamError> {
        let (Some(lease), Some(noticed)) = (found.remove(LEASE_KEY), found.remove(NOTICED_AND_ID)) else {
            return Ok(false);
        };
        let subject = format!("{}/{}", self.table, lease.as_s().map_or("?", String::as_str));
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(LEASE_KEY, lease)
            .key(NOTICED_AND_ID, noticed)
            .condition_expression("attribute_exists(#lease)")
            .expression_attribute_names("#lease", LEASE_KEY)
            .expression_attribute_names("#at", ACKNOWLEDGED);
        let update = match at {
            Some(at) => update
                .update_expression("SET #at = if_not_exists(#at, :at)")
                .expression_attribute_values(":at", number(at.0)),
            None => update.update_expression("REMOVE #at"),
        };
        let result = update.send().await;
        match result {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.place.error("UpdateItem", &subject, error)),
            },
        }
    }
}

#[async_trait]
impl GapLedger for DynamoGapLedger {
    async fn prepare(&self) -> Result<(), TableProblem> {
        if self.table.len() > table::MAX_NAME {
            let longest = table::MAX_NAME - SUFFIX.len();
            let message =
                format!("the name is too long for a table; set leases.table to one of at most {longest} characters");
            return Err(SeamError::new("DescribeTable", self.table.as_str(), ErrorClass::Rejected, message).into());
        }
        let schema = Schema { partition: LEASE_KEY, sort: Some(NOTICED_AND_ID), foreign };
        schema.prepare(&self.client, &self.table, self.billing, &self.place).await
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        let mut stands = false;
        for found in self.find(&entry.lease, entry.id()).await? {
            let closed = entry.acknowledged.is_none() && found.contains_key(ACKNOWLEDGED);
            // One that somebody deleted meanwhile does not stand.
            stands |= !closed || self.mark(found, None).await?;
        }
        if stands {
            return Ok(());
        }
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::encode(entry)))
            .condition_expression("attribute_not_exists(#lease)")
            .expression_attribute_names("#lease", LEASE_KEY)
            .send()
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // The same entry, noticed in the same millisecond.
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(self.place.error("PutItem", &self.subject(&entry.lease), error)),
            },
        }
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        let mut entries: BTreeMap<GapId, GapEntry> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for found in self.scan().await? {
            match item::decode(&found) {
                Ok(entry) => {
                    let id = entry.id();
                    let merged = match entries.remove(&id) {
                        None => entry,
                        Some(other) => one_of(entry, other),
                    };
                    entries.insert(id, merged);
                }
                Err(problem) => unreadable.push(problem),
            }
        }
        let mut entries: Vec<(GapId, GapEntry)> = entries.into_iter().collect();
        entries.sort_by_key(|(id, entry)| (entry.noticed, *id));
        unreadable.sort();
        Ok((entries.into_iter().map(|(_, entry)| entry).collect(), unreadable))
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        let mut any = false;
        for found in self.scan().await? {
            if item::id(&found) == Some(id) {
                any |= self.mark(found, Some(at)).await?;
            }
        }
        Ok(any)
    }
}

/// What two items of one entry say together: the older one's words, and the first acknowledgement of either.
fn one_of(one: GapEntry, other: GapEntry) -> GapEntry {
    let acknowledged = [one.acknowledged, other.acknowledged].into_iter().flatten().min();
    let older = if (other.noticed, &other.by) < (one.noticed, &one.by) { other } else { one };
    GapEntry { acknowledged, ..older }
}

/// What is wrong with a table of another schema, and what to do.
fn foreign(keys: &str) -> String {
    format!(
        "its key is {keys}, and the gap ledger has to stand under this name, with {LEASE_KEY} and {NOTICED_AND_ID} (strings); \
         set leases.table or application.name to another name"
    )
}
