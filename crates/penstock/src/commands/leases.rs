//! `penstock leases`: who has which shard; giving up an intent that nobody can carry out is in a file of its own.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use penstock_core::intent::Intent;
use penstock_core::intent::codec;
use penstock_core::lease::{LeaseRow, Scan};
use penstock_core::position::Position;
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{ErrorClass, LeaseTable};
use serde_json::{Value, json};

use crate::cli::{LeasesArgs, LeasesCommand, ReportArgs};
use crate::config::settings::LeaseStoreSettings;
use crate::config::{Surroundings, load};
use crate::wiring::aws::Aws;
use crate::wiring::ports;

mod abandon;

/// Runs one of the lease commands.
///
/// # Errors
/// If the table cannot be read, or the write was refused.
pub(crate) fn run(args: &LeasesArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match &args.command {
            LeasesCommand::List(args) => list(args).await,
            LeasesCommand::AbandonIntent(args) => abandon::run(args).await,
        }
    })
}

/// The lease table and all that stands in it.
async fn open(args: &ReportArgs) -> anyhow::Result<(Arc<dyn LeaseTable>, Scan)> {
    let loaded = load(&args.config.file, &args.config.settings, &Surroundings::of_this_process())?;
    let aws = Aws::load(&loaded.settings.aws).await;
    let table = ports::leases(&loaded.settings, &aws).await?;
    let scan = table.scan().await.map_err(|error| match &loaded.settings.leases.store {
        LeaseStoreSettings::Sqlite { path } if error.class == ErrorClass::NotFound && !path.exists() => {
            anyhow!("there are no leases yet: {} does not exist; `penstock run` makes it", path.display())
        }
        _ => error.into(),
    })?;
    Ok((table, scan))
}

// === list ===

async fn list(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let (_, scan) = open(args).await?;
    let now = Clock::Boot.now().wall;
    let text = match args.json {
        true => format!("{:#}\n", scan_as_json(&scan)),
        false => scan_as_table(&scan, now),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What a row is about, in a word.
fn state(row: &LeaseRow) -> &'static str {
    match (&row.checkpoint, &row.owner) {
        (Position::ShardEnd, _) => "ended",
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

fn scan_as_table(scan: &Scan, now: UnixMillis) -> String {
    let head = ["SHARD", "STATE", "OWNER", "CHECKPOINT", "AGE", "LAG", "INTENT"].map(str::to_owned);
    let rows = scan.rows.iter().map(|row| {
        [
            row.key.to_string(),
            state(row).to_owned(),
            row.owner.as_ref().map_or("-".to_owned(), ToString::to_string),
            row.checkpoint.to_string(),
            row.arrival.map_or("-".to_owned(), |arrival| format!("{} s", now.since(arrival).as_secs())),
            row.lag.map_or("-".to_owned(), |lag| format!("{lag} ms")),
            intent_text(row),
        ]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let mut text = String::new();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    for row in &scan.unreadable {
        text.push_str(&format!("{}  unreadable: {}\n", row.key, row.problem));
    }
    text
}

fn scan_as_json(scan: &Scan) -> Value {
    let intent = |row: &LeaseRow| {
        let decoded = row.intent.as_ref().map(|bytes| codec::decode(bytes))?;
        Some(match decoded {
            Ok(intent) => intent_as_json(&intent),
            Err(problem) => json!({ "problem": problem.to_string() }),
        })
    };
    let row = |row: &LeaseRow| {
        json!({
            "lease": row.key.as_str(),
            "state": state(row),
            "owner": row.owner.as_ref().map(|owner| owner.as_str()),
            "counter": row.counter.0,
            "checkpoint": row.checkpoint.to_string(),
            "arrival_milliseconds": row.arrival.map(|arrival| arrival.0),
            "lag_milliseconds": row.lag,
            "parents": row.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "children": row.children.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "chain": row.chain.as_ref().map(ToString::to_string),
            "intent": intent(row),
        })
    };
    json!({
        "leases": scan.rows.iter().map(row).collect::<Vec<_>>(),
        "unreadable": scan
            .unreadable
            .iter()
            .map(|row| json!({ "lease": row.key.as_str(), "problem": row.problem }))
            .collect::<Vec<_>>(),
    })
}

fn intent_as_json(intent: &Intent) -> Value {
    json!({
        "from": intent.from.to_string(),
        "first": intent.first.to_string(),
        "last": intent.last.to_string(),
        "records": intent.records(),
        "destination": intent.destination.to_string(),
        "keys": intent.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(),
    })
}
