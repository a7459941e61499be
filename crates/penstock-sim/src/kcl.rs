//! A worker of the KCL on the same table: it takes a live lease, checkpoints what it processed by itself, and leaves.
//!
//! It writes as the KCL does: of a row it asks for nothing but the counter, and attributes that it does not know stay.

use std::collections::BTreeMap;

use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::random::Random;

use crate::lease_table::SimulatedLeaseTable;
use crate::world::World;

/// Its name in rows and in the trace.
const NAME: &str = "kcl";

/// What it holds, as far as it knows: the counter of its last write.
#[derive(Debug, Default)]
pub struct KclWorker {
    held: BTreeMap<LeaseKey, LeaseCounter>,
}

impl KclWorker {
    /// Takes a lease that somebody else holds; one with an open intent if there is any.
    pub fn take(&mut self, world: &World, table: &SimulatedLeaseTable, random: &mut Random) {
        let me = WorkerId::new(NAME);
        let mut rows = table.rows();
        rows.retain(|row| row.owner.as_ref().is_some_and(|owner| *owner != me) && row.checkpoint != Position::ShardEnd);
        if rows.iter().any(|row| row.intent.is_some()) {
            rows.retain(|row| row.intent.is_some());
        }
        let Some(row) = rows.get(usize::try_from(random.below(rows.len() as u64)).unwrap_or(0)) else { return };
        world.note(NAME, format_args!("takes {} from {:?}", row.key, row.owner));
        self.write(table, &row.key, row.counter, |row| {
            row.owner = Some(me);
            row.owner_switches += 1;
            row.checkpoint_owner = None;
        });
    }

    /// Checkpoints somewhere in what it can have read of each lease that it still holds.
    pub fn checkpoint(&mut self, world: &World, table: &SimulatedLeaseTable, random: &mut Random) {
        for (key, counter) in self.held.clone() {
            let Some(row) = table.row(&key).filter(|row| row.counter == counter) else {
                self.held.remove(&key);
                continue;
            };
            let read = world.with(|state| {
                let number = state.stream.number(&key.shard_id())?;
                let users = &state.stream.shards()[number].users;
                let ahead = users.iter().filter(|(at, _)| Position::After(at.clone()) > row.checkpoint);
                let ahead: Vec<_> = ahead.map(|(at, _)| at.clone()).collect();
                ahead.get(usize::try_from(random.below(ahead.len() as u64)).unwrap_or(0)).cloned()
            });
            let Some(position) = read else { continue };
            world.note(NAME, format_args!("checkpoints {key} at {position}"));
            self.write(table, &key, counter, |row| {
                row.checkpoint = Position::After(position);
                row.owner_switches = 0;
                row.foreign_pending = None;
            });
            world.with(|state| {
                let row = table.row(&key).expect("it was written");
                let found = state.ledger.on_foreign_checkpoint(&state.stream, &row);
                state.check(found);
            });
        }
    }

    /// Gives up all that it still holds.
    pub fn leave(&mut self, world: &World, table: &SimulatedLeaseTable) {
        for (key, counter) in std::mem::take(&mut self.held) {
            world.note(NAME, format_args!("leaves {key}"));
            self.write(table, &key, counter, |row| row.owner = None);
            self.held.remove(&key);
        }
    }

    fn write(
        &mut self,
        table: &SimulatedLeaseTable,
        key: &LeaseKey,
        counter: LeaseCounter,
        change: impl FnOnce(&mut LeaseRow),
    ) {
        table.edit(key, |row| {
            if row.counter == counter {
                change(row);
                row.counter = counter.next();
                self.held.insert(key.clone(), row.counter);
            }
        });
    }
}
