//! The effective configuration: each value with its origin. As text it is TOML that loads to the same settings.

use super::schema::{KEYS, Key};
use super::value::{Value, Values};
use serde_json::json;
use std::fmt;

/// One value as it takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: &'static Key,
    value: Value,
    origin: String,
}

/// All values that take effect, in the schema's order; keys of other sinks left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective(Vec<Entry>);

/// Collects the values that take effect.
pub(crate) fn of(values: &Values) -> Effective {
    let entry = |key: &'static Key| {
        let (value, origin) = values.get_even_empty(key.path)?;
        Some(Entry { key, value: value.clone(), origin: origin.to_string() })
    };
    Effective(KEYS.iter().filter_map(entry).collect())
}

impl Effective {
    /// The same for a program: a list of keys with value, origin, range and meaning.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let entries = self.0.iter().map(|entry| {
            let value = match &entry.value {
                Value::Text(text) => json!(text),
                Value::List(texts) => json!(texts),
                Value::Boolean(value) => json!(value),
                Value::Integer(value) => json!(value),
                Value::Duration(value) => json!(super::unit::format_duration(*value)),
                Value::Size(value) => json!(super::unit::format_size(*value)),
            };
            json!({
                "key": entry.key.path,
                "value": value,
                "origin": entry.origin,
                "allowed": entry.key.kind.allowed(),
                "meaning": entry.key.meaning,
            })
        });
        json!({ "values": entries.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.0.iter().map(|entry| format!("{} = {}", entry.key.name(), entry.value.to_toml())).collect();
        let widest = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= 48).max().unwrap_or(0);
        let mut section = "";
        for (entry, line) in self.0.iter().zip(&lines) {
            if entry.key.section() != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                section = entry.key.section();
                writeln!(f, "{gap}[{section}]")?;
            }
            // A comment ends with its line, whatever a file or a variable is called.
            let origin: String = entry.origin.chars().filter(|c| !c.is_control()).collect();
            writeln!(f, "{line:widest$}  # {origin}")?;
        }
        Ok(())
    }
}
