//! The load as a running worker sees it: its counters twice, some seconds apart, and what it knows of the fleet.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// The counters that are looked at.
const RECORDS_FETCHED: &str = "penstock_records_fetched_total";
const FETCHED_BYTES: &str = "penstock_fetched_bytes_total";
/// The longest wait for a page.
const TIME_OUT: Duration = Duration::from_secs(5);
/// A page of 5,000 shards has some MiB.
const LONGEST_PAGE: u64 = 64 << 20;

/// What flows, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observed {
    pub(super) records_per_second: f64,
    pub(super) record_bytes: f64,
    /// Open shards.
    pub(super) shards: Option<f64>,
    pub(super) workers: Option<f64>,
}

/// Looks for `seconds`, and says in a line what was looked at.
///
/// # Errors
/// If the worker does not answer, has read nothing meanwhile, or its answer is none of ours.
pub(super) fn ask(url: &str, seconds: u32) -> anyhow::Result<(Observed, String)> {
    let before = counters(url)?;
    let started = Instant::now();
    thread::sleep(Duration::from_secs(u64::from(seconds)));
    let after = counters(url)?;
    let elapsed = started.elapsed().as_secs_f64();
    // Afterwards: a worker that has just started looks at the table meanwhile.
    let status = get(url, "/api/status")?;
    let status: Value = serde_json::from_str(&status).with_context(|| format!("{url}/api/status is not JSON"))?;
    let fleet = Fleet::of(&status);
    let observed =
        judge(before, after, elapsed, &fleet).with_context(|| format!("{url}, looked for {elapsed:.0} s"))?;
    let how = format!(
        "as {url} saw it for {elapsed:.0} s; it holds {} of {} open shards, and the load is taken to be the same on the others. \
         Records are user records: a producer that aggregates pays for fewer PUT payload units",
        fleet.held, fleet.open
    );
    Ok((observed, how))
}

/// Records and bytes that were fetched since the start.
type Counters = (f64, f64);

fn counters(url: &str) -> anyhow::Result<Counters> {
    let page = get(url, "/metrics")?;
    let find = |metric: &str| sum(&page, metric).with_context(|| format!("{url}/metrics has no {metric}"));
    Ok((find(RECORDS_FETCHED)?, find(FETCHED_BYTES)?))
}

/// The sum over the series of a metric; `None` if it has none.
fn sum(page: &str, metric: &str) -> Option<f64> {
    let of_metric = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let labels_end = if rest.starts_with('{') { rest.rfind('}')? + 1 } else { 0 };
        rest.get(labels_end..)?.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    let values: Vec<f64> = of_metric.collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// What the worker knows of all.
#[derive(Debug, Default, PartialEq)]
struct Fleet {
    open: usize,
    held: usize,
    workers: usize,
}

impl Fleet {
    fn of(status: &Value) -> Self {
        let empty = Vec::new();
        let leases = status["leases"].as_array().unwrap_or(&empty);
        let open: Vec<&Value> = leases.iter().filter(|lease| lease["checkpoint"] != "SHARD_END").collect();
        let owners: BTreeSet<&str> = open.iter().filter_map(|lease| lease["owner"].as_str()).collect();
        let held = open.iter().filter(|lease| lease["held"] == true).count();
        Self { open: open.len(), held, workers: owners.len() }
    }
}

fn judge(before: Counters, after: Counters, elapsed: f64, fleet: &Fleet) -> anyhow::Result<Observed> {
    let (records, bytes) = (after.0 - before.0, after.1 - before.1);
    if records < 0.0 || bytes < 0.0 {
        bail!("the worker was started again meanwhile; ask once more");
    }
    if records < 1.0 {
        bail!(
            "no record was read meanwhile; look longer with --look-seconds, or give --records-per-day and --record-bytes"
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "there are no more than some thousand shards")]
    let (open, held, workers) = (fleet.open as f64, fleet.held as f64, fleet.workers as f64);
    // What it read while it held no shard says nothing of the others.
    let share = if held > 0.0 { open / held } else { 1.0 };
    Ok(Observed {
        records_per_second: records / elapsed * share,
        record_bytes: bytes / records,
        shards: (open > 0.0).then_some(open),
        workers: (workers > 0.0).then_some(workers),
    })
}

/// One GET, by the URL of the admin server.
fn get(url: &str, path: &str) -> anyhow::Result<String> {
    let what = || format!("asking {}{path}", url.trim_end_matches('/'));
    let authority = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| rest.contains(':') && !rest.contains('/'))
        .with_context(|| format!("--url {url}: it has to be the admin server's, as in http://127.0.0.1:9464"))?;
    let ask = || -> anyhow::Result<String> {
        let address = authority.to_socket_addrs()?.next().with_context(|| format!("{authority} has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, TIME_OUT)?;
        stream.set_read_timeout(Some(TIME_OUT))?;
        stream.set_write_timeout(Some(TIME_OUT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(LONGEST_PAGE).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().with_context(what)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(what).context("no HTTP answer")?;
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => bail!("{} answered {:?}", what(), head.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_series_of_a_metric_are_added_and_those_of_longer_names_left_out() {
        let page = "# TYPE a_total counter\na_total 3\na_total_more 100\na_total{x=\"} 7\"} 4\n";
        assert_eq!(sum(page, "a_total"), Some(7.0));
        assert_eq!(sum(page, "b_total"), None);
    }

    #[test]
    fn what_one_worker_reads_stands_for_the_shards_of_the_others() {
        let lease =
            |owner: &str, held: bool, checkpoint: &str| json!({"owner": owner, "held": held, "checkpoint": checkpoint});
        let status = json!({"leases": [
            lease("a", true, "TRIM_HORIZON"), lease("b", false, "7"), lease("b", false, "8"), lease("c", false, "SHARD_END"),
        ]});
        let fleet = Fleet::of(&status);
        assert_eq!(fleet, Fleet { open: 3, held: 1, workers: 2 });
        let observed = judge((100.0, 1_000.0), (200.0, 21_000.0), 10.0, &fleet).unwrap();
        assert_eq!(
            observed,
            Observed { records_per_second: 30.0, record_bytes: 200.0, shards: Some(3.0), workers: Some(2.0) }
        );
    }

    #[test]
    fn a_worker_that_read_nothing_or_was_restarted_gives_no_load() {
        let fleet = Fleet::default();
        assert!(judge((1.0, 1.0), (1.0, 1.0), 10.0, &fleet).unwrap_err().to_string().contains("no record"));
        assert!(judge((9.0, 9.0), (1.0, 1.0), 10.0, &fleet).unwrap_err().to_string().contains("again"));
    }

    #[test]
    fn a_url_that_is_none_and_a_worker_that_is_not_there_are_told() {
        for url in ["127.0.0.1:9464", "https://127.0.0.1:9464", "http://127.0.0.1:9464/livez", "http://127.0.0.1:9"] {
            let problem = format!("{:#}", get(url, "/metrics").unwrap_err());
            assert!(problem.contains(url), "{problem}");
        }
    }
}
