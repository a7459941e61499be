//! A consumer on the real Java KCL as a process, and the journal that it leaves. Its source is in penstock-aws's tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use penstock_standins::{REGION, SECRET_ACCESS_KEY, standin_dir};

use crate::support::wait_for;

/// A graceful stop of the KCL gives itself up to 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const LOG_LINES_SHOWN: usize = 60;
const LOG_LINE_SHOWN: usize = 300;

/// Which KCL a consumer runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kcl {
    /// 2.7, with the 2.x protocol.
    Two,
    /// 3.5, whose leader assigns leases.
    Three,
    /// 3.5 on its way from the 2.x protocol, which it still speaks.
    ThreeCompatible,
}

/// What a consumer is told.
pub(crate) struct Orders<'a> {
    pub(crate) kcl: Kcl,
    pub(crate) account: &'a str,
    pub(crate) kinesis: String,
    pub(crate) dynamodb: String,
    /// Several, apart by commas, are a multi-stream application.
    pub(crate) stream: &'a str,
    pub(crate) application: &'a str,
    pub(crate) failover: Duration,
    /// Whether it goes no further in a shard than the middle of the first aggregate that has one.
    pub(crate) halts: bool,
}

/// A running consumer. Dropped, it is killed.
pub(crate) struct Java {
    name: String,
    child: Child,
    log: PathBuf,
    journal: PathBuf,
}

impl Java {
    /// Starts one whose worker identifier is `name`; its files are in `dir`.
    pub(crate) fn start(orders: &Orders<'_>, name: &str, dir: &Path) -> Self {
        let classes = standin_dir(match orders.kcl {
            Kcl::Two => "kcl-2",
            Kcl::Three | Kcl::ThreeCompatible => "kcl-3",
        });
        let (log, journal) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.journal")));
        File::create(&journal).expect("a file in the temporary directory");
        let output = File::create(&log).expect("a file in the temporary directory");
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Daws.cborEnabled=false"])
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-cp")
            .arg(format!("{0}:{0}/*", classes.display()))
            .arg("Consumer")
            .arg(format!("stream={}", orders.stream))
            .arg(format!("application={}", orders.application))
            .arg(format!("worker={name}"))
            .arg(format!("kinesis={}", orders.kinesis))
            .arg(format!("dynamodb={}", orders.dynamodb))
            .arg(format!("region={REGION}"))
            .arg(format!("failover_ms={}", orders.failover.as_millis()))
            .arg(format!("journal={}", journal.display()))
            .args(orders.halts.then_some("halt=aggregate"))
            .args(match orders.kcl {
                Kcl::Two | Kcl::Three => None,
                Kcl::ThreeCompatible => Some("client_version=CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X"),
            });
        let child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir)
            .env("AWS_ACCESS_KEY_ID", orders.account)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // Held open while we live: its end ends the consumer.
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .expect("java starts");
        Self { name: name.to_owned(), child, log, journal }
    }

    /// What it did so far.
    pub(crate) fn journal(&self) -> Journal {
        Journal::read(&self.journal)
    }

    /// Where its journal is.
    pub(crate) fn journal_file(&self) -> PathBuf {
        self.journal.clone()
    }

    /// Fails if it has ended.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "{} ended with {ended:?}", self.name);
    }

    /// SIGTERM; fails unless it shuts all its consumers down.
    #[track_caller]
    pub(crate) fn stop_cleanly(&mut self) {
        self.assert_running();
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(status.expect("kill starts").success(), "{} could not be sent TERM", self.name);
        let code = wait_for(&format!("the end of {}", self.name), STOP_LIMIT, || {
            self.child.try_wait().expect("a child can be waited for").map(|status| status.code())
        });
        assert_eq!(code, Some(0), "{} did not stop cleanly", self.name);
        assert!(self.journal().has("stop", None), "{} ended without a word", self.name);
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // The KCL logs whole leases.
        let lines: Vec<String> = log.lines().map(|line| line.chars().take(LOG_LINE_SHOWN).collect()).collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            show(&self.name, &self.log_tail());
        }
    }
}

#[expect(clippy::print_stderr, reason = "the failing test's reader has to see the log")]
fn show(name: &str, log: &str) {
    eprintln!("--- the end of the log of {name}:\n{log}");
}

/// One line of a journal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) event: String,
    pub(crate) shard: String,
    /// Sequence number and subsequence number, as the lease table has them.
    pub(crate) position: (String, String),
    pub(crate) data: String,
}

/// What a consumer did, in its order.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
}

impl Journal {
    /// Reads what is there by now, but for a line that is still being written.
    pub(crate) fn read(file: &Path) -> Self {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let entry = |line: &str| {
            let mut parts = line.split('\t').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            Entry { event: next(), shard: next(), position: (next(), next()), data: next() }
        };
        Self { entries: whole.lines().map(entry).collect() }
    }

    /// Whether there was such an event, of that shard.
    pub(crate) fn has(&self, event: &str, shard: Option<&str>) -> bool {
        self.of(event).any(|entry| shard.is_none_or(|shard| entry.shard == shard))
    }

    /// All events of a kind.
    pub(crate) fn of(&self, event: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.event == event)
    }

    /// The first position of a shard at which a tenure began.
    pub(crate) fn started_at(&self, shard: &str) -> Option<(String, String)> {
        self.of("start").find(|entry| entry.shard == shard).map(|entry| entry.position.clone())
    }

    /// The shard of each tenure, in the order in which they began.
    pub(crate) fn shards_started(&self) -> Vec<String> {
        self.of("start").map(|entry| entry.shard.clone()).collect()
    }

    /// Where it halted, by shard.
    pub(crate) fn halts(&self) -> BTreeMap<String, (String, String)> {
        self.of("halt").map(|entry| (entry.shard.clone(), entry.position.clone())).collect()
    }

    /// The records that a checkpoint of this consumer covers. What is processed and not covered is not promised to be processed
    /// once: the KCL leaves it to whoever has the lease next.
    pub(crate) fn settled(&self) -> Vec<&Entry> {
        let mut open: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        let mut settled = Vec::new();
        for entry in &self.entries {
            let of_shard = open.entry(&entry.shard).or_default();
            match entry.event.as_str() {
                "record" => of_shard.push(entry),
                "checkpoint" => settled.append(of_shard),
                // A tenure that begins or ends leaves behind what it did not settle.
                _ => of_shard.clear(),
            }
        }
        settled
    }
}
