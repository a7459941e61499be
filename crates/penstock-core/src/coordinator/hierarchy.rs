//! Parents before children: whether a shard may start, which rows are missing, and which are of no more use.
//!
//! Pure functions over the rows and a listing. That a parent has no row means nothing by itself: it is done only if the
//! service no longer lists it, or if a child of it has moved, which it could only do after that parent's end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::{InitialPosition, StreamSettings};
use super::observation::Table;
use crate::ids::{HashRange, LeaseCounter, LeaseKey, ShardId};
use crate::lease::LeaseRow;
use crate::position::Position;
use crate::shard::{ChildShard, ShardListing};
use crate::time::{Instant, UnixMillis};

/// All shards that the service listed.
#[derive(Debug)]
pub(super) struct Listing {
    /// When the listing was asked for: what happened before is in it.
    pub(super) begun: Instant,
    shards: BTreeMap<ShardId, ShardListing>,
}

impl Listing {
    pub(super) fn new(begun: Instant, shards: Vec<ShardListing>) -> Self {
        Self { begun, shards: shards.into_iter().map(|shard| (shard.id.clone(), shard)).collect() }
    }

    pub(super) fn lists(&self, shard: &ShardId) -> bool {
        self.shards.contains_key(shard)
    }

    /// The parents of a shard, as far as the listing knows.
    fn parents<'a>(&'a self, shard: &ShardId) -> impl Iterator<Item = &'a ShardId> + use<'a> {
        self.shards.get(shard).into_iter().flat_map(|shard| &shard.parents)
    }
}

/// Whether a shard may start. The order is that of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    /// All parents are done.
    Open,
    /// A parent is not done.
    Closed,
    /// A parent is absent, and only another listing can tell whether it is done.
    NeedsListing,
}

/// Whether the shard of `row`, whose lease was taken at `taken`, may start. `patience` is how much later a listing must have
/// begun to be believed even though it does not show the shard itself.
pub(super) fn gate(
    row: &LeaseRow,
    taken: Instant,
    table: &Table,
    listing: Option<&Listing>,
    patience: Duration,
) -> Gate {
    // Every row with progress names its parents, so one look over the table answers for all of them.
    let passed = table.parents_of_progress();
    let parent_gate = |parent: &ShardId| match table.row_of(parent) {
        Some(parent) if parent.checkpoint == Position::ShardEnd => Gate::Open,
        Some(_) => Gate::Closed,
        None if table.contains_shard(parent) => Gate::Closed,
        // LATEST is enough for the shard itself: it was asked to ignore what came before. It proves nothing to a sibling.
        None if row.checkpoint > Position::TrimHorizon || passed.contains(parent) => Gate::Open,
        None => absent_parent(parent, &row.key.shard_id(), taken, listing, patience),
    };
    row.parents.iter().map(parent_gate).max().unwrap_or(Gate::Open)
}

/// A parent that is neither in the table nor in the listing is done, if the listing cannot be older than the parent: it shows
/// the child, or it began well after the child was known.
fn absent_parent(
    parent: &ShardId,
    child: &ShardId,
    taken: Instant,
    listing: Option<&Listing>,
    patience: Duration,
) -> Gate {
    match listing {
        // It may get a row, or be trimmed; nobody but a later listing will tell us of the latter.
        Some(listing) if listing.lists(parent) => Gate::NeedsListing,
        Some(listing) if listing.lists(child) || listing.begun >= taken.after(patience) => Gate::Open,
        Some(_) | None => Gate::NeedsListing,
    }
}

/// The rows that are missing, oldest shards first: every listed shard without a row, but for those that were passed by a
/// descendant and, starting at the tip, closed ones that nobody waits for.
pub(super) fn missing_rows(
    listing: &Listing,
    table: &Table,
    stream: &StreamSettings,
    wall: UnixMillis,
) -> Vec<LeaseRow> {
    let passed = passed_shards(listing, table, Position::has_progress);
    let awaited = awaited_shards(listing, table, &passed);
    // LATEST lets a shard ignore what came before it, until another shard waits for that.
    let ignored = passed_shards(listing, table, |checkpoint| *checkpoint > Position::TrimHorizon);
    let mut missing: Vec<&ShardListing> = listing
        .shards
        .values()
        .filter(|shard| !table.contains_shard(&shard.id))
        .filter(|shard| awaited.contains(&shard.id) || !ignored.contains(&shard.id))
        .collect();
    missing.sort_by(|a, b| a.starting_sequence.cmp(&b.starting_sequence).then_with(|| a.id.cmp(&b.id)));
    let row = |shard: &ShardListing| {
        let awaited = awaited.contains(&shard.id);
        let (checkpoint, start) = first_position(shard, awaited, listing, table, stream.initial_position, wall)?;
        let mut row = new_row(&shard.id, &shard.parents, shard.hash_range, stream, wall);
        row.checkpoint = checkpoint;
        row.start = start;
        Some(row)
    };
    missing.into_iter().filter_map(row).collect()
}

/// Where a shard without a row starts; `None` if it needs none.
fn first_position(
    shard: &ShardListing,
    awaited: bool,
    listing: &Listing,
    table: &Table,
    initial: InitialPosition,
    wall: UnixMillis,
) -> Option<(Position, Option<UnixMillis>)> {
    if ancestor_has_row(shard, listing, table) {
        return Some((Position::TrimHorizon, None));
    }
    match initial {
        InitialPosition::TrimHorizon => Some((Position::TrimHorizon, None)),
        InitialPosition::Timestamp(time) => Some((Position::AtTimestamp, Some(time))),
        InitialPosition::Latest if shard.is_open() || awaited => {
            // A row that could not be created together with the others must not begin later than they did.
            let start = table.earliest_start().map_or(wall, |start| start.min(wall));
            Some((Position::Latest, Some(start)))
        }
        InitialPosition::Latest => None,
    }
}

fn ancestor_has_row(shard: &ShardListing, listing: &Listing, table: &Table) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&ShardId> = shard.parents.iter().collect();
    while let Some(ancestor) = open.pop() {
        if table.contains_shard(ancestor) {
            return true;
        }
        if seen.insert(ancestor) {
            open.extend(listing.parents(ancestor));
        }
    }
    false
}

/// The ancestors without a row of the shards whose checkpoint is `beyond` them.
fn passed_shards<'a>(
    listing: &'a Listing,
    table: &'a Table,
    beyond: impl Fn(&Position) -> bool,
) -> BTreeSet<&'a ShardId> {
    let moved = table.rows().filter(|row| beyond(&row.checkpoint));
    let mut passed = BTreeSet::new();
    let mut open: Vec<&ShardId> =
        moved.flat_map(|row| row.parents.iter().chain(listing.parents(&row.key.shard_id()))).collect();
    while let Some(shard) = open.pop() {
        if !table.contains_shard(shard) && passed.insert(shard) {
            open.extend(listing.parents(shard));
        }
    }
    passed
}

/// The listed shards without a row that a row waits for, directly or through others.
fn awaited_shards(listing: &Listing, table: &Table, passed: &BTreeSet<&ShardId>) -> BTreeSet<ShardId> {
    let waiting = table.rows().filter(|row| row.checkpoint <= Position::TrimHorizon);
    let mut open: Vec<&ShardId> = waiting.flat_map(|row| &row.parents).collect();
    let mut awaited = BTreeSet::new();
    while let Some(shard) = open.pop() {
        let absent = listing.lists(shard) && !table.contains_shard(shard) && !passed.contains(shard);
        if absent && awaited.insert(shard.clone()) {
            open.extend(listing.parents(shard));
        }
    }
    awaited
}

/// The row of a child that the last response of its parent named.
pub(super) fn child_row(child: &ChildShard, stream: &StreamSettings, wall: UnixMillis) -> LeaseRow {
    new_row(&child.id, &child.parents, child.hash_range, stream, wall)
}

/// A new row at `TRIM_HORIZON`, with a counter that no earlier row under this key had.
fn new_row(
    shard: &ShardId,
    parents: &BTreeSet<ShardId>,
    hash_range: HashRange,
    stream: &StreamSettings,
    wall: UnixMillis,
) -> LeaseRow {
    let mut row = LeaseRow::new(LeaseKey::single_stream(shard), LeaseCounter(wall.as_secs()), Position::TrimHorizon);
    row.parents.clone_from(parents);
    row.hash_range = Some(hash_range);
    row.stream_created = Some(stream.created);
    row
}

/// Completed rows that are of no more use: the service no longer lists the shard, so nobody can create the row again to any
/// effect, and no parent's row is left that would need it.
pub(super) fn useless_rows(listing: &Listing, table: &Table) -> Vec<(LeaseKey, LeaseCounter)> {
    if listing.shards.is_empty() {
        // A stream has shards. Whatever this answer means, it is no reason to delete.
        return Vec::new();
    }
    table
        .iter()
        .filter(|observed| observed.row.checkpoint == Position::ShardEnd && observed.since <= listing.begun)
        .map(|observed| &observed.row)
        .filter(|row| !listing.lists(&row.key.shard_id()))
        .filter(|row| !row.parents.iter().any(|parent| table.contains_shard(parent)))
        .map(|row| (row.key.clone(), row.counter))
        .collect()
}
