//! Random worlds: every kind of fault, mixed as the seed says. Nine of ten are small and long, one is large and short.

use std::time::Duration;

use penstock_core::coordinator::api::InitialPosition;
use penstock_core::intent::OutsideHashRange;
use penstock_core::random::Random;

use crate::network::{Faults, Outage, Rates, Seam};
use crate::plan::{Action, Plan, SinkKind, Tool};

/// When the last thing goes wrong in a small world, in milliseconds.
const WILD: u64 = 80_000;
/// The same in a large one.
const WILD_IN_A_LARGE_ONE: u64 = 20_000;
/// One of so many worlds is large.
const LARGE: u64 = 10;

/// The world of a seed.
#[must_use]
pub fn any_world(seed: u64) -> Plan {
    if seed % LARGE == LARGE - 1 { large_world(seed) } else { small_world(seed) }
}

/// Up to 4 workers and 12 shards, for minutes.
#[must_use]
pub fn small_world(seed: u64) -> Plan {
    let mut random = Random::seeded(seed ^ 0x0077_6f72_6c64);
    let mut plan = any_kind(Plan::quiet(seed), &mut random);
    if random.below(6) == 0 {
        plan.streams = 2;
        plan.shards = among(&mut random, 6);
    } else {
        plan.shards = among(&mut random, 12);
    }
    plan.workers = among(&mut random, 4);
    plan.records = 40 + random.below(200);
    plan.write_until = Duration::from_millis(10_000 + random.below(WILD - 10_000));
    plan.buffer_interval = Duration::from_millis(1_000 + random.below(15_000));
    plan.faults = faults(&mut random, WILD, 4_000);
    plan.actions = Story { until: WILD - 22_000, plan: &plan, random: &mut random }.actions();
    plan
}

/// Up to 20 workers and 200 shards, for less than a minute.
#[must_use]
pub fn large_world(seed: u64) -> Plan {
    let mut random = Random::seeded(seed ^ 0x006c_6172_6765);
    let mut plan = any_kind(Plan::quiet(seed), &mut random);
    plan.workers = 5 + among(&mut random, 15);
    plan.shards = 20 + among(&mut random, 180);
    plan.records = 100 + random.below(300);
    plan.write_until = Duration::from_millis(5_000 + random.below(WILD_IN_A_LARGE_ONE - 5_000));
    plan.buffer_interval = Duration::from_millis(3_000 + random.below(5_000));
    plan.idle_interval = Duration::from_secs(3);
    plan.max_steals = 10;
    plan.faults = faults(&mut random, WILD_IN_A_LARGE_ONE, 1_000);
    plan.actions = Story { until: WILD_IN_A_LARGE_ONE - 5_000, plan: &plan, random: &mut random }.actions();
    plan
}

/// What workers are told, whatever the size of the world.
fn any_kind(mut plan: Plan, random: &mut Random) -> Plan {
    if random.below(3) == 0 {
        let packable = [None, Some(true), Some(false)][among(random, 3) - 1];
        plan.sink = SinkKind::Calls { packable, poison: random.below(3) == 0 };
        plan.ordered_calls = random.below(3) == 0;
    }
    plan.mixed_settings = random.below(4) == 0;
    if random.below(3) == 0 {
        plan.strays = 300 + random.below(700);
        plan.outside = [OutsideHashRange::Drop, OutsideHashRange::SetAside][among(random, 2) - 1];
    }
    plan.largest_page = 1 + random.below(20);
    plan.buffer_size = 10 + random.below(200);
    if random.below(2) == 0 {
        plan.iterator_life = Duration::from_millis(1_000 + random.below(20_000));
    }
    if random.below(3) == 0 {
        // The least: one fetch at a time.
        plan.memory_budget = 64 << 20;
    }
    if random.below(10) == 0 {
        plan.initial = InitialPosition::Latest;
    }
    plan
}

/// From one to `most`.
fn among(random: &mut Random, most: u64) -> usize {
    1 + usize::try_from(random.below(most)).unwrap_or(0)
}

fn faults(random: &mut Random, until: u64, sink_delay: u64) -> Faults {
    // Some worlds have a perfect network and only processes that fail.
    let scale = [0, 1, 1, 3][among(random, 4) - 1];
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
        sink: rates(30, sink_delay),
        gaps: rates(60, 300),
        entries_failed: scale * random.below(100),
        until: Duration::from_millis(until),
        latest: 1 + random.below(until / 2),
    }
}

// === What happens ===

/// Draws what happens.
struct Story<'a> {
    /// When the last thing begins, in milliseconds.
    until: u64,
    plan: &'a Plan,
    random: &'a mut Random,
}

type Happening = (Duration, Action);

impl Story<'_> {
    fn actions(mut self) -> Vec<Happening> {
        let mut actions = Vec::new();
        for _ in 0..self.random.below(7) {
            let at = 3_000 + self.random.below(self.until - 3_000);
            let some = match self.random.below(20) {
                0..=8 => self.processes(at),
                9..=11 => self.services(at),
                12..=15 => self.shards(at),
                16..=17 => self.strangers(at),
                _ => self.operators(at),
            };
            actions.extend(some);
        }
        if self.random.below(4) == 0 {
            for _ in 0..self.random.below(60) {
                actions.push((self.moment(), Action::Touch));
            }
        }
        actions.extend(self.remade_rows());
        actions.extend(self.trims());
        actions.sort_by_key(|(at, _)| *at);
        actions
    }

    /// Rows are deleted, and a leader of the KCL makes them again; or it makes the first ones.
    fn remade_rows(&self) -> Vec<Happening> {
        // Drawn apart from all else.
        let mut random = Random::seeded(self.plan.seed ^ 0x7265_6d61_6465);
        let mut actions = Vec::new();
        if random.below(10) == 0 {
            for _ in 0..1 + random.below(3) {
                let at = 5_000 + random.below(self.until - 5_000);
                actions.extend([(at, Action::Erase), (at + random.below(9_000), Action::KclSyncs)]);
            }
        }
        if self.plan.initial == InitialPosition::Latest && random.below(2) == 0 {
            actions.push((0, Action::KclSyncs));
        }
        timed(actions)
    }

    /// The retention ends under readers that were held up, or just so.
    fn trims(&self) -> Vec<Happening> {
        // Drawn apart from all else.
        let mut random = Random::seeded(self.plan.seed ^ 0x7472_696d);
        let mut actions = Vec::new();
        if random.below(10) == 0 {
            for _ in 0..1 + random.below(2) {
                let at = 5_000 + random.below(self.until - 5_000);
                let (slot, lasts) = (among(&mut random, self.plan.workers as u64) - 1, 2_000 + random.below(12_000));
                if random.below(3) != 0 {
                    actions.push((at, Action::Cut(slot, Seam::Source, Duration::from_millis(lasts))));
                }
                let kept = Duration::from_millis(1_000 + random.below(lasts));
                actions.push((at + random.below(lasts), Action::Trim(kept)));
            }
        }
        timed(actions)
    }

    fn moment(&mut self) -> Duration {
        Duration::from_millis(2_000 + self.random.below(self.until))
    }

    fn slot(&mut self) -> usize {
        among(self.random, self.plan.workers as u64) - 1
    }

    fn seam(&mut self) -> Seam {
        Seam::ALL[among(self.random, Seam::ALL.len() as u64) - 1]
    }

    fn processes(&mut self, at: u64) -> Vec<Happening> {
        let (slot, lasts) = (self.slot(), 500 + self.random.below(self.until / 3));
        match self.random.below(8) {
            0 | 1 => {
                let mut actions = vec![(at, Action::Kill(slot))];
                if self.random.below(4) != 0 {
                    actions.push((at + lasts, Action::Start(slot)));
                }
                timed(actions)
            }
            2 | 3 => timed(vec![(at, Action::Freeze(slot)), (at + lasts, Action::Thaw(slot))]),
            4 => {
                let seam = self.seam();
                timed(vec![(at, Action::Cut(slot, seam, Duration::from_millis(lasts)))])
            }
            5 => timed(vec![(at, Action::Drain(slot)), (at + 1 + self.random.below(26_000), Action::Start(slot))]),
            6 => self.deploy(at),
            _ => {
                // Nobody is left for a while, and perhaps the retention ends meanwhile.
                let slots = 0..self.plan.workers;
                let mut actions: Vec<(u64, Action)> = slots.clone().map(|slot| (at, Action::Kill(slot))).collect();
                if self.random.below(2) == 0 {
                    let kept = Duration::from_millis(1_000 + self.random.below(15_000));
                    actions.push((at + lasts / 2, Action::Trim(kept)));
                }
                actions.extend(slots.map(|slot| (at + lasts, Action::Start(slot))));
                timed(actions)
            }
        }
    }

    /// One worker after the other ends and starts again.
    fn deploy(&mut self, at: u64) -> Vec<Happening> {
        let pause = 200 + self.random.below(6_000);
        let step = |slot: usize| {
            let at = at + slot as u64 * pause;
            [(at, Action::Drain(slot)), (at + pause / 2, Action::Start(slot))]
        };
        timed((0..self.plan.workers.min(4)).flat_map(step).collect())
    }

    fn services(&mut self, at: u64) -> Vec<Happening> {
        let outages = [Outage::Throttled, Outage::Gone, Outage::Hangs, Outage::HangsAfterEffect];
        let how = outages[among(self.random, 4) - 1];
        let seam = self.seam();
        // What is not there is not asked for again as often: a stream or a sink that is gone is an operator's mistake.
        let how = if seam == Seam::Table || how != Outage::Gone { how } else { Outage::Throttled };
        let lasts = Duration::from_millis(500 + self.random.below(20_000));
        timed(vec![(at, Action::Outage(seam, how, lasts))])
    }

    fn shards(&mut self, at: u64) -> Vec<Happening> {
        if self.plan.initial == InitialPosition::Latest {
            // Who starts at the tip leaves out what came before, and so a shard that is closed by then.
            return Vec::new();
        }
        match self.random.below(8) {
            0..=2 => timed(vec![(at, Action::Split)]),
            3..=5 => timed(vec![(at, Action::Merge)]),
            6 => {
                let counts = [2, 4, 8, 16, 12, 6, 3];
                let step = |(round, count): (usize, &usize)| (at + 3_000 * round as u64, Action::Reshard(*count));
                timed(counts.iter().enumerate().map(step).collect())
            }
            _ if self.plan.streams > 1 => {
                let stream = among(self.random, self.plan.streams as u64) - 1;
                timed(vec![(at, Action::Recreate(stream))])
            }
            _ => timed(vec![(at, Action::Split), (at + 150, Action::Merge)]),
        }
    }

    fn strangers(&mut self, at: u64) -> Vec<Happening> {
        let later = at + 200 + self.random.below(6_000);
        match self.random.below(4) {
            0 => timed(vec![(at, Action::Kcl3HandsOver), (later, Action::Kcl3Assigns)]),
            1 => timed(vec![(at, Action::Kcl3HandsOver)]),
            _ => {
                let mut actions = vec![(at, Action::KclTakes), (later, Action::KclCheckpoints)];
                if self.random.below(2) == 0 {
                    actions.push((later + 100, Action::KclPrepares));
                }
                if self.plan.initial == InitialPosition::TrimHorizon {
                    actions.push((later + 200, Action::KclSyncs));
                }
                actions.extend([(later + 2_000, Action::KclCheckpoints), (later + 2_100, Action::KclCleans)]);
                if self.random.below(2) == 0 {
                    actions.push((later + 2_200, Action::KclLeaves));
                }
                timed(actions)
            }
        }
    }

    fn operators(&mut self, at: u64) -> Vec<Happening> {
        let later = at + 500 + self.random.below(15_000);
        match self.random.below(6) {
            0 | 1 => timed(vec![(at, Action::Erase)]),
            2 => timed(vec![(at, Action::Damage), (later, Action::Repair)]),
            3 => timed(vec![(at, Action::Tool(Tool::Release))]),
            4 => timed(vec![(at, Action::Tool(Tool::SetPosition))]),
            _ => timed(vec![(at, Action::Tool(Tool::AbandonIntent))]),
        }
    }
}

fn timed(actions: Vec<(u64, Action)>) -> Vec<Happening> {
    actions.into_iter().map(|(at, action)| (Duration::from_millis(at), action)).collect()
}
