//! The requests, by category of the protocol document.
//!
//! Each reads its fields, acts on the studio and answers. Names are matched in one table per category; a name
//! in none is unknown.

mod config;
pub(super) mod filters;
mod general;
mod inputs;
pub(super) mod items;
mod pictures;
pub(super) mod record;
pub(super) mod scenes;
pub(super) mod sound;
mod stream;
mod transitions;

use std::time::Duration;

use serde_json::Value;

use super::field::Fields;
use super::status::{Code, Failure};
use crate::domain::time::Timestamp;
use crate::sim::model::studio::collection::{Selector, Source};
use crate::sim::model::studio::source::Uuid;
use crate::sim::model::studio::{Studio, StudioError};

/// What a request answers: data, nothing, or a failure.
type Reply = Result<Option<Value>, Failure>;

/// The counters of one client's connection, for `GetStats`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Session {
    pub(super) incoming: u64,
    pub(super) outgoing: u64,
}

/// What a request came to.
#[derive(Debug)]
pub(super) struct Outcome(pub(super) Reply);

impl Outcome {
    pub(super) fn missing_type() -> Self {
        let comment = "Your request's `requestType` may not be empty.";
        Self(Err(Failure::new(Code::MissingRequestType, comment)))
    }

    pub(super) fn from_sleep(outcome: Result<Duration, Failure>) -> Self {
        Self(outcome.map(|_| None))
    }
}

/// Everything a request can look at.
struct Call<'a> {
    studio: &'a mut Studio,
    fields: Fields<'a>,
    session: Session,
    now: Timestamp,
}

type Table = &'static [(&'static str, fn(&mut Call<'_>) -> Reply)];

const TABLES: [Table; 11] = [
    general::TABLE,
    config::TABLE,
    stream::TABLE,
    record::TABLE,
    scenes::TABLE,
    inputs::TABLE,
    sound::TABLE,
    filters::TABLE,
    items::TABLE,
    transitions::TABLE,
    pictures::TABLE,
];

/// Does one request.
pub(super) fn run(
    studio: &mut Studio,
    kind: &str,
    data: Option<&Value>,
    session: Session,
    now: Timestamp,
) -> Outcome {
    if kind.is_empty() {
        return Outcome::missing_type();
    }
    if kind == "Sleep" {
        let comment = "The `Sleep` request is only allowed in request batches.";
        return Outcome(Err(Failure::new(Code::UnsupportedBatchExecution, comment)));
    }
    if studio.switching_until(now).is_some() {
        return Outcome(Err(Failure::new(
            Code::NotReady,
            "OBS is not ready to perform the request.",
        )));
    }
    let known = TABLES
        .iter()
        .flat_map(|table| table.iter())
        .find(|(name, _)| *name == kind);
    let Some((_, request)) = known else {
        return Outcome(Err(Failure::new(
            Code::UnknownRequestType,
            "Your request type is not valid.",
        )));
    };
    Outcome(request(&mut Call {
        studio,
        fields: Fields::new(data),
        session,
        now,
    }))
}

/// Names of all requests, for `GetVersion`.
fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = TABLES
        .iter()
        .flat_map(|table| table.iter())
        .map(|(name, _)| *name)
        .collect();
    names.push("Sleep");
    names
}

/// The request changes nothing.
pub(super) fn only_reads(kind: &str) -> bool {
    kind.starts_with("Get")
}

/// The request is answered only when the new scene collection is loaded.
pub(super) fn waits_for_switch(kind: &str) -> bool {
    matches!(kind, "SetCurrentSceneCollection" | "CreateSceneCollection")
}

/// How long a batch's `Sleep` lasts.
pub(super) fn sleep(data: Option<&Value>, allowed: bool) -> Result<Duration, Failure> {
    if !allowed {
        let comment = "The execution type of this batch does not support `Sleep`.";
        return Err(Failure::new(Code::UnsupportedBatchExecution, comment));
    }
    let fields = Fields::new(data);
    if fields.get("sleepMillis").is_none() && fields.get("sleepFrames").is_some() {
        // A frame lasts a thirtieth of a second on the simulated canvas.
        let frames = fields.natural("sleepFrames", 10_000)?;
        return Ok(Duration::from_millis(u64::from(frames) * 1_000 / 30));
    }
    Ok(Duration::from_millis(u64::from(
        fields.natural("sleepMillis", 50_000)?,
    )))
}

impl Call<'_> {
    fn source(&self, name_key: &str, uuid_key: &str) -> Result<Source<'_>, Failure> {
        let selector = self.fields.selector(name_key, uuid_key)?;
        let found = self.studio.collection().find(selector);
        found.ok_or_else(|| match selector {
            Selector::Name(name) => StudioError::NoSuchSource(name.to_owned()).into(),
            Selector::Uuid(uuid) => Failure::new(
                Code::NotFound,
                format!("No source was found by the UUID of `{uuid}`."),
            ),
        })
    }

    fn scene(&self) -> Result<Uuid, Failure> {
        match self.source("sceneName", "sceneUuid")? {
            Source::Scene(scene) => Ok(scene.uuid),
            Source::Input(_) | Source::Group(_) => Err(StudioError::NotAScene.into()),
        }
    }

    fn group(&self) -> Result<Uuid, Failure> {
        match self.source("sceneName", "sceneUuid")? {
            Source::Group(group) => Ok(group.uuid),
            Source::Input(_) | Source::Scene(_) => Err(StudioError::NotAGroup.into()),
        }
    }

    fn scene_or_group(&self) -> Result<Uuid, Failure> {
        match self.source("sceneName", "sceneUuid")? {
            Source::Scene(scene) | Source::Group(scene) => Ok(scene.uuid),
            Source::Input(_) => Err(StudioError::NotAScene.into()),
        }
    }

    fn input(&self) -> Result<Uuid, Failure> {
        match self.source("inputName", "inputUuid")? {
            Source::Input(input) => Ok(input.uuid),
            Source::Scene(_) | Source::Group(_) => Err(StudioError::NotAnInput.into()),
        }
    }
}
