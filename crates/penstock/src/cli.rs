//! The command line: clap types and their help, nothing else.

use clap::{Args, Parser, Subcommand, ValueEnum};
use penstock_local::faults::FaultRule;
use std::net::SocketAddr;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  wrong configuration";

const EXIT_CODES_OF_RUN: &str = "Exit codes:
  0  done: stopped with everything delivered that was read
  1  failed: cannot start, and one line says why
  2  wrong usage
  3  wrong configuration
  4  the grace period ran out with records undelivered; the next owner of their shards reads them again";

const ALL_EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  wrong configuration
  4  the grace period ran out with records undelivered";

/// The version, with the commit that this was built from.
pub(crate) const VERSION: &str = env!("PENSTOCK_VERSION");

/// Carries records from Kinesis Data Streams into Firehose or S3.
#[derive(Debug, PartialEq, Parser)]
#[command(name = "penstock", version = VERSION, after_help = ALL_EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, PartialEq, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: lease shards, deliver their records, until it is told to stop
    #[command(after_help = EXIT_CODES_OF_RUN)]
    Run(ConfigArgs),
    /// Show on embedded parts, in under a minute, that nothing is lost when a worker dies
    #[command(after_help = EXIT_CODES)]
    Demo(DemoArgs),
    /// Serve Kinesis and Firehose on this machine, with the limits of the real ones, for development
    Local(LocalArgs),
    /// Check the configuration, and with --online each permission that it needs
    #[command(after_help = EXIT_CODES)]
    Check(CheckArgs),
    /// Print the effective configuration, each value with its origin
    #[command(after_help = EXIT_CODES)]
    Config(ReportArgs),
    /// Look at the leases, or repair them
    Leases(LeasesArgs),
    /// Say what a pipeline costs a month on penstock, on Lambda, and on Firehose alone
    #[command(after_help = EXIT_CODES)]
    Cost(CostArgs),
    /// Ask a running worker whether it is alive: exit 0 if it is, 1 if not
    Health(HealthArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Print a page of the manual, or write all of them
    Manual(ManualArgs),
}

/// Where the configuration comes from.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file, in TOML
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Set a key, over the file and the environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

/// A configuration, and a report on it.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ReportArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// `penstock demo`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct DemoArgs {
    /// Where everything is written [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How many shards the stream has at first
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub(crate) shards: u32,
    /// How many records are produced
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: u64,
    /// Where records are delivered
    #[arg(long, value_enum, default_value_t = DemoSink::Directory)]
    pub(crate) sink: DemoSink,
    /// Go on running at the end, with the addresses printed, to try things on
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Where the demo's records are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoSink {
    /// Objects in a directory, proved to hold each record exactly once
    Directory,
    /// A local Firehose, proved to hold each record at least once, the repeats counted
    Firehose,
}

/// `penstock local`.
#[derive(Debug, PartialEq, Args)]
pub(crate) struct LocalArgs {
    /// Address and port to listen on; port 0 picks one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4567")]
    pub(crate) listen: SocketAddr,
    /// Where the delivery streams write their objects [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Do not enforce the services' rates and sizes
    #[arg(long)]
    pub(crate) no_limits: bool,
    /// A fault to play, as in kinesis.GetRecords:throttle:p=0.1, or as a rule in JSON; may be repeated
    #[arg(long = "fault", value_name = "RULE")]
    pub(crate) faults: Vec<FaultRule>,
}

/// `penstock check`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct CheckArgs {
    /// The configuration and the form of the report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    /// Try each permission against the services
    #[arg(long)]
    pub(crate) online: bool,
}

/// `penstock cost`.
#[derive(Debug, PartialEq, Eq, Args)]
#[command(group = clap::ArgGroup::new("load").args(["file", "records_per_day", "url", "print_prices"]).required(true).multiple(true))]
pub(crate) struct CostArgs {
    /// A configuration, for Regions, sink and leases; how much flows is asked of the worker at its admin.listen
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Set a key, over the file and the environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "file")]
    pub(crate) settings: Vec<String>,
    /// How many records flow a day
    #[arg(long, value_name = "N", requires = "record_bytes", value_parser = clap::value_parser!(u64).range(1..=10_u64.pow(15)))]
    pub(crate) records_per_day: Option<u64>,
    /// How many bytes a record has on the average
    #[arg(long, value_name = "N", requires = "records_per_day", value_parser = clap::value_parser!(u64).range(1..=10_485_760))]
    pub(crate) record_bytes: Option<u64>,
    /// Ask a running worker how much flows, as in http://127.0.0.1:9464
    #[arg(long, value_name = "URL", conflicts_with = "records_per_day")]
    pub(crate) url: Option<String>,
    /// How long to look at the running worker
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) look_seconds: u32,
    /// The stream's Region [default: the configuration's]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// The sink's Region [default: the configuration's, else the stream's]
    #[arg(long, value_name = "REGION")]
    pub(crate) sink_region: Option<String>,
    /// Where records go [default: the configuration's, else firehose]
    #[arg(long, value_enum)]
    pub(crate) sink: Option<CostSink>,
    /// How many shards the stream has [default: as the worker sees, else as many as the load needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) shards: Option<u32>,
    /// How many workers run [default: as the worker sees, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) workers: Option<u32>,
    /// Prices that replace those built in, as many as the file has
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// The Region whose prices to take where one has none
    #[arg(long, value_name = "REGION")]
    pub(crate) fallback_region: Option<String>,
    /// Print the prices that are built in, with their sources
    #[arg(long)]
    pub(crate) print_prices: bool,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where records go, as far as it matters to the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CostSink {
    /// A delivery stream
    Firehose,
    /// A bucket
    S3,
}

/// `penstock leases`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct LeasesArgs {
    /// What to do with the leases.
    #[command(subcommand)]
    pub(crate) command: LeasesCommand,
}

/// What to do with the leases.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum LeasesCommand {
    /// List the leases: stream, shard, owner, checkpoint, lag, open intent, gaps
    #[command(after_help = EXIT_CODES)]
    List(ReportArgs),
    /// Write the owner out, so that another worker takes the shard at once
    #[command(after_help = EXIT_CODES)]
    Release(ReleaseArgs),
    /// Set where a shard is read from next; says what is skipped or delivered again
    #[command(after_help = EXIT_CODES)]
    SetPosition(SetPositionArgs),
    /// Give up the range that a lease's open intent covers, and go on behind it: its records are not delivered
    #[command(after_help = EXIT_CODES)]
    AbandonIntent(AbandonIntentArgs),
    /// Close entries of the gap ledger that you have looked at
    #[command(after_help = EXIT_CODES)]
    AcknowledgeGap(AcknowledgeGapArgs),
    /// Give all leases the form of key that leases.keys asks for; no worker may run meanwhile
    #[command(after_help = EXIT_CODES)]
    Convert(ConvertArgs),
}

/// Some leases, or all of them.
#[derive(Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct LeaseChoice {
    /// The leases' keys: for one stream the shard ids, as in shardId-000000000012
    #[arg(value_name = "LEASE")]
    pub(crate) leases: Vec<String>,
    /// All leases of the table
    #[arg(long)]
    pub(crate) all: bool,
}

/// `penstock leases release`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ReleaseArgs {
    /// Which leases.
    #[command(flatten)]
    pub(crate) choice: LeaseChoice,
    /// Do not look whether the owner is alive; a live one loses the lease at once
    #[arg(long)]
    pub(crate) force: bool,
    /// The configuration and the form of the report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// `penstock leases set-position`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct SetPositionArgs {
    /// Which leases.
    #[command(flatten)]
    pub(crate) choice: LeaseChoice,
    /// TRIM_HORIZON, LATEST, a time as in 2026-11-21T10:30:00Z, or the sequence number of the last record that counts as
    /// delivered
    #[arg(long = "to", value_name = "POSITION")]
    pub(crate) position: String,
    /// Do not look whether the owner is alive; a live one loses the lease at once
    #[arg(long)]
    pub(crate) force: bool,
    /// The configuration and the form of the report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// `penstock leases abandon-intent`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct AbandonIntentArgs {
    /// The lease's key: for one stream the shard id, as in shardId-000000000012
    #[arg(value_name = "LEASE")]
    pub(crate) lease: String,
    /// Drop an intent that cannot be read, damaged or of another version: the checkpoint stays, the records behind it
    /// are read again, and those in objects that were already put are delivered twice
    #[arg(long)]
    pub(crate) unreadable: bool,
    /// The configuration and the form of the report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// `penstock leases acknowledge-gap`.
#[derive(Debug, PartialEq, Eq, Args)]
#[command(group = clap::ArgGroup::new("which").args(["gaps", "all"]).required(true).multiple(false))]
pub(crate) struct AcknowledgeGapArgs {
    /// The ids of the entries, as `penstock leases list` shows them
    #[arg(value_name = "GAP")]
    pub(crate) gaps: Vec<String>,
    /// All open ones
    #[arg(long)]
    pub(crate) all: bool,
    /// The configuration and the form of the report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// `penstock leases convert`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ConvertArgs {
    /// The stream that the leases belong to, where source.streams has several
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: Option<String>,
    /// Do not look whether an owner is alive, and leave attributes behind that penstock does not know
    #[arg(long)]
    pub(crate) force: bool,
    /// The configuration and the form of the report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// `penstock health`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct HealthArgs {
    /// The address to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464/livez")]
    pub(crate) url: String,
}

/// `penstock completions`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: CompletedShell,
}

/// The shells that there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletedShell {
    /// For /usr/share/bash-completion/completions/penstock
    Bash,
    /// For a directory of fpath, under the name _penstock
    Zsh,
    /// For ~/.config/fish/completions/penstock.fish
    Fish,
}

/// `penstock manual`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ManualArgs {
    /// The command to print the page of, as in leases release [default: penstock itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Vec<String>,
    /// Write every page into this directory, as in /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_takes_what_its_help_says() {
        let config = || ConfigArgs { file: "a.toml".into(), settings: vec!["a.b=1".into(), "c=x=y".into()] };
        let flags = "-c a.toml --set a.b=1 --set c=x=y";
        for (line, command) in [
            (format!("penstock run {flags}"), Command::Run(config())),
            (format!("penstock config {flags} --json"), Command::Config(ReportArgs { config: config(), json: true })),
            (
                format!("penstock check --online {flags}"),
                Command::Check(CheckArgs { report: ReportArgs { config: config(), json: false }, online: true }),
            ),
            (
                format!("penstock leases abandon-intent shardId-000000000012 {flags}"),
                Command::Leases(LeasesArgs {
                    command: LeasesCommand::AbandonIntent(AbandonIntentArgs {
                        lease: "shardId-000000000012".into(),
                        unreadable: false,
                        report: ReportArgs { config: config(), json: false },
                    }),
                }),
            ),
            (
                format!("penstock leases set-position shardId-000000000012 --to LATEST --force {flags}"),
                Command::Leases(LeasesArgs {
                    command: LeasesCommand::SetPosition(SetPositionArgs {
                        choice: LeaseChoice { leases: vec!["shardId-000000000012".into()], all: false },
                        position: "LATEST".into(),
                        force: true,
                        report: ReportArgs { config: config(), json: false },
                    }),
                }),
            ),
            (
                format!("penstock leases release --all {flags} --json"),
                Command::Leases(LeasesArgs {
                    command: LeasesCommand::Release(ReleaseArgs {
                        choice: LeaseChoice { leases: Vec::new(), all: true },
                        force: false,
                        report: ReportArgs { config: config(), json: true },
                    }),
                }),
            ),
            (
                "penstock demo --sink firehose --keep".to_owned(),
                Command::Demo(DemoArgs { out: None, shards: 4, records: 20_000, sink: DemoSink::Firehose, keep: true }),
            ),
            (
                "penstock local --no-limits --fault kinesis.GetRecords:throttle:p=0.1".to_owned(),
                Command::Local(LocalArgs {
                    listen: "127.0.0.1:4567".parse().unwrap(),
                    dir: None,
                    no_limits: true,
                    faults: vec!["kinesis.GetRecords:throttle:p=0.1".parse().unwrap()],
                }),
            ),
            ("penstock health".to_owned(), Command::Health(HealthArgs { url: "http://127.0.0.1:9464/livez".into() })),
            (
                "penstock completions zsh".to_owned(),
                Command::Completions(CompletionsArgs { shell: CompletedShell::Zsh }),
            ),
            (
                "penstock manual leases release".to_owned(),
                Command::Manual(ManualArgs { command: vec!["leases".into(), "release".into()], dir: None }),
            ),
        ] {
            assert_eq!(parse(&line).unwrap().command, command, "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for line in [
            "penstock",
            "penstock run",
            "penstock frobnicate",
            "penstock demo --shards 1",
            "penstock leases",
            "penstock leases release -c a.toml",
            "penstock leases release shardId-000000000012 --all -c a.toml",
            "penstock leases set-position --all -c a.toml",
            "penstock leases acknowledge-gap -c a.toml",
            "penstock local --fault garbage",
            "penstock cost",
            "penstock cost --record-bytes 200",
            "penstock cost --records-per-day 100000",
            "penstock cost --records-per-day 1 --record-bytes 1 --url http://127.0.0.1:9464",
            "penstock completions powershell",
            "penstock manual run --dir .",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
