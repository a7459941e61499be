//! The commands, one file each with one `run`.

pub(crate) mod config;
