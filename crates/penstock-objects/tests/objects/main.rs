//! Tests of the crate from outside, in one binary: the writer, and every store of objects against one suite.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod conformance;
mod directory;
mod s3_ministack;
mod set_aside;
mod suite;
mod writer;
