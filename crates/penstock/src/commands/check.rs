//! `penstock check`: validates the configuration; with `--online` tries what the daemon will need, permission by permission.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use penstock_core::ids::{ShardId, StreamId};
use penstock_core::lease::{LeaseRow, Scan};
use penstock_engine::ports::{
    CallSink, ErrorClass, GapLedger, KclVersion, LeaseTable, ObjectSink, OpenAt, SeamError, ShardSource, SinkPort,
    StreamDescription,
};
use serde_json::json;

use crate::cli::CheckArgs;
use crate::config::settings::{KeyForm, Settings};
use crate::config::{Surroundings, load};
use crate::telemetry::one_line;
use crate::wiring::aws::Aws;
use crate::wiring::ports;

/// Checks; exit 1 if something that was tried failed.
///
/// # Errors
/// If the configuration is wrong.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = &args.report.config;
    let loaded = match load(&config.file, &config.settings, &Surroundings::of_this_process()) {
        Err(problems) if args.report.json => {
            // The exit code and the lines on stderr are the same without it.
            let mut report = Report::default();
            problems.0.iter().for_each(|problem| report.failed("configuration", problem.to_string()));
            std::io::stdout().write_all(format!("{:#}\n", report.json(&[])).as_bytes())?;
            return Err(problems.into());
        }
        loaded => loaded?,
    };
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let mut report = Report::default();
    report.ok("configuration", config.file.display().to_string());
    if args.online {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        runtime.block_on(try_everything(&loaded.settings, &mut report));
    }
    let text = match args.report.json {
        true => format!("{:#}\n", report.json(&warnings)),
        false => report.text(&warnings),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was tried, in order.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    what: &'static str,
    outcome: Result<String, String>,
}

impl Report {
    fn ok(&mut self, what: &'static str, detail: impl Into<String>) {
        self.lines.push(Line { what, outcome: Ok(detail.into()) });
    }

    fn failed(&mut self, what: &'static str, problem: impl Into<String>) {
        self.lines.push(Line { what, outcome: Err(problem.into()) });
    }

    /// Notes an outcome, and hands a success on.
    fn note<T>(&mut self, what: &'static str, outcome: anyhow::Result<T>, detail: impl Fn(&T) -> String) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.ok(what, detail(&value));
                Some(value)
            }
            Err(problem) => {
                self.failed(what, one_line(&problem));
                None
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.lines.iter().any(|line| line.outcome.is_err())
    }

    fn text(&self, warnings: &[String]) -> String {
        let lines = self.lines.iter().map(|Line { what, outcome }| match outcome {
            Ok(detail) => format!("ok      {what}: {detail}\n"),
            Err(problem) => format!("FAILED  {what}: {problem}\n"),
        });
        lines.chain(warnings.iter().map(|warning| format!("warning {warning}\n"))).collect()
    }

    fn json(&self, warnings: &[String]) -> serde_json::Value {
        let line = |Line { what, outcome }: &Line| {
            let (detail, problem) = match outcome {
                Ok(detail) => (Some(detail), None),
                Err(problem) => (None, Some(problem)),
            };
            json!({ "check": what, "ok": outcome.is_ok(), "detail": detail, "problem": problem })
        };
        json!({ "checks": self.lines.iter().map(line).collect::<Vec<_>>(), "warnings": warnings })
    }
}

async fn try_everything(settings: &Settings, report: &mut Report) {
    let aws = Aws::load(&settings.aws).await;
    let mut streams = Vec::new();
    match ports::sources(settings, &aws).await {
        Ok(sources) => {
            for source in sources {
                streams.extend(try_source(source.source.as_ref(), report).await);
            }
        }
        Err(problem) => report.failed("source", one_line(&problem)),
    }
    match ports::leases(settings, &aws).await {
        Ok(leases) => {
            try_leases(leases.as_ref(), settings, &streams, report).await;
            try_kcl_version(leases.as_ref(), settings, report).await;
        }
        Err(problem) => report.failed("lease table", one_line(&problem)),
    }
    match ports::gaps(settings, &aws).await {
        Ok(gaps) => try_gaps(gaps.as_ref(), report).await,
        Err(problem) => report.failed("gap ledger", one_line(&problem)),
    }
    match ports::sink(settings, &aws).await {
        Ok((SinkPort::Objects(sink), _)) => try_objects(&sink, report).await,
        Ok((SinkPort::Calls(sink), _)) => try_calls(&sink, report).await,
        Err(problem) => report.failed("sink", one_line(&problem)),
    }
}

/// Each call of the reader, once, on the first shard that is listed. Hands on the stream that is there.
async fn try_source(source: &dyn ShardSource, report: &mut Report) -> Option<StreamDescription> {
    let describe = |stream: &StreamDescription| {
        let hours = stream.retention.as_secs() / 3600;
        format!("{}, created {}, keeps records {hours} h", stream.name, stream.created)
    };
    let stream = report.note("describe the stream", source.describe().await.map_err(Into::into), describe)?;
    let count = |shards: &Vec<_>| format!("{} shards", shards.len());
    let listed = report.note("list its shards", source.list_shards().await.map_err(Into::into), count);
    if let Some(shard) = listed.as_ref().and_then(|shards| shards.first()) {
        let fetched = try_fetch(source, &shard.id).await;
        report.note("read a shard", fetched.map_err(Into::into), |records| format!("{}: {records} records", shard.id));
    }
    Some(stream)
}

async fn try_fetch(source: &dyn ShardSource, shard: &ShardId) -> Result<usize, SeamError> {
    let iterator = source.open(shard, &OpenAt::TrimHorizon).await?;
    match source.fetch(shard, &iterator, 1).await {
        Ok(fetched) => Ok(fetched.chunk.len()),
        // The permission is there; other consumers are at the shard's five reads a second.
        Err(error) if error.class == ErrorClass::Throttled => Ok(0),
        Err(error) => Err(error),
    }
}

async fn try_leases(leases: &dyn LeaseTable, settings: &Settings, streams: &[StreamDescription], report: &mut Report) {
    let refusal = |scan: &Scan| {
        let of_another = streams.iter().find_map(|stream| of_another_stream(scan, stream, settings.leases.keys));
        of_another.or_else(|| of_other_form(scan, settings.leases.keys))
    };
    match leases.scan().await {
        Ok(scan) if scan.unreadable.is_empty() => match refusal(&scan) {
            None => report.ok("scan the lease table", format!("{} leases", scan.rows.len())),
            Some(problem) => report.failed("scan the lease table", problem),
        },
        Ok(scan) => {
            for row in scan.unreadable {
                report.failed("scan the lease table", format!("the lease {} cannot be read: {}", row.key, row.problem));
            }
        }
        Err(error) if error.class == ErrorClass::NotFound => {
            report.ok("scan the lease table", "there is none yet; `penstock run` creates it");
        }
        Err(error) => report.failed("scan the lease table", error.to_string()),
    }
}

/// What `run` refuses to start with: leases of a stream that was there under this name before.
fn of_another_stream(scan: &Scan, stream: &StreamDescription, keys: KeyForm) -> Option<String> {
    let id = stream.stream_id();
    let is_namesake = |row: &&LeaseRow| match (keys, row.key.stream_id()) {
        (KeyForm::Single, None) => true,
        (KeyForm::Multi, Some(found)) => {
            let same = |one: &StreamId| one.parts().map(|(account, name, _)| (account.to_owned(), name));
            same(&found) == same(&id)
        }
        (KeyForm::Single, Some(_)) | (KeyForm::Multi, None) => false,
    };
    let mut created = scan.rows.iter().filter(is_namesake).filter_map(|row| row.stream_created);
    let rows = created.find(|created| *created != stream.created)?;
    Some(format!(
        "the leases belong to a stream that was created at {rows}, {} was created at {}: use another application name, \
         or remove the leases of the old stream",
        stream.name, stream.created
    ))
}

/// Rows whose keys have another form than the configuration's.
fn of_other_form(scan: &Scan, keys: KeyForm) -> Option<String> {
    let row = scan.rows.iter().find(|row| row.key.stream_id().is_some() != (keys == KeyForm::Multi))?;
    Some(format!(
        "the lease {} has another form of key than leases.keys asks for: `penstock leases convert` changes the table, or use \
         another application name",
        row.key
    ))
}

/// Whether a leader of the KCL 3 assigns these leases.
async fn try_kcl_version(leases: &dyn LeaseTable, settings: &Settings, report: &mut Report) {
    const WHAT: &str = "look for a KCL 3 leader";
    match leases.kcl_version().await {
        Ok(KclVersion::Unrecorded) => report.ok(WHAT, "there is no record of any"),
        Ok(KclVersion::Peers(state)) => report.ok(WHAT, format!("{state}: every worker takes for itself")),
        Ok(KclVersion::Leader(state)) if settings.leases.exclusive => {
            report.ok(WHAT, format!("{state}; leases.mode = \"exclusive\" goes on once no worker of it is left"));
        }
        Ok(KclVersion::Leader(state)) => report.failed(
            WHAT,
            format!("{state}: stop its workers and set leases.mode = \"exclusive\", or roll it back to 2.x first"),
        ),
        Err(error) => report.failed(WHAT, error.to_string()),
    }
}

async fn try_gaps(gaps: &dyn GapLedger, report: &mut Report) {
    const WHAT: &str = "read the gap ledger";
    match gaps.entries().await {
        Ok((entries, _)) => {
            report.ok(WHAT, format!("{} open", entries.iter().filter(|entry| entry.is_open()).count()));
        }
        Err(error) if error.class == ErrorClass::NotFound => {
            report.ok(WHAT, "there is none yet; `penstock run` creates it");
        }
        Err(error) => report.failed(WHAT, error.to_string()),
    }
}

async fn try_objects(sink: &Arc<dyn ObjectSink>, report: &mut Report) {
    let destination = sink.destination();
    match sink.probe(&destination).await {
        Ok(true) => report.ok("reach the sink", destination.to_string()),
        Ok(false) => {
            report.failed("reach the sink", format!("{destination} does not exist; create it or correct [sink]"))
        }
        Err(error) => report.failed("reach the sink", error.to_string()),
    }
}

async fn try_calls(sink: &Arc<dyn CallSink>, report: &mut Report) {
    let detail = |packable: Option<bool>| match packable {
        Some(true) => "plain to its destination: records are packed with sink.pack = \"auto\"",
        Some(false) => "it looks at each record: records are not packed with sink.pack = \"auto\"",
        None => "it cannot be described, so records are not packed with sink.pack = \"auto\"",
    };
    match sink.probe().await {
        Ok(target) => report.ok("reach the sink", detail(target.packable)),
        Err(error) => report.failed("reach the sink", error.to_string()),
    }
}
