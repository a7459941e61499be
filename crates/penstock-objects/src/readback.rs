//! Reading a sink back: which objects are finished, what is in them, and whether the batches of each shard form one chain.
//!
//! Works from the objects and their metadata alone. What a lease table or a gap ledger knows is for the caller to hold against
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use penstock_core::intent::{Compression, Destination};
use penstock_core::position::RecordPosition;
use penstock_engine::ports::{ErrorClass, SeamError};
use sha2::{Digest, Sha256};

use crate::compress::{decompress, sniff};
use crate::hex;
use crate::metadata;
use crate::sink::Stores;
use crate::store::s3::S3Settings;
use crate::store::{FinishedObject, Store};

/// A destination that is read back.
pub struct Readback {
    store: Arc<dyn Store>,
}

impl Readback {
    /// Opens a destination.
    ///
    /// # Errors
    /// If it is a bucket and there are no settings for S3, or no client can be made of them.
    pub fn open(destination: &Destination, s3: Option<S3Settings>) -> Result<Self, SeamError> {
        Ok(Self { store: Stores::new(s3, String::new()).open(destination)? })
    }

    pub(crate) fn over(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// All finished objects, in the order of their keys, ours or not.
    ///
    /// # Errors
    /// What the store said.
    pub async fn list(&self) -> Result<Vec<FinishedObject>, SeamError> {
        self.store.list().await
    }

    /// The uncompressed content of an object, checked against its `penstock-sha256` if it has one.
    ///
    /// # Errors
    /// What the store said; `Fatal` if the content does not decompress or is not what the metadata say.
    pub async fn content(&self, object: &FinishedObject) -> Result<Vec<u8>, SeamError> {
        let stored = self.store.read(&object.key).await?;
        let fatal = |message: String| SeamError::new("read", object.key.clone(), ErrorClass::Fatal, message);
        let Some(sha256) = object.metadata.get(metadata::SHA256) else {
            return decompress(sniff(&stored), &stored).map_err(|error| fatal(error.to_string()));
        };
        let is_content = |content: &[u8]| hex(&Sha256::digest(content)) == *sha256;
        if is_content(&stored) {
            return Ok(stored);
        }
        if sniff(&stored) == Compression::None {
            return Err(fatal(format!("its content does not have the SHA-256 {sha256} that its metadata tell")));
        }
        let content = decompress(sniff(&stored), &stored).map_err(|error| fatal(error.to_string()))?;
        match is_content(&content) {
            true => Ok(content),
            false => Err(fatal(format!("its content does not have the SHA-256 {sha256} that its metadata tell"))),
        }
    }
}

/// The records of a content, cut at its delimiter; the last one may lack it. Without a delimiter there is one.
#[must_use]
pub fn records<'a>(content: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    if delimiter.is_empty() || content.is_empty() {
        return if content.is_empty() { Vec::new() } else { vec![content] };
    }
    let mut records = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at + delimiter.len() <= content.len() {
        if &content[at..at + delimiter.len()] == delimiter {
            records.push(&content[start..at]);
            at += delimiter.len();
            start = at;
        } else {
            at += 1;
        }
    }
    if start < content.len() {
        records.push(&content[start..]);
    }
    records
}

/// What is wrong with the objects of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainProblem {
    /// The stream.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// What.
    pub kind: ChainProblemKind,
}

/// How a shard's batches fail to form a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainProblemKind {
    /// Between two batches that follow each other there should be another, or none of them belongs there.
    Gap {
        /// The last position of the earlier batch.
        expected: String,
        /// Where the next one begins.
        found: String,
        /// The last position of the next one.
        last: String,
    },
    /// Two batches cover the same positions.
    Overlap {
        /// Where the later one begins.
        after: String,
        /// The last position of the earlier one.
        last: String,
    },
    /// A batch has not all its objects, or more than one for the same part.
    Parts {
        /// The last position of the batch.
        last: String,
        /// The parts that are there, as `k/n`.
        found: Vec<String>,
    },
    /// Objects that hold only a part of what was recorded.
    Partial {
        /// The key.
        key: String,
        /// How many records of how many.
        records: String,
    },
    /// Metadata that cannot be read.
    Metadata {
        /// The key.
        key: String,
        /// The name of what is missing or wrong.
        name: &'static str,
    },
}

impl fmt::Display for ChainProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.stream, self.shard)?;
        match &self.kind {
            ChainProblemKind::Gap { expected, found, last } => {
                write!(f, "the batch up to {last} begins after {found}, the one before it ends at {expected}")
            }
            ChainProblemKind::Overlap { after, last } => {
                write!(f, "a batch begins after {after}, before the end of another at {last}")
            }
            ChainProblemKind::Parts { last, found } => {
                write!(f, "the batch up to {last} has the parts {}", found.join(", "))
            }
            ChainProblemKind::Partial { key, records } => write!(f, "{key} holds {records} records"),
            ChainProblemKind::Metadata { key, name } => write!(f, "{key} has no readable {name}"),
        }
    }
}

/// One batch of one shard, from the metadata of its objects.
#[derive(Debug, Default)]
struct Batch {
    after: BTreeSet<String>,
    parts: Vec<String>,
}

/// Holds the batches of each shard against each other: each must begin where the one before it ended. The first one may begin
/// anywhere. Objects without `penstock-stream` are not ours and left out.
#[must_use]
pub fn check_chain(objects: &[FinishedObject]) -> Vec<ChainProblem> {
    let mut problems = Vec::new();
    let mut shards: BTreeMap<(String, String), BTreeMap<RecordPosition, Batch>> = BTreeMap::new();
    for object in objects {
        let text = |name: &str| object.metadata.get(name).cloned();
        let Some(stream) = text(metadata::STREAM) else { continue };
        if text(metadata::AFTER).is_none() && text(metadata::PART).is_none() {
            // Set aside by a sink of calls, which has no batches.
            continue;
        }
        let shard = text(metadata::SHARD).unwrap_or_default();
        let mut problem = |kind| problems.push(ChainProblem { stream: stream.clone(), shard: shard.clone(), kind });
        let Some(last) = text(metadata::LAST).and_then(|last| RecordPosition::parse(&last).ok()) else {
            problem(ChainProblemKind::Metadata { key: object.key.clone(), name: metadata::LAST });
            continue;
        };
        let (Some(after), Some(part)) = (text(metadata::AFTER), text(metadata::PART)) else {
            problem(ChainProblemKind::Metadata { key: object.key.clone(), name: metadata::AFTER });
            continue;
        };
        if let Some(records) = text(metadata::PARTIAL) {
            problem(ChainProblemKind::Partial { key: object.key.clone(), records });
        }
        let batch = shards.entry((stream, shard)).or_default().entry(last).or_default();
        batch.after.insert(after);
        batch.parts.push(part);
    }
    for ((stream, shard), batches) in shards {
        check_shard(&batches, |kind| {
            problems.push(ChainProblem { stream: stream.clone(), shard: shard.clone(), kind });
        });
    }
    problems
}

fn check_shard(batches: &BTreeMap<RecordPosition, Batch>, mut problem: impl FnMut(ChainProblemKind)) {
    let mut previous: Option<&RecordPosition> = None;
    for (last, Batch { after, parts }) in batches {
        if !is_complete(parts) {
            problem(ChainProblemKind::Parts { last: last.to_string(), found: parts.clone() });
        }
        for found in after {
            let Some(expected) = previous else { continue };
            let overlaps = RecordPosition::parse(found).map_or(true, |found| found < *expected);
            if found == &expected.to_string() {
                continue;
            }
            problem(match overlaps {
                true => ChainProblemKind::Overlap { after: found.clone(), last: expected.to_string() },
                false => ChainProblemKind::Gap {
                    expected: expected.to_string(),
                    found: found.clone(),
                    last: last.to_string(),
                },
            });
        }
        if after.len() > 1 {
            problem(ChainProblemKind::Overlap {
                after: after.iter().cloned().collect::<Vec<_>>().join(" and "),
                last: last.to_string(),
            });
        }
        previous = Some(last);
    }
}

/// Whether these are `1/n` to `n/n`, each once.
fn is_complete(parts: &[String]) -> bool {
    let wanted = (1..=parts.len()).map(|part| format!("{part}/{}", parts.len()));
    wanted.collect::<BTreeSet<_>>() == parts.iter().cloned().collect::<BTreeSet<_>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(shard: &str, after: &str, last: &str, part: &str) -> FinishedObject {
        let metadata = [
            (metadata::STREAM, "clicks"),
            (metadata::SHARD, shard),
            (metadata::AFTER, after),
            (metadata::LAST, last),
            (metadata::PART, part),
        ];
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        FinishedObject { key: format!("{shard}-{last}-{part}"), stored_bytes: 1, metadata }
    }

    fn problems(objects: &[FinishedObject]) -> Vec<String> {
        check_chain(objects).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chain_is_found_whatever_the_order_of_its_objects() {
        let objects = [
            object("b", "TRIM_HORIZON", "5", "1/1"),
            object("a", "9/3", "10", "2/2"),
            object("a", "2", "9/3", "1/1"),
            object("a", "9/3", "10", "1/2"),
            object("a", "LATEST", "2", "1/1"),
        ];
        assert_eq!(check_chain(&objects), []);
    }

    #[test]
    fn a_hole_an_overlap_and_a_missing_part_are_named() {
        let hole = [object("a", "TRIM_HORIZON", "5", "1/1"), object("a", "7", "9", "1/1")];
        assert_eq!(problems(&hole), ["clicks a: the batch up to 9 begins after 7, the one before it ends at 5"]);
        let overlap = [object("a", "TRIM_HORIZON", "5", "1/1"), object("a", "4", "9", "1/1")];
        assert_eq!(problems(&overlap), ["clicks a: a batch begins after 4, before the end of another at 5"]);
        let again = [object("a", "TRIM_HORIZON", "5", "1/1"), object("a", "TRIM_HORIZON", "9", "1/1")];
        assert_eq!(problems(&again), ["clicks a: a batch begins after TRIM_HORIZON, before the end of another at 5"]);
        let part = [object("a", "TRIM_HORIZON", "5", "2/2")];
        assert_eq!(problems(&part), ["clicks a: the batch up to 5 has the parts 2/2"]);
        let twice = [object("a", "1", "5", "1/2"), object("a", "2", "5", "2/2")];
        assert_eq!(problems(&twice), ["clicks a: a batch begins after 1 and 2, before the end of another at 5"]);
    }

    #[test]
    fn partial_objects_and_unreadable_metadata_are_named() {
        let mut partial = object("a", "1", "5", "1/1");
        partial.metadata.insert(metadata::PARTIAL.to_owned(), "2/3".to_owned());
        assert_eq!(problems(&[partial]), ["clicks a: a-5-1/1 holds 2/3 records"]);
        let unreadable = object("a", "1", "five", "1/1");
        assert_eq!(problems(&[unreadable]), ["clicks a: a-five-1/1 has no readable penstock-last"]);
        let mut foreign = object("a", "1", "5", "1/1");
        foreign.metadata.clear();
        assert_eq!(problems(&[foreign]), [""; 0]);
    }

    #[test]
    fn records_are_cut_at_the_delimiter() {
        assert_eq!(records(b"a\n\nb", b"\n"), [&b"a"[..], b"", b"b"]);
        assert_eq!(records(b"a\r\nb\n\r\n", b"\r\n"), [&b"a"[..], b"b\n"]);
        assert_eq!(records(b"ab", b""), [b"ab"]);
        assert_eq!(records(b"", b"\n"), [b""; 0]);
    }
}
