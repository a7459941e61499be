//! Conformance suites: the rules of each seam as tests that every implementation runs, the real and the simulated.

pub mod gap_ledger;
pub mod lease_table;
