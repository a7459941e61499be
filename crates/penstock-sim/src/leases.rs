//! The lease table and the gap ledger as one worker reaches them: the shared ones behind that worker's network, with every effect
//! checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use penstock_core::gap::{GapEntry, GapId};
use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
use penstock_core::lease::{CreateOutcome, Field, LeaseRow, LeaseWant, LeaseWrite, Scan, WriteOutcome};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, GapLedger, KclVersion, LeaseTable, SeamError, TableProblem};

use crate::gap_ledger::SimulatedGapLedger;
use crate::lease_table::SimulatedLeaseTable;
use crate::ledger::{Heard, Made, Sent};
use crate::network::{Link, Seam};
use crate::world::World;

/// The lease table as one worker reaches it.
pub struct LinkedLeases {
    link: Arc<Link>,
    worker: WorkerId,
    table: Arc<SimulatedLeaseTable>,
    /// The last write of each row and when it was first sent.
    sent: Mutex<BTreeMap<LeaseKey, (LeaseWrite, Duration)>>,
    /// The rows that the worker has heard of.
    seen: Mutex<BTreeSet<LeaseKey>>,
    /// The open rows as its last scan showed them.
    scanned: Mutex<BTreeMap<LeaseKey, LeaseCounter>>,
    looks: Mutex<Looks>,
}

/// Of when the rows are that a worker has heard of.
#[derive(Debug, Default)]
struct Looks {
    /// As its last scan showed them.
    all: Duration,
    /// As a write was refused for.
    refused: BTreeMap<LeaseKey, Duration>,
}

impl Looks {
    fn of(&self, key: &LeaseKey) -> Duration {
        self.refused.get(key).copied().unwrap_or_default().max(self.all)
    }
}

impl fmt::Debug for LinkedLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedLeases").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl LinkedLeases {
    /// `table` as `worker` reaches it.
    #[must_use]
    pub fn new(link: Arc<Link>, worker: WorkerId, table: Arc<SimulatedLeaseTable>) -> Self {
        let (sent, seen, scanned, looks) = <_>::default();
        Self { link, worker, table, sent, seen, scanned, looks }
    }

    /// Rows that are gone, or are others than before: the worker knows.
    fn notice(&self, scan: &Scan) {
        let mut scanned = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        let open = scan.rows.iter().filter(|row| row.checkpoint != Position::ShardEnd);
        let open = open.map(|row| (row.key.clone(), row.counter)).collect();
        let unreadable: BTreeSet<&LeaseKey> = scan.unreadable.iter().map(|row| &row.key).collect();
        let rows: BTreeMap<&LeaseKey, LeaseCounter> = scan.rows.iter().map(|row| (&row.key, row.counter)).collect();
        for (key, counter) in std::mem::replace(&mut *scanned, open) {
            if !unreadable.contains(&key) && rows.get(&key).is_none_or(|now| *now < counter) {
                self.link.world.with(|state| state.ledger.on_noticed(&self.worker, &key));
            }
        }
    }

    /// A write found no row: the worker knows, before its next scan.
    fn notice_gone(&self, key: &LeaseKey) {
        let known = self.scanned.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if known.is_some() {
            self.link.world.with(|state| state.ledger.on_noticed(&self.worker, key));
        }
    }

    /// When this write was first sent: now, unless the same bytes are under way for the same end.
    fn first_sent(&self, write: &LeaseWrite) -> Sent {
        let now = self.link.world.with(|state| state.now);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = matches!(&write.change.owner, Field::Set(owner) if *owner == self.worker);
        let first = match sent.get(&write.key) {
            // A take whose outcome is unknown is not sent again: an equal one is a new one.
            Some((last, first)) if last == write && !takes => *first,
            _ => {
                sent.insert(write.key.clone(), (write.clone(), now));
                now
            }
        };
        let tenure = self.link.world.with(|state| state.ledger.tenure_now(&write.key));
        Sent { first, takes, tenure, looked: self.looks().of(&write.key) }
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(
    world: &World,
    name: &str,
    worker: &WorkerId,
    table: &SimulatedLeaseTable,
    write: &LeaseWrite,
    sent: Sent,
) -> Result<(WriteOutcome, Option<Heard>), SeamError> {
    let before = table.row(&write.key);
    let outcome = table.write_now(write)?;
    world.with(|state| {
        let heard = match &outcome {
            WriteOutcome::Applied(after) => {
                let before = before.expect("it was written");
                state.note(name, format_args!("row {}", Shown(after)));
                let rows = (&before, after.as_ref());
                let found = state.ledger.on_write(&state.streams, worker, rows, write, sent, state.now);
                state.check(found);
                None
            }
            WriteOutcome::Conflict(found) => {
                match found {
                    Some(found) => {
                        state.note(name, format_args!("conflict at {}, row {}", write.expect.counter, Shown(found)));
                    }
                    None => state.note(name, format_args!("conflict, no row {}", write.key)),
                }
                Some(state.ledger.on_refused(worker, write, sent, state.now))
            }
        };
        Ok((outcome, heard))
    })
}

/// A row in a line.
struct Shown<'a>(&'a LeaseRow);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeaseRow { key, owner, counter, checkpoint, intent, wanted, granted, checkpoint_owner, .. } = self.0;
        write!(f, "{key} {} {counter} at {checkpoint}", owner.as_ref().map_or("-", WorkerId::as_str))?;
        if intent.is_some() {
            f.write_str(" intent")?;
        }
        for (what, who) in [("wanted by", wanted), ("granted to", granted), ("still of", checkpoint_owner)] {
            if let Some(who) = who {
                write!(f, " {what} {who}")?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LeaseTable for LinkedLeases {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(self.link.call(Seam::Table, "DescribeTable", "leases".to_owned(), |_| Ok(())).await?)
    }

    async fn scan(&self) -> Result<Scan, SeamError> {
        let table = Arc::clone(&self.table);
        let effect = move |world: &World| Ok((table.scan_now(), world.with(|state| state.now)));
        let (scan, looked) = self.link.call(Seam::Table, "Scan", "leases".to_owned(), effect).await?;
        self.looks().all = looked;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for row in scan.rows.iter().filter(|row| row.checkpoint.has_progress() || row.intent.is_some()) {
            if !seen.contains(&row.key) {
                seen.insert(row.key.clone());
            }
        }
        drop(seen);
        self.notice(&scan);
        Ok(scan)
    }

    async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
        let (table, link, row) = (Arc::clone(&self.table), Arc::clone(&self.link), row.clone());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&row.key);
        let made = Made { sent: self.link.world.with(|state| state.now), seen };
        let effect = move |world: &World| {
            let outcome = table.create_now(&row);
            world.with(|state| {
                state.note(&link.name, format_args!("create {}: {outcome:?}", Shown(&row)));
                if outcome == CreateOutcome::Created {
                    let wall = state.wall();
                    let found = state.ledger.on_create(&state.streams, &row, made, wall);
                    state.check(found);
                }
            });
            Ok(outcome)
        };
        self.link.call(Seam::Table, "PutItem", String::new(), effect).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
        let sent = self.first_sent(write);
        let (table, link, worker) = (Arc::clone(&self.table), Arc::clone(&self.link), self.worker.clone());
        let under_way = write.clone();
        let effect = move |world: &World| apply(world, &link.name, &worker, &table, &under_way, sent);
        let subject = format!("{} at {}", write.key, write.expect.counter);
        let answer = self.link.call(Seam::Table, "UpdateItem", subject, effect).await;
        match answer {
            Ok((outcome, heard)) => {
                if let Some(heard) = heard {
                    self.looks().refused.insert(write.key.clone(), heard.at);
                    self.link.world.with(|state| {
                        let found = state.ledger.on_heard(&self.worker, write, heard);
                        state.check(found);
                    });
                }
                match outcome {
                    WriteOutcome::Applied(_) => {
                        self.link.world.with(|state| state.ledger.on_acknowledged(&self.worker, &write.key, sent));
                    }
                    WriteOutcome::Conflict(None) => self.notice_gone(&write.key),
                    WriteOutcome::Conflict(Some(_)) => {}
                }
                Ok(outcome)
            }
            Err(error) => {
                if matches!(error.class, ErrorClass::Throttled | ErrorClass::NotFound | ErrorClass::Rejected) {
                    // Certainly without effect: the same bytes may be a new write.
                    let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                    all.retain(|_, (last, at)| last != write || *at != sent.first);
                }
                Err(error)
            }
        }
    }

    async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
        let (table, link, want) = (Arc::clone(&self.table), Arc::clone(&self.link), want.clone());
        let subject = want.key.to_string();
        let sent = self.link.world.with(|state| state.now);
        let effect = move |world: &World| {
            let before = table.row(&want.key);
            let stands = table.want_now(&want)?;
            let after = table.row(&want.key);
            world.with(|state| {
                state.note(&link.name, format_args!("asks {} for {} (it stands: {stands})", want.owner, want.key));
                if let (Some(before), Some(after)) = (&before, &after) {
                    let found = state.ledger.on_want(before, after, sent, state.now);
                    state.check(found);
                }
            });
            Ok(stands)
        };
        self.link.call(Seam::Table, "UpdateItem (wish)", subject, effect).await
    }

    async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let (table, key) = (Arc::clone(&self.table), key.clone());
        let subject = key.to_string();
        let effect = move |world: &World| {
            let there = table.row(&key).is_some();
            let gone = table.remove_now(&key, counter);
            if there && gone {
                world.with(|state| state.ledger.on_erased(&state.streams, &key, state.now));
            }
            Ok(gone)
        };
        self.link.call(Seam::Table, "DeleteItem (tool)", subject, effect).await
    }

    async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
        let table = Arc::clone(&self.table);
        self.link.call(Seam::Table, "GetItem", "Migration3.0".to_owned(), move |_| Ok(table.version_now())).await
    }

    async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
        let (table, link, key) = (Arc::clone(&self.table), Arc::clone(&self.link), key.clone());
        let subject = key.to_string();
        let effect = move |world: &World| {
            let before = table.row(&key);
            let gone = table.delete_now(&key, counter);
            if let Some(before) = before.filter(|_| gone) {
                world.with(|state| {
                    state.note(&link.name, format_args!("deletes {}", Shown(&before)));
                    let found = state.ledger.on_delete(&state.streams, &before);
                    state.check(found);
                });
            }
            Ok(gone)
        };
        self.link.call(Seam::Table, "DeleteItem", subject, effect).await
    }
}

/// The gap ledger as one worker reaches it.
pub struct LinkedGaps {
    link: Arc<Link>,
    gaps: Arc<SimulatedGapLedger>,
}

impl fmt::Debug for LinkedGaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedGaps").field("worker", &self.link.name).finish_non_exhaustive()
    }
}

impl LinkedGaps {
    /// `gaps` behind `link`.
    #[must_use]
    pub const fn new(link: Arc<Link>, gaps: Arc<SimulatedGapLedger>) -> Self {
        Self { link, gaps }
    }
}

#[async_trait]
impl GapLedger for LinkedGaps {
    async fn prepare(&self) -> Result<(), TableProblem> {
        Ok(self.link.call(Seam::Gaps, "DescribeTable", "gaps".to_owned(), |_| Ok(())).await?)
    }

    async fn record(&self, entry: &GapEntry) -> Result<(), SeamError> {
        let (gaps, link, entry) = (Arc::clone(&self.gaps), Arc::clone(&self.link), entry.clone());
        let subject = entry.lease.to_string();
        let effect = move |world: &World| {
            gaps.record_now(&entry);
            world.with(|state| {
                let GapEntry { lease, range, reason, .. } = &entry;
                state.note(&link.name, format_args!("records a gap of {lease}: {}, {range}", reason.as_str()));
                state.ledger.on_gap(entry.clone());
            });
            Ok(())
        };
        self.link.call(Seam::Gaps, "PutItem (gap)", subject, effect).await
    }

    async fn entries(&self) -> Result<(Vec<GapEntry>, Vec<String>), SeamError> {
        let gaps = Arc::clone(&self.gaps);
        self.link.call(Seam::Gaps, "Scan", "gaps".to_owned(), move |_| Ok((gaps.entries_now(), Vec::new()))).await
    }

    async fn acknowledge(&self, id: GapId, at: UnixMillis) -> Result<bool, SeamError> {
        let gaps = Arc::clone(&self.gaps);
        self.link.call(Seam::Gaps, "UpdateItem (gap)", id.to_string(), move |_| Ok(gaps.acknowledge_now(id, at))).await
    }
}
