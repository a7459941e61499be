//! Several coordinators on one lease table, with faults: whatever order events come in, the rules of the protocol hold.
//!
//! A world is a seed and a few numbers; everything in it (delays, losses, pauses, kills, reshards) follows from them, and they
//! from the number of the world.

mod world;

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use penstock_core::random::Random;
use world::{Plan, World};

/// How many worlds the gate consists of: the same ones in every run. A world is as good as many small cases.
const WORLDS: u64 = 120;

/// The plan of a world, a function of its number.
fn plan(number: u64) -> Plan {
    let mut random = Random::seeded(number);
    Plan {
        seed: random.next_u64(),
        workers: 1 + random.below(4) as usize,
        shards: 1 + random.below(6) as u32,
        fault_percent: random.below(30),
        reshards: random.below(4) as usize,
        erasures: random.below(5) as usize,
        intents: random.below(2) == 0,
        steals: random.below(2) == 0,
        pauses: random.below(2) == 0,
        kills: random.below(2) == 0,
        drains: random.below(2) == 0,
        deaf: random.below(2) == 0,
    }
}

/// From its first event to its last.
fn live(world: &mut World) {
    world.run_with_faults();
    world.settle();
    world.check_shares();
    world.drain();
}

/// What the environment asks for by hand.
#[expect(
    clippy::disallowed_methods,
    reason = "more worlds than a gate has time for, or one of them, are asked for by hand"
)]
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The worlds below [`WORLDS`], or those of `PENSTOCK_WORLDS`: a number of them, or a range such as `120..60000`.
fn numbers() -> Range<u64> {
    let Some(asked) = asked("PENSTOCK_WORLDS") else { return 0..WORLDS };
    let (from, to) = asked.split_once("..").unwrap_or(("0", &asked));
    let number = |text: &str| text.parse().expect("PENSTOCK_WORLDS is a number, or a range such as 120..60000");
    number(from)..number(to)
}

/// `PENSTOCK_WORLD=n` runs one alone and shows all that happens in it.
#[test]
fn the_protocol_holds_in_any_world() {
    if let Some(number) = asked("PENSTOCK_WORLD") {
        let mut world = World::new(plan(number.parse().expect("PENSTOCK_WORLD is a number")));
        world.trace = Some(Vec::new());
        let lived = panic::catch_unwind(AssertUnwindSafe(|| live(&mut world)));
        world.trace.iter().flatten().for_each(|line| println!("{line}"));
        return lived.unwrap_or_else(|panic| panic::resume_unwind(panic));
    }
    for number in numbers() {
        let lived = panic::catch_unwind(|| live(&mut World::new(plan(number))));
        let test = "-p penstock-core --test coordinator_properties the_protocol_holds";
        assert!(
            lived.is_ok(),
            "{:#?}\nworld {number}, alone: PENSTOCK_WORLD={number} cargo test {test} -- --nocapture",
            plan(number)
        );
    }
}

#[test]
fn a_world_repeats_exactly() {
    let run = || {
        let mut world = World::new(Plan {
            seed: 5,
            workers: 3,
            shards: 4,
            fault_percent: 20,
            reshards: 2,
            erasures: 3,
            intents: true,
            steals: true,
            pauses: true,
            kills: true,
            drains: true,
            deaf: false,
        });
        world.trace = Some(Vec::new());
        world.run_with_faults();
        world.trace
    };
    assert_eq!(run(), run());
}

#[test]
fn what_has_settled_is_read_again_at_once_while_workers_are_replaced_one_by_one() {
    for seed in 0..30 {
        let mut world = World::new(Plan {
            seed,
            workers: 3,
            shards: 6,
            fault_percent: 0,
            reshards: 0,
            erasures: 0,
            intents: seed % 2 == 0,
            steals: true,
            pauses: false,
            kills: false,
            drains: true,
            deaf: false,
        });
        world.deploy();
        world.settle();
        world.check_shares();
        assert_eq!(world.forced, 0, "seed {seed}");
        // A scan takes up to 180 ms here, so that quick ones follow each other within 900.
        assert!(world.longest_silence < Duration::from_millis(1_400), "seed {seed}: {:?}", world.longest_silence);
    }
}
