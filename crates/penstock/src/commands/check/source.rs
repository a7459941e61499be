//! The streams: each call of the reader once, and one read of one record of the shard that is furthest behind.

use std::time::Duration;

use penstock_aws::probe::{ReadFrom, ReadSeen, Refusal, StreamProbe, StreamSeen, Tried};
use penstock_core::ids::{LeaseKey, StreamName};
use penstock_core::position::Position;
use penstock_engine::ports::{ErrorClass, StreamDescription};

use super::arn;
use super::iam::{self, Action};
use super::judge::{self, Call};
use super::leases::Table;
use super::online::{Client, limited};
use super::report::Row;
use crate::config::settings::{Settings, StreamSettings};

/// What one stream answered.
pub(super) struct Stream {
    probe: StreamProbe,
    name: String,
    resource: String,
    pub(super) seen: Tried<StreamSeen>,
    shards: Tried<Vec<String>>,
}

impl Stream {
    /// Whether a lease is of this stream: a key without a stream is of the only one.
    fn has(&self, key: &LeaseKey) -> bool {
        key.stream_id().and_then(|id| id.parts().map(|(_, name, _)| name.as_str() == self.name)).unwrap_or(true)
    }
}

/// The stream as the seam describes it.
pub(super) fn description(seen: &StreamSeen) -> StreamDescription {
    StreamDescription {
        name: StreamName::new(&seen.name),
        arn: Some(seen.arn.clone()),
        retention: seen.retention,
        created: seen.created,
    }
}

/// Describes all streams and lists their shards.
pub(super) async fn streams(settings: &Settings, client: Option<&Client>) -> Vec<Stream> {
    let Some(client) = client else { return Vec::new() };
    let mut asked = tokio::task::JoinSet::new();
    for (at, stream) in settings.source.streams.iter().enumerate() {
        let StreamSettings { name, arn } = stream.clone();
        let probe = StreamProbe::new(&client.config, arn.as_deref().unwrap_or(&name));
        let resource = arn
            .unwrap_or_else(|| arn::of("kinesis", &client.place.region, client.account(), &format!("stream/{name}")));
        asked.spawn(async move {
            let (seen, shards) = tokio::join!(limited(probe.describe()), limited(probe.list()));
            (at, Stream { probe, name, resource, seen, shards })
        });
    }
    let mut streams = asked.join_all().await;
    streams.sort_by_key(|(at, _)| *at);
    streams.into_iter().map(|(_, stream)| stream).collect()
}

/// What the reads of one stream answered; `None` where there was nothing to read from.
pub(super) struct Read {
    shard: String,
    iterator: Tried<()>,
    read: Option<Tried<ReadSeen>>,
}

/// One read of each stream.
pub(super) async fn reads(streams: &[Stream], client: Option<&Client>, table: &Table) -> Vec<Option<Read>> {
    let mut reads = Vec::new();
    if client.is_none() {
        return reads;
    }
    let mut asked = tokio::task::JoinSet::new();
    for (at, stream) in streams.iter().enumerate() {
        let start = start(stream, table);
        let probe = stream.probe.clone();
        asked.spawn(async move {
            match start {
                Some((shard, from)) => (at, Some(read(&probe, shard, from).await)),
                None => (at, None),
            }
        });
    }
    let mut found = asked.join_all().await;
    found.sort_by_key(|(at, _)| *at);
    reads.extend(found.into_iter().map(|(_, read)| read));
    reads
}

/// The shard that is furthest behind by its row, from its checkpoint; without one, the first shard from its oldest record.
fn start(stream: &Stream, table: &Table) -> Option<(String, ReadFrom)> {
    let shards = stream.shards.as_ref().ok()?;
    let rows = table.rows().iter().filter(|row| stream.has(&row.key));
    let listed = rows.filter(|row| shards.iter().any(|shard| shard == row.key.shard_id().as_str()));
    let behind = listed.filter_map(|row| match &row.checkpoint {
        Position::After(position) => Some((row.lag.unwrap_or(0), row, position)),
        Position::TrimHorizon | Position::Latest | Position::AtTimestamp | Position::ShardEnd => None,
    });
    match behind.max_by_key(|(lag, row, _)| (*lag, row.key.clone())) {
        Some((_, row, position)) => {
            Some((row.key.shard_id().to_string(), ReadFrom::After(position.sequence.as_str().to_owned())))
        }
        None => shards.first().map(|shard| (shard.clone(), ReadFrom::TrimHorizon)),
    }
}

async fn read(probe: &StreamProbe, shard: String, from: ReadFrom) -> Read {
    let iterator = limited(probe.iterator(&shard, &from)).await;
    let read = match &iterator {
        Ok(iterator) => Some(limited(probe.read(iterator)).await),
        Err(_) => None,
    };
    Read { shard, iterator: iterator.map(drop), read }
}

/// The rows of all streams.
pub(super) fn rows(streams: &[Stream], reads: &[Option<Read>], client: Option<&Client>, table: &Table) -> Vec<Row> {
    let Some(client) = client else { return Vec::new() };
    let mut rows = Vec::new();
    for (stream, read) in streams.iter().zip(reads) {
        rows.extend(of_stream(stream, read.as_ref(), client, table));
    }
    if let Some(clock) = streams.iter().find_map(|stream| stream.seen.as_ref().ok()) {
        rows.extend(judge::clock(client.place.service, clock.clock_ahead));
    }
    rows
}

fn of_stream(stream: &Stream, read: Option<&Read>, client: &Client, table: &Table) -> Vec<Row> {
    let on = |action: Action, on: &str, row: &dyn Fn(&Call<'_>) -> Row| {
        row(&Call { action, on, resource: &stream.resource, place: &client.place })
    };
    let name = stream.name.as_str();
    let mut rows = vec![on(iam::DESCRIBE_STREAM, name, &|call| call.row(&stream.seen, |seen| seen.arn.clone()))];
    if let Ok(seen) = &stream.seen {
        rows.push(judge::stream_state(seen));
        rows.extend(judge::region(name, &seen.arn, &client.place, "source.region"));
        rows.extend(judge::account(seen, client.caller.as_ref()));
    }
    rows.push(on(iam::LIST_SHARDS, name, &|call| {
        call.row(&stream.shards, |shards| match shards.len() {
            1_000 => "1000 shards or more".to_owned(),
            count => format!("{count} shards, closed ones included"),
        })
    }));
    match read {
        None => {
            let why = "no shard is listed to try it on";
            rows.push(Row::not_tried(iam::GET_ITERATOR.name, name, why));
            rows.push(Row::not_tried(iam::GET_RECORDS.name, name, why));
        }
        Some(Read { shard, iterator, read }) => {
            let short = format!("{name}/{shard}");
            rows.push(on(iam::GET_ITERATOR, &short, &|call| iterator_row(call, iterator)));
            rows.push(match read {
                Some(read) => on(iam::GET_RECORDS, &short, &|call| {
                    call.row(read, |seen| {
                        format!(
                            "{}; one of the shard's five reads a second",
                            judge::counted(seen.records as u64, "record")
                        )
                    })
                }),
                None => Row::not_tried(iam::GET_RECORDS.name, &short, "it needs an iterator"),
            });
        }
    }
    if let Ok(seen) = &stream.seen {
        let read = read.and_then(|read| read.read.as_ref());
        rows.extend(judge::stream_key(seen, read));
        rows.extend(judge::retention(seen, lag(stream, read, table)));
    }
    rows
}

/// A checkpoint that the stream does not know says nothing of the permission.
fn iterator_row(call: &Call<'_>, iterator: &Tried<()>) -> Row {
    match iterator {
        Err(Refusal { code: Some(code), message, class }) if *class == ErrorClass::Rejected && code == "InvalidArgumentException" => {
            Row::failed(call.action.name, call.on, message)
                .fix("its checkpoint is none of this stream's: was the stream made again, or the position set by hand? `penstock leases set-position`")
        }
        iterator => call.row(iterator, |()| "allowed".to_owned()),
    }
}

/// How far behind, by the read and by what the rows say; nothing if nobody ever checkpointed.
fn lag(stream: &Stream, read: Option<&Tried<ReadSeen>>, table: &Table) -> Option<Duration> {
    let of_stream = table.rows().iter().filter(|row| stream.has(&row.key));
    let checkpointed = of_stream.filter(|row| row.checkpoint.record().is_some());
    let (mut any, mut lag) = (false, Duration::ZERO);
    for row in checkpointed {
        any = true;
        lag = lag.max(Duration::from_millis(row.lag.unwrap_or(0)));
    }
    let read = read.and_then(|read| read.as_ref().ok()).map(|seen| seen.behind);
    any.then(|| lag.max(read.unwrap_or_default()))
}
