//! Reads back what the demo delivered, and holds it against what was told.

use anyhow::Context;
use penstock_core::intent::Destination;
use penstock_core::position::RecordPosition;
use penstock_objects::readback::{Readback, check_chain, records};
use penstock_objects::{FinishedObject, metadata};

use super::proof::{Proof, Verdict};
use super::shard_number;
use super::stage::{Stage, finished_files};

/// What stands at the sink.
pub(super) struct Found {
    /// Finished objects.
    pub(super) objects: usize,
    /// What the proof says of their records.
    pub(super) verdict: Verdict,
    /// What is wrong with the chain of objects.
    pub(super) chain_problems: Vec<String>,
}

/// Reads everything back.
pub(super) async fn look(stage: &Stage, told: u64) -> anyhow::Result<Found> {
    match stage.is_firehose() {
        false => look_at_objects(stage, told).await,
        true => look_at_files(stage, told),
    }
}

async fn look_at_objects(stage: &Stage, told: u64) -> anyhow::Result<Found> {
    let path = stage.delivered().into_os_string().into_string().ok().context("the directory is not UTF-8")?;
    let sink = Readback::open(&Destination::Directory { path }, None)?;
    let mut objects = sink.list().await?;
    let chain_problems = check_chain(&objects).iter().map(ToString::to_string).collect();
    objects.sort_by_cached_key(place);
    let mut proof = Proof::new(told);
    for object in &objects {
        let content = sink.content(object).await?;
        records(&content, b"\n").into_iter().for_each(|line| proof.look(line, &object.key));
    }
    Ok(Found { objects: objects.len(), verdict: proof.verdict(), chain_problems })
}

/// Where an object stands among all: after those of its shard's parents, and along its shard.
fn place(object: &FinishedObject) -> (u64, Option<RecordPosition>) {
    let text = |name: &str| object.metadata.get(name).map(String::as_str);
    let first = text(metadata::FIRST).and_then(|first| RecordPosition::parse(first).ok());
    (shard_number(text(metadata::SHARD).unwrap_or_default()), first)
}

/// Firehose promises no order, so files are read as they come.
fn look_at_files(stage: &Stage, told: u64) -> anyhow::Result<Found> {
    let files = finished_files(&stage.delivered())?;
    let mut proof = Proof::new(told);
    for file in &files {
        let content = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        records(&content, b"\n").into_iter().for_each(|line| proof.look(line, &file.display().to_string()));
    }
    Ok(Found { objects: files.len(), verdict: proof.verdict(), chain_problems: Vec::new() })
}
