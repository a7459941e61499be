//! A stream as one worker reaches it.

use std::sync::Arc;

use async_trait::async_trait;
use penstock_core::ids::ShardId;
use penstock_core::shard::ShardListing;
use penstock_engine::ports::{Fetched, OpenAt, SeamError, ShardIterator, ShardSource, StreamDescription};

use crate::network::{Link, Seam};
use crate::stream::StreamNumber;
use crate::world::World;

/// A stream as one worker reaches it. Each fetch gives a page of random size, so that chunks end anywhere.
#[derive(Debug)]
pub struct LinkedSource {
    link: Arc<Link>,
    stream: StreamNumber,
    largest_page: u64,
}

impl LinkedSource {
    /// A stream behind `link`, in pages of at most `largest_page` records.
    #[must_use]
    pub const fn new(link: Arc<Link>, stream: StreamNumber, largest_page: u64) -> Self {
        Self { link, stream, largest_page }
    }
}

#[async_trait]
impl ShardSource for LinkedSource {
    async fn describe(&self) -> Result<StreamDescription, SeamError> {
        let stream = self.stream;
        let effect = move |world: &World| Ok(world.with(|state| state.streams.describe(stream)));
        self.link.call(Seam::Source, "DescribeStreamSummary", String::new(), effect).await
    }

    async fn list_shards(&self) -> Result<Vec<ShardListing>, SeamError> {
        let stream = self.stream;
        let effect = move |world: &World| Ok(world.with(|state| state.streams.list(stream)));
        self.link.call(Seam::Source, "ListShards", String::new(), effect).await
    }

    async fn open(&self, shard: &ShardId, at: &OpenAt) -> Result<ShardIterator, SeamError> {
        let (stream, id, at, name) = (self.stream, shard.clone(), at.clone(), self.link.name.clone());
        let effect = move |world: &World| {
            world.with(|state| {
                state.note(&name, format_args!("open {id} {at:?}"));
                state.streams.open(stream, &id, &at, state.now)
            })
        };
        self.link.call(Seam::Source, "GetShardIterator", shard.to_string(), effect).await
    }

    async fn fetch(&self, shard: &ShardId, iterator: &ShardIterator, max_records: u32) -> Result<Fetched, SeamError> {
        // Now and then it gives nothing although there is more, as the service does.
        let most = self.largest_page.min(u64::from(max_records));
        let page = if self.link.below(12) == 0 { 0 } else { 1 + self.link.below(most) };
        let page = usize::try_from(page).expect("a page is small");
        let (stream, id, iterator, name) = (self.stream, shard.clone(), iterator.clone(), self.link.name.clone());
        let effect = move |world: &World| {
            world.with(|state| {
                let fetched = state.streams.fetch(stream, &id, &iterator, page, state.now)?;
                let (count, end) = (fetched.chunk.len(), fetched.next.is_none());
                if count > 0 || end {
                    state.note(&name, format_args!("fetch {id} {count}{}", if end { ", the end" } else { "" }));
                }
                Ok(fetched)
            })
        };
        self.link.call(Seam::Source, "GetRecords", shard.to_string(), effect).await
    }
}
