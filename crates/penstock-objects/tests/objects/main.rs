//! Tests of the crate from outside, in one binary: the writer, and every store of objects against one suite.

mod conformance;
mod suite;
mod writer;
