//! What operators and programs of another make do to the lease table: tools, deleted rows, damaged rows, touched rows.
//!
//! A tool writes as `penstock leases` does: on the counter, checkpoint and intent that it saw, one more on the counter, and no
//! owner. It notes what it skips in the gap ledger before it skips it.

use std::sync::Arc;

use penstock_core::gap::{GapEnd, GapEntry, GapRange, GapReason};
use penstock_core::ids::{LeaseKey, StreamName, WorkerId};
use penstock_core::intent::codec;
use penstock_core::lease::{Change, Expect, Field, LeaseRow, LeaseWrite, WriteOutcome};
use penstock_core::mutant::{self, Mutant};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::random::Random;

use crate::gap_ledger::SimulatedGapLedger;
use crate::lease_table::SimulatedLeaseTable;
use crate::plan::Tool;
use crate::world::World;

/// The name of tools in the trace and in the gap ledger.
const NAME: &str = "tool";

/// Somebody with access to the tables.
#[derive(Debug)]
pub struct Operator {
    world: Arc<World>,
    table: Arc<SimulatedLeaseTable>,
    gaps: Arc<SimulatedGapLedger>,
    damaged: Vec<LeaseKey>,
}

impl Operator {
    /// An operator of these tables.
    #[must_use]
    pub fn new(world: Arc<World>, table: Arc<SimulatedLeaseTable>, gaps: Arc<SimulatedGapLedger>) -> Self {
        Self { world, table, gaps, damaged: Vec::new() }
    }

    /// Some row of those that `fit`.
    fn some(&self, random: &mut Random, fit: impl Fn(&LeaseRow) -> bool) -> Option<LeaseRow> {
        let mut rows = self.table.rows();
        rows.retain(|row| !self.damaged.contains(&row.key) && fit(row));
        let chosen = usize::try_from(random.below(rows.len().max(1) as u64)).unwrap_or(0);
        (chosen < rows.len()).then(|| rows.swap_remove(chosen))
    }

    // === Programs that are no tools ===

    /// Adds one to the counter of an owned row, and keeps the owner.
    pub fn touch(&self, random: &mut Random) {
        let Some(row) = self.some(random, |row| row.owner.is_some()) else { return };
        self.world.note("?", format_args!("a stranger adds one to the counter {} of {}", row.counter, row.key));
        self.world.with(|state| state.ledger.on_touch(&row.key));
        self.table.edit(&row.key, |row| row.counter = row.counter.next());
    }

    /// Deletes a row that is not completed.
    pub fn erase(&self, random: &mut Random) {
        let Some(row) = self.some(random, |row| row.checkpoint != Position::ShardEnd) else { return };
        self.world.note("?", format_args!("an operator deletes {} at {}", row.key, row.checkpoint));
        self.table.erase(&row.key);
        self.world.with(|state| state.ledger.on_erased(&state.streams, &row.key, state.now));
    }

    /// Makes a row unreadable.
    pub fn damage(&mut self, random: &mut Random) {
        let Some(row) = self.some(random, |row| row.checkpoint != Position::ShardEnd) else { return };
        self.world.note("?", format_args!("{} cannot be read any more", row.key));
        self.table.damage_now(&row.key, "its checkpoint is none");
        self.damaged.push(row.key);
    }

    /// Makes all rows readable again, with everything that stood in them.
    pub fn repair(&mut self) {
        for key in std::mem::take(&mut self.damaged) {
            if let Some(row) = self.table.erase(&key) {
                self.world.note("?", format_args!("{key} can be read again"));
                self.table.create_now(&row);
            }
        }
    }

    // === Tools ===

    /// Uses a tool on a row that it is meant for, whether or not somebody alive owns it: with force.
    pub fn tool(&self, tool: Tool, random: &mut Random) {
        match tool {
            Tool::Release => self.release(random),
            Tool::SetPosition => self.set_position(random),
            Tool::AbandonIntent => self.abandon(random),
        }
    }

    fn release(&self, random: &mut Random) {
        let Some(row) = self.some(random, |row| row.owner.is_some()) else { return };
        self.carry_out("releases", &row, Change::counter(row.counter.next()));
    }

    fn set_position(&self, random: &mut Random) {
        let fits = |row: &LeaseRow| matches!(row.checkpoint, Position::After(_)) && row.intent.is_none();
        let Some(row) = self.some(random, fits) else { return };
        let ahead: Vec<RecordPosition> = self.world.with(|state| {
            let number = state.streams.number(&row.key);
            let users = number.map_or(&[][..], |number| &state.streams.shards()[number].users);
            users
                .iter()
                .map(|(at, _)| at.clone())
                .filter(|at| Position::After(at.clone()) > row.checkpoint)
                .take(5)
                .collect()
        });
        let Some(to) = ahead.get(usize::try_from(random.below(ahead.len().max(1) as u64)).unwrap_or(0)) else { return };
        self.skip(&row, to, GapReason::PositionSet);
        let change = Change { checkpoint: Some(Position::After(to.clone())), ..Change::counter(row.counter.next()) };
        self.carry_out("sets the position of", &row, change);
    }

    fn abandon(&self, random: &mut Random) {
        let Some(row) = self.some(random, |row| row.intent.is_some()) else { return };
        let Some(intent) = row.intent.as_ref().and_then(|intent| codec::decode(intent).ok()) else { return };
        if row.checkpoint >= Position::After(intent.last.clone()) {
            return;
        }
        self.skip(&row, &intent.last, GapReason::IntentAbandoned);
        let change = Change {
            checkpoint: Some(Position::After(intent.last.clone())),
            chain: Field::Set(intent.last),
            intent: Field::Remove,
            ..Change::counter(row.counter.next())
        };
        self.carry_out("abandons the intent of", &row, change);
    }

    fn skip(&self, row: &LeaseRow, to: &RecordPosition, reason: GapReason) {
        let entry = GapEntry {
            stream: StreamName::new("clicks"),
            stream_created: row.stream_created.unwrap_or_default(),
            lease: row.key.clone(),
            range: GapRange { after: row.checkpoint.clone(), end: GapEnd::Through(to.clone()) },
            reason,
            noticed: self.world.with(|state| state.wall()),
            by: WorkerId::new(NAME),
            acknowledged: None,
        };
        self.gaps.record_now(&entry);
        self.world.with(|state| {
            state.ledger.on_gap(entry);
            let found = state.ledger.on_skipped(&state.streams, row, to);
            state.check(found);
        });
    }

    fn carry_out(&self, what: &str, row: &LeaseRow, change: Change) {
        let owner = if mutant::is(Mutant::ToolKeepsOwner) { Field::Keep } else { Field::Remove };
        let change = Change {
            owner,
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
        let write = LeaseWrite { key: row.key.clone(), expect, change };
        if let Ok(WriteOutcome::Applied(after)) = self.table.write_now(&write) {
            self.world.note(NAME, format_args!("{what} {} at {}", after.key, after.checkpoint));
            self.world.with(|state| state.ledger.on_tool(&after.key));
        }
    }
}
