//! kinesis-local: Kinesis with resharding and lineage. Slow: below 2,000 records or 500 KB a test.

use std::time::Duration;

use crate::http;
use crate::install::{standin_dir, workspace_dir};
use crate::port::Port;
use crate::server::{Recipe, Server};

/// How long its operations on streams and shards take; they may not be instant.
const CONTROL_PLANE_OPERATIONS: [&str; 6] = [
    "CREATE_STREAM_DURATION",
    "DELETE_STREAM_DURATION",
    "SPLIT_SHARD_DURATION",
    "MERGE_SHARDS_DURATION",
    "UPDATE_SHARD_COUNT_DURATION",
    "REGISTER_STREAM_CONSUMER_DURATION",
];

/// A running kinesis-local; dropping it ends it. Its streams are in memory: a stop loses them.
pub struct KinesisLocal {
    server: Server,
    /// It cannot be told not to serve TLS.
    _tls_port: Port,
}

impl KinesisLocal {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it cannot be installed or started.
    pub fn start() -> Self {
        let dir = standin_dir("kinesis-local");
        let package = dir.join("node_modules/kinesis-local");
        let (port, tls_port) = (Port::claim(), Port::claim());
        let loopback = workspace_dir().join("scripts/loopback.js");
        let mut environment = vec![
            ("KINESIS_MOCK_PLAIN_PORT", port.number().to_string()),
            ("KINESIS_MOCK_TLS_PORT", tls_port.number().to_string()),
            ("KINESIS_MOCK_CERT_PATH", package.join("server.json").display().to_string()),
            ("SHARD_LIMIT", "500".to_owned()),
            ("LOG_LEVEL", "ERROR".to_owned()),
        ];
        environment.extend(CONTROL_PLANE_OPERATIONS.map(|operation| (operation, "10ms".to_owned())));
        let recipe = Recipe {
            name: "kinesis-local",
            program: "node".into(),
            arguments: vec![
                "--require".to_owned(),
                loopback.display().to_string(),
                package.join("main.js").display().to_string(),
            ],
            environment,
            dir,
            ready: |port| {
                let answer = http::send(port, &http::plain("GET", "/healthcheck"), Duration::from_secs(2));
                answer.is_ok_and(|answer| answer.status == 200)
            },
        };
        Self { server: Server::start(port, recipe), _tls_port: tls_port }
    }

    /// Its address: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Ends it; its port stays ours and refuses connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again, empty, on its port, after a stop if it runs, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not come back.
    pub fn restart(&mut self) {
        self.server.restart();
    }
}
