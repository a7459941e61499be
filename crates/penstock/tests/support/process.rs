//! The real program as processes: started, told things by signals, ended; its log shown when a test fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Job, Page, SOON, get, wait_for};

const PENSTOCK: &str = env!("CARGO_BIN_EXE_penstock");
const LOG_LINES_SHOWN: usize = 60;
/// How long a command that does one thing may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

/// The program with an environment of the test's own: nothing of the machine's AWS settings reaches it.
pub(crate) fn penstock(home: &Path) -> Command {
    let mut command = Command::new(PENSTOCK);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("RUST_BACKTRACE", "1")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command of the program to its end.
pub(crate) fn run(job: &Job, arguments: &[&str]) -> Output {
    let mut command = penstock(job.dir());
    command.envs(job.environment()).args(arguments);
    finish(command, &arguments.join(" "))
}

/// Waits for the end of a command that should end by itself, and gives what it said.
pub(crate) fn finish(mut command: Command, what: &str) -> Output {
    let dir = TempDir::with_prefix("penstock-command-").expect("a temporary directory");
    let (out, err) = (dir.path().join("stdout"), dir.path().join("stderr"));
    let open = |path: &Path| File::create(path).expect("a file in the temporary directory");
    let mut child = command.stdout(open(&out)).stderr(open(&err)).spawn().expect("penstock starts");
    let code = wait_for_end(&mut child, COMMAND_LIMIT);
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("what it said")).into_owned();
    let (stdout, stderr) = (read(&out), read(&err));
    let Some(code) = code else {
        drop(child.kill());
        drop(child.wait());
        panic!("penstock {what} did not end within {COMMAND_LIMIT:?}; it said:\n{stdout}\n{stderr}");
    };
    Output { code, stdout, stderr }
}

/// The exit code, 128 and more for a signal; `None` if it does not end in time.
fn wait_for_end(child: &mut Child, limit: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;

    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if started.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A running `penstock run`. Dropped, it is killed.
pub(crate) struct Worker {
    label: String,
    child: Child,
    log: PathBuf,
    admin: OnceLock<String>,
}

impl Worker {
    /// Starts a worker of a job under a label of its own.
    pub(crate) fn start(job: &Job, label: &str) -> Self {
        Self::start_with(job, label, &[])
    }

    /// As [`Worker::start`], with further settings as `key=value`.
    pub(crate) fn start_with(job: &Job, label: &str, settings: &[&str]) -> Self {
        let log = job.log_of(label);
        let stderr = File::create(&log).expect("a file in the temporary directory");
        let mut command = penstock(job.dir());
        command.envs(job.environment()).arg("run").arg("-c").arg(job.file());
        for setting in [format!("application.worker_id={label}").as_str()].iter().chain(settings) {
            command.arg("--set").arg(setting);
        }
        let stdout = File::create(job.output_of(label)).expect("a file in the temporary directory");
        let child = command.stdout(stdout).stderr(stderr).spawn().expect("penstock starts");
        Self { label: label.to_owned(), child, log, admin: OnceLock::new() }
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill_9(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill starts").success(), "{} could not be sent {name}", self.label);
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn drain(&mut self) -> i32 {
        self.signal("TERM");
        self.exit_code(SOON)
    }

    /// SIGTERM; fails unless it drains to exit code 0.
    #[track_caller]
    pub(crate) fn drain_cleanly(&mut self) {
        let code = self.drain();
        assert_eq!(code, 0, "{} did not drain; its log:\n{}", self.label, self.log_tail());
    }

    /// The exit code, once it ends; for a signal 128 and more.
    #[track_caller]
    pub(crate) fn exit_code(&mut self, limit: Duration) -> i32 {
        match wait_for_end(&mut self.child, limit) {
            Some(code) => code,
            None => panic!("{} does not end within {limit:?}; its log:\n{}", self.label, self.log_tail()),
        }
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Fails if it has ended.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("{} ended with {status}; its log:\n{}", self.label, self.log_tail());
        }
    }

    /// The admin server's `127.0.0.1:<port>`, from the line that tells it.
    #[track_caller]
    pub(crate) fn admin(&mut self) -> String {
        if let Some(address) = self.admin.get() {
            return address.clone();
        }
        let address = wait_for("the admin server's address", SOON, || {
            self.assert_running();
            let log = self.log();
            let line = log.lines().find(|line| line.contains("admin server"))?;
            let address = line.split("address=").nth(1)?.split_whitespace().next()?.to_owned();
            Some(address.trim_matches('"').to_owned())
        });
        self.admin.get_or_init(|| address).clone()
    }

    /// A page of the admin server, with its status.
    #[track_caller]
    pub(crate) fn page(&mut self, path: &str) -> (u16, String) {
        let address = self.admin();
        get(&address, path).unwrap_or_else(|error| panic!("{} does not serve {path}: {error}", self.label))
    }

    /// `/api/status`, once there is a worker.
    #[track_caller]
    pub(crate) fn status(&mut self) -> serde_json::Value {
        let body = wait_for("the worker's status", SOON, || {
            let (status, body) = self.page("/api/status");
            (status == 200).then_some(body)
        });
        serde_json::from_str(&body).expect("/api/status is JSON")
    }

    /// `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&mut self) -> Page {
        let (status, body) = self.page("/metrics");
        assert_eq!(status, 200, "{body}");
        Page::parse(&body)
    }

    /// Waits until the log has a line with all these words.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, words: &[&str]) -> String {
        wait_for(&format!("a line of {} with {words:?}", self.label), SOON, || {
            let log = self.log();
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)))?;
            Some(line.to_owned())
        })
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            show(&self.label, &self.log_tail());
        }
    }
}

/// A running `penstock local`. Dropped, it is killed.
pub(crate) struct Local {
    child: Child,
    dir: TempDir,
    endpoint: String,
}

impl Local {
    /// Starts it on a free port with these flags, its delivery streams writing into a directory of its own.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let dir = TempDir::with_prefix("penstock-local-").expect("a temporary directory");
        let open = |name: &str| File::create(dir.path().join(name)).expect("a file in the temporary directory");
        let mut command = penstock(dir.path());
        command.args(["local", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path().join("firehose")).args(flags);
        let child = command.stdout(open("stdout")).stderr(open("stderr")).spawn().expect("penstock starts");
        let mut local = Self { child, dir, endpoint: String::new() };
        local.endpoint = wait_for("penstock local's address", SOON, || {
            let ended = local.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "penstock local ended: {}", local.said("stderr"));
            let said = local.said("stdout");
            let url = &said[said.find("http://127.0.0.1:")?..];
            let end = url.find('\n')?;
            Some(url[..end].trim().to_owned())
        });
        local
    }

    /// Its address: `http://127.0.0.1:<port>`.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The directory of a bucket that its delivery streams write to.
    pub(crate) fn bucket(&self, name: &str) -> PathBuf {
        self.dir.path().join("firehose").join(name)
    }

    /// SIGTERM: what the delivery streams buffer is written. Gives the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(status.expect("kill starts").success());
        wait_for_end(&mut self.child, SOON).unwrap_or_else(|| panic!("penstock local does not end"))
    }

    fn said(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            show("penstock local", &self.said("stderr"));
        }
    }
}

#[expect(clippy::print_stderr, reason = "the failing test's reader has to see the log")]
fn show(label: &str, log: &str) {
    eprintln!("--- the end of the log of {label}:\n{log}");
}
