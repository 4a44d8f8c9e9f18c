//! The coordinator itself: how it does, how long nobody used it, whether it is ready.
//!
//! Answered from memory alone, in well under the 200 ms that its callers allow.
//!
//! It runs standalone: on a machine that is not its to stop, where nothing would start it again. So there is no
//! idle shutdown to report, waking it is a formality, and asking it to stop is refused with the way that works.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{Granted, Pool};
use crate::api::extract::Body;
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, CheckRefusals, Refusals};
use crate::api::project;
use crate::api::reply::{Reply, json};
use crate::api::types::Iso;
use crate::api::types::coordinator::{
    ActivityReply, ActivityView, Connections, CoordinatorStatus, Health, IdleView, ReadyView, ShowProgress,
    ShowState, StopBody, StopRefusal, WakeReply,
};
use crate::domain::show::{Phase, Show};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(coordinator_status))
        .routes(routes!(activity, note_activity))
        .routes(routes!(idle))
        .routes(routes!(keep_alive))
        .routes(routes!(wake))
        .routes(routes!(stop))
        .routes(routes!(show_state))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

/// How the coordinator does.
#[utoipa::path(
    get, path = "/api/coordinator/status", tag = "coordinator",
    responses((status = 200, body = CoordinatorStatus), Refusals)
)]
async fn coordinator_status(State(gateway): State<Gateway>) -> Reply<CoordinatorStatus> {
    let coordinator = gateway.coordinator();
    let readiness = coordinator.readiness();
    let uptime = uptime_s(&gateway);
    let idle = gateway.idle().as_secs();
    // There is no mirror to the browsers' database in this build.
    let firebase = "unavailable";
    Reply(CoordinatorStatus {
        success: true,
        state: "running",
        app_ready: is_ready(&gateway),
        status: "online",
        uptime,
        uptime_formatted: spelled(uptime),
        version: gateway.options().version.clone(),
        mode: "standalone",
        last_activity: Iso(gateway.last_activity()),
        idle_seconds: idle,
        idle_minutes: idle / 60,
        public_ip: public_ip(&gateway),
        connections: Connections {
            firebase,
            aws: project::cloud_word(&readiness.cloud),
            obs: if has_studio(&gateway) {
                "connected"
            } else {
                "disconnected"
            },
            ssh_key: readiness.ssh_key.map(project::key_word),
        },
        firebase,
        connected_clients: gateway.sockets(),
        auto_shutdown: None,
        launch_time: Some(Iso(coordinator.started_at())),
        timestamp: Iso(coordinator.now()),
        cached: false,
    })
}

/// Whether the studio of any VM that has a show answers.
fn has_studio(gateway: &Gateway) -> bool {
    let state = gateway.state();
    let board = gateway.coordinator().board();
    let mut placed = state.placed_shows().filter_map(|show| show.vm.as_ref());
    placed.any(|vm| board.latest(vm).reading.obs == Some(true))
}

/// When somebody last did something.
#[utoipa::path(
    get, path = "/api/coordinator/activity", tag = "coordinator",
    responses((status = 200, body = ActivityView), Refusals)
)]
async fn activity(State(gateway): State<Gateway>) -> Reply<ActivityView> {
    Reply(ActivityView {
        last_activity: Iso(gateway.last_activity()),
        idle_seconds: gateway.idle().as_secs(),
    })
}

/// Notes that somebody is there.
#[utoipa::path(
    post, path = "/api/coordinator/activity", tag = "coordinator",
    responses((status = 200, body = ActivityReply), Refusals)
)]
async fn note_activity(State(gateway): State<Gateway>) -> Reply<ActivityReply> {
    gateway.touch();
    Reply(ActivityReply {
        success: true,
        last_activity: Iso(gateway.last_activity()),
        message: None,
    })
}

/// How long nobody has done anything.
#[utoipa::path(
    get, path = "/api/coordinator/idle", tag = "coordinator",
    responses((status = 200, body = IdleView), Refusals)
)]
async fn idle(State(gateway): State<Gateway>) -> Reply<IdleView> {
    let seconds = gateway.idle().as_secs();
    Reply(IdleView {
        idle_seconds: seconds,
        idle_minutes: seconds / 60,
        last_activity: Iso(gateway.last_activity()),
        auto_shutdown: None,
    })
}

/// Keeps the coordinator awake.
#[utoipa::path(
    post, path = "/api/coordinator/keep-alive", tag = "coordinator",
    responses((status = 200, body = ActivityReply), Refusals)
)]
async fn keep_alive(State(gateway): State<Gateway>) -> Reply<ActivityReply> {
    gateway.touch();
    let message = Some("Keep-alive received");
    Reply(ActivityReply {
        success: true,
        last_activity: Iso(gateway.last_activity()),
        message,
    })
}

/// Wakes the coordinator: whoever reads the answer has done so.
#[utoipa::path(
    post, path = "/api/coordinator/wake", tag = "coordinator",
    responses((status = 200, body = WakeReply), Refusals)
)]
async fn wake(State(gateway): State<Gateway>) -> Reply<WakeReply> {
    gateway.touch();
    Reply(WakeReply {
        success: true,
        state: "running",
        message: "The coordinator is already running",
        public_ip: public_ip(&gateway),
        estimated_ready_seconds: 0,
    })
}

/// What an operator does instead. Streams leave from the VMs, so they go on; what stops is failing over.
const STOP_BY_HAND: &str = "it does not run on a machine that it may stop, and nothing would start it again: stop \
                            its process where it runs, with SIGTERM or `systemctl stop`. Shows stay on air, and \
                            none is failed over until it is back";

/// Asks the coordinator to stop its machine. It runs standalone, so this is always refused, with what to do
/// instead; with the shows that are streaming, unless `force` says that they do not matter.
#[utoipa::path(
    post, path = "/api/coordinator/stop", tag = "coordinator",
    request_body = Option<StopBody>,
    responses(
        (status = 409, body = StopRefusal, description = "`IN_USE`: shows are streaming. `STANDALONE`: its machine is \
                                                         not its to stop; stop the process with SIGTERM or \
                                                         `systemctl stop`"),
        BodyRefusals, Refusals
    )
)]
async fn stop(_: Granted<Pool>, State(gateway): State<Gateway>, Body(body): Body<StopBody>) -> Response {
    let state = gateway.state();
    let streaming = state.placed_shows().filter(|show| is_streaming(show));
    let streaming: Vec<String> = streaming.map(|show| show.id.to_string()).collect();
    json(StatusCode::CONFLICT, &refuse_to_stop(streaming, body.force))
}

fn refuse_to_stop(streaming: Vec<String>, force: bool) -> StopRefusal {
    let in_use = Some(streaming).filter(|shows| !shows.is_empty() && !force);
    let why = match in_use.as_deref() {
        None | Some([]) => String::new(),
        Some([show]) => format!("show {show} is streaming, and "),
        Some(shows) => format!("{} shows are streaming, and ", shows.len()),
    };
    let message = format!("the coordinator does not stop: {why}{STOP_BY_HAND}");
    StopRefusal {
        success: false,
        state: "running",
        error: message.clone(),
        message,
        code: if in_use.is_some() { "IN_USE" } else { "STANDALONE" },
        in_use,
    }
}

/// Whether its stream runs, is about to, or is being moved.
fn is_streaming(show: &Show) -> bool {
    match show.phase {
        Phase::OnAir | Phase::FailingOver(_) => true,
        Phase::OffAir => show.stream_wanted,
        Phase::Idle | Phase::Releasing { .. } => false,
    }
}

/// The show-state object that existing scripts probe.
#[utoipa::path(
    get, path = "/api/status", tag = "coordinator",
    responses((status = 200, body = ShowState), Refusals)
)]
async fn show_state(State(gateway): State<Gateway>) -> Reply<ShowState> {
    Reply(neutral_state(&gateway))
}

/// Shows are controlled on their VM, so this server has no segment, scene or stream of its own.
#[must_use]
pub fn neutral_state(gateway: &Gateway) -> ShowState {
    ShowState {
        status: "ok",
        uptime: uptime_s(gateway),
        version: gateway.options().version.clone(),
        current_segment_index: 0,
        current_segment: None,
        next_segment: None,
        is_playing: false,
        is_paused: false,
        talent_locked: false,
        obs_connected: false,
        obs_current_scene: None,
        obs_is_streaming: false,
        obs_is_recording: false,
        connected_clients: Vec::new(),
        show_progress: ShowProgress::default(),
        segment_start_time: None,
        segment_elapsed: 0,
    }
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "coordinator", responses((status = 200, body = Health), CheckRefusals))]
async fn healthz(State(gateway): State<Gateway>) -> Reply<Health> {
    Reply(Health {
        status: "ok",
        uptime: uptime_s(&gateway),
        version: gateway.options().version.clone(),
    })
}

/// Whether the pool can be used: 503 says what is missing.
#[utoipa::path(
    get, path = "/readyz", tag = "coordinator",
    responses((status = 200, body = ReadyView), (status = 503, body = ReadyView), CheckRefusals)
)]
async fn readyz(State(gateway): State<Gateway>) -> Response {
    let readiness = gateway.coordinator().readiness();
    let ready = is_ready(&gateway);
    let cloud = project::cloud_word(&readiness.cloud);
    let message = match (&readiness.ledger, readiness.stopping) {
        (Err(error), _) => Some(error.clone()),
        (Ok(()), true) => Some("the coordinator is shutting down".to_owned()),
        (Ok(()), false) => readiness.reason.filter(|_| !ready),
    };
    let view = ReadyView {
        ready,
        initialized: readiness.initialized,
        ledger: readiness.ledger.err().unwrap_or_else(|| "ok".to_owned()),
        cloud,
        stopping: readiness.stopping,
        message,
    };
    json(
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        &view,
    )
}

fn is_ready(gateway: &Gateway) -> bool {
    let readiness = gateway.coordinator().readiness();
    readiness.initialized && readiness.ledger.is_ok() && !readiness.stopping
}

fn uptime_s(gateway: &Gateway) -> u64 {
    let coordinator = gateway.coordinator();
    coordinator.now().since(coordinator.started_at()).as_secs()
}

fn public_ip(gateway: &Gateway) -> Option<String> {
    gateway.options().public_ip.map(|ip| ip.to_string())
}

/// `1d 2h 3m 4s`, without leading zero parts.
fn spelled(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
    ];
    let mut text = String::new();
    for (value, unit) in parts {
        if value > 0 || !text.is_empty() {
            text.push_str(&format!("{value}{unit} "));
        }
    }
    text + &format!("{}s", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_is_spelled_without_leading_zeros() {
        assert_eq!(spelled(0), "0s");
        assert_eq!(spelled(61), "1m 1s");
        assert_eq!(spelled(3_600), "1h 0m 0s");
        assert_eq!(spelled(93_784), "1d 2h 3m 4s");
    }
}
