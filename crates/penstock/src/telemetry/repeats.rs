//! The same trouble again and again is one line with a count: thousands of shards may meet the same for hours.
//!
//! For warnings and errors alone, and for the log alone: metrics and pages count every time. Of the same line, all but the first are
//! held back for ten seconds, then for twice as long each time, and the next one says how many there were (`repeated`). Of one kind
//! of line about many things, ten are told in that time, and the next one says how many others there were (`similar`). A gap in
//! the records is always told.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::settings::LogFormat;

/// How long a line is not told again, at first and at most.
const QUIET: Duration = Duration::from_secs(10);
const LONGEST_QUIET: Duration = Duration::from_secs(300);
/// Lines of one kind that are told within [`QUIET`], whatever they are about; the time grows up to this.
const BURST: u32 = 10;
const LONGEST_WINDOW: Duration = Duration::from_secs(60);
/// Lines that are remembered; beyond it those go that are not held back.
const REMEMBERED: usize = 1_000;
/// Fields that say when or how often, not what: they differ each time.
const COUNTING: [&str; 4] = ["again", "failures", "lasted", "oldest"];
/// Fields of running text, in which numbers and names of objects differ each time.
const PROSE: [&str; 3] = ["error", "problem", "message"];
/// Whatever has this field is told.
const GAP: &str = "gap";

/// Formats events as `inner` does, but for repeats.
pub(super) struct Repeats<F> {
    inner: F,
    form: LogFormat,
    told: Mutex<Told>,
}

impl<F> Repeats<F> {
    pub(super) fn new(inner: F, form: LogFormat) -> Self {
        Self { inner, form, told: Mutex::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Repeats<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.fields().field(GAP).is_some() {
            return self.inner.format_event(context, writer, event);
        }
        let mut subject = Subject(DefaultHasher::new());
        event.record(&mut subject);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = told.judge(&metadata.callsite(), subject.0.finish(), Instant::now());
        drop(told);
        match verdict {
            Verdict::HoldBack => Ok(()),
            Verdict::Tell { repeated: 0, similar: 0 } => self.inner.format_event(context, writer, event),
            Verdict::Tell { repeated, similar } => {
                let mut line = String::new();
                self.inner.format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{}", with_counts(line.trim_end(), self.form, repeated, similar))
            }
        }
    }
}

/// The line with what it stands for.
fn with_counts(line: &str, form: LogFormat, repeated: u64, similar: u64) -> String {
    let counts = [("repeated", repeated), ("similar", similar)].into_iter().filter(|(_, count)| *count > 0);
    match form {
        LogFormat::Text => counts.fold(line.to_owned(), |line, (name, count)| format!("{line} {name}={count}")),
        LogFormat::Json => {
            let open = line.strip_suffix('}').unwrap_or(line);
            counts.fold(open.to_owned(), |line, (name, count)| format!("{line},\"{name}\":{count}")) + "}"
        }
    }
}

/// What a line is about: everything it says, but for counts and times.
struct Subject(DefaultHasher);

impl Visit for Subject {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if COUNTING.contains(&field.name()) {
            return;
        }
        field.name().hash(&mut self.0);
        let text = format!("{value:?}");
        if PROSE.contains(&field.name()) {
            let words = text.split(|letter: char| !letter.is_alphanumeric());
            words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit())).for_each(|word| {
                word.hash(&mut self.0);
            });
        } else {
            text.hash(&mut self.0);
        }
    }

    // Numbers count something.
    fn record_u64(&mut self, _field: &Field, _value: u64) {}
    fn record_i64(&mut self, _field: &Field, _value: i64) {}
    fn record_f64(&mut self, _field: &Field, _value: f64) {}
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is counted.
    HoldBack,
    /// It is told, and how many were held back since the last one: the same, and of its kind.
    Tell { repeated: u64, similar: u64 },
}

/// What was told of late.
#[derive(Debug, Default)]
struct Told {
    lines: BTreeMap<u64, Pause>,
    kinds: BTreeMap<u64, Kind>,
}

/// One line, and how long it is not told again.
#[derive(Debug)]
struct Pause {
    since: Instant,
    quiet: Duration,
    held_back: u64,
}

/// The lines of one place in the program.
#[derive(Debug)]
struct Kind {
    window: Pause,
    told: u32,
}

impl Pause {
    const fn new(now: Instant) -> Self {
        Self { since: now, quiet: QUIET, held_back: 0 }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= self.quiet
    }

    /// Begins the next one, longer if something was held back. Gives how much that was.
    fn renew(&mut self, now: Instant, longest: Duration) -> u64 {
        self.quiet = if self.held_back > 0 { longest.min(self.quiet * 2) } else { QUIET };
        self.since = now;
        std::mem::take(&mut self.held_back)
    }
}

impl Told {
    fn judge(&mut self, place: &Identifier, subject: u64, now: Instant) -> Verdict {
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        let place = hasher.finish();
        subject.hash(&mut hasher);
        self.judge_hashed(place, hasher.finish(), now)
    }

    fn judge_hashed(&mut self, place: u64, line: u64, now: Instant) -> Verdict {
        if let Some(pause) = self.lines.get_mut(&line).filter(|pause| !pause.is_over(now)) {
            pause.held_back += 1;
            return Verdict::HoldBack;
        }
        let kind = self.kinds.entry(place).or_insert_with(|| Kind { window: Pause::new(now), told: 0 });
        let mut similar = 0;
        if kind.window.is_over(now) {
            similar = kind.window.renew(now, LONGEST_WINDOW);
            kind.told = 0;
        }
        if kind.told >= BURST {
            kind.window.held_back += 1;
            return Verdict::HoldBack;
        }
        kind.told += 1;
        if self.lines.len() >= REMEMBERED {
            self.lines.retain(|_, pause| !pause.is_over(now));
        }
        let repeated = match self.lines.get_mut(&line) {
            Some(pause) => pause.renew(now, LONGEST_QUIET),
            None => {
                self.lines.insert(line, Pause::new(now));
                0
            }
        };
        Verdict::Tell { repeated, similar }
    }
}

#[cfg(test)]
mod tests;
