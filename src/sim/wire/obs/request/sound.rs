//! How inputs sound.

use serde_json::{Map, Value, json};

use super::super::status::{Code, Failure};
use super::inputs::find;
use super::{Call, Reply, Table};
use crate::domain::studio::Monitor;
use crate::sim::model::studio::source::{Input, Uuid};
use crate::sim::model::studio::{Studio, StudioError};

pub(super) const TABLE: Table = &[
    ("GetInputMute", mute),
    ("SetInputMute", set_mute),
    ("ToggleInputMute", toggle_mute),
    ("GetInputVolume", volume),
    ("SetInputVolume", set_volume),
    ("GetInputAudioBalance", balance),
    ("SetInputAudioBalance", set_balance),
    ("GetInputAudioSyncOffset", sync_offset),
    ("SetInputAudioSyncOffset", set_sync_offset),
    ("GetInputAudioMonitorType", monitor),
    ("SetInputAudioMonitorType", set_monitor),
    ("GetInputAudioTracks", tracks),
    ("SetInputAudioTracks", set_tracks),
];

const MONITORS: [(&str, Monitor); 3] = [
    ("OBS_MONITORING_TYPE_NONE", Monitor::Off),
    ("OBS_MONITORING_TYPE_MONITOR_ONLY", Monitor::Only),
    ("OBS_MONITORING_TYPE_MONITOR_AND_OUTPUT", Monitor::AndOutput),
];

/// `monitorType`.
pub(in super::super) fn monitor_name(monitor: Monitor) -> &'static str {
    match monitor {
        Monitor::Off => MONITORS[0].0,
        Monitor::Only => MONITORS[1].0,
        Monitor::AndOutput => MONITORS[2].0,
    }
}

/// `inputAudioTracks`.
pub(in super::super) fn tracks_json(tracks: [bool; 6]) -> Value {
    let numbered = tracks.into_iter().zip(1..);
    let track = |(on, number): (bool, u32)| (number.to_string(), Value::Bool(on));
    Value::Object(numbered.map(track).collect::<Map<String, Value>>())
}

fn audible(studio: &Studio, uuid: Uuid) -> Result<&Input, Failure> {
    let input = find(studio, uuid)?;
    if input.kind.audio {
        Ok(input)
    } else {
        Err(StudioError::NoAudio.into())
    }
}

fn mute(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    Ok(Some(json!({"inputMuted": audible(call.studio, uuid)?.muted})))
}

fn set_mute(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    let muted = call.fields.boolean("inputMuted")?;
    call.studio.set_muted(input, muted)?;
    Ok(None)
}

fn toggle_mute(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    let muted = !audible(call.studio, input)?.muted;
    call.studio.set_muted(input, muted)?;
    Ok(Some(json!({"inputMuted": muted})))
}

fn volume(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    let input = audible(call.studio, uuid)?;
    Ok(Some(json!({
        "inputVolumeMul": f64::from(input.volume_mul),
        "inputVolumeDb": f64::from(input.volume_db()),
    })))
}

fn set_volume(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    audible(call.studio, input)?;
    let mul = call.fields.float_opt("inputVolumeMul", 0.0, 20.0)?;
    let db = call.fields.float_opt("inputVolumeDb", -100.0, 26.0)?;
    let mul = match (mul, db) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                Code::TooManyFields,
                "You may only specify one volume field.",
            ));
        }
        (None, None) => {
            return Err(Failure::new(
                Code::MissingField,
                "You must specify one volume field.",
            ));
        }
        (Some(mul), None) => mul,
        (None, Some(db)) => 10_f32.powf(db / 20.0),
    };
    call.studio.set_volume(input, mul)?;
    Ok(None)
}

fn balance(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    let balance = f64::from(audible(call.studio, uuid)?.balance);
    Ok(Some(json!({"inputAudioBalance": balance})))
}

fn set_balance(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    call.fields.number("inputAudioBalance", 0.0, 1.0)?;
    let balance = call.fields.float_opt("inputAudioBalance", 0.0, 1.0)?;
    call.studio.set_balance(input, balance.unwrap_or_default())?;
    Ok(None)
}

fn sync_offset(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    let offset = audible(call.studio, uuid)?.sync_offset_ms;
    Ok(Some(json!({"inputAudioSyncOffset": offset})))
}

fn set_sync_offset(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    let offset = call.fields.number("inputAudioSyncOffset", -950.0, 20_000.0)?;
    // The range was checked; a fraction is cut off as in C++.
    call.studio.set_sync_offset(input, offset as i64)?;
    Ok(None)
}

fn monitor(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    let monitor = audible(call.studio, uuid)?.monitor;
    Ok(Some(json!({"monitorType": monitor_name(monitor)})))
}

fn set_monitor(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    let name = call.fields.string("monitorType")?;
    let known = MONITORS.iter().find(|(known, _)| *known == name);
    let (_, monitor) =
        known.ok_or_else(|| Failure::new(Code::InvalidField, format!("Unknown monitor type: {name}")))?;
    call.studio.set_monitor(input, *monitor)?;
    Ok(None)
}

fn tracks(call: &mut Call<'_>) -> Reply {
    let uuid = call.input()?;
    let tracks = audible(call.studio, uuid)?.tracks;
    Ok(Some(json!({"inputAudioTracks": tracks_json(tracks)})))
}

fn set_tracks(call: &mut Call<'_>) -> Reply {
    let input = call.input()?;
    let given = call.fields.object("inputAudioTracks", false)?;
    let mut tracks = [None; 6];
    for (track, number) in tracks.iter_mut().zip(1..) {
        let wrong = || {
            Failure::new(
                Code::InvalidFieldType,
                "The value of one of your tracks is not a boolean.",
            )
        };
        *track = match given.get(&format!("{number}")) {
            None => None,
            Some(value) => Some(value.as_bool().ok_or_else(wrong)?),
        };
    }
    call.studio.set_tracks(input, tracks)?;
    Ok(None)
}
