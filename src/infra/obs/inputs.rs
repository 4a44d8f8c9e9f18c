//! The part of a restore that sets up inputs that are there already.

use std::collections::HashMap;

use obws::requests::inputs::SetSettings;
use serde_json::{Map, Value};

use super::Error;
use super::capture::Now;
use super::link::{Lane, several};
use super::restore::Work;
use super::sound;
use super::wire::object;
use crate::domain::studio::{Input, Studio};

/// Settings and sound of the inputs that are there already.
pub(super) async fn restore(work: &Work<'_>, want: &Studio, now: &Now) -> Result<(), Error> {
    let there: HashMap<&str, &Input> = now
        .inputs
        .iter()
        .map(|input| (input.name.as_str(), input))
        .collect();
    let both = want
        .inputs
        .iter()
        .filter_map(|want| Some((want, *there.get(want.name.as_str())?)));
    let changes = both.map(|(want, now)| async move {
        change_settings(work, want, now).await?;
        sound::change(work, &want.name, want.audio, now.audio).await
    });
    several(changes).await.map(drop)
}

async fn change_settings(work: &Work<'_>, want: &Input, now: &Input) -> Result<(), Error> {
    let Some(settings) = wanted_settings(work, want) else {
        return Ok(());
    };
    if object(&now.settings).as_ref() == Some(&settings) {
        return Ok(());
    }
    let what = || format!("settings of input {:?}", want.name);
    let settings = &settings;
    let request = |client: Lane| async move {
        let change = SetSettings {
            input: want.name.as_str().into(),
            settings,
            // Settings that are not wanted go back to their defaults.
            overlay: Some(false),
        };
        client.inputs().set_settings(change).await
    };
    work.change("SetInputSettings", what, request).await.map(drop)
}

/// The settings to give to an input, or a difference.
pub(super) fn wanted_settings(work: &Work<'_>, want: &Input) -> Option<Map<String, Value>> {
    let settings = object(&want.settings);
    if settings.is_none() {
        work.differs(format!("settings of input {:?} are not a JSON object", want.name));
    }
    settings
}
