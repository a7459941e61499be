//! What a stream is like right now, asked once for all of its shards that want to know.
//!
//! The service answers such questions twenty times a second for a whole account; thousands of shards that start, or that meet
//! the same trouble, must not spend that. Whoever asks gets an answer that was asked for after it began to wait, never an older one.

use std::time::Duration;

use penstock_core::time::Instant;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::ports::{ErrorClass, SeamError, ShardSource, StreamDescription};

/// The least time between two questions of a worker about one stream.
const APART: Duration = Duration::from_secs(1);

/// The last answer. Whoever waits for the next one waits at the lock, in order.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<Option<Look>>);

#[derive(Debug)]
struct Look {
    began: Instant,
    answer: Result<StreamDescription, Failure>,
}

/// What is kept of an error that several are told.
#[derive(Debug)]
struct Failure {
    operation: &'static str,
    subject: String,
    class: ErrorClass,
    message: String,
}

impl Looks {
    /// What the stream is like, by an answer that was asked for at `at` or later.
    ///
    /// Cancel-safe: the next one in the line asks itself.
    pub(crate) async fn since(
        &self,
        at: Instant,
        clock: &Clock,
        source: &dyn ShardSource,
        limit: Duration,
    ) -> Result<StreamDescription, SeamError> {
        let mut last = self.0.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.began >= at) {
            return look.told();
        }
        if let Some(look) = &*last {
            clock.sleep_until(look.began.after(APART)).await;
        }
        let began = clock.now().instant;
        let answer = match tokio::time::timeout(limit, source.describe()).await {
            Ok(answer) => answer,
            Err(_) => Err(SeamError::timed_out("DescribeStreamSummary", "the stream", limit)),
        };
        let answer = answer.map_err(|SeamError { operation, subject, class, message, .. }| Failure {
            operation,
            subject,
            class,
            message,
        });
        last.insert(Look { began, answer }).told()
    }
}

impl Look {
    fn told(&self) -> Result<StreamDescription, SeamError> {
        match &self.answer {
            Ok(description) => Ok(description.clone()),
            Err(Failure { operation, subject, class, message }) => {
                Err(SeamError::new(operation, subject.clone(), *class, message.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;
    use penstock_core::time::UnixMillis;

    use super::*;
    use crate::fakes::{FakeStream, START};

    #[tokio::test(start_paused = true)]
    async fn thousands_that_ask_at_once_are_one_question() {
        let (stream, looks, clock) = (FakeStream::new(&[]), Looks::default(), Clock::simulated(START));
        let limit = Duration::from_secs(10);
        let ask = |_| looks.since(clock.now().instant, &clock, &*stream, limit);
        let answers = join_all((0..5_000).map(ask)).await;
        assert!(answers.iter().all(Result::is_ok));
        // Each fault is one question.
        stream.describe_faults.add(ErrorClass::Throttled, 1);
        clock.sleep(APART).await;
        let answers = join_all((0..5_000).map(ask)).await;
        assert!(answers.iter().all(Result::is_err), "all are told the one answer");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_asked_for_earlier_is_never_given() {
        let (stream, looks, clock) = (FakeStream::new(&[]), Looks::default(), Clock::simulated(START));
        let stream = Arc::clone(&stream);
        let limit = Duration::from_secs(10);
        looks.since(clock.now().instant, &clock, &*stream, limit).await.unwrap();
        clock.sleep(Duration::from_millis(10)).await;
        *stream.created.lock().unwrap() = UnixMillis(42);
        let asked = clock.now().instant;
        assert_eq!(looks.since(asked, &clock, &*stream, limit).await.unwrap().created, UnixMillis(42));
        assert_eq!(clock.now().instant.since(asked), APART - Duration::from_millis(10));
    }
}
