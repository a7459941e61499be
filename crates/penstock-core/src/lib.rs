//! Decisions: leases, positions, batches, intents, keys. Pure: no clock, no IO, no tokio.
