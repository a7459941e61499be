//! Parses the patterns of Java's `DateTimeFormatter`, refusing what Java refuses.
//!
//! Three things that Java accepts are refused with a reason: texts that need a table of zone names (`zzzz`, `v`),
//! padding that is too narrow for some instants, and years of more than ten digits; with the last two Java mostly fails
//! to print.
//! One prints differently: `z` gives the IANA database's abbreviation, where Java has a table of its own.
//!
//! Rules: <https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/time/format/DateTimeFormatter.html>.

use super::fields::{Field, Number, OffsetForm, Style, Text};
use super::zone::LocalInstant;

/// A pattern of Java's `DateTimeFormatter`, such as `yyyy/MM/dd/HH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateTimePattern {
    elements: Vec<Element>,
    runs: Vec<LetterRun>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    Literal(char),
    /// A field, filled up with spaces from the left to `pad` characters.
    Field {
        field: Field,
        pad: usize,
    },
}

/// The same letter `count` times in a row, outside quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LetterRun {
    pub(super) letter: char,
    pub(super) count: usize,
    /// In bytes from the start of the pattern.
    pub(super) offset: usize,
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// Where, in bytes from the start of the pattern.
    pub offset: usize,
    /// Why.
    pub reason: PatternErrorReason,
}

/// Why a pattern cannot be used, and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternErrorReason {
    /// There is nothing between the colon and the brace.
    #[error("the time pattern is empty; write for example yyyy/MM/dd/HH/")]
    Empty,
    /// A letter that has no meaning.
    #[error("`{letter}` is no pattern letter; text stands in single quotes: '{word}'")]
    UnknownLetter {
        /// The letter.
        letter: char,
        /// The run of letters around it, which was perhaps meant as text.
        word: String,
    },
    /// A letter too many or too few times in a row.
    #[error("`{letter}` ({meaning}) cannot stand {count} times in a row, only {allowed}{}", after_semicolon(*hint))]
    WrongCount {
        /// The letter.
        letter: char,
        /// What it stands for.
        meaning: &'static str,
        /// How often it stands there.
        count: usize,
        /// How often it may.
        allowed: String,
        /// What was probably meant.
        hint: Option<&'static str>,
    },
    /// A text that would need a table of zone names in some language.
    #[error(
        "`{letters}` is a zone's name in words, which depends on the language; use VV (Asia/Tokyo) or XXX (+09:00)"
    )]
    ZoneInWords {
        /// The letters.
        letters: String,
    },
    /// A `p` that no letter follows.
    #[error("`p` pads the field that follows it, and none follows; text stands in single quotes: 'p'")]
    PadWithoutField,
    /// A field that can be wider than the width it is padded to.
    #[error("padding to {pad} is too narrow for `{letters}`, which can take {widest}; write {widest} times `p`")]
    PadTooNarrow {
        /// The letters of the field.
        letters: String,
        /// The width asked for.
        pad: usize,
        /// The widest that the field can be.
        widest: usize,
    },
    /// A quote that is never closed.
    #[error(
        "the text after this quote has no end; close it, or write '' for a single quote (no brace may stand in it)"
    )]
    UnclosedQuote,
    /// A `]` without its `[`.
    #[error("`]` without a `[` before it; as text it stands in single quotes: ']'")]
    UnopenedSection,
    /// A character that Java keeps for later.
    #[error("`{0}` is reserved in time patterns; as text it stands in single quotes: '{0}'")]
    Reserved(char),
}

fn after_semicolon(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

impl DateTimePattern {
    /// Parses a pattern, or says where and why it is none.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        if pattern.is_empty() {
            return Err(PatternError { offset: 0, reason: PatternErrorReason::Empty });
        }
        let mut parser = Parser { pattern, at: 0, open_sections: 0, elements: Vec::new(), runs: Vec::new() };
        while let Some(next) = parser.peek() {
            parser.step(next)?;
        }
        Ok(Self { elements: parser.elements, runs: parser.runs })
    }

    /// Prints an instant.
    ///
    /// An optional section is always printed: it is left out only where a field is unknown, and none is here.
    pub fn format(&self, at: &LocalInstant) -> String {
        let mut out = String::new();
        for element in &self.elements {
            match element {
                Element::Literal(literal) => out.push(*literal),
                Element::Field { field, pad } => {
                    let printed = field.print(at);
                    let width = printed.chars().count();
                    out.extend(std::iter::repeat_n(' ', pad.saturating_sub(width)));
                    out.push_str(&printed);
                }
            }
        }
        out
    }

    pub(super) fn ends_with(&self, literal: char) -> bool {
        self.elements.last() == Some(&Element::Literal(literal))
    }

    pub(super) fn runs(&self) -> &[LetterRun] {
        &self.runs
    }
}

struct Parser<'a> {
    pattern: &'a str,
    at: usize,
    open_sections: usize,
    elements: Vec<Element>,
    runs: Vec<LetterRun>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.pattern[self.at..].chars().next()
    }

    fn step(&mut self, next: char) -> Result<(), PatternError> {
        let start = self.at;
        match next {
            'p' => return self.padded(),
            letter if letter.is_ascii_alphabetic() => {
                let (field, _) = self.field()?;
                self.elements.push(Element::Field { field, pad: 0 });
                return Ok(());
            }
            '\'' => return self.quoted(),
            '[' => self.open_sections += 1,
            ']' if self.open_sections == 0 => {
                return Err(error(start, PatternErrorReason::UnopenedSection));
            }
            ']' => self.open_sections -= 1,
            '{' | '}' | '#' => return Err(error(start, PatternErrorReason::Reserved(next))),
            literal => self.elements.push(Element::Literal(literal)),
        }
        self.at += next.len_utf8();
        Ok(())
    }

    /// Reads a run of one letter. The caller has seen that a letter stands here.
    fn run(&mut self) -> LetterRun {
        let rest = &self.pattern[self.at..];
        let letter = rest.chars().next().unwrap_or_default();
        let count = rest.chars().take_while(|next| *next == letter).count();
        let run = LetterRun { letter, count, offset: self.at };
        self.at += count * letter.len_utf8();
        run
    }

    fn field(&mut self) -> Result<(Field, LetterRun), PatternError> {
        let run = self.run();
        let field = field(run).map_err(|reason| error(run.offset, self.in_words(run, reason)))?;
        self.runs.push(run);
        Ok((field, run))
    }

    /// Puts the word around an unknown letter into the reason: `year` rather than `r`.
    fn in_words(&self, run: LetterRun, reason: PatternErrorReason) -> PatternErrorReason {
        let PatternErrorReason::UnknownLetter { letter, .. } = reason else {
            return reason;
        };
        let is_letter = |next: char| next.is_ascii_alphabetic();
        let (before, after) = self.pattern.split_at(run.offset);
        let start = before
            .rfind(|next| !is_letter(next))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let end = after.find(|next| !is_letter(next)).map_or(self.pattern.len(), |at| run.offset + at);
        PatternErrorReason::UnknownLetter { letter, word: self.pattern[start..end].to_owned() }
    }

    fn padded(&mut self) -> Result<(), PatternError> {
        let LetterRun { count: pad, offset, .. } = self.run();
        if !self.peek().is_some_and(|next| next.is_ascii_alphabetic()) {
            return Err(error(offset, PatternErrorReason::PadWithoutField));
        }
        let (field, run) = self.field()?;
        let widest = field.widest();
        if pad < widest {
            let letters = String::from(run.letter).repeat(run.count);
            return Err(error(offset, PatternErrorReason::PadTooNarrow { letters, pad, widest }));
        }
        self.elements.push(Element::Field { field, pad });
        Ok(())
    }

    /// Reads `'text'`, in which `''` is a quote; `''` alone is a quote too.
    fn quoted(&mut self) -> Result<(), PatternError> {
        let start = self.at;
        let mut rest = self.pattern[start + 1..].char_indices().peekable();
        let mut text = Vec::new();
        while let Some((at, next)) = rest.next() {
            if next == '\'' && rest.next_if(|(_, after)| *after == '\'').is_none() {
                self.at = start + 1 + at + 1;
                if text.is_empty() {
                    text.push('\'');
                }
                self.elements.extend(text.into_iter().map(Element::Literal));
                return Ok(());
            }
            text.push(next);
        }
        Err(error(start, PatternErrorReason::UnclosedQuote))
    }
}

fn error(offset: usize, reason: PatternErrorReason) -> PatternError {
    PatternError { offset, reason }
}

/// What a pattern letter stands for, and how often it may stand in a row.
struct LetterRule {
    letter: char,
    meaning: &'static str,
    counts: &'static [usize],
}

const ONE: &[usize] = &[1];
const UP_TO_2: &[usize] = &[1, 2];
const UP_TO_3: &[usize] = &[1, 2, 3];
const UP_TO_5: &[usize] = &[1, 2, 3, 4, 5];
const UP_TO_9: &[usize] = &[1, 2, 3, 4, 5, 6, 7, 8, 9];
/// Java parses up to 19 for a year, and from 11 to 18 fails at every instant that it prints.
const UP_TO_10: &[usize] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const UP_TO_19: &[usize] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

#[rustfmt::skip] // A table is read by its columns.
const LETTERS: [LetterRule; 36] = [
    LetterRule { letter: 'G', meaning: "era", counts: UP_TO_5 },
    LetterRule { letter: 'u', meaning: "year", counts: UP_TO_10 },
    LetterRule { letter: 'y', meaning: "year", counts: UP_TO_10 },
    LetterRule { letter: 'Y', meaning: "week-based year", counts: UP_TO_10 },
    LetterRule { letter: 'D', meaning: "day of the year", counts: UP_TO_3 },
    LetterRule { letter: 'M', meaning: "month", counts: UP_TO_5 },
    LetterRule { letter: 'L', meaning: "month", counts: UP_TO_5 },
    LetterRule { letter: 'd', meaning: "day of the month", counts: UP_TO_2 },
    LetterRule { letter: 'g', meaning: "modified Julian day", counts: UP_TO_19 },
    LetterRule { letter: 'Q', meaning: "quarter", counts: UP_TO_5 },
    LetterRule { letter: 'q', meaning: "quarter", counts: UP_TO_5 },
    LetterRule { letter: 'w', meaning: "week of the week-based year", counts: UP_TO_2 },
    LetterRule { letter: 'W', meaning: "week of the month", counts: ONE },
    LetterRule { letter: 'E', meaning: "day of the week", counts: UP_TO_5 },
    LetterRule { letter: 'e', meaning: "day of the week", counts: UP_TO_5 },
    LetterRule { letter: 'c', meaning: "day of the week", counts: &[1, 3, 4, 5] },
    LetterRule { letter: 'F', meaning: "day of the week in the month", counts: ONE },
    LetterRule { letter: 'a', meaning: "AM or PM", counts: ONE },
    LetterRule { letter: 'B', meaning: "part of the day", counts: &[1, 4, 5] },
    LetterRule { letter: 'h', meaning: "hour 1 to 12", counts: UP_TO_2 },
    LetterRule { letter: 'K', meaning: "hour 0 to 11", counts: UP_TO_2 },
    LetterRule { letter: 'k', meaning: "hour 1 to 24", counts: UP_TO_2 },
    LetterRule { letter: 'H', meaning: "hour 0 to 23", counts: UP_TO_2 },
    LetterRule { letter: 'm', meaning: "minute", counts: UP_TO_2 },
    LetterRule { letter: 's', meaning: "second", counts: UP_TO_2 },
    LetterRule { letter: 'S', meaning: "fraction of the second", counts: UP_TO_9 },
    LetterRule { letter: 'A', meaning: "millisecond of the day", counts: UP_TO_19 },
    LetterRule { letter: 'n', meaning: "nanosecond of the second", counts: UP_TO_19 },
    LetterRule { letter: 'N', meaning: "nanosecond of the day", counts: UP_TO_19 },
    LetterRule { letter: 'V', meaning: "zone", counts: &[2] },
    LetterRule { letter: 'v', meaning: "zone in words", counts: &[1, 4] },
    LetterRule { letter: 'z', meaning: "zone's abbreviation", counts: &[1, 2, 3, 4] },
    LetterRule { letter: 'O', meaning: "offset from GMT", counts: &[1, 4] },
    LetterRule { letter: 'X', meaning: "offset from UTC, Z for none", counts: UP_TO_5 },
    LetterRule { letter: 'x', meaning: "offset from UTC", counts: UP_TO_5 },
    LetterRule { letter: 'Z', meaning: "offset from UTC", counts: UP_TO_5 },
];

/// What was probably meant by a letter that stands too often.
fn count_hint(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' | 'D' | 'W' => "for the name of the day write EEEE",
        'H' | 'h' | 'K' | 'k' => "for the hour write HH",
        'm' => "for the minute write mm, for the month MM or MMMM",
        's' | 'S' => "for the second write ss, for milliseconds SSS",
        'w' => "for the week write ww",
        'y' | 'u' | 'Y' => "for the year write yyyy",
        'V' => "for the zone write VV",
        'M' | 'L' => "for the number of the month write MM, for its name MMMM",
        _ => return None,
    })
}

/// `1, 3 to 5` for 1, 3, 4, 5.
fn ranges(counts: &[usize]) -> String {
    let mut written = Vec::new();
    for group in counts.chunk_by(|one, next| one + 1 == *next) {
        written.push(match group {
            [first, .., last] => format!("{first} to {last}"),
            [only] => only.to_string(),
            [] => continue,
        });
    }
    written.join(", ")
}

fn field(run: LetterRun) -> Result<Field, PatternErrorReason> {
    let LetterRun { letter, count, .. } = run;
    let Some(rule) = LETTERS.iter().find(|rule| rule.letter == letter) else {
        return Err(PatternErrorReason::UnknownLetter { letter, word: letter.to_string() });
    };
    if !rule.counts.contains(&count) {
        let hint = count_hint(letter);
        let allowed = ranges(rule.counts);
        return Err(PatternErrorReason::WrongCount { letter, meaning: rule.meaning, count, allowed, hint });
    }
    if letter == 'v' || (letter == 'z' && count == 4) {
        return Err(PatternErrorReason::ZoneInWords { letters: String::from(letter).repeat(count) });
    }
    number_field(letter, count)
        .or_else(|| text_field(letter, count))
        .or_else(|| zone_field(letter, count))
        .ok_or(PatternErrorReason::PadWithoutField)
}

fn number_field(letter: char, count: usize) -> Option<Field> {
    let number = match (letter, count) {
        ('u' | 'y', 2) => return Some(Field::TwoDigits(Number::Year)),
        ('Y', 2) => return Some(Field::TwoDigits(Number::WeekYear)),
        ('S', digits) => return Some(Field::Fraction { digits }),
        ('u' | 'y', _) => Number::Year,
        ('Y', _) => Number::WeekYear,
        ('D', _) => Number::DayOfYear,
        ('M' | 'L', 1 | 2) => Number::Month,
        ('d', _) => Number::DayOfMonth,
        ('g', _) => Number::ModifiedJulianDay,
        ('Q' | 'q', 1 | 2) => Number::Quarter,
        ('w', _) => Number::WeekOfWeekYear,
        ('W', _) => Number::WeekOfMonth,
        ('e', 1 | 2) | ('c', 1) => Number::DayOfWeek,
        ('F', _) => Number::DayOfWeekInMonth,
        ('h', _) => Number::Hour12,
        ('K', _) => Number::HourFrom0To11,
        ('k', _) => Number::HourFrom1To24,
        ('H', _) => Number::Hour,
        ('m', _) => Number::Minute,
        ('s', _) => Number::Second,
        ('A', _) => Number::MilliOfDay,
        ('n', _) => Number::NanoOfSecond,
        ('N', _) => Number::NanoOfDay,
        _ => return None,
    };
    Some(Field::Number { number, digits: count })
}

fn text_field(letter: char, count: usize) -> Option<Field> {
    let text = match letter {
        'G' => Text::Era,
        'M' | 'L' => Text::Month,
        'Q' | 'q' => Text::Quarter,
        'E' | 'e' | 'c' => Text::DayOfWeek,
        'a' => Text::HalfOfDay,
        'B' => Text::PartOfDay,
        _ => return None,
    };
    let style = match count {
        4 => Style::Full,
        5 => Style::Narrow,
        _ => Style::Short,
    };
    Some(Field::Text { text, style })
}

fn zone_field(letter: char, count: usize) -> Option<Field> {
    let (form, none) = match (letter, count) {
        ('V', _) => return Some(Field::ZoneName),
        ('z', _) => return Some(Field::ZoneAbbreviation),
        ('O', _) | ('Z', 4) => return Some(Field::GmtOffset { full: count == 4 }),
        ('X' | 'x', 1) => (OffsetForm::Hours, "+00"),
        ('X' | 'x', 2) => (OffsetForm::Minutes { colon: false }, "+0000"),
        ('X' | 'x', 3) => (OffsetForm::Minutes { colon: true }, "+00:00"),
        ('X' | 'x', 4) => (OffsetForm::Seconds { colon: false }, "+0000"),
        ('X' | 'x', _) => (OffsetForm::Seconds { colon: true }, "+00:00"),
        ('Z', 5) => (OffsetForm::Seconds { colon: true }, "Z"),
        ('Z', _) => (OffsetForm::Minutes { colon: false }, "+0000"),
        _ => return None,
    };
    Some(Field::Offset { form, none: if letter == 'X' { "Z" } else { none } })
}
