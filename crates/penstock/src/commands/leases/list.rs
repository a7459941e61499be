//! `penstock leases list`: a line for each lease, and one for each open gap.

use std::collections::BTreeMap;

use penstock_core::gap::GapEntry;
use penstock_core::ids::{LeaseKey, ShardId, StreamName};
use penstock_core::intent::Intent;
use penstock_core::intent::codec;
use penstock_core::lease::{LeaseRow, Scan};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{ErrorClass, SeamError};
use serde_json::{Value, json};

use super::{Open, patience};

/// What the ledger holds.
#[derive(Debug, Default)]
struct Gaps {
    entries: Vec<GapEntry>,
    unreadable: Vec<String>,
    /// Why it could not be read.
    problem: Option<String>,
}

impl Gaps {
    fn of(read: Result<(Vec<GapEntry>, Vec<String>), SeamError>) -> Self {
        match read {
            Ok((entries, unreadable)) => Self { entries, unreadable, problem: None },
            // Made by the first worker that starts: before that there is none, and no gap either.
            Err(error) if error.class == ErrorClass::NotFound => Self::default(),
            Err(error) => Self { problem: Some(error.to_string()), ..Self::default() },
        }
    }

    fn open(&self) -> impl Iterator<Item = &GapEntry> {
        self.entries.iter().filter(|entry| entry.is_open())
    }

    fn open_by_shard(&self) -> OpenByShard<'_> {
        let mut open = OpenByShard::default();
        for entry in self.open() {
            open.0.entry(entry.lease.shard_id()).or_default().push(entry);
        }
        open
    }
}

/// The open entries of each shard id. An entry keeps the lease's key of its time, which `convert` may have changed since.
#[derive(Debug, Default)]
struct OpenByShard<'a>(BTreeMap<ShardId, Vec<&'a GapEntry>>);

impl OpenByShard<'_> {
    fn count(&self, lease: &LeaseKey, stream: &StreamName) -> usize {
        let of_id = self.0.get(&lease.shard_id()).map_or(&[][..], Vec::as_slice);
        of_id.iter().filter(|entry| entry.lease == *lease || entry.stream == *stream).count()
    }
}

/// The list, as text or as JSON.
pub(super) async fn run(open: &Open, as_json: bool) -> anyhow::Result<String> {
    let gaps = Gaps::of(patience::answered("read", "the gap ledger", open.gaps.entries()).await);
    let now = Clock::Boot.now().wall;
    Ok(if as_json {
        format!("{:#}\n", to_json(open, &gaps))
    } else {
        to_table(&open.scan, |row| open.stream_of(row), &gaps, now)
    })
}

/// What a row is about, in a word.
fn state(row: &LeaseRow) -> &'static str {
    match (&row.checkpoint, &row.owner) {
        (Position::ShardEnd, _) => "ended",
        (_, Some(_)) if row.granted.is_some() || row.checkpoint_owner.is_some() => "moving",
        (_, Some(_)) => "owned",
        (_, None) => "unowned",
    }
}

/// The range of an open intent, or what is wrong with it.
fn intent_text(row: &LeaseRow) -> String {
    match row.intent.as_ref().map(|bytes| codec::decode(bytes)) {
        None => "-".to_owned(),
        Some(Ok(intent)) => format!("{} to {}", intent.first, intent.last),
        Some(Err(problem)) => format!("unreadable: {problem}"),
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

const HEAD: [&str; 10] =
    ["STREAM", "SHARD", "STATE", "OWNER", "CHECKPOINT", "SETTLED", "LAG", "KIB/S", "INTENT", "GAPS"];

fn to_table(scan: &Scan, stream_of: impl Fn(&LeaseRow) -> StreamName, gaps: &Gaps, now: UnixMillis) -> String {
    let count = gaps.open_by_shard();
    let rows = scan.rows.iter().map(|row| {
        [
            stream_of(row).to_string(),
            row.key.shard_id().to_string(),
            state(row).to_owned(),
            or_dash(row.owner.as_ref().map(ToString::to_string)),
            row.checkpoint.to_string(),
            or_dash(row.arrival.map(|arrival| format!("{} s ago", now.since(arrival).as_secs()))),
            or_dash(row.lag.map(|lag| format!("{lag} ms"))),
            or_dash(row.throughput.map(|throughput| format!("{:.1}", throughput.kib_per_second()))),
            intent_text(row),
            count.count(&row.key, &stream_of(row)).to_string(),
        ]
    });
    let mut text = aligned(&std::iter::once(HEAD.map(str::to_owned)).chain(rows).collect::<Vec<_>>());
    for row in &scan.unreadable {
        text.push_str(&format!("{}  unreadable: {}\n", row.key, row.problem));
    }
    for entry in gaps.open() {
        text.push_str(&format!(
            "gap {}  {}  {}: {}; noticed at {} by {}\n",
            entry.id(),
            entry.lease,
            entry.reason.as_str(),
            entry.range,
            entry.noticed,
            entry.by
        ));
    }
    for problem in &gaps.unreadable {
        text.push_str(&format!("gap unreadable: {problem}\n"));
    }
    if let Some(problem) = &gaps.problem {
        text.push_str(&format!("the gap ledger cannot be read: {problem}\n"));
    }
    text
}

/// Columns as wide as their widest cell, two blanks apart.
pub(crate) fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn to_json(open: &Open, gaps: &Gaps) -> Value {
    let count = gaps.open_by_shard();
    json!({
        "leases": open
            .scan
            .rows
            .iter()
            .map(|row| row_to_json(open, row, count.count(&row.key, &open.stream_of(row))))
            .collect::<Vec<_>>(),
        "unreadable": open
            .scan
            .unreadable
            .iter()
            .map(|row| json!({ "lease": row.key.as_str(), "problem": row.problem }))
            .collect::<Vec<_>>(),
        "gaps": gaps.entries.iter().map(gap_to_json).collect::<Vec<_>>(),
        "unreadable_gaps": gaps.unreadable,
        "gap_ledger_problem": gaps.problem,
    })
}

fn row_to_json(open: &Open, row: &LeaseRow, open_gaps: usize) -> Value {
    let intent = row.intent.as_ref().map(|bytes| match codec::decode(bytes) {
        Ok(intent) => intent_to_json(&intent),
        Err(problem) => json!({ "problem": problem.to_string() }),
    });
    json!({
        "lease": row.key.as_str(),
        "stream": open.stream_of(row).as_str(),
        "shard": row.key.shard_id().as_str(),
        "state": state(row),
        "owner": row.owner.as_ref().map(|owner| owner.as_str()),
        "wanted_by": row.wanted.as_ref().map(|worker| worker.as_str()),
        "granted_to": row.granted.as_ref().map(|worker| worker.as_str()),
        "counter": row.counter.0,
        "checkpoint": row.checkpoint.to_string(),
        "start_milliseconds": row.start.map(|start| start.0),
        "arrival_milliseconds": row.arrival.map(|arrival| arrival.0),
        "lag_milliseconds": row.lag,
        "throughput_kib_per_second": row.throughput.map(penstock_core::throughput::Throughput::kib_per_second),
        "parents": row.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "children": row.children.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "chain": row.chain.as_ref().map(ToString::to_string),
        "intent": intent,
        "open_gaps": open_gaps,
    })
}

/// An intent, for programs.
pub(super) fn intent_to_json(intent: &Intent) -> Value {
    json!({
        "from": intent.from.to_string(),
        "first": intent.first.to_string(),
        "last": intent.last.to_string(),
        "records": intent.records(),
        "destination": intent.destination.to_string(),
        "keys": intent.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(),
    })
}

/// An entry of the ledger, for programs.
pub(crate) fn gap_to_json(entry: &GapEntry) -> Value {
    json!({
        "id": entry.id().to_string(),
        "lease": entry.lease.as_str(),
        "stream": entry.stream.as_str(),
        "reason": entry.reason.as_str(),
        "after": entry.range.after.to_string(),
        "range": entry.range.to_string(),
        "noticed_milliseconds": entry.noticed.0,
        "noticed_by": entry.by.as_str(),
        "acknowledged_milliseconds": entry.acknowledged.map(|at| at.0),
        "open": entry.is_open(),
    })
}

#[cfg(test)]
mod tests {
    use penstock_core::gap::{GapEnd, GapRange, GapReason};
    use penstock_core::ids::{LeaseCounter, WorkerId};
    use penstock_core::lease::UnreadableRow;
    use penstock_core::position::RecordPosition;
    use penstock_core::throughput::Throughput;

    use super::super::abandon::tests::readable;
    use super::*;

    fn entry(lease: &str, stream: &str) -> GapEntry {
        GapEntry {
            stream: StreamName::new(stream),
            stream_created: UnixMillis(1),
            lease: LeaseKey::new(lease),
            range: GapRange { after: Position::TrimHorizon, end: GapEnd::Unknown },
            reason: GapReason::Trimmed,
            noticed: UnixMillis(1),
            by: WorkerId::new("a"),
            acknowledged: None,
        }
    }

    #[test]
    fn a_gap_is_counted_at_its_shard_also_after_a_conversion() {
        const MULTI: &str = "123456789012:clicks:1700000000:shardId-000000000001";
        let other = "123456789012:views:1700000000:shardId-000000000001";
        let gaps =
            Gaps { entries: vec![entry("shardId-000000000001", "clicks"), entry(other, "views")], ..Gaps::default() };
        let open = gaps.open_by_shard();
        let count = |lease: &str, stream: &str| open.count(&LeaseKey::new(lease), &StreamName::new(stream));
        assert_eq!(count(MULTI, "clicks"), 1);
        assert_eq!(count("shardId-000000000001", "clicks"), 1);
        assert_eq!(count(other, "views"), 1);
        assert_eq!(count("shardId-000000000002", "clicks"), 0);
    }

    /// A row that has something for every column.
    fn full(now: UnixMillis) -> LeaseRow {
        let checkpoint = Position::After(RecordPosition::parse("99/2").unwrap());
        LeaseRow {
            owner: Some(WorkerId::new("a-1")),
            arrival: Some(UnixMillis(now.0 - 7_999)),
            lag: Some(1_250),
            throughput: Some(Throughput::from_micros(3_449_000)),
            intent: Some(codec::encode(&readable()).unwrap()),
            ..LeaseRow::new(LeaseKey::new("shardId-000000000001"), LeaseCounter(7), checkpoint)
        }
    }

    fn lines(scan: &Scan, gaps: &Gaps, now: UnixMillis) -> Vec<Vec<String>> {
        let text = to_table(scan, |_| StreamName::new("clicks"), gaps, now);
        let cells =
            |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
        text.lines().map(cells).collect()
    }

    #[test]
    fn every_column_shows_what_the_row_has_and_a_dash_for_what_it_lacks() {
        let now = UnixMillis(1_700_000_000_000);
        let bare = LeaseRow::new(LeaseKey::new("shardId-000000000002"), LeaseCounter(7), Position::TrimHorizon);
        let scan = Scan { rows: vec![full(now), bare], unreadable: Vec::new() };
        let gaps = Gaps { entries: vec![entry("shardId-000000000001", "clicks")], ..Gaps::default() };
        let lines = lines(&scan, &gaps, now);
        assert_eq!(lines[0], HEAD);
        let full =
            ["clicks", "shardId-000000000001", "owned", "a-1", "99/2", "7 s ago", "1250 ms", "3.4", "100 to 105", "1"];
        assert_eq!(lines[1], full);
        let bare = ["clicks", "shardId-000000000002", "unowned", "-", "TRIM_HORIZON", "-", "-", "-", "-", "0"];
        assert_eq!(lines[2], bare);
        assert_eq!(lines.len(), 4, "and the gap: {lines:?}");
        assert!(lines[3].concat().starts_with(&format!("gap {}", gaps.entries[0].id())), "{lines:?}");
    }

    #[test]
    fn what_cannot_be_read_is_said_below_the_table() {
        let unreadable =
            UnreadableRow { key: LeaseKey::new("shardId-000000000003"), problem: "no checkpoint".to_owned() };
        let scan = Scan { rows: Vec::new(), unreadable: vec![unreadable] };
        let gaps = Gaps {
            unreadable: vec!["no range".to_owned()],
            problem: Some("access denied".to_owned()),
            ..Gaps::default()
        };
        let text = to_table(&scan, |_| StreamName::new("clicks"), &gaps, UnixMillis(0));
        for said in ["shardId-000000000003  unreadable: no checkpoint", "gap unreadable: no range", "access denied"] {
            assert!(text.contains(said), "{said:?} is not in {text}");
        }
    }
}
