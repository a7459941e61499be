//! What the process costs, under the names that Prometheus's own clients use, read from /proc when somebody asks.
//!
//! Where there is no /proc these series are left out.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use penstock_engine::metrics::{Sample, process};

/// Ticks of a second in what the kernel tells programs: 100 on every architecture that Rust's standard library knows.
const TICKS: f64 = 100.0;

/// The build, and what the process costs.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = vec![build()];
    if let Some(stat) = read("stat").as_deref().and_then(Stat::parse) {
        samples.push(process::cpu(as_f64(stat.cpu_ticks) / TICKS));
        samples.extend(started(stat.start_ticks).map(process::start));
    }
    let resident = read("status").as_deref().and_then(|status| number(status, "VmRSS:"));
    samples.extend(resident.map(|kib| process::memory(as_f64(kib) * 1024.0)));
    // The directory that is read here is one of them.
    samples.extend(fs::read_dir("/proc/self/fd").ok().map(|open| process::open_fds(as_f64(open.count() as u64) - 1.0)));
    let limit = read("limits").as_deref().and_then(|limits| number(limits, "Max open files"));
    samples.extend(limit.map(|limit| process::max_fds(as_f64(limit))));
    samples
}

/// From the line that `--version` prints: the version, and the commit in brackets.
fn build() -> Sample {
    let (version, commit) = of_version(option_env!("PENSTOCK_VERSION").unwrap_or(env!("CARGO_PKG_VERSION")));
    process::build(version, commit)
}

fn of_version(line: &str) -> (&str, &str) {
    let (version, rest) = line.split_once(' ').unwrap_or((line, ""));
    let commit = rest.trim_matches(['(', ')']);
    let commit = commit.strip_prefix("commit ").unwrap_or(commit);
    (version, commit.split(' ').next().filter(|commit| !commit.is_empty()).unwrap_or("unknown"))
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{file}")).ok()
}

/// The first number of the line that begins so.
fn number(lines: &str, begin: &str) -> Option<u64> {
    let line = lines.lines().find_map(|line| line.strip_prefix(begin))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Of `/proc/self/stat`, in its units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    /// `proc(5)`: the name, in brackets, may hold anything; `utime`, `stime` and `starttime` are fields 14, 15 and 22.
    fn parse(line: &str) -> Option<Self> {
        let after_name = &line[line.rfind(')')? + 1..];
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // The first behind the name is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)? })
    }
}

/// Unix seconds, in whole ones: it is the same at each look. The ticks count from the boot.
fn started(ticks: u64) -> Option<f64> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some((now - uptime + as_f64(ticks) / TICKS).round())
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
const fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(samples: &[Sample], name: &str) -> f64 {
        samples.iter().find(|sample| sample.metric.name == name).unwrap_or_else(|| panic!("no {name}")).value
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_move_the_fields() {
        let line =
            "12 (a) b (c) S 1 1 1 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 5 0 4711 1000000 256 18446744073709551615";
        assert_eq!(Stat::parse(line), Some(Stat { cpu_ticks: 100, start_ticks: 4711 }));
        assert_eq!(Stat::parse("12 (a"), None);
    }

    #[test]
    fn the_commit_is_found_in_whatever_the_version_says() {
        assert_eq!(of_version("1.2.0 (8237c8aa0001)"), ("1.2.0", "8237c8aa0001"));
        assert_eq!(of_version("1.2.0 (8237c8aa0001 or later, debug build)"), ("1.2.0", "8237c8aa0001"));
        assert_eq!(of_version("1.2.0 (commit unknown)"), ("1.2.0", "unknown"));
        assert_eq!(of_version("1.2.0"), ("1.2.0", "unknown"));
    }

    #[test]
    fn the_figures_of_this_process_are_plausible() {
        let samples = samples();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(&samples, "process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
        assert!(value(&samples, "process_resident_memory_bytes") > 1_000_000.0);
        let (open, most) = (value(&samples, "process_open_fds"), value(&samples, "process_max_fds"));
        assert!((3.0..=most).contains(&open), "{open} of {most}");
        assert!(value(&samples, "process_cpu_seconds_total") >= 0.0);
        let build = samples.iter().find(|sample| sample.metric.name == "penstock_build_info").unwrap();
        assert!(build.labels[0] == env!("CARGO_PKG_VERSION") && !build.labels[1].is_empty(), "{:?}", build.labels);
    }
}
