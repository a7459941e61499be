//! Rules of the protocol that can be broken on purpose, to show that the simulation notices.
//!
//! Without `--cfg penstock_mutants` [`is`] is a constant `false` and everything behind it is compiled away.

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The checkpoint is written before the objects are put.
    CommitBeforePut,
    /// Objects are put without a recorded intent.
    NoIntent,
    /// Conditional writes do not ask for the counter.
    CounterNotChecked,
    /// After an intent of unknown outcome the batch is cut anew, and the rejection of the second intent is taken for a success
    /// by the KCL's rule. It takes both: a batch cut anew is refused by the comparison of the whole row, so that cutting anew
    /// alone does no harm, and what this mutant shows beyond [`Self::KclConflictRule`] is nothing.
    RecutAfterUnknownIntent,
    /// A rejected write counts as our own success if the row names us and its counter is one more (the KCL's rule).
    KclConflictRule,
}

impl Mutant {
    /// All mutants.
    pub const ALL: [Self; 5] = [
        Self::CommitBeforePut,
        Self::NoIntent,
        Self::CounterNotChecked,
        Self::RecutAfterUnknownIntent,
        Self::KclConflictRule,
    ];
}

#[cfg(penstock_mutants)]
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

#[cfg(penstock_mutants)]
pub use active::{is, set};

/// Whether this rule is broken: never, in this build.
#[cfg(not(penstock_mutants))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
