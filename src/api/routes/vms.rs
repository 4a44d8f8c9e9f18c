//! One VM of the pool: `/api/admin/vm-pool/{vmId}`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{Admin, Granted, Pool};
use crate::api::commands;
use crate::api::error::{ApiError, ErrorBody, unknown_vm};
use crate::api::extract::{Body, VmPath};
use crate::api::gateway::Gateway;
use crate::api::openapi::{BodyRefusals, Refusals, VmIdParam};
use crate::api::reply::{Reply, json};
use crate::api::types::archive::ArchiveReply;
use crate::api::types::cleaning::VmView;
use crate::api::types::pool::{
    MaintenanceBody, MaintenanceReply, PowerReply, RebootBody, StateChange, TerminateReply, Terminating,
};
use crate::domain::vm::Vm;

const REASON_CHARS_MAX: usize = 500;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(vm, terminate))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(reboot))
        .routes(routes!(maintenance))
        .routes(routes!(archive))
}

/// One VM.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/{vmId}", tag = "vms",
    params(VmIdParam),
    responses(
        (status = 200, body = VmView),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        Refusals
    )
)]
async fn vm(
    _: Granted<Pool>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
) -> Result<Reply<VmView>, ApiError> {
    gateway.require_initialized()?;
    let state = gateway.state();
    let vm = state.vm(&id).ok_or_else(|| unknown_vm(id.as_str()))?;
    Ok(Reply(view(&gateway, vm)))
}

fn view(gateway: &Gateway, vm: &Vm) -> VmView {
    let archiving = gateway.coordinator().board().archive(&vm.id);
    VmView::of(vm, gateway.record(vm, gateway.reach()), archiving.as_deref())
}

/// Archives the recordings on it that could not be archived when their competitions were released. That goes on: the VM's
/// record says how it ends.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/archive", tag = "vms",
    params(VmIdParam),
    responses(
        (status = 202, body = ArchiveReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "There are none, it is assigned or not up, or there is no archive"),
        Refusals
    )
)]
async fn archive(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
) -> Result<Response, ApiError> {
    gateway.require_initialized()?;
    let by = Some(granted.caller.name().to_owned());
    let begun = gateway.coordinator().archive_left(id.clone(), by).await;
    begun.map_err(|error| gateway.refuse(error))?;
    let state = gateway.state();
    let vm = state.vm(&id).ok_or_else(|| unknown_vm(id.as_str()))?;
    let reply = ArchiveReply {
        success: true,
        vm_id: id.to_string(),
        status: vm.status().as_str(),
        unarchived: view(&gateway, vm).unarchived,
        message: "It is being archived: GET /api/admin/vm-pool/{vmId} shows how far it is, and what is left",
    };
    Ok(json(StatusCode::ACCEPTED, &reply))
}

/// Starts a stopped VM.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/start", tag = "vms",
    params(VmIdParam),
    responses(
        (status = 200, body = PowerReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "It is not stopped"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        Refusals
    )
)]
async fn start(
    _: Granted<Pool>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
) -> Result<Reply<PowerReply>, ApiError> {
    commands::start_vm(&gateway, id).await.map(Reply)
}

/// Stops a VM that no competition has.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/stop", tag = "vms",
    params(VmIdParam),
    responses(
        (status = 200, body = PowerReply),
        (status = 400, body = ErrorBody, description = "Not a legal id"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "It is assigned, or not running"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        Refusals
    )
)]
async fn stop(
    _: Granted<Pool>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
) -> Result<Reply<PowerReply>, ApiError> {
    commands::stop_vm(&gateway, id).await.map(Reply)
}

/// Reboots a VM; with `force` even one that is on air.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/reboot", tag = "vms",
    params(VmIdParam),
    request_body = Option<RebootBody>,
    responses(
        (status = 200, body = PowerReply),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "It is on air, or not running"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        BodyRefusals, Refusals
    )
)]
async fn reboot(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
    Body(body): Body<RebootBody>,
) -> Result<Reply<PowerReply>, ApiError> {
    gateway.require_initialized()?;
    let turned = gateway
        .coordinator()
        .reboot_vm(id, body.force)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let message = format!("VM {} is rebooting", turned.vm);
    Ok(Reply(commands::power_reply(&turned, message, None)))
}

/// Terminates the instance behind a VM that no competition has.
#[utoipa::path(
    delete, path = "/api/admin/vm-pool/{vmId}", tag = "vms",
    params(VmIdParam),
    responses(
        (status = 200, body = TerminateReply),
        (status = 400, body = ErrorBody, description = "It is assigned, or the id is not legal"),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "It is not in a state for that"),
        (status = 502, body = ErrorBody, description = "The cloud refused"),
        Refusals
    )
)]
async fn terminate(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
) -> Result<Reply<TerminateReply>, ApiError> {
    gateway.require_initialized()?;
    let turned = gateway
        .coordinator()
        .terminate_vm(id)
        .await
        .map_err(|error| ApiError::from_terminate(error, &gateway.state()))?;
    let instance_id = turned.instance.to_string();
    let change = StateChange {
        instance_id: instance_id.clone(),
        previous_state: turned.previous.as_str(),
        current_state: turned.current.as_str(),
    };
    Ok(Reply(TerminateReply {
        success: true,
        vm_id: turned.vm.to_string(),
        message: format!("Instance {instance_id} is being terminated"),
        instance_id,
        result: Terminating {
            terminating_instances: vec![change],
        },
    }))
}

/// Takes a VM out of use, or gives it back.
#[utoipa::path(
    post, path = "/api/admin/vm-pool/{vmId}/maintenance", tag = "vms",
    params(VmIdParam),
    request_body = MaintenanceBody,
    responses(
        (status = 200, body = MaintenanceReply),
        (status = 404, body = ErrorBody, description = "No such VM"),
        (status = 409, body = ErrorBody, description = "It is assigned"),
        BodyRefusals, Refusals
    )
)]
async fn maintenance(
    _: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(id): VmPath,
    Body(body): Body<MaintenanceBody>,
) -> Result<Reply<MaintenanceReply>, ApiError> {
    if body
        .reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX)
    {
        return Err(ApiError::field(
            "reason",
            format!("reason has at most {REASON_CHARS_MAX} characters"),
        ));
    }
    gateway.require_initialized()?;
    let vm_id = id.to_string();
    let turned = gateway
        .coordinator()
        .maintenance(id, body.enabled, body.reason)
        .await;
    let status = turned.map_err(|error| gateway.refuse(error))?.as_str();
    Ok(Reply(MaintenanceReply {
        success: true,
        vm_id,
        status,
    }))
}
