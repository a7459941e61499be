//! Motion: the tasks, channels and limits that carry out what core decides, and the seams to the outside.
//!
//! No AWS, no command line, no global state, no reading of configuration.

pub mod ports;
