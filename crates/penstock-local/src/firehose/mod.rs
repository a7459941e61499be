//! The local Firehose: delivery streams that buffer and write files under Firehose's names, below a directory.
//! `buffer` and `streams` are pure state that is handed the time; `files` does the writing; `service` decodes, asks the
//! state and encodes. It knows S3 destinations only, and runs no processors but the delimiter.

mod buffer;
mod destination;
mod files;
mod service;
mod streams;

pub(crate) use service::FirehoseService;
pub(crate) use streams::Settings;
