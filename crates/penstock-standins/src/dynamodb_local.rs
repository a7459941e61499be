//! DynamoDB Local, Amazon's own: the reference for conditional writes.
//!
//! It listens on every interface and has no option against it; it holds nothing but test data.

use std::time::Duration;

use crate::http;
use crate::install::standin_dir;
use crate::port::Port;
use crate::server::{Recipe, Server};

/// A running DynamoDB Local; dropping it ends it. Its tables are in memory, apart by access key id and Region.
pub struct DynamoDbLocal {
    server: Server,
}

impl DynamoDbLocal {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it cannot be installed or started.
    pub fn start() -> Self {
        let dir = standin_dir("dynamodb-local");
        let port = Port::claim();
        let arguments = [
            // Its native SQLite lies beside the jars.
            "-Djava.library.path=.",
            // Enough for lease tables, and little to start with.
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            "*",
            "software.amazon.dynamodb.services.local.main.ServerRunner",
            "-inMemory",
            "-disableTelemetry",
            "-port",
            &port.number().to_string(),
        ];
        let recipe = Recipe {
            name: "dynamodb-local",
            program: "java".into(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            dir,
            // An unsigned request is refused: that is an answer of the service.
            ready: |port| {
                let answer = http::send(port, &http::plain("GET", "/"), Duration::from_secs(10));
                answer.is_ok_and(|answer| answer.status == 400 && answer.text().contains("dynamodb"))
            },
        };
        Self { server: Server::start(port, recipe) }
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
