//! Writes are applied long after they were sent, without an answer: to a row that others have written since.

use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario, with_faults};

fn late(seed: u64) -> Plan {
    with_faults(seed, |faults| {
        faults.table.late = 150;
        faults.sink.late = 150;
        faults.latest = 25_000;
    })
}

#[test]
fn late_writes_do_no_harm() {
    scenario("late_writes_do_no_harm", late);
}

#[test]
fn late_writes_do_no_harm_by_calls() {
    scenario("late_writes_do_no_harm_by_calls", |seed| by_calls(late(seed)));
}

#[test]
fn late_writes_of_killed_workers_do_no_harm() {
    scenario("late_writes_of_killed_workers_do_no_harm", |seed| {
        let at = 8_000 + 211 * (seed % 89);
        late(seed).at(at, Action::Kill(0)).at(at + 1_000, Action::Start(0)).at(at + 9_000, Action::Kill(1))
    });
}
