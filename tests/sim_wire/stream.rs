//! The stream and its witness.

use std::time::Duration;

use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::studio::Studio;
use understudy::sim::model::studio::stream::Phase;
use understudy::sim::wire::MachineHandle;
use understudy::sim::world::World;

use super::support::{DEADLINE, obws, one_machine, warm, world};

async fn go_live(world: &World, machine: &MachineHandle, key: &str) {
    machine.load_example_studio(key).unwrap();
    machine.operate(Studio::start_stream).unwrap();
    let address = machine.address();
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.publishers(key).contains(&address))
            .await
    );
}

#[tokio::test]
async fn the_ingest_witnesses_a_stream_from_its_first_byte_to_its_last() {
    let (world, _, machine) = one_machine().await;
    go_live(&world, &machine, "k").await;
    let bytes = world.ingest().bytes("k");
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.bytes("k") > bytes)
            .await
    );
    machine.operate(Studio::stop_stream).unwrap();
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.publishers("k").is_empty())
            .await
    );
    let stretches = world.ingest().stretches();
    assert_eq!(stretches.len(), 1);
    assert_eq!(
        (stretches[0].publisher, stretches[0].is_open),
        (machine.address(), false)
    );
    assert!(stretches[0].from < stretches[0].to);
    assert_eq!(world.ingest().overlaps(), []);
}

#[tokio::test]
async fn two_publishers_of_one_key_are_witnessed() {
    let world = world(2, 0).await;
    let machines: Vec<_> = warm(&world).iter().map(|id| world.machine(id).unwrap()).collect();
    go_live(&world, &machines[0], "k").await;
    go_live(&world, &machines[1], "k").await;
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| !ingest.overlaps().is_empty())
            .await
    );
    assert_eq!(world.ingest().publishers("k").len(), 2);
}

#[tokio::test]
async fn a_refusing_ingest_stops_the_stream_without_an_error_on_the_request() {
    let (world, _, machine) = one_machine().await;
    machine.load_example_studio("k").unwrap();
    world.ingest().take_down().await;
    let client = obws(&machine).await;
    client.streaming().start().await.unwrap();
    machine
        .until(DEADLINE, |view| view.phase == Phase::Inactive)
        .await
        .expect("stopped");
    assert!(!client.streaming().status().await.unwrap().active);
}

#[tokio::test]
async fn a_dropped_publisher_reconnects_by_itself() {
    let (world, _, machine) = one_machine().await;
    go_live(&world, &machine, "k").await;
    world.ingest().take_down().await;
    let lost = |view: &understudy::sim::wire::MachineView| matches!(view.phase, Phase::Reconnecting { .. });
    machine.until(DEADLINE, lost).await.expect("reconnecting");
    let status = obws(&machine).await.streaming().status().await.unwrap();
    assert!(status.active && status.reconnecting);
    world.ingest().bring_back().await.unwrap();
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| !ingest.publishers("k").is_empty())
            .await
    );
    assert!(matches!(machine.view().phase, Phase::Active { .. }));
    assert_eq!(world.ingest().stretches().len(), 2);
}

#[tokio::test]
async fn a_silent_output_is_active_but_nothing_arrives() {
    let (world, _, machine) = one_machine().await;
    go_live(&world, &machine, "k").await;
    let client = obws(&machine).await;
    machine.fault(Fault::OutputSilent);
    let before = client.streaming().status().await.unwrap();
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.publishers("k").is_empty())
            .await
    );
    let after = client.streaming().status().await.unwrap();
    assert!(before.active && after.active);
    assert_eq!(before.bytes, after.bytes);
    assert!(after.duration > before.duration);
    machine.heal(FaultKind::OutputSilent);
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| !ingest.publishers("k").is_empty())
            .await
    );
}

#[tokio::test]
async fn a_blackholed_machine_believes_it_streams_and_goes_on_when_it_is_back() {
    let (world, _, machine) = one_machine().await;
    go_live(&world, &machine, "k").await;
    machine.fault(Fault::Blackhole);
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.publishers("k").is_empty())
            .await
    );
    assert!(machine.is_streaming());
    machine.heal(FaultKind::Blackhole);
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| !ingest.publishers("k").is_empty())
            .await
    );
    assert_eq!(world.ingest().stretches().len(), 2);
}

#[tokio::test]
async fn a_machine_that_returns_unfenced_is_witnessed_as_a_second_publisher() {
    let world = world(2, 0).await;
    let machines: Vec<_> = warm(&world).iter().map(|id| world.machine(id).unwrap()).collect();
    go_live(&world, &machines[0], "k").await;
    machines[0].fault(Fault::Blackhole);
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| ingest.publishers("k").is_empty())
            .await
    );
    go_live(&world, &machines[1], "k").await;
    assert_eq!(world.ingest().overlaps(), []);
    machines[0].heal(FaultKind::Blackhole);
    assert!(
        world
            .ingest()
            .until(DEADLINE, |ingest| !ingest.overlaps().is_empty())
            .await
    );
}

#[tokio::test]
async fn a_crash_ends_the_stream_at_the_ingest_at_once() {
    let (world, _, machine) = one_machine().await;
    go_live(&world, &machine, "k").await;
    machine.fault(Fault::StudioCrash);
    let soon = Duration::from_millis(500);
    assert!(
        world
            .ingest()
            .until(soon, |ingest| ingest.publishers("k").is_empty())
            .await
    );
    assert!(!machine.is_streaming());
}
