//! A stand-in's process: started under a guard, waited for until it answers, ended for certain.
//!
//! The guard is a shell that leads a process group of its own and reads a pipe whose other end only we hold. Words on
//! it are signals to pass on; its end, which also comes when this process is killed, kills the server. When the server
//! is gone, its sockets with it, the guard kills what is left of the group and thereby itself.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::install;
use crate::port::Port;

const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{
  while read -r signal <&3; do kill -"$signal" "$server"; done
  kill -KILL "$server"
} &
exec 3<&-
wait "$server"
echo "ended with status $?"
kill -KILL 0
"#;

/// A loaded machine with two cores that starts several at once needs a while.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const KEEP_LOGS: Duration = Duration::from_secs(24 * 3600);
const LOG_LINES_SHOWN: usize = 40;

/// How to start a stand-in, and how to see that it is there.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where it runs: some write beside themselves.
    pub(crate) dir: PathBuf,
    /// Whether the server on this port answers as it should.
    pub(crate) ready: fn(u16) -> bool,
}

/// A stand-in that can be stopped and started again on its port.
pub(crate) struct Server {
    recipe: Recipe,
    port: Port,
    log: PathBuf,
    guard: Option<Child>,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(crate) fn start(port: Port, recipe: Recipe) -> Self {
        let logs = install::run_dir("logs");
        remove_old_logs(&logs);
        let log = logs.join(format!("{}-{}.log", recipe.name, port.number()));
        // A port may come round again: this log is to tell of this server alone.
        drop(fs::remove_file(&log));
        let mut server = Self { recipe, port, log, guard: None };
        server.restart();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Ends it by SIGTERM, so that it may save what it keeps, and waits for its end.
    pub(crate) fn stop(&mut self) {
        let Some(mut guard) = self.guard.take() else {
            return;
        };
        let asked = guard.stdin.as_mut().is_some_and(|pipe| pipe.write_all(b"TERM\n").is_ok());
        let deadline = Instant::now() + STOP_LIMIT;
        while asked && Instant::now() < deadline && matches!(guard.try_wait(), Ok(None)) {
            thread::sleep(POLL);
        }
        end(guard);
    }

    /// Ends it by SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(guard) = self.guard.take() {
            end(guard);
        }
    }

    /// Starts it again on its port and waits until it answers; if it runs, it is stopped first.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.guard = Some(self.spawn());
        let started = Instant::now();
        while !(self.recipe.ready)(self.port()) {
            self.check_alive();
            let waited = started.elapsed();
            assert!(
                waited < START_LIMIT,
                "{} did not answer within {START_LIMIT:?}\n{}",
                self.recipe.name,
                self.log_tail()
            );
            thread::sleep(POLL);
        }
        // What answers must be ours.
        self.check_alive();
    }

    fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", self.log.display()));
        let for_errors = log.try_clone().unwrap_or_else(|error| panic!("cannot share the log: {error}"));
        let Recipe { name, program, arguments, environment, dir, ready: _ } = &self.recipe;
        Command::new("sh")
            .args(["-c", GUARD, "standin-guard"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(for_errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
    }

    fn check_alive(&mut self) {
        let ended = self.guard.as_mut().and_then(|guard| guard.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.guard = None;
            panic!("{} ended while it started ({status})\n{}", self.recipe.name, self.log_tail());
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        format!("the end of {}:\n{tail}", self.log.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the failing test's reader has to find the log")]
            {
                eprintln!("--- {}: {}", self.recipe.name, self.log_tail());
            }
        }
    }
}

/// Closes the guard's pipe, at which it kills the server, and waits until both are gone.
fn end(mut guard: Child) {
    drop(guard.stdin.take());
    // An error means that there is nothing left to wait for.
    drop(guard.wait());
}

fn remove_old_logs(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
        if age.is_some_and(|age| age > KEEP_LOGS) {
            // Somebody else may have removed it in the same moment.
            drop(fs::remove_file(entry.path()));
        }
    }
}
