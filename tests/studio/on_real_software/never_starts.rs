//! What a machine that is not whole is taken for.

use serde_json::json;

use crate::LIMIT;
use crate::rig::Rig;
use crate::support::eventually::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_obs_never_starts_is_not_given_out_and_says_so() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    rig.fleet.machines().await[instance]
        .run(&["systemctl", "disable", "obs-headless"])
        .await;
    let vm = rig.vm(instance).await;
    let at = |verb: &str| format!("/api/admin/vm-pool/{vm}/{verb}");
    rig.coordinator.post(&at("stop"), json!({})).await.expect(200);
    rig.coordinator
        .until_pool("the VM is off", |pool| pool.status(instance) == Some("stopped"))
        .await;
    // The cloud says so at once, and whoever reads it may be quicker than the plug.
    eventually("its machine is off", LIMIT, async || {
        (!rig.fleet.machines().await[instance].is_on()).then_some(())
    })
    .await;
    rig.coordinator.post(&at("start"), json!({})).await.expect(200);
    eventually("what is missing is named", LIMIT, async || {
        let pool = rig.coordinator.pool().await;
        assert_eq!(pool.count("available"), 0);
        let error = pool.vm(instance)?["services"]["error"].as_str()?.to_owned();
        (error == "waiting for: OBS (connection refused)").then_some(())
    })
    .await;
    // Promised, as any that is starting, and not given.
    let promised = rig.coordinator.assign("finals").await.expect(202);
    assert_eq!(promised["status"], "starting", "{promised}");
    assert_eq!(rig.coordinator.pool().await.status(instance), Some("starting"));

    // Started by hand, it is all that was missing.
    rig.fleet.machines().await[instance]
        .run(&["systemctl", "start", "obs-headless"])
        .await;
    rig.coordinator
        .until_pool("the show has it", |pool| {
            pool.status(instance) == Some("assigned")
        })
        .await;
    rig.end().await;
}
