use super::recorded::Recorded;
use super::*;

#[test]
fn records_add_up_whatever_becomes_of_them_also_at_the_recorder() {
    let recorder = Recorded::default();
    metrics::with_local_recorder(&recorder, || {
        let metrics = Arc::new(Metrics::register());
        let mut account = Account::open(Arc::clone(&metrics));
        account.fetched(10, 100);
        account.delivered(4, 44);
        account.set_aside("too_large", 1);
        account.dropped("outside_hash_range", 2);
        assert!(metrics.totals().add_up());
        assert_eq!(metrics.totals().in_flight, 3);
        assert!((recorder.gauge("penstock_records_in_flight{}") - 3.0).abs() < f64::EPSILON);
        account.abandon_as(AbandonReason::LeaseLost);
        drop(account);
        let totals = metrics.totals();
        assert!(totals.add_up(), "{totals:?}");
        assert_eq!((totals.in_flight, totals.abandoned["lease_lost"]), (0, 3));
    });
    assert_eq!(recorder.counter("penstock_records_fetched_total{}"), 10);
    assert_eq!(recorder.counter("penstock_fetched_bytes_total{}"), 100);
    assert_eq!(recorder.counter("penstock_records_delivered_total{}"), 4);
    assert_eq!(recorder.counter("penstock_delivered_bytes_total{}"), 44);
    assert_eq!(recorder.counter("penstock_records_set_aside_total{reason=too_large}"), 1);
    assert_eq!(recorder.counter("penstock_records_dropped_total{reason=outside_hash_range}"), 2);
    assert_eq!(recorder.counter("penstock_records_abandoned_total{reason=lease_lost}"), 3);
    assert!(recorder.gauge("penstock_records_in_flight{}").abs() < f64::EPSILON);
}

#[test]
fn names_are_those_of_prometheus_and_each_stands_once() {
    let mut names: Vec<&str> = CATALOGUE.iter().map(|metric| metric.name).collect();
    for metric in CATALOGUE {
        let Metric { name, kind, labels, help, origin, .. } = metric;
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert_eq!(
            name.starts_with("process_"),
            *origin == Origin::Process && *name != "penstock_build_info",
            "{name}"
        );
        assert!(name.starts_with("penstock_") || *origin == Origin::Process, "{name}");
        assert!(!help.is_empty() && !help.contains('\n') && !help.ends_with('.'), "{name}: {help}");
        assert!(labels.iter().all(|label| !["job", "instance", "le"].contains(&label.name)), "{name}");
    }
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn series_of_known_values_stand_at_zero_before_anything_happens() {
    let recorder = Recorded::default();
    metrics::with_local_recorder(&recorder, || drop(Metrics::register()));
    let kept = |metric: &&&Metric| metric.origin == Origin::Worker && !matches!(metric.kind, Kind::Histogram(_));
    for metric in CATALOGUE.iter().filter(kept) {
        let values: Vec<&str> = metric.labels.iter().flat_map(|label| (label.values)()).collect();
        let label = metric.labels.first().map(|label| label.name);
        let series = values.iter().map(|value| format!("{}{{{}={value}}}", metric.name, label.unwrap_or_default()));
        let series: Vec<String> =
            if values.is_empty() { vec![format!("{}{{}}", metric.name)] } else { series.collect() };
        for series in series {
            assert_eq!((recorder.counter(&series), &series), (0, &series));
        }
    }
}

#[test]
fn calls_are_counted_by_what_was_called_how_it_failed_and_who_throttled() {
    let recorder = Recorded::default();
    metrics::with_local_recorder(&recorder, || {
        let metrics = Metrics::register();
        metrics.call_failed("GetRecords", ErrorClass::Throttled.as_str());
        metrics.call_failed("PutObject", ErrorClass::Denied.as_str());
        metrics.call_failed("UPDATE leases", ErrorClass::Throttled.as_str());
        metrics.call_failed("a call that nobody knows", ErrorClass::Fatal.as_str());
    });
    let errors = |operation: &str, class: &str| {
        recorder.counter(&format!("penstock_call_errors_total{{operation={operation},class={class}}}"))
    };
    assert_eq!((errors("GetRecords", "throttled"), errors("PutObject", "denied")), (1, 1));
    assert_eq!(errors("other", "fatal"), 1, "the number of series is bounded");
    assert_eq!(recorder.counter("penstock_throttles_total{service=kinesis}"), 1);
    assert_eq!(recorder.counter("penstock_throttles_total{service=dynamodb}"), 0);
    assert_eq!(recorder.counter("penstock_delivery_errors_total{class=denied}"), 1);
    assert_eq!(recorder.counter("penstock_delivery_errors_total{class=throttled}"), 0, "not of the sink");
}

/// What the sources of the seams and the engine call their calls, as far as it stands there as text.
#[test]
fn every_call_of_the_sources_is_in_the_list() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let seams = ["penstock-engine", "penstock-aws", "penstock-objects", "penstock-local"];
    let mut sources: Vec<_> = seams.iter().map(|name| root.join(name).join("src")).collect();
    let mut found = std::collections::BTreeSet::new();
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests and what only tests and development use make up calls of their own.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        if !["fakes", "tests", "producer", "told"].iter().any(|part| path.display().to_string().contains(part)) {
            found.extend(operations_in(text));
        }
    }
    assert!(found.len() > 30, "{found:?}");
    let unknown: Vec<_> = found.iter().filter(|name| operation::of(name).0 == operation::OTHER).collect();
    assert!(unknown.is_empty(), "missing in metrics/operation.rs: {unknown:?}");
}

fn operations_in(text: &str) -> Vec<String> {
    let calls = [
        "SeamError::new(",
        "SeamError::timed_out(",
        "seam_error(",
        "bounded(",
        "place.error(",
        "file.call(",
        ".call(",
        "OPERATION: &str = ",
    ];
    let after = calls.iter().flat_map(|call| text.match_indices(call).map(|(at, call)| &text[at + call.len()..]));
    let literals = after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    literals.map(str::to_owned).collect()
}
