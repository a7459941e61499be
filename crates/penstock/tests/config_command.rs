//! `penstock config`, and what other commands refuse at their start, as a user meets it: what stands on stdout and stderr, and the
//! exit code.

use std::path::PathBuf;
use std::process::{Command, Output};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn penstock(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PENSTOCK")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).output().expect("the binary of this crate runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("penstock writes UTF-8")
}

#[test]
fn the_shipped_file_is_shown_with_origins() {
    let file = repository("config/penstock.toml");
    let source = std::fs::read_to_string(&file).unwrap();
    let line = 1 + source.lines().position(|line| line.starts_with("streams = ")).unwrap();
    let file = file.to_str().unwrap();
    let output = penstock(
        &["config", "-c", file, "--set", "log.level=debug"],
        &[("PENSTOCK__SINK__BUCKET", "lake-of-the-environment")],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let shown: Vec<String> =
        text(&output.stdout).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "[sink]".to_owned(),
        "bucket = \"lake-of-the-environment\" # PENSTOCK__SINK__BUCKET".to_owned(),
        "level = \"debug\" # --set".to_owned(),
        format!("streams = [\"clicks\"] # {file}:{line}"),
    ] {
        assert!(shown.contains(&line), "{line} is not in {shown:#?}");
    }
}

#[test]
fn a_program_can_read_it() {
    let file = repository("config/examples/lambda-to-firehose.toml");
    let output = penstock(&["config", "--json", "-c", file.to_str().unwrap()], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let values = shown["values"].as_array().unwrap();
    let find = |key: &str| values.iter().find(|value| value["key"] == key).unwrap();
    assert_eq!(find("sink.region")["value"], "us-east-1");
    assert_eq!(find("source.region")["value"], "ap-northeast-1");
    assert_eq!(find("source.region")["origin"], "default: aws.region");
    assert_eq!(find("source.max_records_per_fetch")["value"], 10_000);
    assert_eq!(find("source.deaggregate")["value"], true);
    assert_eq!(find("sink.linger")["allowed"], "0s to 1m");
    assert!(values.iter().all(|value| value["key"] != "sink.bucket"));
}

#[test]
fn a_wrong_configuration_exits_3_with_all_problems_and_nothing_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    std::fs::write(&file, "[sink]\ntype = \"s3\"\nbuffer_size = \"64\"\n").unwrap();
    let output = penstock(&["config", "-c", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.starts_with("penstock: the configuration has 4 problems:\n  application.name: is required"), "{said}");
    assert!(said.contains("p.toml:3): has no unit"), "{said}");
    assert_eq!(said.lines().count(), 5, "{said}");
}

#[test]
fn a_file_that_cannot_be_read_exits_3_with_one_line_more() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("absent.toml");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    for (file, said) in [
        (&missing, "absent.toml: cannot be read: No such file or directory"),
        (&binary, "binary.toml: is not a text file in UTF-8"),
        (&folder.path().to_path_buf(), "cannot be read: Is a directory"),
    ] {
        let output = penstock(&["config", "-c", file.to_str().unwrap()], &[]);
        assert_eq!(output.status.code(), Some(3));
        let stderr = text(&output.stderr);
        assert!(stderr.contains(said) && stderr.lines().count() == 2, "{stderr}");
    }
}

#[test]
fn wrong_usage_exits_2() {
    for arguments in [&["config"][..], &["config", "-c"], &["confg"], &[]] {
        assert_eq!(penstock(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_warning_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    let sound = "[application]\nname = \"app\"\n[source]\nstreams = [\"x\"]\n[sink]\ntype = \"firehose\"\ndelivery_stream = \"y\"\n";
    std::fs::write(&file, sound).unwrap();
    let output = penstock(&["config", "-c", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("warning: sink.set_aside_bucket: "), "{}", text(&output.stderr));
}

#[test]
fn a_key_of_another_sink_may_be_emptied_but_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    let sound =
        "[application]\nname = \"app\"\n[source]\nstreams = [\"x\"]\n[sink]\ntype = \"directory\"\npath = \"out\"\n";
    std::fs::write(&file, sound).unwrap();
    let config = |settings: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        penstock(&["config", "-c", file.to_str().unwrap()].into_iter().chain(settings).collect::<Vec<_>>(), &[])
    };
    let output = config(&["sink.type=stdout", "sink.path=", "sink.bucket=", "sink.compression="]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("path = \"out\""), "{}", text(&output.stdout));
    let output = config(&["sink.type=stdout", "sink.path=", "sink.bucket=lake"]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("sink.bucket = \"lake\" (--set): belongs to sink.type = \"s3\""), "{said}");
    assert!(!said.contains("sink.path"), "{said}");
}

#[test]
fn a_setting_without_a_key_says_that_the_key_is_missing() {
    let file = repository("config/penstock.toml");
    for setting in ["=x", " =x", "="] {
        let output = penstock(&["config", "-c", file.to_str().unwrap(), "--set", setting], &[]);
        assert_eq!(output.status.code(), Some(3), "{setting}");
        let said = text(&output.stderr);
        assert!(said.contains(&format!("--set {setting}: the key is missing")), "{said}");
    }
}

#[test]
fn a_fault_rule_that_is_none_is_wrong_usage_and_the_help_shows_one() {
    let output = penstock(&["local", "--listen", "127.0.0.1:0", "--fault", "garbage"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("invalid value 'garbage' for '--fault <RULE>'"), "{}", text(&output.stderr));
    let help = penstock(&["local", "--help"], &[]);
    assert!(text(&help.stdout).contains("kinesis.GetRecords:throttle:p=0.1"), "{}", text(&help.stdout));
}

#[test]
fn a_local_directory_that_is_a_file_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    std::fs::write(&file, "").unwrap();
    let output = penstock(&["local", "--listen", "127.0.0.1:0", "--dir", file.to_str().unwrap()], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("taken: it is not a directory"), "{}", text(&output.stderr));
}

#[test]
fn leases_that_nobody_made_yet_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (file, leases) = (folder.path().join("p.toml"), folder.path().join("leases.db"));
    let sound = format!(
        "[application]\nname = \"app\"\n[source]\nstreams = [\"x\"]\n[leases]\nstore = \"sqlite\"\npath = {leases:?}\n[sink]\ntype = \"stdout\"\n"
    );
    std::fs::write(&file, sound).unwrap();
    let output = penstock(&["leases", "list", "-c", file.to_str().unwrap()], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let said =
        format!("penstock: there are no leases yet: {} does not exist; `penstock run` makes it\n", leases.display());
    assert_eq!(text(&output.stderr), said);
    assert!(!leases.exists());
}
