//! The series of single shards in Prometheus's text format, written as they stand now: a shard that is no longer held has none.

use std::fmt::Write;

use penstock_engine::metrics::ShardSeries;

/// Appends the series to a page, each metric under one head.
pub(super) fn render(page: &mut String, series: &[ShardSeries]) {
    let mut names: Vec<&str> = series.iter().map(|series| series.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of_name = || series.iter().filter(|series| series.name == name);
        let description = of_name().next().map_or("", |series| series.description);
        // Writing to a string does not fail.
        let _ = write!(page, "# HELP {name} {description}\n# TYPE {name} gauge\n");
        for ShardSeries { stream, shard, value, .. } in of_name() {
            let _ = writeln!(page, "{name}{{stream=\"{}\",shard=\"{}\"}} {value}", escaped(stream), escaped(shard));
        }
        page.push('\n');
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_one_head_and_a_line_for_each_shard() {
        let one = |name, shard: &str, value| ShardSeries {
            name,
            description: "what it means",
            stream: "clicks".to_owned(),
            shard: shard.to_owned(),
            value,
        };
        let mut page = String::new();
        render(&mut page, &[one("b", "shard\"1", 1.5), one("a", "s0", 0.0), one("b", "s2", 2.0)]);
        assert_eq!(
            page,
            "# HELP a what it means\n# TYPE a gauge\na{stream=\"clicks\",shard=\"s0\"} 0\n\n\
             # HELP b what it means\n# TYPE b gauge\nb{stream=\"clicks\",shard=\"shard\\\"1\"} 1.5\n\
             b{stream=\"clicks\",shard=\"s2\"} 2\n\n"
        );
    }
}
