//! Stops that do not come to an end: refused, forgotten, or slow.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::scene::{SOON, Scene};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;
use understudy::actors::coordinator::{Assign, CommandError};
use understudy::domain::event::Event;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::instance::InstanceState;
use understudy::domain::state::State;
use understudy::domain::vm::{self, Power, Status};
use understudy::infra::ledger::Batch;
use understudy::sim::model::fault::CloudFault;
use understudy::sim::world::WorldConfig;

/// What the coordinator allows the cloud for a stop here.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

fn status(state: &State, vm: &VmId) -> Option<Status> {
    state.vm(vm).map(|vm| vm.status())
}

fn gala() -> ShowId {
    ShowId::new("gala").unwrap()
}

fn a_vm(scene: &Scene) -> VmId {
    let state = scene.coordinator().state();
    state.vms().next().unwrap().id.clone()
}

async fn until_available(scene: &Scene, vm: &VmId) {
    scene
        .until("it is available", |state| {
            (status(state, vm)? == Status::Available).then_some(())
        })
        .await;
}

/// Why a stop failed, by the ledger.
async fn stop_failed(feed: &mut Receiver<Arc<Batch>>) -> String {
    let told = async {
        loop {
            let batch = feed.recv().await.unwrap();
            for entry in &batch.entries {
                if let Event::Vm {
                    event: vm::Event::StopFailed { reason },
                    ..
                } = &entry.event
                {
                    return reason.clone();
                }
            }
        }
    };
    timeout(SOON, told).await.expect("it is noticed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_stop_the_cloud_refuses_is_given_out_again_once_it_has_proven_itself() {
    let scene = Scene::set(1, 0, |config| config.cloud.attempts = 1).await;
    let coordinator = scene.coordinator();
    let vm = coordinator.state().vms().next().unwrap().id.clone();
    scene.stage.world.cloud_fault(CloudFault::Down);
    let refused = coordinator.stop_vm(vm.clone()).await;
    assert!(matches!(refused, Err(CommandError::Cloud { .. })), "{refused:?}");
    scene.stage.world.heal_cloud();
    // It never went off, so nothing that was connected to it broke.
    scene
        .until("it is available", |state| {
            (status(state, &vm)? == Status::Available).then_some(())
        })
        .await;
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_stop_the_cloud_forgets_is_called_anew_and_given_out_again() {
    let scene = Scene::set(1, 0, |config| config.pool.stop_timeout = STOP_TIMEOUT).await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    let mut feed = coordinator.feed();
    scene.stage.world.cloud_fault(CloudFault::StopsForgotten);
    coordinator.stop_vm(vm.clone()).await.unwrap();
    assert_eq!(status(&coordinator.state(), &vm), Some(Status::Stopping));
    let reason = stop_failed(&mut feed).await;
    assert_eq!(reason, "the cloud did not say stopped within 1 s");
    until_available(&scene, &vm).await;
    // Its studio is listened to and obeys.
    let (_, on) = scene.on_air("gala").await;
    assert_eq!(on, vm);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_goes_off_after_its_limit_is_off_and_can_be_started_again() {
    let mut world = WorldConfig::for_test(1, 0);
    world.cloud.stop = 3 * STOP_TIMEOUT;
    let scene = Scene::world(world, 1, |config| config.pool.stop_timeout = STOP_TIMEOUT).await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    let instance = scene.instance(&vm);
    let mut feed = coordinator.feed();
    coordinator.stop_vm(vm.clone()).await.unwrap();
    stop_failed(&mut feed).await;
    assert_eq!(
        scene.stage.world.instance(&instance).unwrap().state,
        InstanceState::Stopping
    );
    scene
        .until("it is off", |state| {
            (state.vm(&vm)?.power == Power::Stopped).then_some(())
        })
        .await;
    // On its way down it was nobody's, whatever still answered there.
    while let Ok(batch) = feed.try_recv() {
        let ready = Event::vm(&vm, vm::Event::Ready);
        assert!(
            batch.entries.iter().all(|entry| entry.event != ready),
            "{batch:?}"
        );
    }
    coordinator.start_vm(vm.clone()).await.unwrap();
    until_available(&scene, &vm).await;
    scene.node.stop().await.unwrap();
}
