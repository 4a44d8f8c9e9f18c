//! Running the binary.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::server::Server;

/// Longer than any limit of the program that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What people are told on standard error, if the exit status is this one.
    pub fn failed(&self, status: i32) -> &str {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        &self.stderr
    }

    /// The answer, if the run succeeded.
    pub fn answer(&self) -> &str {
        assert_eq!(self.status, Some(0), "{self:?}");
        &self.stdout
    }
}

/// The binary with nothing in its environment but what is given.
pub fn program(environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command
        .env_clear()
        .env("TZ", "UTC")
        .envs(environment.iter().copied())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub async fn run(environment: &[(&str, &str)], arguments: &[&str]) -> Run {
    let running = program(environment, arguments).output();
    let output = tokio::time::timeout(DEADLINE, running)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {arguments:?}"))
        .unwrap();
    finished(output)
}

/// Runs it against a server.
pub async fn ask(server: &Server, arguments: &[&str]) -> Run {
    run(&[("UNDERSTUDY_URL", &server.url())], arguments).await
}

pub fn finished(output: Output) -> Run {
    Run {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
