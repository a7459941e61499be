//! A lease table and a gap ledger in memory.

use super::*;

#[derive(Debug)]
pub(crate) struct FakeTable {
    pub(crate) rows: Mutex<BTreeMap<LeaseKey, LeaseRow>>,
    pub(crate) scan_faults: Faults,
    pub(crate) write_faults: Faults,
    pub(crate) version: Mutex<KclVersion>,
    pub(crate) version_faults: Faults,
    /// How long a call takes.
    pub(crate) slow: Mutex<Duration>,
    /// No call is answered any more.
    pub(crate) hangs: AtomicBool,
    /// When the last write was applied.
    pub(crate) wrote_at: Mutex<Option<tokio::time::Instant>>,
    /// Writes under way, and the most of them at once.
    pub(crate) writing: Mutex<(usize, usize)>,
    /// Applies the next write and panics then.
    pub(crate) panics: AtomicBool,
}

impl Default for FakeTable {
    fn default() -> Self {
        Self {
            rows: Mutex::default(),
            scan_faults: Faults::default(),
            write_faults: Faults::default(),
            version: Mutex::new(KclVersion::Unrecorded),
            version_faults: Faults::default(),
            slow: Mutex::new(Duration::from_millis(5)),
            hangs: AtomicBool::new(false),
            wrote_at: Mutex::default(),
            writing: Mutex::default(),
            panics: AtomicBool::new(false),
        }
    }
}

impl FakeTable {
    async fn answer(&self) {
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn row(&self, shard: &str) -> LeaseRow {
        self.rows.lock().unwrap()[&LeaseKey::new(shard)].clone()
    }
}

#[async_trait]
impl LeaseTable for FakeTable {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(())
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        self.answer().await;
        self.scan_faults.next("scan")?;
        Ok(Scan { rows: self.rows.lock().unwrap().values().cloned().collect(), unreadable: Vec::new() })
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        self.answer().await;
        let mut rows = self.rows.lock().unwrap();
        if rows.contains_key(&row.key) {
            return Ok(CreateOutcome::Exists);
        }
        rows.insert(row.key.clone(), row.clone());
        Ok(CreateOutcome::Created)
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let _writing = Writing::begin(&self.writing);
        self.answer().await;
        self.write_faults.next("write")?;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.get_mut(&write.key) else { return Ok(WriteOutcome::Conflict(None)) };
        if !write.expect.holds(row) {
            return Ok(WriteOutcome::Conflict(Some(Box::new(row.clone()))));
        }
        *row = write.change.apply(row);
        let after = Box::new(row.clone());
        *self.wrote_at.lock().unwrap() = Some(tokio::time::Instant::now());
        drop(rows);
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a table that panics");
        Ok(WriteOutcome::Applied(after))
    }

    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        self.answer().await;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.get_mut(&want.key) else { return Ok(false) };
        if want.holds(row) {
            row.wanted = Some(want.wanted.clone());
        }
        Ok(row.owner.as_ref() == Some(&want.owner) && row.wanted.as_ref() == Some(&want.wanted))
    }

    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        self.delete(key, counter).await
    }

    async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
        self.answer().await;
        self.version_faults.next("GetItem")?;
        Ok(self.version.lock().unwrap().clone())
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let mut rows = self.rows.lock().unwrap();
        if rows.get(key).is_some_and(|row| row.counter == counter) {
            rows.remove(key);
        }
        Ok(!rows.contains_key(key))
    }
}

/// Counts writes under way, those that nobody waits for any more left out.
struct Writing<'a>(&'a Mutex<(usize, usize)>);

impl<'a> Writing<'a> {
    fn begin(count: &'a Mutex<(usize, usize)>) -> Self {
        let mut counts = count.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Self(count)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
    }
}

// === Gaps ===

#[derive(Debug, Default)]
pub(crate) struct FakeGaps {
    pub(crate) entries: Mutex<BTreeMap<GapId, GapEntry>>,
    pub(crate) prepare_faults: Faults,
    pub(crate) faults: Faults,
}

#[async_trait]
impl GapLedger for FakeGaps {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(self.prepare_faults.next("prepare gaps")?)
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.faults.next("record gap")?;
        let mut entries = self.entries.lock().unwrap();
        let stored = entries.entry(entry.id()).or_insert_with(|| entry.clone());
        if entry.acknowledged.is_none() {
            stored.acknowledged = None;
        }
        Ok(())
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        let mut entries: Vec<GapEntry> = self.entries.lock().unwrap().values().cloned().collect();
        entries.sort_by_key(|entry| entry.noticed);
        Ok((entries, Vec::new()))
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        let mut entries = self.entries.lock().unwrap();
        let Some(entry) = entries.get_mut(&id) else { return Ok(false) };
        entry.acknowledged = entry.acknowledged.or(Some(at));
        Ok(true)
    }
}
