//! This program again, in a process of its own that is asked in lines: what is measured shares neither memory nor
//! descriptors with what measures it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// Limit on starting: thousands of machines, or a tree over them.
const START: Duration = Duration::from_secs(300);
/// Limit on an answer, and on ending.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ticks of `/proc/<pid>/stat` per second: `USER_HZ`, which is 100 on every architecture of Linux in use.
const TICKS_PER_S: u32 = 100;

pub struct Worker {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts it and waits for its first line, which is what it has to say of itself.
    pub async fn start<T: DeserializeOwned>(words: &[&str]) -> Result<(Self, T)> {
        Self::of(&std::env::current_exe()?, words).await
    }

    async fn of<T: DeserializeOwned>(program: &Path, words: &[&str]) -> Result<(Self, T)> {
        let mut child = unlimited(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let asks = child.stdin.take().context("the worker takes no input")?;
        let output = child.stdout.take().context("the worker has no output")?;
        let mut worker = Self {
            child,
            asks,
            answers: BufReader::new(output).lines(),
        };
        let first = worker.line(START).await?;
        Ok((worker, first))
    }

    pub async fn ask<T: DeserializeOwned>(&mut self, question: &str) -> Result<T> {
        self.asks.write_all(format!("{question}\n").as_bytes()).await?;
        self.line(PATIENCE).await.context(question.to_owned())
    }

    async fn line<T: DeserializeOwned>(&mut self, limit: Duration) -> Result<T> {
        let line = tokio::time::timeout(limit, self.answers.next_line()).await??;
        Ok(serde_json::from_str(&line.context("the worker has ended")?)?)
    }

    pub fn process(&self) -> Result<u32> {
        self.child.id().context("the worker has ended")
    }

    /// Asks it to end and waits for that.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.asks);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        ensure!(ended.success(), "the worker ended with {ended}");
        Ok(())
    }
}

/// A program with as many descriptors as the system lets it have.
pub fn unlimited(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n "$(ulimit -H -n)"; exec "$0" "$@""#])
        .arg(program);
    command
}

/// The worker's side of its first line, and of every answer.
pub fn tell(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

/// What the parent asks, line by line; closed once it has ended or wants this to end.
pub fn questions() -> mpsc::Receiver<String> {
    let (asked, questions) = mpsc::channel(1);
    // A thread: reading the standard input cannot be called off.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if asked.blocking_send(line).is_err() {
                return;
            }
        }
    });
    questions
}

/// User and system time of a process: fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may
/// hold blanks.
pub fn processor_time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, behind_name) = stat.rsplit_once(") ").context("a process without a name")?;
    let ticks: u32 = behind_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(Duration::from_secs(1) * ticks / TICKS_PER_S)
}

/// Resident memory of a process, in bytes: `VmRSS` of proc_pid_status(5).
pub fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no VmRSS")?.parse::<u64>()? * 1024)
}
