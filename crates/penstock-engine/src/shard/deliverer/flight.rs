//! The way of one sealed batch: intend, put, commit. Straight on; a batch is never cut anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use penstock_core::aggregate::DropReason;
use penstock_core::batch::SealedRange;
use penstock_core::coordinator::api::{Commit, ShardRequest};
use penstock_core::intent::codec;
use penstock_core::mutant::{self, Mutant};

use super::put::{Patience, Putter};
use super::{ShardError, Stopped};
use crate::budget::Permit;
use crate::ports::{ObjectSink, SealedBatch};
use crate::shard::context::ShardContext;
use crate::shard::pulse::Part;

/// A sealed batch with the memory that it takes.
pub(super) struct Batch {
    pub(super) range: SealedRange,
    pub(super) sealed: SealedBatch,
    /// User records that it covers and that no object shows, by reason.
    pub(super) dropped: BTreeMap<DropReason, u64>,
    pub(super) permit: Option<Permit>,
}

/// Carries a batch all the way. The value is the batch, whose checkpoint is stored.
pub(super) async fn fly(
    ctx: Arc<ShardContext>,
    sink: Arc<dyn ObjectSink>,
    batch: Box<Batch>,
) -> Result<Box<Batch>, Stopped> {
    if batch.sealed.objects.is_empty() {
        commit(&ctx, &batch, None).await?;
        return Ok(batch);
    }
    let intent = codec::encode(&batch.sealed.intent).map_err(ShardError::from)?;
    let recorded = if mutant::is(Mutant::NoIntent) { None } else { Some(intent) };
    if let Some(intent) = &recorded {
        intend(&ctx, &batch, intent).await?;
    }
    if mutant::is(Mutant::CommitBeforePut) {
        commit(&ctx, &batch, recorded).await?;
        put(ctx, sink, &batch).await?;
        return Ok(batch);
    }
    put(Arc::clone(&ctx), sink, &batch).await?;
    commit(&ctx, &batch, recorded).await?;
    Ok(batch)
}

async fn intend(ctx: &ShardContext, batch: &Batch, intent: &Bytes) -> Result<(), Stopped> {
    let request = ShardRequest::Intend { from: batch.range.from.clone(), intent: intent.clone() };
    match ctx.request(Part::Flight, request).await {
        Ok(()) => Ok(()),
        // The mutant's coordinator says this of an intent whose outcome is unknown: read and cut again.
        Err(_) if mutant::is(Mutant::RecutAfterUnknownIntent) => Err(Stopped::Failed(ShardError::Gone("intent"))),
        Err(lost) => Err(lost.into()),
    }
}

async fn put(ctx: Arc<ShardContext>, sink: Arc<dyn ObjectSink>, batch: &Batch) -> Result<(), Stopped> {
    let destination = &batch.sealed.intent.destination;
    let mut putter = Putter::new(Arc::clone(&ctx), Part::Flight, sink);
    // One after the other: a batch has an object of records and, rarely, one of what is set aside.
    for object in &batch.sealed.objects {
        putter.put(destination, object, Patience::Endless).await.map_err(ShardError::from)?;
        ctx.worker.metrics.object_put(batch.range.reason.as_str(), object.len());
    }
    Ok(())
}

async fn commit(ctx: &ShardContext, batch: &Batch, intent: Option<Bytes>) -> Result<(), Stopped> {
    let SealedRange { from, first: _, last, arrival, chain: _, records: _, reason: _ } = &batch.range;
    let left_objects = !batch.sealed.objects.is_empty();
    let commit = Commit {
        from: from.clone(),
        after: last.clone(),
        arrival: *arrival,
        chain: left_objects.then(|| last.clone()),
        intent,
        next: None,
    };
    ctx.request(Part::Flight, ShardRequest::Commit(commit)).await?;
    Ok(())
}
