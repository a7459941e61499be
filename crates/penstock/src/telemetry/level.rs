//! What is logged, changed while the process runs: a level of penstock's own, or directives per module.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};

/// Our own crates; of what libraries log only errors are shown.
const OURS: [&str; 6] =
    ["penstock", "penstock_core", "penstock_engine", "penstock_objects", "penstock_aws", "penstock_local"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter of the running log. Clones change the same one.
#[derive(Clone)]
pub(crate) struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    asked: Arc<Mutex<String>>,
}

/// A filter in the log's stack that can be changed there.
pub(super) type Filter = reload::Layer<EnvFilter, Registry>;

impl LogControl {
    /// A filter and the control of it. What cannot be read is the ordinary level.
    pub(super) fn new(level: &str, overridden: Option<String>) -> (Filter, Self) {
        let overridden = overridden.and_then(|text| Some((parse(&text).ok()?, text)));
        let ours = || (EnvFilter::new(directives(level)), level.to_owned());
        let (filter, asked) = overridden.unwrap_or_else(ours);
        let (layer, handle) = reload::Layer::new(filter);
        (layer, Self { filter: handle, asked: Arc::new(Mutex::new(asked)) })
    }

    /// What was asked for last, as it can be asked for again.
    pub(crate) fn asked(&self) -> String {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is logged and gives what was asked for before.
    ///
    /// # Errors
    /// If it is neither a level nor a list of directives, saying what is allowed.
    pub(crate) fn ask(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let filter = parse(text)?;
        // Held over both, so that what is told is what was set last.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(|error| error.to_string())?;
        Ok(std::mem::replace(&mut *asked, text.to_ascii_lowercase()))
    }
}

fn parse(text: &str) -> Result<EnvFilter, String> {
    let level = text.to_ascii_lowercase();
    if LEVELS.contains(&level.as_str()) {
        return Ok(EnvFilter::new(directives(&level)));
    }
    let allowed =
        "one of off, error, warn, info, debug, trace, or directives such as warn,penstock_engine::shard=debug";
    // A word alone would be taken for the name of a module, and a typing error for silence.
    let is_known =
        |directive: &str| directive.contains('=') || LEVELS.contains(&directive.to_ascii_lowercase().as_str());
    if text.is_empty() || !text.split(',').map(str::trim).all(is_known) {
        return Err(format!("{text:?} is not a log level: {allowed}"));
    }
    EnvFilter::try_new(text).map_err(|error| format!("{text:?} is not a log level ({error}): {allowed}"))
}

/// Our own at the level, others at most at their errors.
fn directives(level: &str) -> String {
    let others = if level == "off" { "off" } else { "error" };
    OURS.iter().fold(others.to_owned(), |directives, name| format!("{directives},{name}={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_for_our_own_crates() {
        let filter = parse("Debug").unwrap().to_string();
        assert!(filter.contains("penstock_engine=debug") && filter.contains("error"), "{filter}");
    }

    #[test]
    fn what_is_neither_a_level_nor_directives_is_refused_with_what_is_allowed() {
        for text in ["", "loud", "penstock", "info,loud", "penstock=loud", "=,"] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains("one of off, error"), "{text}: {refused}");
        }
        assert!(parse("warn,penstock_engine::shard=debug").is_ok());
    }

    #[test]
    fn what_was_asked_for_can_be_asked_for_again() {
        let (_filter, control) = LogControl::new("info", None);
        assert_eq!(control.asked(), "info");
        assert_eq!(control.ask(" DEBUG\n").unwrap(), "info");
        assert_eq!(control.asked(), "debug");
        assert!(control.ask("loud").is_err());
        let (_filter, control) = LogControl::new("info", Some("warn,penstock=trace".to_owned()));
        assert_eq!(control.asked(), "warn,penstock=trace");
        let (_filter, control) = LogControl::new("info", Some("loud".to_owned()));
        assert_eq!(control.asked(), "info", "what RUST_LOG cannot mean is left out");
    }
}
