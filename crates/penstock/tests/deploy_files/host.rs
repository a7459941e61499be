//! `deploy/systemd` and `make install`: what a Debian host gets, tried in a directory of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::tools::{judge, pass, path, penstock, read, seconds, toml};

const UNIT: &str = "deploy/systemd/penstock.service";

/// systemd's own measure of what a service could do to its host: 10 is everything.
const MOST_EXPOSURE: f64 = 2.0;

fn install(variables: &[String]) -> String {
    let mut make = Command::new("make");
    make.current_dir(path("")).arg("--no-print-directory").arg("install").args(variables);
    pass(make.arg(format!("BIN={}", env!("CARGO_BIN_EXE_penstock"))))
}

/// The value of a key of the unit, the last one.
fn of_unit(key: &str) -> String {
    let unit = read(UNIT);
    let found = unit.lines().rev().find_map(|line| line.strip_prefix(&format!("{key}=")));
    found.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
}

#[test]
fn a_host_gets_program_service_user_and_configuration() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    install(&[format!("DESTDIR={}", root.display())]);
    for (file, mode) in [
        ("usr/local/bin/penstock", 0o755),
        ("usr/local/lib/systemd/system/penstock.service", 0o644),
        ("usr/local/lib/sysusers.d/penstock.conf", 0o644),
        ("usr/local/share/doc/penstock/penstock.toml", 0o644),
        ("usr/local/share/man/man1/penstock.1", 0o644),
        ("usr/local/share/bash-completion/completions/penstock", 0o644),
        ("etc/penstock/penstock.toml", 0o644),
        ("etc/penstock/environment", 0o600),
    ] {
        let found = fs::metadata(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.permissions().mode() & 0o777, mode, "{file}");
        assert!(found.len() > 0, "{file}");
    }
    // The user, by systemd's own tool, into the accounts of that root.
    pass(Command::new("systemd-sysusers").arg(format!("--root={}", root.display())));
    let accounts = fs::read_to_string(root.join("etc/passwd")).expect("there are accounts");
    assert!(
        accounts.lines().any(|line| line.starts_with("penstock:") && line.contains(":/var/lib/penstock:")),
        "{accounts}"
    );
    assert_eq!((of_unit("User"), of_unit("StateDirectory")), ("penstock".to_owned(), "penstock".to_owned()));

    // A second installation leaves alone what was edited.
    fs::write(root.join("etc/penstock/penstock.toml"), "# mine\n").expect("it can be written");
    install(&[format!("DESTDIR={}", root.display())]);
    assert_eq!(fs::read_to_string(root.join("etc/penstock/penstock.toml")).expect("it is there"), "# mine\n");
}

#[test]
fn systemd_takes_the_installed_unit() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let prefix = dir.path().join("usr");
    // DESTDIR keeps `make install` from touching this host's accounts; with "/" the unit still names what was installed.
    install(&[
        "DESTDIR=/".to_owned(),
        format!("PREFIX={}", prefix.display()),
        format!("SYSCONFDIR={}", dir.path().join("etc").display()),
    ]);
    let unit = prefix.join("lib/systemd/system/penstock.service");
    let text = fs::read_to_string(&unit).expect("it is there");
    assert!(
        !text.contains("/usr/local") && text.contains(&format!("ExecStart={}/bin/penstock run -c", prefix.display())),
        "{text}"
    );
    assert_eq!(verify(&unit), "");

    // And the judge would notice.
    fs::write(
        &unit,
        text.replace("WatchdogSec=30", "WatchdogSec=soon").replace("/bin/penstock run", "/bin/no-penstock run"),
    )
    .expect("it can be written");
    let said = verify(&unit);
    assert!(said.contains("Failed to parse sec value, ignoring: soon") && said.contains("no-penstock"), "{said}");
}

/// What systemd has to say against a unit; what it says of others is this machine's.
fn verify(unit: &Path) -> String {
    let said = judge(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit)).said;
    said.lines().filter(|line| line.contains("penstock")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_unit_can_do_little_to_its_host() {
    let said = pass(Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(path(UNIT)));
    let level = said.lines().rev().find_map(|line| line.split("penstock.service: ").nth(1)).expect("an overall level");
    let exposure: f64 = level.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(exposure < MOST_EXPOSURE, "{said}");
}

#[test]
fn a_drain_ends_before_systemd_loses_patience() {
    let grace = toml("config/penstock.toml")["shutdown"]["grace_period"].as_str().map(seconds).expect("a default");
    let patience = seconds(&of_unit("TimeoutStopSec"));
    assert!(grace + 10 <= patience, "{grace} {patience}");
    // What the sample of the environment file offers fits too.
    let offered = read("deploy/systemd/environment");
    let offered =
        offered.lines().find_map(|line| line.strip_prefix("#PENSTOCK__SHUTDOWN__GRACE_PERIOD=")).expect("a sample");
    assert!(seconds(offered) + 10 <= patience, "{offered}");
    assert_eq!((of_unit("Type"), of_unit("KillSignal")), ("notify".to_owned(), "SIGTERM".to_owned()));
    // The same time as /livez.
    assert_eq!(seconds(&of_unit("WatchdogSec")), 30);
}

#[test]
fn penstock_takes_the_first_configuration_and_every_line_of_the_environment() {
    let file = path("deploy/systemd/penstock.toml");
    let mut check = penstock();
    let mut keys = Vec::new();
    for line in read("deploy/systemd/environment").lines() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once('=')) else { continue };
        if !name.contains(' ') {
            keys.push(name.to_owned());
            check.env(name, value);
        }
    }
    assert!(keys.iter().any(|key| key.starts_with("PENSTOCK__")), "{keys:?}");
    let said = pass(check.args(["config", "--json", "-c"]).arg(&file));
    for key in keys.iter().filter(|key| key.starts_with("PENSTOCK__")) {
        assert!(said.contains(key.as_str()), "{key} in\n{said}");
    }
    pass(penstock().args(["check", "-c"]).arg(&file));
}
