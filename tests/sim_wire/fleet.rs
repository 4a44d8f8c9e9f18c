//! Many machines behind shared listeners.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::wire::{MachineHandle, Ports};
use understudy::sim::world::{World, WorldConfig, WorldError};

use super::support::{DEADLINE, warm};

const MACHINES: u32 = 100;

/// A world whose machines share listeners. These have their ports at every address, so it takes ones that nobody has.
async fn fleet() -> World {
    const TRIES: u32 = 100;
    let mut tried = 0;
    loop {
        // Below those that the kernel gives to clients (ip(7), ip_local_port_range).
        let number = std::process::id().wrapping_add(tried) % 3_000;
        let first = 20_000 + 3 * u16::try_from(number).unwrap();
        let config = WorldConfig {
            shared_ports: true,
            dark_when_off: false,
            ports: Ports {
                status: first,
                obs: first + 1,
                ssh: first + 2,
            },
            ..WorldConfig::for_test(MACHINES, 0)
        };
        match World::start(config).await {
            Err(WorldError::Listen { what: "exchange", .. }) if tried < TRIES => tried += 1,
            world => return world.unwrap(),
        }
    }
}

async fn status(machine: &MachineHandle, port: u16) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect((machine.address(), port)).await?;
    stream
        .write_all(b"GET /api/status HTTP/1.1\r\nhost: vm\r\n\r\n")
        .await?;
    timeout(DEADLINE, stream.read_u8())
        .await
        .expect("an answer in time")
}

#[tokio::test]
async fn a_hundred_machines_share_three_listeners() {
    let world = fleet().await;
    let ports = world.config().ports;
    let status = async |machine: &MachineHandle| status(machine, ports.status).await;
    let machines: Vec<_> = warm(&world).iter().map(|id| world.machine(id).unwrap()).collect();
    for machine in &machines {
        machine.settled().await;
        assert_eq!(status(machine).await.unwrap(), b'H');
    }
    let obs = |machine: &MachineHandle| {
        obws::Client::connect(machine.address().to_string(), ports.obs, Some("simulated"))
    };
    let mut clients = Vec::new();
    for machine in &machines {
        clients.push(obs(machine).await.unwrap());
    }
    assert!(machines.iter().all(|machine| machine.view().obs_clients == 1));

    machines[0].fault(Fault::StatusDown);
    let reset = status(&machines[0]).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(status(&machines[1]).await.unwrap(), b'H');
    machines[1].fault(Fault::Blackhole);
    let silent = timeout(std::time::Duration::from_millis(200), status(&machines[1])).await;
    assert!(silent.is_err());
    machines[1].heal(FaultKind::Blackhole);
    assert_eq!(status(&machines[1]).await.unwrap(), b'H');

    let address = SocketAddr::from((machines[0].address(), ports.obs));
    let nobody = SocketAddr::from((Ipv4Addr::new(127, 99, 9, 9), ports.obs));
    let mut stream = TcpStream::connect(nobody).await.unwrap();
    assert!(timeout(DEADLINE, stream.read_u8()).await.unwrap().is_err());
    drop(world);
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the listeners are closed");
    assert!(clients[0].general().version().await.is_err());
}
