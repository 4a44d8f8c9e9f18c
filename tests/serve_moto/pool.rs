//! What is in the pool, and how many are kept warm.

use serde_json::json;

use crate::coordinator::text;
use crate::scene::{Cast, PROJECT, Scene};
use crate::support::moto::IMAGE;
use understudy::infra::cloud::{MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};

#[tokio::test(flavor = "multi_thread")]
async fn tagged_instances_are_found_and_those_of_strangers_are_not() {
    let scene = Scene::warm(Cast {
        running: 2,
        stopped: 1,
        warm_count: 2,
        max_instances: 5,
    })
    .await;
    let pool = scene.coordinator.pool().await;
    assert_eq!(pool.len(), 3);
    let [first, second, third] = scene.instances.as_slice() else {
        panic!("three instances")
    };
    assert_eq!(pool.status(first), Some("available"));
    assert_eq!(pool.status(second), Some("available"));
    assert_eq!(pool.status(third), Some("stopped"));
    let vm = pool.vm(first).unwrap();
    let machine = scene.fleet.machine(first).await;
    assert_eq!(vm["name"], "vm 0");
    assert_eq!(vm["privateIp"], machine.address().to_string());
    assert_eq!(vm["healthStatus"], "healthy");
    assert_eq!((pool.count("total"), pool.count("stopped")), (3, 1));

    let status = scene.coordinator.get("/api/coordinator/status").await.expect(200);
    assert_eq!(status["connections"]["aws"], "connected");

    // One that somebody runs later is found too, and is no reason to stop or start another.
    let late = scene.run_one("latecomer").await;
    let pool = scene.coordinator.until_available(3).await;
    assert_eq!(pool.status(&late), Some("available"));
    assert_eq!(pool.status(third), Some("stopped"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warm_target_is_kept_by_starting_stopped_instances_and_no_more_than_are_missing() {
    let scene = Scene::warm(Cast {
        running: 0,
        stopped: 4,
        warm_count: 2,
        max_instances: 5,
    })
    .await;
    assert_eq!(scene.running_count().await, 2);

    // A show takes one: another is started in its place.
    scene.coordinator.assign("finals").await.expect(200);
    let pool = scene.coordinator.until_available(2).await;
    assert_eq!((pool.count("assigned"), pool.count("stopped")), (1, 1));

    let change = json!({"warmCount": 3});
    let changed = scene
        .coordinator
        .put("/api/admin/vm-pool/config", change)
        .await
        .expect(200);
    assert_eq!(changed["config"]["warmCount"], 3);
    let pool = scene.coordinator.until_available(3).await;
    assert_eq!((pool.count("assigned"), pool.count("stopped")), (1, 0));
    assert_eq!(scene.running_count().await, 4);
    for instance in &scene.instances {
        assert_eq!(scene.fleet.starts(instance).await, 1, "{instance}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_launched_from_the_image_becomes_available_and_counts() {
    let scene = Scene::warm(Cast {
        running: 1,
        stopped: 0,
        warm_count: 1,
        max_instances: 2,
    })
    .await;
    let launch = "/api/admin/vm-pool/launch";
    let ask = json!({"name": "gymnastics 7", "instanceType": "c5.xlarge", "tags": {"Team": "sport & more"}});
    let launched = scene.coordinator.post(launch, ask.clone()).await.expect(200);
    let instance = text(&launched["instanceId"]);
    assert_eq!(launched["success"], true);
    assert_eq!(launched["instance"]["instanceId"], *instance);

    let pool = scene.coordinator.until_available(2).await;
    let vm = pool.vm(&instance).unwrap();
    assert_eq!(vm["vmId"], launched["vmId"]);
    assert_eq!(vm["name"], "gymnastics 7");
    assert_eq!(vm["instanceType"], "c5.xlarge");
    assert_eq!(pool.count("total"), 2);
    let [described] = <[_; 1]>::try_from(
        scene
            .moto
            .instances()
            .await
            .into_iter()
            .filter(|one| one.instance_id == instance)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    assert_eq!(described.state, "running");
    assert!(described.xml.contains(&format!("<imageId>{IMAGE}</imageId>")));
    for (key, value) in [
        (TAG_PROJECT, PROJECT),
        (TAG_MANAGED_BY, MANAGED_BY),
        ("Name", "gymnastics 7"),
        ("Team", "sport &amp; more"),
    ] {
        assert_eq!(scene.moto.tag(&instance, key).await.as_deref(), Some(value));
    }

    // It is as good as any other.
    let preferred = json!({"preferredVmId": launched["vmId"]});
    let assign = "/api/competitions/finals/vm/assign";
    scene.coordinator.post(assign, preferred).await.expect(200);

    let refused = scene.coordinator.post(launch, ask).await.expect(409);
    assert_eq!(refused["code"], "POOL_FULL");
    assert_eq!(
        (&refused["total"], &refused["maxInstances"]),
        (&json!(2), &json!(2))
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_instances_are_found_and_shown_and_the_warm_target_is_kept() {
    const RUNNING: usize = 40;
    const WARM: usize = 44;
    let scene = Scene::warm(Cast {
        running: RUNNING,
        stopped: 100 - RUNNING,
        warm_count: WARM,
        max_instances: 120,
    })
    .await;
    let pool = scene.coordinator.pool().await;
    assert_eq!(pool.len(), 100);
    let counts = |name| pool.count(name);
    assert_eq!(counts("total"), 100);
    assert_eq!(
        (counts("available"), counts("starting"), counts("stopped")),
        (WARM, 0, 100 - WARM)
    );
    for name in [
        "assigned",
        "inUse",
        "stopping",
        "error",
        "releasing",
        "maintenance",
    ] {
        assert_eq!(counts(name), 0, "{name}");
    }
    assert_eq!(scene.running_count().await, WARM);
    let mut seen: Vec<String> = pool.vms().iter().map(|vm| text(&vm["instanceId"])).collect();
    seen.sort();
    let mut instances = scene.instances.clone();
    instances.sort();
    assert_eq!(seen, instances);
    // Each by an id of its own, at the address that moto gave it.
    let mut ids: Vec<String> = pool.vms().iter().map(|vm| text(&vm["vmId"])).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    for described in scene.moto.instances().await {
        if let Some(vm) = pool.vm(&described.instance_id) {
            let ip = described.private_ip.map(|ip| ip.to_string());
            assert_eq!(vm["privateIp"].as_str(), ip.as_deref());
            assert_eq!(vm["ec2State"], *described.state);
        }
    }

    // Twenty shows at once: twenty VMs, and as many are started for them.
    let shows: Vec<String> = (0..20).map(|number| format!("show-{number}")).collect();
    let assigned =
        futures_util::future::join_all(shows.iter().map(|show| scene.coordinator.assign(show))).await;
    let mut taken: Vec<String> = assigned
        .into_iter()
        .map(|answer| text(&answer.expect(200)["vmId"]))
        .collect();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 20);
    let pool = scene.coordinator.until_available(WARM).await;
    assert_eq!(
        (pool.count("assigned"), pool.count("stopped")),
        (20, 100 - WARM - 20)
    );
    assert_eq!(scene.running_count().await, WARM + 20);
    scene.end().await;
}
