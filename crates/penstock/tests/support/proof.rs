//! Holds what was read back against what was told: every record, how often, and in the order of its key.

use std::collections::BTreeMap;

use super::Told;

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    seen: BTreeMap<u64, u32>,
    next: BTreeMap<String, u64>,
    out_of_order: Vec<String>,
    strangers: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Different records that were found.
    pub(crate) found: u64,
    /// Numbers of records that are not there; at most ten.
    pub(crate) missing: Vec<u64>,
    /// How many records are there too many.
    pub(crate) repeats: u64,
    /// Some of those that are there more than once.
    pub(crate) repeated: Vec<u64>,
    /// Records that come after a later one of their key; at most ten.
    pub(crate) out_of_order: Vec<String>,
    /// Lines that nobody told; at most ten.
    pub(crate) strangers: Vec<String>,
}

impl Proof {
    /// Looks at a line that stands at `place`.
    pub(crate) fn look(&mut self, line: &[u8], place: &str) {
        let Ok(told) = serde_json::from_slice::<Told>(line) else {
            self.strangers.push(format!("{place}: {}", String::from_utf8_lossy(line)));
            return;
        };
        let count = self.seen.entry(told.id).or_insert(0);
        *count += 1;
        if *count > 1 {
            return;
        }
        let next = self.next.entry(told.key.clone()).or_insert(0);
        if told.nth < *next {
            self.out_of_order.push(format!("{place}: {} of {}, {} was due", told.nth, told.key, *next));
        }
        *next = (*next).max(told.nth + 1);
    }

    /// How many different records were found.
    pub(crate) fn found(&self) -> u64 {
        self.seen.len() as u64
    }

    /// What was found of the numbers `0..told`.
    pub(crate) fn verdict(mut self, told: u64) -> Verdict {
        let unknown = self.seen.keys().filter(|id| **id >= told).map(|id| format!("record {id} was never told"));
        self.strangers.extend(unknown.collect::<Vec<_>>());
        self.strangers.truncate(10);
        self.out_of_order.truncate(10);
        Verdict {
            found: self.found(),
            missing: (0..told).filter(|id| !self.seen.contains_key(id)).take(10).collect(),
            repeats: self.seen.values().map(|count| u64::from(count - 1)).sum(),
            repeated: self.seen.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).take(10).collect(),
            out_of_order: self.out_of_order,
            strangers: self.strangers,
        }
    }
}

impl Verdict {
    /// Each record exactly once, in the order of its key.
    #[track_caller]
    pub(crate) fn assert_exactly_once(&self) {
        self.assert_at_least_once();
        assert!(self.repeats == 0, "{} records are repeated, such as {:?}", self.repeats, self.repeated);
        assert!(self.out_of_order.is_empty(), "out of order: {:#?}", self.out_of_order);
    }

    /// Each record, perhaps more than once, and nothing else.
    #[track_caller]
    pub(crate) fn assert_at_least_once(&self) {
        assert!(self.strangers.is_empty(), "never told: {:#?}", self.strangers);
        assert!(self.missing.is_empty(), "{} found, missing are {:?}, …", self.found, self.missing);
    }
}
