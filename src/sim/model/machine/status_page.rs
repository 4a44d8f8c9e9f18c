//! What a machine's show server tells.

use std::time::Duration;

use super::Machine;
use crate::domain::time::Timestamp;

/// `/api/status`: the studio as the show server knows it, over its own connection to it, so a studio that hangs still
/// looks connected and streaming.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusPage {
    pub obs_connected: bool,
    pub obs_streaming: bool,
    pub obs_recording: bool,
    pub obs_scene: Option<String>,
    /// Since power.
    pub uptime: Duration,
    pub version: &'static str,
    pub active_show: Option<String>,
}

impl Machine {
    /// What the show server answers now.
    #[must_use]
    pub fn status_page(&self, now: Timestamp) -> StatusPage {
        let connected = self.studio_connected();
        let scene = self.studio().program_scene().filter(|_| connected);
        StatusPage {
            obs_connected: connected,
            obs_streaming: connected && self.studio().output().is_active(),
            obs_recording: false,
            obs_scene: scene.map(str::to_owned),
            uptime: self.uptime(now),
            version: "2.4.0",
            active_show: self.active_show().map(str::to_owned),
        }
    }
}
