//! The tools that the files are held to, and small ways to look into them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use penstock_standins::workspace_dir;
use serde_json::Value;

/// CloudFormation's short forms become its long ones.
const TO_JSON: &str = r#"
import json, sys, yaml
class Loader(yaml.SafeLoader): pass
def short(loader, name, node):
    if isinstance(node, yaml.ScalarNode): value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode): value = loader.construct_sequence(node, deep=True)
    else: value = loader.construct_mapping(node, deep=True)
    return {name if name in ("Ref", "Condition") else "Fn::" + name: value}
Loader.add_multi_constructor("!", short)
json.dump(yaml.load(open(sys.argv[1]), Loader), sys.stdout)
"#;

/// What a command said and whether it was content.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) content: bool,
    pub(crate) said: String,
}

/// A program of `scripts/install-tools`, which is installed first if need be.
pub(crate) fn tool(name: &str) -> Command {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    let bin = INSTALLED.get_or_init(|| {
        let script = workspace_dir().join("scripts/install-tools");
        let output = Command::new(&script).output().expect("a shell runs the script");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let root = std::env::var_os("PENSTOCK_STANDINS_DIR").filter(|dir| !dir.is_empty());
        root.map_or_else(|| workspace_dir().join(".emu"), PathBuf::from).join("deploy-tools/bin")
    });
    let mut command = Command::new(bin.join(name));
    command.current_dir(workspace_dir()).stdin(Stdio::null());
    command
}

/// The program, with nothing of this machine's settings.
pub(crate) fn penstock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").current_dir(workspace_dir()).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn judge(command: &mut Command) -> Judgement {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Judgement { content: status.success(), said }
}

/// Runs a command that has to be content, and gives what it printed.
#[track_caller]
pub(crate) fn pass(command: &mut Command) -> String {
    let Judgement { content, said } = judge(command);
    assert!(content, "{command:?} says:\n{said}");
    said
}

pub(crate) fn path(of: &str) -> PathBuf {
    workspace_dir().join(of)
}

#[track_caller]
pub(crate) fn read(of: &str) -> String {
    fs::read_to_string(path(of)).unwrap_or_else(|error| panic!("{of}: {error}"))
}

#[track_caller]
pub(crate) fn json(of: &str) -> Value {
    serde_json::from_str(&read(of)).unwrap_or_else(|error| panic!("{of}: {error}"))
}

#[track_caller]
pub(crate) fn yaml(of: &str) -> Value {
    let said = pass(tool("python").arg("-c").arg(TO_JSON).arg(path(of)));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{of}: {error}"))
}

#[track_caller]
pub(crate) fn toml(of: &str) -> toml::Table {
    read(of).parse().unwrap_or_else(|error| panic!("{of}: {error}"))
}

/// The files of a folder, by name.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(path(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> = entries.map(|entry| name_of(&entry.expect("an entry").path())).collect();
    names.sort();
    names
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned()
}

/// Seconds of `25s`, `2min`, `1m40s`, `120`.
#[track_caller]
pub(crate) fn seconds(duration: &str) -> u64 {
    let mut total = 0;
    let mut rest = duration.trim();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().unwrap_or_else(|_| panic!("{duration:?} is no duration"));
        let unit_end = rest[digits..].find(|letter: char| letter.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total += number
            * match rest[digits..unit_end].trim() {
                "" | "s" => 1,
                "m" | "min" => 60,
                unit => panic!("{duration:?} has the unit {unit:?}"),
            };
        rest = rest[unit_end..].trim();
    }
    total
}

#[test]
fn durations_are_read_as_their_programs_read_them() {
    assert_eq!(["25s", "120", "2min", "1m40s", "0s"].map(seconds), [25, 120, 120, 100, 0]);
}
