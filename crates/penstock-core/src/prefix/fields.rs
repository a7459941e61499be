//! The fields of a time pattern and how each prints an instant, as Java does in English.
//!
//! Weeks start on Sunday and the first may be of one day: Java's rule for the United States, for `en`, and for its
//! root locale.

use std::fmt::Write as _;

use super::zone::LocalInstant;

/// What a run of pattern letters prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// A number with at least that many digits.
    Number {
        number: Number,
        digits: usize,
    },
    /// The last two digits of a year.
    TwoDigits(Number),
    /// The first digits of the fraction of the second.
    Fraction {
        digits: usize,
    },
    Text {
        text: Text,
        style: Style,
    },
    ZoneName,
    ZoneAbbreviation,
    /// `GMT+9`, or in full `GMT+09:00`.
    GmtOffset {
        full: bool,
    },
    /// An offset; `none` stands for that of UTC.
    Offset {
        form: OffsetForm,
        none: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Year,
    WeekYear,
    Quarter,
    Month,
    WeekOfWeekYear,
    WeekOfMonth,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    DayOfWeekInMonth,
    ModifiedJulianDay,
    Hour,
    Hour12,
    HourFrom0To11,
    HourFrom1To24,
    Minute,
    Second,
    MilliOfDay,
    NanoOfSecond,
    NanoOfDay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Era,
    Quarter,
    Month,
    DayOfWeek,
    HalfOfDay,
    PartOfDay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Short,
    Full,
    Narrow,
}

/// Down to where an offset is always written; smaller units follow where Java writes them, if they are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetForm {
    /// `+09`, `+0530`.
    Hours,
    /// `+0900` or `+09:00`.
    Minutes { colon: bool },
    /// `+0900`, `+091859`, or with colons.
    Seconds { colon: bool },
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const QUARTERS: [&str; 4] = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];
/// The longest name in the IANA database is `America/Argentina/ComodRivadavia`.
const WIDEST_ZONE_NAME: usize = 32;

impl Field {
    pub(super) fn print(self, at: &LocalInstant) -> String {
        match self {
            Self::Number { number, digits } => {
                let value = number.of(at);
                // The sign, which only a Julian day before 1858 has, is not counted.
                format!("{}{:0digits$}", if value < 0 { "-" } else { "" }, value.unsigned_abs())
            }
            Self::TwoDigits(number) => format!("{:02}", number.of(at) % 100),
            Self::Fraction { digits } => {
                let mut fraction = format!("{:09}", at.civil.subsec_nanosecond());
                fraction.truncate(digits);
                fraction
            }
            Self::Text { text, style } => text.print(style, at),
            Self::ZoneName => at.zone.clone(),
            Self::ZoneAbbreviation => at.abbreviation.clone(),
            Self::GmtOffset { full } => gmt_offset(at.offset_seconds, full),
            Self::Offset { form, none } => form.print(at.offset_seconds).unwrap_or_else(|| none.to_owned()),
        }
    }

    /// The most characters that it prints, whatever the instant and the zone.
    pub(super) fn widest(self) -> usize {
        match self {
            Self::Number { number: Number::ModifiedJulianDay, digits } => "-".len() + digits.max(7),
            Self::Number { number, digits } => digits.max(number.most_digits()),
            Self::TwoDigits(_) => 2,
            Self::Fraction { digits } => digits,
            Self::Text { text, style } => text.widest(style),
            Self::ZoneName => WIDEST_ZONE_NAME,
            Self::ZoneAbbreviation => "+HHMMSS".len(),
            Self::GmtOffset { .. } => "GMT+HH:MM:SS".len(),
            Self::Offset { form: OffsetForm::Hours, .. } => "+HHMM".len(),
            Self::Offset { form: OffsetForm::Minutes { colon }, .. } => "+HHMM".len() + usize::from(colon),
            Self::Offset { form: OffsetForm::Seconds { colon }, .. } => "+HHMMSS".len() + 2 * usize::from(colon),
        }
    }
}

impl Number {
    fn of(self, at: &LocalInstant) -> i64 {
        let civil = at.civil;
        let hour = i64::from(civil.hour());
        let day = i64::from(civil.day());
        let clock = civil.time();
        let second_of_day = hour * 3_600 + i64::from(clock.minute()) * 60 + i64::from(clock.second());
        let nano = i64::from(clock.subsec_nanosecond());
        match self {
            Self::Year => i64::from(civil.year()),
            Self::WeekYear => week(at).0,
            Self::Quarter => (i64::from(civil.month()) + 2) / 3,
            Self::Month => i64::from(civil.month()),
            Self::WeekOfWeekYear => week(at).1,
            Self::WeekOfMonth => (day + 6 + i64::from(civil.first_of_month().weekday().to_sunday_zero_offset())) / 7,
            Self::DayOfYear => i64::from(civil.day_of_year()),
            Self::DayOfMonth => day,
            Self::DayOfWeek => i64::from(civil.weekday().to_sunday_one_offset()),
            Self::DayOfWeekInMonth => (day - 1) % 7 + 1,
            Self::ModifiedJulianDay => modified_julian_day(at),
            Self::Hour => hour,
            Self::Hour12 => (hour + 11) % 12 + 1,
            Self::HourFrom0To11 => hour % 12,
            Self::HourFrom1To24 => (hour + 23) % 24 + 1,
            Self::Minute => i64::from(clock.minute()),
            Self::Second => i64::from(clock.second()),
            Self::MilliOfDay => second_of_day * 1_000 + nano / 1_000_000,
            Self::NanoOfSecond => nano,
            Self::NanoOfDay => second_of_day * 1_000_000_000 + nano,
        }
    }

    fn most_digits(self) -> usize {
        match self {
            Self::Quarter | Self::WeekOfMonth | Self::DayOfWeek | Self::DayOfWeekInMonth => 1,
            Self::Month | Self::WeekOfWeekYear | Self::DayOfMonth => 2,
            Self::Hour | Self::Hour12 | Self::HourFrom0To11 | Self::HourFrom1To24 => 2,
            Self::Minute | Self::Second => 2,
            Self::DayOfYear => 3,
            Self::Year | Self::WeekYear => 4,
            Self::ModifiedJulianDay => 7,
            Self::MilliOfDay => 8,
            Self::NanoOfSecond => 9,
            Self::NanoOfDay => 14,
        }
    }
}

/// The week-based year and the week in it. A week belongs to the year that its Saturday lies in.
fn week(at: &LocalInstant) -> (i64, i64) {
    let date = at.civil.date();
    let days_to_saturday = 6 - i64::from(date.weekday().to_sunday_zero_offset());
    let day_of_year = i64::from(date.day_of_year()) + days_to_saturday;
    let year_days = i64::from(date.days_in_year());
    match day_of_year > year_days {
        true => (i64::from(date.year()) + 1, 1),
        false => (i64::from(date.year()), (day_of_year + 6) / 7),
    }
}

/// Days since 1858-11-17.
fn modified_julian_day(at: &LocalInstant) -> i64 {
    let (year, month, day) = (i64::from(at.civil.year()), i64::from(at.civil.month()), i64::from(at.civil.day()));
    // The year starts in March here, so that a leap day is its last.
    let shifted_month = (month + 9) % 12;
    let shifted_year = year - i64::from(month <= 2);
    let days = 365 * shifted_year + shifted_year.div_euclid(4) - shifted_year.div_euclid(100)
        + shifted_year.div_euclid(400)
        + (153 * shifted_month + 2) / 5
        + day;
    // 1858-11-17 by the same count.
    days - 678_882
}

impl Text {
    fn print(self, style: Style, at: &LocalInstant) -> String {
        let civil = at.civil;
        let quarter = usize::from(civil.month().unsigned_abs() - 1) / 3;
        match (self, style) {
            (Self::Era, Style::Short) => "AD".to_owned(),
            (Self::Era, Style::Full) => "Anno Domini".to_owned(),
            (Self::Era, Style::Narrow) => "A".to_owned(),
            (Self::Quarter, Style::Short) => format!("Q{}", quarter + 1),
            (Self::Quarter, Style::Full) => QUARTERS[quarter].to_owned(),
            (Self::Quarter, Style::Narrow) => (quarter + 1).to_string(),
            (Self::Month, _) => shortened(MONTHS[usize::from(civil.month().unsigned_abs() - 1)], style),
            (Self::DayOfWeek, _) => {
                shortened(DAYS[usize::from(civil.weekday().to_sunday_zero_offset().unsigned_abs())], style)
            }
            (Self::HalfOfDay, _) => if civil.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            (Self::PartOfDay, _) => part_of_day(civil.hour(), civil.minute(), style).to_owned(),
        }
    }

    fn widest(self, style: Style) -> usize {
        match (self, style) {
            (Self::PartOfDay, _) => "in the afternoon".len(),
            (Self::HalfOfDay, _) | (Self::Era, Style::Short) | (Self::Quarter, Style::Short) => 2,
            (_, Style::Narrow) => 1,
            (_, Style::Short) => 3,
            (Self::Month | Self::DayOfWeek, Style::Full) => "Wednesday".len(),
            (_, Style::Full) => "Anno Domini".len(),
        }
    }
}

fn shortened(name: &str, style: Style) -> String {
    let letters = match style {
        Style::Short => 3,
        Style::Full => name.len(),
        Style::Narrow => 1,
    };
    name.chars().take(letters).collect()
}

/// The parts of the day that English has, in the Unicode locale data.
fn part_of_day(hour: i8, minute: i8, style: Style) -> &'static str {
    match (hour, minute, style) {
        (0, 0, Style::Narrow) => "mi",
        (0, 0, _) => "midnight",
        (12, 0, Style::Narrow) => "n",
        (12, 0, _) => "noon",
        (6..=11, ..) => "in the morning",
        (12..=17, ..) => "in the afternoon",
        (18..=20, ..) => "in the evening",
        _ => "at night",
    }
}

/// Sign, hours, minutes and seconds.
fn offset_parts(offset_seconds: i32) -> (char, u32, u32, u32) {
    let total = offset_seconds.unsigned_abs();
    (if offset_seconds < 0 { '-' } else { '+' }, total / 3_600, total / 60 % 60, total % 60)
}

impl OffsetForm {
    /// The offset, or nothing where all that this form writes is zero.
    fn print(self, offset_seconds: i32) -> Option<String> {
        let (sign, hours, minutes, seconds) = offset_parts(offset_seconds);
        let (colon, with_minutes, with_seconds) = match self {
            Self::Hours => ("", minutes > 0, false),
            Self::Minutes { colon } => (if colon { ":" } else { "" }, true, false),
            Self::Seconds { colon } => (if colon { ":" } else { "" }, true, seconds > 0),
        };
        if hours == 0 && minutes == 0 && !with_seconds {
            return None;
        }
        let mut out = format!("{sign}{hours:02}");
        if with_minutes {
            out.push_str(&format!("{colon}{minutes:02}"));
        }
        if with_seconds {
            out.push_str(&format!("{colon}{seconds:02}"));
        }
        Some(out)
    }
}

fn gmt_offset(offset_seconds: i32, full: bool) -> String {
    let (sign, hours, minutes, seconds) = offset_parts(offset_seconds);
    let mut out = "GMT".to_owned();
    if offset_seconds == 0 {
        return out;
    }
    // Writing to a string does not fail.
    let _ = match full {
        true => write!(out, "{sign}{hours:02}:{minutes:02}"),
        false if minutes > 0 || seconds > 0 => write!(out, "{sign}{hours}:{minutes:02}"),
        false => write!(out, "{sign}{hours}"),
    };
    if seconds > 0 {
        let _ = write!(out, ":{seconds:02}");
    }
    out
}
