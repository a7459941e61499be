//! A real browser that a test tells what to look at. It ends with the test, however that ends: it reads commands from a pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use penstock_standins::{standin_dir, workspace_dir};
use serde::Deserialize;
use serde_json::{Value, json};

const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) scheme: &'static str,
}

pub(crate) const DESK: View = View { width: 1280, height: 900, scheme: "light" };
pub(crate) const DARK: View = View { scheme: "dark", ..DESK };
pub(crate) const PHONE: View = View { width: 390, height: 844, scheme: "light" };

/// What a page shows.
#[derive(Debug, Deserialize)]
pub(crate) struct Facts {
    pub(crate) shards: Vec<Shown>,
    pub(crate) range: Option<Range>,
    pub(crate) title: String,
    pub(crate) pill: String,
    pub(crate) freshness: String,
    pub(crate) banners: String,
    pub(crate) summary: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) errors: String,
    pub(crate) gaps: String,
    pub(crate) workers: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) tiles: std::collections::BTreeMap<String, String>,
    pub(crate) nameless: u32,
    pub(crate) stops: u32,
    pub(crate) focused: Option<String>,
    pub(crate) stale: bool,
    pub(crate) overflow: f64,
    pub(crate) marked: u32,
    pub(crate) contrast: Contrast,
    pub(crate) complaints: Vec<String>,
    pub(crate) elsewhere: Vec<String>,
}

/// The drawing of a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) rows: u32,
}

/// One shard in it.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) label: String,
    pub(crate) words: Vec<String>,
    pub(crate) parts: Vec<Part>,
    pub(crate) seen: f64,
    pub(crate) owner: String,
    pub(crate) colour: String,
}

/// One rectangle of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// The words that are hardest to read.
#[derive(Debug, Deserialize)]
pub(crate) struct Contrast {
    pub(crate) ratio: f64,
    pub(crate) words: Option<String>,
}

impl Browser {
    /// Starts one, installed first if need be.
    pub(crate) fn start(home: &Path) -> Self {
        let library = standin_dir("chromium").join("node_modules/");
        let script = workspace_dir().join("crates/penstock/tests/page/look.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .arg(library)
            .arg(CHROMIUM)
            .env("HOME", home)
            .env("TMPDIR", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, commands, answers }
    }

    /// Opens a page anew.
    #[track_caller]
    pub(crate) fn open(&mut self, url: &str, view: View) {
        let View { width, height, scheme } = view;
        self.tell(json!({"do": "open", "url": url, "width": width, "height": height, "scheme": scheme}));
        self.wait("document.querySelector('.shard') !== null");
    }

    /// The same, with a large fleet in the place of what the worker says, after some answers.
    #[track_caller]
    pub(crate) fn open_fleet(&mut self, url: &str, view: View, shards: u32, workers: u32) {
        let View { width, height, scheme } = view;
        let fleet = json!({"shards": shards, "workers": workers});
        self.tell(
            json!({"do": "open", "url": url, "width": width, "height": height, "scheme": scheme, "fleet": fleet}),
        );
        self.wait("document.querySelector('.of-stream .stroke[d^=M]') !== null");
    }

    /// Waits until an expression holds in the page.
    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) {
        self.tell(json!({"do": "wait", "for": expression}));
    }

    #[track_caller]
    pub(crate) fn focus(&mut self, selector: &str) {
        self.tell(json!({"do": "focus", "selector": selector}));
    }

    #[track_caller]
    pub(crate) fn press(&mut self, keys: &[&str]) {
        self.tell(json!({"do": "press", "keys": keys}));
    }

    /// A picture of the whole page in the directory for what tests leave.
    #[track_caller]
    pub(crate) fn shot(&mut self, name: &str) -> PathBuf {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        std::fs::create_dir_all(&dir).expect("the target directory can be written");
        let file = dir.join(format!("{name}.png"));
        self.tell(json!({"do": "shot", "file": file}));
        file
    }

    #[track_caller]
    pub(crate) fn facts(&mut self) -> Facts {
        serde_json::from_value(self.tell(json!({"do": "facts"}))).expect("the facts have their form")
    }

    /// The longest time for which the page did nothing else, in milliseconds.
    #[track_caller]
    pub(crate) fn busiest(&mut self) -> f64 {
        self.tell(json!({"do": "busiest"})).as_f64().expect("a number")
    }

    #[track_caller]
    fn tell(&mut self, command: Value) -> Value {
        let pipe = self.commands.as_mut().expect("the pipe is open until the end");
        writeln!(pipe, "{command}").expect("the browser's driver runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer to {command}: {line:?}"));
        assert!(answer["error"].is_null(), "{}", answer["error"].as_str().unwrap_or_default());
        answer["ok"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its commands ends it and the browser.
        drop(self.commands.take());
        drop(self.child.wait());
    }
}
