//! The names of things: streams, shards, leases, workers. Newtypes, so that no signature takes a bare string.

use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name that was read from a service or from the configuration.
            #[must_use]
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name as it is written in the services.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name!(
    /// The name of a Kinesis data stream.
    StreamName
);
name!(
    /// The id of a shard, such as `shardId-000000000012`; unique within its stream only.
    ShardId
);
name!(
    /// The key of a lease in the lease table: for a single stream the shard id.
    LeaseKey
);
name!(
    /// The owner string of one running worker, `<label>-<8 random hex>`: new at each start of the process.
    WorkerId
);
name!(
    /// The application: the name under which workers share one lease table.
    ApplicationName
);

impl LeaseKey {
    /// The lease key of a shard in an application with one stream: the shard id itself.
    #[must_use]
    pub fn single_stream(shard: &ShardId) -> Self {
        Self(Arc::clone(&shard.0))
    }

    /// The shard that a lease of a single-stream application stands for.
    #[must_use]
    pub fn shard_id(&self) -> ShardId {
        ShardId(Arc::clone(&self.0))
    }
}

/// The lease counter: grows with each write of the lease, and is the only fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseCounter(pub u64);

impl LeaseCounter {
    /// The counter that the next write leaves.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LeaseCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One tenure of one lease. A lease that is lost and taken again has another token, so what was begun in one tenure
/// cannot be written through a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken(pub u64);

/// A range of hash keys; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The lowest hash key.
    pub start: u128,
    /// The highest hash key.
    pub end: u128,
}

impl HashRange {
    /// All hash keys, `0..=2^128-1`.
    pub const ALL: Self = Self { start: 0, end: u128::MAX };

    /// Whether `hash` lies in the range.
    #[must_use]
    pub const fn contains(&self, hash: u128) -> bool {
        self.start <= hash && hash <= self.end
    }
}
