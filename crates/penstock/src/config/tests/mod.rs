//! Tests of the whole way from text to settings.

mod bad_input;
mod documents;
mod layering;
mod properties;

use super::layers;
use super::load::{Loaded, Surroundings, load_layer};
use super::problem::Problems;

/// The least that each sink type needs.
const LEAST: [(&str, &str); 4] = [
    ("s3", "bucket = \"lake\""),
    ("directory", "path = \"./out\""),
    ("firehose", "delivery_stream = \"to-lake\""),
    ("stdout", ""),
];

/// A configuration that is sound, with these lines in its `[sink]`, before other sections.
fn sound(sink_type: &str, rest: &str) -> String {
    let needed = LEAST.iter().find(|(name, _)| *name == sink_type).unwrap().1;
    format!(
        "[application]\nname = \"clicks-app\"\n[source]\nstreams = [\"clicks\"]\n[sink]\ntype = \"{sink_type}\"\n{needed}\n{rest}"
    )
}

fn machine(environment: &[(&str, &str)]) -> Surroundings {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Surroundings { environment, host_name: "node 7".to_owned() }
}

fn load_text(text: &str) -> Result<Loaded, Problems> {
    load_with(text, &[], &[])
}

fn load_with(text: &str, environment: &[(&str, &str)], settings: &[&str]) -> Result<Loaded, Problems> {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    load_layer(layers::from_toml(text, "p.toml"), &settings, &machine(environment))
}

/// The problems as lines.
fn refused(text: &str) -> Vec<String> {
    lines(&load_text(text).unwrap_err())
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.0.iter().map(ToString::to_string).collect()
}
