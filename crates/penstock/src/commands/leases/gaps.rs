//! `penstock leases acknowledge-gap`: closes entries of the gap ledger that an operator has looked at.

use anyhow::{Context, bail};
use penstock_core::gap::{GapEntry, GapId};
use penstock_engine::clock::Clock;
use serde_json::json;

use super::list::gap_to_json;
use super::{Open, patience};
use crate::cli::AcknowledgeGapArgs;

/// Acknowledges the named entries, or all open ones.
pub(super) async fn run(open: &Open, args: &AcknowledgeGapArgs) -> anyhow::Result<String> {
    let (entries, _) = patience::answered("read", "the gap ledger", open.gaps.entries()).await?;
    let chosen = chosen(&entries, args)?;
    let now = Clock::Boot.now().wall;
    for entry in &chosen {
        if !patience::answered("acknowledge", entry.id(), open.gaps.acknowledge(entry.id(), now)).await? {
            bail!("the gap {} is not in the ledger any more", entry.id());
        }
    }
    Ok(match args.report.json {
        true => format!("{:#}\n", json!({ "acknowledged": chosen.into_iter().map(gap_to_json).collect::<Vec<_>>() })),
        false if chosen.is_empty() => "no gap is open\n".to_owned(),
        false => chosen.into_iter().map(said).collect(),
    })
}

fn chosen<'a>(entries: &'a [GapEntry], args: &AcknowledgeGapArgs) -> anyhow::Result<Vec<&'a GapEntry>> {
    if args.all {
        return Ok(entries.iter().filter(|entry| entry.is_open()).collect());
    }
    let find = |text: &String| {
        let id = GapId::parse(text).with_context(|| {
            format!("{text:?} is not the id of a gap; `penstock leases list` shows the open ones with their ids")
        })?;
        entries
            .iter()
            .find(|entry| entry.id() == id)
            .with_context(|| format!("there is no gap {id}; `penstock leases list` shows the open ones"))
    };
    args.gaps.iter().map(find).collect()
}

fn said(entry: &GapEntry) -> String {
    format!("{}: acknowledged {}: {}, {}\n", entry.lease, entry.id(), entry.reason.as_str(), entry.range)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use penstock_core::gap::{GapEnd, GapRange, GapReason};
    use penstock_core::ids::{LeaseKey, StreamName, WorkerId};
    use penstock_core::position::Position;
    use penstock_core::time::UnixMillis;

    use super::*;
    use crate::cli::{ConfigArgs, ReportArgs};

    fn entry(shard: u8, reason: GapReason, acknowledged: Option<UnixMillis>) -> GapEntry {
        GapEntry {
            stream: StreamName::new("clicks"),
            stream_created: UnixMillis(1),
            lease: LeaseKey::new(&format!("shardId-00000000000{shard}")),
            range: GapRange { after: Position::TrimHorizon, end: GapEnd::Unknown },
            reason,
            noticed: UnixMillis(1),
            by: WorkerId::new("a"),
            acknowledged,
        }
    }

    fn args(gaps: Vec<String>, all: bool) -> AcknowledgeGapArgs {
        let config = ConfigArgs { file: PathBuf::from("p.toml"), settings: Vec::new() };
        AcknowledgeGapArgs { gaps, all, report: ReportArgs { config, json: false } }
    }

    #[test]
    fn all_means_those_that_are_open() {
        let entries = [
            entry(0, GapReason::Trimmed, None),
            entry(1, GapReason::Trimmed, Some(UnixMillis(2))),
            entry(2, GapReason::StartedLate, None),
        ];
        assert_eq!(chosen(&entries, &args(Vec::new(), true)).unwrap(), [&entries[0]]);
    }

    #[test]
    fn a_gap_is_named_by_its_id_and_anything_else_is_refused() {
        let entries = [entry(0, GapReason::Trimmed, None)];
        let id = entries[0].id().to_string();
        assert_eq!(chosen(&entries, &args(vec![id], false)).unwrap(), [&entries[0]]);
        let other = entry(1, GapReason::Trimmed, None).id().to_string();
        for (text, said) in [("shardId-000000000000", "is not the id of a gap"), (&other, "there is no gap")] {
            let error = chosen(&entries, &args(vec![text.to_owned()], false)).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
