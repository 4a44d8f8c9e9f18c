//! P7: a thousand Socket.IO clients, and how long after a command the last of them knows.
//!
//! The clients are plain WebSockets in this process, which also gives the command; the server is a process of its
//! own. Beside it the official client, two hundred of them in one Node process, which share its one thread.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::Scale;
use crate::http;
use crate::report::{Report, Row, Verdict};
use crate::serve::Server;
use crate::socket::Client;
use crate::spread::{Spread, brief};

const VMS: usize = 50;
const LAST_P99: Duration = Duration::from_millis(60);
const OFFICIAL: usize = 200;
/// Limit on everybody knowing.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2);
/// Between two commands: what the one brought is over.
const APART: Duration = Duration::from_millis(300);

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    for (deltas, which) in [(true, "asking for deltas"), (false, "getting snapshots")] {
        let heard = run(scale, deltas).await?;
        let clients = scale.clients;
        report.add(Row {
            target: "P7",
            what: format!(
                "from a command to the last of {clients} Socket.IO clients {which}, {} changes",
                heard.last.len()
            ),
            figure: format!(
                "{}; {} events missed, of them {} by clients that were cut off and know it",
                heard.last, heard.missed, heard.noticed
            ),
            goal: format!("p99 <= {}, none lost unnoticed", brief(LAST_P99)),
            ratio: Some(heard.last.p99().as_secs_f64() / LAST_P99.as_secs_f64()),
            verdict: Verdict::of(heard.last.p99() <= LAST_P99 && heard.missed == heard.noticed),
        });
    }
    official(scale, report).await
}

struct Heard {
    last: Spread,
    missed: u64,
    noticed: u64,
}

async fn run(scale: &Scale, deltas: bool) -> Result<Heard> {
    let folder = crate::folder()?;
    let server = Server::start(folder.path(), VMS).await?;
    server.until_available(VMS as u64).await?;
    let mut clients = Vec::with_capacity(scale.clients);
    for _ in 0..scale.clients {
        clients.push(Client::connect(server.address(), deltas).await?);
    }
    let mut caller = http::Client::connect(server.address()).await?;
    let mut last = Vec::new();
    for number in 1..=scale.changes {
        tokio::time::sleep(APART).await;
        let began = Instant::now();
        command(&mut caller, number, "assign").await?;
        if everybody(&clients, number as u64).await {
            let heard = clients.iter().filter_map(|client| client.told.assigned_at());
            last.extend(heard.max().map(|at| at.saturating_duration_since(began)));
        }
        tokio::time::sleep(APART).await;
        command(&mut caller, number, "release").await?;
    }
    let missed_by = |client: &Client| scale.changes as u64 - client.told.assigned.load(Ordering::Relaxed);
    let cut = clients.iter().filter(|client| client.is_cut_off());
    let heard = Heard {
        last: Spread::of(last),
        missed: clients.iter().map(missed_by).sum(),
        noticed: cut.map(missed_by).sum(),
    };
    drop(clients);
    server.stop().await?;
    Ok(heard)
}

async fn command(caller: &mut http::Client, number: usize, command: &str) -> Result<()> {
    let path = format!("/api/competitions/show-{number}/vm/{command}");
    let answer = caller.post(&path).await?;
    ensure!(
        answer.status == 200,
        "{command}: {} {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

/// Waits until everybody who is still connected was told of so many assignments.
async fn everybody(clients: &[Client], assigned: u64) -> bool {
    let knows =
        |client: &Client| client.is_cut_off() || client.told.assigned.load(Ordering::Relaxed) >= assigned;
    let wait = async {
        while !clients.iter().all(knows) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}

/// What the Node process says of one change.
#[derive(Deserialize)]
struct Told {
    /// When the last client heard, in milliseconds since the epoch.
    last_ms: f64,
}

async fn official(scale: &Scale, report: &mut Report) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/socketio/crowd.mjs");
    let what = format!("beside it: the same to the last of {OFFICIAL} official clients in one Node process");
    let is_installed = script.with_file_name("node_modules/socket.io-client").is_dir();
    let figure = if is_installed {
        official_run(scale, &script).await?
    } else {
        "not measured: scripts/setup-test installs the official client".to_owned()
    };
    report.add(Row {
        target: "P7",
        what,
        figure,
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
    Ok(())
}

async fn official_run(scale: &Scale, script: &Path) -> Result<String> {
    let folder = crate::folder()?;
    let server = Server::start(folder.path(), VMS).await?;
    server.until_available(VMS as u64).await?;
    let mut node = Command::new("node")
        .arg(script)
        .arg(format!("http://{}", server.address()))
        .arg(OFFICIAL.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting node")?;
    let output = node.stdout.take().context("node has no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut line = async || -> Result<String> {
        let line = tokio::time::timeout(PATIENCE * 3, lines.next_line()).await??;
        line.context("node has ended")
    };
    ensure!(line().await? == "connected", "the clients did not connect");
    let mut caller = http::Client::connect(server.address()).await?;
    let mut last = Vec::new();
    for number in 1..=scale.changes {
        tokio::time::sleep(APART).await;
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
        command(&mut caller, number, "assign").await?;
        let told: Told = serde_json::from_str(&line().await?)?;
        last.push(Duration::from_secs_f64((told.last_ms - began).max(0.0) / 1e3));
        tokio::time::sleep(APART).await;
        command(&mut caller, number, "release").await?;
    }
    node.kill().await?;
    server.stop().await?;
    Ok(format!("{}; every client heard every change", Spread::of(last)))
}
