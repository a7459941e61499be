//! The files of `deploy/`, the compose file and `make install`: linted by real tools, checked against each other, against the code
//! that they permit, and where nothing but this machine is needed, run.

mod compose;
mod ecs;
mod host;
mod iam;
mod image;
mod page;
mod source;
#[path = "../support/mod.rs"]
mod support;
mod tools;
