//! Whose machine it is that answers.

use serde_json::json;

use crate::LIMIT;
use crate::rig::Rig;
use crate::support::eventually::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_host_key_has_changed_is_refused() {
    let rig = Rig::start(1).await;
    rig.coordinator.assign("finals").await.expect(200);
    until_shell_is(&rig, Some(true)).await;
    {
        let machines = rig.fleet.machines().await;
        let machine = &machines[&rig.instances[0]];
        machine.run(&["rm", "/etc/ssh/ssh_host_ed25519_key"]).await;
        machine
            .run(&["systemctl", "restart", "ssh-host-keys", "ssh"])
            .await;
        // The connection that there is belongs to the old key; it does not come back.
        machine.run(&["pkill", "-KILL", "sshd-session"]).await;
    }
    eventually("the VM's record says what is wrong", LIMIT, async || {
        let pool = rig.coordinator.pool().await;
        let error = pool.vm(&rig.instances[0])?["services"]["error"]
            .as_str()?
            .to_owned();
        error.contains("is not the one seen before").then_some(())
    })
    .await;
    until_shell_is(&rig, Some(false)).await;
    rig.end().await;
}

/// Waits until the show's VM is known to be reachable over SSH, or not to be.
async fn until_shell_is(rig: &Rig, wanted: Option<bool>) {
    eventually("SSH is as wanted", LIMIT, async || {
        let test = "/api/competitions/finals/vm/test";
        let tested = rig.coordinator.post(test, json!({})).await.expect(200);
        (tested["checks"]["ssh"]["ok"].as_bool() == wanted).then_some(())
    })
    .await;
}
