//! Where leases are kept.

use async_trait::async_trait;
use penstock_core::ids::{LeaseCounter, LeaseKey};
use penstock_core::lease::{CreateOutcome, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};

use super::SeamError;

/// The lease table of one application. A condition that does not hold is a value, not an error.
///
/// The class of an error tells whether a write may have been applied: `Throttled`, `Denied`, `Rejected` and `NotFound` say that it was not,
/// `Transient` and `Fatal` leave it open.
#[async_trait]
pub trait LeaseTable: Send + Sync + 'static {
    /// Creates what is missing and checks that what is there is a lease table. Called once, at the start.
    ///
    /// # Errors
    /// [`TableProblem::Foreign`] if something else stands under the name; otherwise what the store said.
    async fn prepare(&self) -> Result<(), TableProblem>;

    /// All rows. Rows that do not stand for a lease are left out; rows that cannot be read are named.
    ///
    /// # Errors
    /// What the store said; a partial scan is an error.
    async fn scan(&self) -> Result<Scan, SeamError>;

    /// Stores a new row unless one with its key exists.
    ///
    /// # Errors
    /// What the store said.
    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError>;

    /// Changes one row if it is as expected: atomically, and leaving alone whatever the write does not name.
    ///
    /// # Errors
    /// What the store said; see the trait for what the class says of the effect.
    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError>;

    /// Sets the wish of a row if it is as the wish asks, and touches nothing else. The value tells whether it stands now; a wish
    /// that stands already is one that stands.
    ///
    /// # Errors
    /// What the store said.
    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError>;

    /// Takes a row away whatever its checkpoint, if its counter is the given one; for tools. The value tells whether it is gone.
    ///
    /// # Errors
    /// What the store said.
    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError>;

    /// What the KCL's own record says of who assigns leases on this table (`Migration3.0`, wherever that version keeps it).
    ///
    /// # Errors
    /// What the store said.
    async fn kcl_version(&self) -> Result<KclVersion, SeamError>;

    /// Deletes a row if its checkpoint is `SHARD_END` and its counter is the given one. The value tells whether the row is gone.
    ///
    /// # Errors
    /// What the store said.
    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError>;
}

/// Who assigns the leases of a table, by the KCL's own record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KclVersion {
    /// There is no record: no KCL 3 worker was ever here.
    Unrecorded,
    /// Every worker takes for itself (the 2x protocol): `CLIENT_VERSION_2X`, `…_UPGRADE_FROM_2X`, `…_INIT`. As recorded.
    Peers(String),
    /// One leader assigns: `CLIENT_VERSION_3X`, `…_3X_WITH_ROLLBACK`, or a text that this version does not know. As recorded.
    Leader(String),
}

/// Why a lease table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableProblem {
    /// Something that is not a lease table, or not a gap ledger, stands under its name.
    #[error("{table} cannot be used: {problem}")]
    Foreign {
        /// The table or file.
        table: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The store could not be asked or did not allow it.
    #[error("{0}")]
    Unusable(#[from] SeamError),
}
