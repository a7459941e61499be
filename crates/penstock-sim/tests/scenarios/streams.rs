//! One application reads two streams; one of them is deleted and created again, and the other goes on.

use penstock_sim::plan::{Action, Plan};

use super::{by_calls, scenario};

fn two(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.streams = 2;
    plan.shards = 2;
    plan
}

#[test]
fn two_streams_are_read() {
    scenario("two_streams_are_read", two);
}

#[test]
fn two_streams_are_split_and_merged_while_a_worker_is_killed() {
    scenario("two_streams_are_split_and_merged_while_a_worker_is_killed", |seed| {
        let at = 8_000 + 97 * (seed % 61);
        let plan =
            by_calls(two(seed)).at(at, Action::Split).at(at + 3_000, Action::Merge).at(at + 6_000, Action::Split);
        plan.at(at + 400 + 37 * (seed % 53), Action::Kill(0)).at(at + 9_000, Action::Start(0))
    });
}

#[test]
fn a_stream_is_created_again_and_the_other_goes_on() {
    scenario("a_stream_is_created_again_and_the_other_goes_on", |seed| {
        two(seed).at(9_000 + 137 * (seed % 97), Action::Recreate(1))
    });
}

#[test]
fn a_stream_is_created_again_and_is_never_read_with_old_checkpoints() {
    scenario("a_stream_is_created_again_and_is_never_read_with_old_checkpoints", |seed| {
        Plan::quiet(seed).at(9_000 + 137 * (seed % 97), Action::Recreate(0))
    });
}
