//! The held leases, found by key and by tenure, and an index of when each needs attention next.
//!
//! With thousands of leases nothing that happens to one may cost a look at all. Whoever changes a lease goes through
//! [`Holdings::get_mut`], which notes that its place in the index is to be found anew.

use std::collections::{BTreeMap, BTreeSet};

use super::held::{Held, Stage};
use super::timing::Timing;
use crate::ids::{LeaseKey, LeaseToken};
use crate::time::Instant;

/// All leases that this worker holds.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    leases: BTreeMap<LeaseKey, Indexed>,
    tokens: BTreeMap<LeaseToken, LeaseKey>,
    deadlines: BTreeSet<(Instant, LeaseKey)>,
    /// Changed since they were given a deadline.
    touched: BTreeSet<LeaseKey>,
    /// Those whose shards are not started.
    waiting: BTreeSet<LeaseKey>,
}

#[derive(Debug)]
struct Indexed {
    held: Held,
    deadline: Option<Instant>,
}

impl Holdings {
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub(super) fn contains_key(&self, key: &LeaseKey) -> bool {
        self.leases.contains_key(key)
    }

    pub(super) fn get(&self, key: &LeaseKey) -> Option<&Held> {
        self.leases.get(key).map(|indexed| &indexed.held)
    }

    /// The lease, to be changed.
    pub(super) fn get_mut(&mut self, key: &LeaseKey) -> Option<&mut Held> {
        let indexed = self.leases.get_mut(key)?;
        if indexed.deadline.is_some() {
            self.touched.insert(key.clone());
        }
        Some(&mut indexed.held)
    }

    /// The lease of a tenure, to be changed in a way that concerns no deadline.
    pub(super) fn by_token_quietly(&mut self, token: LeaseToken) -> Option<&mut Held> {
        self.leases.get_mut(self.tokens.get(&token)?).map(|indexed| &mut indexed.held)
    }

    /// The key of a tenure.
    pub(super) fn key_of(&self, token: LeaseToken) -> Option<&LeaseKey> {
        self.tokens.get(&token)
    }

    /// All leases, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&LeaseKey, &Held)> {
        self.leases.iter().map(|(key, indexed)| (key, &indexed.held))
    }

    /// Those whose shards are not started.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&LeaseKey, &Held)> {
        self.waiting.iter().filter_map(|key| Some((key, self.get(key)?)))
    }

    pub(super) fn insert(&mut self, key: LeaseKey, held: Held) {
        self.remove(&key);
        self.tokens.insert(held.token, key.clone());
        self.touched.insert(key.clone());
        self.waiting.insert(key.clone());
        self.leases.insert(key, Indexed { held, deadline: None });
    }

    pub(super) fn remove(&mut self, key: &LeaseKey) -> Option<Held> {
        let Indexed { held, deadline } = self.leases.remove(key)?;
        self.tokens.remove(&held.token);
        self.touched.remove(key);
        self.waiting.remove(key);
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, key.clone()));
        }
        Some(held)
    }

    /// The leases whose deadline has come, in the order of their deadlines.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = &LeaseKey> {
        self.deadlines.iter().take_while(move |(deadline, _)| *deadline <= now).map(|(_, key)| key)
    }

    /// Those that were changed or are due, to be given new deadlines by [`Self::settle`].
    pub(super) fn take_restless(&mut self, now: Instant) -> BTreeSet<LeaseKey> {
        let mut restless = std::mem::take(&mut self.touched);
        restless.extend(self.due(now).cloned());
        restless
    }

    /// Everything that was changed has been settled.
    pub(super) fn forget_touches(&mut self) {
        self.touched.clear();
    }

    /// Finds the place of a lease in the indices anew, after everything was done that is due.
    pub(super) fn settle(&mut self, key: &LeaseKey, timing: &Timing) {
        let Some(indexed) = self.leases.get_mut(key) else { return };
        let deadline = indexed.held.next_deadline(timing);
        if indexed.held.stage != Stage::Waiting {
            self.waiting.remove(key);
        }
        match indexed.deadline.replace(deadline) {
            Some(before) if before == deadline => {}
            before => {
                if let Some(before) = before {
                    self.deadlines.remove(&(before, key.clone()));
                }
                self.deadlines.insert((deadline, key.clone()));
            }
        }
    }

    /// The earliest deadline. Nothing has been touched since the last were settled.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
