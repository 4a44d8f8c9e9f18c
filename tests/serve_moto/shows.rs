//! Shows: their VMs, their streams, and a coordinator that dies and comes back.

use serde_json::json;

use crate::LIMIT;
use crate::coordinator::text;
use crate::scene::{Cast, Scene, key};

const PAIR: Cast = Cast {
    running: 2,
    stopped: 0,
    warm_count: 0,
    max_instances: 3,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_assigned_and_released_and_a_repeated_request_gets_the_first_answer() {
    let scene = Scene::warm(PAIR).await;
    let coordinator = &scene.coordinator;
    let assign = "/api/competitions/finals/vm/assign";
    let first = coordinator.post_once(assign, json!({}), "a1").await.expect(200);
    let vm = text(&first["vmId"]);
    let machine = scene.fleet.machine(&text(&first["instanceId"])).await;
    assert_eq!(first["status"], "assigned");
    assert_eq!(first["vmAddress"], format!("{}:3003", machine.address()));
    let again = coordinator.post_once(assign, json!({}), "a1").await.expect(200);
    for field in ["vmId", "instanceId", "vmAddress", "competitionId", "epoch"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    let refused = coordinator.post_once(assign, json!({}), "a2").await.expect(400);
    assert_eq!(refused["vmId"], *vm);
    let other = "/api/competitions/heats/vm/assign";
    coordinator.post_once(other, json!({}), "a1").await.expect(422);

    let view = coordinator.vm_of("finals").await.expect(200);
    assert_eq!((&view["vmId"], &view["phase"]), (&json!(vm), &json!("off_air")));
    let told = machine
        .until(LIMIT, |view| view.active_show.as_deref() == Some("finals"))
        .await;
    assert!(told.is_some(), "its show server was told");

    let release = "/api/competitions/finals/vm/release";
    let released = coordinator.post_once(release, json!({}), "r1").await.expect(200);
    assert_eq!(
        (&released["vmId"], &released["status"]),
        (&json!(vm), &json!("available"))
    );
    let pool = coordinator.pool().await;
    assert_eq!((pool.count("available"), pool.count("assigned")), (2, 0));
    let told = machine.until(LIMIT, |view| view.active_show.is_none()).await;
    assert!(told.is_some(), "its show server was told");

    // The repetition is answered, and takes nothing from the show's next VM.
    let next = coordinator.assign("finals").await.expect(200);
    let again = coordinator.post_once(release, json!({}), "r1").await.expect(200);
    assert_eq!(again["vmId"], *vm);
    let view = coordinator.vm_of("finals").await.expect(200);
    assert_eq!(view["vmId"], next["vmId"]);
    coordinator.vm_of("heats").await.expect(404);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_without_a_warm_vm_gets_a_cold_one_that_is_started_for_it() {
    let scene = Scene::set(Cast {
        running: 0,
        stopped: 2,
        warm_count: 0,
        max_instances: 3,
    })
    .await;
    let assigned = scene.coordinator.assign("finals").await.expect(202);
    assert_eq!(
        (&assigned["status"], &assigned["position"]),
        (&json!("starting"), &json!(1))
    );
    let held = "/api/competitions/heats/vm/assign?wait=60";
    let held = scene.coordinator.post(held, json!({})).await.expect(200);
    assert_ne!(held["vmId"], assigned["vmId"]);
    scene
        .coordinator
        .until_pool("both are assigned", |pool| pool.count("assigned") == 2)
        .await;
    assert_eq!(scene.running_count().await, 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_killed_knows_its_assignments_when_it_is_back_and_touches_no_show() {
    let mut scene = Scene::warm(Cast { running: 3, ..PAIR }).await;
    let [on_air, _, _] = <[String; 3]>::try_from(scene.instances.clone()).unwrap();
    let machine = scene.go_on_air("finals", &on_air).await;
    let assign = "/api/competitions/heats/vm/assign";
    let heats = scene
        .coordinator
        .post_once(assign, json!({}), "h1")
        .await
        .expect(200);
    let finals = scene.coordinator.vm_of("finals").await.expect(200);
    let sent = scene.ingest.bytes(&key("finals"));

    scene.coordinator.kill_and_start().await;
    let view = scene.coordinator.vm_of("finals").await.expect(200);
    for field in ["vmId", "instanceId", "epoch", "phase", "streamWanted", "status"] {
        assert_eq!(view[field], finals[field], "{field}");
    }
    let view = scene.coordinator.vm_of("heats").await.expect(200);
    assert_eq!(view["vmId"], heats["vmId"]);
    let again = scene
        .coordinator
        .post_once(assign, json!({}), "h1")
        .await
        .expect(200);
    assert_eq!(
        (&again["vmId"], &again["repeated"]),
        (&heats["vmId"], &json!(true))
    );

    // It has looked at the machine again, on which nothing was done meanwhile.
    let clients = machine.until(LIMIT, |view| view.obs_clients > 0).await;
    assert!(clients.is_some(), "it talks to the studio again");
    assert!(machine.is_streaming());
    scene.until_published_by("finals", machine.address()).await;
    let stretches = scene.ingest.stretches();
    assert_eq!(stretches.len(), 1, "the stream was interrupted: {stretches:?}");
    let goes_on = scene
        .ingest
        .until(LIMIT, |ingest| ingest.bytes(&key("finals")) > sent)
        .await;
    assert!(goes_on);
    assert_eq!(scene.coordinator.failovers("finals").await.len(), 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_a_vm_while_the_coordinator_was_dead_is_noticed_when_it_is_back() {
    let mut scene = Scene::warm(Cast { running: 3, ..PAIR }).await;
    let [on_air, idle, spare] = <[String; 3]>::try_from(scene.instances.clone()).unwrap();
    scene.go_on_air("finals", &on_air).await;
    scene.coordinator.kill().await;
    scene.fleet.stop_behind_its_back(&on_air).await;
    scene.fleet.terminate_behind_its_back(&idle).await;
    scene.coordinator.start_again().await;

    let (to, _) = scene.until_moved("finals", &on_air).await;
    assert_eq!(to, spare);
    scene
        .coordinator
        .until_pool("the terminated VM has left", |pool| pool.vm(&idle).is_none())
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_told_to_end_ends_well_and_leaves_its_shows_on_air() {
    let mut scene = Scene::warm(PAIR).await;
    let instance = scene.instances[0].clone();
    let machine = scene.go_on_air("finals", &instance).await;
    let ended = scene.coordinator.terminate().await;
    assert!(ended.success(), "{ended}");
    assert!(machine.is_streaming());
    let sent = scene.ingest.bytes(&key("finals"));
    let goes_on = scene
        .ingest
        .until(LIMIT, |ingest| ingest.bytes(&key("finals")) > sent)
        .await;
    assert!(goes_on, "its bytes go on arriving");
    assert_eq!(scene.moto.state(&instance).await, "running");

    scene.coordinator.start_again().await;
    let view = scene.coordinator.vm_of("finals").await.expect(200);
    assert_eq!(view["instanceId"], *instance);
    let stop = "/api/competitions/finals/show/stop";
    let stopped = scene.coordinator.post(stop, json!({})).await.expect(200);
    assert_eq!(stopped["onAir"], false);
    assert!(!machine.is_streaming());
    scene.end().await;
}
