//! The part that is done and proven over OBS.

use std::sync::Arc;

use super::{LOOK_AGAIN, Work};
use crate::domain::cleaning::Subject;
use crate::domain::studio::{Recording, Scene, StreamService, Studio};
use crate::infra::obs::{Frame, Means, Session};

/// The one scene of an emptied studio, named as OBS names a new collection's.
const EMPTY_SCENE: &str = "Scene";

/// What OBS showed of itself when it was last looked at.
pub(super) struct Seen {
    /// No input, and nothing in any scene.
    pub is_empty: bool,
    /// Its present scene collection.
    pub collection: String,
    /// A stream key that is none of the shows', which may be the template's.
    pub other_key: Option<crate::domain::studio::Secret>,
}

impl Work {
    /// Looks at OBS as it is since its configuration was replaced: over another session than `before`, which ended
    /// with the OBS before.
    pub(super) async fn prove_studio(&mut self, before: Option<Arc<dyn Session>>) -> Option<Seen> {
        self.ctx.world.obs.as_ref()?;
        let studio = self.studio(before.as_ref()).await;
        self.look(studio.as_ref()).await
    }

    /// Removes through OBS what can be removed so, and looks.
    pub(super) async fn empty_studio(&mut self) -> Option<Seen> {
        self.ctx.world.obs.as_ref()?;
        let studio = self.studio(None).await;
        match empty(studio.as_ref()).await {
            Ok(differences) if differences.is_empty() => {
                self.find(Subject::Reset, true, "the studio was emptied through OBS");
            }
            Ok(differences) => {
                let found = format!("the studio was not emptied: {}", differences.join("; "));
                self.find(Subject::Reset, false, &found);
            }
            Err(error) => {
                let found = format!("the studio was not emptied: {error}");
                self.find(Subject::Reset, false, &found);
                return None;
            }
        }
        self.look(studio.as_ref()).await
    }

    /// The session with it, once it answers. Ends with the time there is.
    async fn studio(&mut self, before: Option<&Arc<dyn Session>>) -> Arc<dyn Session> {
        self.awaits = Some("OBS did not answer".to_owned());
        loop {
            let studio = self.ctx.machines.studio(&self.vm).await;
            let is_new = |studio: &Arc<dyn Session>| before.is_none_or(|before| !Arc::ptr_eq(before, studio));
            if let Some(studio) = studio.filter(is_new)
                && studio.output().await.is_ok()
            {
                self.awaits = None;
                return studio;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn look(&mut self, studio: &dyn Session) -> Option<Seen> {
        match studio.check_frame(true).await {
            Ok(Frame::Drawn) => self.find(Subject::Obs, true, "OBS answers and draws"),
            Ok(Frame::Blank) => self.find(Subject::Obs, false, "OBS answers and draws nothing"),
            Err(error) => self.find(Subject::Obs, false, &format!("OBS drew no picture: {error}")),
        }
        match studio.output().await {
            Ok(output) if output.active => self.find(Subject::Stream, false, "OBS streams"),
            Ok(_) => self.find(Subject::Stream, true, "no stream runs"),
            Err(error) => self.find(
                Subject::Stream,
                false,
                &format!("whether it streams is not known: {error}"),
            ),
        }
        let seen = match studio.capture().await {
            Ok(seen) => seen,
            Err(error) => {
                let found = format!("what is in OBS could not be read: {error}");
                self.find(Subject::Scenes, false, &found);
                return None;
            }
        };
        if seen.recording == Recording::Off {
            self.find(Subject::Recording, true, "it does not record");
        } else {
            self.find(Subject::Recording, false, "it records");
        }
        Some(Seen {
            is_empty: self.note_scenes(&seen),
            other_key: self.note_key(&seen),
            collection: seen.scene_collection,
        })
    }

    /// Whether there is nothing in it. If there is, the files tell whether it is the template's.
    fn note_scenes(&mut self, seen: &Studio) -> bool {
        let is_empty = seen.inputs.is_empty() && seen.scenes.iter().all(|scene| scene.items.is_empty());
        let collection = &seen.scene_collection;
        let (scenes, inputs) = (seen.scenes.len(), seen.inputs.len());
        if is_empty {
            let found = format!("scene collection {collection:?} is empty");
            self.find(Subject::Scenes, true, &found);
        } else if self.way != crate::domain::cleaning::Way::Template {
            let found = format!("scene collection {collection:?} has {scenes} scenes and {inputs} inputs");
            self.find(Subject::Scenes, false, &found);
        }
        is_empty
    }

    /// The key that OBS has, if it is none of the shows'.
    fn note_key(&mut self, seen: &Studio) -> Option<crate::domain::studio::Secret> {
        let sealed = seen.stream.as_ref().and_then(|stream| stream.key.as_ref());
        let Some(sealed) = sealed else {
            self.find(Subject::StreamKey, true, "OBS has no stream key");
            return None;
        };
        match self.ctx.world.vault.unseal(sealed) {
            Ok(key) if self.keys.contains(&key) => {
                self.find(
                    Subject::StreamKey,
                    false,
                    "OBS still has a stream key of the show's",
                );
                None
            }
            Ok(key) if self.way == crate::domain::cleaning::Way::Template => Some(key),
            Ok(_) => {
                self.find(
                    Subject::StreamKey,
                    false,
                    "OBS has a stream key of unknown origin",
                );
                None
            }
            Err(locked) => {
                let found = format!("OBS has a stream key that cannot be compared: {locked}");
                self.find(Subject::StreamKey, false, &found);
                None
            }
        }
    }
}

/// Ends what runs, and removes every scene, input and stream setting of the present collection. There is no request
/// to remove a collection, or to see into another one without changing to it.
async fn empty(studio: &dyn Session) -> Result<Vec<String>, crate::infra::obs::Error> {
    studio.stop_stream().await?;
    studio.stop_recording().await?;
    let now = studio.capture().await?;
    let scene = Scene {
        name: EMPTY_SCENE.to_owned(),
        ..Scene::default()
    };
    let nothing = Studio {
        scene_collection: now.scene_collection,
        scenes: vec![scene],
        program_scene: EMPTY_SCENE.to_owned(),
        stream: Some(StreamService {
            kind: "rtmp_custom".to_owned(),
            // Named, so that OBS forgets the one before; verified on OBS 30.2.3.
            server: Some(String::new()),
            ..StreamService::default()
        }),
        ..Studio::default()
    };
    Ok(studio.restore(&nothing, &Means::Requests).await?.differences)
}
