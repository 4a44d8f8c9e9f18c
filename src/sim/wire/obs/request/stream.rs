//! The stream output.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, Reply, Table};
use crate::domain::studio::Recording;
use crate::domain::time::millis;

pub(super) const TABLE: Table = &[
    ("GetStreamStatus", status),
    ("StartStream", start),
    ("StopStream", stop),
    ("ToggleStream", toggle),
    ("GetOutputList", outputs),
];

/// `HH:MM:SS.mmm`
pub(super) fn timecode(duration: Duration) -> String {
    let (ms, s) = (duration.subsec_millis(), duration.as_secs());
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3_600, s / 60 % 60, s % 60)
}

fn status(call: &mut Call<'_>) -> Reply {
    let output = call.studio.output();
    let duration = output.duration(call.now);
    Ok(Some(json!({
        "outputActive": output.is_active(),
        "outputReconnecting": output.is_reconnecting(),
        "outputTimecode": timecode(duration),
        "outputDuration": millis(duration),
        "outputCongestion": 0.0,
        "outputBytes": output.bytes(call.now),
        "outputSkippedFrames": 0,
        "outputTotalFrames": output.total_frames(call.now),
    })))
}

fn start(call: &mut Call<'_>) -> Reply {
    call.studio.start_stream(call.now)?;
    Ok(None)
}

fn stop(call: &mut Call<'_>) -> Reply {
    call.studio.stop_stream(call.now)?;
    Ok(None)
}

fn toggle(call: &mut Call<'_>) -> Reply {
    let was_active = call.studio.output().is_active();
    if was_active {
        stop(call)?
    } else {
        start(call)?
    };
    Ok(Some(json!({"outputActive": !was_active})))
}

fn outputs(call: &mut Call<'_>) -> Reply {
    let output = call.studio.output();
    let one = |name: &str, kind: &str, active: bool, is_service: bool| {
        json!({
            "outputName": name,
            "outputKind": kind,
            "outputWidth": 0,
            "outputHeight": 0,
            "outputActive": active,
            "outputFlags": {
                "OBS_OUTPUT_AUDIO": true,
                "OBS_OUTPUT_VIDEO": true,
                "OBS_OUTPUT_ENCODED": true,
                "OBS_OUTPUT_MULTI_TRACK": true,
                "OBS_OUTPUT_SERVICE": is_service,
            },
        })
    };
    let stream = output
        .is_made()
        .then(|| one("simple_stream", "rtmp_output", output.is_active(), true));
    let recording = call.studio.recording() != Recording::Off;
    let file = one("simple_file_output", "ffmpeg_muxer", recording, false);
    let outputs: Vec<Value> = stream.into_iter().chain([file]).collect();
    Ok(Some(json!({"outputs": outputs})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timecode_has_milliseconds() {
        assert_eq!(timecode(Duration::from_millis(3_723_045)), "01:02:03.045");
    }
}
