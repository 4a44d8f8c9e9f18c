//! `GetVersion`, `GetStats`.

use serde_json::json;

use super::super::{RPC_VERSION, STUDIO_VERSION, WEBSOCKET_VERSION};
use super::{Call, Reply, Table, names};

pub(super) const TABLE: Table = &[("GetVersion", version), ("GetStats", stats)];

fn version(_: &mut Call<'_>) -> Reply {
    Ok(Some(json!({
        "obsVersion": STUDIO_VERSION,
        "obsWebSocketVersion": WEBSOCKET_VERSION,
        "rpcVersion": RPC_VERSION,
        "availableRequests": names(),
        "supportedImageFormats": ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "ppm", "xbm", "xpm"],
        "platform": "ubuntu",
        "platformDescription": "Ubuntu 22.04 (simulated)",
    })))
}

fn stats(call: &mut Call<'_>) -> Reply {
    let output = call.studio.output();
    Ok(Some(json!({
        "cpuUsage": if output.is_active() { 21.5 } else { 3.5 },
        "memoryUsage": 212.0,
        "availableDiskSpace": 51_200.0,
        "activeFps": 30.0,
        "averageFrameRenderTime": 1.9,
        "renderSkippedFrames": 0,
        "renderTotalFrames": output.total_frames(call.now),
        "outputSkippedFrames": 0,
        "outputTotalFrames": output.total_frames(call.now),
        "webSocketSessionIncomingMessages": call.session.incoming,
        "webSocketSessionOutgoingMessages": call.session.outgoing,
    })))
}
