//! Worlds beside and after each other.

use understudy::sim::world::{World, WorldConfig};

use super::support::warm;

#[tokio::test]
async fn a_world_starts_at_once_after_another_has_ended() {
    let mut last = None;
    for _ in 0..3 {
        let world = World::start(WorldConfig::for_test(1, 0)).await.unwrap();
        let address = world.machine(&warm(&world)[0]).unwrap().address();
        // What listened there is still closing.
        assert_ne!(last.replace(address), Some(address));
    }
}

#[tokio::test]
async fn worlds_beside_each_other_share_no_address() {
    let (one, other) = tokio::join!(
        World::start(WorldConfig::for_test(2, 0)),
        World::start(WorldConfig::for_test(2, 0))
    );
    let addresses = |world: &World| -> Vec<_> {
        let ids = warm(world);
        ids.iter()
            .map(|id| world.machine(id).unwrap().address())
            .collect()
    };
    let (one, other) = (one.unwrap(), other.unwrap());
    let others = addresses(&other);
    assert!(addresses(&one).iter().all(|address| !others.contains(address)));
    assert_ne!(one.cloud_url(), other.cloud_url());
    assert_ne!(one.ingest().address(), other.ingest().address());
}
