//! The file operations that a directory of objects is made of: nothing is visible before it is durable, and a link never
//! replaces.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Place;

/// How old a hidden file is that no living attempt writes to. A wrong clock costs that attempt its file, which is repeated.
const ABANDONED_AFTER: Duration = Duration::from_secs(3_600);

/// A new hidden file beside the object, which nobody else writes to.
fn temporary(place: &Place) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = place.directory.join(format!(".{}.{}-{number}.tmp", place.name, std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            // Of another machine or a former process with our number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a hidden file, syncs it and hands it to `publish`; whatever happens, the hidden name is gone afterwards.
fn written<T>(place: &Place, body: &[Bytes], publish: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (path, mut file) = temporary(place)?;
    let result = body
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all())
        .and_then(|()| publish(&path));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "a hidden file could not be removed");
        }
        _ => {}
    }
    result
}

/// Gives `path` this content unless it exists; tells whether it was given.
pub(super) fn link_new(place: &Place, path: &Path, body: &[Bytes]) -> io::Result<bool> {
    written(place, body, |hidden| match fs::hard_link(hidden, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    })
}

/// Gives `path` this content, whatever it had.
pub(super) fn replace(place: &Place, path: &Path, text: &[u8]) -> io::Result<()> {
    written(place, &[Bytes::copy_from_slice(text)], |hidden| fs::rename(hidden, path))
}

/// Removes the hidden files that crashed attempts at this object left. Those of an attempt that may be alive stay.
pub(super) fn sweep(place: &Place) -> io::Result<()> {
    let begin = format!(".{}.", place.name);
    for entry in fs::read_dir(&place.directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| name.starts_with(&begin) && name.ends_with(".tmp")) {
            continue;
        }
        let abandoned = entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(is_abandoned);
        if !abandoned {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_abandoned(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| age > ABANDONED_AFTER)
}

pub(super) fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates the folders between the root, which must exist, and `directory`, and makes their names durable.
pub(super) fn create_folders(root: &Path, directory: &Path) -> io::Result<()> {
    if directory == root || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(root);
    create_folders(root, parent)?;
    match fs::create_dir(directory) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
