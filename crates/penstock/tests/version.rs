//! `penstock --version`, and what the build script finds out for it.

#[path = "../build.rs"]
#[expect(dead_code, clippy::print_stdout, reason = "a build script speaks to Cargo on stdout")]
mod build_script;

use std::path::Path;
use std::process::Command;

use build_script::{commit, describe, watched};

const FULL: &str = "0123456789abcdef0123456789abcdef01234567";

fn git(root: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
    let status = Command::new("git").arg("-C").arg(root).args(identity).args(arguments).status().expect("git runs");
    assert!(status.success(), "git {arguments:?}");
}

#[test]
fn the_program_tells_version_and_commit() {
    let output = Command::new(env!("CARGO_BIN_EXE_penstock")).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let build =
        said.strip_prefix(concat!("penstock ", env!("CARGO_PKG_VERSION"), " (")).and_then(|it| it.strip_suffix(")\n"));
    assert!(build.is_some_and(|build| !build.is_empty()), "{said:?}");
}

#[test]
fn a_checkout_gives_its_commit_and_what_changes_with_it() {
    let root = tempfile::tempdir().unwrap();
    git(root.path(), &["init", "-q", "-b", "trunk"]);
    git(root.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
    let first = commit(root.path()).unwrap();
    assert!(first.len() == 12 && first.bytes().all(|it| it.is_ascii_hexdigit()), "{first}");
    assert_eq!(describe(None, root.path(), false), first);
    assert_eq!(describe(None, root.path(), true), format!("{first} or later, debug build"));
    // The branch's own file is the one that a commit writes.
    let watched = watched(root.path());
    assert!(watched.iter().any(|path| path.ends_with("refs/heads/trunk")), "{watched:?}");
    assert!(watched.iter().all(|path| path.exists()), "{watched:?}");
    git(root.path(), &["commit", "-q", "--allow-empty", "-m", "two"]);
    assert_ne!(commit(root.path()).unwrap(), first);
}

#[test]
fn an_archive_has_no_commit_but_the_one_that_is_given() {
    let outer = tempfile::tempdir().unwrap();
    assert_eq!(describe(None, outer.path(), false), "commit unknown");
    assert_eq!(describe(Some(""), outer.path(), false), "commit unknown");
    assert_eq!(describe(Some(FULL), outer.path(), false), "0123456789ab");
    assert_eq!(describe(Some("v0.1.0-3"), outer.path(), true), "v0.1.0-3");
    // Unpacked within somebody else's checkout, whose commit says nothing of it.
    git(outer.path(), &["init", "-q"]);
    git(outer.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
    let inner = outer.path().join("penstock-0.1.0");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(describe(None, &inner, false), "commit unknown");
}
