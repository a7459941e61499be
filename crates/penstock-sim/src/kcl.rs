//! Workers of the KCL on the same table: one of the 2x protocol that takes live leases, checkpoints what it processed by itself,
//! syncs shards and leaves; and a leader of the 3x protocol that hands a lease over.
//!
//! They write as the KCL does: of a row they ask for nothing but the counter, and attributes that they do not know stay.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use penstock_core::coordinator::api::InitialPosition;
use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_core::random::Random;

use crate::lease_table::SimulatedLeaseTable;
use crate::world::World;

/// The name of the worker of the 2x protocol in rows and in the trace.
const NAME: &str = "kcl";
/// The name of the one of the 3x protocol.
const NAME_3: &str = "kcl3";

/// What it holds, as far as it knows: the counter of its last write.
#[derive(Debug, Default)]
pub struct KclWorker {
    held: BTreeMap<LeaseKey, LeaseCounter>,
    /// What the worker of the 3x protocol was promised.
    promised: BTreeSet<LeaseKey>,
    /// The rows that it created: once each, since their counters all begin at the same.
    created: BTreeSet<LeaseKey>,
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
        let Some(row) = some(&rows, random) else { return };
        world.note(NAME, format_args!("takes {} from {:?}", row.key, row.owner));
        world.with(|state| state.ledger.on_foreign_take(&row.key, &me));
        self.write(table, &row.key, row.counter, |row| {
            row.owner = Some(me);
            row.owner_switches += 1;
            row.checkpoint_owner = None;
        });
    }

    /// The leases that it still holds, as their rows stand.
    fn still_held(&mut self, table: &SimulatedLeaseTable) -> Vec<LeaseRow> {
        let held = |(key, counter): (&LeaseKey, &LeaseCounter)| table.row(key).filter(|row| row.counter == *counter);
        let rows: Vec<LeaseRow> = self.held.iter().filter_map(held).collect();
        self.held = rows.iter().map(|row| (row.key.clone(), row.counter)).collect();
        rows
    }

    /// Checkpoints somewhere in what it can have read of each lease that it still holds: within an aggregate, too.
    pub fn checkpoint(&mut self, world: &World, table: &SimulatedLeaseTable, random: &mut Random) {
        for row in self.still_held(table) {
            let read = world.with(|state| {
                let number = state.streams.number(&row.key)?;
                let shard = &state.streams.shards()[number];
                // At LATEST or a time it begins no earlier than the row was first begun at.
                let begun = row.start.map_or(0, |start| shard.users_before(start));
                let ahead =
                    shard.users.iter().skip(begun).filter(|(at, _)| Position::After(at.clone()) > row.checkpoint);
                let ahead: Vec<_> = ahead.map(|(at, _)| at.clone()).collect();
                ahead.get(usize::try_from(random.below(ahead.len() as u64)).unwrap_or(0)).cloned()
            });
            let Some(position) = read else { continue };
            world.note(NAME, format_args!("checkpoints {} at {position}", row.key));
            self.write(table, &row.key, row.counter, |row| {
                row.checkpoint = Position::After(position);
                row.owner_switches = 0;
                row.foreign_pending = None;
            });
            world.with(|state| {
                let row = table.row(&row.key).expect("it was written");
                let found = state.ledger.on_foreign_checkpoint(&state.streams, &row);
                state.check(found);
            });
        }
    }

    /// Notes a pending checkpoint in each lease that it still holds.
    pub fn prepare(&mut self, world: &World, table: &SimulatedLeaseTable) {
        for row in self.still_held(table) {
            world.note(NAME, format_args!("prepares a checkpoint of {}", row.key));
            self.write(table, &row.key, row.counter, |row| {
                row.foreign_pending = Some(Bytes::from_static(b"pending"));
            });
        }
    }

    /// Gives up all that it still holds.
    pub fn leave(&mut self, world: &World, table: &SimulatedLeaseTable) {
        for row in self.still_held(table) {
            world.note(NAME, format_args!("leaves {}", row.key));
            self.write(table, &row.key, row.counter, |row| row.owner = None);
        }
        self.held.clear();
    }

    /// Creates the rows of listed shards that have none, as its shard sync does for a parent whose children are not read yet: where
    /// the stream is to be begun, with a counter of zero. A row that somebody deleted is one like any other.
    pub fn sync(&mut self, world: &World, table: &SimulatedLeaseTable, initial: InitialPosition) {
        let position = match initial {
            InitialPosition::TrimHorizon => Position::TrimHorizon,
            InitialPosition::Latest => Position::Latest,
            InitialPosition::Timestamp(_) => Position::AtTimestamp,
        };
        let rows = world.with(|state| {
            let streams = &state.streams;
            let missing = |number: &usize| {
                let shard = &streams.shards()[*number];
                let begun =
                    shard.parents.is_empty() || shard.parents.iter().all(|parent| state.ledger.has_ended(*parent));
                let never = !self.created.contains(&shard.key)
                    && (state.ledger.was_erased(&shard.key) || !state.ledger.was_created(&shard.key));
                streams.is_listed(*number) && begun && never && !state.ledger.has_ended(*number)
            };
            let row = |number: usize| {
                let shard = &streams.shards()[number];
                let parents = shard.parents.iter().map(|parent| streams.shards()[*parent].id.clone()).collect();
                let row = LeaseRow::new(shard.key.clone(), LeaseCounter(0), position.clone());
                LeaseRow { parents, hash_range: Some(shard.range), ..row }
            };
            (0..streams.shards().len()).filter(missing).map(row).collect::<Vec<_>>()
        });
        for row in rows {
            if table.row(&row.key).is_none() {
                world.note(NAME, format_args!("creates {}", row.key));
                table.create_now(&row);
                self.created.insert(row.key.clone());
                world.with(|state| state.ledger.on_foreign_create(&row));
            }
        }
    }

    /// Deletes a completed row whose children are all read already, as its cleanup does; the service may still list the shard.
    pub fn clean(&self, world: &World, table: &SimulatedLeaseTable) {
        let rows = table.rows();
        let begun = |row: &LeaseRow| {
            let of = |child: &_| rows.iter().find(|other| other.key == row.key.sibling(child));
            !row.children.is_empty()
                && row.children.iter().all(|child| of(child).is_some_and(|child| child.checkpoint.has_progress()))
        };
        let Some(row) = rows.iter().find(|row| row.checkpoint == Position::ShardEnd && begun(row)) else { return };
        world.note(NAME, format_args!("deletes {}", row.key));
        table.erase(&row.key);
        world.with(|state| state.ledger.on_erased(&state.streams, &row.key, state.now));
    }

    // === The 3x protocol ===

    /// A leader names a new owner for a live lease and leaves the old one as the one that may still checkpoint. The counter stays.
    pub fn hand_over(&mut self, world: &World, table: &SimulatedLeaseTable, random: &mut Random) {
        let mut rows = table.rows();
        let owned = |row: &LeaseRow| row.owner.as_ref().is_some_and(|owner| owner.as_str() != NAME_3);
        rows.retain(|row| owned(row) && row.checkpoint_owner.is_none() && row.checkpoint != Position::ShardEnd);
        let Some(row) = some(&rows, random) else { return };
        world.note(NAME_3, format_args!("is promised {} by a leader, from {:?}", row.key, row.owner));
        world.with(|state| state.ledger.on_foreign_take(&row.key, &WorkerId::new(NAME_3)));
        self.promised.insert(row.key.clone());
        table.edit(&row.key, |row| {
            row.checkpoint_owner = row.owner.replace(WorkerId::new(NAME_3));
        });
    }

    /// What was promised is assigned. The worker then never writes again.
    pub fn assign(&mut self, world: &World, table: &SimulatedLeaseTable) {
        for key in std::mem::take(&mut self.promised) {
            table.edit(&key, |row| {
                if row.owner.as_ref().is_some_and(|owner| owner.as_str() == NAME_3) && row.checkpoint_owner.is_some() {
                    world.note(NAME_3, format_args!("gets {key}"));
                    row.checkpoint_owner = None;
                    row.counter = row.counter.next();
                    row.owner_switches += 1;
                }
            });
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

fn some<'a>(rows: &'a [LeaseRow], random: &mut Random) -> Option<&'a LeaseRow> {
    rows.get(usize::try_from(random.below(rows.len() as u64)).unwrap_or(0))
}
