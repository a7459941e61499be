//! What was logged already: the same trouble, met again and again, is told when it changes and otherwise once a minute.
//!
//! For the log alone. Metrics and the board hear of every time.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::time::Instant;

use crate::ports::SeamError;

/// How long the same trouble is not worth another line.
const QUIET: Duration = Duration::from_secs(60);

/// The failures that were told last, each by what was called and what it was about. What is older than [`QUIET`] is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<(&'static str, String), (String, Instant)>);

impl Told {
    /// Whether this failure is worth a line: nothing like it was told for [`QUIET`], or something else was.
    pub(crate) fn is_news(&mut self, error: &SeamError, now: Instant) -> bool {
        self.0.retain(|_, (_, at)| now.since(*at) < QUIET);
        let call = (error.operation, error.subject.clone());
        if self.0.get(&call).is_some_and(|(message, _)| *message == error.message) {
            return false;
        }
        self.0.insert(call, (error.message.clone(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ErrorClass;

    fn failure(operation: &'static str, message: &str) -> SeamError {
        SeamError::new(operation, "clicks", ErrorClass::NotFound, message)
    }

    #[test]
    fn the_same_failure_is_told_once_a_minute_and_another_one_at_once() {
        let mut told = Told::default();
        let second = |second: u64| Instant::from_nanos(second * 1_000_000_000);
        let missing = failure("ListShards", "no such stream");
        let news: Vec<u64> = (0..180).filter(|at| told.is_news(&missing, second(*at))).collect();
        assert_eq!(news, [0, 60, 120]);
        assert!(told.is_news(&failure("ListShards", "denied"), second(180)));
        assert!(told.is_news(&missing, second(181)), "it changed back");
        assert!(told.is_news(&failure("scan", "no such stream"), second(181)));
        assert!(!told.is_news(&missing, second(182)), "another call in between changes nothing");
        assert!(told.is_news(&missing, second(300)));
        assert_eq!(told.0.len(), 1, "what is old is forgotten");
    }
}
