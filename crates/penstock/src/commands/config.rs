//! `penstock config`: the effective configuration on stdout, each value with its origin.

use crate::cli::ReportArgs;
use crate::config::{Surroundings, load};
use std::io::{self, Write};

/// Prints the effective configuration. What is wrong with it comes back as the error.
pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let loaded = load(&args.config.file, &args.config.settings, &Surroundings::of_this_process())?;
    for warning in &loaded.warnings {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    let shown = match args.json {
        true => format!("{:#}\n", loaded.effective.to_json()),
        false => loaded.effective.to_string(),
    };
    io::stdout().write_all(shown.as_bytes())?;
    Ok(())
}
