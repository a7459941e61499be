//! The real program under a service manager that is the test: what it sends to `$NOTIFY_SOCKET`, and how it logs to a journal.

mod support;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Account, Job, Local, SOON, Services, Stream, wait_for};

/// Short, so that a test sees several of its intervals.
const WATCHDOG: Duration = Duration::from_secs(2);

/// `penstock run` as a service; the test is its manager.
struct Service {
    child: Child,
    socket: UnixDatagram,
    log: std::path::PathBuf,
}

impl Service {
    fn start(job: &Job) -> Self {
        let path = job.dir().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket in the temporary directory");
        let log = job.log_of("service");
        let stderr = File::create(&log).expect("a file in the temporary directory");
        let of_the_log = stderr.metadata().expect("an open file has metadata");
        let child = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .env_clear()
            .envs(job.environment())
            .env("HOME", job.dir())
            .env("TMPDIR", job.dir())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env("JOURNAL_STREAM", format!("{}:{}", of_the_log.dev(), of_the_log.ino()))
            .arg("run")
            .arg("-c")
            .arg(job.file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .current_dir(job.dir())
            .spawn()
            .expect("penstock starts");
        Self { child, socket, log }
    }

    /// The lines of the next message, if one comes in time.
    fn message_within(&self, limit: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("a limit above zero");
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8(buffer[..length].to_vec()).expect("messages are UTF-8");
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Reads messages until a line comes, and gives all lines up to it.
    #[track_caller]
    fn wait_for(&self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        wait_for(&format!("{wanted} (so far {lines:?})"), SOON, || {
            lines.extend(self.message_within(Duration::from_secs(1))?);
            lines.iter().any(|line| line == wanted).then_some(())
        });
        lines
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill starts").success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the end of the service", SOON, || self.child.try_wait().expect("a child can be waited for")).code()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is text")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn job(account: &Account, services: &Services, sink: &str) -> Job {
    let sections = format!("[leases]\nstore = \"sqlite\"\nfailover_time = \"3s\"\n[sink]\n{sink}");
    Job::new(account, services, "clicks-to-files", "clicks", &sections)
}

#[test]
fn the_manager_hears_of_start_progress_and_end() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let _stream = Stream::create(&local.endpoint(), &account, "clicks", 2);
    let services = Services { kinesis: local.endpoint(), ..Services::default() };
    let job = job(&account, &services, "type = \"directory\"\npath = \"out\"\n");
    let mut service = Service::start(&job);
    let start = service.wait_for("READY=1");
    assert_eq!(start.first().map(String::as_str), Some("STATUS=starting"), "{start:?}");

    // Fed several times in each interval; never by a process that stands still, whatever its threads.
    let begun = Instant::now();
    for _ in 0..6 {
        service.wait_for("WATCHDOG=1");
    }
    assert!(begun.elapsed() < WATCHDOG * 5, "six feeds took {:?}", begun.elapsed());
    service.signal("STOP");
    while service.message_within(Duration::from_millis(200)).is_some() {}
    assert_eq!(service.message_within(WATCHDOG), None);
    service.signal("CONT");
    service.wait_for("WATCHDOG=1");

    service.signal("TERM");
    let end = service.wait_for("STOPPING=1");
    assert!(!end.iter().any(|line| line == "READY=1"), "{end:?}");
    assert_eq!(service.exit_code(), Some(0), "{}", service.log());

    // As the journal wants it: a priority, no time, no colours.
    let log = service.log();
    for line in log.lines() {
        assert!(line.starts_with("<6> INFO ") || line.starts_with("<4> WARN "), "{line:?} in\n{log}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn a_sink_that_is_down_does_not_hold_up_the_start() {
    let (account, local) = (Account::new(), Local::start(&[]));
    let _stream = Stream::create(&local.endpoint(), &account, "clicks", 1);
    // Nobody listens on the discard port.
    let services = Services { kinesis: local.endpoint(), s3: "http://127.0.0.1:9".to_owned(), ..Services::default() };
    let job = job(&account, &services, "type = \"s3\"\nbucket = \"lake\"\n");
    let mut service = Service::start(&job);
    service.wait_for("READY=1");
    let told = wait_for("a line that names the sink", SOON, || {
        let lines = service.message_within(Duration::from_secs(1))?;
        lines.into_iter().find(|line| line.starts_with("STATUS=") && line.contains("the sink is down"))
    });
    assert!(told.contains("lake"), "{told}");
    service.signal("TERM");
    assert_eq!(service.exit_code(), Some(0), "{}", service.log());
}
