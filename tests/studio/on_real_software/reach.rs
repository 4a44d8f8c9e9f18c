//! What nobody but the coordinator may reach on a machine.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::LIMIT;
use crate::machine::OBS_PORT;
use crate::rig::Rig;
use crate::support::eventually::eventually;

/// Longer than a handshake on a bridge takes by far.
const HANDSHAKE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn obs_is_reached_through_ssh_and_no_other_way() {
    let rig = Rig::start(1).await;
    let instance = &rig.instances[0];
    let address = rig.address(instance).await;
    let port: u16 = OBS_PORT.parse().unwrap();
    assert!(
        timeout(HANDSHAKE, TcpStream::connect((address, port)))
            .await
            .is_err()
    );
    // The machine is there, and so is its OBS.
    timeout(LIMIT, TcpStream::connect((address, 22)))
        .await
        .unwrap()
        .unwrap();
    rig.coordinator.assign("finals").await.expect(200);
    eventually("OBS answers the coordinator", LIMIT, async || {
        let test = "/api/competitions/finals/vm/test";
        let tested = rig.coordinator.post(test, json!({})).await.expect(200);
        (tested["checks"]["obsWebsocket"]["ok"] == true).then_some(())
    })
    .await;
    rig.end().await;
}
