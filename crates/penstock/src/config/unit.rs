//! Durations and sizes as text: `"250ms"`, `"64MiB"`. A value always names its unit, so that nobody has to
//! remember which one a key counts in. Formatting gives back text that parses to the same value.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration such as `"250ms"`; the error says what is wrong with the text.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &DURATION_UNITS, "ms, s, m, h, d", "10s").map(Duration::from_millis)
}

/// Reads a size such as `"64MiB"` in bytes; the error says what is wrong with the text.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZE_UNITS, "B, KB, KiB, MB, MiB, GB, GiB", "64MiB")
}

/// Writes a duration in the largest unit that divides it; below a millisecond is cut off.
pub(crate) fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    // Days are read but not written: "36h" says more than "1d" beside "12h".
    format(millis, &DURATION_UNITS[1..])
}

/// Writes a size in the largest unit that divides it.
pub(crate) fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    format(bytes, &SIZE_UNITS)
}

fn format(amount: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    let (unit, factor) = fitting.copied().unwrap_or(("", 1));
    format!("{}{unit}", amount / factor)
}

fn parse(text: &str, units: &[(&str, u64)], known: &str, example: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("is not a whole number with a unit, as in {example:?}"));
    }
    if unit.is_empty() {
        return Err(format!("has no unit; write it as in {example:?} (units: {known})"));
    }
    if unit.starts_with('.') {
        return Err("is not a whole number; write it in a smaller unit".to_owned());
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("has the unknown unit {unit:?} (units: {known})"));
    };
    let amount = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    amount.ok_or_else(|| "is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for (text, millis) in [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
        for (text, bytes) in
            [("64MiB", 64 << 20), ("1000KiB", 1_024_000), ("4GiB", 4 << 30), ("1MB", 1_000_000), ("256MB", 256_000_000)]
        {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(parse_duration("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(format_duration(Duration::from_secs(172_800)), "48h");
        assert_eq!(format_size(0), "0B");
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said() {
        for (text, said) in [
            ("10", "has no unit; write it as in \"10s\" (units: ms, s, m, h, d)"),
            ("10 s", "has the unknown unit \" s\" (units: ms, s, m, h, d)"),
            ("10sec", "has the unknown unit \"sec\" (units: ms, s, m, h, d)"),
            ("1.5h", "is not a whole number; write it in a smaller unit"),
            ("-1s", "is not a whole number with a unit, as in \"10s\""),
            ("", "is not a whole number with a unit, as in \"10s\""),
            ("99999999999999999999s", "is too large"),
            ("18446744073709551615d", "is too large"),
        ] {
            assert_eq!(parse_duration(text), Err(said.to_owned()), "{text:?}");
        }
        assert_eq!(
            parse_size("64"),
            Err("has no unit; write it as in \"64MiB\" (units: B, KB, KiB, MB, MiB, GB, GiB)".to_owned())
        );
        assert_eq!(
            parse_size("64mib"),
            Err("has the unknown unit \"mib\" (units: B, KB, KiB, MB, MiB, GB, GiB)".to_owned())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_amount_survives_the_round_trip(amount in 0..u64::MAX / 2) {
            proptest::prop_assert_eq!(parse_size(&format_size(amount)), Ok(amount));
            let duration = Duration::from_millis(amount);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
