//! Random worlds: every kind of fault, mixed as the seed says.

use std::time::Duration;

use penstock_core::random::Random;

use crate::network::{Faults, Rates, Seam};
use crate::plan::{Action, Plan, SinkKind};

/// When the last thing goes wrong.
const WILD: u64 = 80_000;

/// The world of a seed.
#[must_use]
pub fn any_world(seed: u64) -> Plan {
    let mut random = Random::seeded(seed ^ 0x0077_6f72_6c64);
    let mut plan = Plan::quiet(seed);
    if random.below(3) == 0 {
        let packable = [None, Some(true), Some(false)][usize::try_from(random.below(3)).unwrap_or(0)];
        plan.sink = SinkKind::Calls { packable, poison: random.below(3) == 0 };
        plan.ordered_calls = random.below(3) == 0;
    }
    plan.shards = 1 + usize::try_from(random.below(4)).unwrap_or(0);
    plan.workers = 1 + usize::try_from(random.below(4)).unwrap_or(0);
    plan.records = 40 + random.below(200);
    plan.write_until = Duration::from_millis(10_000 + random.below(WILD - 10_000));
    plan.largest_page = 1 + random.below(20);
    plan.buffer_size = 10 + random.below(200);
    plan.buffer_interval = Duration::from_millis(1_000 + random.below(15_000));
    if random.below(2) == 0 {
        plan.iterator_life = Duration::from_millis(1_000 + random.below(20_000));
    }
    if random.below(3) == 0 {
        // The least: one fetch at a time.
        plan.memory_budget = 64 << 20;
    }
    plan.faults = faults(&mut random);
    plan.actions = actions(plan.workers, &mut random);
    plan
}

fn faults(random: &mut Random) -> Faults {
    // Some worlds have a perfect network and only processes that fail.
    let scale = [0, 1, 1, 3][usize::try_from(random.below(4)).unwrap_or(0)];
    let mut rates = |most: u64, delay: u64| Rates {
        request_lost: scale * random.below(most),
        reply_lost: scale * random.below(most),
        late: scale * random.below(most),
        throttled: scale * random.below(most),
        refused: scale * random.below(most),
        delay: 1 + random.below(delay),
    };
    Faults {
        source: rates(8, 200),
        table: rates(25, 300),
        sink: rates(30, 4_000),
        entries_failed: scale * random.below(100),
        until: Duration::from_millis(WILD),
        latest: 1 + random.below(40_000),
    }
}

fn actions(workers: usize, random: &mut Random) -> Vec<(Duration, Action)> {
    let mut actions = Vec::new();
    let millis = Duration::from_millis;
    for _ in 0..random.below(6) {
        let at = 3_000 + random.below(WILD - 25_000);
        let slot = usize::try_from(random.below(workers as u64)).unwrap_or(0);
        let lasts = 500 + random.below(22_000);
        match random.below(8) {
            0 | 1 => {
                actions.push((millis(at), Action::Kill(slot)));
                if random.below(4) != 0 {
                    actions.push((millis(at + lasts), Action::Start(slot)));
                }
            }
            2 | 3 => {
                actions.push((millis(at), Action::Freeze(slot)));
                actions.push((millis(at + lasts), Action::Thaw(slot)));
            }
            4 => {
                let seam = [Seam::Source, Seam::Table, Seam::Sink][usize::try_from(random.below(3)).unwrap_or(0)];
                actions.push((millis(at), Action::Cut(slot, seam, millis(lasts))));
            }
            5 => {
                actions.push((millis(at), Action::Drain(slot)));
                actions.push((millis(at + 26_000), Action::Start(slot)));
            }
            6 => actions.push((millis(at), Action::Split)),
            _ => actions.push((millis(at), Action::Merge)),
        }
    }
    if random.below(4) == 0 {
        for _ in 0..random.below(60) {
            actions.push((millis(2_000 + random.below(WILD - 5_000)), Action::Touch));
        }
    }
    actions.sort_by_key(|(at, _)| *at);
    actions
}
