//! The pool that trouble befalls: the stage, and shows on air on it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use understudy::config::Config;
use understudy::domain::ids::{InstanceId, ShowId};
use understudy::rehearsal::stage::{Setting, Stage, stream_key};
use understudy::sim::world::WorldConfig;

use crate::LIMIT;
use crate::process::{Launch, Process};
use crate::support::eventually::eventually;

/// A stage with VMs that run and VMs that are off.
pub async fn set(world: WorldConfig, change: impl FnOnce(&mut Config)) -> Arc<Stage> {
    let mut base = Config::default();
    base.pool.warm_count = 0;
    base.pool.max_instances = 20;
    base.pool.max_concurrent = 20;
    base.pool.health_check_interval = Duration::from_secs(5);
    base.cloud.sweep_interval = Duration::from_millis(500);
    change(&mut base);
    // It holds the whole configuration.
    Arc::new(Box::pin(Stage::set(Setting { world, base })).await.unwrap())
}

/// A key of the configuration, as a variable.
pub fn key(name: &str, value: &str) -> (String, String) {
    (format!("UNDERSTUDY__{name}"), value.to_owned())
}

/// A stage and the program on it, with so many VMs ready.
pub async fn begin(warm: u32, cold: u32, launch: Launch) -> (Arc<Stage>, Process) {
    let stage = set(WorldConfig::for_test(warm, cold), |_| {}).await;
    let process = Process::start(&stage, launch).await;
    process.until_count("available", u64::from(warm)).await;
    (stage, process)
}

/// A show that is assigned, with a studio set up in it as a producer would, and on air.
pub async fn on_air(stage: &Stage, process: &Process, name: &str) -> ShowId {
    let show = assigned(stage, process, name).await;
    let path = format!("/api/competitions/{name}/show/start");
    process.client.post(&path, json!({})).await.expect();
    show
}

/// The same, not on air yet.
pub async fn assigned(stage: &Stage, process: &Process, name: &str) -> ShowId {
    let show = ShowId::new(name).unwrap();
    let path = format!("/api/competitions/{name}/vm/assign");
    let assigned = process.client.post(&path, json!({})).await.expect();
    let instance = InstanceId::new(text(&assigned["instanceId"])).unwrap();
    let key = stream_key(&show);
    stage
        .machine(&instance)
        .unwrap()
        .load_example_studio(&key)
        .unwrap();
    until_captured(process, name).await;
    show
}

/// Its studio is in the ledger, so that it can be made elsewhere.
async fn until_captured(process: &Process, name: &str) {
    let path = format!("/api/competitions/{name}/studio");
    eventually(&format!("the studio of {name} captured"), LIMIT, async || {
        let studio = process.client.get(&path).await;
        let scenes = studio.done()?["studio"]["scenes"].as_array()?.len();
        (scenes > 1).then_some(())
    })
    .await;
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// The instance that a show is on.
pub async fn instance(process: &Process, show: &str) -> InstanceId {
    let vm = process
        .client
        .get(&format!("/api/competitions/{show}/vm"))
        .await
        .expect();
    InstanceId::new(text(&vm["instanceId"])).unwrap()
}

/// The show as the program lists it.
pub async fn view(process: &Process, show: &str) -> Option<Value> {
    let shows = process.client.get("/api/shows").await;
    let shows = shows.done()?["shows"].as_array()?.clone();
    shows.into_iter().find(|view| view["competitionId"] == show)
}

/// Finished and present moves of a show.
pub async fn moves(process: &Process, show: &str) -> Option<(Vec<Value>, Value)> {
    let answer = process
        .client
        .get(&format!("/api/competitions/{show}/failovers"))
        .await;
    let body = answer.done()?;
    Some((body["failovers"].as_array()?.clone(), body["current"].clone()))
}

/// On air by the program's word, and published by exactly that machine by the ingest's. Says what is wrong.
pub async fn is_on_air(stage: &Stage, process: &Process, show: &ShowId) -> Result<(), String> {
    let Some(view) = view(process, show.as_str()).await else {
        return Err(format!("{show} is not listed"));
    };
    if view["phase"] != "on_air" {
        return Err(format!("{show} is {}", view["phase"]));
    }
    let vm = process.client.get(&format!("/api/competitions/{show}/vm")).await;
    let vm = vm.done().cloned().ok_or_else(|| format!("{show}: {vm:?}"))?;
    let instance = InstanceId::new(text(&vm["instanceId"])).unwrap();
    let expected = stage
        .world
        .instance(&instance)
        .and_then(|instance| instance.private_ip);
    let publishers = stage.world.ingest().publishers(&stream_key(show));
    match publishers.as_slice() {
        [one] if Some(std::net::IpAddr::V4(*one)) == expected => Ok(()),
        other => Err(format!(
            "{show} should be published by {expected:?}, not by {other:?}"
        )),
    }
}

pub async fn until_on_air(stage: &Stage, process: &Process, show: &ShowId) {
    eventually(&format!("{show} on air"), LIMIT, async || {
        is_on_air(stage, process, show).await.ok()
    })
    .await;
}

/// Nobody ever published beside somebody else.
#[track_caller]
pub fn never_two_publishers(stage: &Stage) {
    let overlaps = stage.world.ingest().overlaps();
    assert_eq!(overlaps, [], "two publishers at once");
}
