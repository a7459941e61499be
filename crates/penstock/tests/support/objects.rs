//! Reads a sink back: a bucket of a stand-in or a directory, object by object, and holds each against what it says of itself.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use penstock_objects::readback::check_chain;
use penstock_objects::{FinishedObject, metadata};
use penstock_standins::{s3_get, s3_head, s3_keys};
use sha2::{Digest, Sha256};

use super::{Account, Proof, Teller, Verdict, wait_until};

/// Where objects are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A bucket of a stand-in.
    Bucket { endpoint: String, account: String, bucket: String },
    /// A directory.
    Directory(PathBuf),
}

/// One object, whole.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) key: String,
    /// The `penstock-…` metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    /// As stored.
    pub(crate) stored: Vec<u8>,
    /// Uncompressed.
    pub(crate) content: Vec<u8>,
    /// When a directory's file was written; nothing for a bucket.
    pub(crate) written: Option<SystemTime>,
}

impl Place {
    pub(crate) fn bucket(endpoint: &str, account: &Account, bucket: &str) -> Self {
        let (endpoint, account) = (endpoint.to_owned(), account.id().to_owned());
        Self::Bucket { endpoint, account, bucket: bucket.to_owned() }
    }

    pub(crate) fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory(path.into())
    }

    /// The keys of everything that is finished.
    pub(crate) fn keys(&self) -> Vec<String> {
        match self {
            Self::Bucket { endpoint, account, bucket } => s3_keys(endpoint, account, bucket),
            Self::Directory(root) => {
                let mut keys = Vec::new();
                walk(root, root, &mut keys);
                keys.sort_unstable();
                keys
            }
        }
    }

    fn read(&self, key: &str) -> Finished {
        let (metadata, stored) = match self {
            Self::Bucket { endpoint, account, bucket } => {
                let head = s3_head(endpoint, account, bucket, key).into_iter();
                let metadata =
                    head.filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value)));
                (metadata.collect(), s3_get(endpoint, account, bucket, key))
            }
            Self::Directory(root) => {
                (sidecar(&root.join(key)), fs::read(root.join(key)).expect("an object that is listed"))
            }
        };
        let content = uncompressed(&stored);
        let written = match self {
            Self::Bucket { .. } => None,
            Self::Directory(root) => fs::metadata(root.join(key)).and_then(|file| file.modified()).ok(),
        };
        Finished { key: key.to_owned(), metadata, stored, content, written }
    }
}

fn walk(root: &Path, dir: &Path, keys: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match path.is_dir() {
            true => walk(root, &path, keys),
            false => keys.push(path.strip_prefix(root).expect("below the root").display().to_string()),
        }
    }
}

fn sidecar(object: &Path) -> BTreeMap<String, String> {
    let name = object.file_name().expect("an object has a name").to_string_lossy().into_owned();
    let text = fs::read(object.with_file_name(format!(".{name}.json"))).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn uncompressed(stored: &[u8]) -> Vec<u8> {
    use penstock_core::intent::Compression;

    let compression = match stored {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    penstock_objects::decompress(compression, stored).expect("what is stored is whole")
}

/// Reads each object once, however often it is asked what is there.
pub(crate) struct Reader {
    place: Place,
    objects: BTreeMap<String, Finished>,
}

impl Reader {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, objects: BTreeMap::new() }
    }

    /// Reads what is new.
    pub(crate) fn look(&mut self) {
        for key in self.place.keys() {
            if !self.objects.contains_key(&key) {
                let object = self.place.read(&key);
                self.objects.insert(key, object);
            }
        }
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Finished> {
        self.objects.values()
    }

    /// In the order of the positions at which they begin.
    pub(crate) fn in_order(&self) -> Vec<&Finished> {
        let mut objects: Vec<&Finished> = self.objects.values().collect();
        objects.sort_by(|a, b| by_position(first_of(a), first_of(b)));
        objects
    }

    /// The different records that are there by now.
    pub(crate) fn found(&mut self) -> u64 {
        self.look();
        self.proof().found()
    }

    /// Waits until all that was told is there, or more.
    #[track_caller]
    pub(crate) fn wait_for_all(&mut self, teller: &Teller, limit: Duration) {
        let told = teller.told();
        let mut found = 0;
        wait_until(&format!("all {told} records are in the sink"), limit, || {
            found = self.found();
            found >= told
        });
    }

    /// Waits until at least so many different records are there.
    #[track_caller]
    pub(crate) fn wait_for_some(&mut self, count: u64, limit: Duration) {
        wait_until(&format!("{count} records are in the sink"), limit, || self.found() >= count);
    }

    /// What is there of what was told; order counts along the positions at which objects begin.
    pub(crate) fn verdict(&mut self, teller: &Teller) -> Verdict {
        self.look();
        self.proof().verdict(teller.told())
    }

    /// Exactly once, in order, in objects that keep their word and form one chain per shard.
    #[track_caller]
    pub(crate) fn assert_exactly_once(&mut self, teller: &Teller) {
        self.verdict(teller).assert_exactly_once();
        for object in self.objects.values() {
            check(object);
        }
        let finished: Vec<FinishedObject> = self
            .objects
            .values()
            .map(|Finished { key, metadata, stored, .. }| FinishedObject {
                key: key.clone(),
                stored_bytes: stored.len() as u64,
                metadata: metadata.clone(),
            })
            .collect();
        let problems = check_chain(&finished);
        assert!(problems.is_empty(), "the chain is broken: {problems:#?}");
    }

    fn proof(&self) -> Proof {
        let mut proof = Proof::default();
        for object in self.in_order() {
            let lines = object.content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.for_each(|line| proof.look(line, &object.key));
        }
        proof
    }
}

fn first_of(object: &Finished) -> &str {
    object.metadata.get(metadata::FIRST).map_or("", String::as_str)
}

/// Positions are `SEQ` or `SEQ/SUB`, of numbers longer than a machine's.
fn by_position(a: &str, b: &str) -> Ordering {
    let parts = |position: &str| {
        let (sequence, sub) = position.split_once('/').unwrap_or((position, "0"));
        (sequence.len(), sequence.to_owned(), sub.parse::<u64>().unwrap_or(0))
    };
    parts(a).cmp(&parts(b))
}

/// An object is what its metadata say.
#[track_caller]
fn check(object: &Finished) {
    let Finished { key, metadata, content, .. } = object;
    let said = |name: &str| metadata.get(name).unwrap_or_else(|| panic!("{key} has no {name}: {metadata:?}")).clone();
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(said(metadata::RECORDS), lines.to_string(), "{key}");
    assert_eq!(content.last(), Some(&b'\n'), "{key} does not end in the delimiter");
    let digest = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(said(metadata::SHA256), digest, "{key}");
    let shard = said(metadata::SHARD);
    let number: u64 = shard.trim_start_matches("shardId-").parse().unwrap_or_else(|_| panic!("{shard}"));
    let name = key.rsplit('/').next().unwrap_or_default();
    assert!(name.contains(&format!("-{number}-20")), "{key} does not name shard {number}");
    for name in [metadata::STREAM, metadata::AFTER, metadata::LAST, metadata::PART, metadata::FIRST, metadata::VERSION]
    {
        assert!(!said(name).is_empty());
    }
}
