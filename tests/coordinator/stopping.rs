//! Stops that do not come to an end: refused, forgotten, or slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;
use understudy::actors::coordinator::{Assign, CommandError};
use understudy::domain::event::Event;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::instance::InstanceState;
use understudy::domain::state::State;
use understudy::domain::vm::{self, Power, Status};
use understudy::infra::ledger::Batch;
use understudy::sim::model::fault::{CloudFault, Fault};
use understudy::sim::world::WorldConfig;

use crate::support::scene::{SOON, Scene};

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

async fn until_off(scene: &Scene, vm: &VmId) {
    scene
        .until("it is off", |state| {
            (state.vm(vm)?.power == Power::Stopped).then_some(())
        })
        .await;
}

/// What was told of a VM that makes it, or is to make it, one that can be used.
fn given_up(feed: &mut Receiver<Arc<Batch>>, of: &VmId) -> Vec<vm::Event> {
    let mut said = Vec::new();
    while let Ok(batch) = feed.try_recv() {
        for entry in &batch.entries {
            if let Event::Vm { vm, event } = &entry.event
                && vm == of
                && matches!(event, vm::Event::StopFailed { .. } | vm::Event::Ready)
            {
                said.push(event.clone());
            }
        }
    }
    said
}

/// Waits until the ledger has this of a VM.
async fn until_told<T>(feed: &mut Receiver<Arc<Batch>>, wanted: impl Fn(&vm::Event) -> Option<T>) -> T {
    let told = async {
        loop {
            let batch = feed.recv().await.unwrap();
            let events = batch.entries.iter().filter_map(|entry| match &entry.event {
                Event::Vm { event, .. } => Some(event),
                Event::Show { .. } | Event::Execution { .. } | Event::PoolConfigured { .. } => None,
            });
            if let Some(found) = events.filter_map(&wanted).next() {
                return found;
            }
        }
    };
    timeout(SOON, told).await.expect("it is noticed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_stop_the_cloud_refuses_is_given_out_again_once_it_has_proven_itself() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    scene.stage.world.cloud_fault(CloudFault::Denied);
    let refused = coordinator.stop_vm(vm.clone()).await;
    assert!(matches!(refused, Err(CommandError::Cloud { .. })), "{refused:?}");
    // It never went off, so nothing that was connected to it broke.
    until_available(&scene, &vm).await;
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_stop_never_reached_the_cloud_is_given_out_again_once_that_is_certain() {
    let scene = Scene::set(1, 0, |config| {
        config.cloud.attempts = 1;
        config.pool.stop_timeout = STOP_TIMEOUT;
    })
    .await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    scene.stage.world.cloud_fault(CloudFault::Down);
    let refused = coordinator.stop_vm(vm.clone()).await;
    assert!(matches!(refused, Err(CommandError::Cloud { .. })), "{refused:?}");
    assert_eq!(status(&coordinator.state(), &vm), Some(Status::Stopping));
    scene.stage.world.heal_cloud();
    until_available(&scene, &vm).await;
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_the_cloud_stops_without_saying_so_is_nobodys_although_it_still_answers() {
    let mut world = WorldConfig::for_test(1, 0);
    world.machine.exit = SOON;
    let scene = Scene::world(world, 1, |config| config.cloud.attempts = 1).await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    let mut feed = coordinator.feed();
    scene.stage.world.cloud_fault(CloudFault::AnswersLost);
    let unknown = coordinator.stop_vm(vm.clone()).await;
    assert!(matches!(unknown, Err(CommandError::Cloud { .. })), "{unknown:?}");
    until_off(&scene, &vm).await;
    assert_eq!(given_up(&mut feed, &vm), Vec::new());
    scene.node.stop().await.unwrap();
}

/// The cloud takes longer than a fence waits, and then even refuses to be asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_power_is_being_cut_stays_nobodys_until_it_is_off() {
    let mut world = WorldConfig::for_test(2, 0);
    world.cloud.force_stop = 4 * STOP_TIMEOUT;
    let scene = Scene::world(world, 2, |config| {
        config.failover.silence_limit = Duration::from_secs(1);
        config.failover.fence_deadline = STOP_TIMEOUT;
    })
    .await;
    let coordinator = scene.coordinator();
    let (show, vm) = scene.on_air("gala").await;
    let mut feed = coordinator.feed();
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    world.fault(&instance, Fault::Blackhole).unwrap();
    scene
        .until("the cloud says that it is stopping", |state| {
            (state.vm(&vm)?.instance.state == InstanceState::Stopping).then_some(())
        })
        .await;
    world.cloud_fault(CloudFault::Denied);
    until_off(&scene, &vm).await;
    assert_eq!(given_up(&mut feed, &vm), Vec::new());
    assert_ne!(scene.moved(&show, 1).await, vm);
    assert!(world.ingest().overlaps().is_empty());
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
    let reason = until_told(&mut feed, |event| match event {
        vm::Event::StopFailed { reason } => Some(reason.clone()),
        _ => None,
    })
    .await;
    assert_eq!(reason, "the cloud did not say stopped within 1 s");
    until_available(&scene, &vm).await;
    // Its studio is listened to and obeys.
    let (_, on) = scene.on_air("gala").await;
    assert_eq!(on, vm);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_slow_to_stop_is_nobodys_although_it_still_answers() {
    let mut world = WorldConfig::for_test(1, 0);
    world.cloud.stop = 9 * STOP_TIMEOUT;
    world.machine.exit = SOON;
    let scene = Scene::world(world, 1, |config| {
        config.pool.stop_timeout = 4 * STOP_TIMEOUT;
        // Between two looks there is time enough to be found ready.
        config.cloud.sweep_interval = STOP_TIMEOUT + STOP_TIMEOUT / 2;
    })
    .await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    coordinator.stop_vm(vm.clone()).await.unwrap();
    let mut feed = coordinator.feed();
    scene
        .until("it is off", |state| {
            (state.vm(&vm)?.power == Power::Stopped).then_some(())
        })
        .await;
    let mut said = Vec::new();
    while let Ok(batch) = feed.try_recv() {
        said.extend(batch.entries.iter().map(|entry| entry.event.clone()));
    }
    assert!(!said.contains(&Event::vm(&vm, vm::Event::Ready)), "{said:?}");
    let reason = "the cloud did not say stopped within 4 s".to_owned();
    let overdue = Event::vm(&vm, vm::Event::Faulted { reason });
    assert_eq!(
        said.iter().filter(|event| **event == overdue).count(),
        1,
        "{said:?}"
    );
    coordinator.start_vm(vm.clone()).await.unwrap();
    until_available(&scene, &vm).await;
    scene.node.stop().await.unwrap();
}
