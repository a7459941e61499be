//! Parents before children: whether a shard may start, and which rows are of no more use.
//!
//! Pure functions over the rows and the listings. That a parent has no row means nothing by itself: it is done only if the
//! service no longer lists it, or if a child of it has moved, which it could only do after that parent's end. One listing
//! without a shard is not believed: it takes two in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::StreamSettings;
use super::observation::Table;
use crate::ids::{HashRange, LeaseCounter, LeaseKey, ShardId};
use crate::lease::LeaseRow;
use crate::mutant::{self, Mutant};
use crate::position::Position;
use crate::shard::{ChildShard, ShardListing};
use crate::time::{Instant, UnixMillis};

/// All shards of a stream that the service listed.
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

    pub(super) fn get(&self, shard: &ShardId) -> Option<&ShardListing> {
        self.shards.get(shard)
    }

    pub(super) fn lists(&self, shard: &ShardId) -> bool {
        self.shards.contains_key(shard)
    }

    /// All shards, in the order of their ids.
    pub(super) fn shards(&self) -> impl Iterator<Item = &ShardListing> {
        self.shards.values()
    }

    /// The parents of a shard, as far as the listing knows.
    pub(super) fn parents<'a>(&'a self, shard: &ShardId) -> impl Iterator<Item = &'a ShardId> + use<'a> {
        self.shards.get(shard).into_iter().flat_map(|shard| &shard.parents)
    }
}

/// The last two listings of a stream.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) latest: Option<Listing>,
    before: Option<Listing>,
    /// The shards without a row that a descendant with progress has passed, as the latest shows what comes of what.
    pub(super) passed: BTreeSet<ShardId>,
}

impl Looks {
    pub(super) const fn new() -> Self {
        Self { latest: None, before: None, passed: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, listing: Listing) {
        self.before = self.latest.replace(listing);
    }

    /// Whether there are two of them.
    pub(super) const fn are_two(&self) -> bool {
        self.before.is_some()
    }

    /// Whether neither of two listings shows a shard.
    pub(super) fn miss(&self, shard: &ShardId) -> bool {
        let missing = |listing: &Option<Listing>| listing.as_ref().is_some_and(|listing| !listing.lists(shard));
        missing(&self.latest) && missing(&self.before)
    }

    /// What a shard covers, if a listing shows it.
    pub(super) fn hash_range(&self, shard: &ShardId) -> Option<HashRange> {
        let looks = [&self.latest, &self.before];
        looks.into_iter().flatten().find_map(|listing| listing.get(shard)).map(|shard| shard.hash_range)
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
pub(super) fn gate(row: &LeaseRow, taken: Instant, table: &Table, looks: &Looks, patience: Duration) -> Gate {
    let parent_gate = |parent: &ShardId| {
        let key = row.key.sibling(parent);
        match table.get(&key) {
            Some(parent) if parent.row.checkpoint == Position::ShardEnd => Gate::Open,
            Some(_) => Gate::Closed,
            None if table.contains(&key) => Gate::Closed,
            None if mutant::is(Mutant::AbsentParentIsDone) => Gate::Open,
            // LATEST is enough for the shard itself: it was asked to ignore what came before. It proves nothing to a sibling.
            None if row.checkpoint > Position::TrimHorizon || table.was_passed(&key) => Gate::Open,
            // A grandchild moves only after the child's end, and the child only after the parent's.
            None if looks.passed.contains(parent) => Gate::Open,
            None => absent_parent(parent, &row.key.shard_id(), taken, looks, patience),
        }
    };
    row.parents.iter().map(parent_gate).max().unwrap_or(Gate::Open)
}

/// A parent that is neither in the table nor in two listings is done, if neither listing can be older than the parent: it
/// shows the child, or it began well after the child was known.
fn absent_parent(parent: &ShardId, child: &ShardId, taken: Instant, looks: &Looks, patience: Duration) -> Gate {
    let gone = |listing: &Option<Listing>| {
        listing.as_ref().is_some_and(|listing| {
            !listing.lists(parent) && (listing.lists(child) || listing.begun >= taken.after(patience))
        })
    };
    // Where it is listed it may get a row, or be trimmed; nobody but a later listing will tell us of the latter.
    if gone(&looks.latest) && gone(&looks.before) { Gate::Open } else { Gate::NeedsListing }
}

/// The row of a child that the last response of its parent named. It begins at its oldest record, except that what comes
/// before a pinned time is left out in the child as it was in a parent that had nothing behind that time. Everything in it arrived
/// later than what the parent settled last.
pub(super) fn child_row(child: &ChildShard, parent: &LeaseRow, stream: &StreamSettings, wall: UnixMillis) -> LeaseRow {
    let mut row = new_row(&child.id, &child.parents, child.hash_range, stream, wall);
    row.arrival = parent.arrival;
    if let LeaseRow { checkpoint: Position::AtTimestamp, start: Some(start), .. } = parent {
        row.checkpoint = Position::AtTimestamp;
        row.start = Some(*start);
    }
    row
}

/// A new row at `TRIM_HORIZON`, with a counter that no earlier row under this key had: milliseconds, since a row may well be
/// written more often than once a second.
pub(super) fn new_row(
    shard: &ShardId,
    parents: &BTreeSet<ShardId>,
    hash_range: HashRange,
    stream: &StreamSettings,
    wall: UnixMillis,
) -> LeaseRow {
    let key = LeaseKey::of(stream.id.as_ref(), shard);
    let mut row = LeaseRow::new(key, LeaseCounter(wall.not_negative()), Position::TrimHorizon);
    row.parents.clone_from(parents);
    row.hash_range = Some(hash_range);
    row.stream_created = Some(stream.created);
    row
}

/// Completed rows of a stream that are of no more use: the service no longer lists the shard, so nobody can create the row
/// again to any effect; no parent's row is left that would need it; and every child has its row, or is itself not listed
/// any more, so that none of them would be taken for a shard that nobody has read up to.
pub(super) fn useless_rows(looks: &Looks, table: &Table, stream: &StreamSettings) -> Vec<(LeaseKey, LeaseCounter)> {
    let Some(listing) = looks.latest.as_ref().filter(|listing| listing.shards().next().is_some()) else {
        // A stream has shards. Whatever this answer means, it is no reason to delete.
        return Vec::new();
    };
    // A row whose shard expired names no children: what the listings show of them counts too.
    let has_row = |shard: &&ShardListing| table.contains(&LeaseKey::of(stream.id.as_ref(), &shard.id));
    let listed = looks.latest.iter().chain(&looks.before).flat_map(Listing::shards);
    let awaited: BTreeSet<&ShardId> = listed.filter(|shard| !has_row(shard)).flat_map(|shard| &shard.parents).collect();
    table
        .of_stream(stream)
        .filter(|observed| observed.row.checkpoint == Position::ShardEnd && observed.since <= listing.begun)
        .map(|observed| &observed.row)
        .filter(|row| looks.miss(&row.key.shard_id()) || mutant::is(Mutant::ParentDeletedEarly))
        .filter(|row| !row.parents.iter().any(|parent| table.contains(&row.key.sibling(parent))))
        .filter(|row| !awaited.contains(&row.key.shard_id()))
        .filter(|row| row.children.iter().all(|child| looks.miss(child) || table.contains(&row.key.sibling(child))))
        .map(|row| (row.key.clone(), row.counter))
        .collect()
}
