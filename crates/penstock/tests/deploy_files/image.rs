//! `deploy/docker`: Dockerfiles that the linter takes, with the versions that everything else has.

use super::tools::{Judgement, files, judge, pass, path, read, toml, tool};

const IMAGE: &str = "deploy/docker/Dockerfile";

#[test]
fn the_linter_takes_every_dockerfile() {
    let all: Vec<String> = files("deploy/docker").into_iter().filter(|name| name.ends_with("Dockerfile")).collect();
    assert_eq!(all, ["Dockerfile", "ministack.Dockerfile", "tools.Dockerfile"]);
    for name in all {
        pass(tool("hadolint").arg(path(&format!("deploy/docker/{name}"))));
    }
    // And the judge would notice.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wrong = dir.path().join("Dockerfile");
    std::fs::write(&wrong, "FROM debian\nRUN cd /tmp && apt-get install curl\n").expect("it can be written");
    let Judgement { content, said } = judge(tool("hadolint").arg(&wrong));
    assert!(!content && said.contains("DL3006") && said.contains("DL3008"), "{said}");
}

#[test]
fn the_layer_of_the_dependencies_has_every_manifest() {
    let image = read(IMAGE);
    let crates = files("crates");
    for name in &crates {
        assert!(image.contains(&format!("\nCOPY crates/{name}/Cargo.toml ")), "{name}: its Cargo.toml is not copied");
    }
    assert_eq!(image.matches("/Cargo.toml ").count(), crates.len(), "a crate is gone");
    let manifest = toml("Cargo.toml");
    let rust = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    assert!(image.contains(&format!("FROM rust:{rust}-")), "the compiler is not {rust}");
}

#[test]
fn what_the_build_copies_is_not_ignored() {
    let ignored = read(".dockerignore");
    let ignored: Vec<&str> = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for needed in ["crates", "Cargo.toml", "Cargo.lock", "deploy"] {
        assert!(ignored.iter().all(|line| line.trim_matches('/') != needed), "{needed}");
    }
    for large in ["target", ".git", ".emu"] {
        assert!(ignored.iter().any(|line| line.trim_matches('/') == large), "{large} would go to the builder");
    }
}

#[test]
fn the_stand_ins_are_those_that_the_tests_measured() {
    let versions = read("scripts/install-standins");
    let version = |name: &str| {
        let line = versions.lines().find_map(|line| line.strip_prefix(&format!("readonly {name}=")));
        line.unwrap_or_else(|| panic!("{name} is gone")).to_owned()
    };
    let (ministack, tools) = (read("deploy/docker/ministack.Dockerfile"), read("deploy/docker/tools.Dockerfile"));
    for (text, package, name) in [
        (&ministack, "ministack", "MINISTACK_VERSION"),
        (&ministack, "cbor2", "CBOR2_VERSION"),
        (&tools, "boto3", "BOTO3_VERSION"),
    ] {
        assert!(text.contains(&format!("{package}=={}", version(name))), "{package} is not {}", version(name));
    }
}
