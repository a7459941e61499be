//! The commands: a file each, with one `run` that says how the process ends.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod cost;
pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod leases;
pub(crate) mod local;
pub(crate) mod manual;
pub(crate) mod run;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// The grace period ran out with records undelivered.
pub(crate) const EXIT_UNDELIVERED: u8 = 4;

/// Waits for SIGTERM or SIGINT.
async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
