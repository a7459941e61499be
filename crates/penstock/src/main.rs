//! Carries records from Kinesis Data Streams into Firehose or S3: parses the command line, runs one command, and
//! maps its outcome to the exit code.

mod admin;
mod cli;
mod commands;
mod config;
#[cfg(test)]
mod documents;
mod progress;
mod stdout_sink;
mod systemd;
mod telemetry;
mod wiring;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => commands::run::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Local(args) => commands::local::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Config(args) => commands::config::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Leases(args) => commands::leases::run(&args),
        Command::Cost(args) => commands::cost::run(&args),
        Command::Health(args) => commands::health::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completions(args) => commands::completions::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Manual(args) => commands::manual::run(&args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(std::io::stderr(), "penstock: {}", telemetry::one_line(&error));
        if error.is::<config::Problems>() { ExitCode::from(3) } else { ExitCode::FAILURE }
    })
}
