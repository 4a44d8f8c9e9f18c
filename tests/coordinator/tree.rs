//! The tree as a whole: what its parts owe each other when one of them fails, is stopped, or is told to.

use std::time::Duration;

use futures_util::future::poll_immediate;
use understudy::actors::coordinator::{Assign, CommandError, Release};
use understudy::config::{Config, ObsVia};
use understudy::domain::failover::{Cause, Ending};
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::show::Phase;
use understudy::domain::state::State;
use understudy::domain::vm::{Power, Status};
use understudy::rehearsal::stage::{Producer, Setting, Stage, stream_key};
use understudy::sim::model::fault::{CloudFault, Fault, FaultKind};
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};

/// Long for an answer from memory, short against the ledger's patience with a locked journal.
const SHORTLY: Duration = Duration::from_millis(200);

fn status(state: &State, vm: &VmId) -> Option<Status> {
    state.vm(vm).map(|vm| vm.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_actor_keeps_dying_goes_to_error_and_the_tree_goes_on() {
    let scene = Scene::set(2, 0, |config| config.supervision.restarts_max = 3).await;
    let coordinator = scene.coordinator();
    let bad = coordinator.state().vms().next().unwrap().id.clone();
    eventually("its budget is used up", SOON, async || {
        // Whoever is up dies; an actor that is dead already does not die again.
        let _ = coordinator.kill_vm_actor(&bad);
        (status(&coordinator.state(), &bad)? == Status::Error).then_some(())
    })
    .await;
    let reason = scene
        .until("the VM in error", |state| {
            let vm = state.vm(&bad)?;
            (vm.status() == Status::Error).then(|| vm.fault.clone())?
        })
        .await
        .reason;
    assert!(reason.contains("its actor keeps failing"), "{reason}");
    let assigned = coordinator
        .assign(ShowId::new("gala").unwrap(), Assign::default())
        .await
        .unwrap();
    assert_ne!(assigned.vm, bad);
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_actor_was_writing_when_it_died_is_carried_out_by_its_successor() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let vm = coordinator.state().vms().next().unwrap().id.clone();
    // An open transaction of another program keeps the ledger from writing.
    let journal = rusqlite::Connection::open(&scene.stage.config.ledger.path).unwrap();
    journal.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut stop = Box::pin(coordinator.stop_vm(vm.clone()));
    assert!(poll_immediate(stop.as_mut()).await.is_none());
    eventually(
        "its actor answers nothing but waits for the ledger",
        SOON,
        async || {
            let check = coordinator.check(Some(vm.clone()), false);
            tokio::time::timeout(SHORTLY, check).await.err()
        },
    )
    .await;
    assert!(coordinator.kill_vm_actor(&vm));
    let answer = stop.await;
    assert!(
        matches!(answer, Err(CommandError::Restarting { .. })),
        "{answer:?}"
    );
    journal.execute_batch("ROLLBACK").unwrap();
    eventually("the machine is stopped", SOON, async || {
        // Had the ledger never heard of it, asking again is what helps; if it has, this is refused.
        let _ = coordinator.stop_vm(vm.clone()).await;
        (status(&coordinator.state(), &vm)? == Status::Stopped).then_some(())
    })
    .await;
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_stays_on_air_while_its_coordinator_is_stopped_and_started() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    let before = scene.coordinator().state();
    scene.node.stop().await.unwrap();
    let key = stream_key(&show);
    let ingest = scene.stage.world.ingest();
    let bytes = ingest.bytes(&key);
    assert!(ingest.until(SOON, |ingest| ingest.bytes(&key) > bytes).await);

    let node = scene.stage.coordinator(|_| None).await.unwrap();
    let after = node.coordinator().state();
    assert_eq!(after.show(&show), before.show(&show));
    let producer = Producer {
        coordinator: node.coordinator(),
    };
    let seen = |state: &State| {
        let rising = node.coordinator().board().latest(&vm).signals.is_publishing();
        (rising && state.show(&show)?.phase == Phase::OnAir).then_some(())
    };
    producer.until("its output seen again", SOON, seen).await.unwrap();
    assert!(node.coordinator().state().show(&show).unwrap().records.is_empty());
    assert_eq!(scene.stage.world.ingest().stretches().len(), 1);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_on_one_ledger_is_told_who_has_it() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let refused = scene
        .stage
        .coordinator(|_| None)
        .await
        .err()
        .expect("two coordinators on one ledger");
    let message = format!("{refused:#}");
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_show_stays_where_it_is_until_an_operator_moves_it_and_can_be_failed_back() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, first) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    coordinator.hold(show.clone(), true, None).await.unwrap();
    let mut news = coordinator.news();
    scene.crash_studio_of(&first);
    loop {
        let item = tokio::time::timeout(SOON, news.recv()).await.unwrap().unwrap();
        let understudy::actors::news::Item::Alert(alert) = item else {
            continue;
        };
        if alert.title == "Failover is held" {
            break;
        }
    }
    assert!(coordinator.state().show(&show).unwrap().records.is_empty());

    coordinator.failover(show.clone(), None, None).await.unwrap();
    let second = scene.moved(&show, 1).await;
    assert_ne!(second, first);

    let instance = scene.producer().instance_of(&first).unwrap();
    scene.stage.world.heal(&instance, FaultKind::StudioCrash).unwrap();
    scene
        .until("the first VM available again", |state| {
            (status(state, &first)? == Status::Available).then_some(())
        })
        .await;
    coordinator
        .failover(show.clone(), Some(first.clone()), None)
        .await
        .unwrap();
    assert_eq!(scene.moved(&show, 2).await, first);
    let state = coordinator.state();
    for record in &state.show(&show).unwrap().records {
        assert_eq!(
            (record.failover.cause, record.ending),
            (Cause::Forced, Ending::OnAir)
        );
    }
    assert!(scene.stage.world.ingest().overlaps().is_empty());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_keeps_failing_is_put_on_hold() {
    let scene = Scene::set(3, 0, |config| config.failover.cap = 1).await;
    let (show, first) = scene.on_air("gala").await;
    scene.crash_studio_of(&first);
    let second = scene.moved(&show, 1).await;
    scene.crash_studio_of(&second);
    scene
        .until("the show on hold", |state| state.show(&show)?.held.then_some(()))
        .await;
    let state = scene.coordinator().state();
    assert_eq!(state.show(&show).unwrap().records.len(), 1);
    scene.node.stop().await.unwrap();
}

/// A show that cannot publish from anywhere must not fell every VM of the pool.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_that_loses_one_spare_after_the_other_is_put_on_hold() {
    let scene = Scene::set(5, 0, |config| {
        config.failover.cap = 2;
        config.failover.verify_deadline = Duration::from_secs(2);
    })
    .await;
    let (show, first) = scene.on_air("gala").await;
    let (coordinator, ingest) = (scene.coordinator(), scene.stage.world.ingest());
    ingest.take_down().await;
    scene.crash_studio_of(&first);
    scene
        .until("the show on hold", |state| state.show(&show)?.held.then_some(()))
        .await;
    let state = coordinator.state();
    let lost = |state: &State| {
        state
            .show(&show)
            .unwrap()
            .failover()
            .map(|failover| failover.lost_at.len())
    };
    assert_eq!(lost(&state), Some(2));
    let untouched = state.vms().filter(|vm| vm.total_assignments == 0).count();
    assert_eq!(untouched, 2);

    ingest.bring_back().await.unwrap();
    coordinator.hold(show.clone(), false, None).await.unwrap();
    scene.moved(&show, 1).await;
    assert!(ingest.overlaps().is_empty());
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_vm_that_does_not_come_up_is_replaced_by_another() {
    let mut world = WorldConfig::for_test(0, 2);
    // Time to see which VM it is that comes up.
    world.machine.boot = Duration::from_secs(2);
    let scene = Scene::world(world, 0, |config| {
        config.pool.ready_timeout = Duration::from_secs(6);
    })
    .await;
    scene
        .until("both VMs known", |state| {
            (state.count(Status::Stopped) == 2).then_some(())
        })
        .await;
    let show = ShowId::new("gala").unwrap();
    let assigned = scene
        .coordinator()
        .assign(show.clone(), Assign::default())
        .await
        .unwrap();
    assert!(!assigned.ready);
    assert_eq!(assigned.position, 1);
    let broken = scene.instance(&assigned.vm);
    scene
        .stage
        .world
        .fault(&broken, Fault::BootNeverFinishes)
        .unwrap();
    let vm = scene
        .until("the show on a VM that is ready", |state| {
            let vm = state.vm_of_show(&show)?;
            (vm.status() == Status::Assigned).then(|| vm.id.clone())
        })
        .await;
    assert_ne!(vm, assigned.vm);
    let left = status(&scene.coordinator().state(), &assigned.vm);
    assert_eq!(left, Some(Status::Error));
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_away_at_first_is_waited_for() {
    let mut base = Config::default();
    base.pool.warm_count = 0;
    base.cloud.sweep_interval = Duration::from_millis(300);
    base.cloud.attempts = 1;
    let stage = Stage::set(Setting {
        world: WorldConfig::for_test(1, 0),
        base,
    })
    .await
    .unwrap();
    stage.world.cloud_fault(CloudFault::Down);
    let node = stage.coordinator(|_| None).await.unwrap();
    let coordinator = node.coordinator();
    let reason = eventually("the cloud's absence is told", SOON, async || {
        let readiness = coordinator.readiness();
        assert!(!readiness.initialized);
        readiness
            .reason
            .filter(|reason| reason.contains("cannot be reached"))
    })
    .await;
    assert!(!reason.is_empty());
    stage.world.heal_cloud();
    let producer = Producer { coordinator };
    producer.until_available(1, SOON).await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_comes_back_with_another_address_is_found_there() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let vm = coordinator.state().vms().next().unwrap().clone();
    let before = vm.instance.private_ip;
    scene
        .stage
        .world
        .fault(vm.instance_id(), Fault::AddressChanges)
        .unwrap();
    coordinator.stop_vm(vm.id.clone()).await.unwrap();
    let stopped = |state: &State| (status(state, &vm.id)? == Status::Stopped).then_some(());
    scene.until("it is stopped", stopped).await;
    let refused = coordinator.stop_vm(vm.id.clone()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            CommandError::WrongStatus {
                status: Status::Stopped,
                ..
            }
        ),
        "{refused}"
    );
    coordinator.start_vm(vm.id.clone()).await.unwrap();
    let after = scene
        .until("it is available again", |state| {
            let vm = state.vm(&vm.id)?;
            (vm.status() == Status::Available).then_some(vm.instance.private_ip)
        })
        .await;
    assert_ne!(after, before);
    scene.node.stop().await.unwrap();
}

/// Its studio hangs and could go on streaming at any moment, nothing answers on SSH, and the cloud, which could cut
/// its power, is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_cannot_be_silenced_is_not_given_back_until_it_can() {
    let scene = Scene::set(2, 0, |config| {
        config.failover.enabled = false;
        config.failover.fence_deadline = Duration::from_secs(2);
        config.cloud.attempts = 1;
    })
    .await;
    let (show, dark) = scene.on_air("gala").await;
    let (coordinator, world) = (scene.coordinator(), &scene.stage.world);
    let instance = scene.producer().instance_of(&dark).unwrap();
    world.fault(&instance, Fault::StudioHang).unwrap();
    world.fault(&instance, Fault::SshDown).unwrap();
    world.cloud_fault(CloudFault::Down);

    let release = || coordinator.release(show.clone(), Release::default());
    let refused = release().await.unwrap_err();
    assert!(
        matches!(
            refused,
            CommandError::NotSilent { .. } | CommandError::TimedOut { .. }
        ),
        "{refused}"
    );
    let again = coordinator
        .assign(show.clone(), Assign::default())
        .await
        .unwrap_err();
    assert!(matches!(again, CommandError::AlreadyAssigned { .. }), "{again}");

    world.heal_cloud();
    let released = eventually("it is given back", SOON, async || release().await.ok()).await;
    assert!(
        released.vm.is_none_or(|vm| vm == dark),
        "given back by the release that was under way"
    );
    scene
        .until("the machine is off", |state| {
            let off = state.vm(&dark)?.power == Power::Stopped;
            (off && state.show(&show)?.phase == Phase::Idle).then_some(())
        })
        .await;
    let (_, second) = scene.on_air("gala").await;
    assert_ne!(second, dark);
    world.heal(&instance, FaultKind::StudioHang).unwrap();
    assert!(world.ingest().overlaps().is_empty());
    scene.node.stop().await.unwrap();
}

/// A move that was given up leaves the show with a VM that nobody has fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_released_in_the_middle_of_its_move_leaves_no_publisher_behind() {
    let scene = Scene::set(1, 0, |config| {
        config.cloud.attempts = 1;
        // Reached through the SSH server that is down, a studio that hangs could not be told from one that does not.
        config.obs.via = ObsVia::Direct;
    })
    .await;
    let (show, dark) = scene.on_air("gala").await;
    let (coordinator, world) = (scene.coordinator(), &scene.stage.world);
    let instance = scene.producer().instance_of(&dark).unwrap();
    world.fault(&instance, Fault::StudioHang).unwrap();
    world.fault(&instance, Fault::SshDown).unwrap();
    scene
        .until("a move that waits for a spare", |state| {
            let failover = state.show(&show)?.failover()?.clone();
            failover.to.is_none().then_some(())
        })
        .await;
    let released = coordinator
        .release(show.clone(), Release::default())
        .await
        .unwrap();
    assert_eq!(released.vm, Some(dark.clone()));
    // The cloud has said so by now, which is what the release waited for; its VM's actor writes it down.
    scene
        .until("its power cut", |state| {
            (state.vm(&dark)?.power == Power::Stopped).then_some(())
        })
        .await;
    assert!(world.ingest().publishers(&stream_key(&show)).is_empty());
    scene.node.stop().await.unwrap();
}

/// What changed a moment before an operator moves a show is moved with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_move_takes_the_studio_as_it_is() {
    let scene = Scene::set(2, 0, |config| {
        config.obs.capture_debounce = Duration::from_secs(3);
    })
    .await;
    let (show, first) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let instance = scene.producer().instance_of(&first).unwrap();
    let machine = scene.stage.machine(&instance).unwrap();
    let switch_to = |name: &str| {
        machine.operate(|studio, _| {
            let scenes = studio.collection().scene_names();
            let scene = scenes.iter().find(|scene| scene.name == name).unwrap();
            studio.set_program(scene.uuid).unwrap();
        });
    };
    switch_to("Replay");
    scene
        .until("the scene before captured", |state| {
            (state.show(&show)?.studio.as_ref()?.program_scene == "Replay").then_some(())
        })
        .await;
    // Its announcement is acted on only in three seconds.
    switch_to("Thanks for Watching");
    coordinator.failover(show.clone(), None, None).await.unwrap();
    let second = scene.moved(&show, 1).await;
    let instance = scene.producer().instance_of(&second).unwrap();
    let spare = scene.stage.machine(&instance).unwrap();
    let program = spare.operate(|studio, _| studio.program_scene().map(str::to_owned));
    assert_eq!(program.as_deref(), Some("Thanks for Watching"));
    scene.node.stop().await.unwrap();
}
