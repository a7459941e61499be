//! Shard iterators and paging tokens: opaque texts that carry their own state, so the server keeps none for them.
//! A check sum tells a token of ours from any other text; the server's own key makes those of an earlier run invalid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Time;

/// Writes and reads tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens {
    key: u64,
}

/// Where a shard iterator stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) struct ShardIterator {
    pub(crate) stream: String,
    /// Tells a stream from an earlier one of the same name.
    pub(crate) incarnation: u64,
    pub(crate) shard: u32,
    pub(crate) position: u64,
    pub(crate) issued_millis: u64,
}

const CHECKSUM_BYTES: usize = 8;

impl Tokens {
    /// Tokens that only an instance with the same key reads.
    pub(crate) fn new(key: u64) -> Self {
        Self { key }
    }

    pub(crate) fn write<T: Serialize>(&self, content: &T) -> String {
        let mut bytes = vec![0; CHECKSUM_BYTES];
        // A plain struct of numbers and texts always encodes; an empty token would be refused when read.
        serde_json::to_writer(&mut bytes, content).unwrap_or_default();
        let checksum = self.checksum(&bytes[CHECKSUM_BYTES..]);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (checksum, content) = bytes.split_at_checked(CHECKSUM_BYTES)?;
        if checksum != self.checksum(content) {
            return None;
        }
        serde_json::from_slice(content).ok()
    }

    fn checksum(&self, content: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let digest = Md5::new().chain_update(self.key.to_be_bytes()).chain_update(content).finalize();
        std::array::from_fn(|i| digest[i])
    }
}

impl ShardIterator {
    pub(crate) fn issued(&self) -> Time {
        Time::from_millis(self.issued_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iterator() -> ShardIterator {
        ShardIterator {
            stream: "s".repeat(128),
            incarnation: u64::MAX,
            shard: u32::MAX,
            position: u64::MAX,
            issued_millis: 1_790_000_000_000,
        }
    }

    #[test]
    fn an_iterator_is_read_back_and_is_short_enough() {
        let tokens = Tokens::new(7);
        let text = tokens.write(&iterator());
        assert!(text.len() <= 512, "{}", text.len());
        assert_eq!(tokens.read(&text), Some(iterator()));
    }

    #[test]
    fn a_token_of_another_server_or_a_changed_one_is_refused() {
        let text = Tokens::new(7).write(&iterator());
        assert_eq!(Tokens::new(8).read::<ShardIterator>(&text), None);
        let mut changed = text.clone().into_bytes();
        changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
        assert_eq!(Tokens::new(7).read::<ShardIterator>(std::str::from_utf8(&changed).unwrap()), None);
        for wrong in ["", "AAAA", "not base64!"] {
            assert_eq!(Tokens::new(7).read::<ShardIterator>(wrong), None);
        }
    }
}
