//! What the tools that write have in common: the shape of their writes, the look whether a worker is alive, the ledger.
//!
//! Every write of a tool asks for the counter, the checkpoint and the intent as they were seen, adds one to the counter and leaves
//! no owner, so that a worker that still believes in its lease cannot take the tool's write for its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use penstock_core::gap::{GapEntry, GapRange, GapReason};
use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
use penstock_core::lease::{Change, Expect, Field, LeaseRow, LeaseWrite, WriteOutcome};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::LeaseTable;

use super::{Open, patience};
use crate::progress::Progress;

/// How often a row is looked at to see whether its counter moves.
const LOOK: Duration = Duration::from_millis(500);

/// The name under which tools note what they did.
pub(super) const TOOL: &str = "penstock leases";

/// What every write of a tool has in common, around `change`. An intent that `change` leaves alone stays for the next owner.
pub(super) fn write(row: &LeaseRow, change: Change) -> LeaseWrite {
    let change = Change {
        owner: Field::Remove,
        wanted: Field::Remove,
        granted: Field::Remove,
        left: Field::Remove,
        end_handoff: true,
        ..change
    };
    let expect = Expect {
        checkpoint: Some(row.checkpoint.clone()),
        intent: Some(row.intent.clone()),
        ..Expect::counter(row.counter)
    };
    LeaseWrite { key: row.key.clone(), expect, change }
}

/// Carries a tool's write out.
pub(super) async fn carry_out(table: &dyn LeaseTable, write: &LeaseWrite) -> anyhow::Result<LeaseRow> {
    match patience::answered("write", &write.key, table.write(write)).await? {
        WriteOutcome::Applied(row) => Ok(*row),
        WriteOutcome::Conflict(_) => bail!(
            "the lease {} changed meanwhile, and nothing was written to it: a worker is at it; look again with `penstock leases \
             list` (a gap that was noted for this is of no account: acknowledge it)",
            write.key
        ),
    }
}

/// Refuses while a live worker has one of these rows: one whose counter moves within a failover time.
pub(super) async fn refuse_if_alive(open: &Open, rows: &[&LeaseRow], force: bool) -> anyhow::Result<()> {
    let mut owned: BTreeMap<&LeaseKey, &LeaseRow> =
        rows.iter().filter(|row| row.owner.is_some()).map(|row| (&row.key, *row)).collect();
    if force || owned.is_empty() {
        return Ok(());
    }
    let patience = open.settings.leases.failover_time;
    let mut progress = Progress::new();
    progress.say(format_args!("looking for {} s whether the owners are alive", patience.as_secs_f64()));
    progress.begin(patience.as_secs(), "s");
    let began = tokio::time::Instant::now();
    while began.elapsed() < patience + LOOK {
        tokio::time::sleep(LOOK).await;
        progress.reach(began.elapsed().min(patience).as_secs());
        for row in patience::scan(open.table.as_ref()).await?.rows {
            match owned.get(&row.key) {
                Some(seen) if row.counter != seen.counter && row.owner.is_some() => bail!("{}", alive(&row)),
                Some(seen) if row.counter != seen.counter => {
                    owned.remove(&row.key);
                }
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

fn alive(row: &LeaseRow) -> String {
    let owner = row.owner.as_ref().map_or("-", WorkerId::as_str);
    format!(
        "the lease {} belongs to {owner}, which is alive; stop that worker first, or say --force: it then loses the lease at \
         once, and records on their way to a Firehose may repeat",
        row.key
    )
}

/// Notes in the ledger what a tool is about to pass over. Stored before the write that does so.
pub(super) async fn note_gap(
    open: &Open,
    row: &LeaseRow,
    reason: GapReason,
    range: GapRange,
    now: UnixMillis,
) -> anyhow::Result<GapEntry> {
    let entry = GapEntry {
        stream: open.stream_of(row),
        stream_created: Open::stream_created(row),
        lease: row.key.clone(),
        range,
        reason,
        noticed: now,
        by: WorkerId::new(TOOL),
        acknowledged: None,
    };
    patience::answered("prepare", "the gap ledger", open.gaps.prepare()).await?;
    patience::answered("record", "the gap ledger", open.gaps.record(&entry)).await?;
    Ok(entry)
}

/// The counter of a tool's write.
pub(super) const fn next(row: &LeaseRow) -> LeaseCounter {
    row.counter.next()
}
