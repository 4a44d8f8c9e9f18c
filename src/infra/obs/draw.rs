//! The part of a restore that says how an item is drawn: where, whether it is shown, whether it is locked.

use obws::requests::scene_items::{SetEnabled, SetLocked, SetTransform};

use super::Error;
use super::link::Lane;
use super::restore::Work;
use super::wire::Placing;
use crate::domain::studio::SceneItem;

/// Sets what differs of an item. One that was just created has no `now`: it was created shown or hidden as
/// wanted, is not locked, and stands wherever OBS puts new items.
pub(super) async fn draw(
    work: &Work<'_>,
    scene: &str,
    id: i64,
    now: Option<&SceneItem>,
    want: &SceneItem,
) -> Result<(), Error> {
    let item = Item {
        work,
        scene,
        id,
        source: &want.source,
    };
    match Placing::new(now.map(|now| &now.transform), &want.transform) {
        Ok(Some(placing)) => item.place(&placing).await?,
        Ok(None) => {}
        Err(unknown) => work.differs(format!("{}: OBS has {unknown}", item.name("place"))),
    }
    if now.is_some_and(|now| now.enabled != want.enabled) {
        item.show(want.enabled).await?;
    }
    if now.is_some_and(|now| now.locked) != want.locked {
        item.lock(want.locked).await?;
    }
    Ok(())
}

struct Item<'a> {
    work: &'a Work<'a>,
    scene: &'a str,
    id: i64,
    source: &'a str,
}

impl Item<'_> {
    fn name(&self, what: &str) -> String {
        format!("{what} of item {:?} of scene {:?}", self.source, self.scene)
    }

    async fn place(&self, placing: &Placing<'_>) -> Result<(), Error> {
        let (scene, item_id) = (self.scene, self.id);
        let request = |client: Lane| async move {
            let change = SetTransform {
                scene: scene.into(),
                item_id,
                transform: placing.request(),
            };
            client.scene_items().set_transform(change).await
        };
        self.work
            .change("SetSceneItemTransform", || self.name("place"), request)
            .await
            .map(drop)
    }

    async fn show(&self, enabled: bool) -> Result<(), Error> {
        let (scene, item_id) = (self.scene, self.id);
        let request = |client: Lane| async move {
            let change = SetEnabled {
                scene: scene.into(),
                item_id,
                enabled,
            };
            client.scene_items().set_enabled(change).await
        };
        self.work
            .change("SetSceneItemEnabled", || self.name("visibility"), request)
            .await
            .map(drop)
    }

    async fn lock(&self, locked: bool) -> Result<(), Error> {
        let (scene, item_id) = (self.scene, self.id);
        let request = |client: Lane| async move {
            let change = SetLocked {
                scene: scene.into(),
                item_id,
                locked,
            };
            client.scene_items().set_locked(change).await
        };
        self.work
            .change("SetSceneItemLocked", || self.name("lock"), request)
            .await
            .map(drop)
    }
}
