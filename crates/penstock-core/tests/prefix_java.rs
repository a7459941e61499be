//! Holds time patterns against what Java 17 prints for them (`DateTimeFormatter`, locale `en-US`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use penstock_core::prefix::{DateTimePattern, Zone};

/// Zone, instant, pattern, and Java's output.
#[rustfmt::skip] // A table is read by its columns.
const PRINTED_BY_JAVA: &[(&str, &str, &str, &str)] = &[
    ("UTC", "2026-11-21T10:30:00Z", "yyyy/MM/dd/HH/", "2026/11/21/10/"),
    ("UTC", "2026-11-21T10:30:00Z", "y-M-d H:m:s", "2026-11-21 10:30:0"),
    ("UTC", "2026-03-04T05:06:07.089Z", "y-M-d H:m:s.S", "2026-3-4 5:6:7.0"),
    ("UTC", "2026-03-04T05:06:07.089Z", "yyyy-MM-dd'T'HH:mm:ss.SSS", "2026-03-04T05:06:07.089"),
    ("UTC", "2026-03-04T05:06:07.089Z", "yy MM dd", "26 03 04"),
    ("UTC", "2026-03-04T05:06:07.089Z", "yyy-yyyyy-uuuuuu", "2026-02026-002026"),
    ("UTC", "2026-03-04T05:06:07.089Z", "SS SSSS SSSSSSSSS", "08 0890 089000000"),
    ("UTC", "2026-03-04T05:06:07.089Z", "A n N", "18367089 89000000 18367089000000"),
    ("UTC", "2026-03-04T05:06:07.089Z", "AAAAAAAAAA nnnnnnnnnnnn", "0018367089 000089000000"),
    ("UTC", "2026-03-04T05:06:07.089Z", "g", "61103"),
    ("Asia/Tokyo", "2026-11-21T10:30:00Z", "yyyy/MM/dd/HH", "2026/11/21/19"),
    ("Asia/Tokyo", "2026-12-31T15:00:00Z", "yyyy-MM-dd HH:mm", "2027-01-01 00:00"),
    ("Asia/Kolkata", "2026-11-21T18:29:59Z", "yyyy-MM-dd HH:mm:ss XXX", "2026-11-21 23:59:59 +05:30"),
    ("Asia/Kathmandu", "2026-11-21T18:29:59Z", "HH:mm xxx X x", "00:14 +05:45 +0545 +0545"),
    ("Australia/Lord_Howe", "2026-11-21T18:29:59Z", "dd HH:mm O OOOO", "22 05:29 GMT+11 GMT+11:00"),
    ("Australia/Lord_Howe", "2026-06-21T18:29:59Z", "dd HH:mm O OOOO", "22 04:59 GMT+10:30 GMT+10:30"),
    ("America/St_Johns", "2026-06-21T18:29:59Z", "O OOOO Z ZZZZ ZZZZZ X XX XXX XXXX XXXXX x xx xxx xxxx xxxxx", "GMT-2:30 GMT-02:30 -0230 GMT-02:30 -02:30 -0230 -0230 -02:30 -0230 -02:30 -0230 -0230 -02:30 -0230 -02:30"),
    ("UTC", "2026-06-21T18:29:59Z", "O OOOO Z ZZZZ ZZZZZ X XX XXX XXXX XXXXX x xx xxx xxxx xxxxx", "GMT GMT +0000 GMT Z Z Z Z Z Z +00 +0000 +00:00 +0000 +00:00"),
    ("Africa/Monrovia", "1971-06-21T18:29:59Z", "O OOOO Z ZZZZ ZZZZZ X XX XXX XXXX XXXXX x xx xxx xxxx xxxxx", "GMT-0:44:30 GMT-00:44:30 -0044 GMT-00:44:30 -00:44:30 -0044 -0044 -00:44 -004430 -00:44:30 -0044 -0044 -00:44 -004430 -00:44:30"),
    ("America/New_York", "2026-03-08T06:59:59Z", "yyyy-MM-dd HH:mm:ss xxx", "2026-03-08 01:59:59 -05:00"),
    ("America/New_York", "2026-03-08T07:00:00Z", "yyyy-MM-dd HH:mm:ss xxx", "2026-03-08 03:00:00 -04:00"),
    ("America/New_York", "2026-11-01T05:30:00Z", "yyyy-MM-dd HH:mm:ss xxx z", "2026-11-01 01:30:00 -04:00 EDT"),
    ("America/New_York", "2026-11-01T06:30:00Z", "yyyy-MM-dd HH:mm:ss xxx z", "2026-11-01 01:30:00 -05:00 EST"),
    ("Europe/Berlin", "2026-03-29T00:59:59Z", "HH:mm:ss xxx z", "01:59:59 +01:00 CET"),
    ("Europe/Berlin", "2026-03-29T01:00:00Z", "HH:mm:ss xxx z", "03:00:00 +02:00 CEST"),
    ("Europe/Berlin", "2026-10-25T00:59:59Z", "HH:mm:ss XXX z", "02:59:59 +02:00 CEST"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z", "HH:mm:ss XXX z", "02:00:00 +01:00 CET"),
    ("Pacific/Apia", "2011-12-30T09:59:59Z", "yyyy-MM-dd HH xxx", "2011-12-29 23 -10:00"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z", "yyyy-MM-dd HH xxx", "2011-12-31 00 +14:00"),
    ("Pacific/Kiritimati", "2026-12-31T10:00:00Z", "yyyy-MM-dd HH VV", "2027-01-01 00 Pacific/Kiritimati"),
    ("Africa/Casablanca", "2026-02-20T12:00:00Z", "HH xxx", "12 +00:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z", "HH:mm xxx", "01:00 -02:00"),
    ("America/Port-au-Prince", "2026-07-01T00:00:00Z", "yyyy-MM-dd HH VV", "2026-06-30 20 America/Port-au-Prince"),
    ("Etc/GMT-9", "2026-07-01T00:00:00Z", "HH VV xxx", "09 Etc/GMT-9 +09:00"),
    ("UTC", "2026-12-27T00:00:00Z", "YYYY-ww", "2027-01"),
    ("UTC", "2026-12-26T23:59:59Z", "YYYY-ww", "2026-52"),
    ("UTC", "2027-01-01T00:00:00Z", "YYYY-ww yyyy-ww", "2027-01 2027-01"),
    ("UTC", "2024-12-29T00:00:00Z", "YYYY/MM/dd YY Y", "2025/12/29 25 2025"),
    ("UTC", "2022-12-31T00:00:00Z", "YYYY'W'ww e", "2022W53 7"),
    ("UTC", "2023-01-01T00:00:00Z", "YYYY'W'w e", "2023W1 1"),
    ("UTC", "2028-12-31T12:00:00Z", "YYYY w W", "2029 1 6"),
    ("UTC", "2026-08-01T00:00:00Z", "W F", "1 1"),
    ("UTC", "2026-08-02T00:00:00Z", "W F", "2 2"),
    ("UTC", "2026-08-30T00:00:00Z", "W F", "6 2"),
    ("UTC", "2026-08-31T00:00:00Z", "W F e c ee", "6 3 2 2 02"),
    ("UTC", "2026-01-05T00:00:00Z", "D DD DDD", "5 05 005"),
    ("UTC", "2024-12-31T00:00:00Z", "D DDD", "366 366"),
    ("UTC", "2024-02-29T00:00:00Z", "yyyy-DDD", "2024-060"),
    ("UTC", "2026-05-05T00:00:00Z", "M MM MMM MMMM MMMMM L LL LLL LLLL LLLLL", "5 05 May May M 5 05 May May M"),
    ("UTC", "2026-09-09T00:00:00Z", "E EE EEE EEEE EEEEE eee eeee eeeee ccc cccc ccccc", "Wed Wed Wed Wednesday W Wed Wednesday W Wed Wednesday W"),
    ("UTC", "2026-10-01T00:00:00Z", "Q QQ QQQ QQQQ QQQQQ q qq qqq qqqq qqqqq", "4 04 Q4 4th quarter 4 4 04 Q4 4th quarter 4"),
    ("UTC", "2026-10-01T00:00:00Z", "G GG GGG GGGG GGGGG", "AD AD AD Anno Domini A"),
    ("UTC", "2026-10-01T00:05:00Z", "h hh K KK k kk H HH a B BBBBB", "12 12 0 00 24 24 0 00 AM at night at night"),
    ("UTC", "2026-10-01T12:00:59Z", "h hh K KK k kk H HH a B BBBBB", "12 12 0 00 12 12 12 12 PM noon n"),
    ("UTC", "2026-10-01T13:07:00Z", "h hh K KK k kk H HH a BBBB", "1 01 1 01 13 13 13 13 PM in the afternoon"),
    ("UTC", "2026-10-01T00:00:30Z", "B BBBBB", "midnight mi"),
    ("UTC", "2026-11-21T10:30:00Z", "'year='yyyy'/month='MM'/day='dd'/'", "year=2026/month=11/day=21/"),
    ("UTC", "2026-11-21T10:30:00Z", "''yyyy''", "'2026'"),
    ("UTC", "2026-11-21T10:30:00Z", "'it''s' HH 'o''clock'", "it's 10 o'clock"),
    ("UTC", "2026-11-21T10:30:00Z", "yyyy''''MM", "2026'11"),
    ("UTC", "2026-11-21T10:30:00Z", "'[x]#{'yyyy", "[x]#{2026"),
    ("UTC", "2026-11-21T10:30:00Z", "yyyy[-MM[-dd]]", "2026-11-21"),
    ("UTC", "2026-11-21T10:30:00Z", "yyyy[-MM", "2026-11"),
    ("UTC", "2026-11-21T10:30:00Z", "[][HH]", "10"),
    ("UTC", "2026-01-02T03:04:05Z", "ppppM|pppdd|ppppppppppEEEE", "   1| 02|    Friday"),
    ("UTC", "2026-01-02T03:04:05Z", "ppH:ppppMMM", " 3: Jan"),
    ("UTC", "2026-01-02T03:04:05Z", "yyyy年MM月dd日 é/_=.,;:!~@$%^&*()+\\|\"<>?`", "2026年01月02日 é/_=.,;:!~@$%^&*()+\\|\"<>?`"),
    ("UTC", "2026-01-02T03:04:05Z", "day", "2AM2026"),
    ("UTC", "2026-01-02T03:04:05Z", "yyyyMMddHHmmss", "20260102030405"),
    ("UTC", "1970-01-01T00:00:00Z", "yyyy-MM-dd HH:mm:ss.SSS", "1970-01-01 00:00:00.000"),
    ("UTC", "1969-12-31T23:59:59.999Z", "yyyy-MM-dd HH:mm:ss.SSS", "1969-12-31 23:59:59.999"),
    ("UTC", "2026-01-02T03:04:05Z", "%Y/%m/%d", "%2026/%4/%2"),
    ("Asia/Tokyo", "2026-01-02T03:04:05Z", "z zz zzz", "JST JST JST"),
    ("UTC", "2026-01-02T03:04:05Z", "zzz VV", "UTC UTC"),
];

fn printed(zone: &str, instant: &str, pattern: &str) -> String {
    let instant: jiff::Timestamp = instant.parse().unwrap();
    let local = Zone::named(zone).unwrap().local(instant.as_millisecond()).unwrap();
    DateTimePattern::parse(pattern).unwrap().format(&local)
}

#[test]
fn patterns_print_what_java_prints() {
    for (zone, instant, pattern, expected) in PRINTED_BY_JAVA {
        assert_eq!(printed(zone, instant, pattern), *expected, "{pattern} at {instant} in {zone}");
    }
}

/// Where we print something else than Java, and say so.
#[test]
fn an_abbreviation_is_that_of_the_database_even_where_java_has_another() {
    // Java: NPT, and GMT-12:00.
    assert_eq!(printed("Asia/Kathmandu", "2026-01-01T00:00:00Z", "z"), "+0545");
    assert_eq!(printed("Etc/GMT+12", "2026-01-01T00:00:00Z", "z"), "-12");
}

/// A pattern that is refused, where (in bytes), and a part of the reason.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 0, "empty"),
    ("yyyy-MM-ddTHH", 10, "`T` is no pattern letter; text stands in single quotes: 'ddTHH'"),
    ("year=yyyy", 3, "'year'"),
    ("month=MM", 1, "'month'"),
    ("yyyy/hour=HH", 6, "'hour'"),
    ("é/CC", 3, "`C` is no pattern letter"),
    ("MMMMMM", 0, "`M` (month) cannot stand 6 times in a row, only 1 to 5; for the number of the month write MM"),
    ("yyyy/ddd", 5, "for the name of the day write EEEE"),
    ("DDDD", 0, "only 1 to 3"),
    ("HHH", 0, "for the hour write HH"),
    ("mmm", 0, "for the month MM or MMMM"),
    ("sss", 0, "for milliseconds SSS"),
    ("SSSSSSSSSS", 0, "only 1 to 9"),
    ("aa", 0, "`a` (AM or PM) cannot stand 2 times in a row, only 1"),
    ("BB", 0, "only 1, 4 to 5"),
    ("cc", 0, "only 1, 3 to 5"),
    ("www", 0, "for the week write ww"),
    ("WW", 0, "only 1"),
    ("FF", 0, "only 1"),
    ("GGGGGG", 0, "only 1 to 5"),
    ("EEEEEE", 0, "only 1 to 5"),
    ("OO", 0, "only 1, 4"),
    ("V", 0, "for the zone write VV"),
    ("VVV", 0, "for the zone write VV"),
    ("XXXXXX", 0, "only 1 to 5"),
    ("ZZZZZZ", 0, "only 1 to 5"),
    ("yyyyyyyyyyy", 0, "only 1 to 10"),
    ("zzzz", 0, "use VV"),
    ("v", 0, "use VV"),
    ("pp", 0, "none follows"),
    ("HH ppp/", 3, "none follows"),
    ("pMM", 0, "too narrow for `MM`, which can take 2; write 2 times `p`"),
    ("ppHHpppppEEEE", 4, "too narrow for `EEEE`, which can take 9"),
    ("yyyy'/", 4, "no end"),
    ("'''", 0, "no end"),
    ("yyyy]", 4, "`]` without a `[`"),
    ("[yyyy]]", 6, "`]` without a `[`"),
    ("yyyy{", 4, "`{` is reserved"),
    ("#yyyy", 0, "`#` is reserved"),
];

#[test]
fn wrong_patterns_are_refused_with_their_place_and_reason() {
    for (pattern, offset, reason) in REFUSED {
        let error = DateTimePattern::parse(pattern).unwrap_err();
        assert_eq!(error.offset, *offset, "{pattern}: {error}");
        assert!(error.to_string().contains(reason), "{pattern}: {error}");
    }
}

#[test]
fn padding_is_refused_exactly_where_a_field_can_be_wider() {
    assert!(DateTimePattern::parse("pppppppppEEEE").is_ok());
    assert!(DateTimePattern::parse("ppppppppEEEE").is_err());
}
