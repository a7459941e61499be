//! What each layer gives, which one wins, and what becomes of it in the settings.

use super::super::settings::{
    Compression, LeaseStoreSettings, OutsideHashRange, Pack, SetAsidePlace, SinkSettings, StartPosition,
};
use super::{load_text, load_with, sound};
use std::time::Duration;

/// The line of the effective configuration for a key, blanks squeezed.
fn shown(effective: &str, key: &str) -> String {
    let (section, name) = key.rsplit_once('.').unwrap();
    let mut inside = effective.split("\n\n").find(|text| text.starts_with(&format!("[{section}]\n"))).unwrap().lines();
    let line = inside.find(|line| line.starts_with(&format!("{name} = "))).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn set_wins_over_environment_over_file_over_default() {
    let text = sound("s3", "buffer_size = \"5MiB\"\nbuffer_interval = \"1m\"\ncompression = \"gzip\"");
    let environment =
        [("PENSTOCK__SINK__BUFFER_INTERVAL", "2m"), ("PENSTOCK__SINK__COMPRESSION", "zstd"), ("HOME", "/")];
    let loaded = load_with(&text, &environment, &["sink.compression=none", "sink.compression=zstd"]).unwrap();
    let effective = loaded.effective.to_string();
    for (key, line) in [
        ("sink.buffer_size", "buffer_size = \"5MiB\" # p.toml:8"),
        ("sink.buffer_interval", "buffer_interval = \"2m\" # PENSTOCK__SINK__BUFFER_INTERVAL"),
        ("sink.compression", "compression = \"zstd\" # --set"),
        ("sink.file_extension", "file_extension = \".zst\" # default: sink.compression"),
        ("sink.delimiter", "delimiter = \"\\n\" # default"),
        ("sink.region", "region = \"\" # default: aws.region"),
        ("leases.table", "table = \"clicks-app\" # default: application.name"),
        ("application.worker_id", "worker_id = \"node-7\" # default: the host name"),
        ("log.level", "level = \"info\" # default"),
    ] {
        assert_eq!(shown(&effective, key), line);
    }
    assert!(!effective.contains("delivery_stream"), "keys of other sinks are left out");
    let SinkSettings::S3 { objects, .. } = loaded.settings.sink else { panic!("an s3 sink") };
    assert_eq!(objects.compression, Compression::Zstd { level: None });
    assert_eq!((objects.buffer_size, objects.buffer_interval), (5 << 20, Duration::from_secs(120)));
}

#[test]
fn the_environment_alone_is_enough() {
    let environment = [
        ("PENSTOCK__APPLICATION__NAME", "app"),
        ("PENSTOCK__SOURCE__STREAMS", " clicks ,"),
        ("PENSTOCK__SOURCE__DEAGGREGATE", "false"),
        ("PENSTOCK__SOURCE__MAX_RECORDS_PER_FETCH", "500"),
        ("PENSTOCK__SINK__TYPE", "firehose"),
        ("PENSTOCK__SINK__DELIVERY_STREAM", "to-lake"),
        ("PENSTOCK__SINK__DELIMITER", "\\r\\n"),
        ("PENSTOCK__SINK__PACK", "true"),
        ("PENSTOCK__SINK__SET_ASIDE_PATH", "/var/lib/aside"),
    ];
    let settings = load_with("", &environment, &[]).unwrap().settings;
    assert_eq!(settings.source.streams[0].name, "clicks");
    assert!(!settings.source.deaggregate);
    assert_eq!(settings.source.max_records_per_fetch, 500);
    assert_eq!(settings.delimiter, "\r\n");
    let SinkSettings::Firehose(firehose) = settings.sink else { panic!("a firehose sink") };
    assert_eq!(firehose.pack, Pack::Always);
    assert_eq!(firehose.set_aside, Some(SetAsidePlace::Directory("/var/lib/aside".into())));
}

#[test]
fn a_variable_with_one_underscore_too_few_is_noticed() {
    let environment =
        [("PENSTOCK_SINK_BUCKET", "x"), ("PENSTOCK_SINK__BUCKET", "x"), ("PENSTOCK_SERVICE_HOST", "10.0.0.1")];
    let warnings = load_with(&sound("s3", ""), &environment, &[]).unwrap().warnings;
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "PENSTOCK_SINK_BUCKET: this environment variable is not read; did you mean PENSTOCK__SINK__BUCKET?",
            "PENSTOCK_SINK__BUCKET: this environment variable is not read; did you mean PENSTOCK__SINK__BUCKET?",
        ]
    );
}

#[test]
fn regions_follow_from_the_arn_and_from_aws() {
    let text = "[application]\nname = \"app\"\n[aws]\nregion = \"ap-northeast-1\"\n[source]\nstreams = [\"arn:aws:kinesis:eu-west-1:123456789012:stream/clicks\"]\n[sink]\ntype = \"s3\"\nbucket = \"lake\"";
    let settings = load_text(text).unwrap().settings;
    assert_eq!(settings.source.streams[0].name, "clicks");
    assert_eq!(settings.source.access.region.as_deref(), Some("eu-west-1"));
    let SinkSettings::S3 { access, .. } = settings.sink else { panic!("an s3 sink") };
    assert_eq!(access.region.as_deref(), Some("ap-northeast-1"));
}

#[test]
fn values_arrive_as_they_were_meant() {
    let rest = "[leases]\nstore = \"sqlite\"\nmax_leases = 3\nfailover_time = \"2s\"\n[memory]\nbudget = \"64MiB\"";
    let with_start = |start: &str| sound("stdout", rest).replace("streams", &format!("start = {start}\nstreams"));
    let settings = load_text(&with_start("\"2026-11-21T10:30:00+09:00\"")).unwrap().settings;
    let pinned = StartPosition::AtTimestamp { unix_millis: 1_795_224_600_000 };
    assert_eq!(settings.source.start, pinned);
    assert_eq!(settings.leases.store, LeaseStoreSettings::Sqlite { path: "penstock-leases.db".into() });
    assert_eq!(settings.leases.max_leases.map(std::num::NonZeroU32::get), Some(3));
    assert_eq!(settings.leases.failover_time, Duration::from_secs(2));
    assert_eq!(settings.memory_budget, 64 << 20);
    assert_eq!(settings.source.outside_hash_range, OutsideHashRange::Deliver);
    // A time needs no quotes in TOML.
    assert_eq!(load_text(&with_start("2026-11-21T10:30:00+09:00")).unwrap().settings.source.start, pinned);
    let empty = sound("stdout", "delimiter = \"\"");
    assert_eq!(load_text(&empty).unwrap().settings.delimiter, "");
}

#[test]
fn the_effective_configuration_loads_to_the_same_settings() {
    for (sink_type, rest) in [
        ("s3", "compression = \"gzip\"\ndelimiter = \"\\r\\n\\u0001\\\"\""),
        ("directory", "prefix = \"a/\""),
        ("firehose", "pack = false\npack_size = \"500KB\""),
        ("stdout", ""),
    ] {
        let first = load_text(&sound(sink_type, rest)).unwrap();
        let second = load_text(&first.effective.to_string()).unwrap();
        assert_eq!(first.settings, second.settings, "{}", first.effective);
    }
}
