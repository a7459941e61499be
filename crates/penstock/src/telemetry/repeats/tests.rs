//! What is held back, what is told, and how it looks.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const PLAIN: Verdict = Verdict::Tell { repeated: 0, similar: 0 };

#[test]
fn the_same_line_is_told_ever_more_rarely_with_a_count() {
    let (mut told, start) = (Told::default(), Instant::now());
    let tells: Vec<(u64, u64)> = (0..1_000)
        .filter_map(|second| match told.judge_hashed(1, 1, start + Duration::from_secs(second)) {
            Verdict::Tell { repeated, .. } => Some((second, repeated)),
            Verdict::HoldBack => None,
        })
        .collect();
    assert_eq!(tells, [(0, 0), (10, 9), (30, 19), (70, 39), (150, 79), (310, 159), (610, 299), (910, 299)]);
}

#[test]
fn a_line_that_comes_rarely_is_told_each_time() {
    let (mut told, start) = (Told::default(), Instant::now());
    for minute in 0..10 {
        assert_eq!(told.judge_hashed(1, 1, start + Duration::from_secs(60 * minute)), PLAIN);
    }
}

#[test]
fn of_thousands_of_lines_of_a_kind_some_are_told_and_the_others_counted() {
    let (mut told, start) = (Told::default(), Instant::now());
    let verdicts: Vec<_> = (0..5_000).map(|line| told.judge_hashed(1, line, start)).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == PLAIN).count(), BURST as usize);
    assert_eq!(told.judge_hashed(2, 9_999, start), PLAIN, "another kind");
    let later = told.judge_hashed(1, 77_777, start + QUIET);
    assert_eq!(later, Verdict::Tell { repeated: 0, similar: 4_990 });
    assert_eq!(told.lines.len(), BURST as usize + 2, "what is held back is not remembered");
}

#[test]
fn what_is_remembered_is_bounded() {
    let (mut told, start) = (Told::default(), Instant::now());
    for at in 0..10_000_u64 {
        told.judge_hashed(at / 5, at, start + Duration::from_secs(at));
    }
    assert!(told.lines.len() <= REMEMBERED, "{}", told.lines.len());
}

/// What a log has after some events.
fn logged(form: LogFormat, events: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);
    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (buffer, registry) = (Buffer::default(), tracing_subscriber::registry());
    let writer = buffer.clone();
    match form {
        LogFormat::Text => {
            let lines = Repeats::new(fmt::format().without_time().with_target(false).with_ansi(false), form);
            let layer = fmt::layer().with_ansi(false).event_format(lines).with_writer(move || writer.clone());
            tracing::subscriber::with_default(registry.with(layer), events);
        }
        LogFormat::Json => {
            let lines = Repeats::new(fmt::format().json().without_time().flatten_event(true), form);
            let fields = fmt::format::JsonFields::new();
            let layer = fmt::layer().fmt_fields(fields).event_format(lines).with_writer(move || writer.clone());
            tracing::subscriber::with_default(registry.with(layer), events);
        }
    }
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn fails(shard: &str, failures: u32, error: &str) {
    tracing::warn!(shard, failures, error, "a call failed");
}

#[test]
fn a_line_about_another_shard_or_another_error_is_another_line() {
    let log = logged(LogFormat::Text, || {
        fails("s-1", 1, "put on clicks-1-5e7f failed: timed out after 30 s");
        fails("s-1", 2, "put on clicks-1-8a1b failed: timed out after 31 s");
        fails("s-2", 1, "put on clicks-1-5e7f failed: timed out after 30 s");
        fails("s-1", 3, "put on clicks-1-5e7f failed: access denied");
    });
    assert_eq!(log.lines().count(), 3, "{log}");
}

#[test]
fn what_is_no_warning_and_every_gap_is_told() {
    let log = logged(LogFormat::Text, || {
        for _ in 0..3 {
            tracing::info!(shard = "s-1", "lease taken");
            tracing::error!(shard = "s-1", gap = "1", "records may be missing");
        }
    });
    assert_eq!(log.lines().count(), 6, "{log}");
}

#[test]
fn counts_are_fields_of_the_line_in_both_forms() {
    for form in [LogFormat::Text, LogFormat::Json] {
        let line = logged(form, || fails("s-1", 1, "no answer"));
        let line = with_counts(line.trim_end(), form, 3, 0);
        match form {
            LogFormat::Text => assert!(line.ends_with("error=\"no answer\" repeated=3"), "{line}"),
            LogFormat::Json => {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!((&event["repeated"], &event["shard"]), (&3.into(), &"s-1".into()), "{line}");
            }
        }
    }
}
