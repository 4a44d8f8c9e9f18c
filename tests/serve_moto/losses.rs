//! A show's VM fails while it is on air, in every way that cloud and SSH have a part in.

use serde_json::Value;
use understudy::domain::studio::Secret;
use understudy::sim::model::fault::Fault;
use understudy::sim::model::studio::example::{EXAMPLE_COLLECTION, EXAMPLE_PROGRAM};

use crate::LIMIT;
use crate::coordinator::text;
use crate::scene::{Cast, Scene, key};

const PAIR: Cast = Cast {
    running: 2,
    stopped: 0,
    warm_count: 0,
    max_instances: 3,
};

/// The show is on the spare, with the studio that it had. Gives the failover.
async fn moved(scene: &Scene) -> Value {
    let [on_air, spare] = scene.instances.as_slice() else {
        panic!("two instances")
    };
    let (to, now) = scene.until_moved("finals", on_air).await;
    assert_eq!(to, *spare);
    let now = now.view();
    assert_eq!(now.scene_collection, EXAMPLE_COLLECTION);
    assert_eq!(now.program_scene.as_deref(), Some(EXAMPLE_PROGRAM));
    assert_eq!(now.stream_key, Some(Secret::new(key("finals"))));
    let failovers = scene.coordinator.failovers("finals").await;
    let [failover] = <[Value; 1]>::try_from(failovers).expect("one failover");
    assert_eq!(failover["ending"], "on-air");
    assert_eq!(failover["differences"].as_array().unwrap().len(), 0, "{failover}");
    failover
}

fn cause_and_fence(failover: &Value) -> (String, String) {
    (text(&failover["cause"]), text(&failover["fence"]))
}

fn pair(cause: &str, fence: &str) -> (String, String) {
    (cause.to_owned(), fence.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_moved_from_an_instance_that_is_stopped_behind_its_back() {
    let scene = Scene::warm(PAIR).await;
    let instance = &scene.instances[0];
    scene.go_on_air("finals", instance).await;
    scene.fleet.stop_behind_its_back(instance).await;
    let failover = moved(&scene).await;
    assert_eq!(cause_and_fence(&failover), pair("machine-lost", "machine-off"));

    // It stays out of use with the reason on it, and is not started for a pool that keeps none warm.
    let pool = scene.coordinator.pool().await;
    assert_eq!(pool.status(instance), Some("error"));
    assert_eq!(scene.moto.state(instance).await, "stopped");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_moved_from_an_instance_that_is_terminated_behind_its_back() {
    let scene = Scene::warm(PAIR).await;
    let instance = &scene.instances[0];
    scene.go_on_air("finals", instance).await;
    scene.fleet.terminate_behind_its_back(instance).await;
    let failover = moved(&scene).await;
    assert_eq!(cause_and_fence(&failover), pair("machine-lost", "machine-off"));
    let pool = scene
        .coordinator
        .until_pool("the VM has left the pool", |pool| pool.vm(instance).is_none())
        .await;
    assert_eq!((pool.len(), pool.count("inUse")), (1, 1));
    assert_eq!(scene.moto.state(instance).await, "terminated");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_whose_instance_is_stopped_waits_for_a_cold_spare_to_be_started() {
    let scene = Scene::set(Cast {
        running: 1,
        stopped: 1,
        ..PAIR
    })
    .await;
    scene.coordinator.until_available(1).await;
    let instance = &scene.instances[0];
    scene.go_on_air("finals", instance).await;
    scene.fleet.stop_behind_its_back(instance).await;
    moved(&scene).await;
    assert_eq!(scene.fleet.starts(&scene.instances[1]).await, 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_whose_studio_crashed_is_moved_once_ssh_says_that_no_studio_is_left() {
    let scene = Scene::warm(PAIR).await;
    let machine = scene.go_on_air("finals", &scene.instances[0]).await;
    machine.fault(Fault::StudioCrash);
    let failover = moved(&scene).await;
    assert_eq!(cause_and_fence(&failover), pair("studio-lost", "studio-killed"));
    assert_eq!(scene.moto.state(&scene.instances[0]).await, "running");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_hangs_is_killed_over_ssh_before_its_show_is_on_air_elsewhere() {
    let scene = Scene::warm(PAIR).await;
    let machine = scene.go_on_air("finals", &scene.instances[0]).await;
    machine.fault(Fault::StudioHang);
    let failover = moved(&scene).await;
    assert_eq!(cause_and_fence(&failover), pair("studio-lost", "studio-killed"));
    let killed = format!("{} pkill -KILL -x obs", machine.address());
    let commands = scene.fleet.shell().commands();
    assert!(commands.contains(&killed), "{commands:?}");
    assert!(!machine.view().studio_alive);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_sudo_refuses_is_not_taken_for_a_studio_that_is_gone() {
    let scene = Scene::warm(PAIR).await;
    scene.fleet.shell().require_password();
    let machine = scene.go_on_air("finals", &scene.instances[0]).await;
    machine.fault(Fault::StudioHang);
    let failover = moved(&scene).await;
    assert_eq!(cause_and_fence(&failover), pair("studio-lost", "machine-off"));
    assert_eq!(scene.moto.state(&scene.instances[0]).await, "stopped");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_answers_on_no_channel_is_switched_off_before_its_show_is_on_air_elsewhere() {
    let scene = Scene::warm(PAIR).await;
    let instance = &scene.instances[0];
    scene.go_on_air("finals", instance).await;
    scene.fleet.pull_network(instance).await;
    let failover = moved(&scene).await;
    assert_eq!(cause_and_fence(&failover), pair("machine-lost", "machine-off"));
    assert_eq!(scene.moto.state(instance).await, "stopped");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_not_moved_when_the_ingest_cannot_be_reached_from_another_vm_either() {
    let scene = Scene::warm(PAIR).await;
    let machine = scene.go_on_air("finals", &scene.instances[0]).await;
    scene.ingest.take_down().await;
    // A real bash on the spare has tried to connect.
    scene.coordinator.until_logged("Ingest unreachable").await;
    scene.ingest.bring_back().await.unwrap();
    scene.until_published_by("finals", machine.address()).await;
    let view = scene.coordinator.vm_of("finals").await.expect(200);
    assert_eq!(view["instanceId"], *scene.instances[0]);
    assert_eq!(scene.coordinator.failovers("finals").await.len(), 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_sends_nothing_is_moved_when_another_vm_reaches_the_ingest() {
    let scene = Scene::warm(PAIR).await;
    let machine = scene.go_on_air("finals", &scene.instances[0]).await;
    machine.fault(Fault::OutputSilent);
    let failover = moved(&scene).await;
    assert_eq!(
        cause_and_fence(&failover),
        pair("output-silent", "stream-stopped")
    );
    assert!(!machine.is_streaming());
    assert_eq!(scene.ingest.publishers(&key("finals")).len(), 1);
    assert!(machine.until(LIMIT, |view| view.studio_alive).await.is_some());
    scene.end().await;
}
