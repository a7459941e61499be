//! Values after the walk: each key's raw value converted to what its kind says, with its origin kept. Conversion
//! says what is wrong with a value; it knows nothing of other keys.

use super::form::Form;
use super::problem::{Origin, Problem};
use super::schema::{Fallback, Key, Kind};
use super::unit;
use config::ValueKind;
use std::collections::BTreeMap;
use std::time::Duration;

/// A value of the right kind and within its key's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text, which may be empty.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A duration.
    Duration(Duration),
    /// Bytes.
    Size(u64),
}

impl Value {
    /// The value as it would stand in the file.
    pub(crate) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::List(texts) => format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ")),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Duration(value) => quote(&unit::format_duration(*value)),
            Self::Size(value) => quote(&unit::format_size(*value)),
        }
    }

    /// True for an empty text or list.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(texts) => texts.is_empty(),
            Self::Boolean(_) | Self::Integer(_) | Self::Duration(_) | Self::Size(_) => false,
        }
    }
}

/// A text in TOML's quotes, on one line.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A raw value as it would stand in the file.
pub(crate) fn quote_raw(raw: &ValueKind) -> String {
    match raw {
        ValueKind::String(text) => quote(text),
        ValueKind::Array(values) => {
            format!("[{}]", values.iter().map(|value| quote_raw(&value.kind)).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Table(_) => "{…}".to_owned(),
        other => other.to_string(),
    }
}

// === the converted values ===

/// The values of all keys that converted, by path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Values(BTreeMap<&'static str, (Value, Origin)>);

impl Values {
    /// Keeps a value.
    pub(crate) fn insert(&mut self, path: &'static str, value: Value, origin: Origin) {
        self.0.insert(path, (value, origin));
    }

    /// Keeps a key that nobody gave a value.
    pub(crate) fn insert_empty(&mut self, key: &'static Key) {
        let origin = match key.fallback {
            Fallback::Derived(from) => Origin::Derived(from),
            Fallback::Required | Fallback::Unset | Fallback::Value(_) => Origin::Default,
        };
        let value = match key.kind {
            Kind::List(_) => Value::List(Vec::new()),
            _ => Value::Text(String::new()),
        };
        self.insert(key.path, value, origin);
    }

    /// The value and origin of a key that has one and is not empty.
    pub(crate) fn get(&self, path: &str) -> Option<(&Value, &Origin)> {
        let (value, origin) = self.0.get(path)?;
        (!value.is_empty()).then_some((value, origin))
    }

    /// The value and origin of a key, even if it is empty.
    pub(crate) fn get_even_empty(&self, path: &str) -> Option<(&Value, &Origin)> {
        self.0.get(path).map(|(value, origin)| (value, origin))
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match self.get(path) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// The entries of a list; none if there is no list.
    pub(crate) fn list(&self, path: &str) -> &[String] {
        match self.get(path) {
            Some((Value::List(texts), _)) => texts,
            _ => &[],
        }
    }

    /// A yes or no.
    pub(crate) fn boolean(&self, path: &str) -> Option<bool> {
        match self.get(path) {
            Some((Value::Boolean(value), _)) => Some(*value),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn integer<N: TryFrom<i64>>(&self, path: &str) -> Option<N> {
        match self.get(path) {
            Some((Value::Integer(value), _)) => N::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A duration.
    pub(crate) fn duration(&self, path: &str) -> Option<Duration> {
        match self.get(path) {
            Some((Value::Duration(value), _)) => Some(*value),
            _ => None,
        }
    }

    /// Bytes.
    pub(crate) fn size(&self, path: &str) -> Option<u64> {
        match self.get(path) {
            Some((Value::Size(value), _)) => Some(*value),
            _ => None,
        }
    }

    /// True if someone gave the key a value that is not empty.
    pub(crate) fn is_given(&self, path: &str) -> bool {
        self.get(path).is_some_and(|(_, origin)| origin.is_given())
    }

    /// A problem with the value of a key, naming the value and its origin.
    pub(crate) fn problem(&self, path: &str, what: impl Into<String>) -> Problem {
        match self.get(path) {
            Some((value, origin)) => Problem::new(path, what).with_value(value.to_toml()).at(origin.clone()),
            None => Problem::new(path, what),
        }
    }
}

// === conversion ===

/// Converts a raw value, or says what is wrong with it.
pub(crate) fn convert(key: &Key, raw: &ValueKind, origin: &Origin) -> Result<Value, String> {
    // Only a file knows types; elsewhere a value is text whatever it means.
    let typed = matches!(origin, Origin::File { .. });
    match &key.kind {
        Kind::Text(form) => convert_text(key, *form, raw, origin),
        Kind::List(form) => convert_list(*form, raw, typed),
        Kind::Choice(_) if key.empty_is_unset() && matches!(raw, ValueKind::String(text) if text.is_empty()) => {
            Ok(Value::Text(String::new()))
        }
        Kind::Choice(words) => convert_choice(words, raw),
        Kind::Boolean => match raw {
            ValueKind::Boolean(value) => Ok(Value::Boolean(*value)),
            ValueKind::String(text) if !typed => {
                text.parse().map(Value::Boolean).map_err(|_| "is neither true nor false".to_owned())
            }
            ValueKind::String(text) if matches!(text.as_str(), "true" | "false") => {
                Err(format!("is text; write {text} without quotes"))
            }
            _ => Err("is neither true nor false".to_owned()),
        },
        Kind::Integer(least, most) => within(convert_integer(raw, typed)?, least, most).map(Value::Integer),
        Kind::Duration(least, most) => within(unit::parse_duration(&amount(raw)?)?, least, most).map(Value::Duration),
        Kind::Size(least, most) => within(unit::parse_size(&amount(raw)?)?, least, most).map(Value::Size),
    }
}

fn within<T: PartialOrd>(value: T, least: &T, most: &T) -> Result<T, String> {
    if value < *least {
        return Err("is too small".to_owned());
    }
    if value > *most { Err("is too large".to_owned()) } else { Ok(value) }
}

/// The text of a duration or size; a bare number has no unit, which is what its parser then says.
fn amount(raw: &ValueKind) -> Result<String, String> {
    match raw {
        ValueKind::String(text) => Ok(text.clone()),
        ValueKind::I64(number) => Ok(number.to_string()),
        ValueKind::Float(number) => Ok(number.to_string()),
        _ => Err("is not a number with a unit".to_owned()),
    }
}

fn convert_integer(raw: &ValueKind, typed: bool) -> Result<i64, String> {
    match raw {
        ValueKind::I64(number) => Ok(*number),
        ValueKind::String(text) if !typed => text.parse().map_err(|_| "is not a whole number".to_owned()),
        ValueKind::String(text) if text.parse::<i64>().is_ok() => Err(format!("is text; write {text} without quotes")),
        _ => Err("is not a whole number".to_owned()),
    }
}

fn convert_choice(words: &[&str], raw: &ValueKind) -> Result<Value, String> {
    let word = match raw {
        ValueKind::String(text) => text.clone(),
        // Where true and false are among the words, they need no quotes.
        ValueKind::Boolean(value) => value.to_string(),
        _ => return Err("is not one of the words allowed".to_owned()),
    };
    if words.contains(&word.as_str()) {
        return Ok(Value::Text(word));
    }
    match words.iter().find(|known| known.eq_ignore_ascii_case(&word)) {
        Some(known) => Err(format!("is written {known:?}")),
        None => Err("is not one of the words allowed".to_owned()),
    }
}

fn convert_text(key: &Key, form: Form, raw: &ValueKind, origin: &Origin) -> Result<Value, String> {
    let ValueKind::String(text) = raw else {
        return Err("is not text; write it in quotes".to_owned());
    };
    let outside_file = matches!(origin, Origin::Environment(_) | Origin::Set);
    let text = if form == Form::Delimiter && outside_file { unescape(text)? } else { text.clone() };
    if !(text.is_empty() && key.empty_is_unset()) {
        form.check(&text)?;
    }
    Ok(Value::Text(text))
}

fn convert_list(form: Form, raw: &ValueKind, typed: bool) -> Result<Value, String> {
    let texts: Vec<String> = match raw {
        ValueKind::Array(values) => {
            let texts = values.iter().map(|value| match &value.kind {
                ValueKind::String(text) => Ok(text.clone()),
                _ => Err("has an entry that is not text; write it in quotes".to_owned()),
            });
            texts.collect::<Result<_, String>>()?
        }
        ValueKind::String(text) if !typed => {
            text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
        }
        _ => return Err("is not a list, as in [\"clicks\"]".to_owned()),
    };
    for (index, text) in texts.iter().enumerate() {
        form.check(text)?;
        if texts[..index].contains(text) {
            return Err(format!("names {} twice", quote(text)));
        }
    }
    Ok(Value::List(texts))
}

/// Reads `\n`, `\r`, `\t` and `\\` as TOML does, since a shell hands them over as they are.
fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        plain.push(match chars.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('\\') => '\\',
            _ => return Err("has a backslash before something other than n, r, t or a backslash".to_owned()),
        });
    }
    Ok(plain)
}
