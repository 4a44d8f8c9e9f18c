//! The record output.

use serde_json::json;

use super::stream::timecode;
use super::{Call, Reply, Table};
use crate::domain::studio::Recording;
use crate::domain::time::millis;
use crate::sim::model::machine::disk::RECORDINGS;

pub(super) const TABLE: Table = &[
    ("GetRecordStatus", status),
    ("StartRecord", start),
    ("StopRecord", stop),
    ("PauseRecord", pause),
    ("ResumeRecord", resume),
];

/// The whole path of a recorded file.
pub(in super::super) fn record_path(file: &str) -> String {
    format!("{RECORDINGS}/{file}")
}

fn status(call: &mut Call<'_>) -> Reply {
    let (studio, now) = (&call.studio, call.now);
    let recording = studio.recording();
    let duration = studio.record_duration(now);
    Ok(Some(json!({
        "outputActive": recording != Recording::Off,
        "outputPaused": recording == Recording::Paused,
        "outputTimecode": timecode(duration),
        "outputDuration": millis(duration),
        "outputBytes": studio.record_file(now).map_or(0, |file| file.bytes),
    })))
}

fn start(call: &mut Call<'_>) -> Reply {
    call.studio.start_record(call.now)?;
    Ok(None)
}

fn stop(call: &mut Call<'_>) -> Reply {
    let file = call.studio.stop_record(call.now)?;
    Ok(Some(json!({"outputPath": record_path(&file)})))
}

fn pause(call: &mut Call<'_>) -> Reply {
    call.studio.pause_record(call.now)?;
    Ok(None)
}

fn resume(call: &mut Call<'_>) -> Reply {
    call.studio.resume_record(call.now)?;
    Ok(None)
}
