//! The configuration, built: settings, ports, and the worker over them. The one place where all crates meet.

pub(crate) mod aws;
pub(crate) mod ports;
pub(crate) mod settings;
