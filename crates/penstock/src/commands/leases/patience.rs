//! What every tool shares with its operator's patience: a store that does not answer must not hang it, and a tool that fails
//! half-way says how far it came.

use std::fmt::Display;
use std::time::Duration;

use anyhow::anyhow;
use penstock_core::lease::{LeaseRow, Scan};
use penstock_engine::ports::{LeaseTable, SeamError};

/// How long a tool waits for one answer of the store.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the store answers to one call, as long as it answers.
pub(super) async fn answered<T, E: From<SeamError>>(
    operation: &'static str,
    subject: impl Display,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    within(PATIENCE, operation, subject, call).await
}

async fn within<T, E: From<SeamError>>(
    patience: Duration,
    operation: &'static str,
    subject: impl Display,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(SeamError::timed_out(operation, subject.to_string(), patience).into()),
    }
}

/// All rows.
pub(super) async fn scan(table: &dyn LeaseTable) -> Result<Scan, SeamError> {
    answered("scan", "the lease table", table.scan()).await
}

/// Of several leases one failed: says which ones were done before it.
pub(super) fn after(done: &[&LeaseRow], error: anyhow::Error) -> anyhow::Error {
    if done.is_empty() {
        return error;
    }
    let keys: Vec<&str> = done.iter().map(|row| row.key.as_str()).collect();
    anyhow!("{error:#}; done before that: {}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use penstock_core::ids::{LeaseCounter, LeaseKey};
    use penstock_core::position::Position;

    use super::*;

    #[tokio::test]
    async fn a_store_that_never_answers_is_given_up() {
        let never = std::future::pending::<Result<(), SeamError>>();
        let error = within(Duration::from_millis(5), "scan", "the lease table", never).await.unwrap_err();
        assert_eq!(error.to_string(), "scan on the lease table failed: no answer within 5ms");
        let answer: Result<u8, SeamError> = answered("scan", "it", async { Ok(7) }).await;
        assert_eq!(answer.unwrap(), 7);
    }

    #[test]
    fn what_was_done_before_a_failure_is_said() {
        let row = LeaseRow::new(LeaseKey::new("shardId-000000000000"), LeaseCounter(1), Position::TrimHorizon);
        assert_eq!(after(&[], anyhow!("it changed")).to_string(), "it changed");
        let said = after(&[&row], anyhow!("it changed")).to_string();
        assert_eq!(said, "it changed; done before that: shardId-000000000000");
    }
}
