//! What systemd is told: that the worker is up, that its lease keeper moves, what it is about, and that it ends. Reads the worker's
//! status and changes nothing; without systemd (no `$NOTIFY_SOCKET`) there is nobody to tell.
//!
//! The watchdog is fed by progress, not by time: a keeper that stands still is not covered up by a timer that ticks.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use penstock_engine::status::{SinkStatus, Status, StatusHandle};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Between two looks at the worker, while it starts and after.
const STARTING_LOOK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);
/// Between two lines for `systemctl status`: each is a snapshot of all leases.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// The watchdog is fed this many times in its interval, if there is progress: one late look must not end a process.
const FEEDS_PER_INTERVAL: u32 = 4;

/// Whether somebody listens.
pub(crate) fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells until it is dropped. `worker` is set once there is one.
pub(crate) async fn tell(worker: Arc<OnceLock<StatusHandle>>, shutdown: CancellationToken) {
    let mut teller = Teller::new(Instant::now(), sd_notify::watchdog_enabled());
    let mut deaf = false;
    loop {
        let ending = shutdown.is_cancelled();
        let messages =
            teller.look(Instant::now(), &Seen { worker: worker.get().map(|status| status as &dyn Worker), ending });
        if !messages.is_empty() {
            // The socket's queue can be full: that is for this task to wait for, not for a thread that others need.
            let sent = tokio::task::spawn_blocking(move || send(&messages)).await;
            if let (Ok(Err(error)), false) = (sent, deaf) {
                deaf = true;
                warn!(%error, "systemd cannot be told how the worker is; is $NOTIFY_SOCKET its own?");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(teller.pause()) => {}
            () = shutdown.cancelled(), if !ending => {}
        }
    }
}

fn send(messages: &[Message]) -> std::io::Result<()> {
    let states: Vec<NotifyState<'_>> = messages
        .iter()
        .map(|message| match message {
            Message::Ready => NotifyState::Ready,
            Message::Stopping => NotifyState::Stopping,
            Message::Watchdog => NotifyState::Watchdog,
            Message::Status(line) => NotifyState::Status(line),
        })
        .collect();
    sd_notify::notify(&states)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Ready,
    Stopping,
    Watchdog,
    Status(String),
}

// === What is looked at ===

/// A worker, from outside.
trait Worker {
    /// Whether its lease keeper moved within this time.
    fn moved_within(&self, limit: Duration) -> bool;
    /// Whether the lease table was scanned. What is missing of the sink does not matter here: it is waited for, with the leases held.
    fn is_up(&self) -> bool;
    /// Whether it ends by itself.
    fn is_ending(&self) -> bool;
    /// One line for people.
    fn line(&self, ending: bool) -> String;
}

impl Worker for StatusHandle {
    fn moved_within(&self, limit: Duration) -> bool {
        self.is_live(limit)
    }

    fn is_up(&self) -> bool {
        self.snapshot().started
    }

    fn is_ending(&self) -> bool {
        self.snapshot().draining
    }

    fn line(&self, ending: bool) -> String {
        line(&self.snapshot(), ending)
    }
}

struct Seen<'a> {
    worker: Option<&'a dyn Worker>,
    ending: bool,
}

fn line(status: &Status, ending: bool) -> String {
    let held = status.leases.iter().filter(|lease| lease.held).count();
    if ending || status.draining {
        return format!("ending: {} records in flight, {held} leases held", status.totals.in_flight);
    }
    if !status.started {
        return "waiting for the first scan of the lease table".to_owned();
    }
    let lag = status.lag.as_secs_f64();
    let mut line = format!("{held} of {} leases, {lag:.1} s behind", status.leases.len());
    if let SinkStatus::Down(problem) = &status.sink {
        line.push_str(&format!("; the sink is down: {problem}"));
    }
    let problems = [&status.lease_problem, &status.gap_problem];
    for problem in problems.into_iter().flatten() {
        line.push_str(&format!("; {problem}"));
    }
    if status.open_gaps > 0 {
        line.push_str(&format!("; {} open gaps: see penstock leases list", status.open_gaps));
    }
    // A line break would end the message.
    line.replace('\n', " ")
}

// === What is told, and when ===

struct Teller {
    ready: bool,
    stopping: bool,
    watchdog: Option<Watchdog>,
    line: Option<(Instant, String)>,
}

impl Teller {
    fn new(now: Instant, watchdog: Option<Duration>) -> Self {
        let watchdog = watchdog.map(|interval| Watchdog { every: interval / FEEDS_PER_INTERVAL, fed: now });
        Self { ready: false, stopping: false, watchdog, line: None }
    }

    /// Until the next look.
    fn pause(&self) -> Duration {
        let pause = if self.ready { LOOK } else { STARTING_LOOK };
        self.watchdog.as_ref().map_or(pause, |watchdog| pause.min(watchdog.every / 2))
    }

    fn look(&mut self, now: Instant, seen: &Seen<'_>) -> Vec<Message> {
        let mut messages = Vec::new();
        if !self.ready && seen.worker.is_some_and(Worker::is_up) {
            self.ready = true;
            messages.push(Message::Ready);
        }
        let said = self.line.as_ref().map(|(at, _)| now.duration_since(*at));
        let due = said.is_none_or(|ago| ago >= STATUS_INTERVAL);
        let ending = seen.ending || (due && seen.worker.is_some_and(Worker::is_ending));
        if ending && !self.stopping {
            self.stopping = true;
            messages.push(Message::Stopping);
        }
        if due || !messages.is_empty() {
            let line = seen.worker.map_or_else(|| "starting".to_owned(), |worker| worker.line(self.stopping));
            if self.line.as_ref().is_none_or(|(_, said)| *said != line) {
                messages.push(Message::Status(line.clone()));
            }
            self.line = Some((now, line));
        }
        if let (Some(watchdog), Some(worker)) = (&mut self.watchdog, seen.worker)
            && watchdog.feed(now, |limit| worker.moved_within(limit))
        {
            messages.push(Message::Watchdog);
        }
        messages
    }
}

struct Watchdog {
    every: Duration,
    fed: Instant,
}

impl Watchdog {
    /// Whether it is time, and the keeper has moved since the last time.
    fn feed(&mut self, now: Instant, moved_within: impl Fn(Duration) -> bool) -> bool {
        let ago = now.duration_since(self.fed);
        let due = ago >= self.every && moved_within(ago);
        if due {
            self.fed = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A worker whose keeper last moved at a moment of the test's own clock.
    struct Puppet {
        now: Cell<Instant>,
        moved: Cell<Instant>,
        up: Cell<bool>,
    }

    impl Puppet {
        fn new(now: Instant) -> Self {
            Self { now: Cell::new(now), moved: Cell::new(now), up: Cell::new(true) }
        }
    }

    impl Worker for Puppet {
        fn moved_within(&self, limit: Duration) -> bool {
            self.now.get().duration_since(self.moved.get()) <= limit
        }
        fn is_up(&self) -> bool {
            self.up.get()
        }
        fn is_ending(&self) -> bool {
            false
        }
        fn line(&self, ending: bool) -> String {
            if ending { "ending" } else { "working" }.to_owned()
        }
    }

    fn seen(puppet: &Puppet) -> Seen<'_> {
        Seen { worker: Some(puppet), ending: false }
    }

    #[test]
    fn a_keeper_that_stands_still_starves_the_watchdog() {
        let begin = Instant::now();
        let puppet = Puppet::new(begin);
        let mut teller = Teller::new(begin, Some(Duration::from_secs(30)));
        let mut fed = Vec::new();
        for second in 1..=120 {
            let now = begin + Duration::from_secs(second);
            puppet.now.set(now);
            // It moves each second for half a minute, and then for one minute not at all.
            if !(31..91).contains(&second) {
                puppet.moved.set(now);
            }
            if teller.look(now, &seen(&puppet)).contains(&Message::Watchdog) {
                fed.push(second);
            }
        }
        // Its last steps are seen once more, then there is nothing until it moves again; systemd would have ended it after 30 s.
        assert_eq!(fed, [8, 16, 24, 32, 91, 99, 107, 115]);
    }

    #[test]
    fn it_is_ready_once_and_only_when_the_lease_table_was_scanned() {
        let now = Instant::now();
        let puppet = Puppet::new(now);
        puppet.up.set(false);
        let mut teller = Teller::new(now, None);
        let nobody = Seen { worker: None, ending: false };
        assert_eq!(teller.look(now, &nobody), [Message::Status("starting".to_owned())]);
        assert_eq!(teller.look(now, &seen(&puppet)), []);
        puppet.up.set(true);
        assert_eq!(teller.look(now, &seen(&puppet)), [Message::Ready, Message::Status("working".to_owned())]);
        assert_eq!(teller.look(now, &seen(&puppet)), []);
    }

    #[test]
    fn a_signal_is_told_at_once_and_once_even_before_there_is_a_worker() {
        let now = Instant::now();
        let puppet = Puppet::new(now);
        let mut teller = Teller::new(now, None);
        let starting = Seen { worker: None, ending: true };
        assert_eq!(teller.look(now, &starting), [Message::Stopping, Message::Status("starting".to_owned())]);
        let ending = Seen { worker: Some(&puppet), ending: true };
        assert_eq!(teller.look(now, &ending), [Message::Ready, Message::Status("ending".to_owned())]);
        assert_eq!(teller.look(now, &ending), []);
    }

    #[test]
    fn a_watchdog_of_two_seconds_is_looked_after_often_enough() {
        let teller = Teller::new(Instant::now(), Some(Duration::from_secs(2)));
        assert_eq!(teller.pause(), STARTING_LOOK);
        let ready = Teller { ready: true, ..teller };
        assert_eq!(ready.pause(), Duration::from_millis(250));
    }
}
