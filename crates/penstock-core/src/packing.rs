//! How user records become the entries of calls: joined into entries, entries into calls, within every limit of the sink.
//!
//! One packer serves all shards of a worker. Records of one shard keep their order; nothing is lost or repeated; an entry
//! that failed is sent again before anything newer. Decisions only: calls are made elsewhere, which also waits between tries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Instant;

/// The settings of a packer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackingSettings {
    /// Appended to each record unless it already ends in it.
    pub delimiter: Vec<u8>,
    /// Many records share one entry of up to this many bytes; `None`: each record is an entry of its own. Never above
    /// `max_entry_bytes`.
    pub pack_size: Option<usize>,
    /// The longest wait to fill a call.
    pub linger: Duration,
    /// Whether a shard has at most one call in flight.
    pub ordered: bool,
    /// Entries of one call.
    pub max_entries: usize,
    /// Raw bytes of one call.
    pub max_call_bytes: usize,
    /// Raw bytes of one entry.
    pub max_entry_bytes: usize,
}

/// One run of a shard. What an earlier run left in calls is not taken for that of a later one; it proves no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// One user record on its way into a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordToPack<'a, T> {
    /// The run of the shard that it comes from.
    pub run: RunId,
    /// The caller's handle for where it comes from: a ticket, a chunk.
    pub source: T,
    /// Its index in the source.
    pub index: u32,
    /// Its payload.
    pub data: &'a [u8],
}

/// A record alone is larger than an entry may be; it was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of {bytes} bytes, delimiter included, is larger than the {limit} bytes that the sink takes")]
pub struct RecordTooLarge {
    /// The size of the record with its delimiter.
    pub bytes: u64,
    /// The largest that the sink takes.
    pub limit: u64,
}

/// Neighbouring records of one source within an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<T> {
    /// The run of the shard that they come from.
    pub run: RunId,
    /// The caller's handle for where they come from.
    pub source: T,
    /// Their indices in the source.
    pub records: Range<u32>,
    /// Their bytes in the entry, delimiters included.
    pub bytes: usize,
}

/// One entry of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedEntry<T> {
    /// What is sent.
    pub body: Bytes,
    /// Whose records it carries, in the order of the body.
    pub pieces: Vec<Piece<T>>,
    /// How often it was sent so far.
    pub attempts: u32,
    /// When its first record came.
    pub since: Instant,
}

impl<T> PackedEntry<T> {
    /// The number of user records in it.
    #[must_use]
    pub fn records(&self) -> u64 {
        records(&self.pieces)
    }
}

fn records<T>(pieces: &[Piece<T>]) -> u64 {
    pieces.iter().map(|piece| piece.records.len() as u64).sum()
}

/// The entries of one call. It goes back to the packer with its outcome, by [`CallPacker::end_call`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call that is not ended leaves its shards blocked and its records unsettled"]
pub struct PackedCall<T> {
    /// The entries, at least one.
    pub entries: Vec<PackedEntry<T>>,
}

/// What a call that ended leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct EndedCall<T> {
    /// The entries that are not sent again, with their indices in the call.
    pub finished: Vec<(usize, PackedEntry<T>)>,
    /// Records that were to be sent again but whose shard was abandoned meanwhile.
    pub abandoned: Vec<Piece<T>>,
}

#[derive(Debug)]
struct FillingEntry<T> {
    body: Vec<u8>,
    pieces: Vec<Piece<T>>,
    since: Instant,
}

impl<T> FillingEntry<T> {
    fn new(capacity: usize, now: Instant) -> Self {
        Self { body: Vec::with_capacity(capacity), pieces: Vec::new(), since: now }
    }

    fn close(self) -> PackedEntry<T> {
        let Self { body, pieces, since } = self;
        PackedEntry { body: Bytes::from(body), pieces, attempts: 0, since }
    }
}

/// Fills the calls of one worker.
#[derive(Debug)]
pub struct CallPacker<T> {
    settings: PackingSettings,
    /// Entries that wait for a call: failed ones first, then the others from old to new.
    waiting: VecDeque<PackedEntry<T>>,
    waiting_bytes: usize,
    filling: Option<FillingEntry<T>>,
    flushing: bool,
    /// Calls in flight of each run.
    in_flight: BTreeMap<RunId, usize>,
    /// Runs that ended with calls in flight.
    abandoned: BTreeSet<RunId>,
}

impl<T: Clone + PartialEq> CallPacker<T> {
    /// A packer without records.
    #[must_use]
    pub fn new(settings: PackingSettings) -> Self {
        Self {
            settings,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            filling: None,
            flushing: false,
            in_flight: BTreeMap::new(),
            abandoned: BTreeSet::new(),
        }
    }

    /// Takes a record that came at `now`.
    ///
    /// # Errors
    /// [`RecordTooLarge`] if no entry could hold it: the record is the caller's to set aside, the packer is as before.
    pub fn push(&mut self, record: &RecordToPack<'_, T>, now: Instant) -> Result<(), RecordTooLarge> {
        let delimited = record.data.ends_with(&self.settings.delimiter);
        let bytes = record.data.len() + if delimited { 0 } else { self.settings.delimiter.len() };
        let limit = self.settings.max_entry_bytes.min(self.settings.max_call_bytes);
        if bytes > limit {
            return Err(RecordTooLarge { bytes: bytes as u64, limit: limit as u64 });
        }
        let pack_size = self.settings.pack_size.unwrap_or(0).min(limit);
        if self.filling.as_ref().is_some_and(|filling| filling.body.len() + bytes > pack_size) {
            self.close_filling();
        }
        let filling = self.filling.get_or_insert_with(|| FillingEntry::new(bytes, now));
        filling.body.extend_from_slice(record.data);
        if !delimited {
            filling.body.extend_from_slice(&self.settings.delimiter);
        }
        note_piece(&mut filling.pieces, record, bytes);
        if filling.body.len() >= pack_size {
            self.close_filling();
        }
        Ok(())
    }

    /// Makes everything that waits due at once, until nothing waits: at a drain, at the end of a shard, when memory is needed.
    pub fn flush(&mut self) {
        self.flushing = !self.waiting.is_empty() || self.filling.is_some();
    }

    /// A call that is due at `now`: a full one, one that has waited long enough, one that is sent again, or any when flushing.
    pub fn take_call(&mut self, now: Instant) -> Option<PackedCall<T>> {
        let due = self.is_full() || self.next_deadline().is_some_and(|deadline| deadline <= now);
        if !due {
            return None;
        }
        if self.waiting_would_fit_whole() {
            self.close_filling();
        }
        let mut entries = self.cut();
        if entries.is_empty() && self.filling.is_some() {
            // All that waits is passed over; what fills may still go.
            self.close_filling();
            entries = self.cut();
        }
        if self.waiting.is_empty() && self.filling.is_none() {
            self.flushing = false;
        }
        if entries.is_empty() {
            return None;
        }
        for run in runs(&entries) {
            *self.in_flight.entry(run).or_default() += 1;
        }
        Some(PackedCall { entries })
    }

    /// Takes back a call that ended. The entries for which `again` says so, by their index, are sent again.
    pub fn end_call(&mut self, call: PackedCall<T>, mut again: impl FnMut(usize) -> bool) -> EndedCall<T> {
        let runs = runs(&call.entries);
        let (failed, finished): (Vec<_>, Vec<_>) =
            call.entries.into_iter().enumerate().partition(|(index, _)| again(*index));
        let mut abandoned = Vec::new();
        for (_, mut entry) in failed.into_iter().rev() {
            abandoned.extend(strip(&mut entry, |run| self.abandoned.contains(&run)));
            if entry.pieces.is_empty() {
                continue;
            }
            entry.attempts += 1;
            self.waiting_bytes += entry.body.len();
            self.waiting.push_front(entry);
        }
        for run in runs {
            self.land(run);
        }
        EndedCall { finished, abandoned }
    }

    /// Forgets all records of a run that ended: none of them is sent from here on. Returns them; those in flight are not
    /// among them and come back with their call.
    pub fn abandon(&mut self, run: RunId) -> Vec<Piece<T>> {
        self.close_filling();
        let mut gone = Vec::new();
        for entry in &mut self.waiting {
            gone.extend(strip(entry, |of| of == run));
        }
        self.waiting.retain(|entry| !entry.pieces.is_empty());
        self.waiting_bytes = self.waiting.iter().map(|entry| entry.body.len()).sum();
        if self.in_flight.contains_key(&run) {
            self.abandoned.insert(run);
        }
        gone
    }

    /// When a call becomes due by the mere passing of time; `None` if nothing waits, or all of it for calls in flight.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut passed_over = BTreeSet::new();
        let sendable = self.waiting.iter().find(|entry| self.may_send(entry, &mut passed_over));
        let (attempts, since) = match (sendable, &self.filling) {
            (Some(entry), _) => (entry.attempts, entry.since),
            (None, Some(filling)) if !self.is_blocked(&filling.pieces, &passed_over) => (0, filling.since),
            (None, _) => return None,
        };
        Some(if attempts > 0 || self.flushing { since } else { since.after(self.settings.linger) })
    }

    /// The bytes that wait here, those in flight not counted.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes + self.filling.as_ref().map_or(0, |filling| filling.body.len())
    }

    /// The user records that wait here, those in flight not counted.
    #[must_use]
    pub fn waiting_records(&self) -> u64 {
        let filling = self.filling.as_ref().map_or(0, |filling| records(&filling.pieces));
        self.waiting.iter().map(PackedEntry::records).sum::<u64>() + filling
    }

    /// Whether nothing waits and no call is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.filling.is_none() && self.in_flight.is_empty()
    }

    fn close_filling(&mut self) {
        if let Some(filling) = self.filling.take() {
            self.waiting_bytes += filling.body.len();
            self.waiting.push_back(filling.close());
        }
    }

    /// Whether waiting longer could not make the next call any fuller.
    fn is_full(&self) -> bool {
        self.waiting.len() >= self.settings.max_entries || self.waiting_bytes() >= self.settings.max_call_bytes
    }

    /// Whether the entry that fills would find room in a call with all that waits; if so it goes along.
    fn waiting_would_fit_whole(&self) -> bool {
        self.waiting.len() < self.settings.max_entries && self.waiting_bytes() <= self.settings.max_call_bytes
    }

    /// Takes entries from the front, as many as one call holds, leaving those whose shard has to wait, and all behind one of
    /// the same shard that was left.
    fn cut(&mut self) -> Vec<PackedEntry<T>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut passed_over = BTreeSet::new();
        let mut index = 0;
        while entries.len() < self.settings.max_entries && index < self.waiting.len() {
            let entry = &self.waiting[index];
            if !self.may_send(entry, &mut passed_over) {
                index += 1;
                continue;
            }
            if bytes + entry.body.len() > self.settings.max_call_bytes {
                break;
            }
            bytes += entry.body.len();
            entries.extend(self.waiting.remove(index));
        }
        self.waiting_bytes -= bytes;
        entries
    }

    fn may_send(&self, entry: &PackedEntry<T>, passed_over: &mut BTreeSet<RunId>) -> bool {
        let blocked = self.is_blocked(&entry.pieces, passed_over);
        if blocked {
            passed_over.extend(entry.pieces.iter().map(|piece| piece.run));
        }
        !blocked
    }

    fn is_blocked(&self, pieces: &[Piece<T>], passed_over: &BTreeSet<RunId>) -> bool {
        self.settings.ordered
            && pieces.iter().any(|piece| self.in_flight.contains_key(&piece.run) || passed_over.contains(&piece.run))
    }

    fn land(&mut self, run: RunId) {
        let Some(calls) = self.in_flight.get_mut(&run) else { return };
        *calls -= 1;
        if *calls == 0 {
            self.in_flight.remove(&run);
            self.abandoned.remove(&run);
        }
    }
}

fn note_piece<T: Clone + PartialEq>(pieces: &mut Vec<Piece<T>>, record: &RecordToPack<'_, T>, bytes: usize) {
    let RecordToPack { run, source, index, data: _ } = record;
    match pieces.last_mut() {
        Some(last) if last.run == *run && last.source == *source && last.records.end == *index => {
            last.records.end += 1;
            last.bytes += bytes;
        }
        _ => pieces.push(Piece { run: *run, source: source.clone(), records: *index..*index + 1, bytes }),
    }
}

fn runs<T>(entries: &[PackedEntry<T>]) -> BTreeSet<RunId> {
    entries.iter().flat_map(|entry| entry.pieces.iter().map(|piece| piece.run)).collect()
}

/// Takes the pieces of some runs out of an entry, and their bytes out of its body.
fn strip<T>(entry: &mut PackedEntry<T>, goes: impl Fn(RunId) -> bool) -> Vec<Piece<T>> {
    if !entry.pieces.iter().any(|piece| goes(piece.run)) {
        return Vec::new();
    }
    let (mut gone, mut kept, mut body) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    for piece in entry.pieces.drain(..) {
        let end = start + piece.bytes;
        if goes(piece.run) {
            gone.push(piece);
        } else {
            body.extend_from_slice(&entry.body[start..end]);
            kept.push(piece);
        }
        start = end;
    }
    entry.body = Bytes::from(body);
    entry.pieces = kept;
    gone
}

#[cfg(test)]
mod tests;
