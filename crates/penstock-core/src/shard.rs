//! A shard as the service lists it, and a child as the last response of its parent names it.

use std::collections::BTreeSet;

use crate::ids::{HashRange, ShardId};
use crate::position::SequenceNumber;

/// One shard of ListShards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardListing {
    /// The shard.
    pub id: ShardId,
    /// Parent and, after a merge, adjacent parent; also those that are no longer listed. At most two.
    pub parents: BTreeSet<ShardId>,
    /// What the shard covers.
    pub hash_range: HashRange,
    /// The first sequence number that the shard could hold.
    pub starting_sequence: SequenceNumber,
    /// Present once the shard is closed.
    pub ending_sequence: Option<SequenceNumber>,
}

impl ShardListing {
    /// Whether the shard still takes records.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ending_sequence.is_none()
    }
}

/// A child named by the response that ended its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    /// The child.
    pub id: ShardId,
    /// All its parents: one after a split, two after a merge.
    pub parents: BTreeSet<ShardId>,
    /// What the child covers.
    pub hash_range: HashRange,
}
