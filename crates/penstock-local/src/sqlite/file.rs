//! The file: opened, told apart from what is not ours, and noticed when it is moved away under a running worker.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use penstock_engine::ports::{ErrorClass, SeamError, TableProblem};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::Failure;
use super::{BUSY_TIMEOUT, schema};

/// A connection to a file that is known to hold our tables.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    identity: Option<Identity>,
}

/// Device and inode: they tell this file from another of the same name.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Opened {
    /// Opens the file and makes file and tables if they are missing.
    pub(super) fn or_created(path: &Path) -> Result<Self, TableProblem> {
        check_place(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = open(path, flags).map_err(|error| problem(path, error))?;
        match schema::prepare(&mut connection).map_err(|error| problem(path, error))? {
            Ok(()) => Ok(Self { connection, identity: identity(path) }),
            Err(what) => Err(foreign(path, &what)),
        }
    }

    /// Opens a file that was prepared before. A file that vanished is not made again: leases that were lost would begin anew
    /// without anybody noticing.
    pub(super) fn existing(path: &Path) -> Result<Self, Failure> {
        let Some(identity) = identity(path) else {
            if let Some(TableProblem::Unusable(error)) = check_place(path).err() {
                return Err(Failure::new(ErrorClass::Rejected, error.message));
            }
            let message = "the file is missing: put it back, or start again with a new one, which begins anew: what was delivered comes again";
            return Err(Failure::new(ErrorClass::NotFound, message));
        };
        let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(Failure::without_effect)?;
        match schema::open(&mut connection).map_err(Failure::without_effect)? {
            Ok(schema::Found::Ours | schema::Found::Older) => Ok(Self { connection, identity: Some(identity) }),
            Ok(schema::Found::Empty) => {
                let message = "the file was replaced by an empty one: put it back, or start again with this one, which begins anew: what was \
                               delivered comes again";
                Err(Failure::new(ErrorClass::NotFound, message))
            }
            Err(what) => Err(Failure::new(ErrorClass::Rejected, what)),
        }
    }

    /// Whether the path still leads to the file that is open.
    pub(super) fn is_still_at(&self, path: &Path) -> bool {
        self.identity.is_some() && self.identity == identity(path)
    }
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // One connection is used by one call at a time.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A commit that was acknowledged must survive a power cut: the objects behind it do.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Names what SQLite would only call "unable to open database file".
fn check_place(path: &Path) -> Result<(), TableProblem> {
    if path.is_dir() {
        return Err(foreign(path, "it is a directory; set leases.path to a file in it"));
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(unusable(path, ErrorClass::NotFound, format!("{} is not a directory", directory.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("the directory {} does not exist; make it, or set leases.path", directory.display());
            Err(unusable(path, ErrorClass::NotFound, message))
        }
        Err(error) => Err(unusable(path, ErrorClass::Denied, error.to_string())),
    }
}

fn problem(path: &Path, error: rusqlite::Error) -> TableProblem {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            foreign(path, "it is not an SQLite file; move it away, or set leases.path to another file")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            let message = format!("{error}; allow this user to write the file and its directory, or set leases.path");
            SeamError::new("open", path.display().to_string(), ErrorClass::Denied, message).with_source(error).into()
        }
        _ => Failure::without_effect(error).into_seam_error("open", path.display().to_string()).into(),
    }
}

fn foreign(path: &Path, problem: &str) -> TableProblem {
    TableProblem::Foreign { table: path.display().to_string(), problem: problem.to_owned() }
}

fn unusable(path: &Path, class: ErrorClass, message: String) -> TableProblem {
    SeamError::new("open", path.display().to_string(), class, message).into()
}
