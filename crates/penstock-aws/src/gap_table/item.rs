//! An entry of the gap ledger as an item, attribute by attribute: times in milliseconds, as beside the leases, and the one in the key for
//! people.

use aws_sdk_dynamodb::types::AttributeValue;
use penstock_core::gap::{GapEntry, GapId, GapRange, GapReason};
use penstock_core::ids::{LeaseKey, StreamName, WorkerId};
use penstock_core::time::UnixMillis;

use crate::lease_item::{Item, number, string};

pub(super) const LEASE_KEY: &str = "leaseKey";
/// The time at which it was noticed, in RFC 3339 with three decimals, and the id: entries of a lease are in the order of time.
pub(super) const NOTICED_AND_ID: &str = "noticedAt#uuid";
pub(super) const ACKNOWLEDGED: &str = "acknowledgedAt";
const STREAM: &str = "stream";
const STREAM_CREATED: &str = "streamCreated";
const REASON: &str = "reason";
/// As `GapRange` encodes it.
const AFTER: &str = "after";
const END: &str = "end";
/// The range in words.
const RANGE: &str = "range";
const NOTICED: &str = "noticedAt";
const NOTICED_BY: &str = "noticedBy";

/// The item of a new entry.
pub(super) fn encode(entry: &GapEntry) -> Item {
    let GapEntry { stream, stream_created, lease, range, reason, noticed, by, acknowledged } = entry;
    let (after, end) = range.encode();
    let attributes = [
        (LEASE_KEY, string(lease.as_str())),
        (NOTICED_AND_ID, string(&format!("{noticed}#{}", entry.id()))),
        (STREAM, string(stream.as_str())),
        (STREAM_CREATED, number(stream_created.0)),
        (REASON, string(reason.as_str())),
        (AFTER, string(&after)),
        (END, string(&end)),
        (RANGE, string(&range.to_string())),
        (NOTICED, number(noticed.0)),
        (NOTICED_BY, string(by.as_str())),
    ];
    let acknowledged = acknowledged.map(|at| (ACKNOWLEDGED, number(at.0)));
    attributes.into_iter().chain(acknowledged).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The id in an item's key.
pub(super) fn id(item: &Item) -> Option<GapId> {
    let (_, id) = item.get(NOTICED_AND_ID)?.as_s().ok()?.rsplit_once('#')?;
    GapId::parse(id)
}

/// Reads an item; an error names it and what is wrong with it.
pub(super) fn decode(item: &Item) -> Result<GapEntry, String> {
    let named = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
    let what = |problem: String| {
        format!("the entry {} of {} cannot be read: {problem}", named(NOTICED_AND_ID), named(LEASE_KEY))
    };
    decode_entry(item).map_err(what)
}

fn decode_entry(item: &Item) -> Result<GapEntry, String> {
    let (after, end, reason) = (text(item, AFTER)?, text(item, END)?, text(item, REASON)?);
    let entry = GapEntry {
        stream: StreamName::new(text(item, STREAM)?),
        stream_created: time(item, STREAM_CREATED)?.ok_or(format!("{STREAM_CREATED} is missing"))?,
        lease: LeaseKey::new(text(item, LEASE_KEY)?),
        range: GapRange::parse(after, end).ok_or(format!("{AFTER} {after:?} and {END} {end:?} are no range"))?,
        reason: GapReason::parse(reason).ok_or(format!("{REASON} {reason:?} is not known to this version"))?,
        noticed: time(item, NOTICED)?.ok_or(format!("{NOTICED} is missing"))?,
        by: WorkerId::new(text(item, NOTICED_BY)?),
        acknowledged: time(item, ACKNOWLEDGED)?,
    };
    match entry.id() {
        right if Some(right) == id(item) => Ok(entry),
        right => Err(format!("its id should be {right}: something in it was changed")),
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, String> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        Some(_) => Err(format!("{name} is not a string")),
        None => Err(format!("{name} is missing")),
    }
}

fn time(item: &Item, name: &str) -> Result<Option<UnixMillis>, String> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(millis)) => match millis.parse() {
            Ok(millis) => Ok(Some(UnixMillis(millis))),
            Err(_) => Err(format!("{name} is {millis:?}, not milliseconds since 1970")),
        },
        Some(_) => Err(format!("{name} is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::gap::GapEnd;
    use penstock_core::position::Position;

    use super::*;

    fn entry(noticed: i64) -> GapEntry {
        GapEntry {
            stream: StreamName::new("clicks"),
            stream_created: UnixMillis(1_700_000_000_000),
            lease: LeaseKey::new("shardId-000000000000"),
            range: GapRange { after: Position::TrimHorizon, end: GapEnd::Until(UnixMillis(1_700_000_000_001)) },
            reason: GapReason::Trimmed,
            noticed: UnixMillis(noticed),
            by: WorkerId::new("w"),
            acknowledged: Some(UnixMillis(7)),
        }
    }

    #[test]
    fn the_sort_key_is_the_time_for_people_and_sorts_as_times_do() {
        let key = |noticed| encode(&entry(noticed))[NOTICED_AND_ID].as_s().unwrap().clone();
        assert_eq!(key(1_700_000_000_120), format!("2023-11-14T22:13:20.120Z#{}", entry(0).id()));
        let keys = [-5, 0, 999, 1000, 1_699_999_999_999, 1_700_000_000_000].map(key);
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn an_entry_comes_back_and_one_that_was_changed_does_not() {
        assert_eq!(decode(&encode(&entry(5))), Ok(entry(5)));
        for (name, value) in [
            (REASON, string("trimmed?")),
            (STREAM, string("click")),
            (NOTICED, string("5")),
            (AFTER, string("here")),
            (END, number(1)),
        ] {
            let mut item = encode(&entry(5));
            item.insert(name.to_owned(), value);
            let problem = decode(&item).unwrap_err();
            assert!(
                problem.contains("shardId-000000000000") && problem.contains(&entry(5).id().to_string()),
                "{problem}"
            );
            if name != STREAM {
                assert!(problem.contains(name), "{problem}");
            }
        }
    }
}
