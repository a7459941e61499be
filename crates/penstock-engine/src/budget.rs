//! The memory budget: one bound for all bytes in flight, whatever the number of shards.
//!
//! A part is for fetches, where a permit is the largest that a response can be until its size is known; the rest is for what fills
//! and flies. Nothing is held here but counts. Who waits too long makes the shard with the largest open batch seal it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::Gauge;
use penstock_core::time::Instant;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::metrics::count_as_f64;

/// The largest that one response can be: 10 MiB of payload, and the 13.4 MiB of the JSON body that it is read from.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
pub const MAX_RESPONSE: u64 = 24 * 1024 * 1024;

/// The least for what fills and flies: one response with delimiters filling (at most twice its payload) and one flying.
pub const LEAST_FILL: u64 = 40 * 1024 * 1024;

/// How long somebody waits for memory until the largest open batch is sealed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Permits are counted in KiB begun: a semaphore takes 32 bits at a time, and many small things must not count as nothing.
const UNIT: u64 = 1024;

/// The budget cannot hold what the least working process needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a memory budget of {budget} bytes is too small: one response takes {MAX_RESPONSE} bytes and what fills and flies at least \
     {LEAST_FILL}, in all {}",
    MAX_RESPONSE + LEAST_FILL
)]
pub struct BudgetTooSmall {
    /// The budget asked for.
    pub budget: u64,
}

/// The bytes that a worker may hold. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fetch: Arc<Semaphore>,
    fill: Arc<Semaphore>,
    fill_total: u64,
    /// The most of `fill` that [`EntriesPermit`]s take.
    entries: Arc<Semaphore>,
    budget: u64,
    used: AtomicU64,
    gauge: Gauge,
    clock: Clock,
    open: Mutex<OpenBatches>,
}

#[derive(Debug, Default)]
struct OpenBatches {
    slots: BTreeMap<u64, Slot>,
    next: u64,
    last_relief: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    /// Bytes that a seal would set moving; 0 while the shard cannot seal.
    bytes: u64,
    seal: Arc<Notify>,
}

/// What taking a chunk apart added to it. All of them together leave three quarters of what is for filling, since their holders
/// wait for memory themselves: if they held all of it, no seal could give any back.
#[derive(Debug)]
pub(crate) struct EntriesPermit {
    _fill: Permit,
    _share: OwnedSemaphorePermit,
}

/// A part of the budget. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    budget: MemoryBudget,
    permit: Option<OwnedSemaphorePermit>,
    bytes: u64,
}

impl MemoryBudget {
    /// Divides `budget` bytes.
    ///
    /// # Errors
    /// If the least working process does not fit.
    pub fn new(budget: u64, clock: Clock, gauge: Gauge) -> Result<Self, BudgetTooSmall> {
        if budget < MAX_RESPONSE + LEAST_FILL {
            return Err(BudgetTooSmall { budget });
        }
        let fetch_total = (budget / 4).max(MAX_RESPONSE);
        // In whole units, so that all of it can be asked for.
        let fill_total = (budget - fetch_total) / UNIT * UNIT;
        Ok(Self {
            inner: Arc::new(Inner {
                fetch: semaphore(fetch_total),
                fill: semaphore(fill_total),
                fill_total,
                entries: semaphore(fill_total / 4),
                budget,
                used: AtomicU64::new(0),
                gauge,
                clock,
                open: Mutex::default(),
            }),
        })
    }

    /// Takes the room for the largest response, or waits for it. Cancel-safe; waiters are served in order.
    pub(crate) async fn acquire_fetch(&self) -> Permit {
        self.acquire(&self.inner.fetch, MAX_RESPONSE).await
    }

    /// Takes `bytes` of what is for filling and flying, or waits for them. More than there is in all counts as all there is.
    /// Cancel-safe; waiters are served in order.
    pub(crate) async fn acquire_fill(&self, bytes: u64) -> Permit {
        self.acquire(&self.inner.fill, bytes.min(self.inner.fill_total)).await
    }

    /// Takes `bytes` if they are there. Waits for nothing.
    pub(crate) fn try_acquire_fill(&self, bytes: u64) -> Option<Permit> {
        let bytes = bytes.min(self.inner.fill_total);
        let permit = Arc::clone(&self.inner.fill).try_acquire_many_owned(units(bytes)).ok()?;
        Some(self.permit(permit, bytes))
    }

    /// Takes `bytes` for the entries of a chunk, if they are there and entries do not take too much already. Waits for nothing.
    pub(crate) fn try_acquire_entries(&self, bytes: u64) -> Option<EntriesPermit> {
        let share = Arc::clone(&self.inner.entries).try_acquire_many_owned(units(bytes)).ok()?;
        Some(EntriesPermit { _fill: self.try_acquire_fill(bytes)?, _share: share })
    }

    /// The most that one who appends asks for at once. With it, the half that a replay may hold, and the entries of chunks, all
    /// that is for filling is spoken for: whoever waits gets his turn once open batches are sealed.
    pub(crate) fn slice_limit(&self) -> u64 {
        self.inner.fill_total / 4
    }

    /// The most that a replay holds.
    pub(crate) fn replay_limit(&self) -> u64 {
        self.inner.fill_total / 2
    }

    /// All that is for filling and flying.
    #[cfg(test)]
    pub(crate) fn fill_total(&self) -> u64 {
        self.inner.fill_total
    }

    /// The whole budget.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.inner.budget
    }

    /// The bytes that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    async fn acquire(&self, from: &Arc<Semaphore>, bytes: u64) -> Permit {
        let mut acquired = std::pin::pin!(Arc::clone(from).acquire_many_owned(units(bytes)));
        loop {
            tokio::select! {
                // Biased: when both are ready, a permit that is there must not be passed over for another plea.
                biased;
                permit = &mut acquired => {
                    return self.permit(permit.expect("the budget's semaphores are never closed"), bytes);
                }
                () = self.inner.clock.sleep(PATIENCE) => self.relieve(),
            }
        }
    }

    fn permit(&self, permit: OwnedSemaphorePermit, bytes: u64) -> Permit {
        self.account(bytes, 0);
        Permit { budget: self.clone(), permit: Some(permit), bytes }
    }

    fn account(&self, add: u64, sub: u64) {
        let used = &self.inner.used;
        used.fetch_add(add, Ordering::Relaxed);
        let now = used.fetch_sub(sub, Ordering::Relaxed) - sub;
        self.inner.gauge.set(count_as_f64(now));
    }

    /// Asks the shard with the largest open batch to seal it; once a second at most, whoever waits. A seal gives back nothing of
    /// what is for fetches: where many shards wait only for each other's responses, batches stay open.
    fn relieve(&self) {
        // Whoever waits for some of it has taken all that is there.
        if self.inner.fill.available_permits() >= units(self.slice_limit()) as usize {
            return;
        }
        let now = self.inner.clock.now().instant;
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.last_relief.is_some_and(|last| now.since(last) < PATIENCE) {
            return;
        }
        let Some(largest) = open.slots.values_mut().filter(|slot| slot.bytes > 0).max_by_key(|slot| slot.bytes) else {
            return;
        };
        largest.seal.notify_one();
        // Not asked twice: the shard says anew what is open once it has sealed.
        largest.bytes = 0;
        open.last_relief = Some(now);
    }

    /// A place in the list of open batches, for one run of a shard.
    pub(crate) fn open_slot(&self) -> OpenSlot {
        let seal = Arc::new(Notify::new());
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        let id = open.next;
        open.next += 1;
        open.slots.insert(id, Slot { bytes: 0, seal: Arc::clone(&seal) });
        OpenSlot { budget: self.clone(), id, seal }
    }
}

fn semaphore(bytes: u64) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(
        usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS),
    ))
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

// === Permit ===

impl Permit {
    /// The bytes that it stands for.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.budget.account(0, self.bytes - bytes);
        self.bytes = bytes;
        self.trim();
    }

    /// Gives back the units that are not begun.
    fn trim(&mut self) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(units(self.bytes) as usize)));
        }
    }

    /// Takes over what `other` stands for; both are of the same part of the budget.
    pub(crate) fn merge(&mut self, mut other: Self) {
        match (&mut self.permit, other.permit.take()) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
        self.bytes += std::mem::take(&mut other.bytes);
        // Each had its own unit begun.
        self.trim();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.budget.account(0, self.bytes);
    }
}

/// The entry of one shard in the list of open batches. Dropping it takes the shard off the list.
#[derive(Debug)]
pub(crate) struct OpenSlot {
    budget: MemoryBudget,
    id: u64,
    seal: Arc<Notify>,
}

impl OpenSlot {
    /// Says how many bytes a seal would set moving; 0 while the shard cannot seal.
    pub(crate) fn set(&self, bytes: u64) {
        let mut open = self.budget.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = open.slots.get_mut(&self.id) {
            slot.bytes = bytes;
        }
    }

    /// Resolves when the open batch is to be sealed for memory. Cancel-safe: a plea that nobody heard is kept.
    pub(crate) async fn pressed(&self) {
        self.seal.notified().await;
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.budget.inner.open.lock().unwrap_or_else(PoisonError::into_inner).slots.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::time::UnixMillis;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn budget(mib: u64) -> MemoryBudget {
        MemoryBudget::new(mib * MIB, Clock::simulated(UnixMillis(0)), Gauge::noop()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn less_than_the_least_need_is_refused_with_the_sum() {
        let clock = Clock::simulated(UnixMillis(0));
        let error = MemoryBudget::new(64 * MIB - 1, clock.clone(), Gauge::noop()).unwrap_err();
        assert!(error.to_string().ends_with("in all 67108864"), "{error}");
        assert!(MemoryBudget::new(64 * MIB, clock, Gauge::noop()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarter_is_for_fetches_and_at_least_one_response() {
        assert_eq!(budget(256).fill_total(), 192 * MIB);
        assert_eq!(budget(64).fill_total(), 40 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_fetch_waits_for_the_surplus_of_the_first() {
        let budget = budget(64);
        let mut first = budget.acquire_fetch().await;
        let wait = budget.acquire_fetch();
        let mut wait = std::pin::pin!(wait);
        assert!(futures::poll!(wait.as_mut()).is_pending());
        first.shrink_to(0);
        assert!(futures::poll!(wait.as_mut()).is_ready());
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_fetch_seals_nothing_while_there_is_room_to_fill() {
        let budget = budget(64);
        let open = budget.open_slot();
        open.set(MIB);
        let _fetching = budget.acquire_fetch().await;
        let mut filled = budget.acquire_fill(20 * MIB).await;
        let mut wait = std::pin::pin!(budget.acquire_fetch());
        assert!(tokio::time::timeout(5 * PATIENCE, wait.as_mut()).await.is_err());
        assert!(futures::poll!(std::pin::pin!(open.pressed())).is_pending());
        filled.merge(budget.acquire_fill(15 * MIB).await);
        assert!(tokio::time::timeout(2 * PATIENCE, wait.as_mut()).await.is_err());
        assert!(futures::poll!(std::pin::pin!(open.pressed())).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn permits_merge_shrink_and_come_back() {
        let budget = budget(64);
        let mut one = budget.acquire_fill(3 * MIB).await;
        one.merge(budget.acquire_fill(5 * MIB).await);
        assert_eq!((one.bytes(), budget.used()), (8 * MIB, 8 * MIB));
        one.shrink_to(MIB);
        assert_eq!(budget.used(), MIB);
        drop(one);
        assert!(budget.try_acquire_fill(40 * MIB).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn many_small_permits_count_as_much_as_a_large_one() {
        let budget = budget(64);
        let mut held = budget.acquire_fill(900).await;
        for _ in 1..40 * 1024 {
            held.merge(budget.try_acquire_fill(900).expect("each takes a unit at most"));
        }
        assert_eq!(budget.used(), held.bytes());
        let left = 40 * MIB - 40 * 1024 * 900;
        assert!(budget.try_acquire_fill(left + UNIT).is_none());
        assert!(budget.try_acquire_fill(left - UNIT).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn entries_of_chunks_leave_room_for_what_is_appended() {
        let budget = budget(64);
        let held = [budget.try_acquire_entries(7 * MIB), budget.try_acquire_entries(7 * MIB)];
        assert!(held[0].is_some() && held[1].is_none());
        let replay = budget.acquire_fill(budget.replay_limit()).await;
        assert!(budget.try_acquire_fill(budget.slice_limit()).is_some());
        drop((held, replay));
        assert_eq!(budget.used(), 0);
        assert!(budget.try_acquire_entries(10 * MIB).is_some(), "what was given back can be taken again");
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_there_is_counts_as_all_there_is() {
        let budget = budget(64);
        assert_eq!(budget.acquire_fill(400 * MIB).await.bytes(), 40 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_second_of_waiting_the_largest_open_batch_is_asked_to_seal() {
        let budget = budget(64);
        let (small, large) = (budget.open_slot(), budget.open_slot());
        small.set(10);
        large.set(20);
        let held = budget.acquire_fill(40 * MIB).await;
        let wait = budget.acquire_fill(MIB);
        let relieved = async {
            large.pressed().await;
            drop(held);
        };
        let before = budget.inner.clock.now().instant;
        tokio::join!(wait, relieved);
        assert_eq!(budget.inner.clock.now().instant.since(before), PATIENCE);
        assert!(futures::poll!(std::pin::pin!(small.pressed())).is_pending());
    }
}
