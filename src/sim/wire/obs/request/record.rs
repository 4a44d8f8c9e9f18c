//! The record output. It writes no file.

use std::time::Duration;

use serde_json::json;

use super::super::status::{Code, Failure};
use super::stream::timecode;
use super::{Call, Reply, Table};
use crate::domain::studio::Recording;

pub(super) const TABLE: Table = &[
    ("GetRecordStatus", status),
    ("StartRecord", start),
    ("StopRecord", stop),
    ("PauseRecord", |call| {
        done(call.studio.pause_record(), Code::OutputNotRunning)
    }),
    ("ResumeRecord", |call| {
        done(call.studio.resume_record(), Code::OutputNotPaused)
    }),
];

/// Where recordings would be.
pub(in super::super) const RECORDING_PATH: &str = "/home/ubuntu/recording.mkv";

fn done(possible: bool, code: Code) -> Reply {
    if possible {
        Ok(None)
    } else {
        Err(Failure::bare(code))
    }
}

fn status(call: &mut Call<'_>) -> Reply {
    let recording = call.studio.recording();
    Ok(Some(json!({
        "outputActive": recording != Recording::Off,
        "outputPaused": recording == Recording::Paused,
        "outputTimecode": timecode(Duration::ZERO),
        "outputDuration": 0,
        "outputBytes": 0,
    })))
}

fn start(call: &mut Call<'_>) -> Reply {
    done(call.studio.start_record(), Code::OutputRunning)
}

fn stop(call: &mut Call<'_>) -> Reply {
    done(call.studio.stop_record(), Code::OutputNotRunning)?;
    Ok(Some(json!({"outputPath": RECORDING_PATH})))
}
