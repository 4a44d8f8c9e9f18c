//! The coordinator in a process of its own, killed without warning in the middle of a failover.
//!
//! The world stays: the cloud, the machines and the ingest live in this process. What the coordinator
//! acknowledged must be there when it is back, and every show must be on air again, on one publisher.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::drill::{self, Cast};
use super::report::{FailoverReport, Invariants, ScenarioReport};
use super::scenario::Scenario;
use super::watch;
use crate::domain::ids::{InstanceId, ShowId};
use crate::rehearsal::stage::{Stage, stream_key};
use crate::sim::model::fault::Fault;

/// Limit on the coordinator answering after its start.
const READY: Duration = Duration::from_secs(30);
/// Limit on everything else that is awaited.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two questions over HTTP.
const LOOK: Duration = Duration::from_millis(25);
/// A failover of a crashed studio takes less than this; the kill comes at a random moment in it.
const KILL_WITHIN_MS: u64 = 900;

/// Plays the scenario once per show: crash its studio, kill the coordinator, start it again.
///
/// # Errors
/// When the stage could not be set; whatever goes wrong after that is in the report.
pub async fn play(cast: Cast) -> anyhow::Result<ScenarioReport> {
    let scenario = Scenario::CoordinatorKill9;
    let stage = Stage::set(drill::setting(scenario, cast)).await?;
    let shows = drill::shows(cast.shows)?;
    let mut act = Act::begin(stage).await?;
    let mut failures = Vec::new();
    let mut checked = 0;
    act.set_up(&shows).await.context("setting up")?;
    let mut rng = StdRng::seed_from_u64(cast.seed);
    for show in &shows {
        let pause = Duration::from_millis(rng.random_range(0..KILL_WITHIN_MS));
        match act.crash_and_kill(show, &shows, pause).await {
            Ok(looks) => checked += looks,
            Err(error) => failures.push(format!(
                "killed {} ms after the crash: {error:#}",
                pause.as_millis()
            )),
        }
    }
    let mut failovers = Vec::new();
    let mut shows_on_air = 0;
    for show in &shows {
        match act.is_on_air(show).await {
            Ok(()) => shows_on_air += 1,
            Err(error) => failures.push(format!("{error:#}")),
        }
        failovers.extend(act.failovers(show).await?);
    }
    failures.extend(drill::unexpected(scenario, &shows, &failovers));
    let mut invariants = Invariants {
        checked,
        violations: Vec::new(),
    };
    watch::add_ingest(&mut invariants, act.stage.world.ingest());
    Ok(ScenarioReport {
        name: scenario.name(),
        passed: failures.is_empty() && invariants.violations.is_empty(),
        shows: shows.len(),
        shows_on_air,
        failovers,
        invariants,
        failures,
    })
}

struct Act {
    stage: Stage,
    address: SocketAddr,
    http: reqwest::Client,
    coordinator: Child,
}

impl Act {
    async fn begin(stage: Stage) -> anyhow::Result<Self> {
        // Bound and let go again: free now, and nobody else on this machine is looking for it.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let coordinator = launch(&stage, address)?;
        let act = Self {
            stage,
            address,
            http,
            coordinator,
        };
        act.until_ready().await?;
        Ok(act)
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let ready = self.until(READY, "the coordinator ready", async |act: &Self| {
            let url = format!("http://{}/readyz", act.address);
            let answer = act.http.get(url).send().await.ok()?;
            answer.status().is_success().then_some(())
        });
        ready.await
    }

    async fn set_up(&mut self, shows: &[ShowId]) -> anyhow::Result<()> {
        let warm = u64::from(self.stage.world.config().warm);
        self.until(PATIENCE, "the warm VMs available", async |act: &Self| {
            let pool = act.get("/api/admin/vm-pool").await.ok()?;
            (pool["counts"]["available"].as_u64()? >= warm).then_some(())
        })
        .await?;
        for show in shows {
            let assigned = self
                .post(&format!("/api/competitions/{show}/vm/assign"), json!({}))
                .await?;
            let instance = text(&assigned, "instanceId")?;
            let key = stream_key(show);
            self.stage
                .machine(&InstanceId::new(instance)?)?
                .load_example_studio(&key)?;
        }
        // The studios are captured a moment after they have changed.
        tokio::time::sleep(self.stage.config.obs.capture_debounce * 4).await;
        for show in shows {
            self.post(&format!("/api/competitions/{show}/show/start"), json!({}))
                .await?;
        }
        Ok(())
    }

    /// One round: the show's studio crashes, the coordinator dies in the middle of mending that, and comes
    /// back. Returns how many facts were compared.
    async fn crash_and_kill(
        &mut self,
        show: &ShowId,
        all: &[ShowId],
        after: Duration,
    ) -> anyhow::Result<u64> {
        let acknowledged = self.assignments(all).await?;
        let (_, instance) = acknowledged
            .iter()
            .find(|(id, _)| id == show)
            .context("the show has no VM")?
            .clone();
        self.stage
            .world
            .fault(&InstanceId::new(instance.clone())?, Fault::StudioCrash)?;
        tokio::time::sleep(after).await;
        self.coordinator.kill().await.context("killing the coordinator")?;
        self.coordinator = launch(&self.stage, self.address)?;
        self.until_ready().await?;
        let now = self.assignments(all).await?;
        for (id, before) in &acknowledged {
            let after = now.iter().find(|(show, _)| show == id);
            anyhow::ensure!(
                after.is_some(),
                "the assignment of show {id} was acknowledged and is lost"
            );
            let untouched = id == show || after.is_some_and(|(_, instance)| instance == before);
            anyhow::ensure!(untouched, "show {id} was moved though nothing happened to it");
        }
        let what = format!("show {show} on air on another VM");
        self.until(PATIENCE, &what, async |act: &Self| {
            let (_, now) = act.assignments(std::slice::from_ref(show)).await.ok()?.pop()?;
            let moved = now != instance;
            (moved && act.is_on_air(show).await.is_ok()).then_some(())
        })
        .await?;
        let what = format!("the studio of show {show} compared");
        self.until(PATIENCE, &what, async |act: &Self| {
            let newest_first = act.failovers(show).await.ok()?;
            newest_first.first()?.found.as_ref().map(drop)
        })
        .await?;
        Ok(acknowledged.len() as u64 * 2)
    }

    /// Which instance each show has, as the coordinator says.
    async fn assignments(&self, shows: &[ShowId]) -> anyhow::Result<Vec<(ShowId, String)>> {
        let mut found = Vec::with_capacity(shows.len());
        for show in shows {
            let vm = self.get(&format!("/api/competitions/{show}/vm")).await?;
            found.push((show.clone(), text(&vm, "instanceId")?));
        }
        Ok(found)
    }

    /// In use by the coordinator's word, and published by exactly that machine by the ingest's.
    async fn is_on_air(&self, show: &ShowId) -> anyhow::Result<()> {
        let vm = self.get(&format!("/api/competitions/{show}/vm")).await?;
        let status = text(&vm, "status")?;
        anyhow::ensure!(status == "in_use", "show {show} is {status}");
        let instance = self
            .stage
            .world
            .instance(&InstanceId::new(text(&vm, "instanceId")?)?)
            .with_context(|| format!("show {show} is on an instance that the cloud does not know"))?;
        let publishers = self.stage.world.ingest().publishers(&stream_key(show));
        let one = match publishers.as_slice() {
            [one] => Some(std::net::IpAddr::V4(*one)),
            _ => None,
        };
        anyhow::ensure!(
            one.is_some() && one == instance.private_ip,
            "show {show} should be published by {:?}; the ingest sees {publishers:?}",
            instance.private_ip
        );
        Ok(())
    }

    async fn failovers(&self, show: &ShowId) -> anyhow::Result<Vec<FailoverReport>> {
        let answer = self.get(&format!("/api/competitions/{show}/failovers")).await?;
        let list = answer["failovers"].as_array().context("no list of failovers")?;
        let gap = drill::ingest_gap_ms(self.stage.world.ingest(), &stream_key(show));
        let timeline = |value: &Value, name: &str| value["timeline"][name].as_u64();
        list.iter()
            .map(|value| {
                Ok(FailoverReport {
                    show: show.to_string(),
                    cause: text(value, "cause")?,
                    epoch: value["epoch"].as_u64().unwrap_or_default(),
                    from: text(value, "fromVmId")?,
                    to: value["toVmId"].as_str().map(str::to_owned),
                    detect_ms: timeline(value, "detectMs").unwrap_or_default(),
                    decide_ms: timeline(value, "decideMs"),
                    fence_ms: timeline(value, "fenceMs"),
                    restore_ms: timeline(value, "restoreMs"),
                    verify_ms: timeline(value, "verifyMs"),
                    off_air_ms: timeline(value, "offAirMs"),
                    ingest_gap_ms: gap,
                    differences: sentences(&value["differences"]).unwrap_or_default(),
                    found: sentences(&value["comparison"]["differences"]),
                })
            })
            .collect()
    }

    async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        look: impl AsyncFn(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let wait = async {
            loop {
                if let Some(found) = look(self).await {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(limit, wait).await;
        found.with_context(|| format!("not within {} s: {what}", limit.as_secs()))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .http
            .get(format!("http://{}{path}", self.address))
            .send()
            .await?;
        read(path, answer).await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer = self
            .http
            .post(format!("http://{}{path}", self.address))
            .json(&body)
            .send()
            .await?;
        read(path, answer).await
    }
}

async fn read(path: &str, answer: reqwest::Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer
        .json()
        .await
        .with_context(|| format!("{path} answered no JSON"))?;
    anyhow::ensure!(status.is_success(), "{path} answered {status}: {body}");
    Ok(body)
}

fn sentences(value: &Value) -> Option<Vec<String>> {
    serde_json::from_value(value.clone()).ok()
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    value[name]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no {name} in {value}"))
}

/// Starts the coordinator as an operator would: the same program, `serve`, configured by its environment.
fn launch(stage: &Stage, address: SocketAddr) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    Command::new(program)
        .arg("serve")
        .env_clear()
        .envs(stage.environment(address))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log_file(stage)?)
        .kill_on_drop(true)
        .spawn()
        .context("starting the coordinator")
}

fn log_file(stage: &Stage) -> anyhow::Result<Stdio> {
    let path = stage.dir().join("coordinator.log");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    Ok(Stdio::from(
        file.with_context(|| format!("opening {}", path.display()))?,
    ))
}
