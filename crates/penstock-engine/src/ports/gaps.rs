//! Where it is kept that records may be missing or repeated by someone else's doing.

use async_trait::async_trait;
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::time::UnixMillis;

use super::{SeamError, TableProblem};

/// The gap ledger of one application, beside its leases.
#[async_trait]
pub trait GapLedger: Send + Sync + 'static {
    /// Creates what is missing and checks that what is there is a gap ledger. Called once, at the start.
    ///
    /// # Errors
    /// [`TableProblem::Foreign`] if something else stands under the name; otherwise what the store said.
    async fn prepare(&self) -> Result<(), TableProblem>;

    /// Stores an entry, durably, unless one with its id is there: writing one twice, by two workers even, leaves one, with the
    /// words of the first. If that one was acknowledged, it is open again: an id says where records are missing, as far as that
    /// is known, and not which, so whatever is noticed after somebody has looked is to be looked at again. An entry that is
    /// itself acknowledged opens nothing. Whoever notices a gap therefore writes it once, and again only for want of an answer.
    ///
    /// # Errors
    /// What the store said; the entry may be stored nevertheless, and the same call may be made again.
    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError>;

    /// All entries, each id once, the oldest first. Entries that cannot be read are left out and named in the second list.
    ///
    /// # Errors
    /// What the store said; a partial list is an error.
    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError>;

    /// Marks an entry as looked at. The value tells whether there is such an entry; one that was acknowledged before keeps its
    /// time.
    ///
    /// # Errors
    /// What the store said.
    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError>;
}
