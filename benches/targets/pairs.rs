//! P2: assign and release over HTTP, many callers at once; and P11: what each pair costs those who listen.
//!
//! The server is a process of its own over machines in memory ([`fleet`](crate::fleet) says why), the load is
//! this one, and both share whatever cores there are. Everything is on: group commit on the disk, the pool's
//! replenishment, probes, the fan-out to Socket.IO clients.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Scale;
use crate::http;
use crate::report::{Report, Row, Verdict};
use crate::serve::Server;
use crate::socket::Client;
use crate::spread::{Spread, brief};
use crate::worker;

const VMS: usize = 50;
const CALLERS: usize = 32;
const CLIENTS: usize = 200;
const PAIRS_PER_S: f64 = 3_000.0;
const PAIRS_PER_S_HEARD: f64 = 2_500.0;
const ASSIGN_P99: Duration = Duration::from_millis(15);
const DELTA_BYTES: u64 = 2_000;
/// Between two commands whose bytes are counted: nothing of the one is told together with the other.
const APART: Duration = Duration::from_millis(400);

/// Which competitions the callers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// Each caller its own, again and again.
    Kept,
    /// A new one for every pair.
    New,
}

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listeners {
    Nobody,
    Snapshots,
    Deltas,
}

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    let plain = run(scale, Shows::Kept, Listeners::Nobody).await?;
    report.add(Row {
        target: "P2",
        what: format!("assign + release over HTTP, {CALLERS} callers, {VMS} VMs, durable"),
        figure: plain.to_string(),
        goal: format!(
            ">= {PAIRS_PER_S} pairs/s, assign p99 <= {}, none double",
            brief(ASSIGN_P99)
        ),
        ratio: Some(plain.pairs_per_s / PAIRS_PER_S),
        verdict: Verdict::of(plain.is_met()),
    });
    let fresh = run(scale, Shows::New, Listeners::Nobody).await?;
    report.add(Row {
        target: "P2",
        what: "beside it: a new competition for every pair".to_owned(),
        figure: fresh.to_string(),
        goal: String::new(),
        ratio: None,
        verdict: Verdict::Beside,
    });
    for (listeners, who) in [
        (Listeners::Snapshots, "Socket.IO clients connected"),
        (
            Listeners::Deltas,
            "Socket.IO clients connected, all asking for deltas",
        ),
    ] {
        let heard = run(scale, Shows::Kept, listeners).await?;
        report.add(Row {
            target: "P2",
            what: format!("the same with {CLIENTS} {who}"),
            figure: heard.to_string(),
            goal: format!(">= {PAIRS_PER_S_HEARD} pairs/s, none double"),
            ratio: Some(heard.pairs_per_s / PAIRS_PER_S_HEARD),
            verdict: Verdict::of(heard.pairs_per_s >= PAIRS_PER_S_HEARD && heard.doubles == 0),
        });
    }
    tell_bytes(scale, report).await
}

/// What came of one load.
struct Outcome {
    pairs_per_s: f64,
    assign: Spread,
    release: Spread,
    doubles: u64,
    /// Processor time of server and load, per pair.
    server_per_pair: Duration,
    load_per_pair: Duration,
    /// Cores that both had between them.
    cores: f64,
    /// Of the assignments, the share that the client told least was told of, and bytes per pair.
    told: Option<(f64, f64)>,
}

impl Outcome {
    fn is_met(&self) -> bool {
        self.pairs_per_s >= PAIRS_PER_S && self.assign.p99() <= ASSIGN_P99 && self.doubles == 0
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} pairs/s, {} doubles; assign {}; release {}; {} of processor time per pair in the server and {} in \
             the load, which had {:.2} cores between them",
            self.pairs_per_s,
            self.doubles,
            self.assign,
            self.release,
            brief(self.server_per_pair),
            brief(self.load_per_pair),
            self.cores
        )?;
        if let Some((share, bytes)) = self.told {
            write!(
                f,
                "; {:.0} B to each client per pair, {:.0} % of the assignments told one by one",
                bytes,
                share * 100.0
            )?;
        }
        Ok(())
    }
}

/// What all callers share.
#[derive(Default)]
struct Load {
    counting: AtomicBool,
    stop: AtomicBool,
    pairs: AtomicU64,
    doubles: AtomicU64,
    held: Mutex<HashSet<String>>,
}

async fn run(scale: &Scale, shows: Shows, listeners: Listeners) -> Result<Outcome> {
    let folder = crate::folder()?;
    let server = Server::start(folder.path(), VMS).await?;
    server.until_available(VMS as u64).await?;
    let clients = listen(server.address(), listeners).await?;
    let load = Arc::new(Load::default());
    let mut callers = Vec::with_capacity(CALLERS);
    for number in 0..CALLERS {
        let caller = Caller::connect(server.address(), number, shows, Arc::clone(&load)).await?;
        callers.push(tokio::spawn(caller.call()));
    }
    tokio::time::sleep(scale.load_warm_up).await;
    let before = Meter::read(&server, &load, &clients)?;
    load.counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(scale.load).await;
    let after = Meter::read(&server, &load, &clients)?;
    load.stop.store(true, Ordering::Relaxed);
    let (mut assign, mut release) = (Vec::new(), Vec::new());
    for caller in callers {
        let taken = caller.await??;
        assign.extend(taken.assign);
        release.extend(taken.release);
    }
    // However fast it went, everybody who listens must end up knowing how it ended.
    let mut asking = http::Client::connect(server.address()).await?;
    let seq = asking.get("/api/admin/vm-pool").await?.json()?["seq"].as_u64();
    for client in &clients {
        client
            .until_told(seq.context("the pool has no seq")?)
            .await
            .context("a client was not told the end")?;
    }
    drop(clients);
    server.stop().await?;
    let pairs = (after.pairs - before.pairs).max(1);
    let per_pair = |span: Duration| span / u32::try_from(pairs).unwrap_or(u32::MAX);
    let (server_time, load_time) = (after.server - before.server, after.load - before.load);
    let span = (after.at - before.at).as_secs_f64();
    let told = after.told.zip(before.told).map(|(after, before)| {
        let assigned = (after.assigned - before.assigned) as f64 / pairs as f64;
        (
            assigned.min(1.0),
            (after.bytes - before.bytes) as f64 / pairs as f64,
        )
    });
    Ok(Outcome {
        pairs_per_s: pairs as f64 / span,
        assign: Spread::of(assign),
        release: Spread::of(release),
        doubles: load.doubles.load(Ordering::Relaxed),
        server_per_pair: per_pair(server_time),
        load_per_pair: per_pair(load_time),
        cores: (server_time + load_time).as_secs_f64() / span,
        told,
    })
}

async fn listen(server: SocketAddr, listeners: Listeners) -> Result<Vec<Client>> {
    let deltas = match listeners {
        Listeners::Nobody => return Ok(Vec::new()),
        Listeners::Snapshots => false,
        Listeners::Deltas => true,
    };
    let mut clients = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        clients.push(Client::connect(server, deltas).await?);
    }
    Ok(clients)
}

/// The counters at one moment.
struct Meter {
    at: Instant,
    pairs: u64,
    server: Duration,
    load: Duration,
    told: Option<Heard>,
}

/// Of the client that was told least of that kind.
#[derive(Clone, Copy)]
struct Heard {
    assigned: u64,
    bytes: u64,
}

impl Meter {
    fn read(server: &Server, load: &Load, clients: &[Client]) -> Result<Self> {
        let assigned = clients
            .iter()
            .map(|client| client.told.assigned.load(Ordering::Relaxed))
            .min();
        let bytes = clients.iter().map(Client::bytes).min();
        Ok(Self {
            at: Instant::now(),
            pairs: load.pairs.load(Ordering::Relaxed),
            server: server.processor_time()?,
            load: worker::processor_time(std::process::id())?,
            told: assigned
                .zip(bytes)
                .map(|(assigned, bytes)| Heard { assigned, bytes }),
        })
    }
}

/// One caller, with a connection of its own.
struct Caller {
    client: http::Client,
    name: String,
    shows: Shows,
    load: Arc<Load>,
}

/// How long its calls took while it counted.
#[derive(Default)]
struct Taken {
    assign: Vec<Duration>,
    release: Vec<Duration>,
}

impl Caller {
    async fn connect(server: SocketAddr, number: usize, shows: Shows, load: Arc<Load>) -> Result<Self> {
        Ok(Self {
            client: http::Client::connect(server).await?,
            name: format!("caller-{number}"),
            shows,
            load,
        })
    }

    async fn call(mut self) -> Result<Taken> {
        let mut taken = Taken::default();
        for pair in 0u64.. {
            if self.load.stop.load(Ordering::Relaxed) {
                break;
            }
            let show = match self.shows {
                Shows::Kept => self.name.clone(),
                Shows::New => format!("{}-{pair}", self.name),
            };
            let (vm, assign) = self.assign(&show).await?;
            let release = self.release(&show, &vm).await?;
            self.load.pairs.fetch_add(1, Ordering::Relaxed);
            if self.load.counting.load(Ordering::Relaxed) {
                taken.assign.push(assign);
                taken.release.push(release);
            }
        }
        Ok(taken)
    }

    /// Takes a VM; one that somebody holds already is counted.
    async fn assign(&mut self, show: &str) -> Result<(String, Duration)> {
        let path = format!("/api/competitions/{show}/vm/assign");
        let began = Instant::now();
        let answer = self.client.post(&path).await?;
        let took = began.elapsed();
        ensure!(
            answer.status == 200,
            "assign: {} {}",
            answer.status,
            answer.text()
        );
        let vm = answer.json()?["vmId"].as_str().map(str::to_owned);
        let vm = vm.context("an assignment without a VM")?;
        if !self.held().insert(vm.clone()) {
            self.load.doubles.fetch_add(1, Ordering::Relaxed);
        }
        Ok((vm, took))
    }

    /// Gives it back. It counts as free before the call, since somebody else may get it before the answer is
    /// read.
    async fn release(&mut self, show: &str, vm: &str) -> Result<Duration> {
        self.held().remove(vm);
        let path = format!("/api/competitions/{show}/vm/release");
        let began = Instant::now();
        let answer = self.client.post(&path).await?;
        let took = began.elapsed();
        ensure!(
            answer.status == 200,
            "release: {} {}",
            answer.status,
            answer.text()
        );
        Ok(took)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.load.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes to each client per assign and release, one at a time.
async fn tell_bytes(scale: &Scale, report: &mut Report) -> Result<()> {
    let folder = crate::folder()?;
    let server = Server::start(folder.path(), VMS).await?;
    server.until_available(VMS as u64).await?;
    let clients = [
        Client::connect(server.address(), true).await?,
        Client::connect(server.address(), false).await?,
    ];
    let mut caller = http::Client::connect(server.address()).await?;
    tokio::time::sleep(APART).await;
    let before = clients.each_ref().map(Client::bytes);
    for number in 0..scale.told {
        for command in ["assign", "release"] {
            let answer = caller
                .post(&format!("/api/competitions/show-{number}/vm/{command}"))
                .await?;
            ensure!(
                answer.status == 200,
                "{command}: {} {}",
                answer.status,
                answer.text()
            );
            tokio::time::sleep(APART).await;
        }
    }
    let after = clients.each_ref().map(Client::bytes);
    drop(clients);
    server.stop().await?;
    let [deltas, snapshots] = [0, 1].map(|kind| (after[kind] - before[kind]) / scale.told as u64);
    report.add(Row {
        target: "P11",
        what: format!("bytes to each client per assign + release, {VMS} VMs, one pair at a time"),
        figure: format!(
            "{deltas} B with deltas, {snapshots} B with snapshots, all their probes' news included"
        ),
        goal: format!("<= {DELTA_BYTES} B with deltas"),
        ratio: Some(deltas as f64 / DELTA_BYTES as f64),
        verdict: Verdict::of(deltas <= DELTA_BYTES),
    });
    Ok(())
}
