//! A gap ledger in memory: atomic, and without any fault of its own. Faults are added by who wraps it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{GapLedger, SeamError, TableProblem};

use crate::conformance::gap_ledger::Stranger;

/// The entries of one application. Every method is one atomic step; the `async` ones of [`GapLedger`] never wait.
#[derive(Debug, Default)]
pub struct SimulatedGapLedger {
    entries: Mutex<BTreeMap<GapId, Stored>>,
}

#[derive(Debug, Clone)]
struct Stored {
    entry: GapEntry,
    /// What makes the entry unreadable, if something does.
    problem: Option<String>,
}

impl SimulatedGapLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores an entry now, unless one with its id is there, which is open then.
    pub fn record_now(&self, entry: &GapEntry) {
        let mut entries = self.lock();
        let stored = entries.entry(entry.id()).or_insert_with(|| Stored { entry: entry.clone(), problem: None });
        if entry.acknowledged.is_none() {
            stored.entry.acknowledged = None;
        }
    }

    /// All entries that can be read, the oldest first.
    #[must_use]
    pub fn entries_now(&self) -> Vec<GapEntry> {
        let entries = self.lock();
        let mut readable: Vec<_> = entries.iter().filter(|(_, stored)| stored.problem.is_none()).collect();
        readable.sort_by_key(|(id, stored)| (stored.entry.noticed, **id));
        readable.into_iter().map(|(_, stored)| stored.entry.clone()).collect()
    }

    /// The names of the entries that cannot be read.
    #[must_use]
    pub fn unreadable_now(&self) -> Vec<String> {
        let named = |(id, stored): (&GapId, &Stored)| {
            stored.problem.as_ref().map(|problem| format!("the entry {id} cannot be read: {problem}"))
        };
        self.lock().iter().filter_map(named).collect()
    }

    /// Marks an entry as looked at, now; the value tells whether there is such an entry.
    pub fn acknowledge_now(&self, id: GapId, at: UnixMillis) -> bool {
        let mut entries = self.lock();
        let Some(stored) = entries.get_mut(&id) else { return false };
        stored.entry.acknowledged.get_or_insert(at);
        true
    }

    /// Makes an entry unreadable.
    pub fn damage_now(&self, id: GapId, problem: &str) {
        if let Some(stored) = self.lock().get_mut(&id) {
            stored.problem = Some(problem.to_owned());
        }
    }

    /// Nothing is done under the lock that could leave an entry half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<GapId, Stored>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl GapLedger for SimulatedGapLedger {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(())
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        self.record_now(entry);
        Ok(())
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        Ok((self.entries_now(), self.unreadable_now()))
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        Ok(self.acknowledge_now(id, at))
    }
}

#[async_trait]
impl Stranger for SimulatedGapLedger {
    async fn damage(&self, entry: &GapEntry) {
        self.damage_now(entry.id(), "its reason is none");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::gap_ledger::{self, Place};

    #[tokio::test]
    async fn the_simulated_ledger_keeps_the_rules() {
        gap_ledger::run(|_case| async {
            let ledger = Arc::new(SimulatedGapLedger::new());
            Place { ledgers: vec![ledger.clone()], stranger: ledger }
        })
        .await;
    }
}
