//! The tables of the KCL's own tests by meaning, where our rules are the same, and what is stricter here.

mod random_trees;

use super::*;
use crate::ids::{LeaseCounter, StreamId, StreamName};
use crate::lease::Scan;
use crate::position::{RecordPosition, SequenceNumber};
use crate::time::Instant;

use InitialPosition::{Latest, Timestamp, TrimHorizon};

const WALL: UnixMillis = UnixMillis(1_700_000_000_000);
const TIME: UnixMillis = UnixMillis(1_650_000_000_000);
const ALL: [InitialPosition; 3] = [Latest, TrimHorizon, Timestamp(TIME)];
const OLDEST: [InitialPosition; 2] = [TrimHorizon, Timestamp(TIME)];

fn id(shard: u32) -> ShardId {
    ShardId::new(&format!("shardId-{shard:012}"))
}

fn number(shard: &ShardId) -> u32 {
    shard.as_str().trim_start_matches("shardId-").parse().unwrap()
}

fn stream(initial_position: InitialPosition) -> StreamSettings {
    StreamSettings { name: StreamName::new("s"), id: None, created: UnixMillis(1), initial_position }
}

fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::parse(&number.to_string()).unwrap()
}

/// A shard of the eighths `from..to` of all hash keys.
fn shard(number: u32, eighths: (u128, u128), parents: &[u32], open: bool) -> ShardListing {
    let start = |eighth: u128| eighth << 125;
    let end = if eighths.1 == 8 { u128::MAX } else { start(eighths.1) - 1 };
    ShardListing {
        id: id(number),
        parents: parents.iter().map(|parent| id(*parent)).collect(),
        hash_range: HashRange { start: start(eighths.0), end },
        starting_sequence: sequence(u64::from(number) + 1),
        ending_sequence: (!open).then(|| sequence(999)),
    }
}

/// 0 and 1 became 6, 2 and 3 became 7, 6 and 7 became 8; 5 became 9 and 10; open are 4, 8, 9 and 10.
fn many_at_first() -> Vec<ShardListing> {
    vec![
        shard(0, (0, 1), &[], false),
        shard(1, (1, 2), &[], false),
        shard(2, (2, 3), &[], false),
        shard(3, (3, 4), &[], false),
        shard(4, (4, 6), &[], true),
        shard(5, (6, 8), &[], false),
        shard(6, (0, 2), &[0, 1], false),
        shard(7, (2, 4), &[2, 3], false),
        shard(8, (0, 4), &[6, 7], true),
        shard(9, (6, 7), &[5], true),
        shard(10, (7, 8), &[5], true),
    ]
}

/// Two become one, which becomes two, again and again: 0+1, 2, 3+4, 5, 6+7, 8, 9+10.
fn chain() -> Vec<ShardListing> {
    let half = |number, parents: &[u32], open| {
        let lower = [0, 3, 6, 9].contains(&number);
        shard(number, if lower { (0, 4) } else { (4, 8) }, parents, open)
    };
    let mut shards = vec![half(0, &[], false), half(1, &[], false)];
    for merged in [2, 5, 8] {
        shards.push(shard(merged, (0, 8), &[merged - 2, merged - 1], false));
        shards.extend([merged + 1, merged + 2].map(|number| half(number, &[merged], merged == 8)));
    }
    // 2 came of 0 and 1, 5 of 3 and 4, 8 of 6 and 7.
    shards
}

fn without(shards: Vec<ShardListing>, gone: &[u32]) -> Vec<ShardListing> {
    shards.into_iter().filter(|shard| !gone.contains(&number(&shard.id))).collect()
}

fn row(shards: &[ShardListing], number: u32, checkpoint: Position) -> LeaseRow {
    let shard = shards.iter().find(|shard| shard.id == id(number)).unwrap();
    let mut row = LeaseRow::new(LeaseKey::single_stream(&shard.id), LeaseCounter(1), checkpoint);
    row.parents.clone_from(&shard.parents);
    row.hash_range = Some(shard.hash_range);
    row
}

fn rows(shards: &[ShardListing], numbers: &[u32], checkpoint: &Position) -> Vec<LeaseRow> {
    numbers.iter().map(|number| row(shards, *number, checkpoint.clone())).collect()
}

fn table(rows: Vec<LeaseRow>) -> Table {
    let mut table = Table::default();
    table.observe(Scan { rows, unreadable: Vec::new() }, Instant::default(), Instant::default());
    table
}

fn progress() -> Position {
    Position::After(RecordPosition { sequence: sequence(50), subsequence: 0 })
}

fn listing(shards: &[ShardListing]) -> Listing {
    Listing::new(Instant::default(), shards.to_vec())
}

/// The rows that one run makes.
fn sync(shards: &[ShardListing], have: &[LeaseRow], initial: InitialPosition) -> Result<Vec<LeaseRow>, HashRange> {
    missing_rows(&listing(shards), &table(have.to_vec()), &stream(initial), WALL)
}

/// The numbers of the shards that get a row.
fn numbers(shards: &[ShardListing], have: &[LeaseRow], initial: InitialPosition) -> Vec<u32> {
    sync(shards, have, initial).unwrap().iter().map(|row| number(&row.key.shard_id())).collect()
}

/// The position of an uncovered shard.
fn initial_of(initial: InitialPosition) -> (Position, Option<UnixMillis>) {
    match initial {
        TrimHorizon => (Position::TrimHorizon, None),
        Latest => (Position::Latest, Some(WALL)),
        Timestamp(time) => (Position::AtTimestamp, Some(time)),
    }
}

fn check_all_at(rows: &[LeaseRow], initial: InitialPosition) {
    for row in rows {
        assert_eq!((row.checkpoint.clone(), row.start), initial_of(initial), "{}", row.key);
    }
}

#[test]
fn an_empty_table_gets_one_generation_at_the_initial_position() {
    for (shards, oldest, open) in
        [(many_at_first(), vec![0, 1, 2, 3, 4, 5], vec![4, 8, 9, 10]), (chain(), vec![0, 1], vec![9, 10])]
    {
        for initial in ALL {
            let expected = if initial == Latest { &open } else { &oldest };
            assert_eq!(numbers(&shards, &[], initial), *expected, "{initial:?}");
            check_all_at(&sync(&shards, &[], initial).unwrap(), initial);
        }
    }
}

#[test]
fn a_row_says_what_the_listing_says() {
    let shards = many_at_first();
    let made = sync(&without(shards.clone(), &[0, 1, 2, 3]), &[], TrimHorizon).unwrap();
    let of = |number| made.iter().find(|row| row.key.shard_id() == id(number)).unwrap();
    assert_eq!(of(6).parents, BTreeSet::from([id(0), id(1)]), "also those that are gone");
    assert_eq!(of(4).hash_range, Some(shards[4].hash_range));
    assert_eq!((of(4).stream_created, of(4).counter), (Some(UnixMillis(1)), LeaseCounter(WALL.not_negative())));
}

#[test]
fn a_complete_table_gets_nothing() {
    let (many, chain) = (many_at_first(), chain());
    let trim = &Position::TrimHorizon;
    for initial in ALL {
        assert_eq!(numbers(&many, &rows(&many, &[0, 1, 2, 3, 4, 5], trim), initial), [0; 0]);
        assert_eq!(numbers(&chain, &rows(&chain, &[0, 1], trim), initial), [0; 0]);
        for begun in [Position::Latest, progress()] {
            assert_eq!(numbers(&many, &rows(&many, &[4, 8, 9, 10], &begun), initial), [0; 0]);
            assert_eq!(
                numbers(&chain, &rows(&chain, &[6, 7], &begun), initial),
                [0; 0],
                "the rest is made at their end"
            );
        }
    }
}

#[test]
fn a_merge_with_one_uncovered_parent_gets_that_parent_or_its_oldest_ancestors() {
    let (many, trim) = (many_at_first(), &Position::TrimHorizon);
    let cases: [(&[u32], &[u32], &[u32]); 4] = [
        (&[4, 5, 7], &[6], &[0, 1]),
        (&[0, 1, 4, 5], &[7], &[2, 3]),
        (&[0, 1, 2, 4, 5], &[3], &[3]),
        (&[0, 2, 4, 5], &[1, 3], &[1, 3]),
    ];
    for (have, at_latest, at_oldest) in cases {
        // 7 waits for parents of its own, as a row at the oldest record does: it has begun here.
        let have: Vec<LeaseRow> = have
            .iter()
            .map(|number| row(&many, *number, if *number == 7 { Position::Latest } else { trim.clone() }))
            .collect();
        for initial in ALL {
            let expected = if initial == Latest { at_latest } else { at_oldest };
            assert_eq!(numbers(&many, &have, initial), expected, "{initial:?}");
            check_all_at(&sync(&many, &have, initial).unwrap(), initial);
        }
    }
}

#[test]
fn an_open_shard_that_nothing_covers_is_made_itself_at_latest_and_by_its_oldest_ancestors_else() {
    let (many, chain) = (many_at_first(), chain());
    let begun = Position::Latest;
    let have = rows(&many, &[4, 8], &begun);
    assert_eq!(numbers(&many, &have, Latest), [9, 10]);
    OLDEST.into_iter().for_each(|initial| assert_eq!(numbers(&many, &have, initial), [5]));
    let have = rows(&many, &[4, 9, 10], &begun);
    assert_eq!(numbers(&many, &have, Latest), [8]);
    OLDEST.into_iter().for_each(|initial| assert_eq!(numbers(&many, &have, initial), [0, 1, 2, 3]));
    let have = rows(&chain, &[9], &begun);
    assert_eq!(numbers(&chain, &have, Latest), [10]);
    OLDEST.into_iter().for_each(|initial| assert_eq!(numbers(&chain, &have, initial), [0, 1]));
}

#[test]
fn one_row_covers_whatever_comes_of_it_and_a_merge_waits_for_its_other_parent() {
    let chain = chain();
    let begun = |number| rows(&chain, &[number], &Position::Latest);
    for covering in [2, 5, 8] {
        ALL.into_iter()
            .for_each(|initial| assert_eq!(numbers(&chain, &begun(covering), initial), [0; 0], "{covering}"));
    }
    ALL.into_iter().for_each(|initial| assert_eq!(numbers(&chain, &begun(0), initial), [1]));
    assert_eq!(numbers(&chain, &begun(6), Latest), [7]);
    OLDEST.into_iter().for_each(|initial| assert_eq!(numbers(&chain, &begun(6), initial), [0, 1]));
}

#[test]
fn the_child_of_an_ended_shard_is_due_at_its_oldest_record() {
    let many = many_at_first();
    let mut have = rows(&many, &[2, 3, 4], &Position::TrimHorizon);
    have.extend(rows(&many, &[0, 1, 5], &Position::ShardEnd));
    for initial in ALL {
        let made = sync(&many, &have, initial).unwrap();
        assert_eq!(numbers(&many, &have, initial), [6, 9, 10]);
        check_all_at(&made, TrimHorizon);
    }
    // Began at a time: so do the children, which may hold records from before it.
    have.iter_mut().for_each(|row| row.start = Some(UnixMillis(7)));
    check_all_at(&sync(&many, &have, Timestamp(TIME)).unwrap(), Timestamp(UnixMillis(7)));
    check_all_at(&sync(&many, &have, Latest).unwrap(), TrimHorizon);
}

#[test]
fn the_child_of_one_ended_parent_is_due_beside_the_other_parent() {
    let many = many_at_first();
    let mut have = rows(&many, &[1, 4, 5], &Position::TrimHorizon);
    have.extend(rows(&many, &[2, 3, 7], &Position::ShardEnd));
    // 8 covers at once what 7 leaves behind; 6 appears at the end of 0 and 1.
    assert_eq!(numbers(&many, &have, TrimHorizon), [0, 8]);
    let made = sync(&many, &have, Latest).unwrap();
    assert_eq!(made.iter().map(|row| &row.checkpoint).collect::<Vec<_>>(), [&Position::Latest, &Position::TrimHorizon]);
}

#[test]
fn what_a_child_has_passed_is_not_made_again_and_its_other_child_is_due() {
    let many = many_at_first();
    let have = rows(&many, &[4, 8, 9], &progress());
    for initial in ALL {
        let made = sync(&many, &have, initial).unwrap();
        assert_eq!(numbers(&many, &have, initial), [10], "{initial:?}");
        check_all_at(&made, TrimHorizon);
    }
    // 9 was begun at a time of its own: its sibling begins there too.
    let mut have = have;
    have[2].start = Some(UnixMillis(7));
    let made = sync(&many, &have, Latest).unwrap();
    assert_eq!((&made[0].checkpoint, made[0].start), (&Position::Latest, Some(UnixMillis(7))));
}

#[test]
fn a_row_that_waits_gets_its_absent_parents_or_their_oldest_ancestors() {
    let many = many_at_first();
    let have = rows(&many, &[4, 8, 9, 10], &Position::TrimHorizon);
    assert_eq!(numbers(&many, &have, TrimHorizon), [0, 1, 2, 3, 5]);
    assert_eq!(numbers(&many, &have, Latest), [5, 6, 7]);
}

#[test]
fn parents_that_are_gone_from_the_listing_are_not_waited_for() {
    let many = without(many_at_first(), &[0, 1, 2, 3, 5]);
    for initial in OLDEST {
        assert_eq!(numbers(&many, &[], initial), [4, 6, 7, 9, 10]);
    }
    // 6 is gone before 7: 8 covers its keys at once, and waits for 7.
    let many = without(many, &[6]);
    assert_eq!(numbers(&many, &[], TrimHorizon), [4, 7, 8, 9, 10]);
    let have = rows(&many, &[4, 7, 9, 10], &Position::Latest);
    ALL.into_iter().for_each(|initial| assert_eq!(numbers(&many, &have, initial), [8]));
}

#[test]
fn an_open_child_of_an_open_parent_gets_no_row() {
    let mut torn = many_at_first();
    torn[5].ending_sequence = None;
    assert_eq!(numbers(&torn, &[], Latest), [4, 5, 8]);
    assert_eq!(numbers(&torn, &[], TrimHorizon), [0, 1, 2, 3, 4, 5]);
    let have = rows(&torn, &[4, 8], &Position::Latest);
    ALL.into_iter().for_each(|initial| assert_eq!(numbers(&torn, &have, initial), [5]));
    let mut have = have;
    have.push(row(&torn, 5, Position::ShardEnd));
    ALL.into_iter().for_each(|initial| {
        assert_eq!(numbers(&torn, &have, initial), [0; 0], "the next listing will show what is so")
    });
}

#[test]
fn the_first_rows_need_a_listing_without_a_hole() {
    for initial in ALL {
        let hole = sync(&without(many_at_first(), &[4]), &[], initial).unwrap_err();
        assert_eq!(hole, many_at_first()[4].hash_range);
        assert_eq!(sync(&[], &[], initial), Err(HashRange::ALL));
        // Later the audit looks after that.
        let partial = without(many_at_first(), &[4]);
        assert_eq!(numbers(&partial, &rows(&partial, &[8, 9], &Position::Latest), Latest), [10]);
    }
}

#[test]
fn closed_shards_alone_are_read_from_the_oldest_on_and_are_nothing_to_latest() {
    let closed = without(many_at_first(), &[4, 6, 7, 8, 9, 10]);
    let have = rows(&closed, &[0], &Position::TrimHorizon);
    assert_eq!(numbers(&closed, &have, TrimHorizon), [1, 2, 3, 5]);
    assert_eq!(numbers(&closed, &have, Latest), [0; 0]);
    assert_eq!(sync(&closed, &[], Latest), Err(HashRange::ALL));
}

#[test]
fn rows_are_made_in_the_order_of_their_first_sequence_numbers() {
    let mut shards = many_at_first();
    for (shard, first) in shards.iter_mut().zip([60, 50, 40, 30, 20, 10]) {
        shard.starting_sequence = sequence(first);
    }
    assert_eq!(numbers(&shards, &[], TrimHorizon), [5, 4, 3, 2, 1, 0]);
}

#[test]
fn a_run_that_failed_midway_is_completed_by_the_next() {
    for shards in [many_at_first(), chain()] {
        for initial in ALL {
            let whole = sync(&shards, &[], initial).unwrap();
            for made in 1..whole.len() {
                let rest = missing_rows(
                    &listing(&shards),
                    &table(whole[..made].to_vec()),
                    &stream(initial),
                    UnixMillis(WALL.0 + 5),
                );
                assert_eq!(
                    rest.unwrap(),
                    whole[made..]
                        .iter()
                        .cloned()
                        .map(|row| LeaseRow { counter: LeaseCounter(WALL.not_negative() + 5), ..row })
                        .collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn a_row_that_cannot_be_read_is_there() {
    let many = many_at_first();
    let broken = crate::lease::UnreadableRow { key: LeaseKey::single_stream(&id(5)), problem: "no counter".to_owned() };
    let mut table = Table::default();
    table.observe(Scan { rows: Vec::new(), unreadable: vec![broken] }, Instant::default(), Instant::default());
    let made = missing_rows(&listing(&many), &table, &stream(TrimHorizon), WALL).unwrap();
    assert_eq!(made.iter().map(|row| number(&row.key.shard_id())).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn streams_do_not_see_each_others_rows() {
    let shards = chain();
    let several = |name: &str| {
        let name = StreamName::new(name);
        StreamSettings { id: Some(StreamId::of("1", &name, UnixMillis(1_000))), name, ..stream(TrimHorizon) }
    };
    let (one, other) = (several("one"), several("other"));
    let first = missing_rows(&listing(&shards), &table(Vec::new()), &one, WALL).unwrap();
    assert_eq!(first[0].key.as_str(), "1:one:1:shardId-000000000000");
    let table = table(first);
    assert_eq!(missing_rows(&listing(&shards), &table, &one, WALL), Ok(Vec::new()));
    assert_eq!(missing_rows(&listing(&shards), &table, &other, WALL).unwrap().len(), 2);
}
