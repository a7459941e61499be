//! Looking at the workers of a run from outside: what must hold of each at any time, and of all once the world is quiet.

use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_engine::worker::Exit;

use super::{Cluster, Member};
use crate::world::State;

/// The sum of design.md section 9.
const ADDS_UP: &str = "fetched = delivered + set aside + dropped + abandoned + in flight";
const WITHIN_BUDGET: &str = "memory stays within the budget";
const STAYS_UP: &str = "nothing external ends a worker";
const DRAINS: &str = "a drained worker settles what it read and gives its leases back";

impl Member {
    /// How many of these rows are this worker's, by the row and by its own belief.
    fn held(&self, rows: &[&LeaseRow]) -> usize {
        let believed = self.status.snapshot().leases;
        let believed: std::collections::BTreeSet<_> =
            believed.iter().filter(|lease| lease.held).map(|lease| &lease.key).collect();
        rows.iter().filter(|row| row.owner.as_ref() == Some(&self.worker) && believed.contains(&row.key)).count()
    }
}

impl Cluster {
    /// Nothing keeps any worker from its seams any more, and there is at least one.
    pub async fn calm(&mut self) {
        for member in &self.members {
            member.link.freeze(false);
        }
        self.operator.repair();
        self.look().await;
        if self.members.iter().all(|member| member.shutdown.is_cancelled()) {
            let free = (0..).find(|slot| self.member(*slot).is_none()).expect("slots never end");
            self.start(free);
        }
    }

    /// Checks every worker from outside, and takes away those that ended.
    pub async fn look(&mut self) {
        for member in &self.members {
            self.world.with(|state| check(member, state));
        }
        let mut at = 0;
        while at < self.members.len() {
            if !self.members[at].task.is_finished() {
                at += 1;
                continue;
            }
            let member = self.members.remove(at);
            let ended = (&mut { member.task }).await;
            self.world.with(|state| match ended {
                Ok(Ok(Exit::Clean | Exit::Undelivered { .. })) if member.shutdown.is_cancelled() => {
                    state.note(&member.link.name, format_args!("ended"));
                }
                // Somebody has to start it again, as with any process that cannot reach what it needs at its start.
                Ok(Err(error)) => state.note(&member.link.name, format_args!("could not start: {error}")),
                ended => state.broke(STAYS_UP, format!("{} ended: {ended:?}", member.worker)),
            });
            if !member.shutdown.is_cancelled() {
                self.start(member.slot);
            }
        }
    }

    /// Whether every record is settled, every closed shard ended, and the leases balanced; or what is not.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        let missing = self.world.with(|state| {
            let missing: Vec<u64> = state.ledger.missing(&state.streams).take(5).collect();
            (!missing.is_empty()).then(|| {
                let settled = state.ledger.settled();
                format!("{settled} of {} records are settled; {missing:?} are missing", state.streams.written())
            })
        });
        missing
            .or_else(|| self.unended())
            .or_else(|| self.open_intent())
            .or_else(|| self.in_flight())
            .or_else(|| self.unbalanced())
    }

    fn unended(&self) -> Option<String> {
        self.world.with(|state| {
            let State { streams, ledger, .. } = state;
            let open = streams.shards().iter().enumerate().find(|(number, shard)| {
                let ends = shard.is_closed() && !streams.is_of_recreated(*number);
                // A row that is gone says nothing more; a shard that was never asked for has none.
                let ended = match self.table.row(&shard.key) {
                    Some(row) => row.checkpoint == Position::ShardEnd,
                    None => {
                        let beyond = ledger.is_read_beyond(streams, *number);
                        ledger.has_ended(*number) || beyond || !streams.is_listed(*number)
                    }
                };
                ends && !ended
            });
            open.map(|(_, shard)| format!("{} is closed and not ended", shard.key))
        })
    }

    /// Whether a row is one of a stream that is read.
    fn is_read(&self, row: &LeaseRow) -> bool {
        self.world
            .with(|state| state.streams.number(&row.key).is_some_and(|number| !state.streams.is_of_recreated(number)))
    }

    fn open_intent(&self) -> Option<String> {
        let open = self.table.rows().into_iter().find(|row| row.intent.is_some() && self.is_read(row));
        open.map(|row| format!("the intent of {} is still open", row.key))
    }

    fn in_flight(&self) -> Option<String> {
        let waiting = self.members.iter().find(|member| member.status.snapshot().totals.in_flight > 0);
        waiting.map(|member| format!("{} does not know of all its records what became of them", member.worker))
    }

    /// Whether somebody alive holds each open lease, nobody much more than another; a killed worker's leases expire first.
    fn unbalanced(&self) -> Option<String> {
        let rows = self.table.rows();
        let open: Vec<&LeaseRow> =
            rows.iter().filter(|row| row.checkpoint != Position::ShardEnd && self.is_read(row)).collect();
        let live = self.members.iter().filter(|member| !member.shutdown.is_cancelled());
        let loads: Vec<usize> = live.map(|member| member.held(&open)).collect();
        let held = loads.iter().sum::<usize>();
        // What is held of a stream that was created again counts in the balance and is nobody's to ask for.
        let may_differ =
            self.world.with(|state| (0..state.streams.count()).any(|stream| state.streams.is_recreated(stream)));
        let spread = loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0);
        (held != open.len() || spread > 1 && !may_differ)
            .then(|| format!("of {} leases the workers hold {loads:?}", open.len()))
    }

    /// Drains all workers at once and checks how they end.
    pub async fn drain(&mut self) {
        let began = self.world.with(|state| state.now);
        for member in &self.members {
            member.shutdown.cancel();
        }
        for member in std::mem::take(&mut self.members) {
            let ended = member.task.await;
            let totals = member.status.snapshot().totals;
            self.world.with(|state| {
                if !matches!(ended, Ok(Ok(Exit::Clean))) || totals.in_flight != 0 || !totals.add_up() {
                    state.broke(DRAINS, format!("{}: {ended:?}, {totals:?}", member.worker));
                }
            });
        }
        // Who had not heard for so long that it believed no more gives nothing back: it leaves the lease to expire.
        let rows =
            self.table.rows().into_iter().filter(|row| row.checkpoint != Position::ShardEnd && self.is_read(row));
        for row in rows {
            let Some(owner) = &row.owner else { continue };
            self.world.with(|state| {
                if state.ledger.knows(&row.key, owner, began) {
                    state.broke(DRAINS, format!("{} still belongs to {owner}", row.key));
                }
            });
        }
    }
}

fn check(member: &Member, state: &mut State) {
    let status = member.status.snapshot();
    if !status.totals.add_up() {
        state.broke(ADDS_UP, format!("{}: {:?}", member.worker, status.totals));
    }
    if status.memory_used > status.memory_budget {
        state.broke(WITHIN_BUDGET, format!("{}: {} of {}", member.worker, status.memory_used, status.memory_budget));
    }
}
