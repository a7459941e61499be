//! Progress of long work, on stderr alone: a bar on a terminal, plain lines now and then otherwise. Results belong on stdout and
//! never come this way.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The time between two plain lines about the same work.
const PACE: Duration = Duration::from_secs(2);
/// The time between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// What shows how far some work is.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    /// With the seconds since the beginning before each line.
    timed: bool,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    /// Somebody watches: the bar is redrawn in place.
    Bar(ProgressBar),
    /// A file, a pipe or a journal: a line when a step begins, and one every two seconds.
    Lines { what: String, length: u64, said: Instant },
}

impl Progress {
    /// Shows work on stderr.
    pub(crate) fn new() -> Self {
        Self::on(std::io::stderr().is_terminal(), false)
    }

    /// Shows work on stderr, each line with the seconds since now. `plain` if somebody else writes to stderr too.
    pub(crate) fn timed(plain: bool) -> Self {
        Self::on(std::io::stderr().is_terminal() && !plain, true)
    }

    /// Shows on a terminal that something is waited for; to nobody else, who would not know how long either.
    pub(crate) fn waiting(what: &'static str) -> Self {
        let progress = Self::new();
        if let Shown::Bar(bar) = &progress.shown {
            bar.set_style(ProgressStyle::default_spinner());
            bar.set_message(what);
            bar.enable_steady_tick(TICK);
        }
        progress
    }

    fn on(terminal: bool, timed: bool) -> Self {
        let began = Instant::now();
        let shown = match terminal {
            true => Shown::Bar(ProgressBar::new(0)),
            false => Shown::Lines { what: String::new(), length: 0, said: began },
        };
        Self { began, timed, shown }
    }

    /// Says something that happened.
    pub(crate) fn say(&self, line: fmt::Arguments<'_>) {
        let line = match self.timed {
            true => format!("{:5.1} s  {line}", self.began.elapsed().as_secs_f64()),
            false => line.to_string(),
        };
        match &self.shown {
            // Before its first step there is no bar to write above, and after its last none is wanted.
            Shown::Bar(bar) if bar.length() != Some(0) && !bar.is_finished() => bar.println(line),
            Shown::Bar(_) | Shown::Lines { .. } => write_line(&line),
        }
    }

    /// Begins a step of this length; `what` follows upon "n of m".
    pub(crate) fn begin(&mut self, length: u64, new_what: &str) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_style(style());
                bar.set_length(length);
                bar.set_position(0);
                bar.set_message(new_what.to_owned());
                bar.enable_steady_tick(TICK);
            }
            Shown::Lines { what, length: known, said } => {
                new_what.clone_into(what);
                *known = length;
                *said = Instant::now();
            }
        }
    }

    /// Says how far the step is.
    pub(crate) fn reach(&mut self, done: u64) {
        let line = match &mut self.shown {
            Shown::Bar(bar) => return bar.set_position(done),
            Shown::Lines { what, length, said } if said.elapsed() >= PACE => {
                *said = Instant::now();
                format!("{done} of {length} {what}")
            }
            Shown::Lines { .. } => return,
        };
        self.say(format_args!("{line}"));
    }

    /// Takes the bar away: what follows is the result.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    /// Also where the work failed: the error stands on a line of its own.
    fn drop(&mut self) {
        self.finish();
    }
}

fn style() -> ProgressStyle {
    // The template is a constant, which a test has tried.
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const TEMPLATE: &str = "{spinner} [{bar:30}] {pos} of {len} {msg}";

fn write_line(line: &str) {
    // Whoever closed stderr does not want to know.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn plain_lines_keep_their_pace_and_tell_the_last_step() {
        let mut progress = Progress::on(false, false);
        progress.begin(10, "records told");
        let before = Instant::now();
        progress.reach(3);
        let Shown::Lines { what, length, said } = &mut progress.shown else { panic!("a bar without a terminal") };
        assert_eq!((what.as_str(), *length), ("records told", 10));
        assert!(*said < before, "a line was said before its time");
        *said = before.checked_sub(PACE).unwrap();
        progress.reach(4);
        let Shown::Lines { said, .. } = &progress.shown else { panic!("a bar without a terminal") };
        assert!(*said >= before, "no line was said");
    }
}
