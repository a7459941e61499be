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
mod settings;
mod sink;
mod store;
mod writer;

pub use compress::{Undecodable, UnknownLevel, decompress};
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
