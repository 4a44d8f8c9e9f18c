//! A competition's VM: `/api/competitions/{compId}/vm` and the status that its card polls.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::coordinator::Checked;
use crate::api::auth::{self, Granted};
use crate::api::commands;
use crate::api::error::{ApiError, ErrorBody, not_assigned};
use crate::api::extract::{Body, Key, ShowPath, Wait};
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, CompIdParam, KeyParam, Refusals, WaitParam};
use crate::api::project;
use crate::api::reply::{Reply, json};
use crate::api::types::assignment::{
    ArchivingView, AssignBody, AssignReply, AssignmentView, Check, ReleaseBody, ReleaseReply, TestReply,
    VmStatus,
};
use crate::domain::instance::{Instance, InstanceState};
use crate::domain::time::millis;
use crate::domain::vm::Health;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(assign))
        .routes(routes!(release))
        .routes(routes!(view))
        .routes(routes!(test))
        .routes(routes!(status))
}

/// Gives the competition a VM. 202 while the VM is still starting: it is reserved, and events follow.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/vm/assign", tag = "competitions",
    params(CompIdParam, WaitParam, KeyParam),
    request_body = Option<AssignBody>,
    responses(
        (status = 200, body = AssignReply),
        (status = 202, body = AssignReply, description = "Reserved; the VM is starting"),
        (status = 404, body = ErrorBody, description = "No such preferred VM"),
        (status = 409, body = ErrorBody, description = "The preferred VM is busy, no VM is left, or too many shows"),
        (status = 422, body = ErrorBody, description = "The key was used for a different request"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        BodyRefusals, Refusals
    )
)]
async fn assign(
    granted: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
    Key(key): Key,
    Wait(wait): Wait,
    Body(body): Body<AssignBody>,
) -> Result<Response, ApiError> {
    let reply = commands::assign(&gateway, granted.caller, show, body, key, wait).await?;
    let status = if reply.vm_address.is_some() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok(json(status, &reply))
}

/// Gives the competition's VM back. Having none is not an error. 202 if that takes longer than an answer may: it goes on,
/// `GET /api/competitions/{compId}/vm` shows how far it is, and the same request with the same key waits for its end.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/vm/release", tag = "competitions",
    params(CompIdParam, WaitParam, KeyParam),
    request_body = Option<ReleaseBody>,
    responses(
        (status = 200, body = ReleaseReply),
        (status = 202, body = ReleaseReply, description = "It is still being given back, and goes on"),
        (status = 409, body = ErrorBody, description = "It is being released without what is asked here, the coordinator is stopping, or there is no archive"),
        (status = 422, body = ErrorBody, description = "The key was used for a different request"),
        (status = 502, body = ErrorBody, description = "The cloud or the studio refused"),
        BodyRefusals, Refusals
    )
)]
async fn release(
    granted: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(show): ShowPath,
    Key(key): Key,
    Wait(wait): Wait,
    Body(body): Body<ReleaseBody>,
) -> Result<Response, ApiError> {
    let reply = commands::release(&gateway, granted.caller, show, body, key, wait).await?;
    let status = match reply.phase {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::OK,
    };
    Ok(json(status, &reply))
}

/// The VM that the competition has.
#[utoipa::path(
    get, path = "/api/competitions/{compId}/vm", tag = "competitions",
    params(CompIdParam),
    responses(
        (status = 200, body = AssignmentView),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "It has none"),
        Refusals
    )
)]
async fn view(
    _: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(id): ShowPath,
) -> Result<Reply<AssignmentView>, ApiError> {
    gateway.require_initialized()?;
    let state = gateway.state();
    let (show, vm) = state
        .show(&id)
        .zip(state.vm_of_show(&id))
        .ok_or_else(|| not_assigned(id.as_str()))?;
    let record = gateway.record(vm, gateway.reach());
    Ok(Reply(AssignmentView {
        competition_id: id.to_string(),
        vm_id: record.vm_id,
        instance_id: record.instance_id,
        public_ip: record.public_ip,
        vm_address: record.vm_address,
        status: record.status,
        services: record.services,
        epoch: show.epoch.0,
        phase: show.phase.as_str(),
        held: show.held,
        stream_wanted: show.stream_wanted,
        studio_captured: show.studio.is_some(),
        archiving: gateway
            .coordinator()
            .board()
            .archive(&vm.id)
            .as_deref()
            .map(ArchivingView::from),
    }))
}

/// Checks the competition's VM now.
#[utoipa::path(
    post, path = "/api/competitions/{compId}/vm/test", tag = "competitions",
    params(CompIdParam),
    responses(
        (status = 200, body = TestReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "It has none"),
        (status = 409, body = ErrorBody, description = "The coordinator is stopping"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        Refusals
    )
)]
async fn test(
    _: Granted<auth::Show>,
    State(gateway): State<Gateway>,
    ShowPath(id): ShowPath,
) -> Result<Reply<TestReply>, ApiError> {
    gateway.require_initialized()?;
    let vm = gateway
        .state()
        .vm_of_show(&id)
        .cloned()
        .ok_or_else(|| not_assigned(id.as_str()))?;
    let coordinator = gateway.coordinator();
    let checked = coordinator
        .check(Some(vm.id.clone()), false)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let checked = checked
        .into_iter()
        .next()
        .ok_or_else(|| not_assigned(id.as_str()))?;
    let no_machine = coordinator.board().latest(&vm.id).no_machine;
    Ok(Reply(TestReply {
        success: true,
        competition_id: id.to_string(),
        vm_id: vm.id.to_string(),
        healthy: checked.health == Health::Healthy,
        checks: checks(&checked, no_machine, &vm.instance),
    }))
}

fn checks(checked: &Checked, no_machine: Option<bool>, instance: &Instance) -> BTreeMap<&'static str, Check> {
    let of = |ok: Option<bool>| Check {
        ok,
        ..Check::default()
    };
    let running = instance.state == InstanceState::Running;
    let stopped = (!running).then(|| format!("the instance is {}", instance.state.as_str()));
    let node = Check {
        ok: checked.reading.node,
        latency_ms: checked.response_time.map(millis),
        error: checked
            .error
            .clone()
            .filter(|_| checked.reading.node == Some(false)),
    };
    BTreeMap::from([
        (
            "ec2",
            Check {
                ok: Some(running),
                latency_ms: None,
                error: stopped,
            },
        ),
        ("nodeServer", node),
        ("obsWebsocket", of(checked.reading.obs)),
        ("noMachine", of(no_machine)),
        ("nimble", Check::default()),
        ("ssh", of(checked.reading.ssh)),
    ])
}

/// How the competition's VM does, from our own checks: always 200, never a call to the VM.
#[utoipa::path(
    get, path = "/api/vm/{compId}/status", tag = "competitions",
    params(CompIdParam),
    responses(
        (status = 200, body = VmStatus),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        Refusals
    )
)]
async fn status(State(gateway): State<Gateway>, ShowPath(show): ShowPath) -> Reply<VmStatus> {
    if gateway.require_initialized().is_err() {
        let error = Some("VM pool not initialized".to_owned());
        return Reply(VmStatus {
            no_vm: true,
            error,
            ..VmStatus::default()
        });
    }
    let state = gateway.state();
    let vm = state.vm_of_show(&show);
    let coordinator = gateway.coordinator();
    let seen = vm
        .map(|vm| coordinator.board().latest(&vm.id))
        .unwrap_or_default();
    Reply(project::vm_status(
        vm.map(AsRef::as_ref),
        &seen,
        coordinator.address(),
    ))
}
