//! A lease table in memory: atomic, and without any fault of its own. Faults are added by who wraps it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::ids::{LeaseCounter, LeaseKey, ShardId};
use penstock_core::lease::{CreateOutcome, Field, LeaseRow, LeaseWant, LeaseWrite, Scan, UnreadableRow, WriteOutcome};
use penstock_core::position::Position;
use penstock_engine::ports::{ErrorClass, KclVersion, LeaseTable, SeamError, TableProblem};

use crate::conformance::lease_table::Stranger;

/// The rows of one application. Every method is one atomic step; the `async` ones of [`LeaseTable`] never wait.
#[derive(Debug)]
pub struct SimulatedLeaseTable {
    rows: Mutex<BTreeMap<LeaseKey, Stored>>,
    version: Mutex<KclVersion>,
}

impl Default for SimulatedLeaseTable {
    fn default() -> Self {
        Self { rows: Mutex::default(), version: Mutex::new(KclVersion::Unrecorded) }
    }
}

#[derive(Debug, Clone)]
struct Stored {
    row: LeaseRow,
    /// What makes the row unreadable, if something does.
    problem: Option<String>,
    /// Its throughput cannot be read, and is the only thing in it that is unknown.
    unread_throughput: bool,
}

impl Stored {
    fn readable(&self, operation: &'static str) -> Result<(), SeamError> {
        let Some(problem) = &self.problem else { return Ok(()) };
        let message = format!("the lease under this key cannot be read: {problem}");
        Err(SeamError::new(operation, self.row.key.as_str(), ErrorClass::Rejected, message))
    }
}

impl SimulatedLeaseTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows in the order of their keys, those included that a reader could not read.
    #[must_use]
    pub fn rows(&self) -> Vec<LeaseRow> {
        self.lock().values().map(|stored| stored.row.clone()).collect()
    }

    /// The row of a key.
    #[must_use]
    pub fn row(&self, key: &LeaseKey) -> Option<LeaseRow> {
        self.lock().get(key).map(|stored| stored.row.clone())
    }

    /// What a scan gives now.
    #[must_use]
    pub fn scan_now(&self) -> Scan {
        let mut scan = Scan::default();
        for (key, Stored { row, problem, unread_throughput: _ }) in self.lock().iter() {
            match problem {
                None => scan.rows.push(row.clone()),
                Some(problem) => scan.unreadable.push(UnreadableRow { key: key.clone(), problem: problem.clone() }),
            }
        }
        scan
    }

    /// Stores a new row now, unless one with its key exists.
    pub fn create_now(&self, row: &LeaseRow) -> CreateOutcome {
        let mut rows = self.lock();
        if rows.contains_key(&row.key) {
            return CreateOutcome::Exists;
        }
        rows.insert(row.key.clone(), Stored { row: row.clone(), problem: None, unread_throughput: false });
        CreateOutcome::Created
    }

    /// Applies a conditional write now.
    ///
    /// # Errors
    /// `Rejected` if the row cannot be read; nothing was written then.
    pub fn write_now(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let mut rows = self.lock();
        let Some(stored) = rows.get_mut(&write.key) else { return Ok(WriteOutcome::Conflict(None)) };
        stored.readable("write")?;
        if !write.expect.holds(&stored.row) {
            return Ok(WriteOutcome::Conflict(Some(Box::new(stored.row.clone()))));
        }
        stored.row = write.change.apply(&stored.row);
        if write.change.throughput != Field::Keep && std::mem::take(&mut stored.unread_throughput) {
            stored.row.unknown = None;
        }
        Ok(WriteOutcome::Applied(Box::new(stored.row.clone())))
    }

    /// Sets a wish now; the value tells whether it stands.
    ///
    /// # Errors
    /// `Rejected` if the row cannot be read; nothing was written then.
    pub fn want_now(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        let mut rows = self.lock();
        let Some(stored) = rows.get_mut(&want.key) else { return Ok(false) };
        stored.readable("want")?;
        if want.holds(&stored.row) {
            stored.row.wanted = Some(want.wanted.clone());
        }
        Ok(want.stands_in(&stored.row))
    }

    /// Takes a row of that counter away now, whatever its checkpoint; the value tells whether it is gone.
    pub fn remove_now(&self, key: &LeaseKey, counter: LeaseCounter) -> bool {
        let mut rows = self.lock();
        let gone = rows.get(key).is_none_or(|stored| stored.row.counter == counter);
        if gone {
            rows.remove(key);
        }
        gone
    }

    /// What the KCL's record says now.
    #[must_use]
    pub fn version_now(&self) -> KclVersion {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the KCL's record, as a KCL 3 worker or its migration tool does.
    pub fn set_version(&self, version: KclVersion) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    /// Deletes a completed row now; the value tells whether it is gone.
    pub fn delete_now(&self, key: &LeaseKey, counter: LeaseCounter) -> bool {
        let mut rows = self.lock();
        let Some(stored) = rows.get(key) else { return true };
        let completed = stored.row.checkpoint == Position::ShardEnd && stored.row.counter == counter;
        if completed {
            rows.remove(key);
        }
        completed
    }

    /// Takes a row away whatever it holds, as an operator does who deletes it.
    pub fn erase(&self, key: &LeaseKey) -> Option<LeaseRow> {
        self.lock().remove(key).map(|stored| stored.row)
    }

    /// Changes a row without any condition, as a program does that is no worker of ours: a KCL worker, a tool.
    pub fn edit(&self, key: &LeaseKey, edit: impl FnOnce(&mut LeaseRow)) {
        if let Some(stored) = self.lock().get_mut(key) {
            edit(&mut stored.row);
        }
    }

    /// Makes a row unreadable.
    pub fn damage_now(&self, key: &LeaseKey, problem: &str) {
        if let Some(stored) = self.lock().get_mut(key) {
            stored.problem = Some(problem.to_owned());
        }
    }

    /// Nothing is done under the lock that could leave a row half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseKey, Stored>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LeaseTable for SimulatedLeaseTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(())
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        Ok(self.scan_now())
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        Ok(self.create_now(row))
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        self.write_now(write)
    }

    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        self.want_now(want)
    }

    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        Ok(self.remove_now(key, counter))
    }

    async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
        Ok(self.version_now())
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        Ok(self.delete_now(key, counter))
    }
}

#[async_trait]
impl Stranger for SimulatedLeaseTable {
    async fn leave_pending(&self, key: &LeaseKey) {
        self.edit(key, |row| row.foreign_pending = Some(Bytes::from_static(b"pending")));
    }

    async fn leave_unknown(&self, key: &LeaseKey, value: &str) {
        let mut digest = [0; 32];
        digest.iter_mut().zip(value.bytes()).for_each(|(digest, byte)| *digest = byte);
        self.edit(key, |row| row.unknown = Some(digest));
    }

    async fn damage(&self, key: &LeaseKey) {
        self.damage_now(key, "its checkpoint is none");
    }

    async fn damage_throughput(&self, key: &LeaseKey) {
        let damage = |stored: &mut Stored| {
            stored.row.throughput = None;
            stored.unread_throughput = true;
            stored.row.unknown = Some([1; 32]);
        };
        self.lock().get_mut(key).map(damage);
    }

    async fn name_children(&self, key: &LeaseKey, children: &[ShardId]) {
        self.edit(key, |row| row.children = children.iter().cloned().collect());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::lease_table::{self, Place};

    #[tokio::test]
    async fn the_simulated_table_keeps_the_rules() {
        lease_table::run(|_case| async {
            let table = Arc::new(SimulatedLeaseTable::new());
            Place { tables: vec![table.clone()], stranger: table }
        })
        .await;
    }
}
