//! Shard sync: which rows a stream lacks, given its rows and a listing. One pure function.
//!
//! The rules are those of the KCL: of the shards without a row, one generation gets rows, and the later ones appear as their
//! parents end. Where no ancestor of an open shard has a row, `LATEST` makes the row of the shard itself, the other positions
//! those of its oldest listed ancestors; and the parents that a shard waits for get theirs.
//!
//! Stricter than the KCL, so that nothing is lost or read twice:
//! - A parent at `SHARD_END`, or without a row and passed by a child that has progress, is done, and its children are due: the
//!   KCL thinks them covered by the parent's row, and reads a parent again whose row was cleaned up.
//! - A row waits for its absent parents too, not only an open shard without a row: the oldest of them are made.
//! - Where one parent of a merge is no longer listed, the merge gets its row beside that of the other parent: no hash key is
//!   left out meanwhile.
//! - `LATEST` and a time are pinned: a row that is made later begins no later than the first ones did.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{InitialPosition, StreamSettings};
use super::coverage;
use super::hierarchy::{self, Listing};
use super::observation::Table;
use crate::ids::{HashRange, LeaseKey, ShardId};
use crate::lease::LeaseRow;
use crate::position::Position;
use crate::shard::ShardListing;
use crate::time::UnixMillis;

/// The rows that are missing, oldest shards first. A stream without any row gets its first ones only from a listing that covers
/// all hash keys; otherwise this is a hole that it leaves.
pub(super) fn missing_rows(
    listing: &Listing,
    table: &Table,
    stream: &StreamSettings,
    wall: UnixMillis,
) -> Result<Vec<LeaseRow>, HashRange> {
    let tree = Tree::new(listing, table, stream);
    let mut missing = tree.missing();
    if !table.knows_stream(stream)
        && let Some(hole) = coverage::first_hole(missing.iter().map(|shard| shard.hash_range))
    {
        return Err(hole);
    }
    missing.sort_by(|a, b| a.starting_sequence.cmp(&b.starting_sequence).then_with(|| a.id.cmp(&b.id)));
    Ok(missing.into_iter().map(|shard| tree.row(shard, wall)).collect())
}

/// The shards without a row that a descendant with progress has passed: they are done.
pub(super) fn passed(listing: &Listing, table: &Table, stream: &StreamSettings) -> BTreeSet<ShardId> {
    passed_shards(listing, table, stream, |_| true).into_iter().cloned().collect()
}

/// How a listed shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has a row that is not at `SHARD_END`.
    Row,
    /// Its row is at `SHARD_END`.
    Ended,
    /// It has no row and was read to its end: a descendant has progress.
    Consumed,
    /// It has no row, and a descendant has progress that was asked to ignore what came before it.
    Ignored,
    /// It has no row, and a parent of it is done.
    Due,
    /// It has no row; one appears when an ancestor that has one ends.
    Covered,
    /// It has no row, and neither has any ancestor.
    Uncovered,
}

impl State {
    /// Whether the shard has no row and is not done.
    const fn is_absent(self) -> bool {
        matches!(self, Self::Due | Self::Covered | Self::Uncovered)
    }
}

/// The listed shards and how they stand.
struct Tree<'a> {
    listing: &'a Listing,
    table: &'a Table,
    stream: &'a StreamSettings,
    consumed: BTreeSet<&'a ShardId>,
    ignored: BTreeSet<&'a ShardId>,
    /// When the application began to read this stream, as far as the rows tell.
    earliest_start: Option<UnixMillis>,
    states: BTreeMap<&'a ShardId, State>,
    /// Parents before children.
    order: Vec<&'a ShardListing>,
}

impl<'a> Tree<'a> {
    fn new(listing: &'a Listing, table: &'a Table, stream: &'a StreamSettings) -> Self {
        let mut tree = Self {
            listing,
            table,
            stream,
            consumed: passed_shards(listing, table, stream, |row| row.start.is_none()),
            // A row whose start is pinned was begun there, and proves nothing of what came before.
            ignored: passed_shards(listing, table, stream, |row| row.start.is_some()),
            earliest_start: table.earliest_start(stream),
            states: BTreeMap::new(),
            order: parents_first(listing),
        };
        for shard in tree.order.clone() {
            let state = tree.own_state(&shard.id).unwrap_or_else(|| tree.state_by_parents(shard));
            tree.states.insert(&shard.id, state);
        }
        tree
    }

    fn key(&self, shard: &ShardId) -> LeaseKey {
        LeaseKey::of(self.stream.id.as_ref(), shard)
    }

    /// How a shard stands by its own row, or without one by those of its descendants.
    fn own_state(&self, shard: &ShardId) -> Option<State> {
        let key = self.key(shard);
        match self.table.get(&key) {
            Some(observed) if observed.row.checkpoint == Position::ShardEnd => Some(State::Ended),
            Some(_) => Some(State::Row),
            None if self.table.contains(&key) => Some(State::Row),
            None if self.consumed.contains(shard) => Some(State::Consumed),
            None if self.ignored.contains(shard) => Some(State::Ignored),
            None => None,
        }
    }

    /// How a parent stands, listed or not; `None` if there is neither a row nor a listing of it.
    fn parent_state(&self, parent: &ShardId) -> Option<State> {
        self.states.get(parent).copied().or_else(|| self.own_state(parent))
    }

    fn state_by_parents(&self, shard: &ShardListing) -> State {
        let mut state = State::Uncovered;
        for parent in shard.parents.iter().filter_map(|parent| self.parent_state(parent)) {
            match parent {
                State::Ended | State::Consumed => return State::Due,
                State::Row | State::Due | State::Covered => state = State::Covered,
                State::Ignored | State::Uncovered => {}
            }
        }
        state
    }

    /// The shards that get a row.
    fn missing(&self) -> Vec<&'a ShardListing> {
        let mut awaited = self.awaited_by_rows();
        let mut needed = self.leaves();
        needed.extend(&awaited);
        let mut missing = Vec::new();
        for shard in self.order.iter().rev() {
            if !needed.contains(&shard.id) || self.is_torn(shard) {
                continue;
            }
            let Some(state) = self.states.get(&shard.id) else { continue };
            let parents: Vec<&ShardId> = shard.parents.iter().filter(|parent| self.is_absent(parent)).collect();
            let half_gone = shard.parents.iter().any(|parent| self.parent_state(parent).is_none());
            let latest = self.stream.initial_position == InitialPosition::Latest;
            let (create, ascend) = match state {
                State::Due => (true, true),
                State::Covered => (half_gone, true),
                State::Uncovered if latest => (shard.is_open() || awaited.contains(&shard.id), false),
                State::Uncovered => (parents.is_empty() || half_gone, true),
                State::Row | State::Ended | State::Consumed | State::Ignored => (false, false),
            };
            if create {
                missing.push(*shard);
            }
            if ascend {
                needed.extend(&parents);
                awaited.extend(&parents);
            }
        }
        missing
    }

    fn is_absent(&self, shard: &ShardId) -> bool {
        self.states.get(shard).is_some_and(|state| state.is_absent())
    }

    /// Whether this is an open child of an open parent: the listing is torn, and a later one will show what is so.
    fn is_torn(&self, shard: &ShardListing) -> bool {
        let is_open = |shard: &ShardId| self.listing.get(shard).is_some_and(ShardListing::is_open);
        shard.is_open() && shard.parents.iter().any(is_open)
    }

    /// The shards that nothing comes after: the open ones, and where the oldest records are wanted, closed ones without a
    /// listed child.
    fn leaves(&self) -> BTreeSet<&'a ShardId> {
        let parents: BTreeSet<&ShardId> = self.order.iter().flat_map(|shard| &shard.parents).collect();
        let latest = self.stream.initial_position == InitialPosition::Latest;
        self.order
            .iter()
            .filter(|shard| shard.is_open() || !latest && !parents.contains(&shard.id))
            .filter(|shard| self.is_absent(&shard.id))
            .map(|shard| &shard.id)
            .collect()
    }

    /// The absent parents of rows that have not begun.
    fn awaited_by_rows(&self) -> BTreeSet<&'a ShardId> {
        let rows = self.table.of_stream(self.stream).map(|observed| &observed.row);
        let waiting = rows.filter(|row| row.checkpoint <= Position::TrimHorizon);
        waiting.flat_map(|row| &row.parents).filter(|parent| self.is_absent(parent)).collect()
    }

    /// The row of a shard that gets one.
    fn row(&self, shard: &ShardListing, wall: UnixMillis) -> LeaseRow {
        let mut row = hierarchy::new_row(&shard.id, &shard.parents, shard.hash_range, self.stream, wall);
        let (checkpoint, start) = match self.states.get(&shard.id) {
            Some(State::Uncovered) => self.initial_position(wall),
            Some(_) | None => self.position_after_parents(shard),
        };
        row.checkpoint = checkpoint;
        row.start = start;
        // Everything in a child arrived later than whatever was settled of a parent.
        let parents = shard.parents.iter().filter_map(|parent| self.table.get(&self.key(parent)));
        row.arrival = parents.filter_map(|observed| observed.row.arrival).max();
        row
    }

    fn initial_position(&self, wall: UnixMillis) -> (Position, Option<UnixMillis>) {
        // A row that could not be created together with the others must not begin later than they did.
        let earliest = |start: UnixMillis| self.earliest_start.map_or(start, |first| first.min(start));
        match self.stream.initial_position {
            InitialPosition::TrimHorizon => (Position::TrimHorizon, None),
            InitialPosition::Timestamp(time) => (Position::AtTimestamp, Some(earliest(time))),
            InitialPosition::Latest => (Position::Latest, Some(earliest(wall))),
        }
    }

    /// A child begins at its oldest record; but where the application began at a time, a child that was there before that time
    /// begins at it too.
    fn position_after_parents(&self, shard: &ShardListing) -> (Position, Option<UnixMillis>) {
        let rows = shard.parents.iter().filter_map(|parent| self.table.get(&self.key(parent)));
        let start = rows.filter_map(|observed| observed.row.start).min();
        match (self.stream.initial_position, start) {
            (InitialPosition::Timestamp(_), Some(start)) => (Position::AtTimestamp, Some(start)),
            _ => (Position::TrimHorizon, None),
        }
    }
}

/// The ancestors without a row of the rows with progress of which `which` holds.
fn passed_shards<'a>(
    listing: &'a Listing,
    table: &'a Table,
    stream: &StreamSettings,
    which: impl Fn(&LeaseRow) -> bool,
) -> BTreeSet<&'a ShardId> {
    let rows = table.of_stream(stream).map(|observed| &observed.row);
    let moved = rows.filter(|row| row.checkpoint.has_progress() && which(row));
    let mut open: Vec<&ShardId> =
        moved.flat_map(|row| row.parents.iter().chain(listing.parents(&row.key.shard_id()))).collect();
    let mut passed = BTreeSet::new();
    while let Some(shard) = open.pop() {
        if !passed.contains(shard) && !table.contains(&LeaseKey::of(stream.id.as_ref(), shard)) {
            passed.insert(shard);
            open.extend(listing.parents(shard));
        }
    }
    passed
}

/// All listed shards, each after its listed parents.
fn parents_first(listing: &Listing) -> Vec<&ShardListing> {
    let (mut order, mut seen, mut placed) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for shard in listing.shards() {
        let mut open = vec![shard];
        while let Some(shard) = open.last().copied() {
            if seen.insert(&shard.id) {
                let parents = shard.parents.iter().filter_map(|parent| listing.get(parent));
                open.extend(parents.filter(|parent| !seen.contains(&parent.id)));
            } else {
                open.pop();
                if placed.insert(&shard.id) {
                    order.push(shard);
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests;
