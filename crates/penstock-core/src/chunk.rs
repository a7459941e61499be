//! A chunk: what one fetch gave. One contiguous buffer, and a compact entry per record with ranges into it.
//!
//! Nothing is allocated or counted per record; a user record is a slice of the buffer it arrived in.

use bytes::Bytes;

use crate::position::{RecordPosition, SequenceNumber, compare_sequence_numbers};
use crate::time::UnixMillis;

/// A range of a chunk's buffer. A buffer is below 4 GiB, so 32 bits are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    fn of<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        &buffer[start..start + self.len as usize]
    }
}

/// One record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The payload.
    pub data: Span,
    /// The digits of the sequence number.
    pub sequence: Span,
    /// The partition key; empty if the record has none.
    pub partition_key: Span,
    /// When the service took the record.
    pub arrival: UnixMillis,
}

/// The records of one fetch, in the order of their sequence numbers.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    buffer: Bytes,
    entries: Vec<Entry>,
}

/// A record of a chunk, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The payload.
    pub data: &'a [u8],
    /// The digits of the sequence number.
    pub sequence: &'a str,
    /// The partition key; empty if the record has none.
    pub partition_key: &'a str,
    /// When the service took the record.
    pub arrival: UnixMillis,
}

impl Chunk {
    /// A chunk over a buffer that was decoded in place.
    ///
    /// Returns `None` if a range reaches beyond the buffer, a sequence number is not one or a partition key is not UTF-8.
    #[must_use]
    pub fn from_parts(buffer: Bytes, entries: Vec<Entry>) -> Option<Self> {
        let fits = |span: &Span| u64::from(span.start) + u64::from(span.len) <= buffer.len() as u64;
        let sound = entries.iter().all(|entry| {
            fits(&entry.data)
                && fits(&entry.sequence)
                && fits(&entry.partition_key)
                && std::str::from_utf8(entry.partition_key.of(&buffer)).is_ok()
                && std::str::from_utf8(entry.sequence.of(&buffer)).is_ok_and(|text| SequenceNumber::parse(text).is_ok())
        });
        sound.then_some(Self { buffer, entries })
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that the chunk keeps alive: its buffer and its entries.
    #[must_use]
    pub fn memory(&self) -> u64 {
        (self.buffer.len() + self.entries.len() * size_of::<Entry>()) as u64
    }

    /// The buffer that all ranges point into.
    #[must_use]
    pub const fn buffer(&self) -> &Bytes {
        &self.buffer
    }

    /// The record at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`Chunk::len`].
    #[must_use]
    pub fn record(&self, index: usize) -> Record<'_> {
        let entry = &self.entries[index];
        Record {
            data: entry.data.of(&self.buffer),
            sequence: text(entry.sequence.of(&self.buffer)),
            partition_key: text(entry.partition_key.of(&self.buffer)),
            arrival: entry.arrival,
        }
    }

    /// The entry at `index`, for a reader that works on ranges.
    ///
    /// # Panics
    /// If `index` is not below [`Chunk::len`].
    #[must_use]
    pub fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// All records in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.entries.len()).map(|index| self.record(index))
    }

    /// Leaves out the first record, if there is one; its bytes stay in the buffer.
    pub fn remove_first(&mut self) {
        self.entries.drain(..self.entries.len().min(1));
    }

    /// The payload bytes of all records.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.data.len)).sum()
    }
}

/// The ranges of a chunk were checked when it was built.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a chunk's texts were checked when it was built")
}

/// Collects records that do not come in one buffer (the generated SDK path, the simulation) into one.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    buffer: Vec<u8>,
    entries: Vec<Entry>,
}

impl ChunkBuilder {
    /// A builder with room for `records` records of `bytes` bytes in all (payload, keys and sequence numbers).
    #[must_use]
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), entries: Vec::with_capacity(records) }
    }

    /// Appends a record by copying it into the buffer.
    pub fn push(&mut self, sequence: &SequenceNumber, partition_key: &str, data: &[u8], arrival: UnixMillis) {
        let data = self.span(data);
        let sequence = self.span(sequence.as_str().as_bytes());
        let partition_key = self.span(partition_key.as_bytes());
        self.entries.push(Entry { data, sequence, partition_key, arrival });
    }

    fn span(&mut self, bytes: &[u8]) -> Span {
        let start = u32::try_from(self.buffer.len()).expect("a response is below 4 GiB");
        self.buffer.extend_from_slice(bytes);
        Span { start, len: u32::try_from(bytes.len()).expect("a record is below 4 GiB") }
    }

    /// The finished chunk.
    #[must_use]
    pub fn build(self) -> Chunk {
        Chunk { buffer: Bytes::from(self.buffer), entries: self.entries }
    }
}

/// One user record: a plain record, or one entry of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserEntry {
    /// The payload, a range of the chunk's buffer.
    pub data: Span,
    /// The partition key of the user record.
    pub partition_key: Span,
    /// The index of its record in the chunk.
    pub record: u32,
    /// Its index within the record, from 0.
    pub subsequence: u32,
}

/// The user records of a chunk, in order.
#[derive(Debug, Clone, Default)]
pub struct UserRecords {
    chunk: Chunk,
    entries: Vec<UserEntry>,
}

/// A user record, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// The payload.
    pub data: &'a [u8],
    /// The partition key; empty if there is none.
    pub partition_key: &'a str,
    /// The digits of its record's sequence number.
    pub sequence: &'a str,
    /// Its index within the record.
    pub subsequence: u32,
    /// When the service took its record.
    pub arrival: UnixMillis,
}

impl UserRecord<'_> {
    /// Its position; allocates.
    #[must_use]
    pub fn position(&self) -> RecordPosition {
        RecordPosition {
            sequence: SequenceNumber::parse(self.sequence).expect("checked when the chunk was built"),
            subsequence: u64::from(self.subsequence),
        }
    }

    /// How it stands to `position`, without allocating.
    #[must_use]
    pub fn compare(&self, position: &RecordPosition) -> std::cmp::Ordering {
        compare_sequence_numbers(self.sequence, position.sequence.as_str())
            .then_with(|| u64::from(self.subsequence).cmp(&position.subsequence))
    }
}

impl UserRecords {
    /// The user records of `chunk`, whose ranges were made from it.
    #[must_use]
    pub const fn new(chunk: Chunk, entries: Vec<UserEntry>) -> Self {
        Self { chunk, entries }
    }

    /// Every record as one user record of its own.
    #[must_use]
    pub fn plain(chunk: Chunk) -> Self {
        let entries = (0..chunk.len())
            .map(|index| {
                let entry = chunk.entry(index);
                let record = u32::try_from(index).expect("a response has at most 10,000 records");
                UserEntry { data: entry.data, partition_key: entry.partition_key, record, subsequence: 0 }
            })
            .collect();
        Self { chunk, entries }
    }

    /// The number of user records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The chunk that the ranges point into.
    #[must_use]
    pub const fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The user record at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`UserRecords::len`].
    #[must_use]
    pub fn get(&self, index: usize) -> UserRecord<'_> {
        let entry = &self.entries[index];
        let buffer = self.chunk.buffer();
        let record = self.chunk.entry(entry.record as usize);
        UserRecord {
            data: entry.data.of(buffer),
            partition_key: text(entry.partition_key.of(buffer)),
            sequence: text(record.sequence.of(buffer)),
            subsequence: entry.subsequence,
            arrival: record.arrival,
        }
    }

    /// All user records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = UserRecord<'_>> {
        (0..self.entries.len()).map(|index| self.get(index))
    }

    /// The payload of the user record at `index`, without a look at its texts: for loops over many records.
    ///
    /// # Panics
    /// If `index` is not below [`UserRecords::len`].
    #[must_use]
    pub fn payload(&self, index: usize) -> &[u8] {
        self.entries[index].data.of(self.chunk.buffer())
    }

    /// The payload of the user record at `index` as a shared slice of the chunk's buffer.
    ///
    /// # Panics
    /// If `index` is not below [`UserRecords::len`].
    #[must_use]
    pub fn data(&self, index: usize) -> Bytes {
        let span = self.entries[index].data;
        self.chunk.buffer().slice(span.start as usize..span.start as usize + span.len as usize)
    }

    /// Keeps the user records for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(UserRecord<'_>) -> bool) {
        let mut kept = 0;
        for index in 0..self.entries.len() {
            if keep(self.get(index)) {
                self.entries.swap(kept, index);
                kept += 1;
            }
        }
        self.entries.truncate(kept);
    }

    /// The payload bytes of all user records.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.data.len)).sum()
    }
}
