//! microburst: a proxy in front of any stand-in that answers errors, loses replies, resets, delays and corrupts by rule.

use std::time::Duration;

use serde_json::Value;

use crate::api;
use crate::http::{self, Answer, Request};
use crate::install::standin_dir;
use crate::port::Port;
use crate::server::{Recipe, Server};

/// Who warms up: an account of no test.
const ACCOUNT: &str = "000000000001";
const CONTROL_LIMIT: Duration = Duration::from_secs(30);

/// A running microburst; dropping it ends it.
pub struct Microburst {
    server: Server,
}

impl Microburst {
    /// Starts one in front of the stand-in at `upstream`, which must run, and sends the calls that warm it up: its
    /// first takes seconds.
    ///
    /// # Panics
    ///
    /// If it cannot be installed or started, or the calls through it fail.
    pub fn start(upstream: &str) -> Self {
        let dir = standin_dir("microburst");
        let port = Port::claim();
        let port_argument = port.number().to_string();
        let arguments = ["-m", "microburst", "--upstream", upstream, "--host", "127.0.0.1", "--port", &port_argument];
        let recipe = Recipe {
            name: "microburst",
            program: dir.join("bin/python"),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            dir,
            ready: |port| {
                let answer = http::send(port, &http::plain("GET", "/_microburst/health"), Duration::from_secs(2));
                answer.is_ok_and(|answer| answer.status == 200)
            },
        };
        let microburst = Self { server: Server::start(port, recipe) };
        microburst.warm_up();
        microburst
    }

    /// The proxy's address: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Replaces all rules by a list such as
    /// `[{"service": "kinesis", "operation": "GetRecords", "times": 1, "reset": true}]`.
    ///
    /// # Panics
    ///
    /// If it does not take the rules.
    pub fn set_rules(&self, rules: &Value) {
        self.control("POST", "/_microburst/rules", rules.to_string().as_bytes());
    }

    /// What fired since the start or the last [`clear`](Self::clear), oldest first: one object an event, with
    /// `service` and `operation` among its fields.
    ///
    /// # Panics
    ///
    /// If it does not answer with a list.
    pub fn fired(&self) -> Vec<Value> {
        let answer = self.control("GET", "/_microburst/fired?limit=100000", b"");
        serde_json::from_slice(&answer.body)
            .unwrap_or_else(|error| panic!("microburst's log is no list ({error}): {}", answer.text()))
    }

    /// Removes all rules and empties the log of what fired.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub fn clear(&self) {
        self.set_rules(&Value::Array(Vec::new()));
        self.control("DELETE", "/_microburst/fired", b"");
    }

    /// Ends it; its port stays ours and refuses connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again on its port without rules, after a stop if it runs, and waits until it is warm.
    ///
    /// # Panics
    ///
    /// If it does not come back.
    pub fn restart(&mut self) {
        self.server.restart();
        self.warm_up();
    }

    fn control(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let headers = ["Content-Type: application/json".to_owned()];
        let request = Request { method, path, headers: &headers, body };
        let answer = http::send(self.server.port(), &request, CONTROL_LIMIT)
            .unwrap_or_else(|error| panic!("microburst did not answer {method} {path}: {error}"));
        assert!(answer.status < 300, "microburst refused {method} {path}: {}", answer.text());
        answer
    }

    /// One call to each service, whatever the upstream says to it: each loads that service's model.
    fn warm_up(&self) {
        let targets =
            ["DynamoDB_20120810.ListTables", "Kinesis_20131202.ListStreams", "Firehose_20150804.ListDeliveryStreams"];
        let target_calls = targets.map(|target| api::send(&self.endpoint(), ACCOUNT, target, b"{}"));
        let s3_call = api::send_s3(&self.endpoint(), ACCOUNT, "GET", "/", &[]);
        for answer in target_calls.into_iter().chain([s3_call]) {
            assert_ne!(answer.status, 502, "microburst does not reach its upstream: {}", answer.text());
        }
    }
}
