//! The two stores of leases. What an operator does has to work on both: a body that takes a store runs once on each.

use std::sync::OnceLock;

use penstock_standins::DynamoDbLocal;

use super::{Local, Services};

/// Where the leases of a test are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// A file beside the job's.
    Sqlite,
    /// DynamoDB Local, one for all tests of this process.
    DynamoDb,
}

impl Store {
    /// The section `[leases]` of a job, with these lines.
    pub(crate) fn section(self, lines: &str) -> String {
        match self {
            Self::Sqlite => format!("[leases]\nstore = \"sqlite\"\n{lines}"),
            Self::DynamoDb => format!("[leases]\nstore = \"dynamodb\"\n{lines}"),
        }
    }

    /// The services of a job: `local`, and this store.
    pub(crate) fn services(self, local: &Local) -> Services {
        match self {
            Self::Sqlite => Services::at(&local.endpoint()),
            Self::DynamoDb => Services { dynamodb: dynamodb().endpoint(), ..Services::at(&local.endpoint()) },
        }
    }
}

/// It is started for the first test that needs it, and ends with this process.
pub(crate) fn dynamodb() -> &'static DynamoDbLocal {
    static SHARED: OnceLock<DynamoDbLocal> = OnceLock::new();
    SHARED.get_or_init(DynamoDbLocal::start)
}
