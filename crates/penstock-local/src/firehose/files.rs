//! Writes an object as a file that appears complete or not at all: under a hidden name, synced, then renamed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes `content` to `directory/path`, with the directories on the way.
pub(crate) fn write(directory: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    let target = directory.join(path);
    let no_parent = || io::Error::new(io::ErrorKind::InvalidInput, "a path without a directory");
    let parent = target.parent().ok_or_else(no_parent)?;
    let name = target.file_name().ok_or_else(no_parent)?.to_string_lossy().into_owned();
    fs::create_dir_all(parent)?;
    let hidden = parent.join(format!(".{name}.part"));
    let mut file = File::create(&hidden)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&hidden, &target)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "lake/2026/11/21/object", b"content").unwrap();
        let folder = directory.path().join("lake/2026/11/21");
        assert_eq!(fs::read(folder.join("object")).unwrap(), b"content");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }
}
