//! The world that all workers of a run share: stream, store, calls, the ledger of invariants, and the trace of all that happened.
//!
//! Every effect goes through [`World::with`], one at a time, and is checked there and then. The first broken invariant ends the run.

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use penstock_core::time::UnixMillis;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calls::CallStore;
use crate::ledger::Ledger;
use crate::network::{Outage, Seam};
use crate::objects::ObjectStore;
use crate::stream::Streams;

/// The wall clock when a world begins.
pub const EPOCH: UnixMillis = UnixMillis(1_700_000_000_000);

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.seen)
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct World {
    origin: Instant,
    state: Mutex<State>,
    broken: CancellationToken,
}

/// The state of a world at one moment.
#[derive(Debug)]
pub struct State {
    /// Since the world began.
    pub now: Duration,
    /// What happened so far.
    pub trace: Trace,
    /// The streams.
    pub streams: Streams,
    /// The object store.
    pub store: ObjectStore,
    /// What the call sink took.
    pub calls: CallStore,
    /// What must hold.
    pub ledger: Ledger,
    /// What no worker is served by, how, and until when.
    pub outages: Vec<(Seam, Outage, Duration)>,
    /// The first invariant that did not.
    pub violation: Option<Violation>,
}

impl World {
    /// A world that begins now, on tokio's paused time.
    #[must_use]
    pub fn new(streams: Streams, ledger: Ledger) -> Self {
        let state = State {
            now: Duration::ZERO,
            trace: Trace::default(),
            streams,
            store: ObjectStore::default(),
            calls: CallStore::default(),
            ledger,
            outages: Vec::new(),
            violation: None,
        };
        Self { origin: Instant::now(), state: Mutex::new(state), broken: CancellationToken::new() }
    }

    /// Looks at the state or changes it, at one moment.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = self.origin.elapsed();
        let value = change(&mut state);
        if state.violation.is_some() {
            self.broken.cancel();
        }
        value
    }

    /// Writes a line of the trace.
    pub fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        self.with(|state| state.note(who, what));
    }

    /// How a seam fails for everybody now, if it does.
    pub fn outage(&self, seam: Seam) -> Option<Outage> {
        self.with(|state| {
            let now = state.now;
            state.outages.iter().find(|(at, _, until)| *at == seam && now < *until).map(|(_, how, _)| *how)
        })
    }

    /// Resolves once an invariant is broken.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }
}

impl State {
    /// Writes a line of the trace.
    pub fn note(&mut self, who: &str, what: fmt::Arguments<'_>) {
        self.trace.line(self.now, who, what);
    }

    /// Notes that an invariant does not hold. The first one counts.
    pub fn broke(&mut self, invariant: &'static str, seen: String) {
        let now = self.now;
        self.trace.line(now, "!", format_args!("{invariant}: {seen}"));
        self.violation.get_or_insert(Violation { invariant, seen });
    }

    /// Notes what a check found.
    pub fn check(&mut self, found: Result<(), Violation>) {
        if let Err(Violation { invariant, seen }) = found {
            self.broke(invariant, seen);
        }
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        UnixMillis(EPOCH.0 + i64::try_from(self.now.as_millis()).expect("a run lasts minutes"))
    }
}

/// What happened, a line each: time, who, what.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Trace(String);

impl Trace {
    fn line(&mut self, now: Duration, who: &str, what: fmt::Arguments<'_>) {
        let written = writeln!(self.0, "{:>9.3} {who:<4} {what}", now.as_secs_f64());
        written.expect("a string takes everything");
    }

    /// All lines.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let lines: Vec<&str> = self.0.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}
