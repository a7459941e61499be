//! The KCL's record of who assigns leases, `Migration3.0`: in the coordinator table of a KCL 3 application, or in its lease table.
//!
//! Nothing here is ever written.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use penstock_engine::ports::{ErrorClass, KclVersion, SeamError};

use crate::error::Place;
use crate::lease_item::{self as item, Item};
use crate::table;

const MIGRATION: &str = "Migration3.0";
const TABLE_MIGRATION: &str = "TableMigration3.5";
/// The partition key of the coordinator table.
const COORDINATOR_KEY: &str = "key";
const CLIENT_VERSION: &str = "cv";
const TABLE_STATUS: &str = "tm";
const COMPLETE: &str = "TABLE_MIGRATION_STATUS_COMPLETE";

/// The coordinator table of an application's lease table; `None` if no table can have its name.
fn coordinator_table(leases: &str) -> Option<String> {
    Some(format!("{leases}-CoordinatorState")).filter(|name| name.len() <= table::MAX_NAME)
}

/// Looks in both tables. A coordinator table that is not there says nothing; one that may not be read is an error.
pub(crate) async fn look_up(client: &Client, leases: &str, place: &Place) -> Result<KclVersion, SeamError> {
    let get = async |table: &str, attribute: &str, key: &str| {
        let subject = format!("{table}/{key}");
        let call = client.get_item().table_name(table).key(attribute, item::string(key)).consistent_read(true);
        call.send().await.map(|output| output.item).map_err(|error| place.error("GetItem", &subject, error))
    };
    let coordinator = coordinator_table(leases);
    let coordinated = async |key: &str| match &coordinator {
        None => Ok(None),
        Some(table) => match get(table, COORDINATOR_KEY, key).await {
            Err(error) if error.class == ErrorClass::NotFound => Ok(None),
            found => found,
        },
    };
    let recorded = match (coordinated(MIGRATION).await?, get(leases, item::LEASE_KEY, MIGRATION).await?) {
        (Some(coordinator), Some(leased)) if version(&coordinator) != version(&leased) => {
            let status = coordinated(TABLE_MIGRATION).await?;
            let complete = status.is_some_and(|status| text(&status, TABLE_STATUS) == Some(COMPLETE));
            Some(if complete { leased } else { coordinator })
        }
        (coordinator, leased) => coordinator.or(leased),
    };
    Ok(recorded.as_ref().map_or(KclVersion::Unrecorded, version))
}

/// What a record says. One that this version does not know is one of a leader: nothing may be taken beside that.
fn version(record: &Item) -> KclVersion {
    match text(record, CLIENT_VERSION) {
        Some(peers @ ("CLIENT_VERSION_2X" | "CLIENT_VERSION_UPGRADE_FROM_2X" | "CLIENT_VERSION_INIT")) => {
            KclVersion::Peers(peers.to_owned())
        }
        Some(other) => KclVersion::Leader(other.to_owned()),
        None => KclVersion::Leader(format!("a record without {CLIENT_VERSION}")),
    }
}

fn text<'a>(record: &'a HashMap<String, AttributeValue>, attribute: &str) -> Option<&'a str> {
    record.get(attribute).and_then(|value| value.as_s().ok()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_table_can_have_is_not_asked_for() {
        assert_eq!(coordinator_table("clicks").as_deref(), Some("clicks-CoordinatorState"));
        assert_eq!(coordinator_table(&"x".repeat(238)).map(|name| name.len()), Some(255));
        assert_eq!(coordinator_table(&"x".repeat(239)), None);
    }
}
