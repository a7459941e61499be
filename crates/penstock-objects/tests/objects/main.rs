//! Tests of the crate from outside, in one binary: the writer, and every store of objects against one suite.

mod conformance;
mod directory;
mod s3_ministack;
mod set_aside;
mod suite;
mod writer;
