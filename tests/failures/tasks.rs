//! What an actor has others do, and waits for: should that panic, or never end, the actor goes on all the same.

use understudy::actors::coordinator::{Assign, Release};
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::show::Phase;
use understudy::domain::vm::Status;
use understudy::sim::model::studio::Studio;

use crate::doubles::Bug;
use crate::tree::Tree;

const BUGS: [Bug; 2] = [Bug::Panic, Bug::Hang];

fn other() -> ShowId {
    ShowId::new("other").unwrap()
}

async fn assign_other(tree: &Tree) -> VmId {
    let assigned = tree.coordinator.assign(other(), Assign::default()).await;
    assigned.unwrap().vm
}

async fn available(tree: &Tree, vm: &VmId) {
    tree.until(&format!("{vm} available"), |state| {
        (state.vm(vm)?.status() == Status::Available).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_show_server_is_told_of_its_next_show_though_telling_it_of_the_last_one_broke() {
    for bug in BUGS {
        let tree = Tree::with_a_show().await;
        let probe = &tree.switches.probe;
        probe.times(1, "activate", bug);
        let vm = assign_other(&tree).await;
        tree.until("the defect met", |_| (probe.met() == 1).then_some(()))
            .await;
        let released = tree.coordinator.release(other(), Release::default()).await;
        released.unwrap();
        available(&tree, &vm).await;
        let what = format!("told of the end of its show ({bug:?})");
        tree.until(&what, |_| (probe.made("activate") > 1).then_some(()))
            .await;
    }
}

/// Whoever had it terminated is answered, and not told that its actor restarts.
#[tokio::test(start_paused = true)]
async fn a_termination_is_answered_though_the_vm_has_left_the_pool_before_the_cloud_answers() {
    let tree = Tree::with_a_show().await;
    let vm = tree.spare();
    let instance = tree.coordinator.state().vm(&vm).unwrap().instance_id().clone();
    tree.switches.cloud.times(1, "answer of a change", Bug::Late);
    let coordinator = tree.coordinator.clone();
    let asked = tokio::spawn({
        let vm = vm.clone();
        async move { coordinator.terminate_vm(vm).await }
    });
    tree.until("it has left the pool", |state| {
        state.vm(&vm).is_none().then_some(())
    })
    .await;
    assert!(!asked.is_finished());
    let turned = asked.await.unwrap().unwrap();
    assert_eq!((turned.vm, turned.instance), (vm, instance));
    assert!(tree.is_untouched());
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_stream_is_stopped_though_stopping_it_broke() {
    for bug in BUGS {
        let tree = Tree::with_a_show().await;
        let spare = tree.spare();
        let state = tree.coordinator.state();
        let machine = tree
            .world
            .machine(state.vm(&spare).unwrap().instance_id())
            .unwrap();
        machine.load_example_studio("key-of-nobody").unwrap();
        tree.switches.obs.times(1, "stop_stream", bug);
        machine.operate(Studio::start_stream).unwrap();
        tree.until("the defect met", |_| (tree.switches.obs.met() == 1).then_some(()))
            .await;
        let what = format!("the stream stopped ({bug:?})");
        tree.until(&what, |_| (!machine.is_streaming()).then_some(()))
            .await;
        assert!(tree.is_untouched());
    }
}

/// Once while its show gives it back, and once when it is cleaned on its own account.
#[tokio::test(start_paused = true)]
async fn a_vm_is_cleaned_though_cleaning_it_broke_twice() {
    for bug in BUGS {
        let tree = Tree::with_a_show().await;
        let vm = assign_other(&tree).await;
        let ssh = &tree.switches.ssh;
        ssh.times(2, "files", bug);
        let released = tree.coordinator.release(other(), Release::default()).await;
        assert_eq!(released.unwrap().status, Some(Status::Error), "{bug:?}");
        available(&tree, &vm).await;
        assert_eq!(ssh.met(), 2, "{bug:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_boots_is_ready_though_looking_at_its_frame_broke() {
    for bug in BUGS {
        let mut tree = Tree::with_a_show().await;
        let spare = tree.spare();
        let obs = tree.switches.obs.clone();
        obs.times(1, "check_frame", bug);
        tree.coordinator.reboot_vm(spare.clone(), false).await.unwrap();
        tree.until("the defect met", |_| (obs.met() == 1).then_some(()))
            .await;
        available(&tree, &spare).await;
        assert_eq!(tree.alerts(), [""; 0], "{bug:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ingest_is_asked_for_again_though_asking_for_it_broke() {
    for bug in BUGS {
        let tree = Tree::with_a_show().await;
        // By which another VM tries to connect to the ingest.
        let (ssh, asking) = (&tree.switches.ssh, "timeout");
        ssh.times(1, asking, bug);
        tree.world.ingest().take_down();
        let what = format!("asked again ({bug:?})");
        tree.until(&what, |_| (ssh.made(asking) > 1).then_some(())).await;
        assert_eq!(ssh.met(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_on_which_the_studio_cannot_be_restored_for_a_defect_is_given_up_for_another() {
    for bug in BUGS {
        let tree = Tree::with_a_show().await;
        let obs = &tree.switches.obs;
        obs.times(3, "restore", bug);
        tree.coordinator
            .failover(tree.show.clone(), None, None)
            .await
            .unwrap();
        let what = format!("on air elsewhere ({bug:?})");
        let record = tree
            .until(&what, |state| {
                let show = state.show(&tree.show)?;
                (show.phase == Phase::OnAir).then(|| show.records.last().cloned())?
            })
            .await;
        assert_eq!(record.failover.lost_at.len(), 1, "{bug:?}");
        assert_eq!(obs.met(), 3);
    }
}
