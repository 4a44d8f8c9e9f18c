//! What these tests share: a world with one machine, clients for it, and waiting on a predicate.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use understudy::domain::ids::InstanceId;
use understudy::domain::instance::InstanceState;
use understudy::sim::wire::MachineHandle;
use understudy::sim::world::{World, WorldConfig};

/// Longest that anything here may take. Generous: a test that reaches it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "simulated";

pub async fn world(warm: u32, cold: u32) -> World {
    World::start(WorldConfig::for_test(warm, cold))
        .await
        .expect("a world")
}

/// A world with one running machine.
pub async fn one_machine() -> (World, InstanceId, MachineHandle) {
    let world = world(1, 0).await;
    let id = warm(&world)[0].clone();
    let machine = world.machine(&id).expect("a machine");
    (world, id, machine)
}

/// The running instances.
pub fn warm(world: &World) -> Vec<InstanceId> {
    let running = world
        .instances()
        .into_iter()
        .filter(|i| i.state == InstanceState::Running);
    running.map(|instance| instance.instance_id).collect()
}

pub fn status_at(machine: &MachineHandle) -> SocketAddr {
    SocketAddr::from((machine.address(), 3003))
}

pub fn obs_at(machine: &MachineHandle) -> SocketAddr {
    SocketAddr::from((machine.address(), 4455))
}

pub fn ssh_at(machine: &MachineHandle) -> SocketAddr {
    SocketAddr::from((machine.address(), 2222))
}

pub async fn obws(machine: &MachineHandle) -> obws::Client {
    obws_to(machine.address(), Some(PASSWORD))
        .await
        .expect("an OBS session")
}

pub async fn obws_to(address: Ipv4Addr, password: Option<&str>) -> obws::error::Result<obws::Client> {
    let connect = obws::Client::connect(address.to_string(), 4455, password);
    tokio::time::timeout(DEADLINE, connect)
        .await
        .expect("an answer in time")
}

/// Waits until `holds` answers true.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    crate::eventually::eventually(what, DEADLINE, async || holds().await.then_some(())).await;
}

/// How a TCP connection attempt ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    Connected,
    Refused,
    Unanswered,
}

/// Tries to connect for `patience`.
pub async fn attempt(address: SocketAddr, patience: Duration) -> Attempt {
    match tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Attempt::Connected,
        // A listener that closes in the middle of the handshake resets instead.
        Ok(Err(error))
            if matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
            ) =>
        {
            Attempt::Refused
        }
        Ok(Err(error)) => panic!("neither connected nor refused: {error}"),
        Err(_) => Attempt::Unanswered,
    }
}
