//! Gives the program its version, with the commit that it was built from: `PENSTOCK_COMMIT` where a build has no checkout (an
//! image), else what Git says, else "unknown" (a source archive). Fails no build.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PENSTOCK_COMMIT");
    let given = std::env::var("PENSTOCK_COMMIT").ok();
    // To build again after each commit is worth it for what is shipped alone.
    let debug = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    if given.is_none() && !debug {
        for path in watched(&root) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let build = describe(given.as_deref(), &root, debug);
    println!("cargo::rustc-env=PENSTOCK_VERSION={} ({build})", env!("CARGO_PKG_VERSION"));
}

/// The commit, and whether it is the last word: a debug build may hold later changes.
pub(crate) fn describe(given: Option<&str>, root: &Path, debug: bool) -> String {
    let given = given.map(str::trim).filter(|given| !given.is_empty()).map(short);
    match (given, commit(root)) {
        (Some(given), _) => given,
        (None, Some(commit)) if debug => format!("{commit} or later, debug build"),
        (None, Some(commit)) => commit,
        (None, None) => "commit unknown".to_owned(),
    }
}

/// As many digits as Git shows of a full hash; any other name as it is.
fn short(commit: &str) -> String {
    let is_hash = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { commit[..12].to_owned() } else { commit.to_owned() }
}

/// The commit of the checkout whose root this is. An archive that was unpacked within another checkout is none.
pub(crate) fn commit(root: &Path) -> Option<String> {
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    git(root, &["rev-parse", "--short=12", "HEAD"])
}

/// The files that change when another commit is checked out or made.
pub(crate) fn watched(root: &Path) -> Vec<PathBuf> {
    let mut names = vec!["HEAD".to_owned(), "packed-refs".to_owned()];
    names.extend(git(root, &["symbolic-ref", "HEAD"]));
    let path = |name: String| git(root, &["rev-parse", "--git-path", &name]).map(|path| root.join(path));
    // Cargo takes a file that is not there for one that has changed.
    names.into_iter().filter_map(path).filter(|path| path.exists()).collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
