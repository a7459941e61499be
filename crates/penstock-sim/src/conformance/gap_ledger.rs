//! The rules of the gap ledger, as one suite for every store.
//!
//! A store's test hands in a function that makes an empty ledger, and a [`Stranger`] that damages its entries. The suite panics
//! at the first rule that is broken.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use penstock_core::gap::{GapEnd, GapEntry, GapId, GapRange, GapReason};
use penstock_core::ids::{LeaseKey, StreamName, WorkerId};
use penstock_core::position::{MAX_SEQUENCE_DIGITS, Position, RecordPosition, SequenceNumber};
use penstock_core::time::UnixMillis;
use penstock_engine::ports::GapLedger;
use tokio::task::JoinSet;

/// An empty, prepared gap ledger.
#[derive(Clone)]
pub struct Place {
    /// Handles onto the one ledger, at least one: as many connections or clients as its workers would have.
    pub ledgers: Vec<Arc<dyn GapLedger>>,
    /// The hand of somebody else.
    pub stranger: Arc<dyn Stranger>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("ledgers", &self.ledgers.len()).finish_non_exhaustive()
    }
}

impl Place {
    fn ledger(&self) -> &dyn GapLedger {
        &*self.ledgers[0]
    }

    fn last(&self) -> &dyn GapLedger {
        &**self.ledgers.last().expect("a handle")
    }
}

/// What others do to an entry that is stored, bypassing the ledger.
#[async_trait]
pub trait Stranger: Send + Sync {
    /// Makes the reason one that is none.
    async fn damage(&self, entry: &GapEntry);
}

/// Tries every rule. `make` gives an empty, prepared ledger for a case, whose name fits into a table or file name.
///
/// # Panics
/// At the first rule that the store breaks.
pub async fn run<F, R>(make: F)
where
    F: Fn(&'static str) -> R,
    R: Future<Output = Place>,
{
    an_entry_is_stored_as_it_is(&make("gap-entry").await).await;
    every_range_and_reason_survives_the_ledger(&make("gap-ranges").await).await;
    an_entry_written_twice_is_one_and_stays_the_first(&make("gap-twice").await).await;
    many_writers_at_once_leave_each_entry_once(&make("gap-race").await).await;
    an_acknowledgement_stays(&make("gap-acknowledged").await).await;
    what_is_noticed_after_its_acknowledgement_is_open_again(&make("gap-again").await).await;
    what_is_not_there_is_not_acknowledged(&make("gap-unknown").await).await;
    entries_come_in_the_order_of_time(&make("gap-order").await).await;
    an_entry_that_cannot_be_read_is_named(&make("gap-damage").await).await;
    prepare_leaves_what_is_there(&make("gap-prepare").await).await;
}

// === Entries ===

fn entry() -> GapEntry {
    GapEntry {
        stream: StreamName::new("clicks"),
        stream_created: UnixMillis(1_600_000_000_123),
        lease: LeaseKey::new("shardId-000000000007"),
        range: GapRange { after: Position::After(record("12/3")), end: GapEnd::Unknown },
        reason: GapReason::Trimmed,
        noticed: UnixMillis(1_700_000_000_456),
        by: WorkerId::new("host-a-0badc0de"),
        acknowledged: None,
    }
}

fn record(text: &str) -> RecordPosition {
    RecordPosition::parse(text).expect("a position")
}

/// Another gap, told from the others by a number.
fn numbered(number: usize) -> GapEntry {
    let next = SequenceNumber::parse(&number.to_string()).expect("a number");
    GapEntry { range: GapRange { after: Position::TrimHorizon, end: GapEnd::Before(next) }, ..entry() }
}

/// The same gap, noticed by another at another time.
fn noticed_again(entry: &GapEntry, later: i64) -> GapEntry {
    let by = WorkerId::new(&format!("host-b-{later}"));
    GapEntry { noticed: UnixMillis(entry.noticed.0 + later), by, ..entry.clone() }
}

/// All entries; none is unreadable.
async fn all(ledger: &dyn GapLedger) -> Vec<GapEntry> {
    let (entries, unreadable) = ledger.entries().await.expect("a list");
    assert_eq!(unreadable, Vec::<String>::new(), "all entries can be read");
    entries
}

async fn write(ledger: &dyn GapLedger, entry: &GapEntry) {
    ledger.record(entry).await.expect("a record");
}

// === Rules ===

async fn an_entry_is_stored_as_it_is(place: &Place) {
    for ledger in &place.ledgers {
        assert_eq!(all(&**ledger).await, [], "the ledger begins empty");
    }
    write(place.ledger(), &entry()).await;
    for ledger in &place.ledgers {
        assert_eq!(all(&**ledger).await, [entry()], "every handle sees the same entry");
    }
}

async fn every_range_and_reason_survives_the_ledger(place: &Place) {
    let longest = "9".repeat(MAX_SEQUENCE_DIGITS);
    let ends = [
        GapEnd::Unknown,
        GapEnd::Through(record("7")),
        GapEnd::Through(record(&format!("{longest}/{}", u32::MAX))),
        GapEnd::Before(SequenceNumber::parse(&longest).expect("a sequence number")),
        GapEnd::Until(UnixMillis(1_700_000_000_789)),
    ];
    let afters = [
        Position::AtTimestamp,
        Position::TrimHorizon,
        Position::Latest,
        Position::After(record("5/6")),
        Position::ShardEnd,
    ];
    let mut written = Vec::new();
    for (index, (after, end)) in afters.iter().flat_map(|after| ends.iter().map(move |end| (after, end))).enumerate() {
        written.push(GapEntry {
            range: GapRange { after: after.clone(), end: end.clone() },
            reason: GapReason::ALL[index % GapReason::ALL.len()],
            ..noticed_again(&entry(), index as i64)
        });
    }
    // One stream among several, a name of every character that a stream may have, and an entry that is born acknowledged.
    let lease = LeaseKey::new("123456789012:clicks:1600000000:shardId-000000000007");
    written.push(GapEntry { lease, ..noticed_again(&entry(), 100) });
    written.push(GapEntry { stream: StreamName::new("Az0_-.9"), ..noticed_again(&entry(), 101) });
    written.push(GapEntry { stream_created: UnixMillis(1), ..noticed_again(&entry(), 102) });
    written.push(GapEntry { acknowledged: Some(UnixMillis(9)), ..noticed_again(&numbered(9), 103) });
    for entry in &written {
        write(place.ledger(), entry).await;
    }
    assert_eq!(all(place.ledger()).await, written);
}

async fn an_entry_written_twice_is_one_and_stays_the_first(place: &Place) {
    write(place.ledger(), &entry()).await;
    write(place.ledger(), &entry()).await;
    write(place.last(), &noticed_again(&entry(), 60_000)).await;
    // A worker whose clock is behind.
    write(place.last(), &noticed_again(&entry(), -60_000)).await;
    assert_eq!(all(place.ledger()).await, [entry()]);
}

async fn many_writers_at_once_leave_each_entry_once(place: &Place) {
    const WRITERS: usize = 8;
    const GAPS: usize = 5;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = Arc::clone(&place.ledgers[writer % place.ledgers.len()]);
        writers.spawn(async move {
            for gap in 0..GAPS {
                // Some notice it in the same millisecond, some do not.
                write(&*ledger, &noticed_again(&numbered(gap), (writer / 2) as i64)).await;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer that ends");
    }
    let entries = all(place.ledger()).await;
    let mut ids: Vec<GapId> = entries.iter().map(GapEntry::id).collect();
    ids.sort_unstable();
    let mut expected: Vec<GapId> = (0..GAPS).map(|gap| numbered(gap).id()).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected, "each gap once, however many wrote it");
    for gap in 0..GAPS {
        assert!(place.last().acknowledge(numbered(gap).id(), UnixMillis(5)).await.expect("a mark"));
    }
    let acknowledged = |entry: GapEntry| GapEntry { acknowledged: Some(UnixMillis(5)), ..entry };
    assert_eq!(all(place.ledger()).await, entries.into_iter().map(acknowledged).collect::<Vec<_>>());
}

async fn an_acknowledgement_stays(place: &Place) {
    let other = noticed_again(&numbered(1), 1);
    write(place.ledger(), &entry()).await;
    write(place.ledger(), &other).await;
    assert!(place.ledger().acknowledge(entry().id(), UnixMillis(77)).await.expect("a mark"));
    let acknowledged = GapEntry { acknowledged: Some(UnixMillis(77)), ..entry() };
    assert_eq!(all(place.last()).await, [acknowledged.clone(), other.clone()], "and no other entry is touched");
    assert!(!acknowledged.is_open() && other.is_open());
    assert!(place.last().acknowledge(entry().id(), UnixMillis(99)).await.expect("a mark"), "it is there still");
    assert_eq!(all(place.ledger()).await, [acknowledged, other], "the first time stays");
}

async fn what_is_noticed_after_its_acknowledgement_is_open_again(place: &Place) {
    let other = noticed_again(&numbered(1), 1);
    let at = |at: i64| GapEntry { acknowledged: Some(UnixMillis(at)), ..entry() };
    let acknowledged_other = GapEntry { acknowledged: Some(UnixMillis(7)), ..other.clone() };
    write(place.ledger(), &entry()).await;
    write(place.ledger(), &other).await;
    assert!(place.ledger().acknowledge(other.id(), UnixMillis(7)).await.expect("a mark"));
    // Later, and by a worker whose clock is behind.
    for (round, later) in [5, -5].into_iter().enumerate() {
        let time = 70 + round as i64;
        assert!(place.last().acknowledge(entry().id(), UnixMillis(time)).await.expect("a mark"));
        assert_eq!(all(place.ledger()).await, [at(time), acknowledged_other.clone()]);
        write(place.last(), &at(3)).await;
        assert_eq!(all(place.ledger()).await, [at(time), acknowledged_other.clone()], "what is closed opens nothing");
        for _ in 0..2 {
            write(place.ledger(), &noticed_again(&entry(), later)).await;
            let open = [entry(), acknowledged_other.clone()];
            assert_eq!(all(place.last()).await, open, "it is open again, in its first words, and no other is touched");
        }
    }
}

async fn what_is_not_there_is_not_acknowledged(place: &Place) {
    assert!(!place.ledger().acknowledge(entry().id(), UnixMillis(1)).await.expect("a mark"), "the ledger is empty");
    write(place.ledger(), &entry()).await;
    assert!(!place.ledger().acknowledge(numbered(1).id(), UnixMillis(1)).await.expect("a mark"));
    assert_eq!(all(place.ledger()).await, [entry()]);
}

async fn entries_come_in_the_order_of_time(place: &Place) {
    let lease = |index: usize| LeaseKey::new(["shardId-000000000009", "a", "shardId-000000000001", "Z"][index % 4]);
    // Times whose texts have other lengths or another order than the numbers, were they not written in full.
    let times = [1_700_000_000_010, 1_700_000_000_009, 999, 1_700_000_000_000, 1_000, 1_700_000_000_100, 20_000, 3_000];
    let mut written: Vec<GapEntry> = times
        .into_iter()
        .enumerate()
        .map(|(index, time)| GapEntry { lease: lease(index), noticed: UnixMillis(time), ..numbered(index) })
        .collect();
    for entry in &written {
        write(place.ledger(), entry).await;
    }
    written.sort_by_key(|entry| entry.noticed);
    assert_eq!(all(place.ledger()).await, written);
}

async fn an_entry_that_cannot_be_read_is_named(place: &Place) {
    let sound = noticed_again(&numbered(1), 1);
    write(place.ledger(), &entry()).await;
    write(place.ledger(), &sound).await;
    place.stranger.damage(&entry()).await;
    let (entries, unreadable) = place.ledger().entries().await.expect("one bad entry costs no other");
    assert_eq!(entries, std::slice::from_ref(&sound));
    let [named] = &unreadable[..] else { panic!("one entry cannot be read: {unreadable:?}") };
    assert!(named.contains(&entry().id().to_string()) && named.contains("reason"), "it is named: {named}");
    write(place.ledger(), &entry()).await;
    assert_eq!(place.ledger().entries().await.expect("a list"), (vec![sound], unreadable), "it is left for people");
}

async fn prepare_leaves_what_is_there(place: &Place) {
    write(place.ledger(), &entry()).await;
    for ledger in &place.ledgers {
        ledger.prepare().await.expect("it is prepared again");
        assert_eq!(all(&**ledger).await, [entry()]);
    }
}
