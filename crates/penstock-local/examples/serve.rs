//! The local Kinesis and Firehose by themselves: `cargo run -p penstock-local --example serve -- 127.0.0.1:4567 DIR
//! [--no-limits] [FAULT…]`. Ends on Ctrl-C.

#![expect(clippy::print_stderr, reason = "an example tells its address")]

use std::error::Error;

use penstock_local::server::{LocalOptions, LocalServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("the address to listen on is missing")?.parse()?;
    let mut options = LocalOptions { listen, ..LocalOptions::new(arguments.next().ok_or("the directory is missing")?) };
    for argument in arguments {
        match argument.as_str() {
            "--no-limits" => options.limits = false,
            fault => options.faults.push(fault.parse()?),
        }
    }
    let server = LocalServer::start(options).await?;
    eprintln!("{}", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
