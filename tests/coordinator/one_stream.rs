//! One stream has one publisher, whichever show it belongs to.

use understudy::actors::coordinator::{Assign, CommandError};
use understudy::domain::ids::{ShowId, VmId};
use understudy::domain::state::State;
use understudy::domain::studio::Secret;
use understudy::rehearsal::stage::stream_key;

use crate::support::scene::Scene;

/// A show off the air whose studio streams under this key.
async fn set_up(scene: &Scene, name: &str, key: &str) -> (ShowId, VmId) {
    let coordinator = scene.coordinator();
    let show = ShowId::new(name).unwrap();
    let assigned = coordinator.assign(show.clone(), Assign::default()).await.unwrap();
    scene.machine(&assigned.vm).load_example_studio(key).unwrap();
    let secret = Secret::stream_key(key);
    let captured = |_: &State| coordinator.streams_under(&show, &secret).then_some(());
    scene.until("its studio captured", captured).await;
    (show, assigned.vm)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_shows_with_one_stream_key_that_are_started_at_once_one_is_on_air() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let coordinator = scene.coordinator();
    let (one, _) = set_up(&scene, "one", "key").await;
    // OBS leaves out what is blank around a key.
    let (other, _) = set_up(&scene, "other", " key\t").await;
    let (first, second) = tokio::join!(
        coordinator.start_show(one, None),
        coordinator.start_show(other, None)
    );
    let started = [first, second].map(|turned| match turned {
        Ok(turned) => turned.on_air,
        Err(CommandError::Refused(_)) => false,
        Err(error) => panic!("{error}"),
    });
    assert!(started[0] != started[1], "{started:?}");
    let ingest = scene.stage.world.ingest();
    assert_eq!(ingest.publishers("key").len(), 1);
    assert!(ingest.overlaps().is_empty());
    scene.node.stop().await.unwrap();
}

/// An ingest would see two publishers of one stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_with_the_stream_key_of_one_on_air_is_not_started() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (gala, _) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let (copy, vm) = set_up(&scene, "copy", &stream_key(&gala)).await;
    let refused = coordinator.start_show(copy.clone(), None).await;
    let Err(CommandError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("show gala streams to the same server"), "{why}");
    assert!(!scene.machine(&vm).is_streaming());

    coordinator.stop_show(gala, None).await.unwrap();
    assert!(coordinator.start_show(copy, None).await.unwrap().on_air);
    assert!(scene.stage.world.ingest().overlaps().is_empty());
    scene.node.stop().await.unwrap();
}
