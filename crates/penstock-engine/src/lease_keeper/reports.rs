//! What the coordinator reports, as log lines, counts and facts on the board.

use std::sync::Arc;

use penstock_core::coordinator::api::{LossReason, Report, StreamIndex};
use penstock_core::gap::GapEntry;
use penstock_core::ids::LeaseKey;

use super::FirstScan;
use crate::ports::{ErrorClass, SeamError};
use crate::shard::context::chain;
use crate::status::Board;
use crate::told::Told;

/// What a report leads to beyond being told.
pub(super) enum Consequence {
    /// The first look at the leases is done.
    First(FirstScan),
    /// The worker may not go on.
    Refuse(String),
}

/// Tells the world.
pub(super) fn tell(board: &Arc<Board>, report: Report) -> Option<Consequence> {
    match report {
        Report::Taken { key, from, stolen } => {
            board.lease_taken(&key);
            board.metrics.lease_taken(stolen);
            // A lease that was handed over names us already.
            let from = from.as_ref().filter(|worker| **worker != board.worker).map(|worker| worker.as_str());
            tracing::info!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), from, stolen, "lease taken");
        }
        Report::Lost { key, reason, to } => {
            board.metrics.lease_lost(reason.as_str());
            let (to, why) = (to.as_ref().map(|worker| worker.as_str()), why_lost(reason));
            tracing::warn!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), reason = reason.as_str(), to, "lease lost: {why}");
        }
        Report::Released { key, to } => {
            let to = to.as_ref().map(|worker| worker.as_str());
            if to.is_some() {
                board.metrics.leases_handed_over.increment(1);
            }
            tracing::info!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), to, "lease released");
        }
        Report::Wanted { key, of } => {
            board.metrics.leases_wanted.increment(1);
            tracing::info!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), of = %of, "lease asked for");
        }
        Report::CapsTooSmall { workers, max_leases, leases } => {
            tracing::warn!(
                worker = %board.worker, workers, max_leases, leases,
                "if each worker has this leases.max_leases, all of them together cannot hold all leases: some shards are not read"
            );
        }
        Report::Checkpointed { key } => {
            board.metrics.checkpoint_stored(board.clock.now().wall);
            tracing::debug!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), "checkpoint stored");
        }
        Report::Ended { key } => {
            tracing::info!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), "shard ended")
        }
        Report::Scanned { leases, unowned, workers } => {
            board.scanned(unowned, workers);
            board.metrics.scanned(leases, unowned, workers);
            tracing::debug!(worker = %board.worker, leases, unowned, workers, "leases scanned");
            return Some(Consequence::First(FirstScan::Done));
        }
        Report::WaitsForForeign { key, owner } => {
            tracing::warn!(
                worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), %owner,
                "leases.mode is \"exclusive\" and a worker that is not penstock's is alive: nothing is taken until it has stopped"
            );
        }
        Report::ForeignWorker { key, owner } => {
            return Some(Consequence::Refuse(format!(
                "leases.mode is \"exclusive\", and {owner}, a worker that is not penstock's, is at the lease {key}: stop it, \
                 or set leases.mode = \"peer\" if it is of the KCL 2"
            )));
        }
        Report::OtherKeyForm { found } => return Some(Consequence::Refuse(other_key_form(&found, board.streams()))),
        Report::UnreadableRow { key, problem } => {
            tracing::error!(worker = %board.worker, stream = %board.stream_of(&key), shard = %key.shard_id(), problem, "a lease row cannot be read, its shard is left alone");
        }
        Report::HashRangeHole { stream, from, to } => hash_range_hole(board, stream, from, to),
        Report::StreamRecreated { index, rows, stream: created } => {
            let stream = board.stream(index);
            let problem = format!("it was created again at {created}; the leases are of the one of {rows}");
            if board.leases_of_another_stream(index, problem) {
                tracing::error!(
                    worker = %board.worker, %stream, %rows, %created,
                    "the stream was created again: its leases belong to one created at another time, none of them is taken"
                );
            }
            // Others go on; alone there is nothing to go on with.
            if board.streams() == 1 {
                return Some(Consequence::First(FirstScan::Recreated { stream, rows, created }));
            }
        }
    }
    None
}

fn hash_range_hole(board: &Board, stream: StreamIndex, from: u128, to: u128) {
    tracing::error!(
        worker = %board.worker, stream = %board.stream(stream), from, to,
        "no lease covers these hash keys, and listing the shards did not help: their records are not read"
    );
}

/// What became of a lost lease. Our owner string in a row that we did not write is no worker's doing, but for one that has it too.
const fn why_lost(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Taken => "another worker has it",
        LossReason::Expired => "no write to the lease table succeeded in time",
        LossReason::Deleted => "somebody deleted its row",
        LossReason::Changed => {
            "its row was written by something else under this worker's name: a tool, or a copy of this process or machine"
        }
    }
}

/// An entry that the coordinator noticed stands in the ledger. One for information is no alarm.
pub(super) fn gap_stored(board: &Board, entry: &GapEntry) {
    let (stream, shard) = (&entry.stream, entry.lease.shard_id());
    let (reason, range) = (entry.reason.as_str(), &entry.range);
    if entry.reason.is_information() {
        tracing::info!(%stream, %shard, reason, %range, "for information, in the gap ledger");
        return;
    }
    board.metrics.gap(reason);
    tracing::error!(
        %stream, %shard, reason, %range, gap = %entry.id(),
        "records may be missing or repeated by someone else's doing; the gap is in the ledger"
    );
}

fn other_key_form(found: &LeaseKey, streams: usize) -> String {
    // Keys of one stream cannot serve several.
    let (is, mend) = match (found.stream_id().is_some(), streams) {
        (true, _) => (
            "several streams",
            "set leases.keys = \"multi\", or stop all workers and rewrite the table with `penstock leases convert`",
        ),
        (false, 0..=1) => (
            "one stream",
            "set leases.keys = \"single\", or stop all workers and rewrite the table with `penstock leases convert`",
        ),
        (false, _) => (
            "one stream",
            "stop all workers and rewrite the table with `penstock leases convert --stream` and the name of the stream that its leases are of",
        ),
    };
    format!("the lease table has keys for {is} (such as {found}), which is not what leases.keys says: {mend}")
}

/// A call to the lease table, or for the list of shards, failed. The coordinator decides when it is made again.
pub(super) fn call_failed(board: &Arc<Board>, told: &mut Told, error: &SeamError, scan: bool) {
    board.failed(error, None);
    if scan {
        board.lease_problem(Some(error.to_string()));
    }
    if !told.is_news(error, board.clock.now().instant) {
        return;
    }
    let class = error.class.as_str();
    match error.class {
        ErrorClass::Denied | ErrorClass::Rejected | ErrorClass::NotFound | ErrorClass::Fatal => {
            tracing::error!(worker = %board.worker, class, error = %chain(error), "a call for the leases failed");
        }
        ErrorClass::Throttled | ErrorClass::Transient | ErrorClass::Expired => {
            tracing::warn!(worker = %board.worker, class, error = %chain(error), "a call for the leases failed");
        }
    }
}
