//! The one declaration of every key: path, kind, default, range, the sinks it belongs to, and what it means. The
//! walk over the values, suggestions, `penstock config` and the test of the documentation all read this table.

mod keys;

use super::form::Form;
use super::unit;
use std::time::Duration;

pub(crate) use keys::KEYS;

/// One key of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Section and name: `sink.bucket`.
    pub(crate) path: &'static str,
    /// What a value must look like.
    pub(crate) kind: Kind,
    /// What holds when nobody gives a value.
    pub(crate) fallback: Fallback,
    /// The sink types it belongs to; empty for all of them and for keys outside `[sink]`.
    pub(crate) sinks: &'static [&'static str],
    /// One or two sentences for the documentation.
    pub(crate) meaning: &'static str,
}

/// What a value must look like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text of a certain form.
    Text(Form),
    /// A list of texts of a certain form.
    List(Form),
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// A whole number, both bounds allowed.
    Integer(i64, i64),
    /// A duration, both bounds allowed.
    Duration(Duration, Duration),
    /// A size in bytes, both bounds allowed.
    Size(u64, u64),
}

/// What holds when nobody gives a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Nothing: the key has to be given.
    Required,
    /// This value, as it would be given in an environment variable.
    Value(&'static str),
    /// A value that follows from something else, which is named. The key is empty if that is empty.
    Derived(&'static str),
    /// The key is off.
    Unset,
}

impl Key {
    /// True if the key belongs to this type of sink, as every key outside `[sink]` does.
    pub(crate) fn belongs_to(&self, sink_type: &str) -> bool {
        self.sinks.is_empty() || self.sinks.contains(&sink_type)
    }

    /// The section: `sink`, `aws.endpoints`.
    pub(crate) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The name within the section.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// True if an empty value means that the key is not given.
    pub(crate) fn empty_is_unset(&self) -> bool {
        let derived = matches!(self.fallback, Fallback::Derived(_));
        match self.kind {
            Kind::Text(_) | Kind::List(_) => !matches!(self.fallback, Fallback::Value(_)),
            Kind::Choice(_) => derived,
            Kind::Boolean | Kind::Integer(..) | Kind::Duration(..) | Kind::Size(..) => false,
        }
    }
}

impl Kind {
    /// The allowed values in a few words.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Text(form) => form.allowed().to_owned(),
            Self::List(form) => format!("a list, each entry {}", form.allowed()),
            Self::Choice(words) => words.join(", "),
            Self::Boolean => "true, false".to_owned(),
            Self::Integer(least, most) => format!("{least} to {most}"),
            Self::Duration(least, most) => {
                format!("{} to {}", unit::format_duration(*least), unit::format_duration(*most))
            }
            Self::Size(least, most) => format!("{} to {}", unit::format_size(*least), unit::format_size(*most)),
        }
    }
}

/// The key with this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// True if some key lies in the section of this path, at any depth.
pub(crate) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unique_and_sections_stand_together() {
        let mut sections: Vec<&str> = Vec::new();
        for (index, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..index].iter().any(|other| other.path == key.path), "{} twice", key.path);
            if sections.last() != Some(&key.section()) {
                assert!(!sections.contains(&key.section()), "[{}] is torn apart", key.section());
                sections.push(key.section());
            }
        }
    }

    #[test]
    fn sections_are_recognised_at_any_depth() {
        assert!(is_section("aws") && is_section("aws.endpoints") && is_section("sink"));
        assert!(!is_section("aws.region") && !is_section("sin") && !is_section(""));
    }
}
