//! Fills in defaults that follow from other keys or from the machine. What cannot be known here, such as the
//! Region that the SDK's chain will find, stays empty.

use super::form;
use super::problem::Origin;
use super::value::{Value, Values};

/// Gives every key that is empty the value that follows from others, if one does.
pub(crate) fn fill_in(values: &mut Values, host_name: &str) {
    let label = sanitised(host_name);
    let derived: [(&'static str, &'static str, Option<String>); 5] = [
        ("application.worker_id", "the host name", label),
        ("source.region", "the stream's ARN", arn_region(values).map(str::to_owned)),
        ("source.region", "aws.region", values.text("aws.region").map(str::to_owned)),
        ("leases.table", "application.name", values.text("application.name").map(str::to_owned)),
        ("sink.region", "aws.region", values.text("aws.region").map(str::to_owned)),
    ];
    for (path, from, value) in derived {
        fill(values, path, from, value);
    }
    fill(values, "leases.keys", "the number of streams", key_form(values));
    let extension = match values.text("sink.compression") {
        Some("gzip") => Some(".gz".to_owned()),
        Some("zstd") => Some(".zst".to_owned()),
        _ => None,
    };
    fill(values, "sink.file_extension", "sink.compression", extension);
}

/// A key that is not there at all belongs to another sink, or was refused.
fn fill(values: &mut Values, path: &'static str, from: &'static str, value: Option<String>) {
    let empty = values.get_even_empty(path).is_some_and(|(value, _)| value.is_empty());
    if let (true, Some(value)) = (empty, value) {
        values.insert(path, Value::Text(value), Origin::Derived(from));
    }
}

/// The Region that the first ARN among the streams names.
pub(crate) fn arn_region(values: &Values) -> Option<&str> {
    arn_regions(values).next()
}

/// The Regions that the streams' ARNs name, in their order.
pub(crate) fn arn_regions(values: &Values) -> impl Iterator<Item = &str> {
    values.list("source.streams").iter().filter_map(|stream| form::parse_stream_arn(stream)).map(|arn| arn.region)
}

/// The form of lease keys that follows from the number of streams.
fn key_form(values: &Values) -> Option<String> {
    let streams = values.list("source.streams").len();
    (streams > 0).then(|| if streams > 1 { "multi" } else { "single" }.to_owned())
}

/// A host may be called anything; the label keeps what a lease owner's name may hold.
fn sanitised(host_name: &str) -> Option<String> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let label: String = host_name.chars().take(100).map(allowed).collect();
    Some(if label.is_empty() { "worker".to_owned() } else { label })
}
