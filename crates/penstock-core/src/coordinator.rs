//! Who owns which shard, and what may be checkpointed: the lease coordinator of one worker, a pure state machine.

pub mod api;
