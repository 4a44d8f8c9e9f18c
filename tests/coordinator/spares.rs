//! Spares that are not there, or go: a show waits for one, returns to its own VM, or stays where it is.

use std::time::Duration;

use understudy::actors::coordinator::{Assign, CommandError};
use understudy::actors::news::{Alert, Item, Level};
use understudy::config::Config;
use understudy::domain::execution::Deed;
use understudy::domain::failover::verdict::Sign;
use understudy::domain::failover::{Ending, Fence};
use understudy::domain::ids::{InstanceId, ShowId, VmId};
use understudy::domain::pool::Denied;
use understudy::domain::show::{Phase, Show};
use understudy::domain::state::State;
use understudy::domain::vm::{Power, Status};
use understudy::rehearsal::stage::stream_key;
use understudy::sim::model::fault::{CloudFault, Fault, FaultKind};
use understudy::sim::wire::MachineView;
use understudy::sim::world::WorldConfig;

use crate::moves::last_record;
use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene, alert};

fn waits_for_a_spare(show: &Show) -> Option<()> {
    show.failover()?.to.is_none().then_some(())
}

async fn until_it_waits(scene: &Scene, show: &ShowId) {
    let waits = |state: &State| waits_for_a_spare(state.show(show)?);
    scene.until("it waits for a spare", waits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spare_a_show_returns_to_its_vm_once_the_studio_there_is_back() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    scene.crash_studio_of(&vm);
    until_it_waits(&scene, &show).await;
    let instance = scene.instance(&vm);
    scene.stage.world.heal(&instance, FaultKind::StudioCrash).unwrap();
    returned(&scene, &show, &vm).await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spare_a_machine_that_was_switched_off_is_started_and_its_show_returns_to_it() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let instance = scene.instance(&vm);
    scene.stage.world.stop_instance(&instance).unwrap();
    returned(&scene, &show, &vm).await;
    scene.node.stop().await.unwrap();
}

/// The show is on air again where it was, with its own studio.
async fn returned(scene: &Scene, show: &ShowId, vm: &VmId) {
    assert_eq!(scene.moved(show, 1).await, *vm);
    let coordinator = scene.coordinator();
    assert_eq!(last_record(&coordinator, show).ending, Ending::Returned);
    let (key, ingest) = (stream_key(show), scene.stage.world.ingest());
    assert!(
        ingest
            .until(SOON, |ingest| ingest.publishers(&key).len() == 1)
            .await
    );
    assert_eq!(coordinator.state().vm(vm).unwrap().fault, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_on_its_way_to_one_vm_is_not_said_to_go_to_another() {
    let mut world = WorldConfig::for_test(1, 2);
    world.machine.boot = Duration::from_secs(3);
    let scene = Scene::world(world, 1, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let first = coordinator.failover(show.clone(), None, None).await.unwrap();
    let target = first.to.unwrap();
    let state = coordinator.state();
    let other = state
        .vms()
        .find(|other| other.id != vm && other.id != target)
        .unwrap();
    let refused = coordinator
        .failover(show.clone(), Some(other.id.clone()), None)
        .await;
    assert!(matches!(refused, Err(CommandError::Refused(_))), "{refused:?}");
    let again = coordinator
        .failover(show.clone(), Some(target.clone()), None)
        .await
        .unwrap();
    assert_eq!(again.to, Some(target.clone()));
    assert_eq!(scene.moved(&show, 1).await, target);
    scene.node.stop().await.unwrap();
}

/// Each signal of the VM on air makes its show look for a spare; none may leave a timer of its own behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_waits_for_a_spare_keeps_one_timer_however_much_it_hears() {
    const SIGNALS: usize = 60;
    const SLACK: usize = 20;
    let often = |config: &mut Config| config.probe.interval_on_air = Duration::from_millis(50);
    let scene = Scene::set(1, 0, often).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    scene.crash_studio_of(&vm);
    until_it_waits(&scene, &show).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut last = Sign::Unknown;
    for _ in 0..SIGNALS {
        last = eventually("its show server heard", SOON, async || {
            let now = coordinator.board().latest(&vm).signals.probe;
            (now != last).then_some(now)
        })
        .await;
    }
    let after = tasks();
    assert!(after < before + SLACK, "{before} tasks, then {after}");
    assert!(coordinator.state().show(&show).unwrap().failover().is_some());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_moves_a_show_while_there_is_no_spare_is_refused_and_it_stays_on_air() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let before = coordinator.state().show(&show).unwrap().clone();
    let refused = coordinator.failover(show.clone(), None, None).await;
    assert!(
        matches!(refused, Err(CommandError::Denied(Denied::Exhausted))),
        "{refused:?}"
    );
    let state = coordinator.state();
    let after = state.show(&show).unwrap();
    assert_eq!((after.epoch, after.phase.clone()), (before.epoch, Phase::OnAir));
    assert_eq!((after.vm.clone(), after.records.len()), (Some(vm), 0));
    scene.node.stop().await.unwrap();
}

/// Its studio answers, and viewers have nothing: it is better off waiting for a spare.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_move_a_held_show_that_is_silent_though_there_is_no_spare() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    coordinator.hold(show.clone(), true, None).await.unwrap();
    let instance = scene.instance(&vm);
    scene.stage.world.fault(&instance, Fault::OutputSilent).unwrap();
    let moving = eventually("the order is taken", SOON, async || {
        coordinator.failover(show.clone(), None, None).await.ok()
    });
    assert_eq!(moving.await.to, None);
    until_it_waits(&scene, &show).await;
    scene.node.stop().await.unwrap();
}

/// The only spare goes before anything was done to the VM on air.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_asked_for_and_lost_its_only_spare_is_given_up_and_the_stream_never_stops() {
    let scene = Scene::set(1, 1, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let cold = scene.other_than(&vm);
    let instance = scene.instance(&cold);
    let world = &scene.stage.world;
    world.fault(&instance, Fault::BootNeverFinishes).unwrap();
    let moving = coordinator.failover(show.clone(), None, None).await.unwrap();
    assert_eq!(moving.to, Some(cold));
    world.terminate_instance(&instance).unwrap();
    assert_eq!(scene.moved(&show, 1).await, vm);
    assert_eq!(last_record(&coordinator, &show).ending, Ending::Recovered);
    let key = stream_key(&show);
    assert_eq!(world.ingest().publishers(&key).len(), 1);
    let streams = world
        .ingest()
        .stretches()
        .into_iter()
        .filter(|stretch| stretch.key == key);
    assert_eq!(streams.count(), 1);
    scene.node.stop().await.unwrap();
}

/// The old VM has been told to stop, and has, when the only spare goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_loses_its_only_spare_while_it_fences_puts_the_show_back_on_air() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let spare = scene.instance(&scene.other_than(&vm));
    // It does not get as far as being restored.
    scene.stage.world.fault(&spare, Fault::StudioHang).unwrap();
    coordinator.failover(show.clone(), None, None).await.unwrap();
    let old = scene.machine(&vm);
    assert!(old.until(SOON, |view| !view.is_streaming()).await.is_some());
    scene.stage.world.terminate_instance(&spare).unwrap();
    assert_eq!(scene.moved(&show, 1).await, vm);
    assert_eq!(last_record(&coordinator, &show).ending, Ending::Returned);
    let (key, ingest) = (stream_key(&show), scene.stage.world.ingest());
    assert!(
        ingest
            .until(SOON, |ingest| ingest.publishers(&key).len() == 1)
            .await
    );
    scene.node.stop().await.unwrap();
}

/// Whether its stream still runs says nothing then: it has been told to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_loses_its_only_spare_before_the_old_stream_has_stopped_starts_that_again() {
    let mut world = WorldConfig::for_test(2, 0);
    world.machine.output.stop = Duration::from_secs(1);
    // Or else its studio is killed.
    let patient = |config: &mut Config| config.failover.fence_obs_deadline = SOON;
    let scene = Scene::world(world, 2, patient).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let moving = coordinator.failover(show.clone(), None, None).await.unwrap();
    let spare = scene.instance(&moving.to.unwrap());
    scene.stage.world.terminate_instance(&spare).unwrap();
    let old = scene.machine(&vm);
    assert!(old.until(SOON, |view| !view.is_streaming()).await.is_some());
    assert!(old.until(SOON, MachineView::is_streaming).await.is_some());
    assert_eq!(scene.moved(&show, 1).await, vm);
    assert_eq!(last_record(&coordinator, &show).ending, Ending::Returned);
    scene.node.stop().await.unwrap();
}

/// A show that is being moved, its VM, on which the studio was killed since its stream takes longer to stop than a move waits, and
/// the only spare, which is not restored.
async fn killed_by_a_move() -> (Scene, ShowId, VmId, InstanceId) {
    let mut world = WorldConfig::for_test(2, 0);
    world.machine.output.stop = Duration::from_secs(600);
    let scene = Scene::world(world, 2, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let spare = scene.instance(&scene.other_than(&vm));
    scene.stage.world.fault(&spare, Fault::StudioHang).unwrap();
    scene
        .coordinator()
        .failover(show.clone(), None, None)
        .await
        .unwrap();
    let killed = |state: &State| {
        let (how, _) = state.show(&show)?.failover()?.fenced?;
        (how == Fence::StudioKilled).then_some(())
    };
    scene.until("the old studio killed", killed).await;
    (scene, show, vm, spare)
}

/// Nothing on the VM starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_killed_the_old_studio_and_loses_its_only_spare_starts_that_studio_again() {
    let (scene, show, vm, spare) = killed_by_a_move().await;
    let coordinator = scene.coordinator();
    scene.stage.world.terminate_instance(&spare).unwrap();
    returned(&scene, &show, &vm).await;
    let state = coordinator.state();
    let executions = state.executions();
    let started = executions.latest().find(
        |execution| matches!(&execution.deed, Deed::Operation { id, .. } if id.as_str() == "START_OBS"),
    );
    let started = started.unwrap();
    assert_eq!((&started.vm, started.by.as_str()), (&vm, "coordinator"));
    scene.node.stop().await.unwrap();
}

/// The move that killed it was ended by an operator, so that it is the next one that starts it.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_was_stopped_while_it_was_moved_is_on_air_again_where_its_studio_was_killed() {
    let (scene, show, vm, spare) = killed_by_a_move().await;
    let coordinator = scene.coordinator();
    coordinator.stop_show(show.clone(), None).await.unwrap();
    scene.stage.world.terminate_instance(&spare).unwrap();
    eventually("it is on air", SOON, async || {
        let started = coordinator.start_show(show.clone(), None).await;
        started.is_ok_and(|turned| turned.on_air).then_some(())
    })
    .await;
    let state = coordinator.state();
    let found = state.show(&show).unwrap();
    assert_eq!((&found.phase, found.vm.as_ref()), (&Phase::OnAir, Some(&vm)));
    assert!(scene.stage.world.ingest().overlaps().is_empty());
    scene.node.stop().await.unwrap();
}

/// It cannot be started, and there is no other: it is not tried until the show may lose no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_spare_that_does_not_start_is_tried_once_and_the_show_stays_on_air() {
    let scene = Scene::set(1, 1, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    scene.stage.world.cloud_fault(CloudFault::NoCapacity);
    coordinator.failover(show.clone(), None, None).await.unwrap();
    assert_eq!(scene.moved(&show, 1).await, vm);
    let record = last_record(&coordinator, &show);
    assert_eq!(
        (record.ending, record.failover.lost_at.len()),
        (Ending::Recovered, 1)
    );
    let state = coordinator.state();
    let after = state.show(&show).unwrap();
    assert_eq!((after.phase.clone(), after.held), (Phase::OnAir, false));
    let key = stream_key(&show);
    let streams = scene.stage.world.ingest().stretches();
    assert_eq!(streams.iter().filter(|stretch| stretch.key == key).count(), 1);
    scene.node.stop().await.unwrap();
}

/// Its studio answers, and what it sends goes nowhere until it connects anew; the only other VM has another show.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_that_has_no_spare_is_started_anew_where_it_is() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let other = ShowId::new("matinee").unwrap();
    coordinator.assign(other, Assign::default()).await.unwrap();
    let instance = scene.instance(&vm);
    scene.stage.world.fault(&instance, Fault::OutputSilent).unwrap();
    until_it_waits(&scene, &show).await;
    let machine = scene.machine(&vm);
    assert!(machine.until(SOON, |view| !view.is_streaming()).await.is_some());
    assert!(machine.until(SOON, MachineView::is_streaming).await.is_some());
    scene
        .stage
        .world
        .heal(&instance, FaultKind::OutputSilent)
        .unwrap();
    assert_eq!(scene.moved(&show, 1).await, vm);
    assert_eq!(last_record(&coordinator, &show).ending, Ending::Recovered);
    scene.node.stop().await.unwrap();
}

/// There is no other VM that could say whether the ingest is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_of_which_nobody_can_say_why_is_started_anew_where_it_is() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let (instance, machine) = (scene.instance(&vm), scene.machine(&vm));
    scene.stage.world.fault(&instance, Fault::OutputSilent).unwrap();
    assert!(machine.until(SOON, |view| !view.is_streaming()).await.is_some());
    assert!(machine.until(SOON, MachineView::is_streaming).await.is_some());
    scene
        .stage
        .world
        .heal(&instance, FaultKind::OutputSilent)
        .unwrap();
    let coordinator = scene.coordinator();
    eventually("its output rises", SOON, async || {
        coordinator
            .board()
            .latest(&vm)
            .signals
            .is_publishing()
            .then_some(())
    })
    .await;
    let state = coordinator.state();
    let after = state.show(&show).unwrap();
    assert_eq!((after.phase.clone(), after.records.len()), (Phase::OnAir, 0));
    scene.node.stop().await.unwrap();
}

/// On hold nothing moves it by itself; the operator's word does, and its studio is what comes back first.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_whose_studio_is_gone_waits_for_the_spare_that_an_operator_asks_for_or_its_own_studio() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    coordinator.hold(show.clone(), true, None).await.unwrap();
    scene.crash_studio_of(&vm);
    eventually("its studio missed", SOON, async || {
        let sign = coordinator.board().latest(&vm).signals.obs;
        matches!(sign, Sign::Bad { .. }).then_some(())
    })
    .await;
    let moving = coordinator.failover(show.clone(), None, None).await.unwrap();
    assert_eq!(moving.to, None);
    let instance = scene.instance(&vm);
    scene.stage.world.heal(&instance, FaultKind::StudioCrash).unwrap();
    returned(&scene, &show, &vm).await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_waits_for_a_spare_can_be_held_and_let_go_on() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let instance = scene.instance(&vm);
    scene.stage.world.fault(&instance, Fault::StudioHang).unwrap();
    until_it_waits(&scene, &show).await;
    coordinator.hold(show.clone(), true, None).await.unwrap();
    let tags = scene.stage.world.instances()[0].tags.clone();
    scene.stage.world.place_with(tags, true).await.unwrap();
    let spare = scene
        .until("a spare", |state| {
            let spare = state.vms().find(|vm| vm.status() == Status::Available)?;
            Some(spare.id.clone())
        })
        .await;
    // Half a second lies between two checks of a VM, and between two looks for a spare.
    let mut news = coordinator.news();
    let mut checks = 0;
    while checks < 5 {
        let item = tokio::time::timeout(SOON, news.recv()).await.unwrap().unwrap();
        let of_spare = matches!(&item, Item::Checked { vm, .. } if *vm == spare);
        checks += usize::from(of_spare);
    }
    let state = coordinator.state();
    assert_eq!(waits_for_a_spare(state.show(&show).unwrap()), Some(()));
    assert_eq!(state.vm(&spare).unwrap().status(), Status::Available);

    coordinator.hold(show.clone(), false, None).await.unwrap();
    assert_eq!(scene.moved(&show, 1).await, spare);
    assert!(scene.stage.world.ingest().overlaps().is_empty());
    scene.node.stop().await.unwrap();
}

/// Nothing moves it by itself then, so somebody has to know.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_on_hold_whose_move_loses_its_spare_is_told_to_be_off_the_air_and_goes_on_once_it_may() {
    let scene = Scene::set(1, 1, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let (coordinator, world) = (scene.coordinator(), &scene.stage.world);
    let cold = scene.instance(&scene.other_than(&vm));
    world.fault(&cold, Fault::BootNeverFinishes).unwrap();
    let mut news = coordinator.news();
    scene.crash_studio_of(&vm);
    let chosen = |state: &State| state.show(&show)?.failover()?.to.clone();
    scene.until("a spare chosen", chosen).await;
    coordinator.hold(show.clone(), true, None).await.unwrap();
    world.terminate_instance(&cold).unwrap();
    let told = |alert: &Alert| alert.title == "On hold, off the air";
    let alert = alert(&mut news, "the hold", told).await;
    assert_eq!(alert.level, Level::Critical);
    assert_eq!((alert.show.as_ref(), alert.vm.as_ref()), (Some(&show), Some(&vm)));

    coordinator.hold(show.clone(), false, None).await.unwrap();
    let instance = scene.instance(&vm);
    world.heal(&instance, FaultKind::StudioCrash).unwrap();
    returned(&scene, &show, &vm).await;
    scene.node.stop().await.unwrap();
}

/// A VM that has failed a moment ago rests for a while; but not when it is the only one that a show could have.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_has_just_failed_is_taken_when_there_is_nothing_else() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, first) = scene.on_air("gala").await;
    let world = &scene.stage.world;
    world.stop_instance(&scene.instance(&first)).unwrap();
    let second = scene.moved(&show, 1).await;
    assert_ne!(second, first);
    scene
        .until("the first VM off, with its fault", |state| {
            let vm = state.vm(&first)?;
            (vm.power == Power::Stopped && vm.fault.is_some()).then_some(())
        })
        .await;
    world.stop_instance(&scene.instance(&second)).unwrap();
    assert_eq!(scene.moved(&show, 2).await, first);
    let ending = last_record(&scene.coordinator(), &show).ending;
    assert_eq!(ending, Ending::OnAir);
    scene.node.stop().await.unwrap();
}
