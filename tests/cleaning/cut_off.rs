//! A cleaning that is cut off: what it had stopped is started again, and what it left is cleaned.

use std::time::Duration;

use understudy::actors::coordinator::Release;
use understudy::config::{Cleanup, Config};
use understudy::domain::cleaning::Way;
use understudy::domain::ids::VmId;
use understudy::domain::vm::Status;
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::machine::disk::{OBS_TEMPLATE, Who};
use understudy::sim::model::machine::{Process, Service};
use understudy::sim::wire::MachineHandle;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};
use crate::{is_pristine, litter, release, report_of, until_status};

/// From here on SSH goes while OBS is stopped to be cleaned, and OBS stays off.
fn cut_while_obs_is_stopped(machine: &MachineHandle) {
    machine.fault(Fault::SshDownAt { word: "cp" });
}

/// Waits until that has happened.
async fn until_cut(machine: &MachineHandle) {
    eventually("OBS off and no SSH to start it", SOON, async || {
        machine.inspect(|model| {
            let is = |service, process| model.process(service) == process;
            (is(Service::Studio, Process::Stopped) && is(Service::Ssh, Process::Failed)).then_some(())
        })
    })
    .await;
}

/// Another coordinator in the place of this one, which dies as it stands.
async fn restarted(scene: Scene) -> Scene {
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    Scene { stage, node }
}

/// SSH comes back, and nothing else is done about it: the VM is cleaned, and available with OBS up.
async fn comes_back_with_obs_up(scene: &Scene, vm: &VmId) {
    let machine = scene.machine(vm);
    machine.heal(FaultKind::SshDown);
    until_status(scene, vm, Status::Available).await;
    assert!(machine.view().studio_answers, "it is available and OBS is off");
    let state = scene.coordinator().state();
    let known = state.vm(vm).unwrap();
    assert_eq!((known.leftover.as_ref(), known.fault.as_ref()), (None, None));
    let report = known.cleaning.as_ref().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    is_pristine(&machine);
}

fn quick_to_give_up(config: &mut Config) {
    config.shows.cleanup_deadline = Duration::from_secs(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_cut_off_while_obs_is_stopped_does_not_leave_it_off() {
    for coordinator_too in [false, true] {
        let scene = Scene::set(1, 0, quick_to_give_up).await;
        let (show, vm) = scene.on_air("gala").await;
        let machine = scene.machine(&vm);
        litter(&machine);
        cut_while_obs_is_stopped(&machine);
        let (coordinator, asked) = (scene.coordinator(), show.clone());
        let waiting = tokio::spawn(async move { coordinator.release(asked, Release::default()).await });
        until_cut(&machine).await;
        let scene = if coordinator_too {
            restarted(scene).await
        } else {
            let released = waiting.await.unwrap().unwrap();
            assert_eq!(released.status, Some(Status::Error));
            let faults = report_of(&released).faults();
            assert!(faults.contains("RESET_OBS_CONFIG was cut off"), "{faults}");
            scene
        };
        comes_back_with_obs_up(&scene, &vm).await;
        scene.node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_cut_off_while_it_is_cleaned_on_its_own_account_does_not_stay_without_obs() {
    for (booting, coordinator_too) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = Scene::set(1, 0, quick_to_give_up).await;
        let (show, vm) = scene.on_air("gala").await;
        let machine = scene.machine(&vm);
        machine.operate(|studio, _| studio.set_drawing(false));
        assert_eq!(release(&scene, &show).await.status, Some(Status::Error));
        cut_while_obs_is_stopped(&machine);
        if booting {
            scene.coordinator().reboot_vm(vm.clone(), false).await.unwrap();
        }
        until_cut(&machine).await;
        machine.operate(|studio, _| studio.set_drawing(true));
        let scene = if coordinator_too {
            restarted(scene).await
        } else {
            scene
        };
        comes_back_with_obs_up(&scene, &vm).await;
        scene.node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn best_effort_forgives_what_is_left_and_not_a_vm_whose_obs_is_off() {
    let best_effort = |config: &mut Config| {
        config.shows.cleanup = Cleanup::BestEffort;
        quick_to_give_up(config);
    };
    let scene = Scene::set(1, 0, best_effort).await;
    let (show, vm) = scene.on_air("gala").await;
    let machine = scene.machine(&vm);
    let never = Service::Studio;
    machine.fault(Fault::ServiceNeverStarts(never));
    let released = release(&scene, &show).await;
    assert_eq!(released.status, Some(Status::Error));
    let faults = report_of(&released).faults();
    assert!(faults.contains("OBS"), "{faults}");
    let left = scene.coordinator().state().vm(&vm).unwrap().leftover.clone();
    assert_eq!(left.unwrap().show, show);
    machine.heal(FaultKind::ServiceNeverStarts(never));
    until_status(&scene, &vm, Status::Available).await;
    assert!(machine.view().studio_answers);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_template_and_without_obs_the_report_says_what_was_waited_for() {
    let scene = Scene::set(1, 0, quick_to_give_up).await;
    let (show, vm) = scene.on_air("gala").await;
    let machine = scene.machine(&vm);
    machine.files(|disk, _| disk.remove_all(Who::Root, OBS_TEMPLATE).unwrap());
    scene.coordinator().stop_show(show.clone(), None).await.unwrap();
    scene.crash_studio_of(&vm);
    let released = release(&scene, &show).await;
    assert_eq!(released.status, Some(Status::Error));
    let report = report_of(&released);
    assert_eq!(report.way, Way::Studio);
    let faults = report.faults();
    assert!(
        faults.contains("it took longer than 4s: OBS did not answer"),
        "{faults}"
    );
    machine.heal(FaultKind::StudioCrash);
    until_status(&scene, &vm, Status::Available).await;
    scene.node.stop().await.unwrap();
}
