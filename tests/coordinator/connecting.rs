//! A stream that is still connecting to its ingest when everybody who knew of it is gone.

use std::time::Duration;

use understudy::actors::coordinator::{Assign, Release};
use understudy::domain::ids::ShowId;
use understudy::rehearsal::stage::stream_key;
use understudy::sim::model::studio::stream::Phase;
use understudy::sim::wire::machine::MachineHandle;
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};

fn phase(machine: &MachineHandle) -> Phase {
    machine.operate(|studio, _| studio.output().phase())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_connects_across_a_restart_is_ended_before_its_show_goes_on_air_elsewhere() {
    let mut world = WorldConfig::for_test(2, 0);
    world.machine.output.rise = Duration::from_secs(8);
    let scene = Scene::world(world, 2, |config| {
        config.failover.verify_deadline = Duration::from_secs(20);
    })
    .await;
    let show = ShowId::new("gala").unwrap();
    let key = stream_key(&show);
    let coordinator = scene.coordinator();
    let first = coordinator
        .assign(show.clone(), Assign::default())
        .await
        .unwrap()
        .vm;
    let machine = scene.machine(&first);
    machine.load_example_studio(&key).unwrap();
    let (asked, of) = (coordinator.clone(), show.clone());
    let start = tokio::spawn(async move { asked.start_show(of, None).await });
    eventually("it connects", SOON, async || {
        matches!(phase(&machine), Phase::Starting { .. }).then_some(())
    })
    .await;

    start.abort();
    drop(coordinator);
    let scene = scene.restarted().await;
    let coordinator = scene.coordinator();
    coordinator
        .release(show.clone(), Release::default())
        .await
        .unwrap();
    assert_eq!(
        phase(&machine),
        Phase::Inactive,
        "released while it may still come on air"
    );

    let elsewhere = Assign {
        preferred: coordinator
            .state()
            .vms()
            .map(|vm| vm.id.clone())
            .find(|vm| *vm != first),
        ..Assign::default()
    };
    let second = coordinator.assign(show.clone(), elsewhere).await.unwrap().vm;
    assert_ne!(second, first);
    scene.machine(&second).load_example_studio(&key).unwrap();
    coordinator.start_show(show.clone(), None).await.unwrap();
    let ingest = scene.stage.world.ingest();
    assert_eq!(ingest.publishers(&key).len(), 1);
    assert!(ingest.overlaps().is_empty(), "{:?}", ingest.overlaps());
}
