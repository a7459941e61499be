//! The forms that a text may have to take: names, ARNs, addresses, times. Each form says what it allows in a few
//! words, and of a text that it refuses, why. The patterns are those of the services' API models.

use penstock_core::prefix::Zone;
use std::net::SocketAddr;

/// What a text must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Anything.
    Any,
    /// Anything; in the environment and in `--set`, escapes such as `\n` are read as in the file.
    Delimiter,
    /// An application or DynamoDB table name.
    TableName,
    /// A label that becomes part of the lease owner's name.
    Label,
    /// An AWS Region.
    Region,
    /// The address of an endpoint.
    Url,
    /// A stream's name or ARN.
    Stream,
    /// The ARN of a role.
    RoleArn,
    /// An external id of a role.
    ExternalId,
    /// An S3 bucket.
    Bucket,
    /// A Firehose delivery stream.
    DeliveryStream,
    /// A path on this machine.
    Path,
    /// A file extension as Firehose allows it.
    Extension,
    /// Where a shard without a checkpoint starts.
    Start,
    /// An IANA time zone.
    TimeZone,
    /// An address to listen on.
    Listen,
}

impl Form {
    /// What the form allows, in a few words.
    pub(crate) fn allowed(self) -> &'static str {
        match self {
            Self::Any | Self::Delimiter => "any text",
            Self::TableName => "3 to 250 letters, digits, _ . -",
            Self::Label => "1 to 100 letters, digits, _ . -",
            Self::Region => "a Region, as in \"eu-central-1\"",
            Self::Url => "http:// or https://, host and port, as in \"http://127.0.0.1:4567\"",
            Self::Stream => "a name of 1 to 128 letters, digits, _ . - or a stream's ARN",
            Self::RoleArn => "the ARN of a role, as in \"arn:aws:iam::123456789012:role/reader\"",
            Self::ExternalId => "2 to 1224 letters, digits, + = , . @ : / _ -",
            Self::Bucket => "a bucket name: 3 to 63 lower-case letters, digits, . -",
            Self::DeliveryStream => "a name of 1 to 64 letters, digits, _ . -",
            Self::Path => "a path",
            Self::Extension => "a dot and 1 to 127 of 0-9 a-z ! - _ . * ' ( )",
            Self::Start => "\"TRIM_HORIZON\", \"LATEST\" or a time, as in \"2026-11-21T10:30:00Z\"",
            Self::TimeZone => "an IANA time zone, as in \"Asia/Tokyo\"",
            Self::Listen => "address and port, as in \"127.0.0.1:9464\"",
        }
    }

    /// Says why the text is refused, if it is.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Any | Self::Delimiter => Ok(()),
            // DynamoDB takes 255; the gap ledger beside the table adds `-gaps`.
            Self::TableName => name(text, 3, 250),
            Self::Label => name(text, 1, 100),
            Self::Region => region(text),
            Self::Url => url(text),
            Self::Stream => stream(text),
            Self::RoleArn => role(text),
            Self::ExternalId => external_id(text),
            Self::Bucket => bucket(text),
            Self::DeliveryStream => delivery_stream(text),
            Self::Path => path(text),
            Self::Extension => extension(text),
            Self::Start => start(text),
            Self::TimeZone => Zone::named(text).map(|_| ()).map_err(|unknown| unknown.to_string()),
            Self::Listen => listen(text),
        }
    }
}

/// A stream's ARN in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamArn<'a> {
    /// The Region that the stream lives in.
    pub(crate) region: &'a str,
    /// The account that it belongs to.
    pub(crate) account: &'a str,
    /// The stream's name.
    pub(crate) name: &'a str,
}

/// Takes a stream's ARN apart; `None` if it is not one.
pub(crate) fn parse_stream_arn(text: &str) -> Option<StreamArn<'_>> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "kinesis", region_part, account, resource] = parts[..] else {
        return None;
    };
    let stream_name = resource.strip_prefix("stream/")?;
    let sound = is_partition(partition)
        && region(region_part).is_ok()
        && is_account(account)
        && name(stream_name, 1, 128).is_ok();
    sound.then_some(StreamArn { region: region_part, account, name: stream_name })
}

/// Reads a time in RFC 3339 as milliseconds since 1970; `None` if it is not one, or is before 1970.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

fn name(text: &str, least: usize, most: usize) -> Result<(), String> {
    let odd = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.-".contains(*c)));
    if let Some(odd) = odd {
        return Err(format!("has the character {odd:?}"));
    }
    length(text, least, most)
}

fn length(text: &str, least: usize, most: usize) -> Result<(), String> {
    match text.len() {
        short if short < least => Err("is too short".to_owned()),
        long if long > most => Err("is too long".to_owned()),
        _ => Ok(()),
    }
}

fn is_partition(text: &str) -> bool {
    text.strip_prefix("aws").is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn region(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split('-').collect();
    let sound = match parts.split_last() {
        Some((number, words)) => {
            words.len() >= 2
                && words.iter().all(|word| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase()))
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        None => false,
    };
    if sound { Ok(()) } else { Err("does not look like a Region".to_owned()) }
}

fn url(text: &str) -> Result<(), String> {
    let Ok(uri) = text.parse::<hyper::Uri>() else {
        return Err("is not an address".to_owned());
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("does not begin with http:// or https://".to_owned());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("holds a user name; credentials come from the SDK's chain".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("names no host".to_owned());
    }
    if uri.path().trim_end_matches('/').is_empty() && uri.query().is_none() {
        Ok(())
    } else {
        Err("goes on after the port".to_owned())
    }
}

fn stream(text: &str) -> Result<(), String> {
    if !text.starts_with("arn:") {
        return name(text, 1, 128);
    }
    if text.contains("/consumer/") {
        return Err("is the ARN of a consumer, not of a stream".to_owned());
    }
    parse_stream_arn(text).map(|_| ()).ok_or_else(|| "is not the ARN of a stream".to_owned())
}

fn role(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let sound = match parts[..] {
        ["arn", partition, "iam", "", account, resource] => {
            let role = resource.strip_prefix("role/").unwrap_or_default();
            is_partition(partition)
                && is_account(account)
                && !role.is_empty()
                && role.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b))
        }
        _ => false,
    };
    if sound { Ok(()) } else { Err("is not the ARN of a role".to_owned()) }
}

fn external_id(text: &str) -> Result<(), String> {
    let odd = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "+=,.@:/_-".contains(*c)));
    match odd {
        Some(odd) => Err(format!("has the character {odd:?}")),
        None => length(text, 2, 1224),
    }
}

fn bucket(text: &str) -> Result<(), String> {
    if text.contains("://") || text.contains('/') || text.starts_with("arn:") {
        return Err("is not a bucket's plain name; what follows it belongs into sink.prefix".to_owned());
    }
    if let Some(upper) = text.chars().find(char::is_ascii_uppercase) {
        return Err(format!("has the capital letter {upper:?}"));
    }
    if text.contains('_') {
        return Err("has the character '_'".to_owned());
    }
    name(text, 3, 63)?;
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    if !edge(text.bytes().next()) || !edge(text.bytes().last()) {
        return Err("does not begin and end with a letter or a digit".to_owned());
    }
    if text.contains("..") {
        return Err("has two dots in a row".to_owned());
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err("is an IP address".to_owned());
    }
    Ok(())
}

fn delivery_stream(text: &str) -> Result<(), String> {
    if text.starts_with("arn:") {
        return Err("is an ARN; write the name alone, and its Region into sink.region".to_owned());
    }
    name(text, 1, 64)
}

fn path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains('\0') { Err("has a zero byte".to_owned()) } else { Ok(()) }
}

fn extension(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix('.') else {
        return Err("does not begin with a dot".to_owned());
    };
    let odd = rest.chars().find(|c| !(c.is_ascii_digit() || c.is_ascii_lowercase() || "!-_.*'()".contains(*c)));
    match odd {
        Some(odd) => Err(format!("has the character {odd:?}")),
        None => length(rest, 1, 127),
    }
}

fn start(text: &str) -> Result<(), String> {
    if matches!(text, "TRIM_HORIZON" | "LATEST") {
        return Ok(());
    }
    let upper = text.to_ascii_uppercase();
    if matches!(upper.as_str(), "TRIM_HORIZON" | "LATEST") {
        return Err(format!("is written {upper:?}"));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) if time.as_millisecond() < 0 => Err("is before 1970".to_owned()),
        Ok(_) => Ok(()),
        Err(_) if text.parse::<jiff::civil::DateTime>().is_ok() => {
            Err("names no offset from UTC; add Z or +09:00".to_owned())
        }
        Err(_) => Err("is neither a word that is known nor a time".to_owned()),
    }
}

fn listen(text: &str) -> Result<(), String> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_err() => Err("has no port between 0 and 65535".to_owned()),
        Some(("", port)) => Err(format!("names no address; write \"0.0.0.0:{port}\" for all of them")),
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
            Err(format!("names a host, not an address; write \"127.0.0.1:{port}\""))
        }
        Some(_) => Err("is not an IP address with a port".to_owned()),
        None => Err("has no port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_services_allow_is_allowed() {
        for (form, text) in [
            (Form::TableName, "clicks-to-s3"),
            (Form::Region, "eu-central-1"),
            (Form::Region, "us-gov-west-1"),
            (Form::Region, "us-isob-east-1"),
            (Form::Url, "http://127.0.0.1:4567"),
            (Form::Url, "https://[::1]:8000/"),
            (Form::Url, "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com"),
            (Form::Stream, "clicks"),
            (Form::Stream, "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/clicks.v2"),
            (Form::RoleArn, "arn:aws:iam::123456789012:role/team/reader@x"),
            (Form::ExternalId, "a1"),
            (Form::Bucket, "lake.2026-eu"),
            (Form::Extension, ".json.gz"),
            (Form::Start, "2026-11-21T10:30:00+09:00"),
            (Form::TimeZone, "America/Port-au-Prince"),
            (Form::Listen, "[::]:0"),
        ] {
            assert_eq!(form.check(text), Ok(()), "{form:?} {text:?}");
        }
    }

    #[test]
    fn what_they_refuse_is_refused_with_the_reason() {
        for (form, text, why) in [
            (Form::TableName, "ab", "is too short"),
            (Form::TableName, "clicks to s3", "has the character ' '"),
            (Form::Region, "us-east1", "does not look like a Region"),
            (Form::Region, "Tokyo", "does not look like a Region"),
            (Form::Region, "us-east-1a", "does not look like a Region"),
            (Form::Url, "127.0.0.1:4567", "does not begin with http:// or https://"),
            (Form::Url, "http://x/path", "goes on after the port"),
            (Form::Url, "ftp://x", "does not begin with http:// or https://"),
            (Form::Url, "http://", "is not an address"),
            (Form::Url, "http://me:secret@x", "holds a user name; credentials come from the SDK's chain"),
            (Form::Stream, "arn:aws:kinesis:eu-west-1:12:stream/x", "is not the ARN of a stream"),
            (
                Form::Stream,
                "arn:aws:kinesis:eu-west-1:123456789012:stream/x/consumer/y:1",
                "is the ARN of a consumer, not of a stream",
            ),
            (Form::RoleArn, "arn:aws:iam::123456789012:user/x", "is not the ARN of a role"),
            (Form::ExternalId, "a", "is too short"),
            (Form::Bucket, "Lake", "has the capital letter 'L'"),
            (
                Form::Bucket,
                "s3://lake/clicks",
                "is not a bucket's plain name; what follows it belongs into sink.prefix",
            ),
            (Form::Bucket, "-lake", "does not begin and end with a letter or a digit"),
            (Form::Bucket, "la..ke", "has two dots in a row"),
            (Form::Bucket, "127.0.0.1", "is an IP address"),
            (Form::Bucket, "la_ke", "has the character '_'"),
            (Form::Extension, "gz", "does not begin with a dot"),
            (Form::Extension, ".GZ", "has the character 'G'"),
            (Form::Start, "latest", "is written \"LATEST\""),
            (Form::Start, "2026-11-21T10:30:00", "names no offset from UTC; add Z or +09:00"),
            (Form::Start, "1969-01-01T00:00:00Z", "is before 1970"),
            (Form::Start, "yesterday", "is neither a word that is known nor a time"),
            (Form::Listen, ":9464", "names no address; write \"0.0.0.0:9464\" for all of them"),
            (Form::Listen, "localhost:9464", "names a host, not an address; write \"127.0.0.1:9464\""),
            (Form::Listen, "127.0.0.1", "has no port"),
            (Form::Listen, "127.0.0.1:99999", "has no port between 0 and 65535"),
        ] {
            assert_eq!(form.check(text), Err(why.to_owned()), "{form:?} {text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_form_panic(text in "\\PC*") {
            for form in super::super::schema::KEYS.iter().filter_map(|key| match key.kind {
                super::super::schema::Kind::Text(form) | super::super::schema::Kind::List(form) => Some(form),
                _ => None,
            }) {
                let _ = form.check(&text);
            }
        }
    }
}
