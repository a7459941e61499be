//! Series that the recorder does not keep, in Prometheus's text format, written as they stand now: a shard that is no longer held
//! has none.

use std::fmt::Write;

use penstock_engine::metrics::Sample;

/// Appends the series to a page, each metric under one head.
pub(super) fn render(page: &mut String, samples: &[Sample]) {
    let mut names: Vec<&str> = samples.iter().map(|sample| sample.metric.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of_name = || samples.iter().filter(|sample| sample.metric.name == name);
        let Some(Sample { metric, .. }) = of_name().next() else { continue };
        // Writing to a string does not fail.
        let _ = write!(page, "# HELP {name} {}\n# TYPE {name} {}\n", metric.help, metric.kind.as_str());
        for sample in of_name() {
            page.push_str(name);
            labels(page, sample);
            let _ = writeln!(page, " {}", sample.value);
        }
        page.push('\n');
    }
}

fn labels(page: &mut String, Sample { metric, labels, .. }: &Sample) {
    let mut before = '{';
    for (label, value) in metric.labels.iter().zip(labels) {
        let _ = write!(page, "{before}{}=\"{}\"", label.name, escaped(value));
        before = ',';
    }
    if before == ',' {
        page.push('}');
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use penstock_engine::metrics::catalogue::{CATALOGUE, Metric, Origin};
    use penstock_engine::metrics::{Metrics, describe, process};

    use super::*;

    fn named(name: &str) -> &'static Metric {
        CATALOGUE.iter().find(|metric| metric.name == name).unwrap()
    }

    fn of_shard(name: &str, shard: &str, value: f64) -> Sample {
        Sample { metric: named(name), labels: vec!["clicks".to_owned(), shard.to_owned()], value }
    }

    const AGE: &str = "penstock_iterator_age_milliseconds";
    const UNSETTLED: &str = "penstock_oldest_unsettled_age_seconds";

    #[test]
    fn each_metric_has_one_head_and_a_line_for_each_shard() {
        let mut page = String::new();
        let samples = [of_shard(UNSETTLED, "shard\"1", 1.5), of_shard(AGE, "s0", 0.0), of_shard(UNSETTLED, "s2", 2.0)];
        render(&mut page, &samples);
        let (age, unsettled) = (named(AGE).help, named(UNSETTLED).help);
        assert_eq!(
            page,
            format!(
                "# HELP {AGE} {age}\n# TYPE {AGE} gauge\n{AGE}{{stream=\"clicks\",shard=\"s0\"}} 0\n\n\
                 # HELP {UNSETTLED} {unsettled}\n# TYPE {UNSETTLED} gauge\n\
                 {UNSETTLED}{{stream=\"clicks\",shard=\"shard\\\"1\"}} 1.5\n\
                 {UNSETTLED}{{stream=\"clicks\",shard=\"s2\"}} 2\n\n"
            )
        );
    }

    #[test]
    fn a_metric_without_labels_has_no_braces_and_one_of_two_has_both() {
        let mut page = String::new();
        render(&mut page, &[process::cpu(1.25), process::build("1.0", "abc")]);
        let lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(lines, ["penstock_build_info{version=\"1.0\",commit=\"abc\"} 1", "process_cpu_seconds_total 1.25"]);
        assert!(page.contains("# TYPE process_cpu_seconds_total counter\n"), "{page}");
    }

    /// The lines of a page of a worker that holds so many shards, as the page is put together for a scraper.
    fn lines(shards: usize, per_shard: bool) -> usize {
        let recorder = crate::telemetry::with_buckets().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics_of_a_worker(&recorder);
        let mut page = handle.render();
        let names = (0..shards).filter(|_| per_shard).map(|shard| format!("shardId-{shard:012}"));
        let samples: Vec<_> =
            names.flat_map(|shard| [of_shard(AGE, &shard, 1.0), of_shard(UNSETTLED, &shard, 2.0)]).collect();
        render(&mut page, &samples);
        render(&mut page, &super::super::process::samples());
        page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
    }

    fn metrics_of_a_worker(recorder: &impl penstock_engine::metrics::Recorder) {
        penstock_engine::metrics::with_local_recorder(recorder, || {
            describe();
            let worker = Metrics::register();
            drop(worker);
        });
    }

    fn most(shards: usize, origins: &[Origin]) -> usize {
        let of = |metric: &&&Metric| origins.contains(&metric.origin);
        CATALOGUE.iter().filter(of).map(|metric| metric.most_series(shards)).sum()
    }

    #[test]
    fn five_thousand_shards_have_two_series_each_or_none_and_nothing_else_grows_with_them() {
        let fixed = most(0, &[Origin::Worker, Origin::Process]);
        assert_eq!(lines(5_000, false), fixed);
        assert_eq!(lines(5_000, true), fixed + 10_000);
        assert_eq!(most(5_000, &[Origin::Shard]), 10_000);
    }

    /// The page says so too; change both.
    #[test]
    fn the_numbers_of_series_that_are_documented_are_right() {
        let page = include_str!("../../../../docs/metrics.md");
        let (fixed, failing) = (most(0, &[Origin::Worker, Origin::Process]), most(0, &[Origin::Event]));
        for said in [
            format!("| none, or `admin.per_shard_metrics = false` | {fixed} |"),
            format!("| 100 shards | {} |", fixed + 200),
            // For people.
            format!("| 5,000 shards | 10,{fixed:03} |"),
            format!("at most {failing} more"),
        ] {
            assert!(page.contains(&said), "docs/metrics.md does not say {said:?}");
        }
    }
}
