//! The gate before the sink: shards deliver nothing until the sink has answered once that it is there.
//!
//! One task asks, with growing pauses, for as long as it takes; the gate, once open, stays open. A sink that goes down later is
//! met by retries where it is called.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use penstock_core::random::Random;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::ports::{CallTarget, ErrorClass, SeamError, SinkPort};
use crate::shard::context::{backoff, chain};
use crate::status::{Board, SinkStatus};
use crate::told::Told;

/// Whether the sink has answered. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SinkGate {
    facts: Arc<OnceLock<SinkFacts>>,
    /// Cancelled once there are facts, or nobody asks for any. A token wakes who waits in the order in which they came, so that a
    /// simulation repeats; a watch channel draws lots.
    decided: CancellationToken,
}

/// What the sink said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SinkFacts {
    /// What is known of a call sink; an object sink says nothing.
    pub(crate) target: Option<CallTarget>,
}

/// Asks the sink until it answers. Owned by the worker.
pub(crate) struct SinkProbe {
    pub(crate) sink: SinkPort,
    pub(crate) clock: Clock,
    pub(crate) time_out: Duration,
    pub(crate) board: Arc<Board>,
    pub(crate) random: Random,
    facts: Arc<OnceLock<SinkFacts>>,
    /// Opens the gate, whatever becomes of this.
    decided: DropGuard,
}

impl SinkGate {
    /// Waits until the sink has answered. Cancel-safe. `None` if nobody asks any more.
    pub(crate) async fn opened(&self) -> Option<SinkFacts> {
        self.decided.cancelled().await;
        self.facts.get().copied()
    }

    /// An open gate, for tests of what lies behind it.
    #[cfg(test)]
    pub(crate) fn open(facts: SinkFacts) -> Self {
        let decided = CancellationToken::new();
        decided.cancel();
        Self { facts: Arc::new(OnceLock::from(facts)), decided }
    }
}

impl SinkProbe {
    pub(crate) fn new(
        sink: SinkPort,
        clock: Clock,
        time_out: Duration,
        board: Arc<Board>,
        random: Random,
    ) -> (Self, SinkGate) {
        let gate = SinkGate { facts: Arc::default(), decided: CancellationToken::new() };
        let (facts, decided) = (Arc::clone(&gate.facts), gate.decided.clone().drop_guard());
        (Self { sink, clock, time_out, board, random, facts, decided }, gate)
    }

    /// Ends when the sink has answered.
    pub(crate) async fn run(mut self) {
        // Quick at first, since sinks start beside us; then once a minute: an operator is needed.
        let pauses = backoff(Duration::from_secs(1), Duration::from_secs(60));
        let mut told = Told::default();
        for attempt in 0_u32.. {
            match self.ask().await {
                Ok(facts) => {
                    tracing::info!("the sink answers");
                    self.board.sink_is(SinkStatus::Ready);
                    // Set once: this ends here, and with it the wait of all others.
                    let _first = self.facts.set(facts);
                    return drop(self.decided);
                }
                Err(error) => {
                    self.board.failed(&error, None);
                    let pause = pauses.ceiling(attempt) / 2 + pauses.delay(attempt, &mut self.random) / 2;
                    if told.is_news(&error, self.clock.now().instant) {
                        tracing::error!(error = %chain(&error), again = ?pause, "the sink is not there, nothing is delivered");
                    }
                    self.board.sink_is(SinkStatus::Down(error.to_string()));
                    self.clock.sleep(pause).await;
                }
            }
        }
    }

    async fn ask(&self) -> Result<SinkFacts, SeamError> {
        let asked = async {
            match &self.sink {
                SinkPort::Objects(sink) => {
                    let destination = sink.destination();
                    if sink.probe(&destination).await? {
                        return Ok(SinkFacts { target: None });
                    }
                    Err(SeamError::new(
                        "probe",
                        destination.to_string(),
                        ErrorClass::NotFound,
                        "it does not exist; create it or correct the configuration",
                    ))
                }
                SinkPort::Calls(sink) => Ok(SinkFacts { target: Some(sink.probe().await?) }),
            }
        };
        match tokio::time::timeout(self.time_out, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(SeamError::timed_out("probe", "the sink", self.time_out)),
        }
    }
}
