//! What is wrong with a configuration, and where each value came from. Problems are collected, never thrown one
//! at a time: whoever repairs a file sees all of them at once.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The schema's default.
    Default,
    /// A default that follows from something else, which is named.
    Derived(&'static str),
    /// A line of the configuration file.
    File {
        /// The file as it was named on the command line.
        name: String,
        /// Counted from one.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// `--set` on the command line.
    Set,
}

impl Origin {
    /// True if someone wrote the value down, rather than leaving it to the defaults.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Default | Self::Derived(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::Derived(from) => write!(f, "default: {from}"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => write!(f, "{name}"),
            Self::Set => write!(f, "--set"),
        }
    }
}

/// One thing that is wrong, or, as a warning, one that is likely not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key's full path, or the file or variable that could not be read.
    pub(crate) key: String,
    /// The value as it would stand in the file, if there is one.
    pub(crate) value: Option<String>,
    /// Where the value came from, if there is one.
    pub(crate) origin: Option<Origin>,
    /// What is wrong.
    pub(crate) what: String,
    /// What would be right, if that can be said in a few words.
    pub(crate) allowed: Option<String>,
}

impl Problem {
    /// A problem with no value behind it, such as a missing key.
    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, origin: None, what: what.into(), allowed: None }
    }

    /// Adds where the value stands.
    pub(crate) fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Adds the value.
    pub(crate) fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(shorten(value.into()));
        self
    }

    /// Adds what would be right.
    pub(crate) fn allowing(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }
}

/// A problem stays readable, whatever was pasted into a value.
fn shorten(value: String) -> String {
    const LONGEST: usize = 120;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map_or(String::new(), |value| format!(" = {value}"));
        let origin = self.origin.as_ref().map_or(String::new(), |origin| format!(" ({origin})"));
        let allowed = self.allowed.as_ref().map_or(String::new(), |allowed| format!("; allowed: {allowed}"));
        let line = format!("{}{value}{origin}: {}{allowed}", self.key, self.what);
        // Keys, files and variables may be called anything; a problem stays on its line.
        line.chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") })
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
