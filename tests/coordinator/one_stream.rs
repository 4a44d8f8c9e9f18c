//! One stream has one publisher, whichever show it belongs to.

use understudy::actors::coordinator::{Assign, CommandError};
use understudy::domain::ids::ShowId;
use understudy::domain::state::State;
use understudy::domain::studio::Secret;
use understudy::rehearsal::stage::stream_key;

use crate::support::scene::Scene;

/// An ingest would see two publishers of one stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_show_with_the_stream_key_of_one_on_air_is_not_started() {
    let scene = Scene::set(2, 0, |_| ()).await;
    let (gala, _) = scene.on_air("gala").await;
    let coordinator = scene.coordinator();
    let copy = ShowId::new("copy").unwrap();
    let vm = coordinator
        .assign(copy.clone(), Assign::default())
        .await
        .unwrap()
        .vm;
    let key = stream_key(&gala);
    scene.machine(&vm).load_example_studio(&key).unwrap();
    let secret = Secret::new(key);
    let captured = |_: &State| coordinator.streams_under(&copy, &secret).then_some(());
    scene.until("its studio captured", captured).await;
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
