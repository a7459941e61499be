//! A directory as a store of objects: the file, and its metadata in a sidecar `.<file>.json` beside it.
//!
//! Written with plain file operations, since `object_store`'s local file system keeps no metadata, shows its unfinished
//! files to whoever lists the directory, and syncs nothing. Here nothing is visible before it is durable:
//!
//! 1. the sidecar: a hidden file beside it, synced, linked to its name if that is free, the directory synced;
//! 2. the object in the same way: the link is what makes it exist, and a link never replaces.
//!
//! A crash leaves hidden files at worst. A sidecar without an object may be left by an attempt that put less or more (a batch
//! of which only a part could be read); it is replaced. The object's content, not its sidecar, decides what stands there, and
//! whoever links the object makes sure afterwards that the sidecar is its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use penstock_core::intent::Compression;
use penstock_engine::ports::{ErrorClass, PreparedObject, Put, SeamError};
use sha2::{Digest, Sha256};

use self::files::{create_folders, exists, link_new, replace, sweep, sync_directory};
use super::{FinishedObject, Store, check_key, settle};
use crate::compress::{decompress, sniff};
use crate::metadata::{self, Metadata};
use crate::{hex, unhex};

mod files;

/// A directory that all workers see.
pub(crate) struct Directory {
    root: PathBuf,
}

/// The files of one object.
struct Place {
    key: String,
    directory: PathBuf,
    name: String,
    file: PathBuf,
    sidecar: PathBuf,
}

impl Directory {
    pub(crate) fn new(root: &str) -> Self {
        Self { root: PathBuf::from(root) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Path) -> Result<T, SeamError> + Send + 'static,
    ) -> Result<T, SeamError> {
        let root = self.root.clone();
        let subject = root.display().to_string();
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(result) => result,
            Err(error) => {
                Err(SeamError::new(operation, subject, ErrorClass::Fatal, "the task did not end").with_source(error))
            }
        }
    }
}

#[async_trait]
impl Store for Directory {
    async fn probe(&self, create: bool) -> Result<bool, SeamError> {
        self.blocking("probe", move |root| probe(root, create)).await
    }

    async fn put_if_absent(&self, object: &PreparedObject) -> Result<Put, SeamError> {
        let object = object.clone();
        self.blocking("put", move |root| put(root, &object)).await
    }

    async fn digest_of(&self, key: &str) -> Result<Option<[u8; 32]>, SeamError> {
        let key = key.to_owned();
        self.blocking("read", move |root| {
            let place = Place::of(root, &key)?;
            digest_at(&place).map_err(|error| refused("read", &place.file, error))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<FinishedObject>, SeamError> {
        self.blocking("list", |root| {
            let mut objects = Vec::new();
            list(root, "", &mut objects).map_err(|error| refused("list", root, error))?;
            objects.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(objects)
        })
        .await
    }

    async fn read(&self, key: &str) -> Result<Vec<u8>, SeamError> {
        let key = key.to_owned();
        self.blocking("read", move |root| {
            let place = Place::of(root, &key)?;
            fs::read(&place.file).map_err(|error| refused("read", &place.file, error))
        })
        .await
    }
}

impl Place {
    fn of(root: &Path, key: &str) -> Result<Self, SeamError> {
        let rejected = |problem: String| SeamError::new("put", key, ErrorClass::Rejected, problem);
        check_key(key).map_err(rejected)?;
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        if name.starts_with('.') {
            return Err(rejected(
                "a name with a dot first is hidden, which a directory keeps for its own use".to_owned(),
            ));
        }
        let directory = if folder.is_empty() { root.to_owned() } else { root.join(folder) };
        let (file, sidecar) = (directory.join(name), directory.join(format!(".{name}.json")));
        Ok(Self { key: key.to_owned(), directory, name: name.to_owned(), file, sidecar })
    }
}

// === Put ===

fn put(root: &Path, object: &PreparedObject) -> Result<Put, SeamError> {
    let place = Place::of(root, &object.key)?;
    if !root.is_dir() {
        let message = "there is no such directory (any more)";
        return Err(SeamError::new("put", root.display().to_string(), ErrorClass::NotFound, message));
    }
    put_at(root, &place, object).map_err(|error| refused("put", &place.file, error))?
}

fn put_at(root: &Path, place: &Place, object: &PreparedObject) -> io::Result<Result<Put, SeamError>> {
    create_folders(root, &place.directory)?;
    if exists(&place.file)? {
        return existing(place, object, None);
    }
    let replaced = put_sidecar(place, &object.metadata)?;
    if !link_new(place, &place.file, &object.body)? {
        return existing(place, object, replaced);
    }
    // Another attempt may have replaced the sidecar since: the object is ours, so the sidecar must be.
    ensure_sidecar(place, object)?;
    sync_directory(&place.directory)?;
    Ok(Ok(Put::Written))
}

/// Decides by its content about the object that stands under the key.
fn existing(place: &Place, object: &PreparedObject, replaced: Option<Metadata>) -> io::Result<Result<Put, SeamError>> {
    let subject = place.file.display().to_string();
    if same_bytes(&place.file, &object.body)? || digests(&place.file)?.contains(&hex(&object.sha256)) {
        ensure_sidecar(place, object)?;
        // Whoever linked it may not have come to this.
        sync_directory(&place.directory)?;
        return Ok(Ok(Put::AlreadyThere));
    }
    let mut there = read_sidecar(&place.sidecar)?.unwrap_or_default();
    let digests = digests(&place.file)?;
    if let Some(replaced) = replaced.filter(|replaced| names_one_of(replaced, &digests)) {
        // We took the sidecar from an attempt that has linked its object meanwhile.
        replace(place, &place.sidecar, &sidecar_text(&replaced))?;
        sync_directory(&place.directory)?;
        there = replaced;
    } else if !names_one_of(&there, &digests) {
        let content = digests.last().cloned().unwrap_or_default();
        there.insert(metadata::SHA256.to_owned(), content);
    }
    Ok(settle(subject, object, &there))
}

fn names_one_of(metadata: &Metadata, digests: &[String]) -> bool {
    metadata.get(metadata::SHA256).is_some_and(|named| digests.contains(named))
}

/// Puts the sidecar if there is none. One that belongs to other content is replaced and returned.
fn put_sidecar(place: &Place, metadata: &[(&'static str, String)]) -> io::Result<Option<Metadata>> {
    let ours: Metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let text = sidecar_text(&ours);
    let mut replaced = None;
    if !link_new(place, &place.sidecar, &[Bytes::from(text.clone())])? {
        sweep(place)?;
        let there = read_sidecar(&place.sidecar)?.unwrap_or_default();
        if there.get(metadata::SHA256) != ours.get(metadata::SHA256) {
            replace(place, &place.sidecar, &text)?;
            replaced = Some(there);
        }
    }
    // The name must be durable before the object's can be.
    sync_directory(&place.directory)?;
    Ok(replaced)
}

fn ensure_sidecar(place: &Place, object: &PreparedObject) -> io::Result<()> {
    let there = read_sidecar(&place.sidecar)?.unwrap_or_default();
    if there.get(metadata::SHA256) == Some(&hex(&object.sha256)) {
        return Ok(());
    }
    let ours: Metadata = object.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    replace(place, &place.sidecar, &sidecar_text(&ours))
}

fn sidecar_text(metadata: &Metadata) -> Vec<u8> {
    let mut text = serde_json::to_vec(metadata).expect("a map of strings has a JSON form");
    text.push(b'\n');
    text
}

/// The metadata in a sidecar; `None` if there is none or it is not one.
fn read_sidecar(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice::<BTreeMap<String, String>>(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

// === Content ===

/// Whether the file has exactly these bytes; reads no more than it must.
fn same_bytes(path: &Path, body: &[Bytes]) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != body.iter().map(|part| part.len() as u64).sum::<u64>() {
        return Ok(false);
    }
    let mut there = Vec::new();
    for part in body {
        there.resize(part.len(), 0);
        file.read_exact(&mut there)?;
        if there != *part {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The digests that the content of the file may have: of its bytes, and of what they decompress to. Another version may have
/// compressed the same content to other bytes.
fn digests(path: &Path) -> io::Result<Vec<String>> {
    let stored = fs::read(path)?;
    let mut digests = vec![hex(&Sha256::digest(&stored))];
    let compression = sniff(&stored);
    if compression != Compression::None
        && let Ok(content) = decompress(compression, &stored)
    {
        digests.push(hex(&Sha256::digest(&content)));
    }
    Ok(digests)
}

/// The digest of the object's content: the one that its sidecar names, if that is true.
fn digest_at(place: &Place) -> io::Result<Option<[u8; 32]>> {
    if !exists(&place.file)? {
        return Ok(None);
    }
    let digests = digests(&place.file)?;
    let named = read_sidecar(&place.sidecar)?.and_then(|there| there.get(metadata::SHA256).cloned());
    let digest = named.filter(|named| digests.contains(named)).or_else(|| digests.last().cloned());
    Ok(digest.and_then(|digits| unhex(&digits)))
}

// === Probe, list, errors ===

fn probe(root: &Path, create: bool) -> Result<bool, SeamError> {
    let refused = |error| refused("probe", root, error);
    if !exists(root).map_err(refused)? {
        if !create {
            return Ok(false);
        }
        fs::create_dir_all(root).map_err(refused)?;
        tracing::info!(directory = %root.display(), "created the directory of the sink");
    }
    // All that a put does, so that a file system that cannot link is found out before the first intent.
    let name = "penstock-probe".to_owned();
    let linked = root.join(format!(".penstock-probe-{}", std::process::id()));
    let place =
        Place { key: name.clone(), directory: root.to_owned(), file: linked.clone(), sidecar: linked.clone(), name };
    link_new(&place, &linked, &[]).map_err(refused)?;
    fs::remove_file(&linked).map_err(refused)?;
    Ok(true)
}

/// Collects the files below `folder` (empty, or with a slash at its end) that are not hidden.
fn list(directory: &Path, folder: &str, objects: &mut Vec<FinishedObject>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.metadata()?;
        if kind.is_dir() {
            list(&entry.path(), &format!("{folder}{name}/"), objects)?;
        } else if !name.starts_with('.') {
            let place = Place {
                key: format!("{folder}{name}"),
                directory: directory.to_owned(),
                file: entry.path(),
                sidecar: directory.join(format!(".{name}.json")),
                name,
            };
            let metadata = read_sidecar(&place.sidecar)?.unwrap_or_default();
            objects.push(FinishedObject { key: place.key, stored_bytes: kind.len(), metadata });
        }
    }
    Ok(())
}

/// What an error of the file system means for the engine, and what to do about it.
fn refused(operation: &'static str, path: &Path, error: io::Error) -> SeamError {
    use io::ErrorKind as Kind;
    let (class, advice) = match error.kind() {
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            (ErrorClass::Denied, "; the user that penstock runs as must be able to write, link and rename there")
        }
        Kind::Unsupported => (ErrorClass::Denied, "; the file system must support hard links"),
        Kind::StorageFull | Kind::QuotaExceeded => (ErrorClass::Transient, "; free some space"),
        Kind::InvalidFilename => (ErrorClass::Rejected, "; shorten the prefix or the application's name"),
        Kind::NotADirectory | Kind::IsADirectory => {
            (ErrorClass::Denied, "; a file stands where a directory has to be, or the other way round")
        }
        Kind::NotFound if operation == "read" => (ErrorClass::NotFound, ""),
        _ => (ErrorClass::Transient, ""),
    };
    SeamError::new(operation, path.display().to_string(), class, format!("{error}{advice}")).with_source(error)
}
