//! `penstock leases`: who has which shard, and what an operator may do about it; each command is in a file of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use penstock_core::ids::{LeaseKey, StreamName};
use penstock_core::lease::{LeaseRow, Scan};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{ErrorClass, GapLedger, LeaseTable};

use crate::cli::{LeaseChoice, LeasesArgs, LeasesCommand, ReportArgs};
use crate::config::settings::{LeaseStoreSettings, Settings};
use crate::config::{Surroundings, load};
use crate::progress::Progress;
use crate::wiring::aws::Aws;
use crate::wiring::ports;

mod abandon;
mod convert;
mod gaps;
mod list;
mod patience;
mod position;
mod release;
mod tool;

pub(crate) use list::{aligned, gap_to_json};

/// Runs one of the lease commands.
///
/// # Errors
/// If the table cannot be read, or the write was refused.
pub(crate) fn run(args: &LeasesArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let text = runtime.block_on(async {
        match &args.command {
            LeasesCommand::List(args) => list::run(&open(args).await?, args.json).await,
            LeasesCommand::Release(args) => release::run(&open(&args.report).await?, args).await,
            LeasesCommand::SetPosition(args) => position::run(&open(&args.report).await?, args).await,
            LeasesCommand::AbandonIntent(args) => abandon::run(&open(&args.report).await?, args).await,
            LeasesCommand::AcknowledgeGap(args) => gaps::run(&open(&args.report).await?, args).await,
            LeasesCommand::Convert(args) => convert::run(&open(&args.report).await?, args).await,
        }
    })?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The lease table, the gap ledger, and what stood in the table a moment ago.
struct Open {
    settings: Settings,
    aws: Aws,
    table: Arc<dyn LeaseTable>,
    gaps: Arc<dyn GapLedger>,
    scan: Scan,
}

async fn open(args: &ReportArgs) -> anyhow::Result<Open> {
    let loaded = load(&args.config.file, &args.config.settings, &Surroundings::of_this_process())?;
    let settings = loaded.settings;
    let aws = Aws::load(&settings.aws).await;
    let table = ports::leases(&settings, &aws).await?;
    let gaps = ports::gaps(&settings, &aws).await?;
    let waiting = Progress::waiting("reads the lease table");
    let scan = patience::scan(table.as_ref()).await;
    drop(waiting);
    let scan = scan.map_err(|error| match &settings.leases.store {
        LeaseStoreSettings::Sqlite { path } if error.class == ErrorClass::NotFound && !path.exists() => {
            anyhow!("there are no leases yet: {} does not exist; `penstock run` makes it", path.display())
        }
        LeaseStoreSettings::DynamoDb { table } if error.class == ErrorClass::NotFound => {
            anyhow!(
                "there are no leases yet, or elsewhere: there is no table {table}; `penstock run` makes it: {error}"
            )
        }
        _ => error.into(),
    })?;
    Ok(Open { settings, aws, table, gaps, scan })
}

impl Open {
    /// The row that an operator means: by its key, or by the id of a shard that only one stream has.
    fn find(&self, text: &str) -> anyhow::Result<&LeaseRow> {
        let key = LeaseKey::new(text);
        if let Some(row) = self.scan.unreadable.iter().find(|row| row.key == key) {
            bail!(
                "the lease {key} cannot be read: {}; mend that attribute in the table, or remove the row: its shard then begins \
                 anew, and the gap ledger says so",
                row.problem
            );
        }
        if let Some(row) = self.scan.rows.iter().find(|row| row.key == key) {
            return Ok(row);
        }
        let of_shard: Vec<&LeaseRow> =
            self.scan.rows.iter().filter(|row| row.key.shard_id().as_str() == text).collect();
        match of_shard[..] {
            [row] => Ok(row),
            [] => {
                let known: Vec<&str> = self.scan.rows.iter().map(|row| row.key.as_str()).collect();
                bail!("there is no lease {key}; there are: {}", some_of(&known))
            }
            _ => {
                let keys: Vec<&str> = of_shard.iter().map(|row| row.key.as_str()).collect();
                bail!("several streams have a shard {text}: give the whole key, one of {}", keys.join(", "))
            }
        }
    }

    /// The rows that an operator chose, each once, in the order of the keys.
    fn chosen(&self, choice: &LeaseChoice) -> anyhow::Result<Vec<&LeaseRow>> {
        if choice.all {
            for row in &self.scan.unreadable {
                writeln!(std::io::stderr(), "{} is left out: it cannot be read: {}", row.key, row.problem)?;
            }
            return Ok(self.scan.rows.iter().collect());
        }
        let keys: BTreeSet<&LeaseKey> =
            choice.leases.iter().map(|text| self.find(text).map(|row| &row.key)).collect::<anyhow::Result<_>>()?;
        Ok(self.scan.rows.iter().filter(|row| keys.contains(&row.key)).collect())
    }

    /// The stream of a row, by its key or, where the table serves one stream, by the configuration.
    fn stream_of(&self, row: &LeaseRow) -> StreamName {
        let in_key = row.key.stream_id().and_then(|id| id.parts().map(|(_, name, _)| name));
        in_key.unwrap_or_else(|| StreamName::new(&self.settings.source.streams[0].name))
    }

    /// When the stream of a row was created, as far as the row says.
    fn stream_created(row: &LeaseRow) -> UnixMillis {
        let in_key = row.key.stream_id().and_then(|id| id.parts().map(|(_, _, created)| created));
        let in_key = in_key.and_then(|seconds| i64::try_from(seconds).ok()).map(|seconds| UnixMillis(seconds * 1000));
        row.stream_created.or(in_key).unwrap_or_default()
    }
}

/// The first of many names; a table can have thousands.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_names_a_few_are_shown() {
        let names: Vec<String> = (0..5_000).map(|number| format!("shardId-{number:012}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(some_of(&[]), "none");
        assert_eq!(some_of(&names[..2]), "shardId-000000000000, shardId-000000000001");
        assert!(!some_of(&names[..12]).contains("more"));
        assert!(some_of(&names).ends_with("shardId-000000000011 and 4988 more"), "{}", some_of(&names));
    }
}
