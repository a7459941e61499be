//! `penstock local`: Kinesis and Firehose on this machine, for development.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use penstock_local::server::{LocalOptions, LocalServer};

use crate::cli::LocalArgs;
use crate::wiring::settings::random_seed;

/// Serves until SIGTERM or SIGINT; then what the delivery streams still buffer is written.
///
/// # Errors
/// If `--dir` names a file, or the address cannot be had.
pub(crate) fn run(args: &LocalArgs) -> anyhow::Result<ExitCode> {
    let dir = match &args.dir {
        Some(dir) if dir.exists() && !dir.is_dir() => {
            bail!("--dir {}: it is not a directory; name one, or a path that does not exist yet", dir.display())
        }
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("penstock-local-{}", std::process::id())),
    };
    let options = LocalOptions {
        listen: args.listen,
        limits: !args.no_limits,
        faults: args.faults.clone(),
        seed: random_seed(),
        ..LocalOptions::new(&dir)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let server = LocalServer::start(options).await?;
        let mut out = std::io::stdout();
        writeln!(out, "Kinesis and Firehose at {url}", url = server.url())?;
        writeln!(out, "delivery streams write to {}", dir.display())?;
        writeln!(out, "try: aws kinesis list-streams --endpoint-url {url}", url = server.url())?;
        super::wait_for_signal().await?;
        server.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}
