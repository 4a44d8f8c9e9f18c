//! The official Socket.IO client, on the leash of `tests/socketio/client.mjs`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest time until something that must happen has happened, on a machine that compiles meanwhile.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Script {
    /// Killed when this is dropped.
    _process: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Everything that happened so far, in order.
    pub log: Vec<Value>,
    asked: u64,
}

impl Script {
    /// Starts a client of this server with these options for `io()`, without waiting for it to connect.
    pub fn start(url: &str, options: &Value) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/socketio");
        assert!(
            folder.join("node_modules/socket.io-client").is_dir(),
            "the Socket.IO client is not installed: run scripts/setup-test"
        );
        let mut process = Command::new("node")
            .arg(folder.join("client.mjs"))
            .args([url.to_owned(), options.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let commands = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            _process: process,
            commands,
            lines,
            log: Vec::new(),
            asked: 0,
        }
    }

    /// A client over WebSocket that has connected and got its first snapshot.
    pub async fn connected(url: &str, options: &Value) -> Self {
        let mut options = options.clone();
        if options.get("transports").is_none() {
            options["transports"] = json!(["websocket"]);
        }
        let mut script = Self::start(url, &options);
        script.event("vmPoolStatus").await;
        script
    }

    async fn command(&mut self, command: &Value) {
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
    }

    pub async fn emit(&mut self, event: &str, args: &[Value]) {
        self.command(&json!({"emit": event, "args": args})).await;
    }

    /// Emits with an acknowledgement and gives what was acknowledged.
    pub async fn ask(&mut self, event: &str, args: &[Value]) -> Value {
        self.asked += 1;
        let asked = self.asked;
        self.command(&json!({"emit": event, "args": args, "ack": asked}))
            .await;
        let answer = self
            .until("the acknowledgement", |line| line["ack"] == asked)
            .await;
        answer["args"][0].clone()
    }

    /// Acknowledges nothing from now on, or everything again. What came before it did is in the log.
    pub async fn hold(&mut self, hold: bool) {
        self.command(&json!({"hold": hold})).await;
        self.until("that it holds", |line| line["holding"] == hold).await;
    }

    pub async fn close(&mut self) {
        self.command(&json!({"close": true})).await;
        self.until("the end of the connection", |line| {
            line.get("disconnected").is_some()
        })
        .await;
    }

    /// The next event of this name that nobody waited for yet.
    pub async fn event(&mut self, name: &str) -> Value {
        self.event_with(name, |_| true).await
    }

    /// The next event of this name with such a payload. What comes before it stays unlooked at.
    pub async fn event_with(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let line = self
            .until(name, |line| line["event"] == name && wanted(&line["args"][0]))
            .await;
        assert_eq!(line["args"].as_array().unwrap().len(), 1, "{line}");
        line["args"][0].clone()
    }

    /// The next line that is wanted. Lines before it can still be waited for.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let read = async {
            let mut at = 0;
            loop {
                while at < self.log.len() {
                    if !self.log[at]["taken"].as_bool().unwrap_or(false) && wanted(&self.log[at]) {
                        let found = self.log[at].clone();
                        self.log[at]["taken"] = true.into();
                        return found;
                    }
                    at += 1;
                }
                let line = self.lines.next_line().await.unwrap().expect("the client ended");
                self.log.push(serde_json::from_str(&line).unwrap());
            }
        };
        match tokio::time::timeout(LIMIT, read).await {
            Ok(found) => found,
            Err(_) => panic!("not within {LIMIT:?}: {what}; heard {:#?}", self.heard()),
        }
    }

    /// Names of all events so far, in order.
    pub fn heard(&self) -> Vec<&str> {
        self.log
            .iter()
            .filter_map(|line| line["event"].as_str())
            .collect()
    }

    /// Payloads of all events of this name so far.
    pub fn payloads<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.log
            .iter()
            .filter(move |line| line["event"] == name)
            .map(|line| &line["args"][0])
    }
}
