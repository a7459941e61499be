//! The layers that a configuration is merged from: defaults, file, environment, `--set`. Each layer is read as
//! pairs of a known key and a raw value with its origin; what is not a known key is a problem of the layer. The
//! `config` crate then lays one layer over the other.

use super::problem::{Origin, Problem, Problems};
use super::schema::{self, Fallback, KEYS, Key};
use super::suggest;
use super::value::quote;
use config::{Config, Map, Source, Value, ValueKind};
use std::ffi::OsString;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Before the name of every environment variable that is read.
pub(crate) const ENVIRONMENT_PREFIX: &str = "PENSTOCK__";

/// One key as one layer gives it.
#[derive(Debug, Clone)]
struct Given {
    key: &'static Key,
    kind: ValueKind,
    origin: Origin,
}

/// What one source of values gives.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    given: Vec<Given>,
    /// What is wrong with the layer itself: unknown keys, sections used as values, unreadable text.
    pub(crate) problems: Vec<Problem>,
    /// What is likely not meant.
    pub(crate) warnings: Vec<Problem>,
    /// True if the layer could not be read at all, so that nothing can be said of what is missing in it.
    pub(crate) unreadable: bool,
}

impl Layer {
    fn unreadable(problem: Problem) -> Self {
        Self { problems: vec![problem], unreadable: true, ..Self::default() }
    }

    fn push(&mut self, path: &str, kind: ValueKind, origin: Origin) {
        match schema::find(path) {
            Some(key) => self.given.push(Given { key, kind, origin }),
            None if schema::is_section(path) => {
                let what = format!("is a section; give its keys, as in {}", first_key_in(path));
                self.problems.push(Problem::new(path, what).at(origin));
            }
            None => self.problems.push(Problem::new(path, suggest::unknown_key(path)).at(origin)),
        }
    }
}

fn first_key_in(section: &str) -> &'static str {
    let inside = |key: &&Key| key.path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().find(inside).map_or("", |key| key.path)
}

// === defaults ===

/// The schema's own values.
pub(crate) fn defaults() -> Layer {
    let mut layer = Layer::default();
    for key in KEYS {
        if let Fallback::Value(text) = key.fallback {
            layer.given.push(Given { key, kind: ValueKind::String(text.to_owned()), origin: Origin::Default });
        }
    }
    layer
}

// === file ===

/// Reads the configuration file.
pub(crate) fn from_file(path: &Path) -> Layer {
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => from_toml(&text, &name),
            Err(_) => Layer::unreadable(Problem::new(name, "is not a text file in UTF-8")),
        },
        Err(error) => Layer::unreadable(Problem::new(name, format!("cannot be read: {error}"))),
    }
}

/// Reads the text of a configuration file, which is called `name` in problems.
pub(crate) fn from_toml(text: &str, name: &str) -> Layer {
    let line_at = |offset: usize| 1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count();
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_at(span.start));
            let what = format!("is not TOML: {}", error.message().replace('\n', ", "));
            return Layer::unreadable(Problem::new(format!("{name}:{line}"), what));
        }
    };
    let mut layer = Layer::default();
    let origin_at = |offset| Origin::File { name: name.to_owned(), line: line_at(offset) };
    read_table(table.get_ref(), "", &origin_at, &mut layer);
    layer
}

fn read_table(table: &DeTable<'_>, section: &str, origin_at: &dyn Fn(usize) -> Origin, layer: &mut Layer) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let origin = origin_at(key.span().start);
        let path = join(section, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if schema::is_section(&path) => read_table(inner, &path, origin_at, layer),
            DeValue::Table(_) if schema::find(&path).is_some() => {
                layer.problems.push(Problem::new(path, "is a key, not a section").at(origin));
            }
            _ => match raw_value(value) {
                Ok(kind) => layer.push(&path, kind, origin),
                Err(what) => layer.problems.push(Problem::new(path, what).at(origin)),
            },
        }
    }
}

/// A name that needs quotes in TOML keeps them, so that none looks like a path.
fn join(section: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare { name.to_owned() } else { quote(name) };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}

fn raw_value(value: &Spanned<DeValue<'_>>) -> Result<ValueKind, String> {
    Ok(match value.get_ref() {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Boolean(value) => ValueKind::Boolean(*value),
        DeValue::Float(value) => ValueKind::Float(value.as_str().parse().unwrap_or(f64::NAN)),
        // A time may be written without quotes.
        DeValue::Datetime(value) => ValueKind::String(value.to_string()),
        DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => ValueKind::I64(value),
            Err(_) => return Err("is too large a number".to_owned()),
        },
        DeValue::Array(values) => {
            let values: Result<Vec<ValueKind>, String> = values.iter().map(raw_value).collect();
            ValueKind::Array(values?.into_iter().map(|kind| Value::new(None, kind)).collect())
        }
        DeValue::Table(_) => ValueKind::Table(Map::new()),
    })
}

// === environment ===

/// Reads the variables that begin with `PENSTOCK__`; `__` separates section and key.
pub(crate) fn from_environment(variables: &[(OsString, OsString)]) -> Layer {
    let mut layer = Layer::default();
    let mut variables: Vec<_> = variables.iter().filter_map(|(name, value)| Some((name.to_str()?, value))).collect();
    variables.sort_unstable();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
            layer.warnings.extend(almost_ours(name));
            continue;
        };
        let path = rest.to_lowercase().replace("__", ".");
        let origin = Origin::Environment(name.to_owned());
        match value.to_str() {
            Some(text) => layer.push(&path, ValueKind::String(text.to_owned()), origin),
            None => layer.problems.push(Problem::new(path, "is not text in UTF-8").at(origin)),
        }
    }
    layer
}

/// A variable such as `PENSTOCK_SINK_BUCKET` is spelled like a key of ours and would be ignored without a word.
fn almost_ours(name: &str) -> Option<Problem> {
    let spelled = name.strip_prefix("PENSTOCK_")?.to_lowercase().replace("__", "_");
    let meant = KEYS.iter().find(|key| key.path.replace('.', "_") == spelled)?;
    let what = format!("this environment variable is not read; did you mean {}?", environment_name(meant));
    Some(Problem::new(name, what))
}

/// The environment variable that gives this key.
pub(crate) fn environment_name(key: &Key) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.path.replace('.', "__").to_uppercase())
}

// === --set ===

/// Reads `key=value` from the command line; a later one wins over an earlier.
pub(crate) fn from_settings(settings: &[String]) -> Layer {
    let mut layer = Layer::default();
    for setting in settings {
        match setting.split_once('=') {
            Some((path, _)) if path.trim().is_empty() => {
                let what = "the key is missing; give key=value, as in --set sink.bucket=lake";
                layer.problems.push(Problem::new(format!("--set {setting}"), what));
            }
            Some((path, text)) => layer.push(path.trim(), ValueKind::String(text.to_owned()), Origin::Set),
            None => {
                let what = "is not of the form key=value, as in --set sink.bucket=lake";
                layer.problems.push(Problem::new(format!("--set {setting}"), what));
            }
        }
    }
    layer
}

// === merging ===

/// The merged value of every key that has one, with its origin.
#[derive(Debug)]
pub(crate) struct Merged {
    root: Value,
    origins: Vec<Origin>,
}

/// One layer for the `config` crate; the origin of a value is its index in [`Merged::origins`].
#[derive(Debug, Clone)]
struct LayerSource(Vec<(String, Value)>);

impl Source for LayerSource {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.iter().cloned().collect())
    }
}

impl Merged {
    /// Lays each layer over the ones before it.
    pub(crate) fn of(layers: &[Layer]) -> Result<Self, Problems> {
        let mut origins = Vec::new();
        let mut builder = Config::builder();
        for layer in layers {
            let mut values = Vec::new();
            for given in &layer.given {
                let index = origins.len().to_string();
                values.push((given.key.path.to_owned(), Value::new(Some(&index), given.kind.clone())));
                origins.push(given.origin.clone());
            }
            builder = builder.add_source(LayerSource(values));
        }
        match builder.build() {
            Ok(config) => Ok(Self { root: config.cache, origins }),
            Err(error) => Err(Problems(vec![Problem::new("configuration", format!("cannot be merged: {error}"))])),
        }
    }

    /// The value of this key and where it came from.
    pub(crate) fn get(&self, path: &str) -> Option<(&ValueKind, Origin)> {
        let mut value = &self.root;
        for name in path.split('.') {
            let ValueKind::Table(table) = &value.kind else {
                return None;
            };
            value = table.get(name)?;
        }
        let index: usize = value.origin()?.parse().ok()?;
        Some((&value.kind, self.origins.get(index)?.clone()))
    }
}
