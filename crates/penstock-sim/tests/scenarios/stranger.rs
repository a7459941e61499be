//! A program of another make writes the rows of live leases: each time the holder has to find out that its own write was not.

use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario, with_faults};

fn touched(plan: Plan) -> Plan {
    let seed = plan.seed;
    (0..80).fold(plan, |plan, round| plan.at(4_000 + 430 * round + seed % 419, Action::Touch))
}

#[test]
fn counters_are_touched_all_the_time() {
    scenario("counters_are_touched_all_the_time", |seed| touched(with_faults(seed, |faults| faults.table.delay = 250)));
}

#[test]
fn counters_are_touched_all_the_time_by_calls() {
    scenario("counters_are_touched_all_the_time_by_calls", |seed| {
        by_calls(touched(with_faults(seed, |faults| faults.table.reply_lost = 100)))
    });
}
