//! Transitions, and studio mode's preview: read and restored.
//!
//! obs-websocket tells the settings of the current transition alone, and has no request to make one.

use std::time::Duration;

use obws::requests::scenes::SetTransitionOverride;
use tokio::time::{Instant, sleep};

use super::Error;
use super::capture::{Now, gone_is_none};
use super::link::{Lane, Link, NOT_FOUND, WRONG_STATE, denied_with};
use super::restore::Work;
use super::wire::{canonical, object};
use crate::domain::studio::{Scene, Studio, Transition, TransitionOverride, TransitionSource};

/// How long OBS is given to show a scene in preview, which it does some time after it says so, and how often it is
/// asked. Measured on OBS 30.2.3: less than 45 ms.
const PREVIEW_PATIENCE: Duration = Duration::from_millis(300);
const PREVIEW_POLL: Duration = Duration::from_millis(10);

/// The current transition, and all there are.
pub(super) async fn read(link: &Link) -> Result<(Option<Transition>, Vec<TransitionSource>), Error> {
    let (list, current) = tokio::join!(
        link.call("GetSceneTransitionList", |client| async move {
            client.transitions().list().await
        }),
        link.call("GetCurrentSceneTransition", |client| async move {
            client.transitions().current().await
        }),
    );
    let mut all: Vec<TransitionSource> = list?
        .transitions
        .into_iter()
        .map(|read| TransitionSource {
            name: read.id.name,
            kind: read.kind,
            settings: None,
        })
        .collect();
    // OBS has no transition to speak of, which it says by refusing.
    if denied_with(&current, WRONG_STATE) || denied_with(&current, NOT_FOUND) {
        return Ok((None, all));
    }
    let current = current?;
    let name = current.id.name;
    if let Some(source) = all.iter_mut().find(|source| source.name == name) {
        source.settings = current.settings.as_ref().map(canonical);
    }
    let duration_ms = current
        .duration
        .and_then(|duration| u32::try_from(duration.whole_milliseconds()).ok())
        .filter(|_| !current.fixed);
    Ok((Some(Transition { name, duration_ms }), all))
}

/// What is used on the way to a scene instead of the current transition.
pub(super) async fn read_override(link: &Link, scene: &str) -> Result<Option<TransitionOverride>, Error> {
    let read = link
        .call("GetSceneSceneTransitionOverride", |client| async move {
            client.scenes().transition_override(scene.into()).await
        })
        .await;
    let Some(read) = gone_is_none(read)? else {
        return Ok(None);
    };
    let duration_ms = read
        .duration
        .and_then(|duration| u32::try_from(duration.whole_milliseconds()).ok());
    let instead = TransitionOverride {
        name: read.name,
        duration_ms,
    };
    Ok((instead != TransitionOverride::default()).then_some(instead))
}

/// The scene in preview, in studio mode.
pub(super) async fn read_preview(link: &Link) -> Result<Option<String>, Error> {
    let enabled = link
        .call("GetStudioModeEnabled", |client| async move {
            client.ui().studio_mode_enabled().await
        })
        .await?;
    if !enabled {
        return Ok(None);
    }
    let preview = link
        .call("GetCurrentPreviewScene", |client| async move {
            client.scenes().current_preview_scene().await
        })
        .await;
    match preview {
        Ok(preview) => Ok(Some(preview.id.name)),
        // Switched off in between.
        Err(Error::Denied { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn restore(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let current = want
        .transition
        .as_ref()
        .map(|transition| transition.name.as_str());
    for missing in &want.transitions {
        let same = |there: &TransitionSource| (&there.name, &there.kind) == (&missing.name, &missing.kind);
        // The lack of the current one is noted where OBS refuses to use it.
        if !now.transitions.iter().any(same) && current != Some(missing.name.as_str()) {
            work.differs(format!(
                "transition {:?} of kind {} is missing, and OBS makes none on request",
                missing.name, missing.kind
            ));
        }
    }
    if let Some(want) = &want.transition {
        choose(work, want, now.transition.as_ref()).await?;
    }
    configure(work, want, now).await?;
    for scene in &want.scenes {
        let there = now.scenes.iter().find(|there| there.name == scene.name);
        let there = there.and_then(|there| there.transition_override.as_ref());
        if there != scene.transition_override.as_ref() {
            override_for(work, scene).await?;
        }
    }
    Ok(())
}

async fn choose(work: &Work<'_>, want: &Transition, now: Option<&Transition>) -> Result<(), Error> {
    let name = want.name.as_str();
    let same = now.is_some_and(|now| now.name == name);
    if !same {
        let what = || format!("transition {name:?}");
        let request = |client: Lane| async move { client.transitions().set_current(name).await };
        let chosen = work.change("SetCurrentSceneTransition", what, request).await?;
        if chosen.is_none() {
            return Ok(());
        }
    }
    let Some(milliseconds) = want.duration_ms else {
        return Ok(());
    };
    if same && now.and_then(|now| now.duration_ms) == want.duration_ms {
        return Ok(());
    }
    let Ok(duration) = Duration::from_millis(milliseconds.into()).try_into() else {
        return Ok(());
    };
    let what = || format!("duration of transition {name:?}");
    let request = |client: Lane| async move { client.transitions().set_current_duration(duration).await };
    work.change("SetCurrentSceneTransitionDuration", what, request)
        .await
        .map(drop)
}

/// Settings of the current transition, where they are known.
async fn configure(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let Some(current) = &want.transition else {
        return Ok(());
    };
    let named = |all: &[TransitionSource]| {
        let found = all.iter().find(|source| source.name == current.name);
        found.map(|source| source.settings.clone())
    };
    let (Some(Some(wanted)), Some(there)) = (named(&want.transitions), named(&now.transitions)) else {
        return Ok(());
    };
    if there.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let Some(settings) = object(&wanted) else {
        work.differs(format!(
            "settings of transition {:?} are not a JSON object",
            current.name
        ));
        return Ok(());
    };
    let settings = &settings;
    let what = || format!("settings of transition {:?}", current.name);
    let request = |client: Lane| async move {
        client
            .transitions()
            .set_current_settings(settings, Some(false))
            .await
    };
    work.change("SetCurrentSceneTransitionSettings", what, request)
        .await
        .map(drop)
}

/// OBS takes a part of an override away when it is sent as null, which obws does not send.
async fn override_for(work: &Work<'_>, scene: &Scene) -> Result<(), Error> {
    let name = scene.name.as_str();
    let Some(want) = &scene.transition_override else {
        work.differs(format!(
            "transition override of scene {name:?} is not wanted and stays"
        ));
        return Ok(());
    };
    let transition = want.name.as_deref();
    let duration = want
        .duration_ms
        .and_then(|milliseconds| Duration::from_millis(milliseconds.into()).try_into().ok());
    let what = || format!("transition override of scene {name:?}");
    let request = |client: Lane| async move {
        let instead = SetTransitionOverride {
            scene: name.into(),
            transition,
            duration,
        };
        client.scenes().set_transition_override(instead).await
    };
    work.change("SetSceneSceneTransitionOverride", what, request)
        .await
        .map(drop)
}

/// After the program scene: putting one on air in studio mode may change the preview.
pub(super) async fn restore_preview(work: &Work<'_>, want: Option<&str>, now: &Now) -> Result<(), Error> {
    let now = now.preview_scene.as_deref();
    if want == now {
        return Ok(());
    }
    if want.is_some() != now.is_some() {
        let enabled = want.is_some();
        let request = |client: Lane| async move { client.ui().set_studio_mode_enabled(enabled).await };
        let what = || "studio mode".to_owned();
        let changed = work.change("SetStudioModeEnabled", what, request).await?;
        if changed.is_none() {
            return Ok(());
        }
    }
    let Some(scene) = want else { return Ok(()) };
    let request = |client: Lane| async move { client.scenes().set_current_preview_scene(scene).await };
    let what = || format!("preview scene {scene:?}");
    let shown = work.change("SetCurrentPreviewScene", what, request).await?;
    if shown.is_none() {
        return Ok(());
    }
    let patience = Instant::now() + PREVIEW_PATIENCE;
    while Instant::now() < patience && read_preview(work.link).await?.as_deref() != Some(scene) {
        sleep(PREVIEW_POLL).await;
    }
    Ok(())
}
