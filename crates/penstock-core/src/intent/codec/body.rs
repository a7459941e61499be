//! The fields of an intent in their order, version 1. What is written here and what is read below mirror each other.

use std::collections::BTreeMap;

use super::super::{Compression, Content, Destination, Encoding, Intent, IntentId, IntentObject, OutsideHashRange};
use super::wire::{Malformed, Reader, put_bytes, put_number, put_option, put_sequence, put_signed};
use crate::ids::{ApplicationName, HashRange, LeaseKey, StreamName};
use crate::position::{Position, RecordPosition};
use crate::time::UnixMillis;

// === Writing ===

pub(super) fn write(out: &mut Vec<u8>, intent: &Intent) {
    let Intent { id, application, stream, lease, from, first, last, chain, time, destination, encoding, objects } =
        intent;
    out.extend_from_slice(&id.0);
    put_bytes(out, application.as_str().as_bytes());
    put_bytes(out, stream.as_str().as_bytes());
    put_bytes(out, lease.as_str().as_bytes());
    put_position(out, from);
    put_record(out, first);
    put_record(out, last);
    put_option(out, chain.as_ref(), put_record);
    put_signed(out, time.0);
    put_destination(out, destination);
    put_encoding(out, encoding);
    put_number(out, objects.len() as u64);
    for object in objects {
        put_object(out, object);
    }
}

fn put_position(out: &mut Vec<u8>, position: &Position) {
    match position {
        Position::AtTimestamp => out.push(0),
        Position::TrimHorizon => out.push(1),
        Position::Latest => out.push(2),
        Position::After(record) => {
            out.push(3);
            put_record(out, record);
        }
        Position::ShardEnd => out.push(4),
    }
}

fn put_record(out: &mut Vec<u8>, record: &RecordPosition) {
    put_sequence(out, &record.sequence);
    put_number(out, record.subsequence);
}

fn put_destination(out: &mut Vec<u8>, destination: &Destination) {
    match destination {
        Destination::S3 { bucket, region } => {
            out.push(0);
            put_bytes(out, bucket.as_bytes());
            put_bytes(out, region.as_bytes());
        }
        Destination::Directory { path } => {
            out.push(1);
            put_bytes(out, path.as_bytes());
        }
    }
}

fn put_encoding(out: &mut Vec<u8>, encoding: &Encoding) {
    let Encoding { delimiter, deaggregate, outside_hash_range, hash_range, compression, level, time_zone } = encoding;
    put_bytes(out, delimiter);
    out.push(u8::from(*deaggregate));
    out.push(match outside_hash_range {
        OutsideHashRange::Deliver => 0,
        OutsideHashRange::SetAside => 1,
        OutsideHashRange::Drop => 2,
    });
    put_option(out, *hash_range, |out, HashRange { start, end }| {
        out.extend_from_slice(&start.to_be_bytes());
        out.extend_from_slice(&end.to_be_bytes());
    });
    out.push(match compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Zstd => 2,
    });
    put_signed(out, i64::from(*level));
    put_bytes(out, time_zone.as_bytes());
}

fn put_object(out: &mut Vec<u8>, object: &IntentObject) {
    let IntentObject { content, key, partition, first, last, records, sha256 } = object;
    out.push(match content {
        Content::Records => 0,
        Content::SetAside => 1,
    });
    put_bytes(out, key.as_bytes());
    put_number(out, partition.len() as u64);
    for (name, value) in partition {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_record(out, first);
    put_record(out, last);
    put_number(out, *records);
    out.extend_from_slice(sha256);
}

// === Reading ===

pub(super) fn read(body: &[u8]) -> Result<Intent, Malformed> {
    let mut reader = Reader::new(body);
    let from = &mut reader;
    let intent = Intent {
        id: IntentId(from.field("id").array()?),
        application: ApplicationName::new(from.field("application").text()?),
        stream: StreamName::new(from.field("stream").text()?),
        lease: LeaseKey::new(from.field("lease").text()?),
        from: position(from.field("from"))?,
        first: record(from.field("first"))?,
        last: record(from.field("last"))?,
        chain: from.field("chain").option(record)?,
        time: UnixMillis(from.field("time").signed()?),
        destination: destination(from.field("destination"))?,
        encoding: encoding(from)?,
        objects: objects(from)?,
    };
    reader.end()?;
    Ok(intent)
}

fn position(from: &mut Reader<'_>) -> Result<Position, Malformed> {
    Ok(match from.byte()? {
        0 => Position::AtTimestamp,
        1 => Position::TrimHorizon,
        2 => Position::Latest,
        3 => Position::After(record(from)?),
        4 => Position::ShardEnd,
        other => return Err(from.malformed(format!("{other} is no kind of position"))),
    })
}

fn record(from: &mut Reader<'_>) -> Result<RecordPosition, Malformed> {
    Ok(RecordPosition { sequence: from.sequence()?, subsequence: from.number()? })
}

fn destination(from: &mut Reader<'_>) -> Result<Destination, Malformed> {
    Ok(match from.byte()? {
        0 => Destination::S3 { bucket: from.text()?.to_owned(), region: from.text()?.to_owned() },
        1 => Destination::Directory { path: from.text()?.to_owned() },
        other => return Err(from.malformed(format!("{other} is no kind of destination"))),
    })
}

fn encoding(from: &mut Reader<'_>) -> Result<Encoding, Malformed> {
    Ok(Encoding {
        delimiter: from.field("delimiter").bytes()?.to_vec(),
        deaggregate: from.field("deaggregate").flag()?,
        outside_hash_range: match from.field("outside_hash_range").byte()? {
            0 => OutsideHashRange::Deliver,
            1 => OutsideHashRange::SetAside,
            2 => OutsideHashRange::Drop,
            other => return Err(from.malformed(format!("{other} is no rule"))),
        },
        hash_range: from.field("hash_range").option(|from| {
            Ok(HashRange { start: u128::from_be_bytes(from.array()?), end: u128::from_be_bytes(from.array()?) })
        })?,
        compression: match from.field("compression").byte()? {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Zstd,
            other => return Err(from.malformed(format!("{other} is no compression"))),
        },
        level: {
            let level = from.field("level").signed()?;
            i32::try_from(level).map_err(|_| from.malformed(format!("{level} is no level")))?
        },
        time_zone: from.field("time_zone").text()?.to_owned(),
    })
}

fn objects(from: &mut Reader<'_>) -> Result<Vec<IntentObject>, Malformed> {
    let count = from.field("objects").count()?;
    (0..count).map(|_| object(from)).collect()
}

fn object(from: &mut Reader<'_>) -> Result<IntentObject, Malformed> {
    Ok(IntentObject {
        content: match from.field("object content").byte()? {
            0 => Content::Records,
            1 => Content::SetAside,
            other => return Err(from.malformed(format!("{other} is no kind of content"))),
        },
        key: from.field("object key").text()?.to_owned(),
        partition: partition(from.field("object partition"))?,
        first: record(from.field("object first"))?,
        last: record(from.field("object last"))?,
        records: from.field("object records").number()?,
        sha256: from.field("object sha256").array()?,
    })
}

/// The values of a partition, by strictly ascending names: any other order would be a second encoding of the same.
fn partition(from: &mut Reader<'_>) -> Result<BTreeMap<String, String>, Malformed> {
    let mut partition = BTreeMap::new();
    for _ in 0..from.count()? {
        let name = from.text()?;
        if partition.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
            return Err(from.malformed("its names do not ascend"));
        }
        partition.insert(name.to_owned(), from.text()?.to_owned());
    }
    Ok(partition)
}
