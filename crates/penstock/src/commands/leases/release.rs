//! `penstock leases release`: writes the owner out, so that another worker takes the shard at its next look.
//!
//! An open intent stays in the row: the next owner carries it out first.

use penstock_core::lease::{Change, LeaseRow};
use penstock_core::position::Position;
use serde_json::json;

use super::{Open, patience, tool};
use crate::cli::ReleaseArgs;

/// Releases the chosen leases.
pub(super) async fn run(open: &Open, args: &ReleaseArgs) -> anyhow::Result<String> {
    let chosen = open.chosen(&args.choice)?;
    let owned: Vec<&LeaseRow> = chosen
        .into_iter()
        .filter(|row| (row.owner.is_some() || row.checkpoint_owner.is_some()) && row.checkpoint != Position::ShardEnd)
        .collect();
    tool::refuse_if_alive(open, &owned, args.force).await?;
    let mut released = Vec::new();
    for row in owned {
        let write = tool::write(row, Change::counter(tool::next(row)));
        tool::carry_out(open.table.as_ref(), &write).await.map_err(|error| patience::after(&released, error))?;
        released.push(row);
    }
    Ok(match args.report.json {
        true => {
            let rows = released.iter().map(
                |row| json!({ "lease": row.key.as_str(), "owner": row.actual_owner().map(|owner| owner.as_str()) }),
            );
            format!("{:#}\n", json!({ "released": rows.collect::<Vec<_>>() }))
        }
        false if released.is_empty() => "nothing to release: no owner stands in the rows chosen\n".to_owned(),
        false => released.into_iter().map(said).collect(),
    })
}

fn said(row: &LeaseRow) -> String {
    let owner = row.actual_owner().map_or("-", |owner| owner.as_str());
    let intent = if row.intent.is_some() { "; its open intent is carried out by the next owner" } else { "" };
    format!("{}: released, it belonged to {owner}{intent}\n", row.key)
}
