//! The encoding of an intent.
