//! SIGSTOP for longer than the program's own deadlines. Waking, it finds every one of them passed at once: that it was
//! not there says nothing about anybody else.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use understudy::rehearsal::stage::Stage;
use understudy::sim::model::fault::Fault;
use understudy::sim::world::WorldConfig;

use crate::LIMIT;
use crate::process::{Launch, Process};
use crate::scene::{self, begin, key, moves, never_two_publishers, on_air, text, until_on_air};
use crate::support::eventually::eventually;

/// Longer than every deadline that these tests set, and than the silence that counts as loss.
const LONG: Duration = Duration::from_secs(8);

/// Stops the program for longer than its deadlines. How long is the trouble itself: nothing else could tell when it is over.
async fn asleep(process: &Process) {
    process.signal("STOP").await;
    tokio::time::sleep(LONG).await;
    process.signal("CONT").await;
}

/// Deadlines that are long for what is awaited, and shorter than the program is stopped.
fn launch() -> Launch {
    let seconds = |name| key(name, "5s");
    Launch {
        environment: vec![
            seconds("POOL__WARMUP_TIME"),
            seconds("POOL__START_TIMEOUT"),
            seconds("POOL__READY_TIMEOUT"),
            seconds("SHOWS__CLEANUP_DEADLINE"),
            seconds("FAILOVER__RESTORE_DEADLINE"),
            seconds("FAILOVER__VERIFY_DEADLINE"),
        ],
        ..Launch::default()
    }
}

/// In a world whose machines take so long to boot and whose studios to stream that a stop surely comes before that.
async fn slow(warm: u32, cold: u32) -> (Arc<Stage>, Process) {
    let mut world = WorldConfig::for_test(warm, cold);
    world.machine.boot = Duration::from_millis(1_500);
    world.machine.output.rise = Duration::from_millis(1_500);
    let stage = scene::set(world, |_| {}).await;
    let process = Process::start(&stage, launch()).await;
    process.until_count("available", u64::from(warm)).await;
    (stage, process)
}

/// Nobody was told that something went wrong.
fn nothing_was_given_up(process: &Process) {
    let log = process.log();
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| {
            [
                "did not start",
                "not clean",
                "Spare lost",
                "could not be started",
                "not ready",
            ]
            .iter()
            .any(|text| line.contains(text))
        })
        .collect();
    assert_eq!(complaints, [""; 0]);
    assert!(
        log.contains("this process did not run for a while"),
        "it did not notice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_came_up_meanwhile_is_not_given_up() {
    let (_stage, process) = slow(0, 1).await;
    let pool = eventually("the cold VM known", LIMIT, async || {
        let pool = process.client.get("/api/admin/vm-pool").await.done()?.clone();
        (pool["counts"]["stopped"] == 1).then_some(pool)
    })
    .await;
    let vm = text(&pool["vms"][0]["vmId"]);
    let path = format!("/api/admin/vm-pool/{vm}/start");
    process.client.post(&path, json!({})).await.expect();
    asleep(&process).await;
    process.until_count("available", 1).await;
    nothing_was_given_up(&process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_of_a_stream_that_worked_meanwhile_is_not_taken_back() {
    let (stage, process) = slow(1, 0).await;
    let show = scene::assigned(&stage, &process, "gala").await;
    let client = process.client.clone();
    let started =
        tokio::spawn(async move { client.post("/api/competitions/gala/show/start", json!({})).await });
    eventually("the start recorded", LIMIT, async || {
        let view = scene::view(&process, "gala").await?;
        (view["streamWanted"] == true).then_some(())
    })
    .await;
    asleep(&process).await;
    until_on_air(&stage, &process, &show).await;
    let answer = started.await.unwrap();
    assert_eq!(answer.expect()["onAir"], true);
    nothing_was_given_up(&process);
    let stretches = stage.world.ingest().stretches();
    assert_eq!(
        stretches.len(),
        1,
        "it was stopped and started again: {stretches:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_under_way_ends_with_a_clean_vm() {
    let (stage, process) = begin(1, 0, launch()).await;
    on_air(&stage, &process, "gala").await;
    let client = process.client.clone();
    let released =
        tokio::spawn(async move { client.post("/api/competitions/gala/vm/release", json!({})).await });
    eventually("the release begun", LIMIT, async || {
        let view = scene::view(&process, "gala").await?;
        (view["phase"] == "releasing").then_some(())
    })
    .await;
    asleep(&process).await;
    let answer = released.await.unwrap().expect();
    assert_eq!(answer["status"], "available", "{answer}");
    nothing_was_given_up(&process);
    never_two_publishers(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_under_way_goes_on_to_the_same_spare() {
    let (stage, process) = slow(1, 1).await;
    let show = on_air(&stage, &process, "gala").await;
    let instance = scene::instance(&process, "gala").await;
    stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    eventually("a move to a VM that is off", LIMIT, async || {
        let (_, current) = moves(&process, "gala").await?;
        current["toVmId"].as_str().map(drop)
    })
    .await;
    asleep(&process).await;
    until_on_air(&stage, &process, &show).await;
    nothing_was_given_up(&process);
    let view = scene::view(&process, "gala").await.unwrap();
    assert_eq!(view["epoch"], 2, "it was moved more than once: {view}");
    never_two_publishers(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_really_failed_meanwhile_is_mended_and_nothing_else_is_touched() {
    let (stage, process) = begin(3, 0, launch()).await;
    let gala = on_air(&stage, &process, "gala").await;
    let other = on_air(&stage, &process, "other").await;
    let instance = scene::instance(&process, "gala").await;
    process.signal("STOP").await;
    stage.world.fault(&instance, Fault::StudioCrash).unwrap();
    // As in `asleep`.
    tokio::time::sleep(LONG).await;
    process.signal("CONT").await;
    eventually("the show moved", LIMIT, async || {
        let (finished, _) = moves(&process, "gala").await?;
        (finished.len() == 1).then_some(())
    })
    .await;
    for show in [&gala, &other] {
        until_on_air(&stage, &process, show).await;
    }
    let (finished, current) = moves(&process, "other").await.unwrap();
    assert!(finished.is_empty() && current.is_null(), "{finished:?} {current}");
    never_two_publishers(&stage);
}
