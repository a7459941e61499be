//! What the coordinator reports, as log lines, counts and facts on the board.

use std::sync::Arc;

use penstock_core::coordinator::api::Report;

use super::FirstScan;
use crate::metrics::count_as_f64;
use crate::ports::{ErrorClass, SeamError};
use crate::shard::context::chain;
use crate::status::Board;
use crate::told::Told;

/// Tells the world. The value is what those wait for who wait for the first look at the leases.
pub(super) fn tell(board: &Arc<Board>, report: Report) -> Option<FirstScan> {
    match report {
        Report::Taken { key, from, stolen } => {
            board.lease_taken(&key);
            let from = from.as_ref().map(|worker| worker.as_str());
            tracing::info!(worker = %board.worker, shard = %key, from, stolen, "lease taken");
        }
        Report::Lost { key, reason, to } => {
            board.metrics.lease_lost(reason.as_str());
            let to = to.as_ref().map(|worker| worker.as_str());
            tracing::warn!(worker = %board.worker, shard = %key, reason = reason.as_str(), to, "lease lost");
        }
        Report::Released { key, to } => {
            let to = to.as_ref().map(|worker| worker.as_str());
            tracing::info!(worker = %board.worker, shard = %key, to, "lease released");
        }
        Report::Wanted { key, of } => {
            tracing::info!(worker = %board.worker, shard = %key, of = %of, "lease asked for");
        }
        Report::CapsTooSmall { workers, max_leases, leases } => {
            tracing::warn!(
                worker = %board.worker, workers, max_leases, leases,
                "leases.max_leases of all workers together is below the number of leases: some shards are not read"
            );
        }
        Report::Checkpointed { key } => {
            board.metrics.checkpoints.increment(1);
            tracing::debug!(worker = %board.worker, shard = %key, "checkpoint stored");
        }
        Report::Ended { key } => tracing::info!(worker = %board.worker, shard = %key, "shard ended"),
        Report::Scanned { leases, unowned, workers } => {
            board.scanned(unowned, workers);
            board.metrics.leases_unowned.set(count_as_f64(unowned as u64));
            tracing::debug!(worker = %board.worker, leases, unowned, workers, "leases scanned");
            return Some(FirstScan::Done);
        }
        Report::ForeignWorker { key, owner } => {
            tracing::error!(worker = %board.worker, shard = %key, %owner, "a worker that is not penstock's is at the leases");
        }
        Report::UnreadableRow { key, problem } => {
            tracing::error!(worker = %board.worker, shard = %key, problem, "a lease row cannot be read, its shard is left alone");
        }
        Report::StreamRecreated { index: _, rows, stream } => {
            board.leases_of_another_stream(format!(
                "it was created again at {stream}; the leases are of the one of {rows}"
            ));
            tracing::error!(
                worker = %board.worker, %rows, %stream,
                "the stream was created again: the leases belong to one created at another time, nothing is taken"
            );
            return Some(FirstScan::Recreated { rows, stream });
        }
    }
    None
}

/// A call to the lease table, or for the list of shards, failed. The coordinator decides when it is made again.
pub(super) fn call_failed(board: &Arc<Board>, told: &mut Told, error: &SeamError, scan: bool) {
    board.metrics.call_failed(error.operation, error.class.as_str());
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
