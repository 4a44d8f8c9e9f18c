//! On a real terminal: a pseudo terminal of `script`, which every Debian has.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::pool::{POOL, pool, server};
use crate::program::DEADLINE;
use crate::server::{Say, Server};

/// Interrupts a process, as Ctrl-C does.
pub async fn interrupt(child: &Child) {
    send(child, "INT").await;
}

/// Sends a process a signal.
pub async fn send(child: &Child, signal: &str) {
    let pid = child.id().expect("it runs").to_string();
    let status = Command::new("sh")
        .args(["-c", "kill -\"$0\" \"$1\"", signal, &pid])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

/// The program on a pseudo terminal of 100 columns and `rows` rows.
pub struct Pty {
    child: Child,
    /// Everything it has written.
    written: String,
}

impl Pty {
    fn start(server: &Server, rows: u16, environment: &[(&str, &str)], arguments: &str) -> Self {
        Self::at(&server.url(), rows, environment, arguments)
    }

    /// As [`Pty::start`], against whatever serves there.
    pub fn at(url: &str, rows: u16, environment: &[(&str, &str)], arguments: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_understudy");
        let line = format!("stty cols 100 rows {rows}; exec '{program}' {arguments}");
        let child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .env("TZ", "UTC")
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("UNDERSTUDY_URL", url)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            child,
            written: String::new(),
        }
    }

    /// Reads until it has written this since `from`; gives where that was.
    pub async fn until(&mut self, from: usize, text: &str) -> usize {
        let read = async {
            loop {
                if let Some(at) = self.written[from..].find(text) {
                    return from + at;
                }
                let mut bytes = vec![0; 65_536];
                let read = self
                    .child
                    .stdout
                    .as_mut()
                    .unwrap()
                    .read(&mut bytes)
                    .await
                    .unwrap();
                assert!(read > 0, "it ended without {text:?}: {}", self.written);
                self.written.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        };
        let found = tokio::time::timeout(DEADLINE, read).await;
        found.unwrap_or_else(|_| panic!("never wrote {text:?}"))
    }

    pub async fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Waits for its end; gives the exit status and the rest of what it wrote.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let rest = async {
            let mut rest = Vec::new();
            self.child
                .stdout
                .as_mut()
                .unwrap()
                .read_to_end(&mut rest)
                .await
                .unwrap();
            self.written.push_str(&String::from_utf8_lossy(&rest));
            self.child.wait().await.unwrap().code()
        };
        let status = tokio::time::timeout(DEADLINE, rest)
            .await
            .expect("it does not end");
        (status, self.written)
    }
}

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

#[tokio::test]
async fn on_a_terminal_it_is_drawn_in_place_survives_a_restart_and_quits_on_q() {
    let server = server().await;
    let mut pty = Pty::start(&server, 40, &[], "status --watch --interval 100ms");
    pty.until(0, ENTER).await;
    let at = pty.until(0, "vm-e5f60718").await;
    server.say(POOL, vec![Say::HangUp]);
    let at = pty.until(at, "reconnecting").await;
    // What was last known stays in sight.
    let at = pty.until(at, "vm-e5f60718").await;
    let mut other = pool();
    other["vms"][2]["vmId"] = json!("vm-brand-new");
    server.say(POOL, vec![Say::Json(200, other)]);
    pty.until(at, "vm-brand-new").await;
    pty.press("\u{1b}[A").await;
    pty.press("q").await;
    let (status, written) = pty.end().await;
    assert_eq!(status, Some(0));
    assert!(
        written.trim_end().ends_with(LEAVE),
        "the terminal is given back: {written:?}"
    );
}

#[tokio::test]
async fn control_c_ends_it_and_gives_the_terminal_back() {
    let server = server().await;
    let mut pty = Pty::start(&server, 40, &[], "status --watch");
    pty.until(0, "vm-e5f60718").await;
    pty.press("\u{3}").await;
    let (status, written) = pty.end().await;
    assert_eq!(status, Some(0));
    assert!(written.trim_end().ends_with(LEAVE), "{written:?}");
}

#[tokio::test]
async fn in_a_small_window_the_foot_stays_in_sight() {
    let server = server().await;
    let mut pty = Pty::start(&server, 8, &[], "status --watch");
    let at = pty.until(0, "more lines").await;
    pty.until(at, "q quits").await;
    pty.press("q").await;
    assert_eq!(pty.end().await.0, Some(0));
}

#[tokio::test]
async fn a_refusal_is_told_after_the_terminal_is_given_back() {
    let body = json!({"error": "this needs a token", "code": "UNAUTHORIZED"});
    let server = Server::start([(POOL, vec![Say::Json(401, body)])]).await;
    let mut pty = Pty::start(&server, 40, &[], "status --watch");
    let left = pty.until(0, LEAVE).await;
    pty.until(left, "this needs a token").await;
    assert_eq!(pty.end().await.0, Some(4));
}

#[tokio::test]
async fn a_terminal_gets_colours_unless_it_asks_for_none() {
    let server = server().await;
    let (status, written) = Pty::start(&server, 40, &[], "status").end().await;
    assert_eq!(status, Some(0));
    assert!(written.contains("\u{1b}[38;5;5m▶ in use"), "{written:?}");
    let (_, written) = Pty::start(&server, 40, &[("NO_COLOR", "1")], "status")
        .end()
        .await;
    assert!(!written.contains("\u{1b}[3"), "{written:?}");
    assert!(written.contains("▶ in use"), "{written:?}");
    let (_, written) = Pty::start(&server, 40, &[("TERM", "dumb")], "status").end().await;
    assert!(!written.contains("\u{1b}[3"), "{written:?}");
}
