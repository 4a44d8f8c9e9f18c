//! The program, as an operator starts it, and what can be done to a process from outside.

use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use understudy::rehearsal::stage::Stage;

use crate::LIMIT;
use crate::support::eventually::{LOOK_INTERVAL, eventually};

/// Lines of the program's log that a failed test shows: the last, and of those before them the last that are not about
/// a request that went well.
const LOG_LINES: usize = 120;
/// Limit on the answer to whether it is ready, which it gives as soon as it serves at all.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// The program's usual port.
const PORT: u16 = 3003;

/// Asks the program over HTTP; clones share connections. The program may be gone at any time.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    patience: Duration,
    http: reqwest::Client,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Answered {
        status: u16,
        body: Value,
    },
    /// There was no connection, or it broke: carried out or not.
    Lost(String),
    /// There was one, and for so long nothing came: never right, since every wait in the program has a deadline.
    Silence(Duration),
}

impl Answer {
    /// The body of an answer that says that it was done.
    pub fn done(&self) -> Option<&Value> {
        match self {
            Self::Answered { status, body } if (200..300).contains(status) => Some(body),
            Self::Answered { .. } | Self::Lost(_) | Self::Silence(_) => None,
        }
    }

    /// The body of an answer that must say that it was done.
    #[track_caller]
    pub fn expect(self) -> Value {
        match self {
            Self::Answered { status, body } if (200..300).contains(&status) => body,
            other => panic!("not done: {other:?}"),
        }
    }
}

impl Client {
    pub fn new(address: SocketAddr, patience: Duration) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(patience)
            .build()
            .unwrap();
        Self {
            address,
            patience,
            http,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body), None).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let read = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            Ok::<_, reqwest::Error>(Answer::Answered {
                status,
                body: answer.json().await?,
            })
        };
        read.await.unwrap_or_else(|error| match error.is_timeout() {
            true => Answer::Silence(self.patience),
            false => Answer::Lost(error.to_string()),
        })
    }
}

/// How the program is started.
#[derive(Clone, Default)]
pub struct Launch {
    /// What stands before the program on the command line: another program that runs it, and its arguments.
    pub runner: Vec<String>,
    /// Configuration and whatever else is to be in its environment, beside the stage's.
    pub environment: Vec<(String, String)>,
}

/// A running `understudy serve`.
pub struct Process {
    pub client: Client,
    /// Asks whether it is ready over connections of its own, which do not depend on who else asks what.
    prober: Client,
    address: SocketAddr,
    environment: Vec<(String, String)>,
    runner: Vec<String>,
    log: PathBuf,
    child: Child,
    /// Not removed before the process has ended.
    _stage: Arc<Stage>,
}

impl Process {
    /// Starts it, and waits until it can be used.
    pub async fn start(stage: &Arc<Stage>, launch: Launch) -> Self {
        let address = address(stage);
        let mut environment = stage.environment(address);
        environment.extend(launch.environment);
        let log = stage.dir().join("coordinator.log");
        let child = spawn(&launch.runner, &environment, &log);
        let mut process = Self {
            client: Client::new(address, LIMIT),
            prober: Client::new(address, READY_LIMIT),
            address,
            environment,
            runner: launch.runner,
            log,
            child,
            _stage: Arc::clone(stage),
        };
        process.until_ready().await;
        process
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn until_ready(&mut self) {
        let began = Instant::now();
        let mut answers: Vec<(Duration, Answer)> = Vec::new();
        loop {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the coordinator ended with {ended:?}");
            let answer = self.prober.get("/readyz").await;
            if answer.done().is_some() {
                return;
            }
            if answers.last().is_none_or(|(_, last)| *last != answer) {
                answers.push((began.elapsed(), answer.clone()));
            }
            let is_heard = !matches!(answer, Answer::Silence(_));
            assert!(
                is_heard && began.elapsed() < LIMIT,
                "not ready after {:?}: {answers:#?}",
                began.elapsed()
            );
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn start_again(&mut self) {
        self.child = spawn(&self.runner, &self.environment, &self.log);
        self.until_ready().await;
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal, by its name: `STOP`, `CONT`, `TERM`.
    pub async fn signal(&self, name: &str) {
        let signal = format!("-{name}");
        let id = self.id().to_string();
        let sent = Command::new("kill").args([signal, id]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(LIMIT, self.child.wait()).await;
        ended.expect("it ends in time").unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the pool has so many VMs in this state.
    pub async fn until_count(&self, name: &str, count: u64) {
        eventually(&format!("{count} VMs {name}"), LIMIT, async || {
            let pool = self.client.get("/api/admin/vm-pool").await;
            (pool.done()?["counts"][name].as_u64()? == count).then_some(())
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let (before, last) = lines.split_at(lines.len().saturating_sub(LOG_LINES));
            let mut notable: Vec<&str> = before.iter().copied().filter(|line| is_notable(line)).collect();
            let earlier = notable.split_off(notable.len().saturating_sub(LOG_LINES));
            eprintln!("--- of the coordinator's log:\n{}", earlier.join("\n"));
            eprintln!("--- it ends:\n{}", last.join("\n"));
        }
    }
}

fn is_notable(line: &str) -> bool {
    !line.contains(" INFO ") || !line.contains("request_id=")
}

/// An address in the world's own block, which nobody else on this machine uses.
fn address(stage: &Stage) -> SocketAddr {
    let [.., block, _] = match stage.world.ingest().address().ip() {
        IpAddr::V4(ingest) => ingest.octets(),
        IpAddr::V6(other) => panic!("a world is on IPv4, not at {other}"),
    };
    SocketAddr::from((Ipv4Addr::new(127, 78, block, 253), PORT))
}

fn spawn(runner: &[String], environment: &[(String, String)], log: &PathBuf) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    let program = env!("CARGO_BIN_EXE_understudy").to_owned();
    let line: Vec<String> = runner
        .iter()
        .cloned()
        .chain([program, "serve".to_owned()])
        .collect();
    Command::new(&line[0])
        .args(&line[1..])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
