//! What no key can know alone: values that contradict each other, do not fit into memory together, or have no
//! effect. A value that did not convert has been reported already and takes no part.

use super::derive;
use super::form;
use super::problem::Problem;
use super::schema::{self, Fallback};
use super::unit::{format_duration, format_size};
use super::value::Values;

const MIB: u64 = 1 << 20;

/// The largest response to one fetch: its body and, decoded, the records in it.
const LARGEST_FETCH: u64 = 24 * MIB;
/// What has to be left for filling and flying, however small the sink's need.
const LEAST_REST: u64 = 40 * MIB;
/// The largest call to Firehose.
const LARGEST_CALL: u64 = 4_000_000;
/// The step in which Firehose bills a record.
const BILLING_STEP: u64 = 5 << 10;

/// Looks across the keys.
pub(crate) fn check(values: &Values, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    problems.extend(region_of_the_arn(values));
    problems.extend(several_regions(values));
    problems.extend(same_stream_twice(values));
    problems.extend(keys_of_one_stream(values));
    problems.extend(external_id_without_role(values, "source.external_id", "source.role_arn"));
    problems.extend(external_id_without_role(values, "sink.external_id", "sink.role_arn"));
    problems.extend(idle_before_fetch(values));
    problems.extend(compression_level(values));
    problems.extend(two_places_to_set_aside(values));
    problems.extend(nowhere_to_set_aside(values));
    problems.extend(memory(values));
    warnings.extend(keys_without_effect(values));
    warnings.extend(no_place_to_set_aside(values));
    warnings.extend(uneven_pack_size(values));
}

fn region_of_the_arn(values: &Values) -> Option<Problem> {
    let in_arn = derive::arn_region(values)?;
    let region = values.text("source.region").filter(|region| *region != in_arn)?;
    let what =
        format!("is not the Region of the stream's ARN, {in_arn:?}; leave {region:?} out or correct one of them");
    Some(values.problem("source.region", what))
}

fn several_regions(values: &Values) -> Option<Problem> {
    let first = derive::arn_region(values)?;
    let other = derive::arn_regions(values).find(|region| *region != first)?;
    let what = format!("names streams in {first:?} and in {other:?}; run one penstock for each Region");
    Some(values.problem("source.streams", what))
}

/// Once by its name and once by its ARN.
fn same_stream_twice(values: &Values) -> Option<Problem> {
    let streams = values.list("source.streams");
    let name = |stream: &'_ String| form::parse_stream_arn(stream).map_or(stream.clone(), |arn| arn.name.to_owned());
    let accounts = |stream: &'_ String| form::parse_stream_arn(stream).map(|arn| arn.account.to_owned());
    let twice = streams.iter().enumerate().find(|(index, stream)| {
        streams[..*index].iter().any(|earlier| {
            let differ = matches!((accounts(earlier), accounts(stream)), (Some(one), Some(other)) if one != other);
            name(earlier) == name(stream) && !differ
        })
    });
    twice.map(|(_, stream)| values.problem("source.streams", format!("names the stream {:?} twice", name(stream))))
}

fn keys_of_one_stream(values: &Values) -> Option<Problem> {
    let single = values.text("leases.keys") == Some("single") && values.list("source.streams").len() > 1;
    let what =
        "tells the shards of several streams not apart; leave it out, or give each stream an application of its own";
    single.then(|| values.problem("leases.keys", what))
}

fn external_id_without_role(values: &Values, id: &str, role: &str) -> Option<Problem> {
    (values.is_given(id) && values.text(role).is_none())
        .then(|| values.problem(id, format!("is given without {role}, whose assumption would ask for it")))
}

fn idle_before_fetch(values: &Values) -> Option<Problem> {
    let fetch = values.duration("source.fetch_interval")?;
    let idle = values.duration("source.idle_interval").filter(|idle| *idle < fetch)?;
    // The complaint goes to the line that someone wrote.
    let (idle, fetch) = (format_duration(idle), format_duration(fetch));
    Some(if values.is_given("source.idle_interval") {
        values.problem("source.idle_interval", format!("is below source.fetch_interval, {fetch:?}"))
    } else {
        values.problem("source.fetch_interval", format!("is above source.idle_interval, {idle:?}"))
    })
}

fn compression_level(values: &Values) -> Option<Problem> {
    let level: i64 = values.integer("sink.compression_level").filter(|level| *level != 0)?;
    match values.text("sink.compression")? {
        "none" => {
            Some(values.problem("sink.compression_level", "has no meaning without sink.compression").allowing("0"))
        }
        "gzip" if level > 12 => {
            Some(values.problem("sink.compression_level", "is too large for gzip").allowing("0 to 12"))
        }
        _ => None,
    }
}

fn two_places_to_set_aside(values: &Values) -> Option<Problem> {
    (values.is_given("sink.set_aside_bucket") && values.is_given("sink.set_aside_path"))
        .then(|| values.problem("sink.set_aside_path", "is given beside sink.set_aside_bucket; give one of the two"))
}

/// Objects are set aside beside the others; Firehose needs a place, and stdout has none.
fn nowhere_to_set_aside(values: &Values) -> Option<Problem> {
    let asked = values.text("source.outside_hash_range") == Some("set-aside");
    let missing = match values.text("sink.type")? {
        "firehose" if !has_place_to_set_aside(values) => "sink.set_aside_bucket or sink.set_aside_path",
        "stdout" => "a sink other than \"stdout\"",
        _ => return None,
    };
    asked.then(|| values.problem("source.outside_hash_range", format!("needs {missing}")))
}

fn has_place_to_set_aside(values: &Values) -> bool {
    values.text("sink.set_aside_bucket").or(values.text("sink.set_aside_path")).is_some()
}

// === memory ===

/// What the sink has to hold at least, and the key that says so.
struct SinkNeed {
    bytes: u64,
    key: &'static str,
    says: String,
}

fn sink_need(values: &Values) -> Option<SinkNeed> {
    // Without a type, the section's defaults speak for no sink.
    values.text("sink.type")?;
    if let Some(bytes) = values.size("sink.buffer_size") {
        let says = format!("{} for an object of sink.buffer_size", format_size(bytes));
        return Some(SinkNeed { bytes, key: "sink.buffer_size", says });
    }
    let calls: u64 = values.integer("sink.max_calls_in_flight")?;
    let bytes = calls * LARGEST_CALL;
    let says = format!("{} for {calls} calls of sink.max_calls_in_flight, 4MB each", format_size(bytes));
    Some(SinkNeed { bytes, key: "sink.max_calls_in_flight", says })
}

/// A quarter of the budget, and no less than the largest response, is for fetches; the rest has to hold what the
/// sink fills and sends.
fn memory(values: &Values) -> Option<Problem> {
    let budget = values.size("memory.budget")?;
    let need = sink_need(values).filter(|need| need.bytes > LEAST_REST);
    let rest = need.as_ref().map_or(LEAST_REST, |need| need.bytes);
    let fetches = LARGEST_FETCH.max(rest.div_ceil(3));
    let least = (fetches + rest).next_multiple_of(MIB);
    if budget >= least {
        return None;
    }
    let says = match &need {
        Some(need) => need.says.clone(),
        None => format!("{} for what fills and flies", format_size(LEAST_REST)),
    };
    let sum = format!(
        "{} for fetches (a quarter of the budget, and at least {} for one response with its records) + {says} = {}",
        format_size(fetches.next_multiple_of(MIB)),
        format_size(LARGEST_FETCH),
        format_size(least)
    );
    Some(match need {
        Some(need) if values.is_given(need.key) && !values.is_given("memory.budget") => {
            let what =
                format!("does not fit into memory.budget, {:?}, which would have to be {sum}", format_size(budget));
            values.problem(need.key, what)
        }
        _ => values.problem("memory.budget", format!("is below the least need: {sum}")),
    })
}

// === warnings ===

fn keys_without_effect(values: &Values) -> Vec<Problem> {
    let store = values.text("leases.store").unwrap_or_default();
    let mut idle: Vec<(&str, &str)> = Vec::new();
    match store {
        "sqlite" => idle.extend([
            ("leases.table", "leases.store is \"sqlite\""),
            ("leases.billing_mode", "leases.store is \"sqlite\""),
            ("aws.endpoints.dynamodb", "leases.store is \"sqlite\""),
        ]),
        "dynamodb" => idle.push(("leases.path", "leases.store is \"dynamodb\"")),
        _ => {}
    }
    if values.text("sink.type") == Some("firehose") && !has_place_to_set_aside(values) {
        idle.extend([
            ("sink.error_prefix", "there is no place to set records aside"),
            ("sink.time_zone", "there is no place to set records aside"),
        ]);
    }
    let given = idle.into_iter().filter(|(path, _)| values.is_given(path) && !is_default(values, path));
    given.map(|(path, why)| values.problem(path, format!("has no effect while {why}"))).collect()
}

/// Who writes a default down, as the complete file does, expects nothing of it.
fn is_default(values: &Values, path: &str) -> bool {
    let fallback = schema::find(path).map(|key| &key.fallback);
    matches!(fallback, Some(Fallback::Value(default)) if values.text(path) == Some(default))
}

fn no_place_to_set_aside(values: &Values) -> Option<Problem> {
    let nowhere = values.text("sink.type") == Some("firehose") && !has_place_to_set_aside(values);
    let what = "is not given, nor is sink.set_aside_path: a shard will stop at a record that Firehose cannot take";
    nowhere.then(|| Problem::new("sink.set_aside_bucket", what))
}

fn uneven_pack_size(values: &Values) -> Option<Problem> {
    let size = values.size("sink.pack_size").filter(|size| !size.is_multiple_of(BILLING_STEP))?;
    let even = format_size((size / BILLING_STEP).max(1) * BILLING_STEP);
    let what = format!("is not a multiple of 5KiB, the step in which Firehose bills; {even:?} costs less per byte");
    Some(values.problem("sink.pack_size", what))
}
