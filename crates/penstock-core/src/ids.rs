//! The names of things: streams, shards, leases, workers. Newtypes, so that no signature takes a bare string.

use std::fmt;
use std::sync::Arc;

use crate::time::UnixMillis;

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
    /// A stream as the KCL writes it where one table serves several: `<account>:<name>:<creation time in epoch seconds>`.
    StreamId
);
name!(
    /// The key of a lease in the lease table: the shard id, or where one table serves several streams `<stream id>:<shard id>`.
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

impl StreamId {
    /// The stream id of a stream of an account, created at a time.
    #[must_use]
    pub fn of(account: &str, stream: &StreamName, created: UnixMillis) -> Self {
        Self::new(&format!("{account}:{stream}:{}", created.0.div_euclid(1000)))
    }

    /// The account, the name and the creation time in epoch seconds; `None` if this is not a stream id.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, StreamName, u64)> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let mut parts = self.as_str().split(':');
        let (account, name, created) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && digits(account) && !name.is_empty() && digits(created);
        let created = created.parse().ok().filter(|created| whole && *created > 0)?;
        Some((account, StreamName::new(name), created))
    }
}

impl LeaseKey {
    /// The lease key of a shard in an application with one stream: the shard id itself.
    #[must_use]
    pub fn single_stream(shard: &ShardId) -> Self {
        Self(Arc::clone(&shard.0))
    }

    /// The lease key of a shard; `stream` is the stream id where one table serves several streams.
    #[must_use]
    pub fn of(stream: Option<&StreamId>, shard: &ShardId) -> Self {
        match stream {
            Some(stream) => Self::new(&format!("{stream}:{shard}")),
            None => Self::single_stream(shard),
        }
    }

    /// The shard that the lease stands for. Shard ids have no colon.
    #[must_use]
    pub fn shard_id(&self) -> ShardId {
        match self.0.rsplit_once(':') {
            Some((_, shard)) => ShardId::new(shard),
            None => ShardId(Arc::clone(&self.0)),
        }
    }

    /// The stream id in the key, where one table serves several streams.
    #[must_use]
    pub fn stream_id(&self) -> Option<StreamId> {
        self.0.rsplit_once(':').map(|(stream, _)| StreamId::new(stream))
    }

    /// The key of another shard of the same stream.
    #[must_use]
    pub fn sibling(&self, shard: &ShardId) -> Self {
        match self.0.rsplit_once(':') {
            Some((stream, _)) => Self::new(&format!("{stream}:{shard}")),
            None => Self::single_stream(shard),
        }
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
/// cannot be written through a later one. The coordinator alone makes one, for a lease that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken(u64);

impl LeaseToken {
    /// A token of a lease that was taken; `number` was never used for another one.
    pub(crate) const fn mint(number: u64) -> Self {
        Self(number)
    }

    /// A token that proves nothing, for tests alone. A test of the sources sees to it that nothing else calls this.
    #[must_use]
    pub const fn forged(number: u64) -> Self {
        Self(number)
    }

    /// Its number: no other token of the coordinator has it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_several_streams_gives_its_stream_and_its_shard() {
        let stream = StreamId::of("123456789012", &StreamName::new("clicks"), UnixMillis(1_700_000_000_999));
        assert_eq!(stream.as_str(), "123456789012:clicks:1700000000");
        assert_eq!(stream.parts(), Some(("123456789012", StreamName::new("clicks"), 1_700_000_000)));
        let (one, other) = (ShardId::new("shardId-000000000000"), ShardId::new("shardId-000000000001"));
        let key = LeaseKey::of(Some(&stream), &one);
        assert_eq!((key.stream_id(), key.shard_id()), (Some(stream.clone()), one.clone()));
        assert_eq!(key.sibling(&other), LeaseKey::of(Some(&stream), &other));
        let key = LeaseKey::of(None, &one);
        assert_eq!((key.stream_id(), key.shard_id(), key.sibling(&other)), (None, one, LeaseKey::of(None, &other)));
    }

    #[test]
    fn what_is_no_stream_id_has_no_parts() {
        for text in ["clicks", "1:clicks:0", "a:clicks:1", "1::1", "1:clicks:1:2", "1:clicks:"] {
            assert_eq!(StreamId::new(text).parts(), None, "{text}");
        }
    }
}
