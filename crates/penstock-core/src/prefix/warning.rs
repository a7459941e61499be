//! What a prefix may say and probably does not mean: `YYYY`, `DD`, `mm` for months and other traps.
//!
//! A warning never changes what is evaluated.

use std::collections::BTreeSet;

use super::expression::{Part, Piece, PrefixKind};
use super::pattern::LetterRun;

/// Something that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: {reason}", offset + 1)]
pub struct PrefixWarning {
    /// Where, in characters from the start of the prefix, from 0.
    pub offset: usize,
    /// What is suspicious.
    pub reason: PrefixWarningReason,
}

/// What is suspicious about a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum PrefixWarningReason {
    /// `Y` without a week.
    #[error("`Y` is the week-based year: the last days of December can print the next year; for the year write yyyy")]
    WeekYear,
    /// A week beside the ordinary year.
    #[error("the week of December 31 can be week 1 of the next year; beside `w` write the week-based year, YYYY")]
    WeekWithoutWeekYear,
    /// Weeks as a language counts them.
    #[error("weeks start on Sunday here, January 1 lies in week 1; what Firehose does is not documented")]
    WeeksOfALanguage,
    /// `D`.
    #[error("`D` is the day of the year, 1 to 366; for the day of the month write dd")]
    DayOfYear,
    /// An hour of a half day without its half.
    #[error("`h` and `K` count to 12, so morning and evening share a prefix; for the hour 0 to 23 write HH")]
    HalfDayHour,
    /// `k`.
    #[error("`k` counts from 1 to 24: midnight is 24; for the hour 0 to 23 write HH")]
    HourFrom1To24,
    /// Minutes where a month belongs.
    #[error("`m` is the minute; for the month write MM")]
    MinuteForMonth,
    /// A month where minutes belong.
    #[error("`M` is the month; for the minute write mm")]
    MonthForMinute,
    /// A fraction where seconds belong.
    #[error("`S` is the fraction of the second; for the second write ss")]
    FractionForSecond,
    /// `F`, whose meaning changed with Java 19.
    #[error("`F` is the day of the week in the month up to Java 18 (and here), the week of the month since Java 19")]
    MeaningChanged,
    /// `B`, which older versions of Java do not know.
    #[error("`B` is known since Java 16; Firehose may refuse it")]
    RecentLetter,
    /// `z`.
    #[error(
        "`z` prints the IANA database's abbreviation, which can differ from Java's; for a stable zone write VV or XXX"
    )]
    ZoneAbbreviation,
    /// A word that happens to be made of pattern letters.
    #[error("this word is read as pattern letters; text stands in single quotes: 'day='")]
    WordAsPattern,
    /// `%` before a letter.
    #[error("`%` stands for itself: the patterns are Java's, not strftime's; write yyyy/MM/dd/HH")]
    Strftime,
    /// Something like `${timestamp:…}`, which is plain text.
    #[error("this is plain text; an expression starts with `!{{`")]
    LooksLikeExpression,
    /// Pattern letters outside an expression, which are plain text.
    #[error("this is plain text; a time is written !{{timestamp:yyyy/MM/dd/HH/}}")]
    LooksLikePattern,
    /// No slash between the prefix and what follows.
    #[error("nothing adds a slash for you: what follows runs on from here")]
    NoSlashAtEnd,
    /// An error prefix without the kind of error.
    #[error("all kinds of errors go under one prefix; to part them write !{{firehose:error-output-type}}/")]
    ErrorPrefixWithoutType,
}

use PrefixWarningReason as Reason;

/// Finds what is suspicious, in the order of the source; each reason once, where it first holds.
pub(super) fn find(kind: PrefixKind, source: &str, parts: &[Part]) -> Vec<PrefixWarning> {
    let mut found = Vec::new();
    let runs = letter_runs(source, parts);
    for (index, run) in runs.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| runs[before]);
        found.extend(suspicious(*run, before, runs.get(index + 1).copied(), &runs).map(|reason| (run.offset, reason)));
    }
    for Part { offset, piece } in parts {
        match piece {
            Piece::Literal(text) => found.extend(in_text(text).map(|(at, reason)| (offset + at, reason))),
            Piece::Timestamp(_) => found.extend(in_pattern(source, *offset)),
            Piece::RandomString | Piece::ErrorOutputType | Piece::PartitionValue(_) => {}
        }
    }
    found.extend(at_the_end(kind, source, parts));
    found.sort_unstable();
    let mut told = BTreeSet::new();
    found.retain(|(_, reason)| told.insert(*reason));
    let chars = |offset: usize| source.get(..offset).unwrap_or(source).chars().count();
    found.into_iter().map(|(offset, reason)| PrefixWarning { offset: chars(offset), reason }).collect()
}

/// All runs of letters that were written, with offsets into the source. The appended time has none.
fn letter_runs(source: &str, parts: &[Part]) -> Vec<LetterRun> {
    let written = parts.iter().filter(|part| part.offset < source.len());
    written
        .filter_map(|part| match &part.piece {
            Piece::Timestamp(pattern) => Some((part.offset + "!{timestamp:".len(), pattern)),
            _ => None,
        })
        .flat_map(|(start, pattern)| {
            pattern.runs().iter().map(move |run| LetterRun { offset: start + run.offset, ..*run })
        })
        .collect()
}

fn suspicious(
    run: LetterRun,
    before: Option<LetterRun>,
    after: Option<LetterRun>,
    all: &[LetterRun],
) -> Option<PrefixWarningReason> {
    let any = |letters: &str| all.iter().any(|run| letters.contains(run.letter));
    let is = |other: Option<LetterRun>, letters: &str| other.is_some_and(|other| letters.contains(other.letter));
    let suspicion = match run.letter {
        'Y' if any("w") => Reason::WeeksOfALanguage,
        'Y' => Reason::WeekYear,
        'w' if !any("Y") && any("yu") => Reason::WeekWithoutWeekYear,
        'w' | 'W' => Reason::WeeksOfALanguage,
        'e' | 'c' if run.count < 3 => Reason::WeeksOfALanguage,
        'D' => Reason::DayOfYear,
        'h' | 'K' if !any("aB") => Reason::HalfDayHour,
        'k' => Reason::HourFrom1To24,
        'm' if is(before, "yuY") || is(after, "dD") || !any("MLDHhKk") => Reason::MinuteForMonth,
        'M' if run.count <= 2 && (is(before, "HhKk") && !is(after, "dy") || is(after, "s")) => Reason::MonthForMinute,
        'S' if is(before, "m") => Reason::FractionForSecond,
        'F' => Reason::MeaningChanged,
        'B' => Reason::RecentLetter,
        'z' => Reason::ZoneAbbreviation,
        _ => return None,
    };
    Some(suspicion)
}

/// What is suspicious within the expression that starts at `offset`.
fn in_pattern(source: &str, offset: usize) -> Option<(usize, PrefixWarningReason)> {
    let expression = source.get(offset..)?;
    let pattern = &expression[..expression.find('}')?];
    let mut quoted = false;
    let mut word_start = None;
    for (at, letter) in pattern.char_indices().skip("!{timestamp:".len()).chain([(pattern.len(), '}')]) {
        if quoted || !letter.is_ascii_alphabetic() {
            let word = word_start.take().map(|start| (start, &pattern[start..at]));
            if let Some((start, "day" | "Day" | "days" | "week" | "weeks")) = word {
                return Some((offset + start, Reason::WordAsPattern));
            }
        } else if word_start.is_none() {
            word_start = Some(at);
        }
        match letter {
            '\'' => quoted = !quoted,
            '%' if !quoted && pattern[at + 1..].starts_with(|next: char| next.is_ascii_alphabetic()) => {
                return Some((offset + at, Reason::Strftime));
            }
            _ => {}
        }
    }
    None
}

/// What is suspicious within plain text; offsets count from its start.
fn in_text(text: &str) -> impl Iterator<Item = (usize, PrefixWarningReason)> {
    let namespaces = ["timestamp:", "firehose:", "partitionKeyFrom"];
    let expression = namespaces.iter().find_map(|namespace| text.find(namespace));
    let pattern = ["yyyy", "YYYY", "/MM/", "/dd/", "%Y", "%m/%d"].iter().find_map(|letters| text.find(letters));
    match expression {
        Some(at) => Some((at, Reason::LooksLikeExpression)),
        None => pattern.map(|at| (at, Reason::LooksLikePattern)),
    }
    .into_iter()
}

fn at_the_end(kind: PrefixKind, source: &str, parts: &[Part]) -> impl Iterator<Item = (usize, PrefixWarningReason)> {
    let ends_in_slash = match parts.iter().rev().find(|part| part.offset < source.len()).map(|part| &part.piece) {
        Some(Piece::Literal(text)) => text.ends_with('/'),
        Some(Piece::Timestamp(pattern)) => pattern.ends_with('/'),
        Some(_) => false,
        None => true,
    };
    let plain_errors = kind == PrefixKind::ErrorPrefix && parts.iter().all(|part| part.piece != Piece::ErrorOutputType);
    let slash = (!ends_in_slash).then_some((source.len(), Reason::NoSlashAtEnd));
    slash.into_iter().chain(plain_errors.then_some((source.len(), Reason::ErrorPrefixWithoutType)))
}
