//! Compression of an object, block by block, and back.
//!
//! A block is [`BLOCK_BYTES`] of content, counted from the object's first byte, whoever appended what and when: equal
//! content gives equal stored bytes. Gzip: one member per block, zstd: one frame per block, both concatenated, which every
//! decompressor of these formats reads as one stream.

use std::io::Read;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor, crc32};
use penstock_core::intent::Compression;

/// Content bytes of one block. Members this small cost 1 % of gzip's ratio against one large member, and less CPU.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// What level 0 means, for good: intents record it.
const DEFAULT_GZIP_LEVEL: i32 = 3;
const DEFAULT_ZSTD_LEVEL: i32 = 1;

/// The most content that is read back from one object: a guard against a file that is not ours.
const MAX_CONTENT_BYTES: u64 = 16 << 30;

/// A compression and its level, both known to this version.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Codec {
    None,
    Gzip(CompressionLvl),
    Zstd(i32),
}

/// A level that its compression does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownLevel {
    /// There is nothing to choose without compression.
    #[error("compression level {0} without compression; only 0 makes sense")]
    None(i32),
    /// Gzip has 1 to 12.
    #[error("compression level {0} is not known to gzip: 1 to 12, or 0 for the default, {DEFAULT_GZIP_LEVEL}")]
    Gzip(i32),
    /// Zstd has 1 to 22.
    #[error("compression level {0} is not known to zstd: 1 to 22, or 0 for the default, {DEFAULT_ZSTD_LEVEL}")]
    Zstd(i32),
}

/// Stored bytes that do not decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {format}: {problem}")]
pub struct Undecodable {
    /// The compression that was expected.
    pub format: &'static str,
    /// What the decompressor said.
    pub problem: String,
}

impl Codec {
    pub(crate) fn new(compression: Compression, level: i32) -> Result<Self, UnknownLevel> {
        match (compression, level) {
            (Compression::None, 0) => Ok(Self::None),
            (Compression::None, _) => Err(UnknownLevel::None(level)),
            (Compression::Gzip, 0..=12) => {
                let level = if level == 0 { DEFAULT_GZIP_LEVEL } else { level };
                CompressionLvl::new(level).map(Self::Gzip).map_err(|_| UnknownLevel::Gzip(level))
            }
            (Compression::Gzip, _) => Err(UnknownLevel::Gzip(level)),
            (Compression::Zstd, 0) => Ok(Self::Zstd(DEFAULT_ZSTD_LEVEL)),
            (Compression::Zstd, 1..=22) => Ok(Self::Zstd(level)),
            (Compression::Zstd, _) => Err(UnknownLevel::Zstd(level)),
        }
    }

    /// Compresses one block. What stays between blocks would be memory per shard, so nothing does.
    pub(crate) fn compress(self, block: &[u8]) -> Bytes {
        match self {
            Self::None => Bytes::copy_from_slice(block),
            Self::Gzip(level) => gzip_member(level, block),
            Self::Zstd(level) => zstd_frame(level, block),
        }
    }
}

fn gzip_member(level: CompressionLvl, block: &[u8]) -> Bytes {
    let mut compressor = Compressor::new(level);
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let len = compressor.gzip_compress(block, &mut member).expect("the member has the room that the bound asks for");
    // Copied, so that the object does not hold the room of the bound.
    Bytes::copy_from_slice(&member[..len])
}

fn zstd_frame(level: i32, block: &[u8]) -> Bytes {
    let mut compressor = zstd::bulk::Compressor::new(level).expect("the level was checked");
    compressor.include_checksum(true).expect("every frame may carry a checksum");
    let frame = compressor.compress(block).expect("the frame has the room that the bound asks for");
    Bytes::copy_from_slice(&frame)
}

/// The compression that stored bytes begin like.
pub(crate) fn sniff(stored: &[u8]) -> Compression {
    match stored {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// The content of a stored object.
///
/// # Errors
/// If the bytes are not of this compression, or end within a block.
pub fn decompress(compression: Compression, stored: &[u8]) -> Result<Vec<u8>, Undecodable> {
    match compression {
        Compression::None => Ok(stored.to_vec()),
        Compression::Gzip => gunzip(stored),
        Compression::Zstd => unzstd(stored),
    }
}

fn gunzip(mut stored: &[u8]) -> Result<Vec<u8>, Undecodable> {
    let mut content = Vec::new();
    while !stored.is_empty() {
        let (used, member) = one_member(stored)?;
        content.extend_from_slice(&member);
        stored = &stored[used..];
    }
    Ok(content)
}

/// The first member's content, and how many bytes it takes.
///
/// The library does not tell where a member ends, but its trailer is known once its content is: the checksum and the length,
/// at the end or before the next member.
fn one_member(stored: &[u8]) -> Result<(usize, Vec<u8>), Undecodable> {
    let undecodable = |problem: &str| Undecodable { format: "gzip", problem: problem.to_owned() };
    let mut decompressor = Decompressor::new();
    let mut member = vec![0; BLOCK_BYTES];
    let len = loop {
        match decompressor.gzip_decompress(stored, &mut member) {
            Ok(len) => break len,
            Err(DecompressionError::BadData) => return Err(undecodable("a member is damaged or cut off")),
            Err(DecompressionError::InsufficientSpace) if member.len() as u64 >= MAX_CONTENT_BYTES => {
                return Err(undecodable("a member is larger than any object"));
            }
            Err(DecompressionError::InsufficientSpace) => member.resize(member.len() * 2, 0),
        }
    };
    member.truncate(len);
    // The format keeps the length modulo 2^32.
    let mut trailer = crc32(&member).to_le_bytes().to_vec();
    trailer.extend_from_slice(&(len as u32).to_le_bytes());
    let ends = |at: usize| stored[at + 8..].is_empty() || stored[at + 8..].starts_with(&[0x1f, 0x8b]);
    let trailer_at = stored.windows(8).enumerate().position(|(at, window)| window == trailer && ends(at));
    let used = trailer_at.ok_or_else(|| undecodable("a member has no end"))? + 8;
    Ok((used, member))
}

fn unzstd(stored: &[u8]) -> Result<Vec<u8>, Undecodable> {
    let undecodable = |error: std::io::Error| Undecodable { format: "zstd", problem: error.to_string() };
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(undecodable)?;
    let mut content = Vec::new();
    decoder.take(MAX_CONTENT_BYTES).read_to_end(&mut content).map_err(undecodable)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(compression: Compression, level: i32) -> Codec {
        Codec::new(compression, level).unwrap()
    }

    #[test]
    fn level_0_is_the_documented_default() {
        let block = b"penstock ".repeat(5_000);
        for (compression, default) in [(Compression::Gzip, 3), (Compression::Zstd, 1)] {
            assert_eq!(codec(compression, 0).compress(&block), codec(compression, default).compress(&block));
        }
    }

    #[test]
    fn unknown_levels_are_refused_with_their_range() {
        for (compression, level, range) in [
            (Compression::None, 1, "only 0"),
            (Compression::Gzip, 13, "1 to 12"),
            (Compression::Gzip, -1, "1 to 12"),
            (Compression::Zstd, 23, "1 to 22"),
            (Compression::Zstd, -1, "1 to 22"),
        ] {
            let message = Codec::new(compression, level).unwrap_err().to_string();
            assert!(message.contains(range), "{message}");
        }
    }

    #[test]
    fn blocks_are_read_back_as_one_stream() {
        let blocks: [&[u8]; 4] = [b"one", b"", &[0x1f, 0x8b, 0, 0, 0, 0, 0, 0, 0x1f, 0x8b], &[7; BLOCK_BYTES]];
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let stored: Vec<u8> =
                blocks.iter().flat_map(|block| codec(compression, 0).compress(block).to_vec()).collect();
            assert_eq!(decompress(compression, &stored).unwrap(), blocks.concat());
            if compression != Compression::None {
                assert_eq!(sniff(&stored), compression);
                assert!(decompress(compression, &stored[..stored.len() - 3]).is_err(), "cut off");
                assert!(decompress(compression, b"plain text").is_err());
            }
        }
    }

    #[test]
    fn a_member_larger_than_a_block_is_read_too() {
        let content = vec![1; 3 * BLOCK_BYTES + 5];
        let stored = codec(Compression::Gzip, 12).compress(&content);
        assert_eq!(decompress(Compression::Gzip, &stored).unwrap(), content);
    }
}
