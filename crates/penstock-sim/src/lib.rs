//! The proving ground: simulated seams with faults, seeds and invariants. Never shipped.

pub mod conformance;
pub mod lease_table;
