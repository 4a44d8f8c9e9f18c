//! What is believed of a machine: by the cloud, by its services, by the ledger and by the clock.

use std::time::Duration;

use understudy::actors::coordinator::{Assign, CommandError, Release};
use understudy::actors::news::{Alert, Item, Level};
use understudy::domain::event::Event;
use understudy::domain::failover::Fence;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::instance::InstanceState;
use understudy::domain::show::Phase;
use understudy::domain::state::State;
use understudy::domain::vm::{self, Occupancy, Power, Status};
use understudy::infra::ledger::{Ledger, Options};
use understudy::rehearsal::stage::stream_key;
use understudy::sim::model::fault::{CloudFault, Fault, FaultKind};
use understudy::sim::model::machine::Service;
use understudy::sim::model::studio::Studio;
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene, alert};

fn status(state: &State, vm: &VmId) -> Option<Status> {
    state.vm(vm).map(|vm| vm.status())
}

fn gala() -> ShowId {
    ShowId::new("gala").unwrap()
}

/// Gives an instance another project's tag, or that of the pool again.
async fn tag(scene: &Scene, instance: impl std::fmt::Display, project: &str) {
    let url = format!("{}/v1/instances/{instance}/tags", scene.stage.world.cloud_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .patch(url)
        .header("content-type", "application/json")
        .body(format!(r#"{{"Project":"{project}"}}"#));
    assert!(request.send().await.unwrap().status().is_success());
}

/// Lets so many looks at the cloud begin and end.
async fn looks(scene: &Scene, count: usize) {
    for _ in 0..count {
        scene.coordinator().check(None, true).await.unwrap();
    }
}

fn assert_nothing_happened(scene: &Scene, show: &ShowId, vm: &VmId) {
    let state = scene.coordinator().state();
    let found = state.show(show).unwrap();
    assert_eq!((&found.phase, found.records.len()), (&Phase::OnAir, 0));
    assert_eq!(found.vm.as_ref(), Some(vm));
    assert_eq!(state.vm(vm).unwrap().power, Power::Ready);
    assert_eq!(scene.stage.world.ingest().overlaps(), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_stays_on_a_machine_whose_tags_somebody_edits_and_people_are_told() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let instance = scene.instance(&vm);
    let mut news = scene.coordinator().news();
    tag(&scene, &instance, "somebody-elses").await;
    let told = |alert: &Alert| alert.title == "VM lost its tags";
    let alert = alert(&mut news, "the tags", told).await;
    assert_eq!((alert.show.as_ref(), alert.vm.as_ref()), (Some(&show), Some(&vm)));
    looks(&scene, 6).await;
    assert_nothing_happened(&scene, &show, &vm);
    // Its show has left it: now it is no business of the pool's.
    let coordinator = scene.coordinator();
    coordinator.release(show, Release::default()).await.unwrap();
    scene
        .until("the VM out of the pool", |state| {
            state.vm(&vm).is_none().then_some(())
        })
        .await;
    assert_eq!(
        scene.stage.world.instance(&instance).unwrap().state,
        InstanceState::Running
    );
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_listed_empty_for_a_while_keeps_its_shows_and_finds_its_vms_again() {
    let scene = Scene::set(3, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let ours = scene.stage.config.pool.project.clone();
    for instance in scene.stage.world.instances() {
        tag(&scene, &instance.instance_id, "somebody-elses").await;
    }
    scene
        .until("the free VMs out of the pool", |state| {
            (state.vm_count() == 1).then_some(())
        })
        .await;
    looks(&scene, 4).await;
    assert_nothing_happened(&scene, &show, &vm);
    for instance in scene.stage.world.instances() {
        tag(&scene, &instance.instance_id, &ours).await;
    }
    scene
        .until("the free VMs back", |state| {
            (state.count(Status::Available) == 2).then_some(())
        })
        .await;
    assert_nothing_happened(&scene, &show, &vm);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_being_terminated_is_fenced_before_its_show_goes_elsewhere() {
    let mut world = WorldConfig::for_test(2, 0);
    world.cloud.terminate = Duration::from_secs(300);
    world.machine.exit = Duration::from_secs(300);
    let scene = Scene::world(world, 2, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let instance = scene.instance(&vm);
    let machine = scene.machine(&vm);
    scene.stage.world.fault(&instance, Fault::StudioHang).unwrap();
    scene.stage.world.terminate_instance(&instance).unwrap();
    let spare = scene.moved(&show, 1).await;
    assert_ne!(spare, vm);
    assert_eq!(
        scene.stage.world.instance(&instance).unwrap().state,
        InstanceState::ShuttingDown
    );
    let fenced = scene.coordinator().state().show(&show).unwrap().records[0]
        .failover
        .fenced;
    assert_eq!(fenced.map(|(how, _)| how), Some(Fence::StudioKilled));
    // Had it been left hanging, it would go on publishing now.
    machine.heal(FaultKind::StudioHang);
    assert!(!machine.is_streaming());
    assert_eq!(scene.stage.world.ingest().overlaps(), Vec::new());
    scene.node.stop().await.unwrap();
}

/// Nobody hears that its stop was refused, and the cloud does not find it by its id, though it lists it as running.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_the_cloud_does_not_find_is_not_taken_for_off_while_it_is_listed() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.fence_deadline = Duration::from_secs(2);
        config.cloud.attempts = 1;
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    let mut news = scene.coordinator().news();
    for fault in [CloudFault::Denied, CloudFault::AnswersLost, CloudFault::Mislaid] {
        world.cloud_fault(fault);
    }
    // It streams on as soon as the network is back.
    world.fault(&instance, Fault::Blackhole).unwrap();
    let told = |alert: &Alert| alert.title == "Old VM not fenced";
    alert(&mut news, "the fence", told).await;
    world.heal(&instance, FaultKind::Blackhole).unwrap();
    let (key, ingest) = (stream_key(&show), world.ingest());
    assert!(
        ingest
            .until(SOON, |ingest| ingest.publishers(&key).len() == 1)
            .await
    );
    world.heal_cloud();
    assert_ne!(scene.moved(&show, 1).await, vm);
    assert_eq!(world.ingest().overlaps(), Vec::new());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_keeps_the_vm_whose_start_the_cloud_puts_off() {
    let scene = Scene::set(0, 2, |config| config.cloud.attempts = 1).await;
    scene
        .until("known", |state| (state.count(Status::Stopped) == 2).then_some(()))
        .await;
    let coordinator = scene.coordinator();
    scene.stage.world.cloud_fault(CloudFault::Throttled);
    let assigned = coordinator.assign(gala(), Assign::default()).await.unwrap();
    scene
        .until("the start ordered", |state| {
            matches!(state.vm(&assigned.vm)?.power, Power::Starting { .. }).then_some(())
        })
        .await;
    scene.stage.world.heal_cloud();
    // Several looks say stopped before the start is tried again.
    looks(&scene, 4).await;
    coordinator.await_ready(&gala(), SOON).await.unwrap();
    let state = coordinator.state();
    let show = state.show(&gala()).unwrap();
    assert_eq!((show.vm.as_ref(), show.records.len()), (Some(&assigned.vm), 0));
    assert!(show.failover().is_none());
    scene.node.stop().await.unwrap();
}

/// What an actor that is killed between an assignment and the start that it calls for leaves behind.
async fn reserve_without_starting(scene: Scene, show: &ShowId) -> (Scene, VmId) {
    let Scene { stage, node } = scene;
    let vm = node.coordinator().state().vms().next().unwrap().id.clone();
    let at = node.coordinator().now();
    node.stop().await.unwrap();
    let ledger = Ledger::open(Options::new(stage.config.ledger.path.clone())).unwrap();
    let assigned = understudy::domain::show::Event::Assigned {
        vm: vm.clone(),
        epoch: ledger.state().next_epoch(show),
        by: None,
        key: None,
    };
    ledger
        .commit(at, vec![Event::show(show, assigned)])
        .await
        .unwrap();
    ledger.close().await.unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    (Scene { stage, node }, vm)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_was_given_away_cold_is_started_though_the_order_was_lost() {
    let scene = Scene::set(0, 1, |_| ()).await;
    scene
        .until("known", |state| (state.count(Status::Stopped) == 1).then_some(()))
        .await;
    let (scene, vm) = reserve_without_starting(scene, &gala()).await;
    scene.coordinator().await_ready(&gala(), SOON).await.unwrap();
    let state = scene.coordinator().state();
    let show = state.show(&gala()).unwrap();
    assert_eq!(show.phase, Phase::OffAir);
    assert_eq!((show.vm.as_ref(), show.records.len()), (Some(&vm), 0));
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_cold_spare_whose_actor_is_down_goes_on_when_the_actor_is_back() {
    let scene = Scene::set(1, 1, |config| {
        config.supervision.backoff_initial = Duration::from_secs(2);
        config.supervision.backoff_max = Duration::from_secs(2);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let cold = coordinator
        .state()
        .vms()
        .find(|found| found.id != vm)
        .unwrap()
        .id
        .clone();
    // The first death is mended at once, the second after a while.
    assert!(coordinator.kill_vm_actor(&cold));
    scene.producer().until_answered_by(&cold, SOON).await.unwrap();
    assert!(coordinator.kill_vm_actor(&cold));
    scene.crash_studio_of(&vm);
    assert_eq!(scene.moved(&show, 1).await, cold);
    let state = coordinator.state();
    assert_eq!(state.show(&show).unwrap().records[0].failover.lost_at.len(), 0);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_was_set_back_does_not_make_the_cloud_a_liar() {
    const AHEAD: Duration = Duration::from_secs(3_600);
    let Scene { stage, node } = Scene::set(1, 0, |_| ()).await;
    let vm = node.coordinator().state().vms().next().unwrap().id.clone();
    let future = node.coordinator().now() + AHEAD;
    node.coordinator().stop_vm(vm.clone()).await.unwrap();
    let scene = Scene { stage, node };
    scene
        .until("stopped", |state| {
            (status(state, &vm)? == Status::Stopped).then_some(())
        })
        .await;
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();
    // A coordinator whose clock ran ahead touched the VM last.
    let ledger = Ledger::open(Options::new(stage.config.ledger.path.clone())).unwrap();
    let events = [
        vm::Event::MaintenanceBegan { reason: None },
        vm::Event::MaintenanceEnded,
    ];
    let events = events.map(|event| Event::vm(&vm, event));
    ledger.commit(future, events.to_vec()).await.unwrap();
    ledger.close().await.unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    let scene = Scene { stage, node };
    assert!(scene.coordinator().now() >= future);
    eventually("its actor", SOON, async || {
        scene.coordinator().start_vm(vm.clone()).await.ok()
    })
    .await;
    scene
        .until("ready", |state| {
            (status(state, &vm)? == Status::Available).then_some(())
        })
        .await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_that_the_cloud_refuses_changes_nothing() {
    let scene = Scene::set(1, 0, |config| {
        config.cloud.attempts = 1;
        config.obs.capture_interval = Duration::from_secs(1);
    })
    .await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    scene.stage.world.cloud_fault(CloudFault::Down);
    let refused = coordinator.reboot_vm(vm.clone(), true).await;
    assert!(matches!(refused, Err(CommandError::Cloud { .. })), "{refused:?}");
    scene.stage.world.heal_cloud();
    assert_nothing_happened(&scene, &show, &vm);
    // Its studio is still listened to: what changes there is captured.
    scene.machine(&vm).operate(|studio, _| {
        let scenes = studio.collection().scene_names();
        let replay = scenes.iter().find(|scene| scene.name == "Replay").unwrap().uuid;
        studio.set_program(replay).unwrap();
    });
    scene
        .until("the change captured", |state| {
            let studio = state.show(&show)?.studio.as_ref()?;
            (studio.program_scene == "Replay").then_some(())
        })
        .await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebooted_vm_is_ready_only_when_it_answers_after_it_went_down() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let vm = coordinator.state().vms().next().unwrap().id.clone();
    let instance = scene.instance(&vm);
    let never = Fault::ServiceNeverStarts(Service::Status);
    scene.stage.world.fault(&instance, never).unwrap();
    let machine = scene.machine(&vm);
    let mut feed = coordinator.feed();
    // The machine answers as before until the cloud gets round to it.
    let delay = Duration::from_millis(1_500);
    scene.stage.world.cloud_fault(CloudFault::Slow { delay });
    coordinator.reboot_vm(vm.clone(), false).await.unwrap();
    scene.stage.world.heal_cloud();
    eventually("the studio of the new boot", SOON, async || {
        (coordinator.board().latest(&vm).reading.obs == Some(true)
            && coordinator.board().latest(&vm).reading.node == Some(false))
        .then_some(())
    })
    .await;
    assert_eq!(coordinator.state().vm(&vm).unwrap().power, Power::Booting);
    while let Ok(batch) = feed.try_recv() {
        let early = batch
            .entries
            .iter()
            .any(|entry| entry.event == Event::vm(&vm, vm::Event::Ready));
        assert!(!early, "an answer from before the reboot made it ready");
    }
    machine.heal(never.kind());
    scene
        .until("ready", |state| {
            (status(state, &vm)? == Status::Available).then_some(())
        })
        .await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_on_air_is_rebooted_only_by_force_whatever_its_status() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    scene
        .stage
        .world
        .fault(&scene.instance(&vm), Fault::StatusDown)
        .unwrap();
    scene
        .until("in error", |state| {
            (status(state, &vm)? == Status::Error).then_some(())
        })
        .await;
    let refused = scene.coordinator().reboot_vm(vm.clone(), false).await;
    assert!(
        matches!(refused, Err(CommandError::WrongStatus { .. })),
        "{refused:?}"
    );
    assert_nothing_happened(&scene, &show, &vm);
    assert!(scene.machine(&vm).is_streaming());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_termination_that_the_cloud_refuses_leaves_the_vm_in_the_pool() {
    let scene = Scene::set(1, 0, |config| config.cloud.attempts = 1).await;
    let coordinator = scene.coordinator();
    let vm = coordinator.state().vms().next().unwrap().id.clone();
    scene.stage.world.cloud_fault(CloudFault::Down);
    let refused = coordinator.terminate_vm(vm.clone()).await;
    assert!(matches!(refused, Err(CommandError::Cloud { .. })), "{refused:?}");
    let state = coordinator.state();
    assert_eq!(state.vm(&vm).unwrap().occupancy, Occupancy::Free);
    scene.stage.world.heal_cloud();
    coordinator.assign(gala(), Assign::default()).await.unwrap();
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_publishes_for_nobody_is_set_aside_until_it_is_silent() {
    let scene = Scene::set(2, 0, |config| config.obs.poll = Duration::from_secs(1)).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let stray = coordinator
        .state()
        .vms()
        .find(|found| found.id != vm)
        .unwrap()
        .id
        .clone();
    let machine = scene.machine(&stray);
    machine.load_example_studio("somebodys-key").unwrap();
    machine.operate(Studio::start_stream).unwrap();
    let reason = scene
        .until("the stray set aside", |state| {
            let found = state.vm(&stray)?;
            (found.status() == Status::Error).then(|| found.fault.clone())?
        })
        .await
        .reason;
    assert!(reason.contains("publishes though no show holds it"), "{reason}");
    scene
        .until("the stray back", |state| {
            (status(state, &stray)? == Status::Available).then_some(())
        })
        .await;
    assert!(!machine.is_streaming());
    assert_eq!(
        scene.stage.world.ingest().publishers(&stream_key(&show)).len(),
        1,
        "the show's own stream goes on"
    );
    assert_nothing_happened(&scene, &show, &vm);
    scene.node.stop().await.unwrap();
}

/// The alerts about a VM's SSH, as they come.
async fn ssh_alert(news: &mut tokio::sync::broadcast::Receiver<Item>) -> Alert {
    alert(news, "SSH", |alert| alert.source.starts_with("ssh-failed-")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_of_lost_ssh_and_of_another_host_key() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let mut news = scene.coordinator().news();
    let (world, instance) = (&scene.stage.world, scene.instance(&vm));
    world.fault(&instance, Fault::SshDown).unwrap();
    let lost = ssh_alert(&mut news).await;
    assert_eq!(
        (lost.level, lost.source),
        (Level::Warning, format!("ssh-failed-{vm}"))
    );
    assert_eq!((lost.vm, lost.show), (Some(vm.clone()), Some(show)));

    // Its key is another one than was pinned.
    let pins = scene.stage.dir().join("host_keys");
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILKgMaEqDHtIje/RYMlpYOeu8AUSIzuKhRrUOcUWAVvU";
    let pinned = std::fs::read_to_string(&pins).unwrap();
    std::fs::write(&pins, format!("{other} {instance}\n")).unwrap();
    world.heal(&instance, FaultKind::SshDown).unwrap();
    let changed = ssh_alert(&mut news).await;
    assert_eq!(changed.level, Level::Critical);
    assert_eq!(
        changed.message.matches("SHA256:").count(),
        2,
        "{}",
        changed.message
    );

    std::fs::write(&pins, pinned).unwrap();
    let back = ssh_alert(&mut news).await;
    assert_eq!(
        (back.level, back.source),
        (Level::Info, format!("ssh-failed-{vm}"))
    );
    scene.node.stop().await.unwrap();
}
