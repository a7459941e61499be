//! What is wrong is refused, with the exact words. Line 8 is the first free line of [`sound`]'s sink section.

use super::{lines, load_text, load_with, refused, sound};

/// Sink type, what stands after its needed keys, and the one problem of it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("s3", "bukcet = \"x\"", "sink.bukcet (p.toml:8): unknown key; did you mean sink.bucket?"),
    (
        "s3",
        "buffer_size = 64",
        "sink.buffer_size = 64 (p.toml:8): has no unit; write it as in \"64MiB\" (units: B, KB, KiB, MB, MiB, GB, GiB); allowed: 1MiB to 5GiB",
    ),
    (
        "s3",
        "buffer_size = \"64\"",
        "sink.buffer_size = \"64\" (p.toml:8): has no unit; write it as in \"64MiB\" (units: B, KB, KiB, MB, MiB, GB, GiB); allowed: 1MiB to 5GiB",
    ),
    (
        "s3",
        "buffer_size = \"10s\"",
        "sink.buffer_size = \"10s\" (p.toml:8): has the unknown unit \"s\" (units: B, KB, KiB, MB, MiB, GB, GiB); allowed: 1MiB to 5GiB",
    ),
    ("s3", "buffer_size = \"6GiB\"", "sink.buffer_size = \"6GiB\" (p.toml:8): is too large; allowed: 1MiB to 5GiB"),
    ("s3", "buffer_size = \"100KiB\"", "sink.buffer_size = \"100KiB\" (p.toml:8): is too small; allowed: 1MiB to 5GiB"),
    (
        "s3",
        "buffer_size = true",
        "sink.buffer_size = true (p.toml:8): is not a number with a unit; allowed: 1MiB to 5GiB",
    ),
    (
        "s3",
        "buffer_interval = 300",
        "sink.buffer_interval = 300 (p.toml:8): has no unit; write it as in \"10s\" (units: ms, s, m, h, d); allowed: 1s to 12h",
    ),
    ("s3", "buffer_interval = \"24h\"", "sink.buffer_interval = \"24h\" (p.toml:8): is too large; allowed: 1s to 12h"),
    (
        "s3",
        "compression = \"snappy\"",
        "sink.compression = \"snappy\" (p.toml:8): is not one of the words allowed; allowed: none, gzip, zstd",
    ),
    (
        "s3",
        "compression = \"GZIP\"",
        "sink.compression = \"GZIP\" (p.toml:8): is written \"gzip\"; allowed: none, gzip, zstd",
    ),
    (
        "s3",
        "compression_level = 3",
        "sink.compression_level = 3 (p.toml:8): has no meaning without sink.compression; allowed: 0",
    ),
    (
        "s3",
        "compression = \"gzip\"\ncompression_level = 13",
        "sink.compression_level = 13 (p.toml:9): is too large for gzip; allowed: 0 to 12",
    ),
    ("s3", "compression_level = 20", "sink.compression_level = 20 (p.toml:8): is too large; allowed: 0 to 19"),
    (
        "s3",
        "compression_level = \"3\"",
        "sink.compression_level = \"3\" (p.toml:8): is text; write 3 without quotes; allowed: 0 to 19",
    ),
    (
        "s3",
        "compression_level = 3.5",
        "sink.compression_level = 3.5 (p.toml:8): is not a whole number; allowed: 0 to 19",
    ),
    ("s3", "compression_level = 99999999999999999999", "sink.compression_level (p.toml:8): is too large a number"),
    (
        "s3",
        "file_extension = \"gz\"",
        "sink.file_extension = \"gz\" (p.toml:8): does not begin with a dot; allowed: a dot and 1 to 127 of 0-9 a-z ! - _ . * ' ( )",
    ),
    ("s3", "delimiter = 10", "sink.delimiter = 10 (p.toml:8): is not text; write it in quotes; allowed: any text"),
    (
        "s3",
        "external_id = \"a1\"",
        "sink.external_id = \"a1\" (p.toml:8): is given without sink.role_arn, whose assumption would ask for it",
    ),
    (
        "s3",
        "role_arn = \"writer\"",
        "sink.role_arn = \"writer\" (p.toml:8): is not the ARN of a role; allowed: the ARN of a role, as in \"arn:aws:iam::123456789012:role/reader\"",
    ),
    (
        "s3",
        "region = \"us-east1\"",
        "sink.region = \"us-east1\" (p.toml:8): does not look like a Region; allowed: a Region, as in \"eu-central-1\"",
    ),
    ("s3", "path = \"./out\"", "sink.path = \"./out\" (p.toml:8): belongs to sink.type = \"directory\", not to \"s3\""),
    ("s3", "pack = true", "sink.pack = true (p.toml:8): belongs to sink.type = \"firehose\", not to \"s3\""),
    (
        "directory",
        "region = \"eu-west-1\"",
        "sink.region = \"eu-west-1\" (p.toml:8): belongs to sink.type = \"s3\" or \"firehose\", not to \"directory\"",
    ),
    (
        "stdout",
        "prefix = \"x\"",
        "sink.prefix = \"x\" (p.toml:8): belongs to sink.type = \"s3\" or \"directory\", not to \"stdout\"",
    ),
    (
        "firehose",
        "set_aside_path = \"a\"\nset_aside_bucket = \"bbb\"",
        "sink.set_aside_path = \"a\" (p.toml:8): is given beside sink.set_aside_bucket; give one of the two",
    ),
    (
        "firehose",
        "pack = \"yes\"",
        "sink.pack = \"yes\" (p.toml:8): is not one of the words allowed; allowed: auto, true, false",
    ),
    (
        "firehose",
        "pack_size = \"1MiB\"",
        "sink.pack_size = \"1MiB\" (p.toml:8): is too large; allowed: 5KiB to 1000KiB",
    ),
    ("firehose", "linger = \"2m\"", "sink.linger = \"2m\" (p.toml:8): is too large; allowed: 0s to 1m"),
    ("firehose", "max_calls_in_flight = 0", "sink.max_calls_in_flight = 0 (p.toml:8): is too small; allowed: 1 to 64"),
    (
        "firehose",
        "ordering = \"strict\"",
        "sink.ordering = \"strict\" (p.toml:8): is not one of the words allowed; allowed: relaxed, per-shard",
    ),
    ("stdout", "[source.x]\ny = 1", "source.x (p.toml:8): unknown key"),
    (
        "stdout",
        "[leases]\nmode = \"shared\"",
        "leases.mode = \"shared\" (p.toml:9): is not one of the words allowed; allowed: peer, exclusive",
    ),
    (
        "stdout",
        "[leases]\nkeys = \"many\"",
        "leases.keys = \"many\" (p.toml:9): is not one of the words allowed; allowed: single, multi",
    ),
    (
        "stdout",
        "[transform]\njq = \".\"\nenvelope = \"none\"",
        "transform (p.toml:8): unknown key: this version delivers records as they are",
    ),
    (
        "stdout",
        "[spool]\ndir = \"off\"",
        "spool (p.toml:8): unknown key: this version fills objects in memory, within memory.budget",
    ),
    (
        "s3",
        "partition_by = { customer = \".customer_id\" }",
        "sink.partition_by (p.toml:8): unknown key: this version does not partition by content",
    ),
    (
        "s3",
        "storage_class = \"GLACIER\"",
        "sink.storage_class (p.toml:8): unknown key: this version writes objects with the bucket's defaults",
    ),
    (
        "s3",
        "prefix = \"c=!{partitionKeyFromQuery:c}/\"\nerror_prefix = \"e/\"",
        "sink.prefix = \"c=!{partitionKeyFromQuery:c}/\" (p.toml:8): asks for the partition value \"c\"; this version does not partition by content",
    ),
    (
        "stdout",
        "[leases]\nfailover_time = \"500ms\"",
        "leases.failover_time = \"500ms\" (p.toml:9): is too small; allowed: 1s to 10m",
    ),
    ("stdout", "[leases]\nmax_leases = -1", "leases.max_leases = -1 (p.toml:9): is too small; allowed: 0 to 1000000"),
    (
        "stdout",
        "[leases]\ntable = \"a b c\"",
        "leases.table = \"a b c\" (p.toml:9): has the character ' '; allowed: 3 to 250 letters, digits, _ . -",
    ),
    ("stdout", "[leases]\npath = \"\"", "leases.path = \"\" (p.toml:9): is empty; allowed: a path"),
    (
        "stdout",
        "[leases]\nbilling_mode = \"PROVISIONED\"",
        "leases.billing_mode = \"PROVISIONED\" (p.toml:9): is not one of the words allowed; allowed: PAY_PER_REQUEST",
    ),
    (
        "stdout",
        "[memory]\nbudget = \"32MiB\"",
        "memory.budget = \"32MiB\" (p.toml:9): is below the least need: 24MiB for fetches (a quarter of the budget, and at least 24MiB for one response with its records) + 40MiB for what fills and flies = 64MiB",
    ),
    (
        "s3",
        "[memory]\nbudget = \"80MiB\"",
        "memory.budget = \"80MiB\" (p.toml:9): is below the least need: 24MiB for fetches (a quarter of the budget, and at least 24MiB for one response with its records) + 64MiB for an object of sink.buffer_size = 88MiB",
    ),
    (
        "s3",
        "buffer_size = \"1GiB\"",
        "sink.buffer_size = \"1GiB\" (p.toml:8): does not fit into memory.budget, \"256MiB\", which would have to be 342MiB for fetches (a quarter of the budget, and at least 24MiB for one response with its records) + 1GiB for an object of sink.buffer_size = 1366MiB",
    ),
    (
        "firehose",
        "max_calls_in_flight = 64",
        "sink.max_calls_in_flight = 64 (p.toml:8): does not fit into memory.budget, \"256MiB\", which would have to be 82MiB for fetches (a quarter of the budget, and at least 24MiB for one response with its records) + 256MB for 64 calls of sink.max_calls_in_flight, 4MB each = 326MiB",
    ),
    (
        "stdout",
        "[admin]\nlisten = \":9464\"",
        "admin.listen = \":9464\" (p.toml:9): names no address; write \"0.0.0.0:9464\" for all of them; allowed: address and port, as in \"127.0.0.1:9464\"",
    ),
    (
        "stdout",
        "[admin]\nper_shard_metrics = \"true\"",
        "admin.per_shard_metrics = \"true\" (p.toml:9): is text; write true without quotes; allowed: true, false",
    ),
    (
        "stdout",
        "[log]\nlevel = \"verbose\"",
        "log.level = \"verbose\" (p.toml:9): is not one of the words allowed; allowed: error, warn, info, debug, trace",
    ),
    ("stdout", "[log.format]\nx = 1", "log.format (p.toml:8): is a key, not a section"),
    (
        "stdout",
        "[shutdown]\ngrace_period = \"25\"",
        "shutdown.grace_period = \"25\" (p.toml:9): has no unit; write it as in \"10s\" (units: ms, s, m, h, d); allowed: 1s to 15m",
    ),
    (
        "stdout",
        "[aws.endpoints]\ns3 = \"localhost:9000\"",
        "aws.endpoints.s3 = \"localhost:9000\" (p.toml:9): does not begin with http:// or https://; allowed: http:// or https://, host and port, as in \"http://127.0.0.1:4567\"",
    ),
];

#[test]
fn one_mistake_is_one_line() {
    for (sink, rest, said) in MISTAKES {
        let text = sound(sink, rest);
        assert_eq!(refused(&text), [*said], "{text}");
    }
}

/// Of what the prefix parser says, only the place is held here; the words are its own.
#[test]
fn prefixes_and_zones_that_break_the_rules_are_refused() {
    for (rest, start) in [
        ("time_zone = \"Tokyo\"", "sink.time_zone = \"Tokyo\" (p.toml:8): "),
        ("prefix = \"x/!{timestamp:yyyy}/\"", "sink.error_prefix: is required: "),
        (
            "prefix = \"x/!{timestamp:yyyy/\"\nerror_prefix = \"e/\"",
            "sink.prefix = \"x/!{timestamp:yyyy/\" (p.toml:8): ",
        ),
        ("error_prefix = \"e/!{timestamp:yyyy}/\"", "sink.error_prefix = \"e/!{timestamp:yyyy}/\" (p.toml:8): "),
    ] {
        let said = refused(&sound("s3", rest));
        assert!(said.len() == 1 && said[0].starts_with(start), "{said:?}");
    }
    let both = refused(&sound("s3", "prefix = \"!{x}\"\nerror_prefix = \"!{y}\""));
    assert!(both.len() == 2 && both[1].starts_with("sink.error_prefix = "), "{both:?}");
}

/// Mistakes in `[source]`, which stands on line 3.
#[test]
fn mistakes_in_the_source_are_refused() {
    for (source, said) in [
        (
            "streams = [\"a\", \"b\", \"a\"]",
            "source.streams = [\"a\", \"b\", \"a\"] (p.toml:4): names \"a\" twice; allowed: a list, each entry a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
        ),
        (
            "streams = [\"x\", \"arn:aws:kinesis:eu-west-1:123456789012:stream/x\"]",
            "source.streams = [\"x\", \"arn:aws:kinesis:eu-west-1:123456789012:stream/x\"] (p.toml:4): names the stream \"x\" twice",
        ),
        (
            "streams = [\"arn:aws:kinesis:eu-west-1:123456789012:stream/x\", \"arn:aws:kinesis:eu-west-2:123456789012:stream/y\"]",
            "source.streams = [\"arn:aws:kinesis:eu-west-1:123456789012:stream/x\", \"arn:aws:kinesis:eu-west-2:123456789012:stream/y\"] (p.toml:4): names streams in \"eu-west-1\" and in \"eu-west-2\"; run one penstock for each Region",
        ),
        (
            "streams = [\"x\", \"y\"]\n[leases]\nkeys = \"single\"",
            "leases.keys = \"single\" (p.toml:6): tells the shards of several streams not apart; leave it out, or give each stream an application of its own",
        ),
        (
            "streams = \"clicks\"",
            "source.streams = \"clicks\" (p.toml:4): is not a list, as in [\"clicks\"]; allowed: a list, each entry a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
        ),
        (
            "streams = [7]",
            "source.streams = [7] (p.toml:4): has an entry that is not text; write it in quotes; allowed: a list, each entry a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
        ),
        (
            "streams = [\"my clicks\"]",
            "source.streams = [\"my clicks\"] (p.toml:4): has the character ' '; allowed: a list, each entry a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
        ),
        (
            "streams = []",
            "source.streams: is required; allowed: a list, each entry a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
        ),
        (
            "streams = [\"arn:aws:kinesis:eu-west-1:123456789012:stream/x\"]\nregion = \"us-east-1\"",
            "source.region = \"us-east-1\" (p.toml:5): is not the Region of the stream's ARN, \"eu-west-1\"; leave \"us-east-1\" out or correct one of them",
        ),
        (
            "streams = [\"x\"]\nstart = \"latest\"",
            "source.start = \"latest\" (p.toml:5): is written \"LATEST\"; allowed: \"TRIM_HORIZON\", \"LATEST\" or a time, as in \"2026-11-21T10:30:00Z\"",
        ),
        (
            "streams = [\"x\"]\nfetch_interval = \"100ms\"",
            "source.fetch_interval = \"100ms\" (p.toml:5): is too small; allowed: 200ms to 4m",
        ),
        (
            "streams = [\"x\"]\nfetch_interval = \"2s\"",
            "source.fetch_interval = \"2s\" (p.toml:5): is above source.idle_interval, \"1s\"",
        ),
        (
            "streams = [\"x\"]\nfetch_interval = \"2s\"\nidle_interval = \"1500ms\"",
            "source.idle_interval = \"1500ms\" (p.toml:6): is below source.fetch_interval, \"2s\"",
        ),
        (
            "streams = [\"x\"]\nmax_records_per_fetch = 10001",
            "source.max_records_per_fetch = 10001 (p.toml:5): is too large; allowed: 1 to 10000",
        ),
        (
            "streams = [\"x\"]\ndeaggregate = 1",
            "source.deaggregate = 1 (p.toml:5): is neither true nor false; allowed: true, false",
        ),
        (
            "streams = [\"x\"]\noutside_hash_range = \"ignore\"",
            "source.outside_hash_range = \"ignore\" (p.toml:5): is not one of the words allowed; allowed: deliver, set-aside, drop",
        ),
        (
            "streams = [\"x\"]\nrole_arn = 5",
            "source.role_arn = 5 (p.toml:5): is not text; write it in quotes; allowed: the ARN of a role, as in \"arn:aws:iam::123456789012:role/reader\"",
        ),
    ] {
        let text = format!("[application]\nname = \"app\"\n[source]\n{source}\n[sink]\ntype = \"stdout\"\n");
        assert_eq!(refused(&text), [said], "{text}");
    }
}

#[test]
fn what_is_required_is_missed_and_everything_is_said_at_once() {
    assert_eq!(
        refused(""),
        [
            "application.name: is required; allowed: 3 to 250 letters, digits, _ . -",
            "source.streams: is required; allowed: a list, each entry a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
            "sink.type: is required; allowed: s3, directory, firehose, stdout",
        ]
    );
    for (sink_type, key) in [("s3", "bucket"), ("directory", "path"), ("firehose", "delivery_stream")] {
        let text =
            format!("[application]\nname = \"app\"\n[source]\nstreams = [\"x\"]\n[sink]\ntype = \"{sink_type}\"");
        let said = refused(&text);
        let start = format!("sink.{key}: is required for sink.type = \"{sink_type}\"; allowed: ");
        assert!(said.len() == 1 && said[0].starts_with(&start), "{said:?}");
    }
    let many = "[application]\nname = \"a\"\nnmae = \"b\"\n[sink]\ntype = \"s3\"\nbuffer_size = 1\npath = \"x\"\n[memory]\nbudget = \"1KiB\"";
    let said = refused(many);
    let keys: Vec<&str> = said.iter().map(|line| line.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "application.nmae",
            "application.name",
            "source.streams",
            "sink.bucket",
            "sink.path",
            "sink.buffer_size",
            "memory.budget"
        ]
    );
}

#[test]
fn a_file_that_is_no_configuration_is_one_problem() {
    assert_eq!(refused("[sink\ntype = 1"), ["p.toml:1: is not TOML: unclosed table, expected `]`"]);
    assert_eq!(refused("[log]\nlevel = \"info\"\nlevel = \"warn\""), ["p.toml:3: is not TOML: duplicate key"]);
    assert_eq!(refused("sink = \"s3\"")[0], "sink (p.toml:1): is a section; give its keys, as in sink.type");
    assert_eq!(refused("\"a\\nb\" = 1")[0], "\"a\\nb\" (p.toml:1): unknown key");
    assert_eq!(refused("[[sink]]\ntype = \"s3\"")[0], "sink (p.toml:1): is a section; give its keys, as in sink.type");
    assert_eq!(refused("\"sink.type\" = \"s3\"")[0], "\"sink.type\" (p.toml:1): unknown key; did you mean sink.type?");
}

#[test]
fn mistakes_outside_the_file_name_their_place() {
    let text = sound("s3", "");
    let environment = [
        ("PENSTOCK__SINK__BUKCET", "x"),
        ("PENSTOCK__SINK__BUFFER_SIZE", "64"),
        ("PENSTOCK__SINK", "s3"),
        ("PENSTOCK__TRANSFORM__JQ", "."),
        ("PENSTOCK__SOURCE__DEAGGREGATE", "yes"),
    ];
    let said = lines(
        &load_with(&text, &environment, &["sink.bucket", "log.levle=info", "leases.max_leases=many"]).unwrap_err(),
    );
    assert_eq!(
        said,
        [
            "sink (PENSTOCK__SINK): is a section; give its keys, as in sink.type",
            "sink.bukcet (PENSTOCK__SINK__BUKCET): unknown key; did you mean sink.bucket?",
            "transform.jq (PENSTOCK__TRANSFORM__JQ): unknown key: this version delivers records as they are",
            "--set sink.bucket: is not of the form key=value, as in --set sink.bucket=lake",
            "log.levle (--set): unknown key; did you mean log.level?",
            "source.deaggregate = \"yes\" (PENSTOCK__SOURCE__DEAGGREGATE): is neither true nor false; allowed: true, false",
            "leases.max_leases = \"many\" (--set): is not a whole number; allowed: 0 to 1000000",
            "sink.buffer_size = \"64\" (PENSTOCK__SINK__BUFFER_SIZE): has no unit; write it as in \"64MiB\" (units: B, KB, KiB, MB, MiB, GB, GiB); allowed: 1MiB to 5GiB",
        ]
    );
}

#[test]
fn setting_aside_needs_a_place() {
    let place =
        |sink: &str, rest: &str| sound(sink, rest).replace("streams", "outside_hash_range = \"set-aside\"\nstreams");
    for (sink, needed) in
        [("firehose", "sink.set_aside_bucket or sink.set_aside_path"), ("stdout", "a sink other than \"stdout\"")]
    {
        let said = format!("source.outside_hash_range = \"set-aside\" (p.toml:4): needs {needed}");
        assert_eq!(refused(&place(sink, "")), [said]);
    }
    for (sink, rest) in [("s3", ""), ("directory", ""), ("firehose", "set_aside_bucket = \"aside\"")] {
        assert!(load_text(&place(sink, rest)).is_ok(), "{sink}");
    }
}

#[test]
fn what_is_likely_not_meant_is_a_warning() {
    for (sink, rest, said) in [
        (
            "firehose",
            "set_aside_path = \"x\"\npack_size = \"1000KB\"",
            "sink.pack_size = \"1MB\" (p.toml:9): is not a multiple of 5KiB, the step in which Firehose bills; \"975KiB\" costs less per byte",
        ),
        (
            "firehose",
            "",
            "sink.set_aside_bucket: is not given, nor is sink.set_aside_path: a shard will stop at a record that Firehose cannot take",
        ),
        (
            "stdout",
            "[leases]\npath = \"x\"",
            "leases.path = \"x\" (p.toml:9): has no effect while leases.store is \"dynamodb\"",
        ),
        (
            "stdout",
            "[leases]\nstore = \"sqlite\"\ntable = \"xyz\"",
            "leases.table = \"xyz\" (p.toml:10): has no effect while leases.store is \"sqlite\"",
        ),
    ] {
        let text = sound(sink, rest);
        let warnings: Vec<String> = load_text(&text).unwrap().warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [said], "{text}");
    }
    let warnings = load_text(&sound("s3", "prefix = \"x\"")).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].key == "sink.prefix", "{warnings:?}");
}
