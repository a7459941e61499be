//! A job: its configuration file in a directory of its own, and the environment that its processes get.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use penstock_standins::{REGION, SECRET_ACCESS_KEY};
use tempfile::TempDir;

use super::Account;

/// Where the services are; an empty endpoint is left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services {
    pub(crate) kinesis: String,
    pub(crate) dynamodb: String,
    pub(crate) firehose: String,
    pub(crate) s3: String,
}

impl Services {
    /// All at one address.
    pub(crate) fn at(endpoint: &str) -> Self {
        let endpoint = endpoint.to_owned();
        Self { kinesis: endpoint.clone(), dynamodb: endpoint.clone(), firehose: endpoint.clone(), s3: endpoint }
    }
}

/// A job that any number of workers share.
pub(crate) struct Job {
    dir: TempDir,
    environment: Vec<(String, String)>,
}

/// What every job of these tests has: quick failover, quick objects, an admin server on a free port.
const COMMON: &str = "[shutdown]\ngrace_period = \"20s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";

impl Job {
    /// A job named `application` that reads `stream`; `sections` are its `[leases]` and `[sink]`, and whatever else is not
    /// common to all.
    pub(crate) fn new(account: &Account, services: &Services, application: &str, stream: &str, sections: &str) -> Self {
        let mut text = format!(
            "[application]\nname = \"{application}\"\n[aws]\nregion = \"{REGION}\"\n[aws.endpoints]\n{}[source]\nstreams = [\"{stream}\"]\n",
            endpoints(services, sections.contains("store = \"sqlite\""))
        );
        // The service lets a shard be fetched five times a second; two workers of a test do not share a shard.
        text.push_str("fetch_interval = \"250ms\"\nidle_interval = \"250ms\"\n");
        for section in COMMON.split_inclusive("\"\n") {
            let head = section.lines().next().unwrap_or_default();
            if !sections.contains(head) {
                text.push_str(section);
            }
        }
        text.push_str(sections);
        let job = Self::bare(account);
        job.write(&text);
        job
    }

    /// A job whose file is still to be written.
    pub(crate) fn bare(account: &Account) -> Self {
        let environment = [("AWS_ACCESS_KEY_ID", account.id()), ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)];
        Self {
            dir: TempDir::with_prefix("penstock-e2e-").expect("a temporary directory"),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        }
    }

    /// Replaces the configuration file.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.file(), text).expect("the temporary directory can be written");
    }

    /// Replaces a part of the configuration file, which must be there.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.file()).expect("the configuration was written");
        assert!(text.contains(from), "no {from:?} in\n{text}");
        self.write(&text.replace(from, to));
    }

    /// Takes the credentials away.
    pub(crate) fn without_credentials(mut self) -> Self {
        self.environment.clear();
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("penstock.toml")
    }

    /// The directory for a directory sink.
    pub(crate) fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub(crate) fn log_of(&self, label: &str) -> PathBuf {
        self.dir.path().join(format!("{label}.log"))
    }

    pub(crate) fn output_of(&self, label: &str) -> PathBuf {
        self.dir.path().join(format!("{label}.out"))
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }
}

/// One without effect is left out: the program would warn of it.
fn endpoints(services: &Services, sqlite: bool) -> String {
    let Services { kinesis, dynamodb, firehose, s3 } = services;
    let mut lines = String::new();
    for (name, endpoint) in [("kinesis", kinesis), ("dynamodb", dynamodb), ("firehose", firehose), ("s3", s3)] {
        let is_idle = sqlite && name == "dynamodb";
        if !endpoint.is_empty() && !is_idle {
            writeln!(lines, "{name} = \"{endpoint}\"").expect("a string takes all that is written");
        }
    }
    lines
}
