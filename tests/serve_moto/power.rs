//! Starting, stopping and terminating by the API, and by others.

use serde_json::json;

use crate::scene::{Cast, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_stopped_and_started_by_the_api_and_refuses_what_does_not_fit_its_state() {
    let scene = Scene::warm(Cast {
        running: 1,
        stopped: 0,
        warm_count: 0,
        max_instances: 3,
    })
    .await;
    let coordinator = &scene.coordinator;
    let instance = &scene.instances[0];
    let vm = coordinator.pool().await.id(instance).unwrap();
    let path = |verb: &str| format!("/api/admin/vm-pool/{vm}/{verb}");

    let refused = coordinator.post(&path("start"), json!({})).await.expect(409);
    assert_eq!(refused["status"], "available");

    coordinator.assign("finals").await.expect(200);
    let refused = coordinator.post(&path("stop"), json!({})).await.expect(409);
    assert_eq!(refused["assignedTo"], "finals");
    let release = "/api/competitions/finals/vm/release";
    coordinator.post(release, json!({})).await.expect(200);

    let stopping = coordinator.post(&path("stop"), json!({})).await.expect(200);
    assert_eq!(stopping["status"], "stopping");
    assert_eq!(stopping["instanceId"], **instance);
    coordinator
        .until_pool("it is stopped", |pool| pool.status(instance) == Some("stopped"))
        .await;
    assert_eq!(scene.moto.state(instance).await, "stopped");
    let refused = coordinator.post(&path("stop"), json!({})).await.expect(409);
    assert_eq!(refused["status"], "stopped");

    let starting = coordinator.post(&path("start"), json!({})).await.expect(200);
    assert_eq!(starting["status"], "starting");
    coordinator.until_available(1).await;
    assert_eq!(scene.moto.state(instance).await, "running");

    let unknown = "/api/admin/vm-pool/vm-none/start";
    coordinator.post(unknown, json!({})).await.expect(404);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_vm_leaves_the_pool_and_one_with_a_show_is_not_terminated() {
    let scene = Scene::warm(Cast {
        running: 2,
        stopped: 0,
        warm_count: 0,
        max_instances: 3,
    })
    .await;
    let coordinator = &scene.coordinator;
    let assigned = coordinator.assign("finals").await.expect(200);
    let with_show = assigned["instanceId"].as_str().unwrap();
    let path = format!("/api/admin/vm-pool/{}", assigned["vmId"].as_str().unwrap());
    let refused = coordinator.delete(&path).await.expect(400);
    assert_eq!(refused["assignedTo"], "finals");
    assert_eq!(scene.moto.state(with_show).await, "running");

    let free = scene.instances.iter().find(|one| *one != with_show).unwrap();
    let vm = coordinator.pool().await.id(free).unwrap();
    let path = format!("/api/admin/vm-pool/{vm}");
    let terminated = coordinator.delete(&path).await.expect(200);
    let change = &terminated["result"]["terminatingInstances"][0];
    assert_eq!(change["instanceId"], **free);
    assert_eq!(
        (&change["previousState"], &change["currentState"]),
        (&json!("running"), &json!("shutting-down"))
    );
    assert_eq!(scene.moto.state(free).await, "terminated");
    coordinator
        .until_pool("it has left the pool", |pool| pool.vm(free).is_none())
        .await;
    coordinator.delete(&path).await.expect(404);

    // moto goes on listing it, as EC2 does for an hour; it does not come back.
    coordinator
        .post("/api/admin/vm-pool/health-check", json!({"reconcile": true}))
        .await
        .expect(200);
    let pool = coordinator.pool().await;
    assert_eq!((pool.len(), pool.count("assigned")), (1, 1));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_vm_that_is_stopped_behind_its_back_is_started_again_for_the_warm_target() {
    let scene = Scene::warm(Cast {
        running: 2,
        stopped: 0,
        warm_count: 2,
        max_instances: 3,
    })
    .await;
    let coordinator = &scene.coordinator;
    let [stopped, other] = scene.instances.as_slice() else {
        panic!("two instances")
    };
    scene.fleet.stop_behind_its_back(stopped).await;
    let pool = coordinator
        .until_pool("it was stopped and is available again", |pool| {
            let vm = pool.vm(stopped).unwrap();
            vm["status"] == "available" && vm["lastStoppedAt"].is_u64()
        })
        .await;
    let vm = pool.vm(stopped).unwrap();
    assert!(
        vm["lastStartedAt"].as_u64() >= vm["lastStoppedAt"].as_u64(),
        "{vm}"
    );
    assert_eq!(pool.count("available"), 2);
    assert_eq!(scene.moto.state(stopped).await, "running");
    assert_eq!(
        (scene.fleet.starts(stopped).await, scene.fleet.starts(other).await),
        (2, 1)
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_vm_that_is_stopped_behind_its_back_stays_stopped_if_nobody_needs_it() {
    let scene = Scene::warm(Cast {
        running: 2,
        stopped: 0,
        warm_count: 1,
        max_instances: 3,
    })
    .await;
    let stopped = &scene.instances[0];
    scene.fleet.stop_behind_its_back(stopped).await;
    let pool = scene
        .coordinator
        .until_pool("it is stopped", |pool| pool.status(stopped) == Some("stopped"))
        .await;
    assert_eq!((pool.count("available"), pool.count("stopped")), (1, 1));

    // Somebody starts it again: it is seen, and proves itself.
    scene.moto.start_instance(stopped).await;
    scene.coordinator.until_available(2).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_vm_that_is_terminated_behind_its_back_leaves_the_pool_and_is_replaced() {
    let scene = Scene::warm(Cast {
        running: 2,
        stopped: 1,
        warm_count: 2,
        max_instances: 3,
    })
    .await;
    let [terminated, _, spare] = scene.instances.as_slice() else {
        panic!("three instances")
    };
    scene.fleet.terminate_behind_its_back(terminated).await;
    let pool = scene
        .coordinator
        .until_pool("another takes its place", |pool| {
            pool.vm(terminated).is_none() && pool.count("available") == 2
        })
        .await;
    assert_eq!(pool.len(), 2);
    assert_eq!(pool.status(spare), Some("available"));
    scene.end().await;
}
