//! Where objects are kept: a directory, or a store behind `object_store`. Both refuse to replace an object.

use async_trait::async_trait;
use penstock_engine::ports::{ErrorClass, PreparedObject, Put, SeamError};

use crate::hex;
use crate::metadata::{self, Metadata};

pub(crate) mod directory;
pub(crate) mod remote;
pub(crate) mod s3;

/// The most bytes of a key in S3.
const MAX_KEY_BYTES: usize = 1_024;

/// One destination.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Whether the destination exists; an error if it could not be written to. A directory may be created.
    async fn probe(&self, create: bool) -> Result<bool, SeamError>;

    /// As [`penstock_engine::ports::ObjectSink::put`].
    async fn put_if_absent(&self, object: &PreparedObject) -> Result<Put, SeamError>;

    /// As [`penstock_engine::ports::ObjectSink::digest_of`].
    async fn digest_of(&self, key: &str) -> Result<Option<[u8; 32]>, SeamError>;

    /// All finished objects, in the order of their keys.
    async fn list(&self) -> Result<Vec<FinishedObject>, SeamError>;

    /// One object as stored.
    async fn read(&self, key: &str) -> Result<Vec<u8>, SeamError>;
}

/// An object that a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedObject {
    /// Its key.
    pub key: String,
    /// Its size as stored.
    pub stored_bytes: u64,
    /// What it says of itself; see [`crate::metadata`]. Empty if it is not ours.
    pub metadata: Metadata,
}

/// What a put does about an object that stands under its key already.
pub(crate) fn settle(subject: String, object: &PreparedObject, there: &Metadata) -> Result<Put, SeamError> {
    let ours = hex(&object.sha256);
    let theirs = there.get(metadata::SHA256);
    if theirs == Some(&ours) {
        return Ok(Put::AlreadyThere);
    }
    let theirs = theirs.map_or_else(|| "no penstock-sha256".to_owned(), |theirs| format!("penstock-sha256 {theirs}"));
    let message =
        format!("another object stands under this key: it has {theirs}, this one {ours}; nothing was replaced");
    Err(SeamError::new("put", subject, ErrorClass::Rejected, message))
}

/// Refuses a key that a store would refuse, read as another one, or write outside its root.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    if key.len() > MAX_KEY_BYTES {
        return Err(format!("the key has {} bytes, the most is {MAX_KEY_BYTES}", key.len()));
    }
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("the key is absolute, or has a folder without a name, or called `.` or `..`".to_owned());
    }
    if key.chars().any(char::is_control) {
        return Err("the key has a control character".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_leave_the_root_or_change_on_the_way_are_refused() {
        for key in ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "a\n", "a\0"] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
        assert!(check_key(&"k".repeat(1_025)).is_err());
        for key in ["a", "a/b=c/d e/f%20.gz", "..a/b..", "ä/日本", ".hidden/a"] {
            assert_eq!(check_key(key), Ok(()), "{key:?}");
        }
    }
}
