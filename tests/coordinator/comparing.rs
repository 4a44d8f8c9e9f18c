//! A studio that was made on another VM is read again and compared with what it was to be.

use std::time::Duration;

use understudy::config::ObsRestore;
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::show::Phase;
use understudy::domain::state::State;
use understudy::domain::studio::{Comparison, MadeBy};
use understudy::rehearsal::stage::Stage;

use crate::support::scene::{SOON, Scene};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

fn comparison(state: &State, show: &ShowId) -> Option<Comparison> {
    state.show(show)?.records.last()?.comparison.clone()
}

async fn compared(scene: &Scene, show: &ShowId) -> Comparison {
    let what = "the new studio compared";
    scene.until(what, |state| comparison(state, show)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_is_as_it_was_is_found_equal_after_its_move() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, vm) = scene.on_air("gala").await;
    scene.crash_studio_of(&vm);
    scene.moved(&show, 1).await;
    assert_eq!(compared(&scene, &show).await.differences, Vec::<String>::new());
    let state = scene.coordinator().state();
    let record = state.show(&show).unwrap().records.last().unwrap();
    let read_at = record.comparison.as_ref().unwrap().at;
    assert!(read_at >= record.ended_at, "going on air did not wait for it");
    scene.node.stop().await.unwrap();
}

/// No request makes a group, so the new studio has none.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_on_the_new_vm_is_named_on_the_timeline() {
    let scene = Scene::set(2, 0, |config| config.obs.restore = ObsRestore::Requests).await;
    let show = a_show_with_a_group_is_moved(&scene).await;
    let found = compared(&scene, &show).await.differences;
    assert!(
        found.contains(&r#"group "Together" is missing"#.to_owned()),
        "{found:#?}"
    );
    scene.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_request_makes_comes_from_a_file() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let show = a_show_with_a_group_is_moved(&scene).await;
    assert_eq!(compared(&scene, &show).await.differences, Vec::<String>::new());
    assert_eq!(restored_by(&scene, &show), Some(MadeBy::File));
    scene.node.stop().await.unwrap();
}

/// The show goes on air all the same.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_file_can_be_put_requests_do_what_they_can_and_the_timeline_says_why() {
    let scene = Scene::set(2, 0, |config| {
        config.vm.obs_config_path = "/home/ubuntu/elsewhere".to_owned();
    })
    .await;
    let show = a_show_with_a_group_is_moved(&scene).await;
    let found = compared(&scene, &show).await.differences;
    assert!(
        found.contains(&r#"group "Together" is missing"#.to_owned()),
        "{found:#?}"
    );
    let by = restored_by(&scene, &show).unwrap();
    let why = by.why_not_file().unwrap();
    assert!(
        why.contains("/home/ubuntu/elsewhere/basic/scenes does not exist"),
        "{why}"
    );
    scene.node.stop().await.unwrap();
}

fn restored_by(scene: &Scene, show: &ShowId) -> Option<MadeBy> {
    let state = scene.coordinator().state();
    let record = state.show(show)?.records.last()?;
    record.failover.restored_by.clone()
}

async fn a_show_with_a_group_is_moved(scene: &Scene) -> ShowId {
    let (show, vm) = scene.on_air("gala").await;
    group_two_items(scene, &vm);
    scene
        .until("the group captured", |state| {
            let studio = state.show(&show)?.studio.clone()?;
            (studio.groups.len() == 1).then_some(())
        })
        .await;
    scene.crash_studio_of(&vm);
    scene.moved(&show, 1).await;
    show
}

fn group_two_items(scene: &Scene, vm: &VmId) {
    scene.machine(vm).operate(|studio, _| {
        let collection = studio.collection();
        let on_air = collection.scene(collection.program).unwrap();
        let items: Vec<u64> = on_air.items.iter().take(2).map(|item| item.id).collect();
        assert_eq!(items.len(), 2);
        let program = collection.program;
        studio.group_items(program, "Together", &items).unwrap();
    });
}

/// The first coordinator ends before it has looked; the next one finds in the ledger that nobody has.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_compares_what_its_predecessor_did_not_come_to() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (show, _) = scene.on_air("gala").await;
    scene.coordinator().stop_show(show.clone(), None).await.unwrap();
    let Scene { mut stage, node } = scene;
    node.stop().await.unwrap();

    let prompt = stage.config.obs.clone();
    stage.config.obs.capture_debounce = NEVER;
    stage.config.obs.capture_interval = NEVER;
    let scene = take_over(stage).await;
    scene.producer().until_available(1, SOON).await.unwrap();
    scene
        .coordinator()
        .failover(show.clone(), None, None)
        .await
        .unwrap();
    scene
        .until("the show moved, off air", |state| {
            let show = state.show(&show)?;
            (show.phase == Phase::OffAir && show.records.len() == 1).then_some(())
        })
        .await;
    assert_eq!(comparison(&scene.coordinator().state(), &show), None);
    let Scene { mut stage, node } = scene;
    node.stop().await.unwrap();

    stage.config.obs = prompt;
    let scene = take_over(stage).await;
    assert_eq!(compared(&scene, &show).await.differences, Vec::<String>::new());
    scene.node.stop().await.unwrap();
}

async fn take_over(stage: Stage) -> Scene {
    let node = stage.coordinator(|_| None).await.unwrap();
    Scene { stage, node }
}
