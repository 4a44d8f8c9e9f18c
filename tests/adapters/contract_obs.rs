//! The contract of a studio, against the simulated one and, where `UNDERSTUDY_STUDIO` names its obs-websocket
//! (`address:port`, and `UNDERSTUDY_STUDIO_PASSWORD`), against real OBS. `UNDERSTUDY_STUDIO_CONFIG` is where that keeps its
//! settings. `tests/studio/with-obs` starts one and sets them.

use std::sync::Arc;

use understudy::domain::instance::InstanceState;
use understudy::domain::studio::Secret;
use understudy::infra::obs::{Endpoint, Folder, Route};
use understudy::infra::ssh::{self, Connector, RusshConnector};
use understudy::sim::model::machine::disk::OBS_CONFIG;
use understudy::sim::world::{World, WorldConfig};

use crate::support::ssh::pinning;
use crate::support::sshd::Sshd;
use crate::support::{PLENTY, contract, studios};

#[tokio::test]
async fn the_simulated_studio_and_the_real_one_named_keep_the_contract() {
    let keys = tempfile::tempdir().unwrap();
    let config = WorldConfig {
        ssh_key_dir: Some(keys.path().to_owned()),
        ..WorldConfig::for_test(1, 0)
    };
    let world = World::start(config).await.unwrap();
    let mut instances = world.instances().into_iter();
    let running = instances.find(|instance| instance.state == InstanceState::Running);
    let machine = world.machine(&running.unwrap().instance_id).unwrap();
    let shell = login(&world, machine.address(), keys.path()).await;
    let folder = Folder::new(shell, OBS_CONFIG);
    contract::holds(&studios::connector(), &studios::endpoint(&machine), Some(&folder)).await;
    // Twice: the second time everything is there already.
    contract::holds(&studios::connector(), &studios::endpoint(&machine), Some(&folder)).await;
    if let Ok(address) = std::env::var("UNDERSTUDY_STUDIO") {
        let real = Endpoint {
            address: address.parse().expect("UNDERSTUDY_STUDIO is address:port"),
            route: Route::Direct,
            password: std::env::var("UNDERSTUDY_STUDIO_PASSWORD").ok().map(Secret::new),
            connect_deadline: PLENTY,
            call_deadline: PLENTY,
        };
        // Its machine's SSH server, as far as a studio's files go.
        let sshd = Sshd::start().await;
        let config = std::env::var("UNDERSTUDY_STUDIO_CONFIG");
        let config = config.expect("UNDERSTUDY_STUDIO_CONFIG is the studio's folder of settings");
        let folder = Folder::new(sshd.connect().await.unwrap(), &config);
        contract::holds(&studios::connector(), &real, Some(&folder)).await;
        contract::holds(&studios::connector(), &real, Some(&folder)).await;
    }
}

/// On a simulated machine.
async fn login(
    world: &World,
    address: std::net::Ipv4Addr,
    folder: &std::path::Path,
) -> Arc<dyn ssh::Session> {
    let connector = RusshConnector::new(pinning(
        "ubuntu",
        world.ssh_key_file().unwrap().to_owned(),
        folder,
    ));
    let endpoint = ssh::Endpoint {
        address: (address, world.config().ports.ssh).into(),
        host: "i-0123456789abcdef0".to_owned(),
        connect_deadline: PLENTY,
    };
    connector.connect(&endpoint).await.unwrap()
}
