//! The pipeline of one held shard: a reader and a deliverer, and what watches over them.

pub(crate) mod context;
pub(crate) mod deliverer;
pub(crate) mod gaps;
pub(crate) mod look;
pub(crate) mod pipeline;
pub(crate) mod pulse;
pub(crate) mod reader;
pub(crate) mod resume;
pub(crate) mod tenure;
