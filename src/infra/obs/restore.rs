//! Making one studio equal to another.
//!
//! The studio is read first, and only what differs is sent. The order follows from what OBS needs: names are
//! shared between scenes and inputs, so what must go goes before what must come; an input is created in a scene,
//! so scenes come before inputs; the last scene cannot be removed, so others are created before.
//!
//! OBS handles requests in parallel. What does not depend on each other is sent several at a time; what does
//! (the items of one scene, the making of scenes) is sent one after the other. A request that OBS refuses is a
//! difference that stays, and the rest goes on: half a picture on air is better than none. Only a lost
//! connection or a missed deadline ends a restore, and repeating it then continues where it stopped.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::capture::{Now, capture, collections, output, read};
use super::collection::{self, Folder, by_file, file_for};
use super::link::{Lane, Link, NOT_FOUND, Request, denied_with};
use super::room::make_room;
use super::{Error, Means, Restored, filters, inputs, items, service, transitions};
use crate::domain::studio::{MadeBy, Studio};
use crate::infra::causes::with_causes;

/// How often OBS is asked whether it has changed the scene collection. A change takes 50 to 90 ms.
const COLLECTION_POLL: Duration = Duration::from_millis(10);

/// How long a change of the scene collection may take before it is asked for again.
const COLLECTION_PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn restore(link: &Link, want: &Studio, means: &Means) -> Result<Restored, Error> {
    let work = Work::new(link);
    let by = match Box::pin(file_to_use(link, want, means)).await? {
        Some(folder) => make_from_file(&work, want, folder).await?,
        None => MadeBy::Requests,
    };
    change_collection(&work, &want.scene_collection).await?;
    let mut now = read(link).await?;
    let removed = make_room(&work, want, &mut now).await?;
    tokio::try_join!(
        inputs::restore(&work, want, &now),
        items::restore(&work, want, &now),
        transitions::restore(&work, want, &now),
        service::restore(&work, want, &now),
    )?;
    filters::restore(&work, want, &now).await?;
    change_program(&work, want, &now).await?;
    transitions::restore_preview(&work, want.preview_scene.as_deref(), &now).await?;
    removed.settle(&work).await?;
    Ok(work.done(by))
}

/// Where to put a file, if the studio is to be made from one. A stream is not interrupted for it.
async fn file_to_use<'a>(link: &Link, want: &Studio, means: &'a Means) -> Result<Option<&'a Folder>, Error> {
    if matches!(means, Means::Requests) {
        return Ok(None);
    }
    let (now, output) = tokio::try_join!(capture(link), output(link))?;
    Ok(file_for(means, want, &now).filter(|_| !output.active))
}

/// If that fails there are still the requests.
///
/// # Errors
/// [`Error::Closed`].
async fn make_from_file(work: &Work<'_>, want: &Studio, folder: &Folder) -> Result<MadeBy, Error> {
    match by_file(work, want, folder).await {
        Ok(()) => Ok(MadeBy::File),
        Err(collection::Error::Obs(Error::Closed)) => Err(Error::Closed),
        Err(error) => {
            let why = with_causes(&error);
            tracing::warn!(why, "the studio is not made from a file but request by request");
            Ok(MadeBy::RequestsInstead { why })
        }
    }
}

/// What a restore has done so far, shared by everything it does at the same time.
pub(super) struct Work<'a> {
    pub link: &'a Link,
    requests: AtomicU32,
    differences: Mutex<Vec<String>>,
}

impl<'a> Work<'a> {
    fn new(link: &'a Link) -> Self {
        Self {
            link,
            requests: AtomicU32::new(0),
            differences: Mutex::new(Vec::new()),
        }
    }

    /// Sends a request that changes something. `None` if OBS refused it; then `what` is noted as a difference.
    ///
    /// # Errors
    /// Everything but a refusal.
    pub async fn change<T, R: Request<T>>(
        &self,
        call: &'static str,
        what: impl FnOnce() -> String,
        request: impl Fn(Lane) -> R,
    ) -> Result<Option<T>, Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match self.link.call(call, request).await {
            Ok(done) => Ok(Some(done)),
            Err(denied @ Error::Denied { .. }) => {
                self.differs(format!("{}: {denied}", what()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request that removes something. Whether it is gone, also if it was before.
    ///
    /// # Errors
    /// Everything but a refusal.
    pub async fn remove<R: Request<()>>(
        &self,
        call: &'static str,
        what: impl FnOnce() -> String,
        request: impl Fn(Lane) -> R,
    ) -> Result<bool, Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.link.call(call, request).await;
        if denied_with(&answer, NOT_FOUND) {
            return Ok(true);
        }
        match answer {
            Ok(()) => Ok(true),
            Err(denied @ Error::Denied { .. }) => {
                self.differs(format!("{}: {denied}", what()));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub fn differs(&self, what: String) {
        self.differences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    /// Counts a request that changes something.
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn done(self, by: MadeBy) -> Restored {
        Restored {
            by,
            requests: self.requests.into_inner(),
            differences: self
                .differences
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// The first change to a collection right after it appeared was seen to be ignored without an error, so the
/// current one is read back, and the change is repeated once.
async fn change_collection(work: &Work<'_>, want: &str) -> Result<(), Error> {
    for _ in 0..2 {
        let (current, all) = collections(work.link).await?;
        if current == want {
            return Ok(());
        }
        let what = || format!("scene collection {want:?}");
        let asked = if all.iter().any(|name| name == want) {
            work.change("SetCurrentSceneCollection", what, |client| async move {
                client.scene_collections().set_current(want).await
            })
            .await?
        } else {
            work.change("CreateSceneCollection", what, |client| async move {
                client.scene_collections().create(want).await
            })
            .await?
        };
        if asked.is_none() {
            return Ok(());
        }
        let patience = Instant::now() + COLLECTION_PATIENCE;
        while Instant::now() < patience {
            if collections(work.link).await?.0 == want {
                return Ok(());
            }
            sleep(COLLECTION_POLL).await;
        }
    }
    work.differs(format!("scene collection {want:?}: OBS does not change to it"));
    Ok(())
}

pub(super) async fn change_program(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let name = want.program_scene.as_str();
    if now.program_scene == name {
        return Ok(());
    }
    let what = || format!("program scene {name:?}");
    let request = |client: Lane| async move { client.scenes().set_current_program_scene(name).await };
    work.change("SetCurrentProgramScene", what, request)
        .await
        .map(drop)
}
