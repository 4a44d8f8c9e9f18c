//! A show server that runs under PM2, as on older images, instead of as a unit of systemd.

use serde_json::{Value, json};

use crate::LIMIT;
use crate::machine::Machine;
use crate::rig::Rig;
use crate::support::eventually::eventually;

/// Under the name that is configured by default, and as the user who logs in.
const START: &str =
    "pm2 start understudy-studio/server/show_server.py --name obs-vm-server --interpreter python3";

/// Takes the unit away and has PM2 run what it ran.
async fn move_to_pm2(machine: &Machine) {
    machine
        .run(&["systemctl", "disable", "--now", "show-server"])
        .await;
    let unit = "/etc/systemd/system/show-server.service";
    machine.run(&["rm", unit]).await;
    machine.run(&["systemctl", "daemon-reload"]).await;
    machine
        .run(&["runuser", "--login", "ubuntu", "--command", START])
        .await;
}

/// Waits until the process that serves at the show server's port is this one.
async fn until_served_by(machine: &Machine, pid: &Value) {
    let wanted = format!("pid={pid},");
    eventually("it serves", LIMIT, async || {
        let found = machine.run(&["ss", "-Hltnp", "sport = :3003"]).await;
        found.contains(&wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_server_under_pm2_is_told_looked_into_and_restarted() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    move_to_pm2(&rig.fleet.machines().await[instance]).await;
    let vm = rig.vm(instance).await;
    let at = |rest: &str| format!("/api/admin/vm-pool/{vm}/{rest}");

    let services = rig.coordinator.get(&at("ssh/services")).await.expect(200);
    let all = services["services"].as_array().unwrap();
    let told = all.iter().find(|one| one["service"] == "show-server").unwrap();
    assert_eq!(
        (&told["active"], &told["status"]),
        (&json!(true), &json!("pm2/online")),
        "{services}"
    );
    until_served_by(&rig.fleet.machines().await[instance], &told["pid"]).await;

    let asked = json!({"service": "show-server"});
    let restarted = rig
        .coordinator
        .post(&at("ssh/restart-service"), asked)
        .await
        .expect(200);
    assert_eq!(
        (&restarted["success"], &restarted["active"]),
        (&json!(true), &json!(true)),
        "{restarted}"
    );
    assert_ne!(restarted["pid"], told["pid"]);
    until_served_by(&rig.fleet.machines().await[instance], &restarted["pid"]).await;
    rig.coordinator.until_available(1).await;

    let asked = json!({"operation": "VIEW_LOGS", "parameters": {"lines": "5"}});
    let logs = rig.coordinator.post(&at("ssh/exec"), asked).await.expect(200);
    assert_eq!(logs["success"], true, "{logs}");
    let said = logs["stdout"].as_str().unwrap();
    assert!(said.contains("the show server listens"), "{logs}");
    rig.end().await;
}
