//! The program, as an operator starts it: `understudy serve`, configured by its environment.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::LIMIT;
use super::support::eventually::eventually;

/// Lines of the program's log that a failed test shows.
const LOG_LINES: usize = 80;

/// An answer over HTTP.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// The pool as `GET /api/admin/vm-pool` shows it.
#[derive(Debug)]
pub struct Pool(Value);

impl Pool {
    pub fn len(&self) -> usize {
        self.vms().len()
    }

    pub fn count(&self, name: &str) -> usize {
        let count = self.0["counts"][name].as_u64();
        usize::try_from(count.unwrap_or_else(|| panic!("no count of {name}: {}", self.0["counts"]))).unwrap()
    }

    pub fn vms(&self) -> &[Value] {
        self.0["vms"].as_array().expect("a list of VMs")
    }

    /// The VM of an instance.
    pub fn vm(&self, instance: &str) -> Option<&Value> {
        self.vms().iter().find(|vm| vm["instanceId"] == instance)
    }

    pub fn status(&self, instance: &str) -> Option<&str> {
        self.vm(instance)?["status"].as_str()
    }

    pub fn id(&self, instance: &str) -> Option<String> {
        Some(text(&self.vm(instance)?["vmId"]))
    }
}

/// A running `understudy serve`, whoever started it.
pub struct Coordinator {
    address: SocketAddr,
    environment: Vec<(String, String)>,
    log: PathBuf,
    http: reqwest::Client,
    child: Child,
}

impl Coordinator {
    /// Starts it in this environment and no other, and waits until it can be used.
    pub async fn start(address: SocketAddr, environment: Vec<(String, String)>, log: PathBuf) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .build()
            .unwrap();
        let child = launch(&environment, &log);
        let mut coordinator = Self {
            address,
            environment,
            log,
            http,
            child,
        };
        coordinator.until_ready().await;
        coordinator
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn until_ready(&mut self) {
        let url = format!("{}/readyz", self.url());
        let (http, child) = (&self.http, &mut self.child);
        eventually("the coordinator is ready", LIMIT, async || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the coordinator ended with {ended:?}");
            let answer = http.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Kills it without warning and starts it again.
    pub async fn kill_and_start(&mut self) {
        self.kill().await;
        self.start_again().await;
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn start_again(&mut self) {
        self.child = launch(&self.environment, &self.log);
        self.until_ready().await;
    }

    /// Asks it to end, as systemd does, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().expect("it runs");
        let told = Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .await
            .unwrap();
        assert!(told.success());
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        ended.expect("it ends in time").unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body), None).await
    }

    pub async fn post_once(&self, path: &str, body: Value, key: &str) -> Answer {
        self.call(Method::POST, path, Some(body), Some(key)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body), None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> Answer {
        let mut request = self
            .http
            .request(method, format!("http://{}{path}", self.address));
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            body: answer.json().await.unwrap(),
        }
    }

    pub async fn pool(&self) -> Pool {
        Pool(self.get("/api/admin/vm-pool").await.expect(200))
    }

    /// Waits until the pool is as wanted.
    pub async fn until_pool(&self, what: &str, wanted: impl Fn(&Pool) -> bool) -> Pool {
        eventually(what, LIMIT, async || {
            let pool = self.pool().await;
            wanted(&pool).then_some(pool)
        })
        .await
    }

    pub async fn until_available(&self, count: usize) -> Pool {
        let what = format!("{count} VMs available");
        self.until_pool(&what, |pool| pool.count("available") == count)
            .await
    }

    pub async fn assign(&self, show: &str) -> Answer {
        let path = format!("/api/competitions/{show}/vm/assign");
        self.post(&path, json!({})).await
    }

    /// The VM that a show has.
    pub async fn vm_of(&self, show: &str) -> Answer {
        self.get(&format!("/api/competitions/{show}/vm")).await
    }

    /// The finished moves of a show, newest first.
    pub async fn failovers(&self, show: &str) -> Vec<Value> {
        let answer = self
            .get(&format!("/api/competitions/{show}/failovers"))
            .await
            .expect(200);
        answer["failovers"].as_array().unwrap().clone()
    }

    /// Waits until the log has this in it.
    pub async fn until_logged(&self, text: &str) {
        let what = format!("the log says: {text}");
        eventually(&what, LIMIT, async || self.log().contains(text).then_some(())).await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES);
            eprintln!("--- the coordinator's log ends:\n{}", lines[last..].join("\n"));
        }
    }
}

fn launch(environment: &[(String, String)], log: &PathBuf) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(env!("CARGO_BIN_EXE_understudy"))
        .arg("serve")
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A text that must be there.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
