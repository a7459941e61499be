//! `penstock demo`: the main job on embedded parts, with proof. A stream, two workers, a split, a merge, a worker killed half-way;
//! then what was delivered is read back and held against what was told.

mod proof;
mod readback;
mod stage;
mod story;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use penstock_core::ids::ShardId;
use penstock_core::shard::ShardListing;
use penstock_engine::clock::Clock;

use self::readback::Found;
use self::stage::{Actor, Stage};
use self::story::Story;
use crate::cli::{DemoArgs, DemoSink};
use crate::progress::Progress;
use crate::wiring::settings::random_seed;

/// How long the telling takes, if the stream's limits allow it.
const TELLING: Duration = Duration::from_secs(12);
/// The time between two calls of the producer.
const BEAT: Duration = Duration::from_millis(200);
/// How long the last record may take to arrive.
const PATIENCE: Duration = Duration::from_secs(90);
/// What happens at which part of the story, in percent.
const SPLIT_AT: u64 = 25;
const KILL_AT: u64 = 50;
const MERGE_AT: u64 = 70;
/// The exit code of a program that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Plays the demo; exit 0 only if the proof holds. What it wrote into a directory of its own it takes away again, but not what
/// shows why the proof failed.
///
/// # Errors
/// If something could not be set up, or the proof fails.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if std::env::var_os("RUST_LOG").is_some() {
        use crate::config::settings::{LogFormat, LogLevel, LogSettings};
        crate::telemetry::install_log(LogSettings { format: LogFormat::Text, level: LogLevel::Info })?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let scratch = || std::env::temp_dir().join(format!("penstock-demo-{}", std::process::id()));
    let dir = args.out.clone().unwrap_or_else(scratch);
    let exit = runtime.block_on(async {
        tokio::select! {
            exit = play(args, dir.clone()) => exit,
            // What is kept is ended by a signal, too, but in order.
            signal = super::wait_for_signal(), if !args.keep => signal.map(|()| ExitCode::from(INTERRUPTED)),
        }
    })?;
    // Nobody writes any more.
    runtime.shutdown_timeout(Duration::from_secs(5));
    if is_scratch(args) && exit != ExitCode::FAILURE {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(exit)
}

/// Whether nobody has use for the files once the proof holds.
const fn is_scratch(args: &DemoArgs) -> bool {
    args.out.is_none() && !args.keep
}

async fn play(args: &DemoArgs, dir: PathBuf) -> anyhow::Result<ExitCode> {
    // The log, where somebody asked for it, comes the same way.
    let progress = Progress::timed(std::env::var_os("RUST_LOG").is_some());
    let began = Instant::now();
    let stage = Stage::set(dir, args.shards, args.sink).await?;
    progress.say(format_args!("Kinesis and Firehose at {}, files in {}", stage.server.url(), stage.dir.display()));
    let first = stage.start_worker("worker-1").await?;
    let second = stage.start_worker("worker-2").await?;
    progress.say(format_args!("stream {} with {} shards, two workers", stage::STREAM, args.shards));

    let mut play =
        Play { began, progress, stage, story: Story::new(args.records, random_seed()), doomed: Some(first), killed: 0 };
    play.tell(args.records, &second).await?;
    let found = play.wait_for_all(args.records, &second).await?;
    play.progress.finish();
    let exit = play.conclude(args, &found, &second)?;
    if args.keep {
        keep(&play.stage).await?;
    }
    second.stop().await.context("stopping the second worker")?;
    play.stage.server.shutdown().await;
    Ok(exit)
}

struct Play {
    began: Instant,
    progress: Progress,
    stage: Stage,
    story: Story,
    doomed: Option<Actor>,
    /// Records that the killed worker had delivered.
    killed: u64,
}

impl Play {
    /// Tells the story beat by beat, and plays its three events.
    async fn tell(&mut self, records: u64, second: &Actor) -> anyhow::Result<()> {
        let beats = TELLING.as_millis() / BEAT.as_millis();
        // A third of the records are aggregates of eleven on average, so a record holds about four and a half.
        let per_beat = usize::try_from(records / (u64::try_from(beats)? * 9 / 2) + 1)?;
        let (mut split, mut merged) = (false, false);
        let mut beat = tokio::time::interval(BEAT);
        self.progress.begin(records, "records told");
        while self.story.told() < records {
            beat.tick().await;
            let batch = self.story.next_records(per_beat, Clock::Boot.now().wall);
            self.stage.producer.put(&batch).await?;
            self.progress.reach(self.story.told());
            let told = self.story.told() * 100 / records;
            if told >= SPLIT_AT && !split {
                split = true;
                self.split().await?;
            }
            if told >= KILL_AT && self.doomed.is_some() {
                self.kill(second).await;
            }
            if told >= MERGE_AT && !merged {
                merged = true;
                self.merge().await?;
            }
        }
        self.progress.say(format_args!("all {} records are told", self.story.told()));
        Ok(())
    }

    async fn split(&self) -> anyhow::Result<()> {
        let shard = open_shards(&self.stage).await?.swap_remove(0);
        let range = shard.hash_range;
        self.stage.producer.split(&shard.id, range.start + (range.end - range.start) / 2 + 1).await?;
        self.progress.say(format_args!("split {}", shard.id));
        Ok(())
    }

    /// Merges the two shards that follow each other at the upper end.
    async fn merge(&self) -> anyhow::Result<()> {
        let open = open_shards(&self.stage).await?;
        let [.., lower, upper] = open.as_slice() else { bail!("there are no two shards to merge") };
        self.stage.producer.merge(&lower.id, &upper.id).await?;
        self.progress.say(format_args!("merged {} and {}", lower.id, upper.id));
        Ok(())
    }

    async fn kill(&mut self, second: &Actor) {
        let Some(doomed) = self.doomed.take() else { return };
        let status = doomed.status.snapshot();
        doomed.kill().await;
        self.killed = status.totals.delivered;
        let held: Vec<_> = status.shards.iter().map(|shard| shard.shard.to_string()).collect();
        self.progress.say(format_args!(
            "killed worker-1 without goodbye: {} records delivered, {} in flight; it held {}; worker-2 holds {}",
            status.totals.delivered,
            status.totals.in_flight,
            if held.is_empty() { "nothing".to_owned() } else { held.join(", ") },
            second.status.snapshot().shards.len(),
        ));
    }

    /// Waits until as many different records are found as were told.
    async fn wait_for_all(&mut self, records: u64, second: &Actor) -> anyhow::Result<Found> {
        let patience = Instant::now() + PATIENCE;
        self.progress.begin(records, "records delivered");
        loop {
            let found = readback::look(&self.stage, records).await?;
            if found.verdict.missing == 0 || Instant::now() > patience {
                return Ok(found);
            }
            if second.has_ended() {
                bail!("worker-2 ended by itself");
            }
            self.progress.reach(records - found.verdict.missing);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The table at the end.
    fn conclude(&self, args: &DemoArgs, found: &Found, second: &Actor) -> anyhow::Result<ExitCode> {
        let status = second.status.snapshot();
        let mut out = std::io::stdout();
        let holds = match args.sink {
            DemoSink::Directory => found.verdict.is_exactly_once() && found.chain_problems.is_empty(),
            DemoSink::Firehose => found.verdict.is_at_least_once(),
        };
        match holds && is_scratch(args) {
            true => writeln!(out, "\n  delivered to           a directory that is removed now; --out DIR leaves it")?,
            false => writeln!(out, "\n  delivered to           {}", self.stage.delivered().display())?,
        }
        writeln!(out, "  objects                {:>9}", found.objects)?;
        writeln!(out, "{}", found.verdict)?;
        writeln!(out, "  by worker-1, killed    {:>9}", self.killed)?;
        writeln!(out, "  by worker-2            {:>9}", status.totals.delivered)?;
        writeln!(out, "  seconds                {:>9.1}", self.began.elapsed().as_secs_f64())?;
        for problem in found.chain_problems.iter().chain(found.verdict.first_problem.iter()).take(5) {
            writeln!(out, "  {problem}")?;
        }
        let promise = match args.sink {
            DemoSink::Directory => "each record exactly once, and in order for each partition key",
            DemoSink::Firehose => "each record at least once",
        };
        match holds {
            true => writeln!(out, "\n  proved: {promise}")?,
            false => writeln!(out, "\n  NOT proved: {promise}")?,
        }
        Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The shards that take records, by their hash keys.
async fn open_shards(stage: &Stage) -> anyhow::Result<Vec<ShardListing>> {
    let mut open: Vec<_> = stage.source.list_shards().await?.into_iter().filter(ShardListing::is_open).collect();
    open.sort_by_key(|shard| shard.hash_range);
    Ok(open)
}

async fn keep(stage: &Stage) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let url = stage.server.url();
    writeln!(out, "\n  still running; Ctrl-C ends it. To add a record, with any credentials and Region:\n")?;
    writeln!(
        out,
        "  aws kinesis put-record --endpoint-url {url} --stream-name {} --partition-key me --data aGVsbG8=",
        stage::STREAM
    )?;
    writeln!(out, "  ls -R {}", stage.delivered().display())?;
    super::wait_for_signal().await
}

/// The number at the end of a shard's id, for the order of objects: children have higher numbers than their parents.
fn shard_number(shard: &str) -> u64 {
    let shard = ShardId::new(shard);
    shard.as_str().rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}
