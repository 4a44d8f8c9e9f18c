//! Faults as they look from outside.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use understudy::domain::instance::{InstanceState, PowerChange};
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::machine::Service;
use understudy::sim::wire::{Clock, MachineConfig, MachineHandle};

use super::support::{
    Attempt, DEADLINE, attempt, eventually, obs_at, obws, one_machine, ssh_at, status_at, world,
};

/// Long enough for a loopback server to answer, short enough to wait for none.
const PATIENCE: Duration = Duration::from_millis(300);

async fn status_answers(machine: &MachineHandle) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(status_at(machine)).await?;
        stream
            .write_all(b"GET /api/status HTTP/1.1\r\nhost: vm\r\n\r\n")
            .await?;
        stream.read_u8().await
    };
    matches!(timeout(PATIENCE, ask).await, Ok(Ok(b'H')))
}

#[tokio::test]
async fn a_crashed_studio_refuses_and_resets() {
    let (_world, _, machine) = one_machine().await;
    let mut open = TcpStream::connect(obs_at(&machine)).await.unwrap();
    let client = obws(&machine).await;
    machine.fault(Fault::StudioCrash);
    let end = timeout(DEADLINE, open.read(&mut [0; 8]))
        .await
        .expect("an end")
        .unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(
        timeout(DEADLINE, client.general().version())
            .await
            .expect("an end")
            .is_err()
    );
    machine.settled().await;
    assert_eq!(attempt(obs_at(&machine), PATIENCE).await, Attempt::Refused);
    assert!(status_answers(&machine).await);
    assert_eq!(attempt(ssh_at(&machine), PATIENCE).await, Attempt::Connected);
    machine.heal(FaultKind::StudioCrash);
    machine
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio");
    machine.settled().await;
    obws(&machine).await;
}

#[tokio::test]
async fn a_hung_studio_accepts_and_says_nothing_until_it_continues() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    machine.fault(Fault::StudioHang);
    machine.settled().await;
    let general = client.general();
    let pending = general.version();
    tokio::pin!(pending);
    assert!(timeout(PATIENCE, &mut pending).await.is_err());
    let mut fresh = TcpStream::connect(obs_at(&machine)).await.unwrap();
    fresh.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(timeout(PATIENCE, fresh.read_u8()).await.is_err());
    assert!(status_answers(&machine).await);
    machine.heal(FaultKind::StudioHang);
    timeout(DEADLINE, pending).await.expect("an answer").unwrap();
}

#[tokio::test]
async fn a_blackholed_machine_neither_accepts_nor_refuses_and_keeps_its_connections() {
    let (_world, _, machine) = one_machine().await;
    let client = obws(&machine).await;
    machine.fault(Fault::Blackhole);
    machine.settled().await;
    for address in [obs_at(&machine), status_at(&machine), ssh_at(&machine)] {
        assert_eq!(attempt(address, PATIENCE).await, Attempt::Unanswered, "{address}");
    }
    let general = client.general();
    let pending = general.version();
    tokio::pin!(pending);
    assert!(timeout(PATIENCE, &mut pending).await.is_err());
    machine.heal(FaultKind::Blackhole);
    timeout(DEADLINE, pending).await.expect("an answer").unwrap();
    machine.settled().await;
    for address in [obs_at(&machine), status_at(&machine), ssh_at(&machine)] {
        assert_eq!(attempt(address, PATIENCE).await, Attempt::Connected, "{address}");
    }
}

#[tokio::test]
async fn a_show_server_can_be_down_hang_or_flap() {
    let (_world, _, machine) = one_machine().await;
    machine.fault(Fault::StatusDown);
    machine.settled().await;
    assert_eq!(attempt(status_at(&machine), PATIENCE).await, Attempt::Refused);
    machine.heal(FaultKind::StatusDown);
    eventually("up again", async || status_answers(&machine).await).await;

    machine.fault(Fault::StatusHang);
    machine.settled().await;
    assert_eq!(attempt(status_at(&machine), PATIENCE).await, Attempt::Connected);
    assert!(!status_answers(&machine).await);
    machine.heal(FaultKind::StatusHang);
    eventually("answering again", async || status_answers(&machine).await).await;

    machine.fault(Fault::StatusFlap {
        up: Duration::from_millis(150),
        down: Duration::from_millis(150),
    });
    for _ in 0..2 {
        eventually("down", async || !status_answers(&machine).await).await;
        eventually("up", async || status_answers(&machine).await).await;
    }
    assert_eq!(attempt(obs_at(&machine), PATIENCE).await, Attempt::Connected);
    machine.heal(FaultKind::StatusFlap);
    eventually("up for good", async || status_answers(&machine).await).await;
}

#[tokio::test]
async fn ssh_can_be_down_alone() {
    let (_world, _, machine) = one_machine().await;
    machine.fault(Fault::SshDown);
    machine.settled().await;
    assert_eq!(attempt(ssh_at(&machine), PATIENCE).await, Attempt::Refused);
    assert!(status_answers(&machine).await);
}

#[tokio::test]
async fn a_forced_stop_silences_the_machine_at_once() {
    let (world, id, machine) = one_machine().await;
    let mut open = TcpStream::connect(obs_at(&machine)).await.unwrap();
    world.change(&id, PowerChange::ForceStop).unwrap();
    machine.settled().await;
    assert_eq!(attempt(obs_at(&machine), PATIENCE).await, Attempt::Unanswered);
    assert!(
        timeout(PATIENCE, open.read(&mut [0; 8])).await.is_err(),
        "nobody says goodbye"
    );
    eventually("stopped", async || {
        world.instance(&id).unwrap().state == InstanceState::Stopped
    })
    .await;
    world.change(&id, PowerChange::Start).unwrap();
    machine
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio");
    let end = timeout(DEADLINE, open.read(&mut [0; 8])).await.expect("an end");
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_instance_terminated_behind_our_back_goes_dark_and_is_gone() {
    let (world, id, machine) = one_machine().await;
    let address = obs_at(&machine);
    drop(machine);
    world.terminate_instance(&id).unwrap();
    eventually("terminated", async || {
        world.instance(&id).unwrap().state == InstanceState::Terminated
    })
    .await;
    assert!(world.machine(&id).is_none());
    eventually("dark", async || {
        attempt(address, PATIENCE).await == Attempt::Unanswered
    })
    .await;
}

#[tokio::test]
async fn a_boot_can_be_slow_never_finish_or_lack_a_service() {
    let world = world(0, 3).await;
    let ids: Vec<_> = world
        .instances()
        .into_iter()
        .map(|instance| instance.instance_id)
        .collect();
    world
        .fault(
            &ids[0],
            Fault::SlowBoot {
                extra: Duration::from_millis(700),
            },
        )
        .unwrap();
    world.fault(&ids[1], Fault::BootNeverFinishes).unwrap();
    world
        .fault(&ids[2], Fault::ServiceNeverStarts(Service::Studio))
        .unwrap();
    let started = tokio::time::Instant::now();
    for id in &ids {
        world.change(id, PowerChange::Start).unwrap();
    }
    let [slow, stuck, lacking] = [0, 1, 2].map(|index| world.machine(&ids[index]).unwrap());
    eventually("the others are up", async || status_answers(&lacking).await).await;
    assert_eq!(attempt(obs_at(&lacking), PATIENCE).await, Attempt::Refused);
    slow.until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a slow studio");
    assert!(started.elapsed() >= Duration::from_millis(1_400));
    assert_eq!(world.instance(&ids[1]).unwrap().state, InstanceState::Running);
    assert_eq!(attempt(ssh_at(&stuck), PATIENCE).await, Attempt::Unanswered);
    stuck.heal(FaultKind::BootNeverFinishes);
    stuck
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio after all");
    lacking.heal(FaultKind::ServiceNeverStarts(Service::Studio));
    lacking
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio after all");
}

#[tokio::test]
async fn a_machine_without_a_cloud_can_be_anywhere_on_loopback() {
    let clock = Clock::start();
    let address = std::net::Ipv4Addr::new(127, 44, 0, 77);
    let machine = MachineHandle::start(address, MachineConfig::new(clock));
    machine.settled().await;
    assert_eq!(attempt(obs_at(&machine), PATIENCE).await, Attempt::Unanswered);
    machine.power_on();
    machine
        .until(DEADLINE, |view| view.studio_answers)
        .await
        .expect("a studio");
    machine.settled().await;
    super::support::obws_to(address, None)
        .await
        .expect("a session without a password");
    let at = obs_at(&machine);
    drop(machine);
    eventually("everything is closed", async || {
        attempt(at, PATIENCE).await == Attempt::Refused
    })
    .await;
}
