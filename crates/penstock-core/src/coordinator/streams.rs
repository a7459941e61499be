//! The streams of one coordinator: which row belongs to which, and what is known of each besides its rows.
//!
//! A lease key names its stream, or there is one stream and the keys name none. Rows of streams that are not configured are
//! left alone. Rows in the other form of key mean that some other application, or another version of this one, works here.

use std::collections::BTreeMap;

use super::Recurring;
use super::api::{StreamIndex, StreamSettings};
use super::coverage::Hole;
use super::hierarchy::Looks;
use crate::ids::{LeaseKey, StreamId, StreamName};
use crate::lease::{LeaseRow, Scan};
use crate::time::UnixMillis;

/// All streams, in the order of the settings.
#[derive(Debug)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    /// Where the stream is whose keys begin with this; the empty text stands for keys that name no stream.
    by_prefix: BTreeMap<String, StreamIndex>,
    /// The configured streams with an id, by account and name, to recognise one that was created again.
    by_name: BTreeMap<(String, StreamName), StreamIndex>,
}

/// What is known of one stream besides its rows.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) settings: StreamSettings,
    /// The last two listings.
    pub(super) looks: Looks,
    pub(super) audit: Recurring,
    /// Listings that failed or were of no use since the last good one.
    pub(super) failures: u32,
    /// Whether a shard of ours waits to hear of a parent.
    pub(super) listing_wanted: bool,
    /// Whether its rows belong to another stream of the same name: nothing of it is taken.
    pub(super) recreated: bool,
    /// The hash keys that no open lease covers, as seen last.
    pub(super) hole: Option<Hole>,
}

impl Stream {
    fn new(settings: StreamSettings) -> Self {
        Self {
            settings,
            looks: Looks::new(),
            audit: Recurring::default(),
            failures: 0,
            listing_wanted: false,
            recreated: false,
            hole: None,
        }
    }
}

/// What a scan holds besides the rows of the configured streams.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// A key in the form that this application does not use.
    pub(super) other_form: Option<LeaseKey>,
    /// Streams whose rows name another creation time, which follows.
    pub(super) recreated: BTreeMap<StreamIndex, UnixMillis>,
}

impl Streams {
    pub(super) fn new(settings: &[StreamSettings]) -> Self {
        let mut streams = Self { streams: Vec::new(), by_prefix: BTreeMap::new(), by_name: BTreeMap::new() };
        for settings in settings {
            let index = StreamIndex(streams.streams.len());
            let prefix = settings.id.as_ref().map_or_else(String::new, |id| id.as_str().to_owned());
            streams.by_prefix.insert(prefix, index);
            if let Some((account, name, _)) = settings.id.as_ref().and_then(StreamId::parts) {
                streams.by_name.insert((account.to_owned(), name), index);
            }
            streams.streams.push(Stream::new(settings.clone()));
        }
        streams
    }

    /// The stream that a lease belongs to, if it is configured.
    pub(super) fn index_of(&self, key: &LeaseKey) -> Option<StreamIndex> {
        let prefix = key.as_str().rsplit_once(':').map_or("", |(prefix, _)| prefix);
        self.by_prefix.get(prefix).copied()
    }

    pub(super) fn get(&self, index: StreamIndex) -> Option<&Stream> {
        self.streams.get(index.0)
    }

    pub(super) fn get_mut(&mut self, index: StreamIndex) -> Option<&mut Stream> {
        self.streams.get_mut(index.0)
    }

    /// The stream that a lease belongs to, if it is configured.
    pub(super) fn of(&self, key: &LeaseKey) -> Option<&Stream> {
        self.get(self.index_of(key)?)
    }

    pub(super) fn of_mut(&mut self, key: &LeaseKey) -> Option<&mut Stream> {
        let index = self.index_of(key)?;
        self.get_mut(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamIndex, &Stream)> {
        self.streams.iter().enumerate().map(|(index, stream)| (StreamIndex(index), stream))
    }

    /// Whether leases of the stream of `key` may be taken and started.
    pub(super) fn is_served(&self, key: &LeaseKey) -> bool {
        self.of(key).is_some_and(|stream| !stream.recreated)
    }

    /// Whether keys name their stream here.
    fn names_streams(&self) -> bool {
        self.streams.iter().any(|stream| stream.settings.id.is_some())
    }

    /// Whether a key has the form that this application does not use.
    fn is_other_form(&self, key: &LeaseKey) -> bool {
        match key.as_str().rsplit_once(':') {
            Some((prefix, _)) => !self.names_streams() && StreamId::new(prefix).parts().is_some(),
            None => self.names_streams(),
        }
    }

    /// Leaves only the rows of the configured streams in a scan, and tells what else there was.
    pub(super) fn sort_out(&self, scan: &mut Scan) -> Others {
        let mut others = Others::default();
        scan.rows.retain(|row| match self.index_of(&row.key) {
            Some(index) => {
                self.note_creation(index, row, &mut others);
                true
            }
            None => {
                self.note_stranger(&row.key, &mut others);
                false
            }
        });
        scan.unreadable.retain(|row| self.index_of(&row.key).is_some());
        others
    }

    fn note_creation(&self, index: StreamIndex, row: &LeaseRow, others: &mut Others) {
        let stream = self.get(index).map(|stream| stream.settings.created);
        if let Some(created) = row.stream_created.filter(|created| Some(*created) != stream) {
            others.recreated.entry(index).or_insert(created);
        }
    }

    fn note_stranger(&self, key: &LeaseKey, others: &mut Others) {
        if others.other_form.is_none() && self.is_other_form(key) {
            others.other_form = Some(key.clone());
        }
        let Some(prefix) = key.stream_id().filter(|_| self.names_streams()) else { return };
        let Some((account, name, epoch)) = prefix.parts() else { return };
        // The configured stream of this account and name has another creation time, or the row would be its own.
        if let Some(index) = self.by_name.get(&(account.to_owned(), name)) {
            let created = UnixMillis(i64::try_from(epoch).unwrap_or(i64::MAX).saturating_mul(1000));
            others.recreated.entry(*index).or_insert(created);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::api::InitialPosition;
    use crate::ids::{LeaseCounter, ShardId};
    use crate::lease::UnreadableRow;
    use crate::position::Position;

    const CREATED: UnixMillis = UnixMillis(1_700_000_000_123);

    fn settings(name: &str, named: bool) -> StreamSettings {
        let name = StreamName::new(name);
        StreamSettings {
            id: named.then(|| StreamId::of("1", &name, CREATED)),
            name,
            created: CREATED,
            initial_position: InitialPosition::TrimHorizon,
        }
    }

    fn row(key: &str) -> LeaseRow {
        LeaseRow::new(LeaseKey::new(key), LeaseCounter(1), Position::TrimHorizon)
    }

    fn scan(keys: &[&str]) -> Scan {
        Scan { rows: keys.iter().map(|key| row(key)).collect(), unreadable: Vec::new() }
    }

    fn keys(scan: &Scan) -> Vec<&str> {
        scan.rows.iter().map(|row| row.key.as_str()).collect()
    }

    #[test]
    fn a_row_belongs_to_the_stream_that_its_key_names() {
        let streams = Streams::new(&[settings("a", true), settings("b", true)]);
        let key = LeaseKey::of(settings("b", true).id.as_ref(), &ShardId::new("shardId-7"));
        assert_eq!(streams.index_of(&key), Some(StreamIndex(1)));
        assert_eq!(streams.index_of(&LeaseKey::new("1:c:1700000000:shardId-7")), None);
        assert_eq!(streams.index_of(&LeaseKey::new("shardId-7")), None);
        let single = Streams::new(&[settings("a", false)]);
        assert_eq!(single.index_of(&LeaseKey::new("shardId-7")), Some(StreamIndex(0)));
        assert_eq!(single.index_of(&key), None);
    }

    #[test]
    fn rows_of_streams_that_are_not_configured_are_left_out_and_mean_nothing() {
        let streams = Streams::new(&[settings("a", true)]);
        let mut seen = scan(&["1:a:1700000000:shardId-1", "1:b:1700000000:shardId-1", "2:a:1600000000:shardId-1"]);
        seen.unreadable.push(UnreadableRow { key: LeaseKey::new("1:b:5:shardId-2"), problem: String::new() });
        let others = streams.sort_out(&mut seen);
        assert_eq!(keys(&seen), ["1:a:1700000000:shardId-1"]);
        assert!(seen.unreadable.is_empty());
        assert!(others.other_form.is_none() && others.recreated.is_empty(), "another account is another stream");
    }

    #[test]
    fn the_other_form_of_key_is_recognised_both_ways() {
        let single = Streams::new(&[settings("a", false)]);
        let mut seen = scan(&["1:a:1700000000:shardId-1", "some:thing", "shardId-1"]);
        let found = single.sort_out(&mut seen).other_form;
        assert_eq!((keys(&seen), found), (vec!["shardId-1"], Some(LeaseKey::new("1:a:1700000000:shardId-1"))));
        assert_eq!(single.sort_out(&mut scan(&["some:thing"])).other_form, None, "no stream has such an id");
        let several = Streams::new(&[settings("a", true)]);
        assert_eq!(several.sort_out(&mut scan(&["shardId-1"])).other_form, Some(LeaseKey::new("shardId-1")));
    }

    #[test]
    fn a_stream_created_again_is_recognised_by_its_rows_or_by_their_keys() {
        let several = Streams::new(&[settings("a", true), settings("b", true)]);
        let others = several.sort_out(&mut scan(&["1:b:1600000000:shardId-1", "1:a:1700000000:shardId-1"]));
        assert_eq!(others.recreated, BTreeMap::from([(StreamIndex(1), UnixMillis(1_600_000_000_000))]));
        let single = Streams::new(&[settings("a", false)]);
        let mut old = row("shardId-1");
        old.stream_created = Some(UnixMillis(5));
        let others = single.sort_out(&mut Scan { rows: vec![old], unreadable: Vec::new() });
        assert_eq!(others.recreated, BTreeMap::from([(StreamIndex(0), UnixMillis(5))]));
    }
}
