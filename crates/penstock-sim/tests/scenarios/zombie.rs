//! A worker stands still past its lease and then goes on with what it had decided: its writes, puts and calls land late.

use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario, with_faults};

fn frozen(seed: u64) -> Plan {
    let at = 8_000 + 173 * (seed % 101);
    let lasts = 11_000 + 500 * (seed % 29);
    Plan::quiet(seed).at(at, Action::Freeze(0)).at(at + lasts, Action::Thaw(0))
}

#[test]
fn a_zombie_does_no_harm() {
    scenario("a_zombie_does_no_harm", frozen);
}

#[test]
fn a_zombie_does_no_harm_by_calls() {
    scenario("a_zombie_does_no_harm_by_calls", |seed| by_calls(frozen(seed)));
}

#[test]
fn a_pause_shorter_than_the_lease_does_no_harm() {
    scenario("a_pause_shorter_than_the_lease_does_no_harm", |seed| {
        (0..5).fold(Plan::quiet(seed), |plan, round| {
            let (slot, at) = (usize::try_from(round % 2).expect("small"), 5_000 + 7_000 * round + 59 * (seed % 61));
            plan.at(at, Action::Freeze(slot)).at(at + 800 + 53 * (seed % 97), Action::Thaw(slot))
        })
    });
}

#[test]
fn a_zombie_wakes_while_its_successor_replays() {
    scenario("a_zombie_wakes_while_its_successor_replays", |seed| {
        let mut plan = with_faults(seed, |faults| faults.sink.delay = 3_000);
        plan.buffer_interval = std::time::Duration::from_secs(1);
        let at = 10_000 + 97 * (seed % 127);
        // The lease is taken some ten to fifteen seconds later; the thaw falls into what follows.
        plan.at(at, Action::Freeze(0)).at(at + 11_000 + 149 * (seed % 67), Action::Thaw(0))
    });
}

#[test]
fn a_zombie_is_killed_before_it_wakes() {
    scenario("a_zombie_is_killed_before_it_wakes", |seed| {
        let at = 8_000 + 173 * (seed % 101);
        Plan::quiet(seed).at(at, Action::Freeze(0)).at(at + 13_000, Action::Kill(0)).at(at + 14_000, Action::Start(0))
    });
}
