//! The coordinator itself on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Iso;

/// How the coordinator does, as the browser's badge and the function host read it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoordinatorStatus {
    pub success: bool,
    /// `running`
    pub state: &'static str,
    /// The pool can be used.
    pub app_ready: bool,
    /// `online`
    pub status: &'static str,
    /// Seconds.
    pub uptime: u64,
    pub uptime_formatted: String,
    pub version: String,
    /// `standalone`: it does not stop its own machine.
    pub mode: &'static str,
    pub last_activity: Iso,
    pub idle_seconds: u64,
    pub idle_minutes: u64,
    pub public_ip: Option<String>,
    pub connections: Connections,
    /// The same as `connections.firebase`.
    pub firebase: &'static str,
    pub connected_clients: usize,
    /// `null`: not in coordinator mode.
    #[schema(value_type = Option<Object>)]
    pub auto_shutdown: Option<()>,
    pub launch_time: Option<Iso>,
    pub timestamp: Iso,
    pub cached: bool,
}

/// How its connections do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connections {
    /// `connected unavailable unknown error`
    pub firebase: &'static str,
    /// `connected no_credentials unreachable error unknown`
    pub aws: &'static str,
    /// `connected disconnected`
    pub obs: &'static str,
    /// Where the private key for SSH is in a store: `current`; `rotating` while a machine takes only the one before it;
    /// `kept` while the store is away, or has what is no usable key, and the last good one is used; `missing` while
    /// there never was one.
    #[serde(rename = "sshKey", skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<&'static str>,
}

/// When somebody last did something.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityView {
    pub last_activity: Iso,
    pub idle_seconds: u64,
}

/// How long nobody has done anything.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdleView {
    pub idle_seconds: u64,
    pub idle_minutes: u64,
    pub last_activity: Iso,
    /// `null`: not in coordinator mode.
    #[schema(value_type = Option<Object>)]
    pub auto_shutdown: Option<()>,
}

/// Activity was noted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityReply {
    pub success: bool,
    pub last_activity: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
}

/// It is awake: it answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WakeReply {
    pub success: bool,
    pub state: &'static str,
    pub message: &'static str,
    pub public_ip: Option<String>,
    pub estimated_ready_seconds: u64,
}

/// Asks for the coordinator to stop.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StopBody {
    /// Even while shows are streaming.
    pub force: bool,
}

/// The coordinator does not stop.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StopRefusal {
    /// `false`
    pub success: bool,
    /// `running`
    pub state: &'static str,
    /// Why, and what to do instead.
    pub message: String,
    /// The same as `message`.
    pub error: String,
    /// `IN_USE STANDALONE`
    pub code: &'static str,
    /// Competitions that are streaming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<Vec<String>>,
}

/// The show-state object that existing scripts probe: neutral values, since shows are controlled on their VM.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShowState {
    pub status: &'static str,
    pub uptime: u64,
    pub version: String,
    pub current_segment_index: u32,
    #[schema(value_type = Option<Object>)]
    pub current_segment: Option<()>,
    #[schema(value_type = Option<Object>)]
    pub next_segment: Option<()>,
    pub is_playing: bool,
    pub is_paused: bool,
    pub talent_locked: bool,
    pub obs_connected: bool,
    pub obs_current_scene: Option<String>,
    pub obs_is_streaming: bool,
    pub obs_is_recording: bool,
    pub connected_clients: Vec<String>,
    pub show_progress: ShowProgress,
    pub segment_start_time: Option<u64>,
    pub segment_elapsed: u64,
}

/// How far a show is.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ShowProgress {
    pub completed: u32,
    pub total: u32,
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`
    pub status: &'static str,
    /// Seconds.
    pub uptime: u64,
    pub version: String,
}

/// Whether the pool can be used, and what is missing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyView {
    pub ready: bool,
    pub initialized: bool,
    /// `ok`, or what is wrong.
    pub ledger: String,
    /// `connected no_credentials unreachable error unknown`
    pub cloud: &'static str,
    pub stopping: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
