//! The failures of late, counted by kind: what a page shows as last errors, beside the metric that counts them for ever.

use std::collections::BTreeMap;

use penstock_core::ids::LeaseKey;
use penstock_core::time::UnixMillis;

/// Kinds of failures that are kept. What is called and how it may fail are few words each, so this is far away.
const KINDS: usize = 100;

/// Failures of one kind: the same call failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorStatus {
    /// What failed, as in the metric.
    pub operation: &'static str,
    /// How, as in the metric.
    pub class: &'static str,
    /// How often since the start.
    pub count: u64,
    /// When it happened first, on the wall clock.
    pub first: UnixMillis,
    /// When it happened last.
    pub last: UnixMillis,
    /// What the last of them said.
    pub message: String,
    /// The lease of the last of them, where it was about one.
    pub lease: Option<LeaseKey>,
}

/// The failures by kind.
#[derive(Debug, Default)]
pub(super) struct Errors(BTreeMap<(&'static str, &'static str), ErrorStatus>);

impl Errors {
    pub(super) fn note(
        &mut self,
        (operation, class): (&'static str, &'static str),
        message: String,
        lease: Option<&LeaseKey>,
        at: UnixMillis,
    ) {
        if self.0.len() >= KINDS
            && !self.0.contains_key(&(operation, class))
            && let Some(oldest) = self.0.iter().min_by_key(|(_, error)| error.last).map(|(kind, _)| *kind)
        {
            self.0.remove(&oldest);
        }
        let fresh =
            ErrorStatus { operation, class, count: 0, first: at, last: at, message: String::new(), lease: None };
        let error = self.0.entry((operation, class)).or_insert(fresh);
        error.count += 1;
        error.last = at;
        error.message = message;
        error.lease = lease.cloned();
    }

    /// The latest first.
    pub(super) fn latest(&self) -> Vec<ErrorStatus> {
        let mut errors: Vec<ErrorStatus> = self.0.values().cloned().collect();
        errors.sort_by(|one, other| other.last.cmp(&one.last).then(one.operation.cmp(other.operation)));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_kind_are_one_entry_with_the_last_message_and_the_latest_come_first() {
        let mut errors = Errors::default();
        errors.note(("GetRecords", "transient"), "one".to_owned(), None, UnixMillis(1));
        errors.note(("scan", "denied"), "two".to_owned(), None, UnixMillis(2));
        errors.note(("GetRecords", "transient"), "three".to_owned(), None, UnixMillis(3));
        let latest = errors.latest();
        let shown: Vec<_> = latest.iter().map(|error| (error.operation, error.count, error.message.as_str())).collect();
        assert_eq!(shown, [("GetRecords", 2, "three"), ("scan", 1, "two")]);
        assert_eq!((latest[0].first, latest[0].last), (UnixMillis(1), UnixMillis(3)));
    }

    #[test]
    fn the_number_of_kinds_is_bounded_and_the_oldest_goes() {
        let mut errors = Errors::default();
        for at in 0..300_i64 {
            let kind: &'static str = Box::leak(at.to_string().into_boxed_str());
            errors.note((kind, "transient"), String::new(), None, UnixMillis(at));
        }
        assert_eq!((errors.0.len(), errors.latest()[0].operation), (KINDS, "299"));
        assert!(!errors.0.contains_key(&("0", "transient")));
    }
}
