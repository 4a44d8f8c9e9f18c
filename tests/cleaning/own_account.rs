//! VMs that are cleaned on their own account: because a coordinator finds them so, or because nobody else did it.

use std::time::Duration;

use understudy::actors::coordinator::{Assign, Release, Work};
use understudy::config::Config;
use understudy::domain::event::Event;
use understudy::domain::execution::Deed;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::operation::FreeCommand;
use understudy::domain::show;
use understudy::domain::state::State;
use understudy::domain::time::Timestamp;
use understudy::domain::vm::{self, Health, Status};
use understudy::infra::ledger::{Ledger, Options};
use understudy::rehearsal::stage::Stage;
use understudy::sim::model::fault::Fault;
use understudy::sim::model::machine::Service;
use understudy::sim::world::WorldConfig;

use crate::support::eventually::eventually;
use crate::support::scene::{SOON, Scene};
use crate::{is_pristine, release, report_of, until_status};

/// VMs that are cleaned at once on their own account.
const AT_ONCE: usize = 8;

/// What a coordinator before this one wrote down: each of these VMs was a show's, and none was cleaned.
async fn leave(stage: &Stage, vms: &[VmId]) {
    let ledger = Ledger::open(Options::new(&stage.config.ledger.path)).unwrap();
    for vm in vms {
        let show = ShowId::new(format!("before-{vm}")).unwrap();
        let state = ledger.state();
        let epoch = state
            .show(&show)
            .map_or_else(Default::default, |show| show.epoch)
            .next();
        let facts = [
            show::Event::Assigned {
                vm: vm.clone(),
                epoch,
                by: None,
                key: None,
            },
            show::Event::ReleaseBegan {
                stop_vm: false,
                key: None,
            },
            show::Event::Released {
                vm: vm.clone(),
                key: None,
            },
        ];
        let at = state.vm(vm).map_or(Timestamp(0), |vm| vm.last_state_change);
        let events = facts.into_iter().map(|fact| Event::show(&show, fact)).collect();
        ledger.commit(at, events).await.unwrap();
    }
    ledger.close().await.unwrap();
}

/// Another coordinator after this one, which finds these VMs as [`leave`] has them.
async fn upgraded(scene: Scene, vms: &[VmId]) -> Scene {
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();
    leave(&stage, vms).await;
    let node = stage.coordinator(|_| None).await.unwrap();
    Scene { stage, node }
}

fn all(scene: &Scene) -> Vec<VmId> {
    let state = scene.coordinator().state();
    state.vms().map(|vm| vm.id.clone()).collect()
}

fn resets(state: &State) -> usize {
    let is_reset =
        |deed: &Deed| matches!(deed, Deed::Operation { id, .. } if id.as_str() == "RESET_OBS_CONFIG");
    let running = state.executions().running();
    running.filter(|execution| is_reset(&execution.deed)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_was_never_cleaned_is_cleaned_a_few_at_a_time() {
    let count = AT_ONCE + 2;
    let warm = u32::try_from(count).unwrap();
    let scene = Scene::world(WorldConfig::for_test(warm, 0), warm, |_| ()).await;
    let vms = all(&scene);
    let scene = upgraded(scene, &vms).await;
    let mut most = 0;
    scene
        .until("every VM cleaned", |state| {
            most = most.max(resets(state));
            (state.count(Status::Available) == count).then_some(())
        })
        .await;
    assert!((1..=AT_ONCE).contains(&most), "{most} at once");
    for vm in &vms {
        is_pristine(&scene.machine(vm));
    }
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_boots_for_a_show_does_not_wait_until_idle_ones_are_clean() {
    let warm = u32::try_from(AT_ONCE).unwrap();
    let slow = |config: &mut Config| config.shows.cleanup_deadline = 2 * SOON;
    let scene = Scene::world(WorldConfig::for_test(warm, 1), warm, slow).await;
    scene
        .until("the one that is off", |state| {
            (state.count(Status::Stopped) == 1).then_some(())
        })
        .await;
    let vms = all(&scene);
    let state = scene.coordinator().state();
    let (off, idle): (Vec<_>, Vec<_>) = vms
        .iter()
        .partition(|vm| state.vm(vm).unwrap().status() == Status::Stopped);
    for vm in &idle {
        scene
            .machine(vm)
            .fault(Fault::ServiceNeverStarts(Service::Studio));
    }
    let scene = upgraded(scene, &vms).await;
    // Each of them has its place, and keeps it waiting for an OBS that does not come back.
    eventually("every place taken", SOON, async || {
        let is_off = |vm: &&VmId| !scene.machine(vm).view().studio_answers;
        idle.iter().all(is_off).then_some(())
    })
    .await;
    let (coordinator, show) = (scene.coordinator(), ShowId::new("gala").unwrap());
    let assigned = coordinator.assign(show.clone(), Assign::default()).await.unwrap();
    assert_eq!(&assigned.vm, off[0]);
    coordinator.await_ready(&show, SOON).await.unwrap();
    let state = coordinator.state();
    let report = state.vm(off[0]).unwrap().cleaning.clone().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_was_degraded_before_it_was_cleaned_is_healthy_once_its_services_are() {
    let scene = Scene::set(1, 0, |_| ()).await;
    let vms = all(&scene);
    let vm = vms[0].clone();
    let Scene { stage, node } = scene;
    node.stop().await.unwrap();
    leave(&stage, &vms).await;
    let ledger = Ledger::open(Options::new(&stage.config.ledger.path)).unwrap();
    let health = Health::Degraded;
    let turned = Event::vm(&vm, vm::Event::HealthTurned { health });
    let at = ledger.state().vm(&vm).unwrap().last_state_change;
    ledger.commit(at, vec![turned]).await.unwrap();
    ledger.close().await.unwrap();
    let node = stage.coordinator(|_| None).await.unwrap();
    let scene = Scene { stage, node };
    until_status(&scene, &vm, Status::Available).await;
    scene
        .until("a healthy VM", |state| {
            (state.vm(&vm)?.health == Health::Healthy).then_some(())
        })
        .await;
    scene.node.stop().await.unwrap();
}

/// Takes every place on the VM with commands that end after so many seconds.
async fn occupy(scene: &Scene, vm: &VmId, seconds: u32) {
    for _ in 0..scene.stage.config.ssh.executions_per_vm_max {
        let command = FreeCommand {
            line: format!("sleep {seconds}"),
            cwd: None,
            sudo: false,
            timeout: SOON,
        };
        let work = Work::Command(command);
        let running = scene
            .coordinator()
            .execute(vm.clone(), work, "somebody".into())
            .await
            .unwrap();
        drop(running);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_as_much_runs_as_there_are_places_for_cleaning_waits_for_one() {
    let scene = Scene::set(1, 0, |config| config.ssh.allow_free_commands = true).await;
    let (show, vm) = scene.on_air("gala").await;
    occupy(&scene, &vm, 3).await;
    let released = release(&scene, &show).await;
    let report = report_of(&released);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(released.status, Some(Status::Available));
    is_pristine(&scene.machine(&vm));
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_place_in_time_the_report_says_so_and_the_vm_is_cleaned_later() {
    let short = |config: &mut Config| {
        config.ssh.allow_free_commands = true;
        config.shows.cleanup_deadline = Duration::from_secs(2);
    };
    let scene = Scene::set(1, 0, short).await;
    let (show, vm) = scene.on_air("gala").await;
    occupy(&scene, &vm, 30).await;
    let released = scene
        .coordinator()
        .release(show.clone(), Release::default())
        .await
        .unwrap();
    assert_eq!(released.status, Some(Status::Error));
    let faults = report_of(&released).faults();
    assert!(
        faults.contains("RESET_OBS_CONFIG was not run: there are"),
        "{faults}"
    );
    let state = scene.coordinator().state();
    for execution in state
        .executions()
        .running()
        .filter(|execution| execution.by == "somebody")
    {
        scene
            .coordinator()
            .cancel(execution.id, "somebody".into())
            .await
            .unwrap();
    }
    until_status(&scene, &vm, Status::Available).await;
    scene.node.stop().await.unwrap();
}
