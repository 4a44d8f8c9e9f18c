//! The adapters for show server and SSH against a simulated machine: what the rest of the coordinator rehearses
//! with speaks what they speak.

use understudy::domain::ids::ShowId;
use understudy::domain::instance::InstanceState;
use understudy::infra::probe::{Error as ProbeError, HttpProbe, Probe};
use understudy::infra::ssh::{Connector, Endpoint, Error, Exec, Exit, RusshConnector};
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::world::{World, WorldConfig};

use crate::support::eventually::eventually;
use crate::support::ssh::pinning;
use crate::support::studios::world;
use crate::support::{BRIEF, PLENTY};

#[tokio::test]
async fn a_simulated_show_server_is_probed_in_all_its_states() {
    let (_world, machines) = world(1).await;
    let server = (machines[0].address(), 3003).into();
    let probe = HttpProbe::new().unwrap();
    machines[0].load_example_studio("k").unwrap();
    let status = probe.status(server, PLENTY, None).await.unwrap();
    assert_eq!(status.obs_connected, Some(true));
    assert_eq!(status.obs_streaming, Some(false));
    assert_eq!(status.obs_scene.as_deref(), Some("Camera 2 - Vault"));

    let show = ShowId::new("Final 2026").unwrap();
    probe.activate(server, Some(&show), PLENTY).await.unwrap();
    assert_eq!(machines[0].view().active_show.as_deref(), Some("Final 2026"));
    probe.activate(server, None, PLENTY).await.unwrap();
    assert_eq!(machines[0].view().active_show, None);

    machines[0].fault(Fault::StatusHang);
    assert_eq!(
        probe.status(server, BRIEF, None).await,
        Err(ProbeError::TimedOut(BRIEF))
    );
    machines[0].heal(FaultKind::StatusHang);
    machines[0].fault(Fault::StatusDown);
    machines[0].settled().await;
    assert_eq!(probe.status(server, PLENTY, None).await, Err(ProbeError::Refused));
    machines[0].heal(FaultKind::StatusDown);
    eventually("it is up again", PLENTY, async || {
        probe.status(server, PLENTY, None).await.ok()
    })
    .await;
    machines[0].fault(Fault::Blackhole);
    machines[0].settled().await;
    assert_eq!(
        probe.status(server, BRIEF, None).await,
        Err(ProbeError::TimedOut(BRIEF))
    );
}

#[tokio::test]
async fn a_simulated_machine_is_reached_over_ssh() {
    let folder = tempfile::tempdir().unwrap();
    let config = WorldConfig {
        ssh_key_dir: Some(folder.path().to_owned()),
        ..WorldConfig::for_test(1, 0)
    };
    let world = World::start(config).await.unwrap();
    let running = world
        .instances()
        .into_iter()
        .find(|i| i.state == InstanceState::Running)
        .unwrap();
    let machine = world.machine(&running.instance_id).unwrap();
    let connector = RusshConnector::new(pinning(
        "ubuntu",
        world.ssh_key_file().unwrap().to_owned(),
        folder.path(),
    ));
    let endpoint = Endpoint {
        address: (machine.address(), 2222).into(),
        host: running.instance_id.as_str().to_owned(),
        connect_deadline: PLENTY,
    };
    let session = connector.connect(&endpoint).await.unwrap();
    session.ping(PLENTY).await.unwrap();
    let exec = Exec {
        argv: ["echo", "a 'quoted' word"].map(str::to_owned).to_vec(),
        deadline: PLENTY,
        output_bytes_max: 1000,
    };
    let finished = session.exec(&exec).await.unwrap();
    assert_eq!(finished.exit, Exit::Status(0));
    assert_eq!(finished.stdout, b"a 'quoted' word\n");

    machine.fault(Fault::Blackhole);
    machine.settled().await;
    assert_eq!(session.ping(BRIEF).await, Err(Error::TimedOut(BRIEF)));
    machine.heal(FaultKind::Blackhole);
    machine.fault(Fault::SshDown);
    assert_eq!(
        tokio::time::timeout(PLENTY, session.closed()).await,
        Ok(Error::Closed)
    );
}
