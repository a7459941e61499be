//! A thousand random trees of reshards with random partial tables: whatever is there, one run and the ends of parents cover
//! every hash key, and nothing is read before what came before it.

use super::*;
use crate::random::Random;

/// Splits, merges and trims from one shard on.
fn grow(random: &mut Random) -> (Vec<ShardListing>, Vec<ShardListing>) {
    let mut shards = vec![ShardListing { hash_range: HashRange::ALL, ..shard(0, (0, 8), &[], true) }];
    for _ in 0..random.below(24) {
        let mut open: Vec<usize> = (0..shards.len()).filter(|index| shards[*index].is_open()).collect();
        open.sort_by_key(|index| shards[*index].hash_range);
        let chosen = random.below(open.len() as u64) as usize;
        let next = shards.len() as u32;
        if random.below(5) < 3 || open.len() < 2 {
            let parent = open[chosen];
            let HashRange { start, end } = shards[parent].hash_range;
            let middle = start + (end - start) / 2;
            for (offset, range) in [(start, middle), (middle + 1, end)].into_iter().enumerate() {
                shards.push(child(next + offset as u32, &[parent], range));
            }
            close(&mut shards[parent]);
        } else {
            let chosen = chosen.min(open.len() - 2);
            let (low, high) = (open[chosen], open[chosen + 1]);
            let range = (shards[low].hash_range.start, shards[high].hash_range.end);
            shards.push(child(next, &[low, high], range));
            close(&mut shards[low]);
            close(&mut shards[high]);
        }
    }
    let all = shards.clone();
    // Whatever is trimmed came before what is not, but for parents of one merge.
    for _ in 0..random.below(8) {
        let listed: Vec<u32> = shards.iter().map(|shard| number(&shard.id)).collect();
        let oldest = |shard: &ShardListing| {
            !shard.is_open() && !shard.parents.iter().any(|parent| listed.contains(&number(parent)))
        };
        if let Some(index) = shards.iter().position(oldest) {
            shards.remove(index);
        }
    }
    (shards, all)
}

fn child(number: u32, parents: &[usize], (start, end): (u128, u128)) -> ShardListing {
    let parents: Vec<u32> = parents.iter().map(|parent| *parent as u32).collect();
    ShardListing { hash_range: HashRange { start, end }, ..shard(number, (0, 8), &parents, true) }
}

fn close(shard: &mut ShardListing) {
    shard.ending_sequence = Some(sequence(9_999));
}

/// Rows for some of the shards, of any progress that each may have, as an application leaves them: in order, so that nothing
/// was begun before its parents ended; then some of them are lost.
fn partial_table(all: &[ShardListing], initial: InitialPosition, random: &mut Random) -> Vec<LeaseRow> {
    let mut rows: BTreeMap<ShardId, LeaseRow> = BTreeMap::new();
    let first = random.below(all.len() as u64 + 1) as usize;
    for shard in all.iter().skip(first) {
        let of_parents: Vec<Option<&LeaseRow>> = shard.parents.iter().map(|parent| rows.get(parent)).collect();
        let begun = of_parents.iter().flatten().all(|row| row.checkpoint == Position::ShardEnd);
        let known = of_parents.iter().flatten().any(|row| row.checkpoint == Position::ShardEnd);
        let fresh = !of_parents.iter().any(Option::is_some);
        if !(known || fresh && random.below(2) == 0) {
            continue;
        }
        let (initial, start) = if fresh { initial_of(initial) } else { initial_of(TrimHorizon) };
        let checkpoint = match random.below(4) {
            _ if !begun => initial,
            0 => initial,
            1 if !shard.is_open() => Position::ShardEnd,
            2 if !shard.is_open() => Position::ShardEnd,
            _ => progress(),
        };
        rows.insert(shard.id.clone(), LeaseRow { start, ..row(all, number(&shard.id), checkpoint) });
    }
    rows.into_values().filter(|_| random.below(4) > 0).collect()
}

/// Reads every shard that may start to its end, children appearing as their parents end, until nothing moves.
struct Reading<'a> {
    listed: &'a [ShardListing],
    initial: InitialPosition,
    rows: BTreeMap<ShardId, LeaseRow>,
    begun: BTreeSet<ShardId>,
    /// Those that were begun at their oldest record.
    from_the_start: BTreeSet<ShardId>,
    passed_before: BTreeSet<ShardId>,
}

impl Reading<'_> {
    fn is_listed(&self, shard: &ShardId) -> bool {
        self.listed.iter().any(|listed| listed.id == *shard)
    }

    fn may_start(&self, row: &LeaseRow) -> bool {
        row.parents.iter().all(|parent| match self.rows.get(parent) {
            Some(parent) => parent.checkpoint == Position::ShardEnd,
            None => {
                row.checkpoint > Position::TrimHorizon
                    || self.passed_before.contains(parent)
                    || self.rows.values().any(|row| row.parents.contains(parent) && row.checkpoint.has_progress())
                    || !self.is_listed(parent)
            }
        })
    }

    /// Reads until nothing moves, not even after an audit.
    fn run(&mut self) {
        loop {
            while let Some(shard) = self.rows.values().find(|row| self.is_next(row)).map(|row| row.key.shard_id()) {
                self.read(&shard);
            }
            let have: Vec<LeaseRow> = self.rows.values().cloned().collect();
            let made = sync(self.listed, &have, self.initial).expect("there are rows");
            if made.is_empty() {
                return;
            }
            made.into_iter().for_each(|row| self.add(row));
        }
    }

    fn read(&mut self, shard: &ShardId) {
        self.begun.insert(shard.clone());
        if self.rows[shard].checkpoint <= Position::TrimHorizon {
            self.from_the_start.insert(shard.clone());
        }
        // One that is not listed has expired, and ends without naming its children: the next audit makes their rows.
        let Some(listed) = self.listed.iter().find(|listed| listed.id == *shard) else { return self.end(shard) };
        if listed.is_open() {
            return;
        }
        for child in self.listed.iter().filter(|child| child.parents.contains(shard)) {
            if !self.rows.contains_key(&child.id) && !self.passed_before.contains(&child.id) {
                self.add(row(self.listed, number(&child.id), Position::TrimHorizon));
            }
        }
        self.end(shard);
    }

    fn add(&mut self, row: LeaseRow) {
        let shard = row.key.shard_id();
        let late =
            self.listed.iter().find(|child| child.parents.contains(&shard) && self.from_the_start.contains(&child.id));
        assert_eq!(late, None, "{shard} comes after its child was begun");
        self.rows.insert(shard, row);
    }

    fn end(&mut self, shard: &ShardId) {
        self.rows.get_mut(shard).unwrap().checkpoint = Position::ShardEnd;
    }

    fn is_next(&self, row: &LeaseRow) -> bool {
        row.checkpoint != Position::ShardEnd && !self.begun.contains(&row.key.shard_id()) && self.may_start(row)
    }
}

/// Each listed shard with its parents, and each row with its checkpoint.
fn picture(listed: &[ShardListing], rows: &[LeaseRow]) -> String {
    let numbers = |shards: &BTreeSet<ShardId>| shards.iter().map(number).collect::<Vec<_>>();
    let shards = listed.iter().map(|shard| {
        format!(
            "{} of {:?}{}\n",
            number(&shard.id),
            numbers(&shard.parents),
            if shard.is_open() { ", open" } else { "" }
        )
    });
    let rows = rows.iter().map(|row| format!("row {} {:?}\n", number(&row.key.shard_id()), row.checkpoint));
    shards.chain(rows).collect()
}

fn check(seed: u64, initial: InitialPosition) {
    let mut random = Random::seeded(seed);
    let (listed, all) = grow(&mut random);
    let have = partial_table(&all, initial, &mut random);
    let context = || format!("seed {seed}, {initial:?}\n{}", picture(&listed, &have));
    let made = sync(&listed, &have, initial).unwrap_or_else(|hole| panic!("{hole:?}: {}", context()));
    let mut rows = have.clone();
    rows.extend(made.clone());
    assert_eq!(sync(&listed, &rows, initial), Ok(Vec::new()), "twice: {}", context());

    let tree_listing = listing(&listed);
    let before = table(have.clone());
    let passed = passed_shards(&tree_listing, &before, &stream(initial), |_| true);
    for row in &made {
        assert!(!passed.contains(&row.key.shard_id()), "{} was read before: {}", row.key, context());
    }
    let open = rows.iter().filter(|row| row.checkpoint != Position::ShardEnd);
    assert_eq!(coverage::first_hole(open.filter_map(|row| row.hash_range)), None, "{}", context());

    let rows = rows.into_iter().map(|row| (row.key.shard_id(), row)).collect();
    let passed_before = passed.into_iter().cloned().collect();
    let mut reading = Reading {
        listed: &listed,
        initial,
        rows,
        begun: BTreeSet::new(),
        from_the_start: BTreeSet::new(),
        passed_before,
    };
    reading.run();
    for shard in &listed {
        let waits = reading
            .rows
            .get(&shard.id)
            .is_some_and(|row| row.checkpoint != Position::ShardEnd && !reading.begun.contains(&shard.id));
        assert!(!waits, "{} waits for ever: {}", shard.id, context());
        assert!(!shard.is_open() || reading.begun.contains(&shard.id), "{} is never read: {}", shard.id, context());
    }
}

#[test]
fn a_thousand_random_trees_are_covered() {
    for seed in 0..1_000 {
        check(seed, ALL[seed as usize % ALL.len()]);
    }
}

#[test]
fn nothing_is_made_below_an_uncovered_ancestor_but_at_latest() {
    for seed in 0..1_000 {
        let mut random = Random::seeded(seed);
        let (listed, all) = grow(&mut random);
        let have = partial_table(&all, TrimHorizon, &mut random);
        let made = sync(&listed, &have, TrimHorizon).unwrap();
        let (listing, table) = (listing(&listed), table(have.iter().chain(&made).cloned().collect()));
        let settings = stream(TrimHorizon);
        let tree = Tree::new(&listing, &table, &settings);
        for row in &made {
            for parent in &row.parents {
                assert_ne!(tree.states.get(parent), Some(&State::Uncovered), "seed {seed}: {} of {parent}", row.key);
            }
        }
    }
}
