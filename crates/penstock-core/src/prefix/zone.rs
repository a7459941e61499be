//! Time zones by their IANA name, and an instant as it reads on a zone's clock.
//!
//! The rules are the ones compiled in, never the host's: two workers must name an object alike.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::suggest::nearest;

/// A time zone of the IANA database.
#[derive(Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A name that is no time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnknownZone {
    /// The name as it was given.
    pub name: String,
    /// A name of the database that was perhaps meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` is no time zone of the IANA database", self.name)?;
        match &self.suggestion {
            Some(suggestion) => write!(out, "; did you mean `{suggestion}`?"),
            None => write!(out, "; names look like `UTC` or `Asia/Tokyo`"),
        }
    }
}

impl Zone {
    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Finds the zone of that name. Letter case counts, as it does in Java.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let database = TimeZoneDatabase::bundled();
        let known = database.available().any(|known| known.as_str() == name && name != "Factory");
        match database.get(name) {
            Ok(rules) if known => Ok(Self { name: name.to_owned(), rules }),
            _ => Err(UnknownZone { name: name.to_owned(), suggestion: suggestion(name, &database) }),
        }
    }

    /// The name in the IANA database, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the zone's clock and calendar show at an instant in milliseconds since 1970-01-01T00:00Z.
    ///
    /// `None` outside the years 1 to 9998 of the zone, where the patterns' widths end.
    pub fn local(&self, instant_ms: i64) -> Option<LocalInstant> {
        let instant = Timestamp::from_millisecond(instant_ms).ok()?;
        let info = self.rules.to_offset_info(instant);
        let offset = info.offset();
        let civil = offset.to_datetime(instant);
        (1..=9_998).contains(&civil.year()).then(|| LocalInstant {
            civil,
            offset_seconds: offset.seconds(),
            abbreviation: info.abbreviation().to_owned(),
            zone: self.name.clone(),
        })
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Zone").field(&self.name).finish()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

/// One instant as the clock and the calendar of a zone show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalInstant {
    pub(super) civil: DateTime,
    pub(super) offset_seconds: i32,
    pub(super) abbreviation: String,
    pub(super) zone: String,
}

/// Abbreviations that people write for a zone and that the database does not have as names.
const ABBREVIATIONS: [(&str, &str); 12] = [
    ("ACST", "Australia/Adelaide"),
    ("AEST", "Australia/Sydney"),
    ("AKST", "America/Anchorage"),
    ("AWST", "Australia/Perth"),
    ("BRT", "America/Sao_Paulo"),
    ("BST", "Europe/London"),
    ("CST", "America/Chicago"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("KST", "Asia/Seoul"),
    ("PST", "America/Los_Angeles"),
    ("SGT", "Asia/Singapore"),
];

fn suggestion(name: &str, database: &TimeZoneDatabase) -> Option<String> {
    if let Some(fixed) = fixed_offset(name) {
        return Some(fixed);
    }
    let upper = name.to_uppercase();
    if let Some((_, zone)) = ABBREVIATIONS.iter().find(|(abbreviation, _)| *abbreviation == upper) {
        return Some((*zone).to_owned());
    }
    let names: Vec<String> = database.available().map(|known| known.as_str().to_owned()).collect();
    let city = |name: &str| name.rsplit('/').next().unwrap_or(name).replace('_', "").to_lowercase();
    let typed = city(&name.replace(' ', "_"));
    let same = names.iter().find(|known| known.eq_ignore_ascii_case(name));
    same.or_else(|| names.iter().find(|known| known.contains('/') && city(known) == typed))
        .map(String::as_str)
        .or_else(|| nearest(name, names.iter().map(String::as_str)))
        .map(str::to_owned)
}

/// The `Etc` zone of an offset such as `+09:00`, whose sign the database turns round; `UTC` for none.
fn fixed_offset(name: &str) -> Option<String> {
    let offset = ["UTC", "GMT"].iter().find_map(|start| name.strip_prefix(start)).unwrap_or(name);
    if offset == "Z" || offset == "z" {
        return Some("UTC".to_owned());
    }
    let (turned, digits) = match offset.strip_prefix('+') {
        Some(digits) => ('-', digits),
        None => ('+', offset.strip_prefix('-')?),
    };
    let hours =
        digits.strip_suffix(":00").or_else(|| digits.strip_suffix("00").filter(|_| digits.len() > 2)).unwrap_or(digits);
    match hours.parse::<u8>().ok()? {
        0 => Some("UTC".to_owned()),
        hours if hours <= 12 || (turned == '-' && hours <= 14) => Some(format!("Etc/GMT{turned}{hours}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(name: &str) -> Option<String> {
        Zone::named(name).unwrap_err().suggestion
    }

    #[test]
    fn every_name_of_the_database_is_found_but_the_placeholder() {
        let database = TimeZoneDatabase::bundled();
        let names: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
        assert!(names.len() > 400);
        for name in names.iter().filter(|name| *name != "Factory") {
            assert_eq!(Zone::named(name).unwrap().name(), name);
        }
        assert!(Zone::named("Factory").is_err());
    }

    #[test]
    fn an_unknown_name_is_refused_with_what_was_probably_meant() {
        assert_eq!(suggested("Asia/Toyko").as_deref(), Some("Asia/Tokyo"));
        assert_eq!(suggested("asia/tokyo").as_deref(), Some("Asia/Tokyo"));
        assert_eq!(suggested("Tokyo").as_deref(), Some("Asia/Tokyo"));
        assert_eq!(suggested("New York").as_deref(), Some("America/New_York"));
        assert_eq!(suggested("Europe/New_York").as_deref(), Some("America/New_York"));
        assert_eq!(suggested("utc").as_deref(), Some("UTC"));
        assert_eq!(suggested("JST").as_deref(), Some("Asia/Tokyo"));
        assert_eq!(suggested("Nowhere/At_All"), None);
        assert_eq!(suggested(""), None);
    }

    #[test]
    fn an_offset_is_refused_with_the_zone_that_has_it() {
        assert_eq!(suggested("+09:00").as_deref(), Some("Etc/GMT-9"));
        assert_eq!(suggested("UTC-5").as_deref(), Some("Etc/GMT+5"));
        assert_eq!(suggested("+0900").as_deref(), Some("Etc/GMT-9"));
        assert_eq!(suggested("+00:00").as_deref(), Some("UTC"));
        assert_eq!(suggested("Z").as_deref(), Some("UTC"));
        assert_eq!(suggested("-14:00"), None);
        for hours in 1..=12 {
            assert!(Zone::named(&suggested(&format!("-{hours:02}:00")).unwrap()).is_ok());
        }
    }

    #[test]
    fn the_message_names_the_suggestion() {
        let error = Zone::named("Asia/Toyko").unwrap_err();
        assert_eq!(error.to_string(), "`Asia/Toyko` is no time zone of the IANA database; did you mean `Asia/Tokyo`?");
    }

    #[test]
    fn years_without_a_width_have_no_local_time() {
        let utc = Zone::utc();
        assert!(utc.local(i64::MAX).is_none());
        assert!(utc.local(i64::MIN).is_none());
        assert!(utc.local(0).is_some());
        // 9999-01-01T00:00Z, and the millisecond before.
        assert!(utc.local(253_370_764_800_000).is_none());
        assert!(utc.local(253_370_764_799_999).is_some());
        // 0001-01-01T00:00Z, and the millisecond before.
        assert!(utc.local(-62_135_596_800_000).is_some());
        assert!(utc.local(-62_135_596_800_001).is_none());
    }
}
