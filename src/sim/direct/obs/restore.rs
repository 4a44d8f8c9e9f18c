//! Making one studio equal to another, in a few steps: a scene collection, the stream service, the preview.
//!
//! What requests cannot make on the wire (groups, transitions) they cannot make here; a file can.

use serde_json::{Map, Value};
use tokio::time::{Duration, Instant, sleep};

use super::session::DirectSession;
use crate::domain::studio::{Difference, MadeBy, Recording, Scene, Studio, Subject, difference, sentences};
use crate::infra::causes::with_causes;
use crate::infra::obs::{Error, Means, Restored, collection_text, file_for, stream_settings};
use crate::sim::direct::dice::Span;
use crate::sim::model::studio::StudioError;

/// So long takes what a restore asks of a small studio, in one step.
const STEP: Span = Span::of_ms(20, 120);
/// And this for every 16 differences more, which are worked on at the same time.
const AT_ONCE: usize = 16;
const ROUND: Span = Span::of_ms(2, 6);

/// How long a scene is waited for to be in preview, and how often it is looked for.
const PREVIEW_PATIENCE: Duration = Duration::from_millis(500);
const PREVIEW_POLL: Duration = Duration::from_millis(10);

/// Changing to another service and back leaves nothing behind, and setting it twice nothing in OBS's backup.
const OTHER_SERVICES: [&str; 2] = ["rtmp_custom", "rtmp_common"];

pub(super) async fn restore(
    session: &DirectSession,
    want: &Studio,
    means: &Means,
) -> Result<Restored, Error> {
    let mut requests = 0;
    let by = by_file(session, want, means).await?;
    if by == MadeBy::File {
        requests += 1;
    } else {
        requests += change_collection(session, &want.scene_collection).await?;
    }
    let now = session.read().await?;
    let made = if by == MadeBy::File {
        want.clone()
    } else {
        within_reach(want, &now)
    };
    let differing = Differing::new(&made, &now);
    requests += put_in_place(session, &made, &now, &differing).await?;
    let service = set_service(session, &made, &differing).await?;
    requests += service.requests;
    requests += show_preview(session, want.preview_scene.as_deref(), &now).await?;
    let mut found = session.read().await?;
    found.recording = want.recording;
    let left: Vec<Difference> = difference(want, &found)
        .into_iter()
        .filter(|one| service.why.is_none() || one.subject != Subject::StreamService)
        .collect();
    let mut differences = sentences(&left);
    differences.extend(service.why);
    Ok(Restored {
        by,
        requests,
        differences,
    })
}

/// What is not as it is to be, by what makes it so.
struct Differing {
    scenes: usize,
    service: bool,
}

impl Differing {
    fn new(want: &Studio, now: &Studio) -> Self {
        // These two are not the scene collection's.
        let beside = |studio: &Studio| Studio {
            recording: Recording::Off,
            preview_scene: None,
            ..studio.clone()
        };
        let differences = difference(&beside(want), &beside(now));
        let is_service = |one: &&Difference| one.subject == Subject::StreamService;
        let service = differences.iter().filter(is_service).count();
        Self {
            scenes: differences.len() - service,
            service: service > 0,
        }
    }
}

/// Puts the file on the machine, if the studio is to be made from one, and has OBS read it. A stream is not interrupted
/// for it.
async fn by_file(session: &DirectSession, want: &Studio, means: &Means) -> Result<MadeBy, Error> {
    if matches!(means, Means::Requests) {
        return Ok(MadeBy::Requests);
    }
    let now = session.read().await?;
    let (streams, names) = session
        .call("GetStreamStatus", |model, _| {
            let studio = model.studio();
            (studio.output().is_active(), studio.collection_names())
        })
        .await?;
    let Some(folder) = file_for(means, want, &now).filter(|_| !streams) else {
        return Ok(MadeBy::Requests);
    };
    let is_known = names.contains(&want.scene_collection);
    if let Err(error) = folder.put(want, is_known).await {
        return Ok(MadeBy::RequestsInstead {
            why: with_causes(&error),
        });
    }
    session.work(STEP).await?;
    let text = collection_text(want).into_bytes();
    session
        .call("SetCurrentSceneCollection", move |model, now| {
            model.studio_mut().adopt(&text, now)
        })
        .await?;
    Ok(MadeBy::File)
}

/// Returns how many requests it took.
async fn change_collection(session: &DirectSession, want: &str) -> Result<u32, Error> {
    let name = want.to_owned();
    session
        .call("SetCurrentSceneCollection", move |model, now| {
            let studio = model.studio_mut();
            if studio.collection_name() == name {
                return 0;
            }
            let changed = match studio.switch_collection(&name, now) {
                Err(StudioError::NoSuchCollection(_)) => studio.create_collection(&name, now),
                done => done,
            };
            // What is refused shows as a difference in the end.
            u32::from(changed.is_ok())
        })
        .await
}

/// The wanted studio without what no request makes: groups that are not there, transitions that are not there, and the
/// end of a transition override.
fn within_reach(want: &Studio, now: &Studio) -> Studio {
    let mut made = want.clone();
    let is_there = |group: &str| now.groups.iter().any(|there| there.name == group);
    let missing: Vec<String> = want
        .groups
        .iter()
        .map(|group| group.name.clone())
        .filter(|group| !is_there(group))
        .collect();
    made.groups.retain(|group| is_there(&group.name));
    for scene in made.scenes.iter_mut().chain(&mut made.groups) {
        scene.items.retain(|item| !missing.contains(&item.source));
        keep_override(scene, now);
    }
    made.transitions.clone_from(&now.transitions);
    let used = want.transition.as_ref().map(|used| used.name.as_str());
    match made
        .transitions
        .iter_mut()
        .find(|there| Some(there.name.as_str()) == used)
    {
        Some(there) => {
            let wanted = want.transitions.iter().find(|wanted| wanted.name == there.name);
            if let Some(settings) = wanted.and_then(|wanted| wanted.settings.clone()) {
                there.settings = Some(settings);
            }
        }
        None => made.transition.clone_from(&now.transition),
    }
    made
}

fn keep_override(scene: &mut Scene, now: &Studio) {
    let there = now.scenes.iter().find(|there| there.name == scene.name);
    if scene.transition_override.is_none() {
        scene.transition_override = there.and_then(|there| there.transition_override.clone());
    }
}

/// Returns how many requests it would have taken.
async fn put_in_place(
    session: &DirectSession,
    made: &Studio,
    now: &Studio,
    differing: &Differing,
) -> Result<u32, Error> {
    if differing.scenes == 0 {
        return Ok(0);
    }
    session.work(STEP).await?;
    for _ in 0..differing.scenes / AT_ONCE {
        session.work(ROUND).await?;
    }
    let mut made = made.clone();
    // Of a transition override OBS tells nothing; of a preview nothing is in the collection.
    made.preview_scene.clone_from(&now.preview_scene);
    let text = collection_text(&made).into_bytes();
    session
        .call("SetSceneItemTransform", move |model, now| {
            model.studio_mut().adopt(&text, now)
        })
        .await?;
    Ok(u32::try_from(differing.scenes).unwrap_or(u32::MAX))
}

/// What became of the stream service.
struct ServiceSet {
    requests: u32,
    /// Why it is not as wanted.
    why: Option<String>,
}

async fn set_service(
    session: &DirectSession,
    made: &Studio,
    differing: &Differing,
) -> Result<ServiceSet, Error> {
    let left = |requests, why: String| ServiceSet {
        requests,
        why: Some(why),
    };
    let Some(want) = made.stream.as_ref().filter(|_| differing.service) else {
        return Ok(ServiceSet {
            requests: 0,
            why: None,
        });
    };
    let settings = match stream_settings(want, session.vault()) {
        Ok(settings) => settings,
        Err(unusable) => return Ok(left(0, format!("stream service: left as it is, {unusable}"))),
    };
    let kind = want.kind.clone();
    let set = session
        .call("SetStreamServiceSettings", move |model, _| {
            let studio = model.studio_mut();
            let other = OTHER_SERVICES.into_iter().find(|other| *other != kind);
            let nothing = Map::from_iter([("key".to_owned(), Value::String(String::new()))]);
            studio.set_service(other.unwrap_or_default(), nothing)?;
            studio.set_service(&kind, settings.clone())?;
            studio.set_service(&kind, settings)
        })
        .await?;
    Ok(match set {
        Ok(()) => ServiceSet {
            requests: 3,
            why: None,
        },
        Err(StudioError::StreamRunning) => {
            left(1, "stream service: left as it is while a stream runs".to_owned())
        }
        Err(refused) => left(1, format!("stream service: {refused}")),
    })
}

/// After the program scene: putting one on air in studio mode may change the preview.
async fn show_preview(session: &DirectSession, want: Option<&str>, now: &Studio) -> Result<u32, Error> {
    if want == now.preview_scene.as_deref() && want.is_none() {
        return Ok(0);
    }
    let name = want.map(str::to_owned);
    let asked = session
        .call("SetCurrentPreviewScene", move |model, now| {
            let studio = model.studio_mut();
            let shown = studio.preview().and_then(|uuid| studio.named(uuid).ok());
            if shown.map(|scene| scene.name) == name {
                return 0;
            }
            studio.set_studio_mode(name.is_some());
            let scenes = &studio.collection().scenes;
            let scene = scenes.iter().find(|scene| Some(&scene.name) == name.as_ref());
            if let Some(scene) = scene.map(|scene| scene.uuid) {
                // Studio mode is on, and the scene is there.
                let _ = studio.set_preview(scene, now);
            }
            1
        })
        .await?;
    let patience = Instant::now() + PREVIEW_PATIENCE;
    while asked > 0 && Instant::now() < patience && preview(session).await?.as_deref() != want {
        sleep(PREVIEW_POLL).await;
    }
    Ok(asked)
}

async fn preview(session: &DirectSession) -> Result<Option<String>, Error> {
    session
        .call("GetCurrentPreviewScene", |model, _| {
            let studio = model.studio();
            let shown = studio.preview().and_then(|uuid| studio.named(uuid).ok());
            shown.map(|scene| scene.name)
        })
        .await
}
