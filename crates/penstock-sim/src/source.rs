//! The stream as one worker reaches it.

use std::sync::Arc;

use async_trait::async_trait;
use penstock_core::ids::ShardId;
use penstock_core::shard::ShardListing;
use penstock_engine::ports::{Fetched, OpenAt, SeamError, ShardIterator, ShardSource, StreamDescription};

use crate::network::{Link, Seam};
use crate::world::World;

/// The stream as one worker reaches it. Each fetch gives a page of random size, so that chunks end anywhere.
#[derive(Debug)]
pub struct LinkedSource {
    link: Arc<Link>,
    largest_page: u64,
}

impl LinkedSource {
    /// The stream behind `link`, in pages of at most `largest_page` records.
    #[must_use]
    pub const fn new(link: Arc<Link>, largest_page: u64) -> Self {
        Self { link, largest_page }
    }
}

#[async_trait]
impl ShardSource for LinkedSource {
    async fn describe(&self) -> Result<StreamDescription, SeamError> {
        let effect = |world: &World| Ok(world.with(|state| state.stream.describe()));
        self.link.call(Seam::Source, "DescribeStreamSummary", String::new(), effect).await
    }

    async fn list_shards(&self) -> Result<Vec<ShardListing>, SeamError> {
        let effect = |world: &World| Ok(world.with(|state| state.stream.list()));
        self.link.call(Seam::Source, "ListShards", String::new(), effect).await
    }

    async fn open(&self, shard: &ShardId, at: &OpenAt) -> Result<ShardIterator, SeamError> {
        let (id, at, name) = (shard.clone(), at.clone(), self.link.name.clone());
        let effect = move |world: &World| {
            world.with(|state| {
                state.note(&name, format_args!("open {id} {at:?}"));
                state.stream.open(&id, &at, state.now)
            })
        };
        self.link.call(Seam::Source, "GetShardIterator", shard.to_string(), effect).await
    }

    async fn fetch(&self, shard: &ShardId, iterator: &ShardIterator, max_records: u32) -> Result<Fetched, SeamError> {
        let page = 1 + self.link.below(self.largest_page.min(u64::from(max_records)));
        let page = usize::try_from(page).expect("a page is small");
        let (id, iterator, name) = (shard.clone(), iterator.clone(), self.link.name.clone());
        let effect = move |world: &World| {
            world.with(|state| {
                let fetched = state.stream.fetch(&id, &iterator, page, state.now)?;
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
