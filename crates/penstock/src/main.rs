//! Carries records from Kinesis Data Streams into Firehose or S3: parses the command line, runs one command, and
//! maps its outcome to the exit code.

mod cli;
mod commands;
mod config;

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Config(args) => commands::config::run(&args),
        other => Err(anyhow::anyhow!("this build has no such command: {other:?}")),
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Whoever closed stderr does not want to know.
    let _ = writeln!(std::io::stderr(), "penstock: {error:#}");
    if error.is::<config::Problems>() { ExitCode::from(3) } else { ExitCode::FAILURE }
}
