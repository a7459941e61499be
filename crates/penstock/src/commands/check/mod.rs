//! `penstock check`: validates the configuration; with `--online` tries what the daemon will need, permission by permission.

mod arn;
mod iam;
mod judge;
mod leases;
mod online;
mod report;
mod sink;
mod source;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::CheckArgs;
use crate::config::{Surroundings, load};
use crate::progress::Progress;
use report::{Report, Row};

/// Checks; exit 1 if something that was tried failed.
///
/// # Errors
/// If the configuration is wrong.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = &args.report.config;
    let surroundings = Surroundings::of_this_process();
    let loaded = match load(&config.file, &config.settings, &surroundings) {
        Err(problems) if args.report.json => {
            // The exit code and the lines on stderr are the same without it.
            let file = config.file.display().to_string();
            let rows = problems.0.iter().map(|problem| Row::failed("configuration", &file, problem.to_string()));
            let report = Report { rows: rows.collect(), warnings: Vec::new() };
            std::io::stdout().write_all(format!("{:#}\n", report.json()).as_bytes())?;
            return Err(problems.into());
        }
        loaded => loaded?,
    };
    let mut report = Report {
        rows: vec![Row::good("configuration", config.file.display().to_string(), "valid")],
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
    };
    if args.online {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        let _progress = Progress::waiting("tries each permission and limit");
        report.rows.extend(runtime.block_on(online::rows(&loaded.settings, &surroundings)));
    }
    let text = if args.report.json { format!("{:#}\n", report.json()) } else { report.text() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
