//! From a file, the environment and `--set` to settings, or to the list of everything that is wrong. Order: read
//! the layers, merge them, convert key by key, fill in what follows from other keys, look across keys, assemble.

use super::effective::{self, Effective};
use super::layers::{self, Layer, Merged};
use super::problem::{Problem, Problems};
use super::schema::{Fallback, KEYS, Key};
use super::settings::Settings;
use super::value::{self, Values};
use super::{assemble, cross, derive, prefixes};
use config::ValueKind;
use std::ffi::OsString;
use std::path::Path;

/// What the machine says: all that loading knows beside its arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// The environment variables.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The host's name, the default label of a worker; may be empty.
    pub(crate) host_name: String,
}

impl Surroundings {
    /// Asks the machine.
    pub(crate) fn of_this_process() -> Self {
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { environment: std::env::vars_os().collect(), host_name }
    }
}

/// A configuration without problems.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// What the program is built from.
    pub(crate) settings: Settings,
    /// Each value with its origin, for people and for `--json`.
    pub(crate) effective: Effective,
    /// What is likely not meant, though nothing forbids it.
    pub(crate) warnings: Vec<Problem>,
}

/// Loads the configuration, or says all that is wrong with it.
pub(crate) fn load(file: &Path, settings: &[String], surroundings: &Surroundings) -> Result<Loaded, Problems> {
    load_layer(layers::from_file(file), settings, surroundings)
}

/// Loads with the file already read.
pub(super) fn load_layer(file: Layer, settings: &[String], surroundings: &Surroundings) -> Result<Loaded, Problems> {
    let mut layers = [
        layers::defaults(),
        file,
        layers::from_environment(&surroundings.environment),
        layers::from_settings(settings),
    ];
    let mut problems: Vec<Problem> = layers.iter_mut().flat_map(|layer| layer.problems.drain(..)).collect();
    let mut warnings: Vec<Problem> = layers.iter_mut().flat_map(|layer| layer.warnings.drain(..)).collect();
    if layers.iter().any(|layer| layer.unreadable) {
        // What a file that cannot be read leaves out is not worth a line each.
        return Err(Problems(problems));
    }
    let merged = Merged::of(&layers)?;
    let mut values = walk(&merged, &mut problems);
    derive::fill_in(&mut values, &surroundings.host_name);
    cross::check(&values, &mut problems, &mut warnings);
    prefixes::check(&values, &mut problems, &mut warnings);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    match assemble::settings(&values) {
        Some(settings) => Ok(Loaded { settings, effective: effective::of(&values), warnings }),
        // Every key that is missing has been reported above, so this is ours to repair, not the user's.
        None => Err(Problems(vec![Problem::new("configuration", "is incomplete, though no key of it is at fault")])),
    }
}

/// Converts key by key. Keys that do not belong to the chosen sink are refused, and left out.
fn walk(merged: &Merged, problems: &mut Vec<Problem>) -> Values {
    let mut values = Values::default();
    let sink_type = sink_type(merged);
    for key in KEYS {
        if let Some(sink_type) = &sink_type
            && !key.belongs_to(sink_type)
        {
            problems.extend(refuse_foreign(key, sink_type, merged));
            continue;
        }
        match merged.get(key.path) {
            Some((raw, origin)) => match value::convert(key, raw, &origin) {
                Ok(value) => values.insert(key.path, value, origin),
                Err(what) => problems.push(
                    Problem::new(key.path, what)
                        .with_value(value::quote_raw(raw))
                        .at(origin)
                        .allowing(key.kind.allowed()),
                ),
            },
            None => values.insert_empty(key),
        }
        let missing = matches!(key.fallback, Fallback::Required)
            && values.get_even_empty(key.path).is_some_and(|(value, _)| value.is_empty());
        // Without a type, nobody knows what its section needs.
        if missing && (key.sinks.is_empty() || sink_type.is_some()) {
            let why = match key.sinks {
                [] => "is required".to_owned(),
                _ => format!("is required for sink.type = {:?}", sink_type.as_deref().unwrap_or_default()),
            };
            problems.push(Problem::new(key.path, why).allowing(key.kind.allowed()));
        }
    }
    values
}

/// The sink's type, if it is one.
fn sink_type(merged: &Merged) -> Option<String> {
    let key = super::schema::find("sink.type")?;
    let (raw, origin) = merged.get(key.path)?;
    match value::convert(key, raw, &origin) {
        Ok(value::Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// A key of another sink type is a mistake wherever someone wrote it down, unless left empty: that is leaving it out.
fn refuse_foreign(key: &Key, sink_type: &str, merged: &Merged) -> Option<Problem> {
    let (raw, origin) = merged.get(key.path)?;
    let owners = key.sinks.iter().map(|owner| format!("{owner:?}")).collect::<Vec<_>>().join(" or ");
    let what = format!("belongs to sink.type = {owners}, not to {sink_type:?}");
    let left_out = matches!(raw, ValueKind::String(text) if text.is_empty());
    (origin.is_given() && !left_out).then(|| Problem::new(key.path, what).with_value(value::quote_raw(raw)).at(origin))
}
