//! Having OBS change to a collection that it is given as a file.
//!
//! OBS reads a collection when it changes to it and writes it when it leaves it, so the one in use has to be left
//! before its file is written. And what was found out on OBS 30.2.3: a file that has just appeared is listed at once,
//! yet OBS does not change to it, and says nothing, until its menu was made anew, which making any collection does.
//! So where it is needed OBS is first made to make one, under a name of our own, which is removed in the end.

use std::time::Duration;

use obws::requests::scene_items::{Position, SceneItemTransform, SetTransform};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Folder, text};
use crate::domain::studio::{Scene, Studio};
use crate::infra::obs::capture::collections;
use crate::infra::obs::link::{Lane, Link};
use crate::infra::obs::restore::Work;
use crate::infra::obs::wire::single;
use crate::infra::{obs, ssh};

/// How often OBS is asked whether it has changed.
const POLL: Duration = Duration::from_millis(10);
/// How long OBS may be in another collection after it has answered that it changed, before it is asked once more. It
/// answers once it has changed, unless it does nothing.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often OBS is asked to change before it is given up.
const CHANGES_MAX: u32 = 20;
/// Limit on all of it. What remains of the time for restoring is for the requests.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a studio was not made from a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("its machine's files cannot be reached")]
    Shell(#[from] ssh::Error),
    #[error("the file could not be written")]
    Files(#[from] ssh::files::Error),
    #[error("OBS could not be asked")]
    Obs(#[from] obs::Error),
    #[error("OBS does not change to scene collection {0:?}")]
    NotChanged(String),
    #[error("{step} was not over {} s after the beginning", LIMIT.as_secs())]
    TimedOut { step: &'static str },
}

/// Makes the studio's scene collection from a file, whatever OBS had under that name. What is no part of a collection
/// is as before.
///
/// # Errors
/// Why it was not. OBS may have any collection in use then.
pub(in crate::infra::obs) async fn by_file(
    work: &Work<'_>,
    want: &Studio,
    folder: &Folder,
) -> Result<(), Error> {
    let detour = Detour::new();
    let made = make(work, want, folder, &detour).await;
    if detour.was_taken(work.link).await {
        // The next one has another name, so one that stays is in nobody's way.
        if let Err(error) = folder.remove(&detour.name).await {
            tracing::warn!(%error, collection = detour.name, "a scene collection of our own stays on the machine");
        }
    }
    made
}

async fn make(work: &Work<'_>, want: &Studio, folder: &Folder, detour: &Detour) -> Result<(), Error> {
    let until = Instant::now() + LIMIT;
    let name = want.scene_collection.as_str();
    let (current, all) = collections(work.link).await?;
    let (is_known, is_current) = (all.iter().any(|known| known == name), current == name);
    // First, so that where it cannot be written OBS stays where it is.
    let place = in_time(until, "finding its file's place", folder.place(name, is_known)).await?;
    if is_current {
        in_time(until, "leaving the collection in use", detour.take(work)).await?;
    }
    in_time(until, "writing its file", place.write(text(want))).await?;
    if !is_known {
        in_time(until, "having OBS look for files", detour.take(work)).await?;
    }
    in_time(until, "the change to it", change_to(work, name)).await?;
    for group in &want.groups {
        in_time(until, "working its groups out", settle(work, group)).await?;
    }
    Ok(())
}

async fn in_time<T>(
    until: Instant,
    step: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let began = Instant::now();
    let done = timeout_at(until, work)
        .await
        .map_err(|_| Error::TimedOut { step })?;
    tracing::debug!(step, took = ?began.elapsed(), "making a studio from a file");
    done
}

/// A collection of our own, to be away from the one that is written.
struct Detour {
    /// Also its file's.
    name: String,
}

impl Detour {
    fn new() -> Self {
        Self {
            name: format!("understudy_{:08x}", rand::random::<u32>()),
        }
    }

    async fn take(&self, work: &Work<'_>) -> Result<(), Error> {
        let name = self.name.as_str();
        let request = |client: Lane| async move { client.scene_collections().create(name).await };
        work.count();
        work.link.call("CreateSceneCollection", request).await?;
        if is_reached(work.link, name).await? {
            Ok(())
        } else {
            Err(Error::NotChanged(self.name.clone()))
        }
    }

    /// Whether OBS has made it and is not in it any more.
    async fn was_taken(&self, link: &Link) -> bool {
        match collections(link).await {
            Ok((current, all)) => current != self.name && all.contains(&self.name),
            Err(_) => false,
        }
    }
}

async fn change_to(work: &Work<'_>, name: &str) -> Result<(), Error> {
    for _ in 0..CHANGES_MAX {
        let request = |client: Lane| async move { client.scene_collections().set_current(name).await };
        work.count();
        work.link.call("SetCurrentSceneCollection", request).await?;
        if is_reached(work.link, name).await? {
            return Ok(());
        }
    }
    Err(Error::NotChanged(name.to_owned()))
}

async fn is_reached(link: &Link, name: &str) -> Result<bool, obs::Error> {
    let patience = Instant::now() + PATIENCE;
    loop {
        if collections(link).await?.0 == name {
            return Ok(true);
        }
        if Instant::now() >= patience {
            return Ok(false);
        }
        sleep(POLL).await;
    }
}

/// A group's size is not captured, and OBS does not work it out for one that it reads until something in it is moved:
/// until then it counts as nothing for whatever is measured by it. So one item is moved to where it is.
async fn settle(work: &Work<'_>, group: &Scene) -> Result<(), Error> {
    let (Some(first), name) = (group.items.first(), group.name.as_str()) else {
        return Ok(());
    };
    let (x, y) = (
        single(first.transform.position_x),
        single(first.transform.position_y),
    );
    let request = |client: Lane| async move {
        let change = SetTransform {
            scene: name.into(),
            // Items are numbered from 1 in the files that are written here.
            item_id: 1,
            transform: SceneItemTransform {
                position: Some(Position {
                    x: Some(x),
                    y: Some(y),
                }),
                ..SceneItemTransform::default()
            },
        };
        client.scene_items().set_transform(change).await
    };
    work.count();
    match work.link.call("SetSceneItemTransform", request).await {
        // What this OBS has not made of the file is told by who compares.
        Ok(()) | Err(obs::Error::Denied { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
