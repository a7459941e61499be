//! ministack: DynamoDB, S3, Firehose, STS and, for volume, Kinesis on one port.

use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::http;
use crate::install::standin_dir;
use crate::port::Port;
use crate::server::{Recipe, Server};

const CONTROL_LIMIT: Duration = Duration::from_secs(30);

/// A running ministack; dropping it ends it.
///
/// Never reshard on it: it deletes the parent shards at once.
pub struct Ministack {
    server: Server,
    /// Where it keeps its state over restarts, if it does.
    _state: Option<TempDir>,
}

impl Ministack {
    /// Starts one whose state is in memory: a stop loses it.
    ///
    /// # Panics
    ///
    /// If it cannot be installed or started.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one that keeps its state over [`stop`](Self::stop) and [`restart`](Self::restart), for tests of outages;
    /// [`kill`](Self::kill) still loses what it had not saved.
    ///
    /// # Panics
    ///
    /// If it cannot be installed or started.
    pub fn start_persistent() -> Self {
        let state = TempDir::with_prefix("penstock-ministack-");
        Self::start_with(Some(state.unwrap_or_else(|error| panic!("no directory for ministack's state: {error}"))))
    }

    /// The one of this process, started at the first call. It is for all tests that part themselves from the others by
    /// [`unique_account`](crate::unique_account); nobody may stop or reset it.
    ///
    /// # Panics
    ///
    /// If it cannot be installed or started.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Ministack> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start_with(state: Option<TempDir>) -> Self {
        let dir = standin_dir("ministack");
        let port = Port::claim();
        let mut environment = vec![
            ("GATEWAY_PORT", port.number().to_string()),
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("MINISTACK_HOST", "127.0.0.1".to_owned()),
            ("SERVICES", "kinesis,dynamodb,firehose,s3,sts".to_owned()),
            ("LOG_LEVEL", "WARNING".to_owned()),
        ];
        if let Some(state) = &state {
            environment.extend([
                ("PERSIST_STATE", "1".to_owned()),
                ("S3_PERSIST", "1".to_owned()),
                ("STATE_DIR", state.path().join("state").display().to_string()),
                ("S3_DATA_DIR", state.path().join("s3").display().to_string()),
            ]);
        }
        let recipe = Recipe {
            name: "ministack",
            program: dir.join("bin/python"),
            arguments: ["-m", "ministack"].map(str::to_owned).to_vec(),
            environment,
            dir,
            ready: |port| {
                let answer = http::send(port, &http::plain("GET", "/_ministack/ready"), Duration::from_secs(2));
                answer.is_ok_and(|answer| answer.status == 200)
            },
        };
        Self { server: Server::start(port, recipe), _state: state }
    }

    /// Its address, for each of its services: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Empties it, all accounts at once.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub fn reset(&self) {
        let answer = http::send(self.server.port(), &http::plain("POST", "/_ministack/reset"), CONTROL_LIMIT);
        match answer {
            Ok(answer) if answer.status == 200 => {}
            other => panic!("ministack did not reset: {other:?}"),
        }
    }

    /// Ends it in order; its port stays ours and refuses connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its port, after a stop if it runs, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not come back.
    pub fn restart(&mut self) {
        self.server.restart();
    }
}
