//! Executions across deaths: what nobody watches any more is written down as such.

mod support;

use support::scene::{SOON, Scene};

use understudy::actors::coordinator::{Coordinator, Work};
use understudy::actors::executions::run::{Running, Update};
use understudy::domain::execution::{Ending, ExecutionId};
use understudy::domain::ids::VmId;
use understudy::domain::operation::FreeCommand;
use understudy::domain::state::State;

async fn scene() -> Scene {
    Scene::set(1, 0, |config| config.ssh.allow_free_commands = true).await
}

fn a_vm(scene: &Scene) -> VmId {
    let state = scene.coordinator().state();
    state.vms().next().unwrap().id.clone()
}

fn command(line: &str) -> Work {
    Work::Command(FreeCommand {
        line: line.to_owned(),
        cwd: None,
        sudo: false,
        timeout: SOON,
    })
}

/// Starts something that does not end by itself, once the VM can be reached.
async fn start(scene: &Scene, coordinator: &Coordinator, vm: &VmId) -> Running {
    let begun = async {
        loop {
            if let Ok(mut running) = coordinator
                .execute(vm.clone(), command("sleep 3000"), "somebody".into())
                .await
            {
                // One that could not be started ends at once.
                let end = tokio::time::timeout(support::BRIEF, running.updates.recv()).await;
                if end.is_err() {
                    return running;
                }
            }
            scene.until("a change", |_| Some(())).await;
        }
    };
    tokio::time::timeout(SOON, begun).await.expect("it runs")
}

fn ending(state: &State, id: ExecutionId) -> Option<Ending> {
    state
        .executions()
        .get(id)?
        .end
        .as_ref()
        .map(|end| end.ending.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_when_the_coordinator_went_is_written_down_as_unknown_by_the_next() {
    let mut scene = scene().await;
    let vm = a_vm(&scene);
    let running = start(&scene, &scene.coordinator(), &vm).await;
    assert_eq!(ending(&scene.coordinator().state(), running.id), None);
    let successor = {
        let Scene { stage, node } = scene;
        node.stop().await.unwrap();
        let node = stage.coordinator(|_| None).await.unwrap();
        Scene { stage, node }
    };
    scene = successor;
    let how = scene.until("its end", |state| ending(state, running.id)).await;
    assert_eq!(how, Ending::Unknown);
    let known = scene
        .coordinator()
        .state()
        .executions()
        .get(running.id)
        .unwrap()
        .clone();
    assert_eq!((known.by.as_str(), &known.vm), ("somebody", &vm));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_executions_actor_ends_what_ran_and_nothing_else() {
    let scene = scene().await;
    let coordinator = scene.coordinator();
    let vm = a_vm(&scene);
    let mut running = start(&scene, &coordinator, &vm).await;
    assert!(coordinator.kill_executions_actor());
    let how = scene.until("its end", |state| ending(state, running.id)).await;
    assert_eq!(how, Ending::Unknown);
    // Whoever waits for it is told that it is over.
    let over = async {
        while let Some(update) = running.updates.recv().await {
            if matches!(update, Update::Ended(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, over).await.expect("the end is told");
    let next = start(&scene, &coordinator, &vm).await;
    assert!(next.id > running.id);
    coordinator.cancel(next.id, "somebody".into()).await.unwrap();
    let how = scene.until("its end", |state| ending(state, next.id)).await;
    assert_eq!(
        how,
        Ending::Cancelled {
            by: "somebody".into(),
            may_go_on: false,
        }
    );
}
