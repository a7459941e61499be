//! The content of one object: records and delimiters into blocks, blocks into stored bytes, and the digest over all of it.
//!
//! Where a block ends depends on content offsets alone, never on how the content was handed in.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::compress::{BLOCK_BYTES, Codec};

/// The least room of a block: a shard with a trickle of records holds no more.
const LEAST_ROOM: usize = 4 << 10;

/// Content that is being filled.
pub(crate) struct ContentBuilder {
    codec: Codec,
    /// The content since the last full block: always shorter than one.
    block: Vec<u8>,
    /// The blocks that are done, as stored.
    stored: Vec<Bytes>,
    stored_bytes: u64,
    /// The content bytes in `stored`.
    compressed_bytes: u64,
    digest: Sha256,
}

/// Content that is complete.
pub(crate) struct FinishedContent {
    /// As stored.
    pub(crate) body: Vec<Bytes>,
    /// Of the uncompressed content.
    pub(crate) sha256: [u8; 32],
    /// Uncompressed.
    pub(crate) content_bytes: u64,
    pub(crate) stored_bytes: u64,
}

impl ContentBuilder {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            block: Vec::new(),
            stored: Vec::new(),
            stored_bytes: 0,
            compressed_bytes: 0,
            digest: Sha256::new(),
        }
    }

    /// Appends one record, and the delimiter unless the record already ends in it.
    pub(crate) fn push_record(&mut self, record: &[u8], delimiter: &[u8]) {
        self.extend(record);
        if !record.ends_with(delimiter) {
            self.extend(delimiter);
        }
    }

    pub(crate) fn extend(&mut self, mut bytes: &[u8]) {
        while self.block.len() + bytes.len() >= BLOCK_BYTES {
            let (fits, rest) = bytes.split_at(BLOCK_BYTES - self.block.len());
            self.append(fits);
            self.close_block();
            bytes = rest;
        }
        self.append(bytes);
    }

    /// Appends what fits into the block; its room doubles, but never beyond a block.
    fn append(&mut self, bytes: &[u8]) {
        let needed = self.block.len() + bytes.len();
        if needed > self.block.capacity() {
            let room = needed.max(2 * self.block.capacity()).clamp(LEAST_ROOM, BLOCK_BYTES);
            self.block.reserve_exact(room - self.block.len());
        }
        self.block.extend_from_slice(bytes);
    }

    fn close_block(&mut self) {
        self.digest.update(&self.block);
        self.compressed_bytes += self.block.len() as u64;
        let stored = self.codec.compress(&self.block);
        self.stored_bytes += stored.len() as u64;
        self.stored.push(stored);
        self.block.clear();
    }

    /// The stored size so far: what is compressed, as it is, and the open block at the ratio of the blocks before it, or at
    /// `ratio` if it is the first.
    pub(crate) fn estimate(&self, ratio: f64) -> u64 {
        let ratio = match self.compressed_bytes {
            0 => ratio,
            compressed => self.stored_bytes as f64 / compressed as f64,
        };
        self.stored_bytes + (self.block.len() as f64 * ratio).ceil() as u64
    }

    /// The bytes held in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.stored_bytes + self.block.capacity() as u64
    }

    pub(crate) fn finish(mut self) -> FinishedContent {
        // Empty content is stored as an empty member or frame, so that it decompresses.
        if !self.block.is_empty() || self.stored.is_empty() {
            self.close_block();
        }
        FinishedContent {
            body: self.stored,
            sha256: self.digest.finalize().into(),
            content_bytes: self.compressed_bytes,
            stored_bytes: self.stored_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::intent::Compression;
    use proptest::prelude::*;

    use super::*;
    use crate::compress::decompress;

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    fn builder(compression: Compression) -> ContentBuilder {
        ContentBuilder::new(Codec::new(compression, 0).unwrap())
    }

    fn lines(records: &[&[u8]], delimiter: &[u8]) -> Vec<u8> {
        let mut content = builder(Compression::None);
        for record in records {
            content.push_record(record, delimiter);
        }
        content.finish().body.concat()
    }

    #[test]
    fn the_delimiter_is_appended_unless_the_record_ends_in_it() {
        let records: [&[u8]; 6] = [b"a", b"b\n", b"", b"\n", b"c\r\n", b"d\r"];
        assert_eq!(lines(&records, b"\n"), b"a\nb\n\n\nc\r\nd\r\n");
        assert_eq!(lines(&records, b"\r\n"), b"a\r\nb\n\r\n\r\n\n\r\nc\r\nd\r\r\n");
        assert_eq!(lines(&records, b""), b"ab\n\nc\r\nd\r");
    }

    #[test]
    fn empty_content_still_decompresses() {
        for compression in ALL {
            let finished = builder(compression).finish();
            assert_eq!(finished.sha256, <[u8; 32]>::from(Sha256::digest(b"")));
            assert_eq!(decompress(compression, &finished.body.concat()).unwrap(), b"");
            assert_eq!(finished.stored_bytes > 0, compression != Compression::None);
        }
    }

    #[test]
    fn a_trickle_holds_little_and_a_block_no_more_than_its_size() {
        let mut content = builder(Compression::Gzip);
        assert_eq!(content.memory(), 0);
        content.extend(b"a");
        assert_eq!(content.memory(), LEAST_ROOM as u64);
        content.extend(&vec![b'a'; BLOCK_BYTES - 2]);
        assert!(content.memory() <= BLOCK_BYTES as u64);
        content.extend(b"a");
        assert!(content.memory() < BLOCK_BYTES as u64 + 4_000, "the full block is compressed");
    }

    #[test]
    fn the_estimate_nears_the_stored_size() {
        let record = b"{\"customer\": 12345, \"page\": \"/catalogue/search\", \"milliseconds\": 17}";
        let mut content = builder(Compression::Gzip);
        content.push_record(record, b"\n");
        assert_eq!(content.estimate(1.0), record.len() as u64 + 1, "nothing is known of the ratio at first");
        for _ in 0..40_000 {
            content.push_record(record, b"\n");
        }
        let estimate = content.estimate(1.0);
        let stored = content.finish().stored_bytes;
        assert!(estimate.abs_diff(stored) < stored / 10, "{estimate} for {stored}");
    }

    fn slices() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let sizes = prop_oneof![0_usize..50, (BLOCK_BYTES - 3)..(BLOCK_BYTES + 3), 0..3 * BLOCK_BYTES];
        (sizes, any::<u64>(), proptest::collection::vec(0..3 * BLOCK_BYTES, 0..6)).prop_map(|(size, seed, cuts)| {
            let mut state = seed | 1;
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 60) as u8
            };
            let content: Vec<u8> = (0..size).map(|_| byte()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(size)).collect();
            cuts.sort_unstable();
            (content, cuts)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10))]

        #[test]
        fn stored_bytes_do_not_depend_on_how_content_was_handed_in((content, cuts) in slices()) {
            for compression in ALL {
                let mut whole = builder(compression);
                whole.extend(&content);
                let mut sliced = builder(compression);
                let mut from = 0;
                for cut in cuts.iter().copied().chain([content.len()]) {
                    sliced.extend(&content[from..cut]);
                    from = cut;
                }
                let (whole, sliced) = (whole.finish(), sliced.finish());
                prop_assert_eq!(whole.content_bytes, content.len() as u64);
                prop_assert!(whole.body == sliced.body, "{:?}", compression);
                prop_assert_eq!(whole.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
                prop_assert_eq!(whole.stored_bytes, whole.body.iter().map(|part| part.len() as u64).sum::<u64>());
                prop_assert!(decompress(compression, &whole.body.concat()).unwrap() == content);
            }
        }
    }
}
