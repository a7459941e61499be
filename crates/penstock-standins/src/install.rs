//! Finds the stand-ins' programs, and has `scripts/install-standins` install what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn workspace_dir() -> &'static Path {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).expect("the crate lies two folders below the root of the checkout")
}

/// The folder of one installed stand-in (`ministack`, `kinesis-local`, `dynamodb-local`, `microburst`, `aws`), which is
/// installed first if need be.
///
/// # Panics
///
/// If it cannot be installed.
pub fn standin_dir(name: &str) -> PathBuf {
    let script = workspace_dir().join("scripts/install-standins");
    let output = Command::new(&script)
        .arg(name)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(
        output.status.success(),
        "the stand-in {name} could not be installed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    root_dir().join(name)
}

/// The folder that holds all stand-ins; the same that the script uses.
pub(crate) fn root_dir() -> PathBuf {
    match env::var_os("PENSTOCK_STANDINS_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => workspace_dir().join(".emu"),
    }
}

/// A folder beside the stand-ins for what they leave at run time (`logs`, `ports`), created if absent.
pub(crate) fn run_dir(name: &str) -> PathBuf {
    let dir = root_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot create {}: {error}", dir.display()));
    dir
}
