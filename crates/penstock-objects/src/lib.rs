//! Objects: encode, compress, name, put if absent; over object_store and a directory.
//!
//! Knows batches and keys, not leases. What an intent recorded can be built again by any worker of any later version, or is
//! refused before anything is put.

mod compress;
mod encode;
mod error_lines;
pub mod metadata;
pub mod readback;
mod rebuild;
mod set_aside;
mod settings;
mod sink;
mod store;
mod writer;

pub use compress::{Undecodable, UnknownLevel, decompress};
pub use set_aside::{SetAsideSettings, StoreSetAside};
pub use settings::{ObjectSinkSettings, SettingsError};
pub use sink::StoreSink;
pub use store::FinishedObject;
pub use store::s3::S3Settings;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written");
        text
    })
}

/// The digest that 64 hexadecimal digits stand for.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}
