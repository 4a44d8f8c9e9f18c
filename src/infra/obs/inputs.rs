//! The part of a restore that sets up inputs: settings and sound.

use std::collections::HashMap;

use obws::requests::inputs::{SetSettings, Volume};
use serde_json::{Map, Value};

use super::Error;
use super::capture::Now;
use super::link::{Lane, several};
use super::restore::Work;
use super::wire::{object, single};
use crate::domain::studio::{Audio, Input, Studio};

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
        change_audio(work, &want.name, want.audio, now.audio).await
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

/// Sets what differs of an input's sound; all of it where `now` is not known.
pub(super) async fn change_audio(
    work: &Work<'_>,
    input: &str,
    want: Option<Audio>,
    now: Option<Audio>,
) -> Result<(), Error> {
    let Some(want) = want else { return Ok(()) };
    let louder = now.is_none_or(|now| single(now.volume_mul) != single(want.volume_mul));
    if louder {
        let what = || format!("volume of input {input:?}");
        let request = |client: Lane| async move {
            client
                .inputs()
                .set_volume(input.into(), Volume::Mul(single(want.volume_mul)))
                .await
        };
        work.change("SetInputVolume", what, request).await?;
    }
    if now.is_none_or(|now| now.muted != want.muted) {
        let what = || format!("mute of input {input:?}");
        let request = |client: Lane| async move { client.inputs().set_muted(input.into(), want.muted).await };
        work.change("SetInputMute", what, request).await?;
    }
    Ok(())
}
