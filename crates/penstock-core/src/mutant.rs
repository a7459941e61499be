//! Rules of the protocol that can be broken on purpose, to show that the simulation notices.
//!
//! Without the feature `mutants` [`is`] is a constant `false` and everything behind it is compiled away.

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A lease counts as proven from the answer to a write on, instead of from before its first sending.
    StampAfterWrite,
    /// A lease that nothing proved in time goes on, and is renewed.
    ExpiredIsRenewed,
    /// Conditional writes do not ask for the counter.
    CounterNotChecked,
    /// A parent without a row is taken for done.
    AbsentParentIsDone,
    /// The row of a completed shard is deleted while the service still lists the shard.
    ParentDeletedEarly,
    /// Objects are put without a recorded intent.
    NoIntent,
    /// The checkpoint is written before the objects are put.
    CommitBeforePut,
    /// After an intent of unknown outcome the batch is cut anew. The comparison of the whole row refuses the second intent, so
    /// that no record is lost or repeated by this alone: what it costs is the lease.
    RecutAfterUnknownIntent,
    /// A rejected write counts as our own success if the row names us and its counter is one more (the KCL's rule).
    KclConflictRule,
    /// A rejected take counts as a success.
    RejectedTakeIsSuccess,
    /// A renewal is sent while the outcome of another write is unknown.
    RenewalBesideUnknown,
    /// The keys of objects do not stand in the intent: who carries it out computes them with its own function.
    KeyNotInIntent,
    /// A commit does not wait for the ledger entry of the gap that it passes.
    LedgerAfterCommit,
    /// Where a shard starts that begins at the tip is not written down once: each owner begins at the tip as it finds it.
    LatestNotPinned,
    /// A checkpoint does not say which user record of its last record it is.
    SubsequenceNotCommitted,
    /// A tool leaves the owner in the row.
    ToolKeepsOwner,
    /// A shard is started although the gap ledger is not known to hold what goes before.
    StartBeforeLedger,
}

impl Mutant {
    /// All mutants.
    pub const ALL: [Self; 17] = [
        Self::StampAfterWrite,
        Self::ExpiredIsRenewed,
        Self::CounterNotChecked,
        Self::AbsentParentIsDone,
        Self::ParentDeletedEarly,
        Self::NoIntent,
        Self::CommitBeforePut,
        Self::RecutAfterUnknownIntent,
        Self::KclConflictRule,
        Self::RejectedTakeIsSuccess,
        Self::RenewalBesideUnknown,
        Self::KeyNotInIntent,
        Self::LedgerAfterCommit,
        Self::LatestNotPinned,
        Self::SubsequenceNotCommitted,
        Self::ToolKeepsOwner,
        Self::StartBeforeLedger,
    ];
}

#[cfg(feature = "mutants")]
mod active {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    static ACTIVE: AtomicU8 = AtomicU8::new(u8::MAX);

    /// Breaks one rule for the rest of the process, or none.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.store(mutant.map_or(u8::MAX, |mutant| mutant as u8), Ordering::SeqCst);
    }

    /// Whether this rule is broken.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        ACTIVE.load(Ordering::SeqCst) == mutant as u8
    }
}

#[cfg(feature = "mutants")]
pub use active::{is, set};

/// Whether this rule is broken: never, in this build.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
