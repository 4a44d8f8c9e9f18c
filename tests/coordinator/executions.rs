//! Executions across deaths: what nobody watches any more is written down as such.

use std::time::{Duration, Instant};

use understudy::actors::coordinator::{Coordinator, Work};
use understudy::actors::executions::run::{Running, Update};
use understudy::actors::executions::terminal::{Kind, Terminal};
use understudy::domain::execution::{Ending, ExecutionId};
use understudy::domain::ids::VmId;
use understudy::domain::operation::FreeCommand;
use understudy::domain::state::State;

use crate::support::scene::{SOON, Scene};

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
                let end = tokio::time::timeout(crate::support::BRIEF, running.updates.recv()).await;
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

/// What a terminal shows next; nothing after its end.
async fn output(terminal: &mut Terminal) -> Option<String> {
    let next = tokio::time::timeout(SOON, terminal.updates.recv());
    match next.await.expect("something is told")? {
        Update::Output { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Update::Ended(_) => None,
        other => panic!("{other:?}"),
    }
}

/// Opens a terminal, once the VM can be reached.
async fn open_terminal(scene: &Scene, vm: &VmId) -> Terminal {
    let kind = Kind {
        term: "xterm".to_owned(),
        columns: 80,
        rows: 24,
    };
    let coordinator = scene.coordinator();
    let opened = async {
        loop {
            let opening = coordinator.open_terminal(vm.clone(), kind.clone(), "somebody".into());
            if let Ok(terminal) = opening.await {
                return terminal;
            }
            scene.until("a change", |_| Some(())).await;
        }
    };
    tokio::time::timeout(SOON, opened).await.expect("it opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_in_which_nothing_is_typed_for_long_is_closed() {
    /// Long against the time that a line takes there and back on a busy machine.
    const IDLE: Duration = Duration::from_secs(3);
    let scene = Scene::set(1, 0, |config| config.ssh.terminal_idle = IDLE).await;
    let mut terminal = open_terminal(&scene, &a_vm(&scene)).await;
    // It is typed in for longer than it may be idle.
    let began = Instant::now();
    let mut typed = began;
    while began.elapsed() < IDLE + IDLE / 2 {
        typed = Instant::now();
        terminal.keyboard.type_in("echo on\r".into()).await.unwrap();
        let mut shown = String::new();
        while !shown.contains("\non\r\n") {
            shown += &output(&mut terminal).await.expect("it is open");
        }
    }
    while output(&mut terminal).await.is_some() {}
    assert!(typed.elapsed() >= IDLE);
    let ending = ending(&scene.coordinator().state(), terminal.id);
    assert_eq!(
        ending,
        Some(Ending::Closed {
            reason: "nothing was typed for 0.05 min".into()
        })
    );
    scene.node.stop().await.unwrap();
}
