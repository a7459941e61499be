//! The encoding of an intent, as it is stored in the lease row: a contract with other versions of penstock.
//!
//! ```text
//! magic "PSin" | version 1 byte | length of the body, 4 bytes | body | check, 8 bytes
//! ```
//!
//! The check is the beginning of the SHA-256 of everything before it. The body holds the fields of [`Intent`] in their order:
//! numbers as LEB128 of the least length (signed ones zigzag), fixed numbers big-endian, texts and bytes behind their length,
//! an absent value as 0 and a present one as 1 and the value, sequence numbers as their number of digits and two digits a
//! byte. One intent has one encoding; whatever is not exactly that is refused. A version that changes any of it has another
//! version byte and goes on reading this one.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Intent, MAX_ENCODED_INTENT};

mod body;
mod wire;

pub use wire::Malformed;

const MAGIC: &[u8; 4] = b"PSin";

/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

const HEADER: usize = MAGIC.len() + 1 + 4;
const CHECK: usize = 8;

/// The intent is larger than the lease row may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the intent has {bytes} bytes, {limit} are allowed: the batch must be sealed earlier")]
pub struct IntentTooLarge {
    /// Its encoded size.
    pub bytes: usize,
    /// The largest allowed.
    pub limit: usize,
}

/// Stored bytes are not an intent that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableIntent {
    /// They do not begin as an intent does.
    #[error("it begins with {found:02x?} and not with the mark of an intent")]
    WrongMagic {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// Another version of penstock wrote it.
    #[error("it has version {found}, this penstock reads version {known}: let the version that wrote it settle it")]
    UnknownVersion {
        /// The version found.
        found: u8,
        /// The version known.
        known: u8,
    },
    /// Its end is missing.
    #[error("it is cut off: {found} bytes of {expected}")]
    Truncated {
        /// The bytes there are.
        found: usize,
        /// The bytes that there should be; at least, if the header itself is cut off.
        expected: usize,
    },
    /// Something follows upon its end.
    #[error("{bytes} bytes follow upon its end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Its content was changed.
    #[error("its check is {found} and should be {expected}: its content was changed")]
    WrongCheck {
        /// The check that stands in it, in hexadecimal.
        found: String,
        /// The check of its content, in hexadecimal.
        expected: String,
    },
    /// It is whole and yet breaks the rules of its version.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Encodes an intent.
///
/// # Errors
/// [`IntentTooLarge`] above 64 KiB.
pub fn encode(intent: &Intent) -> Result<Bytes, IntentTooLarge> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&[0; 4]);
    body::write(&mut out, intent);
    let bytes = out.len() + CHECK;
    if bytes > MAX_ENCODED_INTENT {
        return Err(IntentTooLarge { bytes, limit: MAX_ENCODED_INTENT });
    }
    let length = u32::try_from(out.len() - HEADER).expect("below 64 KiB");
    out[MAGIC.len() + 1..HEADER].copy_from_slice(&length.to_be_bytes());
    let check = check_of(&out);
    out.extend_from_slice(&check);
    Ok(Bytes::from(out))
}

/// Decodes an intent.
///
/// # Errors
/// [`UnreadableIntent`], which says what is wrong with the bytes.
pub fn decode(encoded: &[u8]) -> Result<Intent, UnreadableIntent> {
    let magic = &encoded[..encoded.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(UnreadableIntent::WrongMagic { found: magic.to_vec() });
    }
    if let Some(&found) = encoded.get(MAGIC.len())
        && found != VERSION
    {
        return Err(UnreadableIntent::UnknownVersion { found, known: VERSION });
    }
    let body = checked_body(encoded)?;
    Ok(body::read(body)?)
}

fn checked_body(encoded: &[u8]) -> Result<&[u8], UnreadableIntent> {
    let length =
        encoded[MAGIC.len().min(encoded.len())..].get(1..5).and_then(|length| <[u8; 4]>::try_from(length).ok());
    let Some(length) = length else {
        return Err(UnreadableIntent::Truncated { found: encoded.len(), expected: HEADER + CHECK });
    };
    let end = HEADER.saturating_add(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX));
    let expected = end.saturating_add(CHECK);
    if encoded.len() < expected {
        return Err(UnreadableIntent::Truncated { found: encoded.len(), expected });
    }
    if encoded.len() > expected {
        return Err(UnreadableIntent::TrailingBytes { bytes: encoded.len() - expected });
    }
    let (content, found) = encoded.split_at(end);
    let expected = check_of(content);
    if found != expected {
        return Err(UnreadableIntent::WrongCheck { found: hex(found), expected: hex(&expected) });
    }
    Ok(&content[HEADER..])
}

fn check_of(content: &[u8]) -> [u8; CHECK] {
    let digest = Sha256::digest(content);
    std::array::from_fn(|index| digest[index])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
