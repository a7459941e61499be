//! penstock and consumers on the real Java KCL, on one lease table and one stream: either goes on where the other stopped.
//!
//! Run by `make interop`: they need Java and Maven, and take minutes. What a Java consumer processed counts from the checkpoint that
//! covers it; what it processed without one, when its lease was taken from it, the KCL leaves to the next owner.

#[path = "interop/java.rs"]
mod java;
mod support;
#[path = "interop/world.rs"]
mod world;

use std::collections::BTreeMap;

use java::Kcl;
use support::{SOON, run, wait_until};
use world::{Kinesis, LONG, Row, VERSION_RECORD, World, checkpoint, is_lease, is_owned_by};

/// Attributes that a row has once penstock has delivered from its shard.
const OURS: [&str; 3] = ["penstockStream", "penstockChain", "penstockArrival"];

const EXCLUSIVE: &[&str] = &["leases.mode=exclusive"];

/// Java starts, penstock joins; Java stops, penstock goes on; penstock stops, Java goes on.
fn there_and_back(kinesis: Kinesis, shards: u32, splits: bool) {
    let each = shards as usize / 2;
    let mut world = World::new(kinesis, shards);
    world.tell(150);
    let mut java = world.java(Kcl::Two, "java-1");
    world.wait_under_load("Java holds all leases, and has made checkpoints", |world| {
        world.held_by("java-1") == 2 * each && java.journal().of("checkpoint").count() >= 2 * each
    });

    let alone = java.journal().shards_started().len();
    let mut penstock = world.penstock("penstock-1", &[]);
    world.wait_under_load("both hold their share", |world| {
        [world.held_by("java-1"), world.held_by("penstock-1")] == [each, each]
    });
    if splits {
        let parents = ["java-1", "penstock-1"].map(|owner| world.split(|row| is_owned_by(row, owner)));
        world.wait_under_load("both parents are finished, and both hold children", |world| {
            let leases = world.leases();
            let finished = parents.iter().all(|parent| leases[&parent.id]["checkpoint"] == "SHARD_END");
            finished && world.held_by("java-1") > 0 && world.held_by("penstock-1") > 0
        });
    }
    world.tell(100);
    world.wait_for_all();
    assert!(world.delivered() > 0, "penstock held leases and delivered nothing");

    // Java goes while records come.
    world.tell(100);
    java.stop_cleanly();
    // A tenure that began since then may have been taken from penstock, which cannot refuse it.
    let mut taken = java.journal().shards_started().split_off(alone);
    if splits {
        world.split(|row| row["checkpoint"] != "SHARD_END");
    }
    world.tell(100);
    world.wait_under_load("penstock owns what Java left", |world| world.held_by("java-1") == 0);
    world.wait_for_all();

    // And penstock, with records under way: from a Java worker that has joined it, or with nobody there.
    let mut joined = (!splits).then(|| world.java(Kcl::Two, "java-2"));
    if joined.is_some() {
        world.wait_under_load("both hold their share again", |world| {
            [world.held_by("java-2"), world.held_by("penstock-1")] == [each, each]
        });
    }
    world.tell(100);
    penstock.drain_cleanly();
    let left = world.leases();
    assert!(!left.values().any(|row| is_owned_by(row, "penstock-1")), "not released: {left:#?}");
    assert!(left.values().all(|row| !row.contains_key("penstockIntent")), "an intent is left: {left:#?}");
    taken.extend(joined.iter().flat_map(|java| java.journal().shards_started()));
    if splits {
        world.split(|row| row["checkpoint"] != "SHARD_END");
    }
    let mut back = joined.take().unwrap_or_else(|| world.java(Kcl::Two, "java-2"));
    world.tell(100);
    world.wait_for_all();
    back.stop_cleanly();
    let journal = back.journal();
    for (shard, row) in unfinished(&left).filter(|(shard, _)| !taken.contains(shard)) {
        assert_eq!(journal.started_at(shard), Some(checkpoint(row)), "{shard}");
    }
    world.assert_each_once_but_for(&taken);
}

/// The next position within the same aggregate, as objects name it.
fn behind((sequence, subsequence): &(String, String)) -> String {
    format!("{sequence}/{}", subsequence.parse::<u64>().expect("a subsequence number is a number") + 1)
}

fn unfinished(rows: &BTreeMap<String, Row>) -> impl Iterator<Item = (&String, &Row)> {
    rows.iter().filter(|(_, row)| row["checkpoint"] != "SHARD_END")
}

#[test]
#[ignore = "make interop"]
fn java_and_penstock_share_the_leases_and_each_goes_on_where_the_other_stopped() {
    there_and_back(Kinesis::ours(), 4, false);
}

#[test]
#[ignore = "make interop"]
fn shards_split_while_they_share_and_while_each_is_alone() {
    there_and_back(Kinesis::independent(), 2, true);
}

/// The table is penstock's; Java is stopped in the middle of an aggregate of each shard.
fn within_aggregates(kinesis: Kinesis, splits: bool) {
    let mut world = World::new(kinesis, 2);
    world.tell(150);
    let mut first = world.penstock("penstock-1", &[]);
    world.wait_for_all();
    first.drain_cleanly();
    let made = world.leases();

    let mut java = world.halting_java(Kcl::Two, "java-1");
    world.wait_under_load("Java stands within an aggregate of each shard", |_| java.journal().halts().len() == 2);
    java.stop_cleanly();
    let journal = java.journal();
    let left = world.leases();
    for (shard, row) in &left {
        assert_eq!(
            journal.started_at(shard),
            Some(checkpoint(&made[shard])),
            "Java did not begin where penstock stopped"
        );
        let halt = &journal.halts()[shard];
        assert_eq!(checkpoint(row), *halt);
        assert_ne!(halt.1, "0", "not within an aggregate");
        let ours =
            |row: &Row| row.clone().into_iter().filter(|(name, _)| name.starts_with("penstock")).collect::<Row>();
        assert!(OURS.iter().all(|name| row.contains_key(*name)), "{shard}: {row:#?}");
        assert_eq!(ours(row), ours(&made[shard]), "what is ours in {shard} did not survive Java");
        let counter = |row: &Row| row["leaseCounter"].parse::<u64>().expect("a counter is a number");
        assert!(counter(row) > counter(&made[shard]), "Java did not count on from our counter");
    }

    if splits {
        world.split(|row| row["checkpoint"] != "SHARD_END");
    }
    world.tell(150);
    let mut second = world.penstock("penstock-2", &[]);
    world.wait_for_all();
    for (shard, halt) in journal.halts() {
        assert!(world.objects_begin_at(&behind(&halt)), "{shard}: no object begins behind {halt:?}");
    }
    second.drain_cleanly();

    let mut back = world.java(Kcl::Two, "java-2");
    world.tell(50);
    world.wait_for_all();
    back.stop_cleanly();
    world.assert_each_once();
}

#[test]
#[ignore = "make interop"]
fn penstock_goes_on_within_an_aggregate_on_rows_that_it_made() {
    within_aggregates(Kinesis::ours(), false);
}

#[test]
#[ignore = "make interop"]
fn a_shard_that_splits_behind_a_checkpoint_within_an_aggregate_loses_and_repeats_nothing() {
    within_aggregates(Kinesis::independent(), true);
}

#[test]
#[ignore = "make interop"]
fn java_goes_past_an_intent_that_penstock_left_behind_and_penstock_drops_it() {
    let mut world = World::new(Kinesis::ours(), 2);
    world.tell(100);
    let mut first = world.penstock("penstock-1", &[]);
    world.wait_for_all();
    let is_open = |row: &Row| row.contains_key("penstockIntent");
    wait_until("all is committed", SOON, || !world.leases().values().any(is_open));
    // From here on a batch is recorded, and cannot be written.
    world.take_the_directory_away();
    world.wait_under_load("both shards have an open intent", |world| world.leases().values().all(is_open));
    first.kill_9();
    let left = world.leases();

    let mut java = world.java(Kcl::Two, "java-1");
    world.wait_under_load("Java goes past both", |world| {
        let leases = world.leases();
        leases.iter().all(|(shard, row)| checkpoint(row) != checkpoint(&left[shard]))
    });
    java.stop_cleanly();
    let passed = world.leases();
    for (shard, row) in &passed {
        assert_eq!(row.get("penstockIntent"), left[shard].get("penstockIntent"), "{shard}: the KCL leaves it alone");
        assert_eq!(java.journal().started_at(shard), Some(checkpoint(&left[shard])), "{shard}");
    }

    world.give_the_directory_back();
    world.tell(100);
    let mut second = world.penstock("penstock-2", &[]);
    world.wait_for_all();
    second.drain_cleanly();
    let after = world.leases();
    assert!(!after.values().any(is_open), "{after:#?}");
    world.assert_each_once();
}

#[test]
#[ignore = "make interop"]
fn a_kcl_3_application_is_taken_over_in_exclusive_mode_alone() {
    let mut world = World::new(Kinesis::ours(), 2);
    world.tell(200);
    let mut java = world.halting_java(Kcl::Three, "java-1");
    world.wait_under_load("Java stands within an aggregate of each shard", |_| java.journal().halts().len() == 2);
    let rows = world.rows();
    assert_eq!(rows[VERSION_RECORD]["cv"], "CLIENT_VERSION_3X", "{rows:#?}");

    // Among its peers penstock has no place, whether one runs or not.
    let refused = run(world.job(), &["run", "-c", "penstock.toml"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for word in ["CLIENT_VERSION_3X", "exclusive"] {
        assert!(refused.stderr.contains(word), "no {word} in: {}", refused.stderr);
    }

    // In exclusive mode it waits for Java to go.
    let mut penstock = world.penstock("penstock-1", EXCLUSIVE);
    penstock.wait_for_line(&["worker starts"]);
    world.wait_while_it_renews("java-1");
    java.stop_cleanly();
    let left = world.rows();
    world.tell(200);
    world.wait_for_all();
    for (shard, halt) in java.journal().halts() {
        assert!(world.objects_begin_at(&behind(&halt)), "{shard}: no object begins behind {halt:?}");
    }
    penstock.drain_cleanly();
    world.assert_each_once();
    let after = world.rows();
    for (key, row) in left.iter().filter(|(key, _)| !is_lease(key)) {
        assert_eq!(after.get(key), Some(row), "{key} is the KCL's");
    }
}

#[test]
#[ignore = "make interop"]
fn in_exclusive_mode_penstock_waits_for_java_to_go_and_ends_when_one_comes() {
    let mut world = World::new(Kinesis::ours(), 2);
    world.tell(100);
    let mut first = world.penstock("penstock-1", &[]);
    world.wait_for_all();
    first.drain_cleanly();
    let mut java = world.java(Kcl::Two, "java-1");
    world.wait_under_load("Java holds all leases, and has made checkpoints", |world| {
        world.held_by("java-1") == 2 && java.journal().of("checkpoint").count() >= 2
    });

    let delivered = world.delivered();
    let mut alone = world.penstock("penstock-2", EXCLUSIVE);
    alone.wait_for_line(&["worker starts"]);
    world.wait_while_it_renews("java-1");
    world.tell(100);
    world.wait_for_all();
    assert_eq!((world.held_by("java-1"), world.delivered()), (2, delivered), "penstock did not wait");
    java.stop_cleanly();
    world.wait_under_load("penstock holds all leases", |world| world.held_by("penstock-2") == 2);

    // One that comes all the same takes a lease by force, and penstock cannot be exclusive any more.
    let mut intruder = world.java(Kcl::Two, "java-2");
    world.wait_under_load("the intruder has taken all", |world| world.held_by("java-2") == 2);
    assert_eq!(alone.exit_code(SOON), 1, "{}", alone.log());
    assert!(alone.log().contains("java-2"), "{}", alone.log());
    world.wait_for_all();
    intruder.stop_cleanly();
    world.assert_each_once_but_for(&intruder.journal().shards_started());
}

#[test]
#[ignore = "make interop"]
fn two_streams_are_shared_under_the_keys_of_a_multi_stream_application() {
    let mut world = World::of_two_streams(Kinesis::ours(), 2);
    world.tell(100);
    let mut first = world.penstock("penstock-1", &["leases.keys=multi"]);
    world.wait_for_all();
    first.drain_cleanly();
    let made = world.leases();
    let streams = |rows: &BTreeMap<String, Row>| rows.values().map(|row| row["streamName"].clone()).collect::<Vec<_>>();
    assert_eq!(made.len(), 4, "{made:#?}");
    assert_eq!(streams(&made).windows(2).filter(|pair| pair[0] != pair[1]).count(), 1, "two of each stream: {made:#?}");

    // The KCL takes the rows for its own, each from where it stands.
    let mut java = world.java(Kcl::Two, "java-1");
    world.wait_under_load("Java holds all leases, and has made checkpoints", |world| {
        world.held_by("java-1") == 4 && java.journal().of("checkpoint").count() >= 4
    });
    assert_eq!(world.leases().keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>(), "Java made rows of its own");
    for (key, row) in &made {
        assert_eq!(java.journal().started_at(key), Some(checkpoint(row)), "{key}");
    }

    let mut second = world.penstock("penstock-2", &["leases.keys=multi"]);
    world.wait_under_load("both hold their share", |world| {
        [world.held_by("java-1"), world.held_by("penstock-2")] == [2, 2]
    });
    world.tell(100);
    world.wait_for_all();
    java.stop_cleanly();
    let left = world.leases();
    // Whatever it had beyond these four it took back from a running penstock.
    let taken = java.journal().shards_started().split_off(4);
    world.wait_under_load("penstock owns what Java left", |world| world.held_by("java-1") == 0);
    world.wait_for_all();
    second.drain_cleanly();
    let after = world.leases();
    assert_eq!(streams(&after), streams(&left), "what names the stream stays");
    world.assert_each_once_but_for(&taken);
}

#[test]
#[ignore = "make interop"]
fn a_kcl_3_application_in_its_2x_compatible_phase_shares_with_penstock() {
    let mut world = World::new(Kinesis::ours(), 2);
    world.tell(100);
    let mut first = world.penstock("penstock-1", &[]);
    world.wait_for_all();
    first.drain_cleanly();
    let mut java = world.java(Kcl::ThreeCompatible, "java-1");
    world.wait_under_load("Java holds all leases, and has made checkpoints", |world| {
        world.held_by("java-1") == 2 && java.journal().of("checkpoint").count() >= 2
    });
    assert_eq!(world.rows()[VERSION_RECORD]["cv"], "CLIENT_VERSION_UPGRADE_FROM_2X");

    let mut second = world.penstock("penstock-2", &[]);
    world.wait_under_load("both hold their share", |world| {
        [world.held_by("java-1"), world.held_by("penstock-2")] == [1, 1]
    });
    world.tell(100);
    world.wait_for_all();
    java.stop_cleanly();
    let taken = java.journal().shards_started().split_off(2);
    let left = world.rows();
    world.wait_under_load("penstock owns what Java left", |world| world.held_by("java-1") == 0);
    world.wait_for_all();
    let others: Vec<_> = left.iter().filter(|(key, _)| !is_lease(key)).collect();
    assert!(others.len() > 1, "the KCL's metrics are not among the leases: {left:#?}");
    let after = world.rows();
    others.iter().for_each(|(key, row)| assert_eq!(after.get(*key), Some(*row), "{key} is the KCL's"));
    assert!(!second.log().contains("cannot be read"), "{}", second.log());

    // The KCL goes on to the 3.x protocol under a running penstock, which has no place there any more.
    world.record_version("CLIENT_VERSION_3X_WITH_ROLLBACK");
    assert_eq!(second.exit_code(LONG), 1, "{}", second.log());
    for word in ["CLIENT_VERSION_3X_WITH_ROLLBACK", "exclusive"] {
        assert!(second.log().contains(word), "no {word} in: {}", second.log());
    }
    let given_back = world.leases();
    assert!(!given_back.values().any(|row| is_owned_by(row, "penstock-2")), "not released: {given_back:#?}");
    world.assert_each_once_but_for(&taken);
}

#[test]
#[ignore = "make interop"]
fn a_kcl_3_worker_that_comes_back_gets_its_application_back_from_penstock_in_exclusive_mode() {
    let mut world = World::new(Kinesis::ours(), 2);
    world.tell(100);
    let mut before = world.java(Kcl::Three, "java-1");
    world.wait_under_load("Java holds all leases, and has made checkpoints", |world| {
        world.held_by("java-1") == 2 && before.journal().of("checkpoint").count() >= 2
    });
    before.stop_cleanly();
    // A fleet that may not hold everything leaves a lease to whoever comes.
    let mut penstock = world.penstock("penstock-1", &[EXCLUSIVE[0], "leases.max_leases=1"]);
    world.wait_under_load("penstock holds what it may", |world| world.held_by("penstock-1") == 1);
    world.tell(50);
    let mut back = world.java(Kcl::Three, "java-2");
    world.wait_under_load("the leader has assigned what penstock does not hold", |world| world.held_by("java-2") > 0);
    assert_eq!(penstock.exit_code(SOON), 1, "{}", penstock.log());
    for word in ["java-2", "exclusive", "stop it"] {
        assert!(penstock.log().contains(word), "no {word} in: {}", penstock.log());
    }
    let left = world.leases();
    assert!(!left.values().any(|row| is_owned_by(row, "penstock-1")), "not released: {left:#?}");
    assert!(left.values().all(|row| !row.contains_key("penstockIntent")), "an intent is left: {left:#?}");
    assert!(world.delivered() > 0, "penstock held a lease and delivered nothing");

    world.wait_under_load("the leader has assigned the rest", |world| world.held_by("java-2") == 2);
    world.wait_for_all();
    back.stop_cleanly();
    for (shard, row) in left.iter().filter(|(_, row)| row.contains_key("penstockChain")) {
        assert_eq!(back.journal().started_at(shard), Some(checkpoint(row)), "{shard}");
    }
    world.assert_each_once();
}
