//! Several coordinators on one lease table, with faults: whatever order events come in, the rules of the protocol hold.
//!
//! A case is a seed and a few numbers; everything in it (delays, losses, pauses, kills, reshards) follows from them.

mod world;

use std::time::Duration;

use proptest::prelude::*;
use world::{Plan, World};

fn plans() -> impl Strategy<Value = Plan> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let numbers = (1..5_usize, 1..7_u32, 0..30_u64, 0..4_usize, 0..5_usize);
    (any::<u64>(), numbers, flags).prop_map(
        |(
            seed,
            (workers, shards, fault_percent, reshards, erasures),
            (intents, steals, pauses, kills, drains, deaf),
        )| Plan {
            seed,
            workers,
            shards,
            fault_percent,
            reshards,
            erasures,
            intents,
            steals,
            pauses,
            kills,
            drains,
            deaf,
        },
    )
}

/// A world is as good as many small cases: a sixth of the usual number, `PROPTEST_CASES` included.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 6, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_protocol_holds_in_any_world(plan in plans()) {
        let mut world = World::new(plan);
        world.run_with_faults();
        world.settle();
        world.check_shares();
        world.drain();
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
