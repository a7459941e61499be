//! What was logged already: the same trouble, met again and again, is told when it changes and otherwise once a minute.
//!
//! For the log alone. Metrics and the board hear of every time.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::time::Instant;

use crate::ports::SeamError;

/// How long the same trouble is not worth another line.
const QUIET: Duration = Duration::from_secs(60);

/// What stands before the id of a request in what a service says.
const REQUEST: &str = ", request ";

/// The failures that were told last, each by what was called and what it was about. What is older than [`QUIET`] is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<(&'static str, String), (String, Instant)>);

impl Told {
    /// Whether this failure is worth a line: nothing like it was told for [`QUIET`], or something else was.
    pub(crate) fn is_news(&mut self, error: &SeamError, now: Instant) -> bool {
        self.0.retain(|_, (_, at)| now.since(*at) < QUIET);
        let call = (error.operation, error.subject.clone());
        let lasting = lasting(&error.message);
        if self.0.get(&call).is_some_and(|(message, _)| *message == lasting) {
            return false;
        }
        self.0.insert(call, (lasting, now));
        true
    }
}

/// A message without the service's id of the request, which is another one each time.
fn lasting(message: &str) -> String {
    let Some((before, id)) = message.split_once(REQUEST) else { return message.to_owned() };
    let end = id.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(id.len());
    format!("{before}{}", &id[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ErrorClass;

    fn failure(operation: &'static str, message: &str) -> SeamError {
        SeamError::new(operation, "clicks", ErrorClass::NotFound, message)
    }

    #[test]
    fn the_id_of_a_request_makes_no_other_failure() {
        let mut told = Told::default();
        let said = |code: &str, id: u64| {
            failure("Scan", &format!("{code}: not found (HTTP 400, request 8c-{id}); look there"))
        };
        let now = Instant::from_nanos(0);
        assert!(told.is_news(&said("ResourceNotFoundException", 1), now));
        assert!(!told.is_news(&said("ResourceNotFoundException", 2), now));
        assert!(told.is_news(&said("AccessDeniedException", 3), now));
        assert_eq!(lasting("gone (HTTP 400, request ab-1); look"), "gone (HTTP 400); look");
        assert_eq!(lasting("gone, request ab-1"), "gone");
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
