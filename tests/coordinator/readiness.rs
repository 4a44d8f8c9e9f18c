//! What a VM must have shown before it is given to a show, and how what is missing is named.

use std::time::Duration;

use understudy::actors::news::Item;
use understudy::domain::failover::Fence;
use understudy::domain::ids::VmId;
use understudy::domain::show::Phase;
use understudy::domain::vm::{Health, Power, Status};
use understudy::infra::obs::Frame;
use understudy::sim::model::fault::{Fault, FaultKind};
use understudy::sim::model::machine::Service;

use crate::support::PLENTY;
use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};
use crate::support::studios;

/// The only VM, off, whose machine is prepared and which is then switched on.
async fn started(prepare: impl FnOnce(&understudy::sim::wire::MachineHandle)) -> (Scene, VmId) {
    let scene = Scene::set(0, 1, |_| ()).await;
    let vm = scene
        .until("the VM", |state| state.vms().next().map(|vm| vm.id.clone()))
        .await;
    prepare(&scene.machine(&vm));
    scene.coordinator().start_vm(vm.clone()).await.unwrap();
    (scene, vm)
}

/// Waits until the VM's record names this as missing.
async fn waits_for(scene: &Scene, vm: &VmId, what: &str) {
    let coordinator = scene.coordinator();
    eventually(&format!("a VM that waits for {what}"), SOON, async || {
        let error = coordinator.board().latest(vm).error.clone()?;
        let waits = error.strip_prefix("waiting for: ")?.to_owned();
        (waits == what).then_some(())
    })
    .await;
    let state = coordinator.state();
    assert_eq!(state.vm(vm).unwrap().power, Power::Booting);
    assert_eq!(state.vm(vm).unwrap().status(), Status::Starting);
}

async fn becomes_available(scene: &Scene, vm: &VmId) {
    scene
        .until("an available VM", |state| {
            (state.vm(vm)?.status() == Status::Available).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_studio_draws_nothing_is_not_given_out_before_it_does() {
    let (scene, vm) = started(|machine| machine.operate(|studio, _| studio.set_drawing(false))).await;
    waits_for(&scene, &vm, "check frame (blank: OBS draws nothing)").await;
    let machine = scene.machine(&vm);
    machine.operate(|studio, _| studio.set_drawing(true));
    becomes_available(&scene, &vm).await;
    // A new studio has an empty scene, so a patch was drawn, and is gone.
    machine.operate(|studio, _| {
        assert_eq!(studio.collection().scenes.len(), 1);
        assert!(studio.collection().inputs.is_empty());
    });
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_obs_or_ssh_never_starts_is_not_given_out_and_says_so() {
    // OBS is reached through SSH: without SSH nothing is known of it.
    let without_ssh =
        "OBS (it could not be asked, since the way there over SSH is cut), SSH (connection refused)";
    for (service, missing) in [
        (Service::Studio, "OBS (connection refused)"),
        (Service::Ssh, without_ssh),
    ] {
        let (scene, vm) = started(|machine| machine.fault(Fault::ServiceNeverStarts(service))).await;
        waits_for(&scene, &vm, missing).await;
        let machine = scene.machine(&vm);
        machine.heal(FaultKind::ServiceNeverStarts(service));
        machine.reboot();
        becomes_available(&scene, &vm).await;
        scene.node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_not_ready_in_time_goes_to_error_with_what_is_missing() {
    let scene = Scene::set(0, 1, |config| config.pool.ready_timeout = Duration::from_secs(3)).await;
    let vm = scene
        .until("the VM", |state| state.vms().next().map(|vm| vm.id.clone()))
        .await;
    scene.machine(&vm).operate(|studio, _| studio.set_drawing(false));
    scene.coordinator().start_vm(vm.clone()).await.unwrap();
    let reason = scene
        .until("a fault", |state| {
            let fault = state.vm(&vm)?.fault.as_ref()?;
            Some(fault.reason.clone())
        })
        .await;
    assert!(
        reason.ends_with("still waiting for: check frame (blank: OBS draws nothing)"),
        "{reason}"
    );
    scene.node.stop().await.unwrap();
}

#[tokio::test]
async fn the_studio_of_a_show_is_looked_at_and_not_touched() {
    let (_world, machines) = studios::world(1).await;
    let (session, _notices) = studios::connect(&machines[0]).await;
    let before = session.capture().await.unwrap();
    assert_eq!(session.check_frame(false).await, Ok(Frame::Blank));
    assert_eq!(session.check_frame(true).await, Ok(Frame::Drawn));
    assert_eq!(session.capture().await.unwrap(), before);
    machines[0].load_example_studio("key").unwrap();
    assert_eq!(session.check_frame(false).await, Ok(Frame::Drawn));
    // One that was interrupted has left its scene behind.
    machines[0].operate(|studio, _| {
        studio.create_scene("understudy check frame 0badcafe").unwrap();
        let empty = studio.create_scene("Empty").unwrap();
        studio.set_program(empty).unwrap();
    });
    assert_eq!(session.check_frame(true).await, Ok(Frame::Drawn));
    let left = session.capture().await.unwrap();
    assert!(
        !left
            .scenes
            .iter()
            .any(|scene| scene.name.starts_with("understudy"))
    );
    let gone = machines[0].until(PLENTY, |view| view.obs_clients == 1).await;
    assert!(gone.is_some());
}

/// Nothing was asked of the machines, so nothing is held against them.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_that_cannot_be_used_is_told_and_not_taken_for_a_fault_of_the_machine() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.silence_limit = Duration::from_secs(1);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    let key_file = scene.stage.config.ssh.key_path.clone().unwrap();
    let key = std::fs::read(&key_file).unwrap();
    let mut news = coordinator.news();

    std::fs::write(&key_file, "not a key").unwrap();
    world.fault(&instance, Fault::SshDown).unwrap();
    let told = alert_about_ssh(&mut news).await;
    for part in ["the private key cannot be used", &key_file.display().to_string()] {
        assert!(told.contains(part), "{told}");
    }
    world.heal(&instance, FaultKind::SshDown).unwrap();
    let told_at = world.clock().now();
    eventually(
        "three silence limits and several checks are over",
        SOON,
        async || (world.clock().now().since(told_at) > Duration::from_secs(3)).then_some(()),
    )
    .await;
    let seen = coordinator.board().latest(&vm);
    assert_eq!(seen.reading.ssh, None, "{seen:?}");
    let why = seen.error.as_deref().unwrap_or_default();
    assert!(why.contains("the private key cannot be used"), "{why}");
    let state = coordinator.state();
    assert_eq!(state.vm(&vm).unwrap().health, Health::Healthy);
    let after = state.show(&show).unwrap();
    assert_eq!((&after.phase, after.vm.as_ref()), (&Phase::OnAir, Some(&vm)));
    assert_eq!(after.records.len(), 0);

    std::fs::write(&key_file, key).unwrap();
    assert!(alert_about_ssh(&mut news).await.contains("SSH answers again"));
    scene.node.stop().await.unwrap();
}

/// The next try to open one is as far away as the fence would wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_fence_does_not_wait_for_an_ssh_session_that_no_key_can_open() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let scene = Scene::set(2, 0, |config| {
        config.failover.fence_ssh_deadline = PATIENCE;
        config.obs.reconnect_initial = PATIENCE;
        config.obs.reconnect_max = PATIENCE;
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    let mut news = coordinator.news();
    let key_file = scene.stage.config.ssh.key_path.clone().unwrap();
    std::fs::write(key_file, "not a key").unwrap();
    world.fault(&instance, Fault::SshDown).unwrap();
    let told = alert_about_ssh(&mut news).await;
    assert!(told.contains("the private key cannot be used"), "{told}");
    coordinator.failover(show.clone(), None, None).await.unwrap();
    assert_ne!(scene.moved(&show, 1).await, vm);
    let state = coordinator.state();
    let failover = &state.show(&show).unwrap().records[0].failover;
    let (how, fenced_at) = failover.fenced.unwrap();
    assert_eq!(how, Fence::MachineOff);
    let took = fenced_at.since(failover.began_at);
    assert!(took < PATIENCE / 2, "{took:?}");
    scene.node.stop().await.unwrap();
}

async fn alert_about_ssh(news: &mut tokio::sync::broadcast::Receiver<Item>) -> String {
    let told = async {
        loop {
            match news.recv().await {
                Ok(Item::Alert(alert)) if alert.source.starts_with("ssh-failed-") => return alert.message,
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(closed) => panic!("{closed}"),
            }
        }
    };
    tokio::time::timeout(SOON, told)
        .await
        .expect("an alert about SSH")
}
