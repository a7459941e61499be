//! A DynamoDB table of ours: made if it is missing, waited for, and told apart from another of the same name.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ProvisionedThroughput, ScalarAttributeType,
    TableDescription, TableStatus,
};
use penstock_engine::ports::{ErrorClass, SeamError, TableProblem};

use crate::error::Place;
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

/// The longest name that a table can have.
pub(crate) const MAX_NAME: usize = 255;

/// The keys of a table, strings all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    pub(crate) partition: &'static str,
    pub(crate) sort: Option<&'static str>,
    /// What to say of a table that has these other keys.
    pub(crate) foreign: fn(&str) -> String,
}

impl Schema {
    /// Makes the table if it is missing, waits until it can be used, and checks its keys.
    pub(crate) async fn prepare(
        self,
        client: &Client,
        table: &str,
        billing: Billing,
        place: &Place,
    ) -> Result<(), TableProblem> {
        // Two looks a second for a local stand-in, and no more than the quota's ten on AWS.
        const PAUSE: Duration = Duration::from_millis(500);
        let mut waited = Duration::ZERO;
        let mut created = false;
        loop {
            match describe(client, table, place).await? {
                Some(found) => {
                    self.check(table, &found)?;
                    match found.table_status() {
                        // Some stand-ins tell no status.
                        None | Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                        Some(
                            status @ (TableStatus::Archived
                            | TableStatus::Archiving
                            | TableStatus::InaccessibleEncryptionCredentials),
                        ) => return Err(unusable(table, status).into()),
                        _ if waited < TABLE_WAIT => {}
                        status => return Err(still(table, status, waited).into()),
                    }
                }
                None if !created => {
                    self.create(client, table, billing, place).await?;
                    created = true;
                    continue;
                }
                None if waited < TABLE_WAIT => {}
                None => return Err(still(table, None, waited).into()),
            }
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
    }

    /// The names of the keys with their roles.
    fn keys(self) -> impl Iterator<Item = (&'static str, KeyType)> {
        [(self.partition, KeyType::Hash)].into_iter().chain(self.sort.map(|sort| (sort, KeyType::Range)))
    }

    async fn create(self, client: &Client, table: &str, billing: Billing, place: &Place) -> Result<(), SeamError> {
        let impossible = |error: BuildError| SeamError::new("CreateTable", table, ErrorClass::Fatal, error.to_string());
        let mut call = client.create_table().table_name(table);
        for (name, role) in self.keys() {
            let definition =
                AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
            let element = KeySchemaElement::builder().attribute_name(name).key_type(role).build();
            call = call.attribute_definitions(definition.map_err(impossible)?).key_schema(element.map_err(impossible)?);
        }
        let call = match billing {
            Billing::PayPerRequest => call.billing_mode(BillingMode::PayPerRequest),
            Billing::Provisioned => {
                let units = ProvisionedThroughput::builder().read_capacity_units(10).write_capacity_units(10).build();
                call.billing_mode(BillingMode::Provisioned).provisioned_throughput(units.map_err(impossible)?)
            }
        };
        match call.send().await {
            Ok(_) => Ok(()),
            // Another worker was quicker.
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => Ok(()),
            Err(error) => Err(place.error("CreateTable", table, error)),
        }
    }

    fn check(self, name: &str, table: &TableDescription) -> Result<(), TableProblem> {
        let found: Vec<String> =
            table.key_schema().iter().map(|key| format!("{} ({})", key.attribute_name(), key.key_type())).collect();
        let ours: Vec<String> = self.keys().map(|(name, role)| format!("{name} ({role})")).collect();
        let is_string = |name: &str| {
            let mut definitions = table.attribute_definitions().iter();
            definitions.any(|it| it.attribute_name() == name && *it.attribute_type() == ScalarAttributeType::S)
        };
        if found == ours && self.keys().all(|(name, _)| is_string(name)) {
            return Ok(());
        }
        Err(TableProblem::Foreign { table: name.to_owned(), problem: (self.foreign)(&found.join(", ")) })
    }
}

async fn describe(client: &Client, table: &str, place: &Place) -> Result<Option<TableDescription>, SeamError> {
    match client.describe_table().table_name(table).send().await {
        Ok(output) => Ok(output.table),
        Err(error) => match place.error("DescribeTable", table, error) {
            missing if missing.class == ErrorClass::NotFound => Ok(None),
            error => Err(error),
        },
    }
}

fn still(table: &str, status: Option<&TableStatus>, waited: Duration) -> SeamError {
    let status = status.map_or("missing", TableStatus::as_str);
    let message = format!("the table is still {status} after {} s", waited.as_secs());
    SeamError::new("DescribeTable", table, ErrorClass::Transient, message)
}

fn unusable(table: &str, status: &TableStatus) -> SeamError {
    let message = format!("the table is {status}; restore it, or set leases.table to another name");
    SeamError::new("DescribeTable", table, ErrorClass::Rejected, message)
}
