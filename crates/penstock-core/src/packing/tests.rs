//! Tests of the packer: a table of single cases, and a run of random pushes, calls and outcomes held against what was pushed.

use proptest::prelude::*;

use super::*;

fn settings(pack_size: Option<usize>) -> PackingSettings {
    PackingSettings {
        delimiter: b"\n".to_vec(),
        pack_size,
        linger: Duration::from_secs(1),
        ordered: false,
        max_entries: 3,
        max_call_bytes: 40,
        max_entry_bytes: 20,
    }
}

fn milli(n: u64) -> Instant {
    Instant::from_nanos(n * 1_000_000)
}

fn push(packer: &mut CallPacker<u32>, shard: u64, index: u32, data: &str, now: Instant) {
    let record = RecordToPack { run: RunId(shard), source: 0, index, data: data.as_bytes() };
    packer.push(&record, now).unwrap();
}

fn bodies(call: &PackedCall<u32>) -> Vec<&str> {
    call.entries.iter().map(|entry| std::str::from_utf8(&entry.body).unwrap()).collect()
}

fn finish(packer: &mut CallPacker<u32>, call: PackedCall<u32>) -> u64 {
    packer.end_call(call, |_| false).finished.iter().map(|(_, entry)| entry.records()).sum()
}

#[test]
fn each_record_is_an_entry_and_gets_its_delimiter_once() {
    let mut packer = CallPacker::new(settings(None));
    for (index, data) in (0..).zip(["a", "b\n", ""]) {
        push(&mut packer, 0, index, data, milli(0));
    }
    let call = packer.take_call(milli(0)).expect("three entries fill a call");
    assert_eq!(bodies(&call), ["a\n", "b\n", "\n"]);
    assert!(packer.take_call(milli(9_999)).is_none());
    assert_eq!(finish(&mut packer, call), 3);
    assert!(packer.is_idle());
}

#[test]
fn an_empty_delimiter_adds_nothing() {
    let mut packer = CallPacker::new(PackingSettings { delimiter: Vec::new(), ..settings(Some(20)) });
    push(&mut packer, 0, 0, "a", milli(0));
    push(&mut packer, 0, 1, "b", milli(0));
    packer.flush();
    let call = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&call), ["ab"]);
    finish(&mut packer, call);
}

#[test]
fn many_records_share_an_entry_up_to_the_pack_size() {
    let mut packer = CallPacker::new(settings(Some(6)));
    for index in 0..5 {
        push(&mut packer, u64::from(index / 4), index, "xx", milli(0));
    }
    packer.flush();
    let call = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&call), ["xx\nxx\n", "xx\nxx\n", "xx\n"]);
    let piece = |shard, records| Piece { run: RunId(shard), source: 0, bytes: 6, records };
    assert_eq!(call.entries[1].pieces, [piece(0, 2..4)]);
    assert_eq!(call.entries[2].pieces, [Piece { bytes: 3, ..piece(1, 4..5) }]);
    finish(&mut packer, call);
}

#[test]
fn a_record_above_the_pack_size_is_an_entry_of_its_own() {
    let mut packer = CallPacker::new(settings(Some(6)));
    for (index, data) in (0..).zip(["a", "0123456789", "b"]) {
        push(&mut packer, 0, index, data, milli(0));
    }
    packer.flush();
    let call = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&call), ["a\n", "0123456789\n", "b\n"]);
    finish(&mut packer, call);
}

#[test]
fn a_record_that_no_entry_holds_is_named_with_both_sizes_and_not_taken() {
    for pack_size in [None, Some(20)] {
        let mut packer = CallPacker::new(settings(pack_size));
        let record = |data| RecordToPack { run: RunId(0), source: 0, index: 0, data };
        assert_eq!(packer.push(&record(&[b'x'; 20]), milli(0)), Err(RecordTooLarge { bytes: 21, limit: 20 }));
        assert!(packer.is_idle());
        packer.push(&record(&[b'x'; 19]), milli(0)).unwrap();
        packer.push(&record(b"xxxxxxxxxxxxxxxxxxx\n"), milli(0)).unwrap();
        assert_eq!((packer.waiting_bytes(), packer.waiting_records()), (40, 2));
    }
}

#[test]
fn a_call_waits_for_the_linger_of_its_oldest_record() {
    let mut packer = CallPacker::new(settings(Some(20)));
    assert_eq!(packer.next_deadline(), None);
    push(&mut packer, 0, 0, "a", milli(500));
    push(&mut packer, 0, 1, "b", milli(900));
    assert_eq!(packer.next_deadline(), Some(milli(1_500)));
    assert!(packer.take_call(milli(1_499)).is_none());
    let call = packer.take_call(milli(1_500)).unwrap();
    assert_eq!(bodies(&call), ["a\nb\n"]);
    assert_eq!(packer.next_deadline(), None);
    finish(&mut packer, call);
}

#[test]
fn a_call_is_full_by_bytes_even_if_its_last_entry_still_fills() {
    let mut packer = CallPacker::new(settings(Some(20)));
    for index in 0..5 {
        push(&mut packer, 0, index, "123456789", milli(0));
        assert_eq!(packer.is_full(), index >= 3, "{index}");
    }
    let call = packer.take_call(milli(0)).unwrap();
    assert_eq!(call.entries.iter().map(|entry| entry.body.len()).sum::<usize>(), 40);
    assert_eq!(packer.waiting_bytes(), 10);
    finish(&mut packer, call);
}

#[test]
fn failed_entries_alone_are_sent_again_and_first() {
    let mut packer = CallPacker::new(settings(None));
    for (index, data) in (0..).zip(["a", "b", "c", "d", "e"]) {
        push(&mut packer, 0, index, data, milli(0));
    }
    let call = packer.take_call(milli(0)).unwrap();
    let ended = packer.end_call(call, |index| index != 1);
    assert_eq!(
        ended.finished.iter().map(|(index, entry)| (*index, &entry.body[..])).collect::<Vec<_>>(),
        [(1, &b"b\n"[..])]
    );
    let again = packer.take_call(milli(0)).expect("what failed is due at once");
    assert_eq!(bodies(&again), ["a\n", "c\n", "d\n"]);
    assert_eq!(again.entries.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [1, 1, 0]);
    finish(&mut packer, again);
    packer.flush();
    let rest = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&rest), ["e\n"]);
    finish(&mut packer, rest);
}

#[test]
fn ordered_shards_wait_for_their_own_call_only() {
    let mut packer = CallPacker::new(PackingSettings { ordered: true, ..settings(None) });
    push(&mut packer, 1, 0, "a", milli(0));
    packer.flush();
    let first = packer.take_call(milli(0)).unwrap();
    push(&mut packer, 1, 1, "b", milli(0));
    assert_eq!(packer.next_deadline(), None, "shard 1 waits for its call");
    push(&mut packer, 2, 0, "c", milli(5));
    push(&mut packer, 1, 2, "d", milli(5));
    assert_eq!(packer.next_deadline(), Some(milli(1_005)));
    let second = packer.take_call(milli(1_005)).unwrap();
    assert_eq!(bodies(&second), ["c\n"]);
    packer.end_call(first, |_| true);
    let third = packer.take_call(milli(1_005)).unwrap();
    assert_eq!(bodies(&third), ["a\n", "b\n", "d\n"]);
    finish(&mut packer, second);
    finish(&mut packer, third);
    assert!(packer.is_idle());
}

#[test]
fn nothing_overtakes_a_shared_entry_that_was_passed_over() {
    let mut packer = CallPacker::new(PackingSettings { ordered: true, ..settings(Some(4)) });
    push(&mut packer, 1, 0, "a", milli(0));
    packer.flush();
    let first = packer.take_call(milli(0)).unwrap();
    for (shard, data) in [(1, "b"), (2, "c"), (2, "d"), (3, "e")] {
        push(&mut packer, shard, 1, data, milli(0));
    }
    push(&mut packer, 4, 1, "f", milli(0));
    packer.flush();
    let second = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&second), ["f\n"], "b waits for a, c stands in its entry, d behind c, e beside d");
    finish(&mut packer, first);
    let third = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&third), ["b\nc\n", "d\ne\n"]);
    finish(&mut packer, second);
    finish(&mut packer, third);
}

#[test]
fn an_abandoned_shard_is_taken_out_of_what_waits_and_of_what_comes_back() {
    let mut packer = CallPacker::new(settings(Some(20)));
    for (shard, index, data) in [(1, 0, "a"), (2, 0, "b"), (1, 1, "c")] {
        push(&mut packer, shard, index, data, milli(0));
    }
    packer.flush();
    let call = packer.take_call(milli(0)).unwrap();
    push(&mut packer, 1, 2, "d", milli(0));
    push(&mut packer, 2, 1, "e", milli(0));
    let gone = packer.abandon(RunId(1));
    assert_eq!(gone.iter().flat_map(|piece| piece.records.clone()).collect::<Vec<_>>(), [2]);
    let ended = packer.end_call(call, |_| true);
    assert_eq!(ended.abandoned.iter().flat_map(|piece| piece.records.clone()).collect::<Vec<_>>(), [0, 1]);
    packer.flush();
    let again = packer.take_call(milli(0)).unwrap();
    assert_eq!(bodies(&again), ["b\n", "e\n"]);
    finish(&mut packer, again);
    assert!(packer.is_idle() && packer.abandoned.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Push { shard: u64, len: usize },
    Pause { millis: u64 },
    Flush,
    Take,
    End { which: prop::sample::Index, again: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..3, 0_usize..24).prop_map(|(shard, len)| Step::Push { shard, len }),
        1 => (0_u64..1_500).prop_map(|millis| Step::Pause { millis }),
        1 => Just(Step::Flush),
        3 => Just(Step::Take),
        3 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(which, again)| Step::End { which, again }),
    ]
}

/// Runs a packer and keeps what was pushed and what was finished, per shard.
struct World {
    packer: CallPacker<u32>,
    settings: PackingSettings,
    now: u64,
    pushed: BTreeMap<u64, Vec<String>>,
    finished: BTreeMap<u64, Vec<(u32, String)>>,
    calls: Vec<PackedCall<u32>>,
    failed: bool,
}

impl World {
    fn push(&mut self, shard: u64, len: usize) {
        let index = self.pushed.get(&shard).map_or(0, Vec::len);
        let data = format!("{shard}.{index:06}.{:w$}", "", w = len);
        let record = RecordToPack {
            run: RunId(shard),
            source: 7,
            index: u32::try_from(index).unwrap(),
            data: &data.as_bytes()[..len.min(data.len())],
        };
        let taken = self.packer.push(&record, milli(self.now));
        let too_large = record.data.len() + 1 > self.settings.max_entry_bytes;
        assert_eq!(taken.is_err(), too_large);
        if !too_large {
            let text = String::from_utf8(record.data.to_vec()).unwrap();
            self.pushed.entry(shard).or_default().push(text);
        }
    }

    fn take(&mut self) {
        let Some(call) = self.packer.take_call(milli(self.now)) else { return };
        assert!((1..=self.settings.max_entries).contains(&call.entries.len()));
        assert!(call.entries.iter().map(|entry| entry.body.len()).sum::<usize>() <= self.settings.max_call_bytes);
        for entry in &call.entries {
            assert!(entry.body.len() <= self.settings.max_entry_bytes);
            assert_eq!(entry.body.len(), entry.pieces.iter().map(|piece| piece.bytes).sum::<usize>());
            assert!(entry.records() == 1 || entry.body.len() <= self.settings.pack_size.unwrap_or(0));
        }
        if self.settings.ordered {
            let flying = self.calls.iter().flat_map(|call| runs(&call.entries)).collect::<BTreeSet<_>>();
            assert!(flying.is_disjoint(&runs(&call.entries)), "two calls of a shard in flight");
        }
        self.calls.push(call);
    }

    fn end(&mut self, index: usize, again: u8) {
        let call = self.calls.remove(index);
        self.failed |= again != 0;
        for (_, entry) in self.packer.end_call(call, |index| again >> (index % 8) & 1 == 1).finished {
            let mut rest = &entry.body[..];
            for piece in &entry.pieces {
                let (mine, others) = rest.split_at(piece.bytes);
                rest = others;
                let text = std::str::from_utf8(mine).unwrap();
                let lines = text.strip_suffix('\n').unwrap().split('\n').map(ToOwned::to_owned);
                self.finished.entry(piece.run.0).or_default().extend(piece.records.clone().zip(lines));
            }
        }
    }

    fn drain(&mut self) {
        self.now += 10_000;
        while !self.packer.is_idle() {
            self.packer.flush();
            self.take();
            assert!(!self.calls.is_empty(), "something waits, nothing flies, and no call is due");
            while !self.calls.is_empty() {
                self.end(0, 0);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_limit_is_passed_and_nothing_is_lost_repeated_or_reordered(
        steps in prop::collection::vec(step(), 0..200),
        pack_size in prop::option::of(1_usize..25),
        ordered in any::<bool>(),
    ) {
        let settings = PackingSettings { ordered, ..settings(pack_size) };
        let mut world = World {
            packer: CallPacker::new(settings.clone()),
            settings,
            now: 0,
            pushed: BTreeMap::new(),
            finished: BTreeMap::new(),
            calls: Vec::new(),
            failed: false,
        };
        for step in steps {
            match step {
                Step::Push { shard, len } => world.push(shard, len),
                Step::Pause { millis } => world.now += millis,
                Step::Flush => world.packer.flush(),
                Step::Take => world.take(),
                Step::End { which, again } if !world.calls.is_empty() => {
                    // In the order of their start, unless calls may overtake each other.
                    let index = if world.failed { which.index(world.calls.len()) } else { 0 };
                    world.end(index, again);
                }
                Step::End { .. } => {}
            }
        }
        world.drain();
        for (shard, finished) in &mut world.finished {
            if world.failed {
                finished.sort_unstable();
            }
            let pushed = (0..).zip(world.pushed[shard].iter().cloned()).collect::<Vec<_>>();
            prop_assert_eq!(finished, &pushed);
        }
        prop_assert_eq!(world.finished.len(), world.pushed.len());
    }
}
